"""Site-Net's view of a crystal: every unique site against every site of a near-cubic supercell.

Moran et al., Digital Discovery 2023, 2, 1297. A pair takes the nearest periodic image within the
supercell, so each supercell site is met exactly once, the site itself at distance zero included.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import spglib
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal, decode_structure
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
    standard: bool = False
    """Whether the supercell is built on the Niggli-reduced vectors, so that their choice and order enter nowhere."""


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


def crystal_pairs(crystal: Crystal, rule: SupercellRule) -> Pairs:
    """Every site of a crystal against every site of its supercell, by the rule; its sites stay as they are.

    Args:
        crystal: the cell whose sites become receivers; the rule's ``primitive`` has been obeyed already.
        rule: size of the supercell, and the vectors that it is built on.

    Raises:
        InputError: If the limit is below one atom, or the lattice has no volume.
    """
    if not rule.standard:
        return supercell_pairs(crystal.lattice, crystal.frac, rule.max_atoms)
    return standard_pairs(crystal.numbers, crystal.lattice, crystal.frac, rule.max_atoms)


def supercell_cells(crystal: Crystal, rule: SupercellRule) -> int:
    """Number of cells in the supercell that the rule gives a crystal."""
    lattice = standard_steps(crystal.lattice) @ crystal.lattice if rule.standard else crystal.lattice
    return int(np.prod(np.diag(supercell_matrix(lattice, crystal.n_sites, rule.max_atoms))))


def standard_pairs(
    numbers: NDArray[np.int64], lattice: NDArray[np.float64], frac: NDArray[np.float64], max_atoms: int
) -> Pairs:
    """As ``supercell_pairs``, on a supercell that depends on the crystal alone, not on how its lattice is written.

    The near-cubic supercell is built on the Niggli-reduced vectors, whose lengths and angles are unique. Where the
    lattice has symmetry, several vectors have these lengths and angles (of a square net, a and b or b and a), and
    they may give supercells that differ for the crystal's sites. Of these the most compact one is taken, with the
    least ``sum_i Z_i (sum_j sqrt(Z_j) d_ij^2)^2``: no labelling of axes or sites enters this number.

    Args:
        numbers: atomic numbers, (N,).
        lattice: lattice vectors as rows, (3, 3), angstrom.
        frac: fractional coordinates, (N, 3).
        max_atoms: limit of the supercell.

    Returns:
        N * N * m pairs sorted by receiver; their offsets count the lattice vectors that were given.

    Raises:
        InputError: If the limit is below one atom, or the lattice has no volume.
    """
    lattice, frac = plain_copy(lattice), plain_copy(frac)
    steps = standard_steps(lattice)
    basis = steps @ lattice
    matrix = supercell_matrix(basis, len(frac), max_atoms)
    weight = np.sqrt(numbers.astype(np.float64))
    best, least = None, np.inf
    for turn in different_turns(matrix, lattice_turns(basis)):
        to_given = turn @ steps
        inside = plain_copy(frac @ _inverse(to_given))
        found = nearest_images(_rows(to_given, lattice), inside, matrix)
        score = crystal_score(weight, found[0], found[1], found[3])
        if score < least * (1 - _SAME_SCORE):
            best, least = (found, to_given), score
    assert best is not None  # the first turn is the identity, and every score is finite
    (src, dst, offset, distance), to_given = best
    return Pairs(src, dst, (offset @ to_given).astype(np.int32), distance)


_SAME_SCORE = 1e-12
"""Supercells whose scores differ less (relative) differ by rounding alone: the first is taken."""

_NIGGLI_EPS = (1e-8, 1e-6, 1e-10)
"""What spglib takes for equal among squares and products of reduced vectors, for cells of one cubic angstrom.

Rounding lies far below. Where a lattice misses a symmetry by about the first, spglib finds no end and takes the next.
"""


def standard_steps(lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integer matrix T, (3, 3) of determinant +-1, such that the rows of ``T @ lattice`` are Niggli-reduced vectors.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.

    Raises:
        InputError: If the lattice has no volume.
    """
    lattice = plain_copy(lattice)
    volume = abs(np.linalg.det(lattice)) if np.isfinite(lattice).all() else 0.0
    if not volume > 0:
        raise InputError(f"A crystal needs a lattice with a volume. Received: {lattice.tolist()}.")
    first = reducing_matrix(lattice)  # short vectors first: spglib's steps then stay few, its rounding small
    short = first @ lattice / volume ** (1 / 3)
    for eps in _NIGGLI_EPS:
        niggli = _niggli(short, eps)
        if niggli is not None:
            steps = np.rint(niggli @ np.linalg.inv(short)).astype(np.int64) @ first
            if abs(round(np.linalg.det(steps))) == 1:
                return steps
    raise InputError(f"spglib finds no Niggli-reduced cell. Received: {lattice.tolist()}. Check the lattice.")


