"""Neighbours within a cut-off: counted by hand, against trying every image, and in cells of odd shapes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import rq
from scipy.stats import special_ortho_group

from matgl_infomax.data import radius
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import radius_pairs
from matgl_infomax.data.supercell import Pairs, reducing_matrix, triangular_form
from matgl_infomax.errors import InputError
from tests.data.test_supercell import random_crystals

NEEDLE = (np.diag([2.1, 2.3, 40.0]), np.array([[0.1, 0.2, 0.0], [0.6, 0.7, 0.01], [0.5, 0.1, 0.99]]))
PLATE = (np.array([[3.0, 0, 0], [14.9, 3.0, 0], [-7.0, 11.0, 25.0]]), np.array([[0.0, 0.0, 0.0], [0.3, 0.9, 0.5]]))
OUTSIDE = (np.diag([4.0, 5.0, 6.0]), np.array([[3.25, -2.5, 0.0], [-1.75, 0.25, 7.5]]))
ONE_ATOM = (1.9 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]), np.array([[0.3, 0.3, 0.3]]))
CELLS = {"needle": NEEDLE, "plate": PLATE, "sites outside": OUTSIDE, "one atom": ONE_ATOM}


def table(pairs: Pairs) -> NDArray[np.int64]:
    """Each pair as (src, dst, offset), (E, 5), in one order whatever the order of the pairs."""
    keys = np.column_stack([pairs.src, pairs.dst, pairs.offset])
    return np.asarray(keys[np.lexsort(keys.T[::-1])])


def all_images(
    lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same table with distances by trying every image of every site in a box that holds the sphere."""
    height = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)  # (3,), between opposite faces
    spread = frac.max(0) - frac.min(0)
    box = [range(-k, k + 1) for k in np.ceil(cutoff / height + spread).astype(int)]
    offset = np.array(list(product(*box)))  # (K, 3)
    rows, distances = [], []
    for i, j in product(range(len(frac)), repeat=2):
        distance = np.linalg.norm((frac[j] - frac[i] + offset) @ lattice, axis=1)
        keep = (distance <= cutoff) & ((i != j) | offset.any(axis=1))
        rows.append(np.column_stack([np.full(keep.sum(), i), np.full(keep.sum(), j), offset[keep]]))
        distances.append(distance[keep])
    keys = np.concatenate(rows)
    order = np.lexsort(keys.T[::-1])
    return keys[order], np.concatenate(distances)[order]


def assert_equals_all_images(lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float) -> None:
    pairs = radius_pairs(lattice, frac, cutoff)
    keys, distance = all_images(lattice, frac, cutoff)
    np.testing.assert_array_equal(table(pairs), keys)
    ours = np.column_stack([pairs.src, pairs.dst, pairs.offset])
    np.testing.assert_allclose(pairs.distance[np.lexsort(ours.T[::-1])], distance, atol=1e-9)


def test_shells_of_the_simple_cubic_lattice() -> None:
    pairs = radius_pairs(3.0 * np.eye(3), np.zeros((1, 3)), 6.1)
    shells, counts = np.unique(pairs.distance.round(9), return_counts=True)
    np.testing.assert_allclose(shells, 3.0 * np.sqrt([1, 2, 3, 4]))
    np.testing.assert_array_equal(counts, [6, 12, 8, 6])


@pytest.mark.parametrize(("edge", "neighbours"), [(5.0, 6), (5.0 + 1e-12, 6), (5.0 - 1e-12, 6), (5.001, 0)])
def test_sites_exactly_at_the_cutoff_count(edge: float, neighbours: int) -> None:
    for seed in range(5):
        turned = edge * np.eye(3) @ special_ortho_group.rvs(3, random_state=seed)
        assert len(radius_pairs(turned, np.array([[0.3, 0.1, 0.9]]), 5.0).src) == neighbours


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("cutoff", [1.0, 3.0, 5.0, 11.0])
def test_cells_of_odd_shapes(name: str, cutoff: float) -> None:
    assert_equals_all_images(*CELLS[name], cutoff)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crystal=random_crystals(), cutoff=st.sampled_from([1.3, 4.2, 7.9]))
