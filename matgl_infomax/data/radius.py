"""The usual view of a crystal: every site and all its neighbours within a cut-off, images included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.supercell import Pairs, SupercellRule, plain_copy, triangular_form
from matgl_infomax.errors import InputError
from matgl_infomax.jit import compiled

_REACH = 1e-8
"""Squared distances this much above the limit (angstrom squared) count too, as in MatGL: rounding must not choose."""

_FAR = 1e12
"""Coordinates this many cells away are no positions of atoms; counting cells from there would never end."""


@dataclass(frozen=True)
class RadiusRule:
    """A crystal is joined to all neighbours within a cut-off; found for each batch anew, in a few milliseconds."""

    cutoff_angstrom: float = 5.0
    """Largest distance of a pair."""
    primitive: bool = False
    """Whether the cell is made primitive first."""

    def __post_init__(self) -> None:
        """Refuse a cut-off that is none; 5 and 5.0 are the same rule."""
        object.__setattr__(self, "cutoff_angstrom", _checked(self.cutoff_angstrom))


EdgeRule = SupercellRule | RadiusRule
"""How a crystal becomes pairs."""

RULES: dict[str, type[EdgeRule]] = {rule.__name__: rule for rule in (SupercellRule, RadiusRule)}
"""Rules by the name under which a store notes its own."""


def radius_pairs(lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff_angstrom: float) -> Pairs:
    """All pairs of sites no further apart than the cut-off, without each site's pair with itself.

    With d the distance and t the offset, d = |(frac[dst] + t - frac[src]) @ lattice|.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.
        frac: fractional coordinates, (N, 3), inside the cell or not.
        cutoff_angstrom: largest distance; it may be longer than the cell.

    Returns:
        E pairs sorted by receiver, then by neighbour, then by offset.

    Raises:
        InputError: If the cut-off is not a positive number, the lattice has no volume, or a coordinate is no number.
    """
    square = _checked(cutoff_angstrom) ** 2 + _REACH
    first = np.array([0, len(frac)], dtype=np.int64)
    volume, src, dst, offset, distance = _pairs_within(plain_copy(lattice)[None], plain_copy(frac), first, square)
    if not 0 < volume[0] < np.inf:
        raise InputError(
            "A crystal needs a lattice with a volume and coordinates that are numbers. "
            f"Received: {np.asarray(lattice).tolist()} and {np.asarray(frac).tolist()}."
        )
    return Pairs(src=src, dst=dst, offset=offset, distance=distance)


def batch_pairs(
    lattice: NDArray[np.float64], frac: NDArray[np.float64], n_sites: NDArray[np.int64], cutoff_angstrom: float
) -> Pairs:
    """The pairs of several crystals, one after the other, with the sites numbered through.

    Args:
        lattice: lattice vectors as rows, (B, 3, 3), angstrom.
        frac: fractional coordinates of all sites, (N, 3).
        n_sites: sites of each crystal, (B,).
        cutoff_angstrom: largest distance.

    Returns:
        E pairs sorted by receiver, those of each crystal as ``radius_pairs`` gives them.

    Raises:
        InputError: If a crystal has no volume, or a coordinate is no number.
    """
    first = np.concatenate([[0], np.cumsum(n_sites)]).astype(np.int64)
    square = _checked(cutoff_angstrom) ** 2 + _REACH
    volume, src, dst, offset, distance = _pairs_within(plain_copy(lattice), plain_copy(frac), first, square)
    bad = np.flatnonzero(~(volume > 0))
    if len(bad):
        raise InputError(
            "A crystal needs a lattice with a volume and coordinates that are numbers. "
            f"Received: {lattice[bad[0]].tolist()} as number {bad[0]} of a batch."
        )
    return Pairs(src=src, dst=dst, offset=offset, distance=distance)


def _checked(cutoff_angstrom: float) -> float:
    """The cut-off itself, if it is one."""
    if not 0 < cutoff_angstrom < np.inf:
        raise InputError(f"A cut-off must be a positive number of angstrom. Received: {cutoff_angstrom}.")
    return float(cutoff_angstrom)


@compiled()
def _pairs_within(lattices, frac, first, square):  # type: ignore[no-untyped-def]
    """Count first, then write: (volume, src, dst, offset, distance) of all crystals' pairs, E together.

    The volume of a crystal is NaN, and it has no pairs, where none can be.

    Args:
        lattices: lattice vectors as rows, (B, 3, 3) float64, angstrom.
        frac: fractional coordinates, (N, 3) float64.
        first: first site of each crystal, and N, (B + 1,) int64.
        square: square of the largest distance, angstrom squared.
    """
    n_crystals = len(lattices)
    axes, form, volume = np.empty((n_crystals, 3), np.int64), np.empty((n_crystals, 3, 3)), np.empty(n_crystals)
    place, block = np.empty((len(frac), 3)), np.zeros(n_crystals + 1, np.int64)
    for c in range(n_crystals):
        axes[c] = _longest_first(lattices[c])
        volume[c] = _turn(lattices[c], frac[first[c] : first[c + 1]], axes[c], form[c], place[first[c] : first[c + 1]])
        n = first[c + 1] - first[c]
        block[c + 1] = block[c] + (n * n + 1 if volume[c] > 0.0 else 0)
    start, total = np.zeros(block[-1], np.int64), 0
    none = np.empty(0, np.int32), np.empty((0, 3), np.int32), np.empty(0)
    for c in range(n_crystals):
        if volume[c] > 0.0:
            counts = start[block[c] : block[c + 1]]
            _walk(form[c], place[first[c] : first[c + 1]], axes[c], square, counts, none[0], none[1], none[2])
            for k in range(len(counts)):
                total += counts[k]
                counts[k] = total
    src, dst = np.empty(total, np.int32), np.empty(total, np.int32)
    offset, distance = np.empty((total, 3), np.int32), np.empty(total)
    for c in range(n_crystals):
        if volume[c] > 0.0 and total > 0:
            starts, n = start[block[c] : block[c + 1]], first[c + 1] - first[c]
            _walk(form[c], place[first[c] : first[c + 1]], axes[c], square, starts, dst, offset, distance)
            for i in range(n):
                for pair in range(starts[i * n], starts[i * n + n]):
                    src[pair] = first[c] + i
                    dst[pair] += first[c]
    return volume, src, dst, offset, distance


@compiled()
def _turn(lattice, frac, axes, form, place):  # type: ignore[no-untyped-def]
    """Write the triangular form of the turned lattice and the turned coordinates; the volume, NaN where there is none.

    Args:
        lattice: lattice vectors as rows, (3, 3), angstrom.
        frac: fractional coordinates, (N, 3).
        axes: order of the lattice vectors for the walk, (3,).
        form: room for the form, (3, 3).
        place: room for the coordinates, (N, 3).
    """
    turned, far = np.empty((3, 3)), 0.0
    for k in range(3):
        for i in range(3):
            turned[k, i] = lattice[axes[k], i]
        for i in range(len(frac)):
            place[i, k] = frac[i, axes[k]]
            far += abs(place[i, k])
    form[:] = triangular_form(turned)
    volume = form[0, 0] * form[1, 1] * form[2, 2]
    return volume if 0.0 < volume < np.inf and far < _FAR else np.nan


@compiled()
def _longest_first(lattice):  # type: ignore[no-untyped-def]
    """Order of the lattice vectors for the walk, (3,): its innermost loop, the cheapest, runs along the shortest."""
    axes, square = np.empty(3, np.int64), np.empty(3)
    for k in range(3):
        square[k] = lattice[k, 0] ** 2 + lattice[k, 1] ** 2 + lattice[k, 2] ** 2
    for k in range(3):
        rank = 0
        for other in range(3):
            rank += square[other] > square[k] or (square[other] == square[k] and other < k)
        axes[rank] = k
    return axes


@compiled()
def _walk(form, frac, axes, square, start, dst, offset, distance):  # type: ignore[no-untyped-def]
    """Without room for pairs, count those of sites (i, j) in start[i N + j + 1]; else write them from start[i N + j].

    In the axes of the triangular form x depends on the first translation alone, y on two of them, z on all three:
    what x and y leave of the sphere bounds the next translation, so that no image beyond it is ever tried.
    """
    n, counting = len(frac), len(dst) == 0
    for i in range(n):
        for j in range(i, n):
            found, here, there = 0, start[i * n + j], start[j * n + i + 1] - 1
            f0, f1, f2 = frac[j, 0] - frac[i, 0], frac[j, 1] - frac[i, 1], frac[j, 2] - frac[i, 2]
            low0, high0 = _steps_within(f0 * form[0, 0], form[0, 0], square)
            for t0 in range(low0, high0 + 1):
                x = (f0 + t0) * form[0, 0]
                y0, z0 = (f0 + t0) * form[0, 1] + f1 * form[1, 1], (f0 + t0) * form[0, 2]
                low1, high1 = _steps_within(y0, form[1, 1], square - x * x)
                for t1 in range(low1, high1 + 1):
                    y, z1 = y0 + t1 * form[1, 1], z0 + (f1 + t1) * form[1, 2] + f2 * form[2, 2]
                    low2, high2 = _steps_within(z1, form[2, 2], square - x * x - y * y)
                    myself = i == j and t0 == 0 and t1 == 0 and low2 <= 0 <= high2
                    if counting:
                        found += high2 - low2 + 1 - myself
                        continue
                    for t2 in range(low2, high2 + 1):
                        if myself and t2 == 0:
                            continue
                        z = z1 + t2 * form[2, 2]
                        # And the way back, in the opposite order; between a site's own images that is the same list.
                        go, back = here + found, there - found
                        dst[go], dst[back] = j, i
                        distance[go] = distance[back] = np.sqrt(x * x + y * y + z * z)
                        offset[go, axes[0]], offset[go, axes[1]], offset[go, axes[2]] = t0, t1, t2
                        offset[back, axes[0]], offset[back, axes[1]], offset[back, axes[2]] = -t0, -t1, -t2
                        found += 1
            if counting:
                start[i * n + j + 1] = start[j * n + i + 1] = found


@compiled()
def _steps_within(start, step, square):  # type: ignore[no-untyped-def]
    """First and last n with (start + n step)^2 <= square; the last is just before the first where there are none."""
    if square < 0.0:
        return 0, -1
    half, per_step = np.sqrt(square), 1.0 / step
    first, last = np.int64(np.ceil((-half - start) * per_step)), np.int64(np.floor((half - start) * per_step))
    return first, max(last, first - 1)
