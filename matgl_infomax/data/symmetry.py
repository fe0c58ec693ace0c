"""Sites that no Site-Net can tell apart, and pairs that are equal: computed once, counted as often as they occur.

Colour refinement (Weisfeiler and Leman, 1968) on elements and distances: two sites share a class when they are of
the same element and see, at the same distances, as many sites of each class. A network that knows nothing but
elements and distances gives them the same vector, whatever its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.supercell import Pairs
from matgl_infomax.errors import InputError
from matgl_infomax.jit import compiled

ROUNDING_ANGSTROM = 2e-6
"""Distances of the same pair type differ by this much at most, when only the arithmetic differs."""


@dataclass(frozen=True, eq=False)
class Merged:
    """K classes of sites of one crystal and the M pairs that are left, sorted by class of the receiver."""

    kind: NDArray[np.int16]
    """Class of each site, numbered by first appearance, (N,)."""
    degree: NDArray[np.int32]
    """Pairs left of each class, (K,)."""
    dst: NDArray[np.int16]
    """Class of the neighbour, (M,)."""
    distance: NDArray[np.float32]
    """Mean distance of the crystal's pairs in the same shell, (M,), angstrom."""
    copies: NDArray[np.int32]
    """Number of pairs that were merged, (M,)."""


def merge_equal(numbers: NDArray[np.int64], pairs: Pairs, tolerance_angstrom: float) -> Merged:
    """Classes of equal sites of a crystal, and the pairs of one site of each class, equal pairs merged.

    Args:
        numbers: atomic number of each site, (N,).
        pairs: all pairs, sorted by receiver.
        tolerance_angstrom: distances within this of each other may count as equal; 0 merges only identical ones.

    Raises:
        InputError: If the tolerance is negative.
    """
    if not tolerance_angstrom >= 0:
        raise InputError(f"A tolerance of distances cannot be negative. Received: {tolerance_angstrom}.")
    level, shell = _shells(pairs.distance, tolerance_angstrom)
    first = np.searchsorted(pairs.src, np.arange(len(numbers) + 1)).astype(np.int64)
    dst = np.ascontiguousarray(pairs.dst, dtype=np.int64)
    kind, n_kinds = _refine(np.ascontiguousarray(numbers, dtype=np.int64), first, dst, level)
    degree, other, merged_level, copies = _merge(kind, n_kinds, first, dst, level, len(shell))
    distance = shell[merged_level].astype(np.float32)
    return Merged(kind.astype(np.int16), degree, other.astype(np.int16), distance, copies)


def same_where_equal(distance: NDArray[np.float64], tolerance_angstrom: float = ROUNDING_ANGSTROM) -> NDArray[Any]:
    """Distances with those that differ by rounding alone made identical, so that equal pairs can be found by value.

    Args:
        distance: distances of the pairs of one crystal, (E,), angstrom.
        tolerance_angstrom: widest shell that counts as one distance.
    """
    level, shell = _shells(distance, tolerance_angstrom)
    return shell[level]


def _shells(distance: NDArray[np.float64], tolerance_angstrom: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Shell of each distance, (E,), and the mean distance of each shell."""
    distance = np.ascontiguousarray(distance, dtype=np.float64)
    level, n_levels = _levels(distance, np.argsort(distance, kind="stable"), float(tolerance_angstrom))
    count = np.bincount(level, minlength=n_levels)
    mean = np.bincount(level, weights=distance, minlength=n_levels) / np.maximum(count, 1)
    return level, mean


@compiled()
def _levels(distance, order, tolerance):  # type: ignore[no-untyped-def]
    """Number of the shell of each distance; no shell is wider than the tolerance."""
    level = np.empty(len(distance), np.int64)
    current = -1
    start = -np.inf
    for k in order:
        if distance[k] > start + tolerance:
            current += 1
            start = distance[k]
        level[k] = current
    return level, current + 1


@compiled()
def _mixed(x):  # type: ignore[no-untyped-def]
    """Scatter the bits of a number (the finaliser of splitmix64), so that sums of such numbers name their terms."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled()
def _refine(number, first, dst, level):  # type: ignore[no-untyped-def]
    """Split classes until all sites of a class see the same; classes are numbered by first appearance."""
    n = len(number)
    colour = np.empty(n, np.uint64)
    for i in range(n):
        colour[i] = _mixed(np.uint64(number[i]) + np.uint64(0x9E3779B97F4A7C15))
    kind = np.empty(n, np.int64)
    n_kinds = _numbered(colour, kind)
    seen = np.empty(n, np.uint64)
    while True:
        for i in range(n):
            total = np.uint64(0)
            for p in range(first[i], first[i + 1]):
                # A sum does not depend on the order of the neighbours.
                total += _mixed(colour[dst[p]] + np.uint64(level[p] + 1) * np.uint64(0x9E3779B97F4A7C15))
            seen[i] = _mixed(colour[i] ^ _mixed(total))
        for i in range(n):
            colour[i] = seen[i]
        finer = _numbered(colour, kind)
        if finer == n_kinds:
            return kind, n_kinds
        n_kinds = finer


@compiled()
def _numbered(colour, kind):  # type: ignore[no-untyped-def]
    """Number colours by first appearance, into ``kind``; how many there are."""
    n = len(colour)
    found = np.empty(n, np.uint64)
    count = 0
    for i in range(n):
        k = 0
        while k < count and found[k] != colour[i]:
            k += 1
        if k == count:
            found[k] = colour[i]
            count += 1
        kind[i] = k
    return count


@compiled()
def _merge(kind, n_kinds, first, dst, level, n_levels):  # type: ignore[no-untyped-def]
    """Merge the equal pairs of the first site of each class, in order of first appearance."""
    degree = np.zeros(n_kinds, np.int32)
    other, shell = np.empty(len(dst), np.int64), np.empty(len(dst), np.int64)
    copies = np.zeros(len(dst), np.int32)
    slot = np.full(n_kinds * n_levels, -1, np.int64)  # (class of neighbour, shell) -> merged pair
    count = 0
    known = 0
    for i in range(len(kind)):
        if kind[i] < known:
            continue
        known += 1
        begin = count
        for p in range(first[i], first[i + 1]):
            key = kind[dst[p]] * n_levels + level[p]
            # Entries of earlier classes lie before ``begin``: nothing has to be cleared.
            if slot[key] < begin:
                slot[key] = count
                other[count] = kind[dst[p]]
                shell[count] = level[p]
                count += 1
            copies[slot[key]] += 1
        degree[kind[i]] = count - begin
    return degree, other[:count], shell[:count], copies[:count]