def _niggli(lattice: NDArray[np.float64], eps: float) -> NDArray[np.float64] | None:
    """Niggli-reduced vectors, (3, 3); None where spglib finds no end, which some versions say as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about how spglib will say it in future
        try:
            return spglib.niggli_reduce(lattice, eps)
        except spglib.SpglibError:
            return None


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
    # Not looked at again for overlaps: the crystal was, and its primitive cell has the same distances.
    numbers, lattice, frac = decode_structure(primitive)
    return Crystal(crystal.id, numbers, lattice, frac, dict(crystal.labels), crystal.source)


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


# Compiled loops of the supercell view: how often the cell is repeated, and the nearest image of every site.

TIE = 1e-6
"""Axes closer than this (relative), and shears this close to a half, count as tied and are decided by rule."""

_TIE_SQUARE = 1e-10
"""Images whose squared distances (angstrom squared) differ less are equally near: rounding must not choose."""


@compiled()
def near_cubic(lattice, n_sites, max_atoms):  # type: ignore[no-untyped-def]
    """Matrix of the near-cubic supercell, (3, 3), and the volume of the cell, cubic angstrom.

    Args:
        lattice: lattice vectors as rows, (3, 3) float64, angstrom.
        n_sites: sites in that cell, at least one.
        max_atoms: limit of the supercell.
    """
    form = triangular_form(lattice)
    matrix = np.zeros((3, 3), dtype=np.int64)
    volume = form[0, 0] * form[1, 1] * form[2, 2]
    if not (volume > 0.0 and np.isfinite(volume)):
        return matrix, volume
    a, b, c = 1, 1, 1
    while True:
        # Of equal axes the first: the last bit of the arithmetic must not choose, it differs between machines.
        limit = min(a * form[0, 0], b * form[1, 1], c * form[2, 2]) * (1 + TIE)
        first = a * form[0, 0] <= limit
        second = not first and b * form[1, 1] <= limit
        if (a + first) * (b + second) * (c + (not first and not second)) * n_sites > max_atoms:
            break
        a, b, c = a + first, b + second, c + (not first and not second)
    # The shear diag(R) R^-1, written out for a triangular R.
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = a, b, c
    matrix[0, 1] = _whole(-a * form[0, 1] / form[1, 1])
    matrix[1, 2] = _whole(-b * form[1, 2] / form[2, 2])
    matrix[0, 2] = _whole(a * (form[0, 1] * form[1, 2] / form[1, 1] - form[0, 2]) / form[2, 2])
    return matrix, volume


@compiled()
def _whole(number):  # type: ignore[no-untyped-def]
    """Nearest integer; a half, give or take rounding, goes up."""
    return np.int64(np.rint(number + TIE))


@compiled()
def nearest_images(lattice, frac, matrix):  # type: ignore[no-untyped-def]
    """Nearest image of each supercell site to each unique site: (src, dst, offset, distance) of E = N * N * m pairs.

    Args:
        lattice: lattice vectors as rows, (3, 3) float64, angstrom.
        frac: fractional coordinates, (N, 3) float64.
        matrix: upper triangular matrix of the supercell, (3, 3) int64.
    """
    n = len(frac)
    in_cells = _times(reducing_matrix(_rows(matrix, lattice)), matrix)
    basis = _rows(in_cells, lattice)
    to_basis = _inverse(in_cells)
    image, square, safe = _neighbours(basis)
    cell = _translations(matrix)
    m = len(cell)
    src, dst = np.empty(n * n * m, np.int32), np.empty(n * n * m, np.int32)
    offset, distance = np.empty((n * n * m, 3), np.int32), np.empty(n * n * m)
    pair = 0
    for i in range(n):
        for j in range(n):
            for c in range(m):
                s0 = frac[j, 0] - frac[i, 0] + cell[c, 0]
                s1 = frac[j, 1] - frac[i, 1] + cell[c, 1]
                s2 = frac[j, 2] - frac[i, 2] + cell[c, 2]
                f0 = s0 * to_basis[0, 0] + s1 * to_basis[1, 0] + s2 * to_basis[2, 0]
                f1 = s0 * to_basis[0, 1] + s1 * to_basis[1, 1] + s2 * to_basis[2, 1]
                f2 = s0 * to_basis[0, 2] + s1 * to_basis[1, 2] + s2 * to_basis[2, 2]
                w0, w1, w2 = np.rint(f0), np.rint(f1), np.rint(f2)
                f0, f1, f2 = f0 - w0, f1 - w1, f2 - w2
                x = f0 * basis[0, 0] + f1 * basis[1, 0] + f2 * basis[2, 0]
                y = f0 * basis[0, 1] + f1 * basis[1, 1] + f2 * basis[2, 1]
                z = f0 * basis[0, 2] + f1 * basis[1, 2] + f2 * basis[2, 2]
                best = _CENTRE if x * x + y * y + z * z < safe else _best_image(x, y, z, image, square)
                x, y, z = x + image[best, 0], y + image[best, 1], z + image[best, 2]
                t0, t1, t2 = best // 9 - 1 - w0, best // 3 % 3 - 1 - w1, best % 3 - 1 - w2
                src[pair], dst[pair] = i, j
                for k in range(3):
                    steps = t0 * in_cells[0, k] + t1 * in_cells[1, k] + t2 * in_cells[2, k]
                    offset[pair, k] = np.int32(cell[c, k] + steps)
                distance[pair] = np.sqrt(x * x + y * y + z * z)
                pair += 1
    return src, dst, offset, distance


_CENTRE = 13
"""Number of the cell itself among its 27 neighbours, counted as 9 a + 3 b + c from (-1, -1, -1)."""


@compiled()
def _best_image(x, y, z, image, square):  # type: ignore[no-untyped-def]
    """Number of the first of the 27 cells that brings a wrapped vector nearest to zero."""
    best, least = 0, np.inf
    for g in range(27):
        # The vector's own square is left out: it is common to all.
        trial = 2.0 * (x * image[g, 0] + y * image[g, 1] + z * image[g, 2]) + square[g]
        if trial < least - _TIE_SQUARE:
            best, least = g, trial
    return best


@compiled()
def _neighbours(basis):  # type: ignore[no-untyped-def]
    """Vectors to the 27 cells around, (27, 3), their squares, (27,), and the square below which a vector is nearest.

    A wrapped vector shorter than half the way to every other cell has no nearer image.
    """
    image, square, least = np.zeros((27, 3)), np.zeros(27), np.inf
    for g in range(27):
        for k in range(3):
            image[g, k] = (g // 9 - 1) * basis[0, k] + (g // 3 % 3 - 1) * basis[1, k] + (g % 3 - 1) * basis[2, k]
            square[g] += image[g, k] * image[g, k]
        if g != _CENTRE:
            least = min(least, square[g])
    return image, square, 0.2499 * least


@compiled()
def _translations(matrix):  # type: ignore[no-untyped-def]
    """Every lattice translation modulo the supercell once, (m, 3): the box of the triangular matrix's diagonal."""
    a, b, c = matrix[0, 0], matrix[1, 1], matrix[2, 2]
    cell = np.empty((a * b * c, 3))
    for number in range(a * b * c):
        cell[number, 0], cell[number, 1], cell[number, 2] = number // (b * c), number // c % b, number % c
    return cell


