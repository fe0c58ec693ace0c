"""The usual view of a crystal: every site and all its neighbours within a cut-off, images included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.lll import triangular_form
from matgl_infomax.data.supercell import Pairs, plain_copy
from matgl_infomax.errors import InputError
from matgl_infomax.jit import compiled

_REACH = 1e-8
"""Squared distances this much above the limit (angstrom squared) count too, as in MatGL: rounding must not choose."""

_FAR = 1e12
"""Coordinates this many cells away are no positions of atoms; counting cells from there would never end."""


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
    if not 0 < cutoff_angstrom < np.inf:
        raise InputError(f"A cut-off must be a positive number of angstrom. Received: {cutoff_angstrom}.")
    volume, *found = _pairs_within(plain_copy(lattice), plain_copy(frac), cutoff_angstrom**2 + _REACH)
    if not 0 < volume < np.inf:
        raise InputError(
            "A crystal needs a lattice with a volume and coordinates that are numbers. "
            f"Received: {np.asarray(lattice).tolist()} and {np.asarray(frac).tolist()}."
        )
    return Pairs(*found)


@compiled()
def _pairs_within(lattice, frac, square):  # type: ignore[no-untyped-def]
    """Count first, then write: (volume, src, dst, offset, distance) of E pairs; NaN and no pairs where none can be.

    Args:
        lattice: lattice vectors as rows, (3, 3) float64, angstrom.
        frac: fractional coordinates, (N, 3) float64.
        square: square of the largest distance, angstrom squared.
    """
    axes, turned, place, far = _longest_first(lattice), np.empty((3, 3)), np.empty((len(frac), 3)), 0.0
    for k in range(3):
        for i in range(3):
            turned[k, i] = lattice[axes[k], i]
        for i in range(len(frac)):
            place[i, k] = frac[i, axes[k]]
            far += abs(place[i, k])
    form = triangular_form(turned)
    volume = form[0, 0] * form[1, 1] * form[2, 2]
    if not (0.0 < volume < np.inf and far < _FAR):
        volume, place = np.nan, np.empty((0, 3))
    n = len(place)
    start, total = np.zeros(n * n + 1, np.int64), 0
    _walk(form, place, axes, square, start, np.empty(0, np.int32), np.empty((0, 3), np.int32), np.empty(0))
    for block in range(n * n + 1):
        total += start[block]
        start[block] = total
    src, dst = np.empty(total, np.int32), np.empty(total, np.int32)
    offset, distance = np.empty((total, 3), np.int32), np.empty(total)
    _walk(form, place, axes, square, start, dst, offset, distance)
    for i in range(n):
        for pair in range(start[i * n], start[i * n + n]):
            src[pair] = i
    return volume, src, dst, offset, distance


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
