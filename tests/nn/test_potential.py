"""Force fields made here are MatGL's potentials: right forces and stresses, open for ASE and MatGL's relaxers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from matgl_infomax import cli, host
from matgl_infomax.api import forcefield, pretrain
from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import GPA_OF, EnergyScale, force_labels
from matgl_infomax.errors import InputError
from matgl_infomax.nn import matgl_net
from matgl_infomax.nn.potential import Told, energy_network, new_potential, tell
from matgl_infomax.nn.sitenet import ELEMENTS
from matgl_infomax.settings.training import ForceFieldSettings, LabelColumns, ModelSettings, PretrainSettings
from tests.helpers.build import many

SMALL = {
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1, "cutoff": 4.0},
    "tensornet": {"units": 8, "nblocks": 1, "cutoff": 4.0},
    "chgnet": {"num_blocks": 2, "dim_atom_embedding": 8, "dim_bond_embedding": 8, "dim_angle_embedding": 8},
}
RIGHT = sorted(SMALL) if host.BACKEND == "PYG" else ["m3gnet", "tensornet"]
CUTOFF = {"m3gnet": 4.0, "tensornet": 4.0, "chgnet": 6.0}
COLUMNS = LabelColumns(energy="e", forces="f", stress="s")
SHORT = ForceFieldSettings(steps=4, validate_every=2, batch_sites=12, validation_fraction=0.0, learning_rate=1e-2)
ELEMENT = np.linspace(-3.0, -1.0, 119)
"""Energies of the elements in the made-up labels, eV."""


def potential_of(name: str, cutoff: float | None = None) -> host.Potential:
    options = SMALL[name] if cutoff is None else {**SMALL[name], "cutoff": cutoff}
    network = energy_network(name, ELEMENTS, matgl_net.full_arguments(name, options), seed=3)
    potential = new_potential(network, EnergyScale(ELEMENT, -0.5, 2.0)).double().eval()
    draw = torch.Generator().manual_seed(5)
    for parameter in potential.parameters():
        # Initial weights give almost no forces.
        parameter.data.add_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64), alpha=0.1)
    return potential


def told(potential: host.Potential, crystal: Crystal, cutoff: float) -> Told:
    return Told(*(value.detach() for value in tell(potential, radius_batch([crystal], cutoff))))


@pytest.mark.parametrize("name", RIGHT)
def test_forces_and_stresses_are_finite_differences(name, crystals):
    crystal, cutoff = crystals[11], CUTOFF[name]
    potential = potential_of(name)
    found = told(potential, crystal, cutoff)

    def energy(frac, lattice):
        return float(told(potential, replace(crystal, frac=frac, lattice=lattice), cutoff).energy)

    step, largest = 1e-4, float(found.forces.abs().max())
    assert largest > 1e-4
    for site, axis in ((0, 0), (1, 1), (2, 2)):
        move = np.zeros((3, 3))
        move[site, axis] = step
        move = move @ np.linalg.inv(crystal.lattice)
        up, down = (energy(crystal.frac + sign * move, crystal.lattice) for sign in (1, -1))
        assert float(found.forces[site, axis]) == pytest.approx((down - up) / (2 * step), rel=1e-3, abs=1e-3 * largest)
    assert float(found.forces.sum(0).abs().max()) < 1e-6 * largest
    for row, column in ((0, 0), (1, 1), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] = step
        up, down = (energy(crystal.frac, crystal.lattice @ (np.eye(3) + s * strain)) for s in (1, -1))
        work = float(found.stress[0, row, column]) * crystal.n_sites
        assert work == pytest.approx((up - down) / (2 * step), rel=1e-3, abs=1e-3 * float(found.stress.abs().max()))


@pytest.mark.parametrize("name", RIGHT)
def test_forces_turn_with_the_crystal_and_vanish_where_symmetry_says_so(name, crystals):
    potential, cutoff = potential_of(name), CUTOFF[name]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    one = told(potential, crystals[11], cutoff)
    other = told(potential, replace(crystals[11], lattice=crystals[11].lattice @ turn), cutoff)
    turned = torch.from_numpy(turn)
    torch.testing.assert_close(other.energy, one.energy, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.forces, one.forces @ turned, rtol=0, atol=1e-6 * float(one.forces.abs().max()))
    scale = 1e-6 * float(one.stress.abs().max())
    torch.testing.assert_close(other.stress[0], turned.T @ one.stress[0] @ turned, rtol=0, atol=scale)
    salt = told(potential, crystals[2], cutoff)
    assert float(salt.forces.abs().max()) < 1e-7 * float(one.forces.abs().max())
    isotropic = torch.diag(salt.stress[0]).mean() * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(salt.stress[0], isotropic, rtol=0, atol=scale)


@pytest.mark.parametrize("name", ["sitenet", "megnet", "so3net"])
def test_networks_that_make_no_force_field_are_refused(name, crystals, tmp_path):
    with pytest.raises(InputError, match=rf"{name} makes no force field.*m3gnet, tensornet"):
        forcefield(frames(crystals), COLUMNS, tmp_path / "out", model=ModelSettings(name=name), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(host.BACKEND != "DGL", reason="on PyG CHGNet's forces are right")
def test_chgnet_on_dgl_has_wrong_forces_and_is_refused(crystals, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="leaves the angles out of CHGNet's forces"):
        forcefield(frames(crystals), COLUMNS, tmp_path / "out", model=ModelSettings(name="chgnet"), progress=False)
    monkeypatch.setattr(matgl_net, "wrong_forces", lambda name: None)
    potential, crystal = potential_of("chgnet"), replace(crystals[11], lattice=0.8 * crystals[11].lattice)
    found = told(potential, crystal, 6.0)
    wrong = []
    for site in range(3):
        for axis in range(3):
            move = np.zeros((3, 3))
            move[site, axis] = 1e-4
            shifted = [crystal.frac + s * move @ np.linalg.inv(crystal.lattice) for s in (1, -1)]
            up, down = (float(told(potential, replace(crystal, frac=frac), 6.0).energy) for frac in shifted)
            wrong.append(abs((down - up) / 2e-4 - float(found.forces[site, axis])))
    assert max(wrong) > 1e-5 * float(found.forces.abs().max()), "MatGL has mended it: take the refusal away"


def test_triples_shorter_than_pairs_are_refused():
    with pytest.raises(InputError, match="order of the sites"):
        energy_network("m3gnet", ELEMENTS, {**SMALL["m3gnet"], "threebody_cutoff": 3.0}, seed=0)


def frames(crystals: list[Crystal], n: int = 12) -> list[Crystal]:
    """Labels of a pair potential that is easily written down, k (d - 4)^2 / 2 to all neighbours within 4 angstrom."""
    found = []
    for k, c in enumerate(many(crystals[2:5], n)):
        rng = np.random.default_rng(k)
        frac = c.frac + 0.05 * rng.normal(size=c.frac.shape)
        moved = replace(c, frac=frac)
        batch = radius_batch([moved], 4.0)
        step = batch.frac[batch.dst] + batch.offset - batch.frac[batch.src]
        vector = (step @ batch.lattice[0]).numpy()
        length, src = batch.distance.numpy(), batch.src.numpy()
        slope = np.where(length < 4.0, length - 4.0, 0.0)[:, None] * vector / length[:, None]  # (E, 3)
        forces = np.zeros((c.n_sites, 3))
        np.add.at(forces, src, slope)
        volume = abs(np.linalg.det(c.lattice))
        stress = 0.5 * np.einsum("ea,eb->ab", slope, vector) / volume * GPA_OF["eV/A3"]
        energy = 0.25 * float(((length - 4.0) ** 2).sum()) + float(ELEMENT[c.numbers].sum())
        arrays = {"f": forces.ravel(), "s": stress.ravel()}
        found.append(Crystal(c.id, c.numbers, c.lattice, frac, {"e": energy}, "", arrays))
    return found


def run(crystals, out: Path, name="tensornet", settings=SHORT, **changes):
    model = ModelSettings(name=name, options=SMALL[name])
    given = {"model": model, "settings": settings, "cache": out.parent / "cache", "progress": False, **changes}
    return forcefield(frames(crystals), COLUMNS, out, prepare_processes=1, **given)


def test_stress_has_the_sign_and_unit_of_matgl():
    """A compressed crystal has a negative stress, and stress times volume is the slope of the energy with strain."""
    bulk = replace(CRYSTAL, labels={"e": 1.0}, arrays={"s": np.array([10.0, 20, 30, 4, 5, 6])})
    columns = COLUMNS.model_copy(update={"forces": None, "stress_unit": "kBar", "compression": "positive"})
    ev = GPA_OF["eV/A3"]
    orders = {"yz_xz_xy": (1, 2, 0, 2, 0, 1), "xy_yz_xz": (0, 1, 1, 2, 0, 2), "xy_xz_yz": (0, 1, 0, 2, 1, 2)}
    for order, places in orders.items():
        stress = force_labels([bulk], columns.model_copy(update={"stress_order": order})).stress[0] * ev / 8.0
        np.testing.assert_allclose(np.diag(stress), [-1.0, -2.0, -3.0])
        a, b, c = (stress[places[k], places[k + 1]] for k in (0, 2, 4))
        np.testing.assert_allclose([a, b, c], [-0.4, -0.5, -0.6])
        np.testing.assert_allclose(stress, stress.T)


CRYSTAL = Crystal("bulk", np.array([29]), 2.0 * np.eye(3), np.zeros((1, 3)))


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
    from matgl_infomax.train.forcefield import ForceModule
    from tests.helpers.kill import killed_at

    whole = run(crystals, tmp_path / "whole")
    with killed_at(3, ForceModule):
        run(crystals, tmp_path / "cut")
    resumed = run(crystals, tmp_path / "cut")
    first, second = whole.potential.state_dict(), resumed.potential.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.history == resumed.history


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