@compiled()
def _times(left, right):  # type: ignore[no-untyped-def]
    """Product of two integer matrices, (3, 3)."""
    out = np.zeros((3, 3), dtype=np.int64)
    for i in range(3):
        for k in range(3):
            out[i, k] = left[i, 0] * right[0, k] + left[i, 1] * right[1, k] + left[i, 2] * right[2, k]
    return out


@compiled()
def _rows(steps, lattice):  # type: ignore[no-untyped-def]
    """Lattice vectors made of whole steps along others: ``steps @ lattice``, (3, 3)."""
    out = np.zeros((3, 3))
    for i in range(3):
        for k in range(3):
            out[i, k] = steps[i, 0] * lattice[0, k] + steps[i, 1] * lattice[1, k] + steps[i, 2] * lattice[2, k]
    return out


@compiled()
def _inverse(steps):  # type: ignore[no-untyped-def]
    """Inverse of an integer matrix, (3, 3), by its cofactors."""
    out = np.empty((3, 3))
    for i in range(3):
        for k in range(3):
            p, q, r, s = (k + 1) % 3, (k + 2) % 3, (i + 1) % 3, (i + 2) % 3
            out[i, k] = steps[p, r] * steps[q, s] - steps[p, s] * steps[q, r]
    determinant = steps[0, 0] * out[0, 0] + steps[0, 1] * out[1, 0] + steps[0, 2] * out[2, 0]
    for i in range(3):
        for k in range(3):
            out[i, k] /= determinant
    return out


