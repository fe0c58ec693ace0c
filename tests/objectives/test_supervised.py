"""Supervised pretraining: the loss of its formula, derivatives that are those of the energy, labels that were named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax import cli
from matgl_infomax.api import pretrain
from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.share import Share
from matgl_infomax.errors import InputError
from matgl_infomax.host import BACKEND
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import label_columns, new_objective
from matgl_infomax.objectives.perturb import moved
from matgl_infomax.objectives.supervised import SupervisedSettings
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train import pretrain as training
from tests.helpers.build import generator, many, store_of

ALL = {"energy": "e", "forces": "f", "stress": "s"}
STEP = 1e-4
"""Displacement of the finite differences, angstrom."""
NETWORKS = ["sitenet", "megnet", "m3gnet", "tensornet"]
WIDE = {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1, "cutoff": 4.0}
SMALL = {
    "megnet": {"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1},
    "m3gnet": WIDE,
    "tensornet": {"units": 8, "nblocks": 1, "cutoff": 4.0},
    "chgnet": {"num_blocks": 2},
}
TINY = ModelSettings(name="megnet", options=SMALL["megnet"])
SHORT = PretrainSettings(objective="supervised", steps=4, validate_every=2, batch_sites=30, validation_fraction=0.2)


def net_of(name):
    return MatGLNet.new(name, seed=3, options=SMALL[name]).eval()


def labelled(batch, seed=0):
    draw = generator(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    stress = numbers(batch.n_crystals, 3, 3)
    fields = {"energy": numbers(batch.n_crystals), "forces": numbers(batch.n_sites, 3)}
    return replace(batch, **fields, stress=stress + stress.transpose(1, 2), merged=None, kind=None)


def encoder_and_batch(name, crystals, folder):
    few = [crystals[k] for k in (2, 10, 11)]
    if name == "sitenet":
        store = store_of(few, folder, primitive=False)
        encoder, batch = SiteNet.from_preset("compact", seed=3), store.batch([0, 1, 2], geometry=True)
    else:
        encoder, batch = net_of(name), radius_batch(few, 4.0)
    return encoder.double(), labelled(batch.to("cpu", torch.float64))


@pytest.fixture(params=NETWORKS)
def pair(request, crystals, tmp_path):
    return encoder_and_batch(request.param, crystals, tmp_path)


@pytest.mark.parametrize("level", ["crystal", "site"])
def test_forces_and_stresses_are_derivatives_of_the_energy(level, pair):
    encoder, batch = pair
    objective = new_objective(encoder, "supervised", options={**ALL, "level": level}).double()
    with torch.no_grad():
        _, forces, work = objective.answer(encoder, batch)

    def total(shift, strain):
        with torch.no_grad():
            return (objective.energies(encoder, moved(batch, shift, strain)) * batch.atoms).sum()

    still, flat = torch.zeros_like(forces), torch.zeros_like(work)
    for site, axis in ((0, 0), (batch.n_sites - 1, 1), (batch.n_sites - 2, 2)):
        shift = still.clone()
        shift[site, axis] = STEP
        slope = float(total(-shift, flat) - total(shift, flat)) / (2 * STEP)
        assert float(forces[site, axis]) == pytest.approx(slope, rel=1e-3, abs=1e-3 * float(forces.abs().max()))
    for row, column in ((0, 0), (1, 2)):
        strain = flat.clone()
        strain[-1, row, column] = strain[-1, column, row] = STEP
        slope = float(total(still, strain) - total(still, -strain)) / (2 * STEP)
        twice = 1.0 if row == column else 2.0
        told = float(work[-1, row, column]) * float(batch.atoms[-1]) * twice
        assert told == pytest.approx(slope, rel=1e-3, abs=1e-3 * float(work.abs().max()))
    net = torch.zeros(batch.n_crystals, 3, dtype=torch.float64).index_add(0, batch.owner, forces)
    assert float(net.abs().max()) < 1e-9 * (1.0 + float(forces.abs().max()))
    assert float(forces.abs().max()) > 1e-9, "there is nothing to compare"


def test_loss_is_its_formula_and_labels_that_are_missing_count_nothing(pair):
    encoder, batch = pair
    weights = {"energy_weight": 0.3, "force_weight": 0.5, "stress_weight": 0.7}
    objective = new_objective(encoder, "supervised", options={**ALL, **weights}).double()
    holes = replace(batch, energy=batch.energy.clone(), forces=batch.forces.clone())
    holes.energy[1] = torch.nan
    holes.forces[batch.owner == 2] = torch.nan
    loss, parts = objective.loss(encoder, holes, generator())
    with torch.no_grad():
        energy, forces, work = objective.answer(encoder, batch)
    expected = {
        "energy": (energy - batch.energy).abs()[[0, 2]].mean(),
        "force": torch.stack([(forces - batch.forces)[batch.owner == k].abs().mean() for k in (0, 1)]).mean(),
        "stress": (work - batch.stress).abs().mean(),
    }
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(float(value), rel=1e-9)
    total = 0.3 * expected["energy"] + 0.5 * expected["force"] + 0.7 * expected["stress"]
    assert float(loss.detach()) == pytest.approx(float(total), rel=1e-9)


def test_relaxed_crystals_have_no_forces(pair):
    encoder, batch = pair
    objective = new_objective(encoder, "supervised", "relaxed", {"energy": "e"}).double()
    bare = replace(batch, forces=None, stress=torch.full_like(batch.stress, torch.nan))
    loss, parts = objective.loss(encoder, bare, generator())
    with torch.no_grad():
        energy, forces, _ = objective.answer(encoder, bare)
    per_crystal = [forces[batch.owner == k].abs().mean() for k in range(3)]
    expected = 0.9 * (energy - batch.energy).abs().mean() + 0.1 * torch.stack(per_crystal).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-9)
    assert float(parts["stress"]) == 0
    loss.backward()
    assert all(p.grad is None for p in encoder.head.parameters())


def test_a_few_steps_lower_the_loss(pair):
    encoder, batch = pair
    objective = new_objective(encoder, "supervised", options=ALL).double()
    optimiser = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=3e-3)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss, _ = objective.loss(encoder, batch, generator())
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_processes_together_have_the_loss_of_one(crystals, tmp_path):
    encoder, batch = encoder_and_batch("megnet", crystals, tmp_path)
    objective = new_objective(encoder, "supervised", options=ALL).double()
    whole = objective.loss(encoder, batch, generator())[0].detach()
    for ranks in (2, 5):  # of three crystals: some processes have none
        shares = [Share.of(batch, k, ranks) for k in range(ranks)]
        losses = [objective.loss(encoder, batch, generator(), share)[0].detach() for share in shares]
        torch.testing.assert_close(torch.stack(losses).mean(), whole)


def test_energies_alone_take_no_derivatives_and_no_geometry(crystals, tmp_path):
    encoder, _ = encoder_and_batch("sitenet", crystals, tmp_path / "a")
    objective = new_objective(encoder, "supervised", "energy", {"energy": "e"}).double()
    assert (objective.geometry, objective.view) == (False, "merged")
    store = store_of([crystals[k] for k in (8, 9, 10)], tmp_path / "b")
    full, merged = (store.batch([0, 1, 2], view=view).to("cpu", torch.float64) for view in ("full", "merged"))
    assert merged.n_sites < full.n_sites
    for level in ("crystal", "site"):
        told = new_objective(encoder, "supervised", "energy", {"energy": "e", "level": level}).double()
        torch.testing.assert_close(told.energies(encoder, full), told.energies(encoder, merged), rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(BACKEND != "DGL", reason="on PyG CHGNet's forces are right")
def test_network_with_wrong_forces_is_refused(crystals):
    net = net_of("chgnet")
    with pytest.raises(InputError, match="leaves the angles out of CHGNet's forces"):
        new_objective(net, "supervised", options=ALL)
    new_objective(net, "supervised", "energy", {"energy": "e"})


def frames(crystals, n=16):
    """Crystals with labels of all kinds, some without."""
    rng = np.random.default_rng(1)
    found = []
    for k, c in enumerate(many(crystals, n)):
        arrays = {} if k % 4 == 0 else {"f": rng.normal(size=3 * c.n_sites), "s": rng.normal(size=6)}
        labels = {} if k % 5 == 4 else {"e": -3.0 * c.n_sites + 0.1 * c.labels["y"]}
        found.append(Crystal(c.id, c.numbers, c.lattice, c.frac, labels, "", arrays))
    return found


def run(crystals, out, options, model=TINY, **changes):
    settings = SHORT.model_copy(update={"objective_options": options, **changes})
    return pretrain(crystals, out, model=model, settings=settings, cache=out.parent / "cache", progress=False)


def test_pretraining_with_named_labels(crystals, tmp_path):
    done = run(frames(crystals), tmp_path / "out", ALL)
    assert {"validation/energy", "validation/force", "validation/stress"} <= set(done.history[-1])
    assert all(np.isfinite(list(entry.values())).all() for entry in done.history)
    assert (tmp_path / "out" / "objective.pt").is_file()
    other = [replace(c, labels={k: v + 1.0 for k, v in c.labels.items()}) for c in frames(crystals)]
    with pytest.raises(InputError, match="its energy differ"):
        run(other, tmp_path / "out", ALL)


def test_labels_that_nobody_named_are_not_seen(crystals, tmp_path):
    with pytest.raises(InputError, match=r"No label was named.*objective-options energy=COLUMN"):
        run(frames(crystals), tmp_path / "out", {})
    with pytest.raises(InputError, match=r"No crystal has a label for forces \(nothing\)"):
        run(frames(crystals), tmp_path / "out", {"energy": "e", "forces": "nothing"})
    with pytest.raises(InputError, match="no-model"):
        run(frames(crystals), tmp_path / "out", ALL, model=ModelSettings())
    assert not (tmp_path / "out").exists()
    assert label_columns("infomax+masked", "default", {}) is None
    alone = label_columns("supervised", "relaxed", {"energy": "e"})
    assert alone is not None and alone.names == (["e"], []) and alone.learns_forces, "zeros of relaxed crystals"
    found = label_columns("masked+supervised", "default", {"supervised": {"energy": "e"}})
    assert found is not None and found.names == (["e"], [])


def test_pretraining_without_labels_is_refused(crystals, tmp_path):
    store = store_of(crystals, tmp_path / "cache")
    with pytest.raises(InputError, match="learns from labels, and was given none"):
        training.pretrain_encoder(store, np.arange(12), tmp_path / "out", SHORT, ModelSettings(supercell_atoms=20))


def test_command_reads_the_columns_its_objective_names(crystals, tmp_path, capsys):
    import pandas as pd

    rows = [
        {
            "id": c.id, "lattice": c.lattice.ravel().tolist(), "atomic_numbers": c.numbers.tolist(),
            "frac_coords": c.frac.ravel().tolist(), "e": c.labels.get("e"),
            "f": c.arrays["f"].tolist() if c.arrays else None, "s": c.arrays["s"].tolist() if c.arrays else None,
        }
        for c in frames(crystals)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "frames.parquet")
    words = ["pretrain", "--data", str(tmp_path / "frames.parquet"), "--cache", str(tmp_path / "cache")]
    words += ["--out", str(tmp_path / "out"), "--model", "megnet", "--objective", "supervised"]
    words += ["--steps", "2", "--validate-every", "2", "--batch-sites", "30", "--prepare-processes", "1"]
    assert cli.main([*words, "--objective-options", "energy=e", "forces=f", "stress=s"]) == 0
    capsys.readouterr()
    assert cli.main([*words[:-2], "--objective-options", "energy=e", "forces=g"]) == 2
    assert "No column holds the arrays. Received: g." in capsys.readouterr().err
    assert cli.main([*words, "--target", "e"]) == 2
    assert "No label was named" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weight", "relaxed", "named", "learns"),
    [(1.0, False, True, True), (1.0, True, False, True), (1.0, False, False, False), (0.0, True, True, False)],
)
def test_derivatives_are_learnt_where_they_count_and_are_known(weight, relaxed, named, learns):
    labels = {"energy": "e", "forces": "f" if named else None, "stress": "s" if named else None}
    found = SupervisedSettings(force_weight=weight, stress_weight=weight, relaxed=relaxed, **labels)
    assert found.learns_forces == found.learns_stress == learns
