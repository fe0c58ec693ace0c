"""Every format round-trips: what was written is what is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.writers import SINGLES, TABLES, to_atoms, to_frame, write_cif, write_contcar, write_parquet


def assert_same(found: Crystal, expected: Crystal) -> None:
    """Equal up to the cell's orientation (CIF keeps lengths and angles only) and the order of sites."""
    np.testing.assert_allclose(found.lattice @ found.lattice.T, expected.lattice @ expected.lattice.T, atol=1e-5)
    assert sorted(found.numbers) == sorted(expected.numbers)
    left = list(range(found.n_sites))
    for number, place in zip(expected.numbers, expected.frac, strict=True):
        off = [np.abs(found.frac[k] - place - np.rint(found.frac[k] - place)).max() for k in left]
        best = next(k for k, o in zip(left, off, strict=True) if o < 1e-6 and found.numbers[k] == number)
        left.remove(best)


@pytest.mark.parametrize("write", TABLES, ids=lambda f: f.__name__)
def test_table_round_trip(write: Callable[..., Any], crystals: list[Crystal], tmp_path: Path) -> None:
    found = read_crystals(write(crystals, tmp_path), targets=["y"])
    assert found.ids == [c.id for c in crystals]
    assert found.targets == ["y"]
    assert not found.bad
    for got, expected in zip(found, crystals, strict=True):
        np.testing.assert_allclose(got.lattice, expected.lattice, atol=1e-6)
        np.testing.assert_array_equal(got.numbers, expected.numbers)
        np.testing.assert_allclose(got.frac, expected.frac, atol=1e-6)
        assert got.labels == pytest.approx(expected.labels)
        assert got.numbers.dtype == np.int64
        assert got.lattice.dtype == got.frac.dtype == np.float64


@pytest.mark.parametrize("write", SINGLES, ids=lambda f: f.__name__)
def test_single_file_round_trip(write: Callable[..., Any], crystals: list[Crystal], tmp_path: Path) -> None:
    for crystal in crystals:
        write(crystal, tmp_path)
    found = read_crystals(tmp_path)
    suffix = "/CONTCAR" if write is write_contcar else ""
    assert found.ids == sorted(c.id + suffix for c in crystals)
    by_id = {c.id.removesuffix(suffix): c for c in found}
    for crystal in crystals:
        assert_same(by_id[crystal.id], crystal)


def test_cif_with_two_blocks(crystals: list[Crystal], tmp_path: Path) -> None:
    for crystal in crystals[:2]:
        write_cif(crystal, tmp_path)
    both = "data_global\n_journal_year 2024\n" + "\n".join((tmp_path / f"{c.id}.cif").read_text() for c in crystals[:2])
    (tmp_path / "both.cif").write_text(both)
    found = read_crystals(tmp_path / "both.cif")
    assert found.ids == ["both:0", "both:1"]
    assert_same(found[1], crystals[1])


ROCK_SALT = """data_salt
_symmetry_space_group_name_H-M 'F m -3 m'
_cell_length_a 5.64(1)
_cell_length_b 5.64(1)
_cell_length_c 5.64(1)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum 'Cl Na'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1+ 0 0 0
Cl1- 0.5 0.5 0.5
"""


def test_symmetry_of_a_cif_is_applied(tmp_path: Path) -> None:
    (tmp_path / "salt.cif").write_text(ROCK_SALT)
    assert sorted(read_crystals(tmp_path / "salt.cif")[0].numbers) == [11] * 4 + [17] * 4


@pytest.mark.parametrize("name", ["set.extxyz", "set.db"])
def test_energy_of_a_calculation_is_a_label(name: str, crystals: list[Crystal], tmp_path: Path) -> None:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    frames = [to_atoms(c) for c in crystals[:3]]
    for k, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-k - 0.5, forces=np.zeros((len(atoms), 3)))
    write(tmp_path / name, frames)
    found = read_crystals(tmp_path / name, targets=["energy"])
    assert found.labels(["energy"]).ravel().tolist() == [-0.5, -1.5, -2.5]
    assert found.ids == (["1", "2", "3"] if name == "set.db" else ["set:0", "set:1", "set:2"])


def test_property_of_a_structure_is_a_label(crystals: list[Crystal], tmp_path: Path) -> None:
    structure = crystals[2].to_structure()
    structure.properties["gap"] = 5.0
    (tmp_path / "salt.json").write_text(json.dumps({"mp-1": structure.as_dict(), "mp-2": structure.as_dict()}))
    found = read_crystals(tmp_path / "salt.json", targets=["gap"])
    assert [(c.id, c.labels["gap"]) for c in found] == [("mp-1", 5.0), ("mp-2", 5.0)]


def test_matrices_in_a_pandas_table(crystals: list[Crystal]) -> None:
    frame = to_frame(crystals)
    frame["lattice"] = [c.lattice.tolist() for c in crystals]
    frame["frac_coords"] = [c.frac for c in crystals]
    found = read_crystals(frame)
    np.testing.assert_array_equal(found[-1].lattice, crystals[-1].lattice)
    np.testing.assert_array_equal(found[-1].frac, crystals[-1].frac)
    with pytest.raises(InputError, match="two columns of one name"):
        read_crystals(pd.concat([frame, frame], axis=1))


sites = st.lists(
    st.tuples(st.integers(1, 118), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=12,
    unique_by=lambda site: site[1:],
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(sites, min_size=1, max_size=5), edge=st.floats(4.0, 12.0), skew=st.floats(-0.5, 0.5))
def test_any_sound_parquet_round_trips_exactly(
    cells: list[list[tuple[int, ...]]], edge: float, skew: float, tmp_path: Path
) -> None:
    lattice = edge * np.array([[1, 0, 0], [skew, 1, 0], [0, skew, 1]])
    made = []
    for k, cell in enumerate(cells):
        frac = np.array([site[1:] for site in cell]) / 4 - 0.5
        made.append(Crystal(f"c{k}", np.array([site[0] for site in cell]), lattice, frac, {"y": k / 7}))
    found = read_crystals(write_parquet(made, tmp_path), targets=["y"])
    for got, expected in zip(found, made, strict=True):
        assert got.id == expected.id
        np.testing.assert_array_equal(got.numbers, expected.numbers)
        np.testing.assert_array_equal(got.lattice, expected.lattice)
        np.testing.assert_array_equal(got.frac, expected.frac)
        assert got.labels == expected.labels