# Shapes of a lattice for compiled code: its triangular form and its short, nearly orthogonal basis.

_DELTA = 0.75
"""Strictness of the reduction, as in pymatgen."""

_MOST_STEPS = 10_000
"""Far more than any lattice with a volume takes; without one the reduction would never end."""


_ALONG = (22, 16, 14)
"""Numbers of the three lattice vectors themselves among the 27 steps, counted as 9 a + 3 b + c from (-1, -1, -1)."""

_SAME_METRIC = 1e-4
"""Products of vectors closer than this, as a part of the longest square, are equal: turns of the lattice keep them."""


@compiled()
def lattice_turns(basis):  # type: ignore[no-untyped-def]
    """Every W, (n, 3, 3) int64, for which ``W @ basis`` has the lengths and angles of the basis; the identity first.

    Of W and -W, which give the same supercell, the one of determinant +1. The entries of turns of reduced vectors
    are -1, 0 or 1 (International Tables for Crystallography A, 1.3).

    Args:
        basis: reduced lattice vectors as rows, (3, 3) float64, angstrom.
    """
    metric, step = np.zeros((3, 3)), np.zeros((27, 3), dtype=np.int64)
    for i in range(3):
        for j in range(3):
            metric[i, j] = basis[i, 0] * basis[j, 0] + basis[i, 1] * basis[j, 1] + basis[i, 2] * basis[j, 2]
    for g in range(27):
        step[g, 0], step[g, 1], step[g, 2] = g // 9 - 1, g // 3 % 3 - 1, g % 3 - 1
    tolerance = _SAME_METRIC * max(metric[0, 0], metric[1, 1], metric[2, 2])
    turns, n = np.zeros((24, 3, 3), dtype=np.int64), 1
    turns[0, 0, 0] = turns[0, 1, 1] = turns[0, 2, 2] = 1
    for a in range(27):
        if abs(_product(step[a], step[a], metric) - metric[0, 0]) > tolerance:
            continue
        for b in range(27):
            if abs(_product(step[b], step[b], metric) - metric[1, 1]) > tolerance:
                continue
            if abs(_product(step[a], step[b], metric) - metric[0, 1]) > tolerance:
                continue
            for c in range(27):
                fits = abs(_product(step[c], step[c], metric) - metric[2, 2]) <= tolerance
                fits = fits and abs(_product(step[a], step[c], metric) - metric[0, 2]) <= tolerance
                fits = fits and abs(_product(step[b], step[c], metric) - metric[1, 2]) <= tolerance
                if not fits or n == 24 or _determinant(step[a], step[b], step[c]) != 1:
                    continue
                if not (a == _ALONG[0] and b == _ALONG[1] and c == _ALONG[2]):
                    turns[n, 0], turns[n, 1], turns[n, 2] = step[a], step[b], step[c]
                    n += 1
    return turns[:n]


@compiled()
def _product(left, right, metric):  # type: ignore[no-untyped-def]
    """Inner product, angstrom squared, of two vectors given in whole steps along the basis."""
    total = 0.0
    for i in range(3):
        for j in range(3):
            total += left[i] * metric[i, j] * right[j]
    return total


@compiled()
def _determinant(a, b, c):  # type: ignore[no-untyped-def]
    """Determinant of three rows."""
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@compiled()
def different_turns(matrix, turns):  # type: ignore[no-untyped-def]
    """Those turns, (n, 3, 3), after which ``matrix @ turn`` spans supercells that differ from each other.

    Two matrices span one supercell where they have the same Hermite normal form.

    Args:
        matrix: matrix of the supercell, (3, 3) int64.
        turns: turns of the lattice, (n, 3, 3) int64.
    """
    forms, kept = np.zeros((len(turns), 3, 3), dtype=np.int64), np.zeros_like(turns)
    n = 0
    for t in range(len(turns)):
        form = hermite_form(_times(matrix, turns[t]))
        new = True
        for k in range(n):
            if np.all(forms[k] == form):
                new = False
                break
        if new:
            forms[n], kept[n] = form, turns[t]
            n += 1
    return kept[:n]


