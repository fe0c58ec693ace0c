"""Site-Net's view of a crystal: every unique site against every site of a near-cubic supercell.

Moran et al., Digital Discovery 2023, 2, 1297. A pair takes the nearest periodic image within the
supercell, so each supercell site is met exactly once, the site itself at distance zero included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.nearest import near_cubic, nearest_images
from matgl_infomax.errors import InputError
from matgl_infomax.jit import compiled


@dataclass(frozen=True)
class SupercellRule:
    """How a crystal becomes pairs."""

    max_atoms: int = 50
    """Limit of the supercell."""
    primitive: bool = True
    """Whether the cell is made primitive first."""
    merge_angstrom: float = 1e-4
    """Distances within this of each other count as equal where equal sites and pairs are merged."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed pairs of one crystal, sorted by receiver.

    In a supercell all receivers list its sites in the same order.
    """

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
        InputError: If the limit is below one atom, or the lattice has no volume.
    """
    if max_atoms < 1:
        raise InputError(f"A supercell needs room for an atom. Received: {max_atoms}. Set supercell_atoms >= 1.")
    matrix, volume = near_cubic(plain_copy(lattice), n_sites, max_atoms)
    if not (volume > 0 and np.isfinite(volume)):
        raise InputError(f"A crystal needs a lattice with a volume. Received: {np.asarray(lattice).tolist()}.")
    return np.asarray(matrix)


def supercell_pairs(lattice: NDArray[np.float64], frac: NDArray[np.float64], max_atoms: int) -> Pairs:
    """Every unique site against every site of the near-cubic supercell, at its nearest image.

    Neighbour j of the supercell is image ``j % m`` of unique site ``j // m``, m being the number of cells.
    With d the distance and t the offset, d = |(frac[dst] + t - frac[src]) @ lattice|. Of images at the same
    distance the first is taken, in the order of the translations of the supercell's reduced basis.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.
        frac: fractional coordinates, (N, 3).
        max_atoms: limit of the supercell.

    Returns:
        N * N * m pairs sorted by receiver.

    Raises:
        InputError: If the limit is below one atom, or the lattice has no volume.
    """
    matrix = supercell_matrix(lattice, len(frac), max_atoms)
    src, dst, offset, distance = nearest_images(plain_copy(lattice), plain_copy(frac), matrix)
    return Pairs(src=src, dst=dst, offset=offset, distance=distance)


def plain_copy(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """A writable, contiguous copy in double precision: anything else would make numba compile once more."""
    return np.array(array, dtype=np.float64, order="C")


def primitive_cell(crystal: Crystal) -> Crystal:
    """The smallest cell that repeats to the same crystal, found with pymatgen's default tolerances.

    Args:
        crystal: any ordered crystal.

    Returns:
        The crystal itself when its cell is primitive already.
    """
    if _is_surely_primitive(crystal.numbers.astype(np.int64), plain_copy(crystal.lattice), plain_copy(crystal.frac)):
        return crystal
    primitive = crystal.to_structure().get_primitive_structure()
    if len(primitive) == crystal.n_sites:
        return crystal
    return Crystal.from_structure(primitive, id=crystal.id, labels=crystal.labels, source=crystal.source)


_TOLERANCE = 0.25 * (1 + 1e-6)
"""How far a site may lie beside its copy along each axis, angstrom: pymatgen's default, and no rounding below it."""

_MOST_KINDS = 200
"""More than there are elements."""


@compiled()
def _is_surely_primitive(numbers, lattice, frac):  # type: ignore[no-untyped-def]
    """Whether pymatgen's ``get_primitive_structure`` would certainly leave a crystal as it is.

    pymatgen looks for cells D times smaller, D dividing the counts of all elements. Each vector of such a cell is,
    in fractions of the cell, a multiple of 1/D; it must lie within the tolerance of a vector from the first to some
    site of the rarest element, and that vector within twice the tolerance of one that moves any site to another of
    its element. Here the same vectors are tried (for all elements that are rarest), but not the cells they make.
    """
    count = np.zeros(_MOST_KINDS, dtype=np.int64)
    for z in numbers:
        count[z] += 1
    divisor, rarest = 0, len(numbers)
    for some in count:
        if some:
            divisor, rarest = np.gcd(divisor, some), min(rarest, some)
    if divisor == 1:
        return True
    step, tolerance = np.zeros(3), np.zeros(3)  # fractions of the cell
    for k in range(3):
        tolerance[k] = _TOLERANCE / np.sqrt(lattice[k, 0] ** 2 + lattice[k, 1] ** 2 + lattice[k, 2] ** 2)
    for i in range(len(numbers)):
        # The first site of its element, unless that one is done already.
        if count[numbers[i]] != rarest:
            continue
        count[numbers[i]] = 0
        for j in range(i, len(numbers)):
            if numbers[j] == numbers[i]:
                for k in range(3):
                    step[k] = frac[j, k] - frac[i, k]
                if _may_span_smaller_cell(step, tolerance, divisor) and _maps_all(step, tolerance, numbers, frac):
                    return False
    return True


@compiled()
def _may_span_smaller_cell(step, tolerance, divisor):  # type: ignore[no-untyped-def]
    """Whether a vector lies near a multiple of 1/D, not a whole one, for some divisor D > 1."""
    for parts in range(2, divisor + 1):
        if divisor % parts:
            continue
        near, broken = True, False
        for k in range(3):
            if tolerance[k] * parts >= 0.5:
                # So coarse that any vector is near a fraction that is not whole.
                broken = True
                continue
            multiple = np.rint(step[k] * parts)
            near = near and abs(step[k] * parts - multiple) <= tolerance[k] * parts
            broken = broken or multiple % parts != 0
        if near and broken:
            return True
    return False


@compiled()
def _maps_all(step, tolerance, numbers, frac):  # type: ignore[no-untyped-def]
    """Whether a vector brings every site near another (or itself) of its element, within twice the tolerance."""
    for i in range(len(frac)):
        found = False
        for j in range(len(frac)):
            if numbers[i] == numbers[j] and not found:
                found = True
                for k in range(3):
                    off = frac[j, k] - frac[i, k] - step[k]
                    found = found and abs(off - np.rint(off)) <= 2 * tolerance[k]
        if not found:
            return False
    return True
