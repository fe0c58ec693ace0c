"""Site-Net's supercell, step by step as the paper's code defines it, with pymatgen doing the geometry.

Nothing here shares code with ``matgl_infomax.data.supercell``: the images are enumerated by pymatgen's
``make_supercell`` and the distances come from its periodic ``distance_matrix``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy.linalg import rq


def reference_matrix(lattice: NDArray[np.float64], n_sites: int, max_atoms: int) -> NDArray[np.int64]:
    """Steps 1 to 4 of the specification: RQ, shear, greedy repetition, rounding; (3, 3) integers."""
    length, shear = _lengths_and_shear(lattice)
    n = [1, 1, 1]
    while True:
        k = int(np.argmin([n[a] * length[a] for a in range(3)]))
        trial = list(n)
        trial[k] += 1
        if trial[0] * trial[1] * trial[2] * n_sites <= max_atoms:
            n = trial
        else:
            break
    return np.round(np.diag(n) @ shear).astype(np.int64)


def admissible_matrices(
    lattice: NDArray[np.float64], n_sites: int, max_atoms: int, *, tie: float = 1e-6
) -> list[NDArray[np.int64]]:
    """Every result the four steps can have when a tie (equal lengths, exact halves) falls either way.

    In a symmetric cell the shortest of two equal axes, or the rounding of one half, is decided by the last
    bit of the decomposition; the specification does not say how.
    """
    length, shear = _lengths_and_shear(lattice)
    done: set[tuple[int, ...]] = set()
    open_: set[tuple[int, ...]] = {(1, 1, 1)}
    while open_:
        n = open_.pop()
        reach = np.array(n) * length
        for k in np.flatnonzero(reach <= reach.min() * (1 + tie)):
            longer = tuple(int(n[a] + (a == k)) for a in range(3))
            fits = np.prod(longer) * n_sites <= max_atoms
            (open_ if fits else done).add(longer if fits else n)
    out = {}
    for n in done:
        real = np.diag(n) @ shear  # (3, 3)
        choices = [sorted({round(float(x) - tie), round(float(x) + tie)}) for x in real.ravel()]
        for entries in product(*choices):
            out[entries] = np.array(entries, dtype=np.int64).reshape(3, 3)
    return list(out.values())


def _lengths_and_shear(lattice: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    triangular, orthogonal = rq(lattice)
    assert np.allclose(triangular @ orthogonal, lattice)
    return np.abs(np.diag(triangular)), np.diag(np.diag(triangular)) @ np.linalg.inv(triangular)


def reference_distances(structure: Structure, matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of every unique site to every image of every unique site, (n_p, n_p, m), angstrom, sorted along m.

    Row i is the representative u * m of unique site u among the n_p * m sites of the supercell ``matrix``, in
    which pymatgen keeps the images of a unique site together. Their order is not specified: sorting makes
    it comparable.
    """
    n_p = len(structure)
    supercell = structure.make_supercell(matrix, in_place=False)
    m = len(supercell) // n_p
    full = supercell.distance_matrix  # (n_p * m, n_p * m)
    return np.sort(full[::m].reshape(n_p, n_p, m), axis=2)


def reference_coulomb(structure: Structure, matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Published second pair channel: log of the Coulomb matrix, clipped; (n_p, n_p, m), sorted along m.

    Z_i Z_j / d with d in bohr, 0.5 Z^2.4 for a site with itself, as in matminer's (non-sine) Coulomb matrix.
    """
    from matminer.featurizers.structure.matrix import CoulombMatrix

    n_p = len(structure)
    supercell = structure.make_supercell(matrix, in_place=False)
    m = len(supercell) // n_p
    coulomb = CoulombMatrix(flatten=False).featurize(supercell)[0]  # (n_p * m, n_p * m)
    channel = np.clip(np.log(coulomb + 1e-8), -10, 10)
    return np.sort(channel[::m].reshape(n_p, n_p, m), axis=2)


def exhaustive_distances(
    lattice: NDArray[np.float64], frac: NDArray[np.float64], matrix: NDArray[np.int64], reach: int
) -> NDArray[np.float64]:
    """The same distances by trying every image within ``reach`` supercells; (n_p, n_p, m), sorted along m.

    Exact for any supercell shape once ``reach`` is large enough; the supercell is LLL-reduced first so
    that a reach of 3 is.
    """
    from pymatgen.core import Lattice

    reduced = Lattice(matrix @ lattice).lll_matrix
    image = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ reduced  # (K, 3)
    cell = np.array(list(product(*(range(int(n)) for n in np.diag(matrix)))))  # (m, 3), M is triangular
    n_p = len(frac)
    out = np.empty((n_p, n_p, len(cell)))
    for i, j, c in product(range(n_p), range(n_p), range(len(cell))):
        shift = (frac[j] + cell[c] - frac[i]) @ lattice @ np.linalg.inv(reduced)
        shift = shift - np.floor(shift)
        out[i, j, c] = np.linalg.norm(shift @ reduced + image, axis=1).min()
    return np.sort(out, axis=2)