def test_random_cells(crystal: Crystal, cutoff: float) -> None:
    assert_equals_all_images(crystal.lattice, crystal.frac, cutoff)


def test_fixture_crystals(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        # Not a distance that occurs: at those, rounding decides in the plain formula.
        assert_equals_all_images(crystal.lattice, crystal.frac, 5.0123)


def test_order_of_pairs_and_both_directions(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        pairs = radius_pairs(crystal.lattice, crystal.frac, 6.0)
        assert [pairs.src.dtype, pairs.dst.dtype, pairs.offset.dtype] == [np.int32] * 3
        assert (np.diff(pairs.src * crystal.n_sites + pairs.dst) >= 0).all(), "sorted by receiver, then neighbour"
        back = Pairs(pairs.dst, pairs.src, -pairs.offset, pairs.distance)
        np.testing.assert_array_equal(table(pairs), table(back))
        vector = (crystal.frac[pairs.dst] + pairs.offset - crystal.frac[pairs.src]) @ crystal.lattice
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), pairs.distance, atol=1e-9)


def test_two_sites_in_one_place_are_a_pair() -> None:
    pairs = radius_pairs(8.0 * np.eye(3), np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]), 2.0)
    np.testing.assert_array_equal(table(pairs), [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


def test_a_lonely_site_has_no_pairs() -> None:
    pairs = radius_pairs(20.0 * np.eye(3), np.zeros((1, 3)), 5.0)
    assert pairs.src.shape == pairs.dst.shape == pairs.distance.shape == (0,)
    assert pairs.offset.shape == (0, 3)


def test_results_repeat_bit_for_bit_however_the_arrays_lie_in_memory() -> None:
    lattice, frac = PLATE
    first = radius_pairs(lattice, frac, 7.0)
    second = radius_pairs(np.asfortranarray(lattice), np.broadcast_to(frac, (1, *frac.shape))[0], 7.0)
    for name in ("src", "dst", "offset", "distance"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    assert len(radius._pairs_within.signatures) == 1


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cutoff_that_is_none_is_refused(cutoff: float) -> None:
    with pytest.raises(InputError, match="cut-off must be a positive number"):
        radius_pairs(np.eye(3), np.zeros((1, 3)), cutoff)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_positions_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="coordinates that are numbers"):
        radius_pairs(np.eye(3), np.array([[0.0, bad, 0.0]]), 3.0)


def test_a_lattice_without_volume_is_refused() -> None:
    with pytest.raises(InputError, match="volume"):
        radius_pairs(np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]), np.zeros((1, 3)), 3.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crystal=random_crystals())
def test_triangular_form_is_that_of_scipy(crystal: Crystal) -> None:
    form, theirs = triangular_form(crystal.lattice.copy()), rq(crystal.lattice)[0]
    np.testing.assert_allclose(form, theirs * np.sign(np.diag(theirs)), atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crystal=random_crystals())
def test_reduced_basis_is_reduced(crystal: Crystal) -> None:
    steps = reducing_matrix(crystal.lattice.copy())
    assert abs(round(np.linalg.det(steps))) == 1
    # Lengths and overlaps after Gram-Schmidt, from numpy's QR of the columns.
    upper = np.linalg.qr((steps @ crystal.lattice).T)[1]
    square = np.diag(upper) ** 2
    overlap = upper / np.diag(upper)[:, None]
    assert (np.abs(overlap[np.triu_indices(3, 1)]) <= 0.5 + 1e-6).all()
    for k in (1, 2):
        assert square[k] >= (0.75 - overlap[k - 1, k] ** 2) * square[k - 1] * (1 - 1e-9)
