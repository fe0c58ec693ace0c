"""Site-Net's view of a crystal: every unique site against every site of a near-cubic supercell.

Moran et al., Digital Discovery 2023, 2, 1297. A pair takes the nearest periodic image within the
supercell, so each supercell site is met exactly once, the site itself at distance zero included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import rq

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError

# Closest images of a vector already wrapped into an LLL-reduced cell lie among its 27 neighbours.
_NEIGHBOUR_CELLS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.float64)  # (27, 3)

TIE = 1e-6
"""Axes closer than this (relative), and shears this close to a half, count as tied and are decided by rule."""


@dataclass(frozen=True)
class SupercellRule:
    """How a crystal becomes pairs: the limit of the supercell, and whether the cell is made primitive first."""

    max_atoms: int = 50
    primitive: bool = True


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed pairs of one crystal, sorted by receiver; all receivers list the supercell's sites in the same order."""

    src: NDArray[np.int32]
    """Receiver i, (E,)."""
    dst: NDArray[np.int32]
    """Unique site that the neighbour j is an image of, (E,)."""
    offset: NDArray[np.int32]
    """Lattice translation of that image, in cells, (E, 3)."""
    distance: NDArray[np.float64]
    """Distance, (E,), angstrom."""


def supercell_matrix(lattice: NDArray[np.float64], n_sites: int, max_atoms: int) -> NDArray[np.int64]:
    """Integer matrix M such that ``M @ lattice`` is near-cubic and holds at most ``max_atoms`` atoms.

    With lattice = R Q (R upper triangular), the shear diag(R) R^-1 makes the cell orthogonal; the shortest axis
    is lengthened until the next step would exceed the limit. A cell above the limit is left as it is.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.
        n_sites: sites in that cell.
        max_atoms: limit of the supercell.

    Returns:
        Upper triangular integer matrix, (3, 3), whose diagonal holds the repetitions.

    Raises:
        InputError: If the limit is below one atom.
    """
    if max_atoms < 1:
        raise InputError(f"A supercell needs room for an atom. Received: {max_atoms}. Set supercell_atoms >= 1.")
    triangular = rq(lattice)[0]  # (3, 3)
    edge = np.abs(np.diag(triangular))  # (3,)
    shear = np.diag(np.diag(triangular)) @ np.linalg.inv(triangular)
    repeat = np.ones(3, dtype=np.int64)
    while True:
        longer = repeat.copy()
        reach = repeat * edge
        # Of equal axes the first: the last bit of the arithmetic must not choose, it differs between machines.
        longer[np.argmax(reach <= reach.min() * (1 + TIE))] += 1
        if longer.prod() * n_sites > max_atoms:
            break
        repeat = longer
    return np.rint(repeat[:, None] * shear + TIE).astype(np.int64)


def supercell_pairs(lattice: NDArray[np.float64], frac: NDArray[np.float64], max_atoms: int) -> Pairs:
    """Every unique site against every site of the near-cubic supercell, at its nearest image.

    Neighbour j of the supercell is image ``j % m`` of unique site ``j // m``, m being the number of cells.
    With d the distance and t the offset, d = |(frac[dst] + t - frac[src]) @ lattice|.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.
        frac: fractional coordinates, (N, 3).
        max_atoms: limit of the supercell.

    Returns:
        N * N * m pairs sorted by receiver.
    """
    n = len(frac)
    matrix = supercell_matrix(lattice, n, max_atoms)
    # M is triangular, so the box of its diagonal holds each translation modulo the supercell once.
    cell = np.array(list(product(*(range(k) for k in np.diag(matrix)))), dtype=np.float64)  # (m, 3)
    shift = frac[None, :, None, :] - frac[:, None, None, :] + cell[None, None]  # (N, N, m, 3)
    shift = shift.reshape(-1, 3)  # (E, 3)

    basis = _reduced_basis(matrix @ lattice)
    to_basis = lattice @ np.linalg.inv(basis)
    wrap = np.rint(shift @ to_basis)  # (E, 3)
    vector = shift @ lattice - wrap @ basis  # (E, 3)
    image = _NEIGHBOUR_CELLS @ basis  # (27, 3)
    square = 2.0 * vector @ image.T + (image * image).sum(1)  # (E, 27), |vector|^2 left out: it is common
    best = square.argmin(1)  # (E,)
    vector = vector + image[best]
    in_cells = np.rint((_NEIGHBOUR_CELLS[best] - wrap) @ basis @ np.linalg.inv(lattice))  # (E, 3)

    m = len(cell)
    src = np.repeat(np.arange(n, dtype=np.int32), n * m)
    dst = np.tile(np.repeat(np.arange(n, dtype=np.int32), m), n)
    offset = (np.tile(cell, (n * n, 1)) + in_cells).astype(np.int32)
    return Pairs(src, dst, offset, np.sqrt((vector * vector).sum(1)))


def _reduced_basis(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """A short, nearly orthogonal basis of the same lattice (Lenstra-Lenstra-Lovasz), rows, angstrom."""
    from pymatgen.core import Lattice

    return np.asarray(Lattice(lattice).lll_matrix)


def primitive_cell(crystal: Crystal) -> Crystal:
    """The smallest cell that repeats to the same crystal, found with pymatgen's default tolerances.

    Args:
        crystal: any ordered crystal.

    Returns:
        The crystal itself when its cell is primitive already.
    """
    if _is_surely_primitive(crystal.numbers):
        return crystal
    primitive = crystal.to_structure().get_primitive_structure()
    if len(primitive) == crystal.n_sites:
        return crystal
    return Crystal.from_structure(primitive, id=crystal.id, labels=crystal.labels, source=crystal.source)


def _is_surely_primitive(numbers: NDArray[np.int64]) -> bool:
    """Whether the counts of the elements have no common divisor, so that no smaller cell can exist."""
    return int(np.gcd.reduce(np.unique(numbers, return_counts=True)[1])) == 1
