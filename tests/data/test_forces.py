"""Energies, forces and stresses from files to labels: units, signs, holes, energies of the elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import GPA_OF, ForceLabels, energy_scale, force_labels
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import LabelColumns

FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
STRESS = np.array([-0.01, -0.02, -0.03, 0.001, 0.002, 0.003])
"""ASE's: eV/angstrom^3, xx yy zz yz xz xy, negative under compression."""


def salt(**arrays: np.ndarray) -> Crystal:
    lattice = 4.0 * np.eye(3)
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal("salt", np.array([11, 17]), lattice, frac, {"e": -6.0}, "", arrays)


@pytest.mark.parametrize("name", ["frames.extxyz", "frames.db"])
def test_frames_of_ase(name, tmp_path):
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=4.0 * np.eye(3), pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-6.0, forces=FORCES, stress=STRESS)
    write(tmp_path / name, atoms)
    crystals = read_crystals(tmp_path / name, targets=["energy"], arrays=["forces", "stress"])
    columns = LabelColumns(energy="energy", forces="forces", stress="stress", stress_unit="eV/A3")
    labels = force_labels(crystals, columns)
    assert labels.energy == pytest.approx([-3.0])
    np.testing.assert_allclose(labels.forces[0], FORCES)
    tensor = labels.stress[0] / 32.0  # volume per atom
    np.testing.assert_allclose(np.diag(tensor), STRESS[:3])
    np.testing.assert_allclose([tensor[1, 2], tensor[0, 2], tensor[0, 1]], STRESS[3:])
    plain = read_crystals(tmp_path / name)[0]
    assert plain.labels == {} and plain.arrays == {}, "a label was read that nobody asked for"


def test_what_is_missing_is_nan_and_what_does_not_fit_is_refused():
    columns = LabelColumns(energy="e", forces="f", stress="s", energy_kind="per_atom")
    holes = FORCES.copy()
    holes[0, 0] = np.nan
    labels = force_labels([salt(f=FORCES.ravel()), salt(f=holes.ravel()), salt(s=STRESS)], columns)
    assert labels.energy == pytest.approx([-6.0] * 3) and not labels.total
    assert [bool(np.isnan(f).all()) for f in labels.forces] == [False, True, True]
    assert [bool(np.isnan(s).all()) for s in labels.stress] == [True, True, False]
    with pytest.raises(InputError, match=r"needs 6 force components in the column f\. Received: 3"):
        force_labels([salt(f=np.zeros(3))], columns)
    with pytest.raises(InputError, match="six numbers or nine"):
        force_labels([salt(f=FORCES.ravel(), s=np.zeros(5))], columns)
    with pytest.raises(InputError, match="No label was named"):
        force_labels([salt()], LabelColumns())


@pytest.mark.parametrize("name", ["f", "s"])
def test_an_infinite_label_is_not_a_missing_one(name, tmp_path):
    columns = LabelColumns(energy="e", forces="f", stress="s")
    arrays = {"f": FORCES.ravel().copy(), "s": STRESS.copy()}
    arrays[name][1] = -np.inf
    with pytest.raises(InputError, match=rf"salt: a value in the column {name} is not finite"):
        force_labels([salt(**arrays)], columns)
    frame = pd.DataFrame(
        {
            "lattice": [4.0 * np.eye(3).ravel()],
            "atomic_numbers": [[11]],
            "frac_coords": [[0, 0, 0]],
            name: [arrays[name]],
        }
    )
    found = read_crystals(frame, arrays=[name], on_error="skip")
    assert found[0].arrays == {}
    assert f"column '{name}': a value is not finite" in found.bad[0].reason


def test_element_energies_are_fitted_and_taken_off():
    rng = np.random.default_rng(0)
    numbers = [rng.choice([3, 8, 26], size=n) for n in rng.integers(2, 9, size=40)]
    energies = {3: -2.0, 8: -5.0, 26: -8.0}
    exact = np.array([np.mean([energies[z] for z in kinds]) for kinds in numbers])
    noise = 0.05 * rng.normal(size=40)
    forces = tuple(np.full((len(kinds), 3), np.nan) for kinds in numbers)
    labels = ForceLabels(exact + noise, forces, np.full((40, 3, 3), np.nan))
    scale = energy_scale(labels, numbers)
    for z, energy in energies.items():
        assert scale.reference[z] == pytest.approx(energy, abs=0.1)
    assert scale.unit == pytest.approx(0.05, rel=0.3)
    scaled = scale.scaled(labels, numbers)
    assert np.mean(scaled.energy) == pytest.approx(0.0, abs=1e-9)
    assert np.std(scaled.energy) == pytest.approx(1.0, rel=1e-6)
    as_is = energy_scale(ForceLabels(exact, forces, labels.stress, total=False), numbers)
    assert not as_is.reference.any() and as_is.mean == pytest.approx(exact.mean())


def test_units_of_stress():
    columns = LabelColumns(stress="s", compression="positive")
    values = {"GPa": 1.0, "kBar": 10.0, "eV/A3": 1.0 / GPA_OF["eV/A3"]}
    for unit, value in values.items():
        pressed = salt(s=value * np.eye(3).ravel())
        labels = force_labels([pressed], columns.model_copy(update={"stress_unit": unit}))
        np.testing.assert_allclose(labels.stress[0] * GPA_OF["eV/A3"] / 32.0, -np.eye(3), rtol=1e-6)


BULK = Crystal("bulk", np.array([29]), 2.0 * np.eye(3), np.zeros((1, 3)))


def test_stress_has_the_sign_and_unit_of_matgl():
    """A compressed crystal has a negative stress, and stress times volume is the slope of the energy with strain."""
    bulk = replace(BULK, labels={"e": 1.0}, arrays={"s": np.array([10.0, 20, 30, 4, 5, 6])})
    columns = LabelColumns(energy="e", stress="s", stress_unit="kBar", compression="positive")
    ev = GPA_OF["eV/A3"]
    orders = {"yz_xz_xy": (1, 2, 0, 2, 0, 1), "xy_yz_xz": (0, 1, 1, 2, 0, 2), "xy_xz_yz": (0, 1, 0, 2, 1, 2)}
    for order, places in orders.items():
        stress = force_labels([bulk], columns.model_copy(update={"stress_order": order})).stress[0] * ev / 8.0
        np.testing.assert_allclose(np.diag(stress), [-1.0, -2.0, -3.0])
        a, b, c = (stress[places[k], places[k + 1]] for k in (0, 2, 4))
        np.testing.assert_allclose([a, b, c], [-0.4, -0.5, -0.6])
        np.testing.assert_allclose(stress, stress.T)
