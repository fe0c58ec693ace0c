"""Training of force fields: right errors and units, a folder for MatGL and ASE, exact resume, pretrained weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from matgl_infomax import cli, host
from matgl_infomax.api import forcefield, pretrain
from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.forces import GPA_OF, force_labels
from matgl_infomax.errors import InputError
from matgl_infomax.nn.potential import Told, tell
from matgl_infomax.settings.training import ForceFieldSettings, ModelSettings, PretrainSettings
from matgl_infomax.train import forcefield as training
from matgl_infomax.train.forcefield import ForceModule, errors_of, force_scale, rule_of, start_network
from tests.helpers.kill import killed_at
from tests.helpers.pair_potential import COLUMNS, CUTOFF, RIGHT, SHORT, SMALL, frames, run


@pytest.mark.parametrize("name", ["sitenet", "megnet", "so3net"])
def test_networks_that_make_no_force_field_are_refused(name, crystals, tmp_path):
    with pytest.raises(InputError, match=rf"{name} makes no force field.*m3gnet, tensornet"):
        forcefield(frames(crystals), COLUMNS, tmp_path / "out", model=ModelSettings(name=name), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("energy", 1e32, "Target energy: labels reach .*e.3[0-9], more than single precision can scale"),
        ("forces", 1e31, "Target forces: labels reach 1e.31"),
        ("stress", 1e33, "Target stress: labels reach .*e.3[0-9]"),
        ("forces", 1e-35, "Target forces: labels are at most 1e-35, less than single precision can scale"),
    ],
)
def test_labels_that_single_precision_cannot_hold_are_refused(kind, value, sentence, crystals, tmp_path):
    """In force fields and where a pretraining names labels."""
    column = getattr(COLUMNS, kind)
    items = []
    for crystal in frames(crystals):
        labels, arrays = dict(crystal.labels), dict(crystal.arrays)
        if kind == "energy":
            labels[column] = value
        else:
            arrays[column] = np.full_like(arrays[column], value)
        items.append(replace(crystal, labels=labels, arrays=arrays))
    model = ModelSettings(name="m3gnet", options=SMALL["m3gnet"])
    machine = {"cache": tmp_path, "prepare_processes": 1, "progress": False}
    with pytest.raises(InputError, match=sentence):
        forcefield(items, COLUMNS, tmp_path / "out", model=model, settings=SHORT, **machine)
    named = {name: getattr(COLUMNS, name) for name in ("energy", "forces", "stress")}
    settings = PretrainSettings(steps=2, objective="supervised", objective_options=named)
    with pytest.raises(InputError, match=sentence):
        pretrain(items, tmp_path / "pre", model=model, settings=settings, **machine)


def test_made_up_stress_is_negative_under_compression(crystals):
    labels = force_labels(frames(crystals), COLUMNS)
    pressed = [np.trace(stress) for stress in labels.stress]
    assert max(pressed) < 0  # all bonds shorter than 4 angstrom push


@pytest.mark.parametrize("name", ["m3gnet", "tensornet"])
def test_training_lowers_errors_and_the_folder_is_a_potential(name, crystals, tmp_path):
    done = run(crystals, tmp_path / "out", name, SHORT.model_copy(update={"steps": 16, "validate_every": 8}))
    assert done.history[-1]["train/loss"] < done.history[0]["train/loss"]
    opened = host.load_model(tmp_path / "out")
    assert type(opened).__name__ == "Potential"
    batch = radius_batch(frames(crystals)[:2], CUTOFF[name]).to("cpu", torch.float32)
    for a, b in zip(tell(opened.eval(), batch), tell(done.potential, batch), strict=True):
        torch.testing.assert_close(a, b)
    again = run(crystals, tmp_path / "out", name, SHORT.model_copy(update={"steps": 16, "validate_every": 8}))
    assert again.history == done.history
    with pytest.raises(InputError, match="holds another run"):
        run(crystals, tmp_path / "out", name, SHORT)


def test_same_seed_same_potential_and_a_cut_run_goes_on(crystals, tmp_path):
    whole = run(crystals, tmp_path / "whole")
    with killed_at(3, ForceModule):
        run(crystals, tmp_path / "cut")
    resumed = run(crystals, tmp_path / "cut")
    first, second = whole.potential.state_dict(), resumed.potential.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.history == resumed.history
    record = tmp_path / "cut" / "forcefield.json"
    record.write_text(record.read_text().replace('"best_step"', '"best_stop"'))
    with pytest.raises(InputError, match=r"forcefield\.json is not the file that was written"):
        run(crystals, tmp_path / "cut")


def test_pretrained_weights_are_taken_over_below_the_readout(crystals, tmp_path):
    settings = PretrainSettings(objective="masked", steps=2, validate_every=2, batch_sites=30, validation_fraction=0.2)
    model = ModelSettings(name="m3gnet", options=SMALL["m3gnet"])
    pretrain(crystals, tmp_path / "enc", model=model, settings=settings, cache=tmp_path / "cache", progress=False)
    still = SHORT.model_copy(update={"encoder_rate": 1e-30, "weight_decay": 0.0, "ema_decay": 0.0})
    done = run(crystals, tmp_path / "out", "m3gnet", still, init=tmp_path / "enc")
    learnt = host.load_model(tmp_path / "enc").state_dict()
    made = host.inner_network(done.potential).state_dict()
    below = [key for key in made if key in learnt and not key.startswith(("readout", "final_layer"))]
    assert len(below) > 10
    assert all(torch.equal(made[key], learnt[key]) for key in below)
    with pytest.raises(InputError, match="holds another run"):
        run(crystals, tmp_path / "out", "m3gnet", still)
    once_more = run(crystals, tmp_path / "more", "m3gnet", init=tmp_path / "out")
    assert np.isfinite(once_more.history[-1]["train/loss"])


@pytest.mark.parametrize("name", RIGHT[-2:])
def test_ase_and_the_relaxer_use_it(name, crystals, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matgl.ext.ase import PESCalculator, Relaxer
        from pymatgen.io.ase import AseAtomsAdaptor

        run(crystals, tmp_path / "out", name)
        potential = host.load_model(tmp_path / "out").eval()
        crystal = frames(crystals)[11]
        atoms = AseAtomsAdaptor.get_atoms(crystal.to_structure())
        atoms.calc = PESCalculator(potential=potential, stress_unit="eV/A3")
        found = tell(potential, radius_batch([crystal], CUTOFF[name]).to("cpu", torch.float32))
        assert atoms.get_potential_energy() == pytest.approx(float(found.energy.detach()), rel=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), found.forces.detach().numpy(), atol=2e-5)
        stress = found.stress[0].detach().numpy() * crystal.n_sites / atoms.get_volume()
        np.testing.assert_allclose(atoms.calc.results["stress"], stress, atol=2e-6)
        relaxed = Relaxer(potential=potential).relax(crystal.to_structure(), fmax=0.01, steps=3)
    energies = relaxed["trajectory"].energies
    assert len(relaxed["final_structure"]) == crystal.n_sites
    assert energies[-1] <= energies[0] + 1e-6


def test_command(crystals, tmp_path, capsys):
    import pandas as pd

    rows = [
        {
            "id": c.id, "lattice": c.lattice.ravel().tolist(), "atomic_numbers": c.numbers.tolist(),
            "frac_coords": c.frac.ravel().tolist(), "e": c.labels["e"],
            "f": c.arrays["f"].tolist(), "s": c.arrays["s"].tolist(),
        }
        for c in frames(crystals)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "frames.parquet")
    words = ["forcefield", "--data", str(tmp_path / "frames.parquet"), "--cache", str(tmp_path / "cache")]
    words += ["--steps", "2", "--validate-every", "2", "--batch-sites", "30", "--prepare-processes", "1"]
    words += ["--model", "tensornet", "--model.options", "units=8", "nblocks=1", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--energy", "e", "--forces", "f", "--stress", "s"]) == 0
    assert "Potential: " in capsys.readouterr().out
    assert cli.main(words) == 2
    assert "No label was named" in capsys.readouterr().err


def labelled(seed=0):
    """Two crystals with labels, some of them missing, and what a potential says of them."""
    batch = radius_batch(example_crystals()[1:3], 4.0)
    rng = np.random.default_rng(seed)
    energy, forces, stress = (torch.from_numpy(rng.normal(size=shape)) for shape in ((2,), (4, 3), (2, 3, 3)))
    told = Told(*(torch.from_numpy(rng.normal(size=x.shape)) for x in (energy, forces, stress)))
    energy[1], forces[2:], stress[0] = torch.nan, torch.nan, torch.nan
    return replace(batch, energy=energy, forces=forces, stress=stress), told


def test_errors_are_those_of_labels_that_are_there_in_the_units_of_the_history():
    batch, told = labelled()
    found = errors_of(told, batch)
    assert [len(found[name]) for name in ("energy", "force", "stress")] == [1, 6, 9]
    assert float(found["energy"]) == pytest.approx(abs(float(told.energy[0]) / 2 - float(batch.energy[0])))
    np.testing.assert_allclose(found["force"].view(2, 3), (told.forces[:2] - batch.forces[:2]).abs())
    volume = abs(np.linalg.det(batch.lattice[1].numpy()))
    gpa = (told.stress[1] - batch.stress[1]).abs() * 2 / volume * GPA_OF["eV/A3"]
    np.testing.assert_allclose(found["stress"].view(3, 3), gpa)


class Fixed(nn.Module):
    """Stands for a potential: two weights, one of them pretrained."""

    def __init__(self):
        super().__init__()
        self.learnt, self.fresh = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.constant = nn.Parameter(torch.ones(1), requires_grad=False)


def module_of(**changes):
    potential = Fixed()
    settings = ForceFieldSettings(learning_rate=0.1, encoder_rate=0.2, **changes)
    return ForceModule(potential, settings, [], [potential.learnt])


def test_pretrained_weights_move_at_their_share_of_the_rate():
    module = module_of()
    found = {id(p): group["lr"] for group in module.groups for p in group["params"]}
    potential = module.potential
    assert found == {id(potential.fresh): 0.1, id(potential.learnt): pytest.approx(0.02)}


def test_loss_is_the_weighted_sum_of_mean_errors(monkeypatch):
    batch, told = labelled()
    module = module_of(energy_weight=2.0, force_weight=3.0, stress_weight=0.5)
    monkeypatch.setattr("matgl_infomax.train.forcefield.tell", lambda *_: told)
    mean = {name: float(error.mean()) for name, error in errors_of(told, batch).items()}
    loss = float(module.training_step(batch, 0))
    assert loss == pytest.approx(2 * mean["energy"] + 3 * mean["force"] + 0.5 * mean["stress"])
    unlabelled = replace(batch, energy=0 * batch.energy + torch.nan)
    assert float(module.training_step(unlabelled, 0)) == pytest.approx(loss - 2 * mean["energy"]), "no label, no loss"
    assert module.validate() == ({}, module.potential), "without crystals held out there is no score"


def test_unit_of_the_network_is_the_size_of_the_forces(crystals):
    """Forces of every crystal in the labels, root mean square; without forces the spread of energies is the unit."""
    items = frames(crystals)
    labels, numbers = force_labels(items, COLUMNS), [c.numbers for c in items]
    size = np.sqrt(np.mean(np.concatenate([f.ravel() for f in labels.forces]) ** 2))
    assert force_scale(labels, numbers).unit == pytest.approx(size)
    alone = force_labels(items, COLUMNS.model_copy(update={"forces": None}))
    assert force_scale(alone, numbers).unit != pytest.approx(size) and force_scale(alone, numbers).unit > 0


def test_a_network_that_lacks_an_element_is_refused():
    with pytest.raises(InputError, match=r"The crystals hold Og, but A fresh tensornet knows .* elements"):
        start_network(None, ModelSettings(name="tensornet", options=SMALL["tensornet"]), 0, [8, 118])


def test_a_fresh_network_has_nothing_pretrained_and_reads_its_own_cutoff():
    network, learnt = start_network(None, ModelSettings(name="tensornet", options=SMALL["tensornet"]), 0, [8, 26])
    assert learnt == [] and rule_of(network).cutoff_angstrom == 4.0
    assert rule_of(SimpleNamespace(cutoff=torch.tensor(3.5))).cutoff_angstrom == 3.5


def test_energies_of_held_out_crystals_move_no_scale(crystals, tmp_path, monkeypatch):
    """Element energies and unit come from the training part alone, however wrong the held-out energies are."""
    scales, real = [], training.force_scale
    monkeypatch.setattr(training, "force_scale", lambda *given: scales.append(real(*given)) or scales[-1])
    settings = SHORT.model_copy(update={"validation_fraction": 0.3, "steps": 1, "validate_every": 1})
    items = frames(crystals, 40)
    _, held_out = training._split(len(items), settings)
    assert len(held_out) == 12
    spoilt = [replace(c, labels={"e": c.labels["e"] + (1e3 if k in held_out else 0.0)}) for k, c in enumerate(items)]
    for name, these in (("right", items), ("spoilt", spoilt)):
        forcefield(
            these, COLUMNS, tmp_path / name, model=ModelSettings(name="m3gnet", options=SMALL["m3gnet"]),
            settings=settings, cache=tmp_path / "cache", progress=False,
        )  # fmt: skip
    first, second = scales
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_a_force_field_shows_itself_in_a_few_lines(tmp_path):
    shown = repr(training.FittedForces(tmp_path, SimpleNamespace(model=nn.Identity()), [], 0, 1.0, 3, 1))
    assert shown.startswith("Force field") and "3 crystals, 1 more held out" in shown