@compiled()
def hermite_form(matrix):  # type: ignore[no-untyped-def]
    """Hermite normal form, (3, 3): upper triangular, positive diagonal, entries above it from 0 up to it."""
    form = matrix.copy()
    for k in range(3):
        for i in range(k + 1, 3):
            while form[i, k] != 0:  # Euclid's algorithm on two rows
                times = form[k, k] // form[i, k]
                for j in range(3):
                    rest = form[k, j] - times * form[i, j]
                    form[k, j], form[i, j] = form[i, j], rest
        if form[k, k] < 0:
            for j in range(3):
                form[k, j] = -form[k, j]
        for i in range(k):
            times = form[i, k] // form[k, k]
            for j in range(3):
                form[i, j] -= times * form[k, j]
    return form


@compiled()
def crystal_score(weight, src, dst, distance):  # type: ignore[no-untyped-def]
    """How spread out a supercell is around its sites, ``sum_i w_i^2 (sum_j w_j d_ij^2)^2``: see ``standard_pairs``.

    Args:
        weight: what stands for the element of each site, (N,): the root of its atomic number.
        src: receivers in rising order, (E,).
        dst: senders, (E,).
        distance: distances, (E,), angstrom.
    """
    total, site, own = 0.0, src[0], 0.0
    for pair in range(len(src)):
        if src[pair] != site:
            total += weight[site] * weight[site] * own * own
            site, own = src[pair], 0.0
        own += weight[dst[pair]] * distance[pair] * distance[pair]
    return total + weight[site] * weight[site] * own * own


@compiled()
def triangular_form(lattice):  # type: ignore[no-untyped-def]
    """Upper triangular R, (3, 3) angstrom, with lattice = R Q, Q orthogonal and no diagonal entry below zero.

    Gram-Schmidt from the last row up: the third vector gives the third axis, the second one the plane.
    """
    form = np.zeros((3, 3))
    axes = np.zeros((3, 3))
    for i in range(2, -1, -1):
        x, y, z = lattice[i, 0], lattice[i, 1], lattice[i, 2]
        for k in range(2, i, -1):
            form[i, k] = x * axes[k, 0] + y * axes[k, 1] + z * axes[k, 2]
            x -= form[i, k] * axes[k, 0]
            y -= form[i, k] * axes[k, 1]
            z -= form[i, k] * axes[k, 2]
        length = np.sqrt(x * x + y * y + z * z)
        form[i, i] = length
        if length > 0.0:
            axes[i, 0], axes[i, 1], axes[i, 2] = x / length, y / length, z / length
    return form


@compiled()
def reducing_matrix(lattice):  # type: ignore[no-untyped-def]
    """Integer matrix T, (3, 3), such that the rows of ``T @ lattice`` are a Lenstra-Lenstra-Lovasz reduced basis."""
    steps, basis = np.zeros((3, 3), dtype=np.int64), lattice.copy()
    overlap, upright, square = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
    steps[0, 0] = steps[1, 1] = steps[2, 2] = 1
    row = 1
    for _ in range(_MOST_STEPS):
        # Three vectors: doing Gram-Schmidt anew costs less than keeping it up to date, and gathers no error.
        _gram_schmidt(basis, overlap, upright, square)
        for i in range(row - 1, -1, -1):
            times = np.rint(overlap[row, i])
            for k in range(3):
                basis[row, k] -= times * basis[i, k]
                steps[row, k] -= np.int64(times) * steps[i, k]
                overlap[row, k] -= times * overlap[i, k]
        if square[row] >= (_DELTA - overlap[row, row - 1] ** 2) * square[row - 1]:
            row += 1
            if row == 3:
                break
        else:
            for k in range(3):
                basis[row, k], basis[row - 1, k] = basis[row - 1, k], basis[row, k]
                steps[row, k], steps[row - 1, k] = steps[row - 1, k], steps[row, k]
            row = max(row - 1, 1)
    return steps


# Loops instead of whole rows at a time in these files: numba compiles them in a fraction of the time.
@compiled()
def _gram_schmidt(basis, overlap, upright, square):  # type: ignore[no-untyped-def]
    """Fill in each row's coefficients in the rows made orthogonal before it, (3, 3), those rows, and their squares."""
    for i in range(3):
        square[i] = 0.0
        for k in range(3):
            overlap[i, k] = 1.0 if i == k else 0.0
            upright[i, k] = basis[i, k]
        for j in range(i):
            inner = basis[i, 0] * upright[j, 0] + basis[i, 1] * upright[j, 1] + basis[i, 2] * upright[j, 2]
            overlap[i, j] = inner / square[j]
            for k in range(3):
                upright[i, k] -= overlap[i, j] * upright[j, k]
        for k in range(3):
            square[i] += upright[i, k] * upright[i, k]
