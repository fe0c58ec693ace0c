"""The near-cubic supercell and its pairs: published sanity values, the reference, and what must not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pymatgen.core import Lattice
from scipy.stats import special_ortho_group

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import Pairs, near_cubic, nearest_images, supercell_matrix, supercell_pairs
from matgl_infomax.errors import InputError
from tests.helpers.supercell_reference import (
    admissible_matrices,
    exhaustive_distances,
    reference_distances,
    reference_matrix,
)

FCC_CU = 3.6 * np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


def sorted_distances(pairs: Pairs, n_p: int) -> NDArray[np.float64]:
    """Distances as (n_p, n_p, m), sorted over the images: what must agree whatever the order of images."""
    order = np.lexsort((pairs.distance, pairs.dst, pairs.src))
    m = len(order) // n_p**2
    grid = np.repeat(np.arange(n_p), n_p * m), np.tile(np.repeat(np.arange(n_p), m), n_p)
    np.testing.assert_array_equal((pairs.src[order], pairs.dst[order]), grid)
    return np.asarray(pairs.distance[order].reshape(n_p, n_p, m))


def vectors(crystal: Crystal, pairs: Pairs) -> NDArray[np.float64]:
    """From receiver to the image that the offset names, (E, 3), angstrom."""
    return np.asarray((crystal.frac[pairs.dst] + pairs.offset - crystal.frac[pairs.src]) @ crystal.lattice)


def assert_equals_reference(crystal: Crystal, max_atoms: int) -> None:
    n_p = crystal.n_sites
    matrix = supercell_matrix(crystal.lattice, n_p, max_atoms)
    allowed = admissible_matrices(crystal.lattice, n_p, max_atoms)
    assert any((matrix == other).all() for other in allowed), f"{crystal.id}: {matrix} is none of {allowed}"
    pairs = supercell_pairs(crystal.lattice, crystal.frac, max_atoms)
    theirs = reference_distances(crystal.to_structure(), matrix)
    np.testing.assert_allclose(sorted_distances(pairs, n_p), theirs, atol=1e-6, err_msg=crystal.id)
    np.testing.assert_allclose(np.linalg.norm(vectors(crystal, pairs), axis=1), pairs.distance, atol=1e-7)


@st.composite
def random_crystals(draw: st.DrawFn) -> Crystal:
    """Cells of one to four sites, from compact to needle-like and flat, from orthogonal to very oblique."""
    edges = [draw(st.floats(1.5, 60.0)) for _ in range(3)]
    lower = [draw(st.floats(-1.5, 1.5)) for _ in range(3)]
    unit = np.array([[1.0, 0.0, 0.0], [lower[0], 1.0, 0.0], [lower[1], lower[2], 1.0]])
    n_p = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    lattice = np.array(edges)[:, None] * unit @ special_ortho_group.rvs(3, random_state=rng)
    return Crystal("random", rng.integers(1, 90, n_p), lattice, rng.random((n_p, 3)))


@pytest.mark.parametrize(
    ("limit", "repeats", "angles"),
    [(50, (4, 4, 3), (90, 81, 85)), (100, (5, 5, 4), (83, 97, 95)), (500, (8, 8, 7), (90, 94, 93))],
    ids=["50 atoms", "100 atoms", "500 atoms"],
)
def test_fcc_copper_has_the_specified_supercell(limit: int, repeats: tuple[int, ...], angles: tuple[int, ...]) -> None:
    matrix = supercell_matrix(FCC_CU, 1, limit)
    assert sorted(np.diag(matrix)) == sorted(repeats)
    found = Lattice(matrix @ FCC_CU).angles
    assert sorted(round(a) for a in found) == sorted(angles), found


def test_fcc_copper_order_of_repeats_and_angles() -> None:
    matrix = supercell_matrix(FCC_CU, 1, 50)
    assert tuple(np.diag(matrix)) == (4, 4, 3)
    np.testing.assert_array_equal(matrix, reference_matrix(FCC_CU, 1, 50))
    assert [round(a) for a in Lattice(matrix @ FCC_CU).angles] == [90, 81, 85]


def test_fcc_copper_counts_its_neighbours() -> None:
    pairs = supercell_pairs(FCC_CU, np.zeros((1, 3)), 500)
    assert len(pairs.distance) == 448
    assert pairs.distance[0] == 0
    assert (pairs.distance > 1e-9).sum() == 447
    shells, counts = np.unique(pairs.distance.round(6), return_counts=True)
    nearest = 3.6 / np.sqrt(2)
    np.testing.assert_allclose(shells[:5], nearest * np.sqrt([0, 1, 2, 3, 4]), atol=1e-6)
    np.testing.assert_array_equal(counts[:5], [1, 12, 6, 24, 12])


@pytest.mark.parametrize("max_atoms", [1, 20, 50, 100])
def test_fixture_crystals_equal_the_reference(crystals: list[Crystal], max_atoms: int) -> None:
    for crystal in crystals:
        assert_equals_reference(crystal, max_atoms)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crystal=random_crystals(), max_atoms=st.sampled_from([4, 20, 50]))
def test_oblique_and_needle_like_cells_equal_the_reference(crystal: Crystal, max_atoms: int) -> None:
    assert_equals_reference(crystal, max_atoms)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crystal=random_crystals())
def test_nearest_image_is_the_nearest_of_all(crystal: Crystal) -> None:
    # pymatgen, and so the reference, trusts the 27 cells around an LLL-reduced one; here 343 are tried.
    matrix = supercell_matrix(crystal.lattice, crystal.n_sites, 20)
    ours = sorted_distances(supercell_pairs(crystal.lattice, crystal.frac, 20), crystal.n_sites)
    np.testing.assert_allclose(ours, exhaustive_distances(crystal.lattice, crystal.frac, matrix, 3), atol=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(crystal=random_crystals(), max_atoms=st.integers(1, 200))
def test_supercell_is_never_singular_and_never_too_large(crystal: Crystal, max_atoms: int) -> None:
    n_p = crystal.n_sites
    matrix = supercell_matrix(crystal.lattice, n_p, max_atoms)
    repeats = np.diag(matrix)
    np.testing.assert_array_equal(matrix, np.triu(matrix))
    assert (repeats >= 1).all()
    assert round(np.linalg.det(matrix)) == repeats.prod()
    assert repeats.prod() * n_p <= max(max_atoms, n_p)
    pairs = supercell_pairs(crystal.lattice, crystal.frac, max_atoms)
    assert len(pairs.src) == len(pairs.dst) == len(pairs.offset) == n_p * n_p * repeats.prod()


def test_cell_above_the_limit_is_left_as_it_is(crystals: list[Crystal]) -> None:
    crystal = next(c for c in crystals if c.id == "SrTiO3")
    np.testing.assert_array_equal(np.diag(supercell_matrix(crystal.lattice, 5, 4)), [1, 1, 1])
    assert len(supercell_pairs(crystal.lattice, crystal.frac, 4).src) == 25


def test_no_room_for_an_atom_is_refused() -> None:
    with pytest.raises(InputError, match="0"):
        supercell_matrix(FCC_CU, 1, 0)


def test_pairs_keep_the_contract(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        pairs = supercell_pairs(crystal.lattice, crystal.frac, 50)
        n_p = crystal.n_sites
        n_s = len(pairs.src) // n_p
        np.testing.assert_array_equal(pairs.src, np.repeat(np.arange(n_p), n_s))
        np.testing.assert_array_equal(pairs.dst, np.tile(np.repeat(np.arange(n_p), n_s // n_p), n_p))
        own = (pairs.src == pairs.dst) & (pairs.offset == 0).all(axis=1)
        assert own.sum() == n_p
        assert (pairs.distance[own] == 0).all()
        # The images of one unique site are different sites of the supercell: no translation comes twice.
        keys = np.column_stack([pairs.src, pairs.dst, pairs.offset])
        assert len(np.unique(keys, axis=0)) == len(keys), crystal.id


def test_every_site_of_the_supercell_is_met_once(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        matrix = supercell_matrix(crystal.lattice, crystal.n_sites, 50)
        pairs = supercell_pairs(crystal.lattice, crystal.frac, 50)
        # Translations modulo the supercell, in the supercell's own fractional coordinates.
        in_supercell = pairs.offset @ np.linalg.inv(matrix)
        residue = np.round((in_supercell - np.floor(in_supercell + 1e-9)), 6)
        keys = np.column_stack([pairs.src, pairs.dst, residue])
        assert len(np.unique(keys, axis=0)) == len(keys), crystal.id


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crystal=random_crystals(), seed=st.integers(0, 1000))
def test_rotation_changes_nothing(crystal: Crystal, seed: int) -> None:
    turned = crystal.lattice @ special_ortho_group.rvs(3, random_state=seed)
    ours = supercell_pairs(crystal.lattice, crystal.frac, 30)
    theirs = supercell_pairs(turned, crystal.frac, 30)
    n_p = crystal.n_sites
    np.testing.assert_allclose(sorted_distances(ours, n_p), sorted_distances(theirs, n_p), atol=1e-7)


TIED = {
    "cube": 8.0 * np.eye(3),
    "plate": np.diag([4.0, 4.0, 7.0]),
    "half shear": np.array([[4.0, 0.0, 2.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]),
    "fcc": FCC_CU,
}


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("limit", [3, 6, 14, 30, 50])
def test_rotation_does_not_decide_between_equal_axes(name: str, limit: int) -> None:
    # Symmetric cells have equal axes and exact halves: the last bit of the arithmetic must not choose the supercell.
    expected = supercell_matrix(TIED[name], 1, limit)
    for seed in range(20):
        turned = TIED[name] @ special_ortho_group.rvs(3, random_state=seed)
        np.testing.assert_array_equal(supercell_matrix(turned, 1, limit), expected, err_msg=f"rotation {seed}")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(crystal=random_crystals(), seed=st.integers(0, 1000))
def test_order_and_origin_of_sites_change_nothing(crystal: Crystal, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(crystal.n_sites)
    moved = crystal.frac[order] + rng.random(3) + rng.integers(-2, 3, (crystal.n_sites, 3))
    ours = sorted_distances(supercell_pairs(crystal.lattice, crystal.frac, 30), crystal.n_sites)
    theirs = sorted_distances(supercell_pairs(crystal.lattice, moved, 30), crystal.n_sites)
    np.testing.assert_allclose(ours[order][:, order], theirs, atol=1e-7)


def shared_crystals(shared: Path, count: int) -> list[Crystal]:
    import pandas as pd

    path = shared / "data" / "mp_matched" / "mp_e_form.parquet"
    if not path.is_file():
        pytest.skip(f"needs {path.name} of the shared data")
    table = pd.read_parquet(path, columns=["mbid", "lattice", "atomic_numbers", "frac_coords"])
    rows = table[table["atomic_numbers"].map(len) <= 30].sample(count, random_state=0)
    columns = zip(rows["mbid"], rows["atomic_numbers"], rows["lattice"], rows["frac_coords"], strict=True)
    return [
        Crystal(str(name), np.asarray(z), np.reshape(lattice, (3, 3)), np.reshape(frac, (-1, 3)))
        for name, z, lattice, frac in columns
    ]


def test_fifty_real_crystals_equal_the_reference(shared: Path) -> None:
    for crystal in shared_crystals(shared, 50):
        assert_equals_reference(crystal, 50)


def test_results_repeat_bit_for_bit_however_the_arrays_lie_in_memory(crystals: list[Crystal]) -> None:
    crystal = crystals[-1]
    supercell_pairs(crystal.lattice, crystal.frac, 50)
    compiled = len(near_cubic.signatures), len(nearest_images.signatures)
    frozen = crystal.frac.copy()
    frozen.flags.writeable = False
    first = supercell_pairs(crystal.lattice, crystal.frac, 50)
    second = supercell_pairs(np.asfortranarray(crystal.lattice), frozen, 50)
    for name in ("src", "dst", "offset", "distance"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    assert [getattr(first, k).dtype for k in ("src", "dst", "offset", "distance")] == [np.int32] * 3 + [np.float64]
    # Arrays of another kind would be compiled for once more, which takes seconds.
    assert (len(near_cubic.signatures), len(nearest_images.signatures)) == compiled == (1, 1)


@pytest.mark.parametrize("name", TIED)
def test_rounding_does_not_decide_between_equally_near_images(name: str) -> None:
    frac = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.0, 0.0]])
    pairs = supercell_pairs(TIED[name], frac, 24)
    for seed in range(10):
        noise = 1e-14 * np.random.default_rng(seed).standard_normal(frac.shape)
        noisy = supercell_pairs(TIED[name], frac + noise, 24)
        np.testing.assert_array_equal(noisy.offset, pairs.offset, err_msg=f"noise {seed}")
        np.testing.assert_allclose(noisy.distance, pairs.distance, atol=1e-10)


def test_of_two_equally_near_images_the_first_is_taken() -> None:
    # Half a cell away in a cube without repetitions: images at -a/2 come before those at +a/2, from either end.
    pairs = supercell_pairs(4.0 * np.eye(3), np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), 2)
    np.testing.assert_array_equal(pairs.offset, [[0, 0, 0], [-1, -1, -1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(pairs.distance, [0, 12**0.5, 12**0.5, 0])


def test_a_lattice_without_volume_is_refused() -> None:
    flat = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(InputError, match="volume"):
        supercell_pairs(flat, np.zeros((1, 3)), 50)
    with pytest.raises(InputError, match="volume"):
        supercell_matrix(np.full((3, 3), np.nan), 1, 50)
