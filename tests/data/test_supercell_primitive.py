"""The primitive cell is pymatgen's, and pymatgen is asked only where a smaller cell may exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.core import Structure

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import primitive_cell
from tests.data.test_supercell import shared_crystals


def assert_equals_pymatgen(crystal: Crystal) -> bool:
    """Compare with calling pymatgen always; whether its cell is smaller."""
    ours, theirs = primitive_cell(crystal), crystal.to_structure().get_primitive_structure()
    assert ours.n_sites == len(theirs), crystal.id
    if len(theirs) == crystal.n_sites:
        assert ours is crystal
        return False
    np.testing.assert_array_equal(ours.lattice, theirs.lattice.matrix)
    np.testing.assert_array_equal(ours.frac, theirs.frac_coords)
    np.testing.assert_array_equal(ours.numbers, theirs.atomic_numbers)
    return True


def shaken_supercell(crystal: Crystal, seed: int, width_angstrom: float) -> Crystal:
    """A random supercell of two or three cells with every site moved at random, in another order, from other cells."""
    rng = np.random.default_rng(seed)
    matrix: NDArray[np.int64] = np.eye(3, dtype=np.int64)
    matrix[rng.integers(3)] *= rng.integers(2, 4)
    matrix[0, 1] = rng.integers(2)
    large = Crystal.from_structure(crystal.to_structure().make_supercell(matrix, in_place=False), id=crystal.id)
    moved = large.frac + width_angstrom * rng.standard_normal(large.frac.shape) @ np.linalg.inv(large.lattice)
    order = rng.permutation(large.n_sites)
    return Crystal(crystal.id, large.numbers[order], large.lattice, moved[order] + rng.integers(-1, 2, moved.shape))


def test_composition_is_kept(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        double = Crystal.from_structure(crystal.to_structure().make_supercell([2, 1, 1], in_place=False), id="double")
        primitive = primitive_cell(double)
        assert primitive.reduced_formula == crystal.reduced_formula
        assert primitive.n_sites == crystal.n_sites, crystal.id
        volume = abs(np.linalg.det(crystal.lattice))
        assert abs(np.linalg.det(primitive.lattice)) == pytest.approx(volume, rel=1e-6)


def test_name_and_labels_are_kept() -> None:
    numbers, frac = np.array([29, 29]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    cell = Crystal("bcc", numbers, 2.9 * np.eye(3), frac, {"y": 1.5}, "here.cif")
    primitive = primitive_cell(cell)
    assert (primitive.n_sites, primitive.id, primitive.labels, primitive.source) == (1, "bcc", {"y": 1.5}, "here.cif")
    assert primitive_cell(primitive) is primitive


def test_positions_near_the_tolerance_make_no_difference(crystals: list[Crystal]) -> None:
    # pymatgen takes sites a quarter of an angstrom apart for the same: around there the answers change.
    widths = (0.0, 0.03, 0.06, 0.1, 0.2)
    smaller = [
        assert_equals_pymatgen(shaken_supercell(crystal, 100 * k + seed, width))
        for k, crystal in enumerate(crystals)
        for seed, width in enumerate(widths)
    ]
    assert 12 < sum(smaller) < len(smaller) - 12, "the sample must hold cells of either kind"


def test_small_and_narrow_cells_make_no_difference() -> None:
    # The tolerance is wider than the fractions of the cell that are tried: every rounding case comes up.
    rng = np.random.default_rng(0)
    for n_sites in rng.integers(2, 9, 150):
        lattice = np.diag(rng.uniform(0.6, 6.0, 3)) + 0.3 * rng.standard_normal((3, 3))
        assert_equals_pymatgen(Crystal("random", np.full(n_sites, 29), lattice, rng.random((n_sites, 3))))


def test_pymatgen_is_not_asked_in_vain(crystals: list[Crystal], monkeypatch: pytest.MonkeyPatch) -> None:
    # One, three and four formula units, shifted so that the answer is not in the counts of the elements alone.
    wurtzite = next(c for c in crystals if c.id == "GaN")
    scattered = Crystal("Cu4", np.full(4, 29), 6.0 * np.eye(3), np.random.default_rng(1).random((4, 3)))
    monkeypatch.setattr(Structure, "get_primitive_structure", lambda self: pytest.fail("pymatgen was asked"))
    for crystal in (*crystals[:4], wurtzite, scattered):
        assert primitive_cell(crystal) is crystal


@pytest.mark.slow
def test_two_thousand_real_crystals_make_no_difference(shared: Path) -> None:
    smaller = [assert_equals_pymatgen(crystal) for crystal in shared_crystals(shared, 2000)]
    assert any(smaller)
