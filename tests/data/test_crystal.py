"""A crystal that cannot be one is found, whatever file it came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data.crystal import CLOSEST_ANGSTROM, Draft, in_cell, why_bad
from matgl_infomax.data.radius import radius_pairs

CUBE = 4.0 * np.eye(3)
PAIR = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]


def draft(numbers: object = (11, 17), lattice: object = CUBE, frac: object = PAIR) -> Draft:
    z = np.array(numbers, dtype=np.int64)
    return Draft("x", "here", z, np.array(lattice, dtype=float), np.array(frac, dtype=float))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (draft(numbers=[], frac=np.zeros((0, 3))), "no atoms"),
        (draft(numbers=[11, 0]), "unknown element: atomic number 0 at site 1"),
        (draft(numbers=[119, 1]), "unknown element: atomic number 119 at site 0"),
        (draft(numbers=[-1, 1]), "unknown element"),
        (draft(lattice=np.diag([4, np.nan, 4])), "lattice vector is not finite"),
        (draft(lattice=np.diag([4, np.inf, 4])), "lattice vector is not finite"),
        (draft(lattice=np.ones(8)), "needs 3 vectors of 3 numbers. Received: 8"),
        (draft(frac=[[0, 0, 0], [0, np.nan, 0]]), "coordinate of site 1 is not finite"),
        (draft(frac=[[-np.inf, 0, 0], [0.5, 0, 0]]), "coordinate of site 0 is not finite"),
        (draft(frac=[[0, 0, 0], [0.5, 1e7, 0]]), "site 1 lies 1e.07 cells away"),
        (draft(frac=np.zeros(5)), "2 atoms need 6 coordinates. Received: 5"),
        (draft(lattice=np.diag([4, 4, 0])), "no volume: 0 cubic"),
        (draft(lattice=[[4, 0, 0], [8, 1e-9, 0], [0, 0, 4]]), "no volume"),
        (draft(frac=[[0.25, 0.25, 0.25]] * 2), "overlapping atoms: sites 0 and 1 are 0.000 angstrom"),
        (draft(frac=[[0.02, 0, 0], [0.98, 0, 1]]), "overlapping atoms: sites 0 and 1 are 0.160 angstrom"),
        (draft(frac=[[0, 0, -0.02], [3, -7, 0.04]]), "overlapping atoms: sites 0 and 1 are 0.240 angstrom"),
        (draft([1], np.diag([0.4, 4, 4]), [[0, 0, 0]]), "overlapping atoms: sites 0 and 0 are 0.400 angstrom"),
    ],
)
def test_bad_crystal_is_found(bad: Draft, reason: str) -> None:
    found = why_bad([draft(), bad, draft()])
    assert found[0] is None
    assert found[2] is None
    assert reason.replace("e.07", "e+07") in str(found[1])


@pytest.mark.parametrize("height", [1e-3, 1e-7])
def test_a_cell_flatter_than_an_atom_is_refused_at_once(height: float) -> None:
    # The volume is sound; a search among all images in reach would need gigabytes.
    found = why_bad([draft([14], np.diag([9000.0, 9000.0, height]), [[0, 0, 0]])])[0]
    assert found == f"overlapping atoms: sites 0 and 0 are {height:.3f} angstrom apart"


def brute_force(lattice: np.ndarray, frac: np.ndarray) -> float:
    """Shortest distance between two atoms or an atom and its image, from 13 x 13 x 13 cells."""
    image = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    wrapped = frac - np.floor(frac)
    vector = (wrapped[None, :, None] - wrapped[:, None, None] + image) @ lattice
    distance = np.linalg.norm(vector, axis=-1)
    distance[np.arange(len(frac)), np.arange(len(frac)), len(image) // 2] = np.inf
    return float(distance.min())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 9),
    edges=st.tuples(st.floats(0.4, 6), st.floats(1.5, 6), st.floats(1.5, 6)),
)
def test_overlap_agrees_with_brute_force(seed: int, n: int, edges: tuple[float, ...]) -> None:
    generator = np.random.default_rng(seed)
    lattice = np.diag(edges) + np.tril(generator.uniform(-1.5, 1.5, (3, 3)), -1)
    frac = generator.uniform(-1.5, 1.5, (n, 3))
    nearest = brute_force(lattice, frac)
    reason = why_bad([draft([6] * n, lattice, frac)])[0]
    if reason and "no volume" in reason:
        return
    assert (reason is not None) == (nearest < CLOSEST_ANGSTROM)
    if reason:
        assert f"{nearest:.3f} angstrom" in reason


@pytest.mark.parametrize("matrix", [np.diag([7, 1, 1]), np.diag([1, 12, 2]), [[1, 0, 0], [9, 1, 0], [-6, 7, 3]]])
def test_cell_of_any_shape_holds_every_site(matrix, crystals):
    """As many as the determinant says, each once, and the same neighbours as before."""
    before = crystals[11]
    after = in_cell(before, matrix)
    times = round(abs(np.linalg.det(matrix)))
    assert after.n_sites == times * before.n_sites
    assert np.array_equal(after.numbers, np.repeat(before.numbers, times))
    around = radius_pairs(before.lattice, before.frac, 6.0), radius_pairs(after.lattice, after.frac, 6.0)
    few, many = (np.bincount(pairs.src) for pairs in around)
    assert np.array_equal(many, np.repeat(few, times))
    assert np.allclose(np.sort(around[1].distance), np.sort(np.repeat(around[0].distance, times)))
