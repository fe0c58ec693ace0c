"""Are two crystals of one formula the same? Space groups by spglib, structures by pymatgen's StructureMatcher.

Each crystal is reduced once, not once per pair, and the steps that can say no cheaply come first. None of this changes
an answer: they are steps that ``StructureMatcher.fit`` takes as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

NOVEL, FORMULA, TWIN, MATCH = range(4)

SYMPREC_ANGSTROM = 0.1
"""How far atoms may lie from where the symmetry puts them; two databases relax to different digits, and 0.1 is what
the Materials Project uses."""

LARGEST_WORK = 2_000_000_000
"""Cells times shifts times pairs of sites that a comparison may have to look at; beyond it the pair stays undecided.

A count and not a clock: the same crystals give the same answer on a busy machine. The slowest pairs that were found
(216 sites of one element, disturbed until they just fail to match) need 8 s for 480,000,000."""

LARGEST_CELL = 1000
"""Sites; larger cells are not reduced (1,000 disordered sites take 40 s), and their pairs stay undecided."""


def compare_block(
    crystals: Sequence[Crystal], corpus: Sequence[Crystal], match: bool
) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Compare every crystal of one list with every one of another; all have the same reduced formula.

    Args:
        crystals: n crystals.
        corpus: m crystals.
        match: compare structures; otherwise only space groups.

    Returns:
        How close each pair is (FORMULA, TWIN or MATCH), (n, m); where structures could not be compared within the
        bound, or not be reduced, (n, m), which counts as MATCH; which of the n + m crystals have no space group that
        spglib could find although it was asked, (n + m,).
    """
    both = [*crystals, *corpus]
    n, m = len(crystals), len(corpus)
    level = np.full((n, m), FORMULA, dtype=np.int8)
    undecided = np.zeros((n, m), dtype=np.bool_)
    if match:
        reduced = [reduced_structure(crystal) for crystal in both]
        for i in range(n):
            for j in range(m):
                answer = same_structure(reduced[i], reduced[n + j])
                undecided[i, j] = answer is None
                # One crystal too many left out of a corpus costs little; a copy left in would spoil the test.
                level[i, j] = FORMULA if answer is False else MATCH
    # Symmetry is only asked for where it can still make a difference.
    open_pairs = level < MATCH
    needed = np.concatenate([open_pairs.any(1), open_pairs.any(0)])  # (n + m,)
    group = np.array([space_group(crystal) if ask else 0 for crystal, ask in zip(both, needed, strict=True)])
    twins = (group[:n, None] == group[n:]) & (group[:n, None] > 0)
    level[open_pairs & twins] = TWIN
    return level, undecided, needed & (group == 0)


def space_group(crystal: Crystal) -> int:
    """Number of the space group of the crystal as it is stored, 1 to 230; 0 where spglib finds none."""
    import spglib

    cell: Any = (crystal.lattice, crystal.frac, crystal.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_ANGSTROM)
    return int(found.number) if found is not None else 0


def reduced_structure(crystal: Crystal) -> Structure | None:
    """The Niggli-reduced primitive cell that ``StructureMatcher`` compares; None where there is none to be had."""
    if crystal.n_sites > LARGEST_CELL:
        return None
    try:
        return crystal.to_structure().get_reduced_structure("niggli").get_primitive_structure()
    except ValueError:  # the reduction did not end
        return None


def same_structure(one: Structure | None, other: Structure | None) -> bool | None:
    """Whether two reduced structures of the same formula match, whichever of them comes first.

    ``StructureMatcher.fit`` is not quite symmetric; here it is asked both ways, and one yes is enough.

    Returns:
        None where there is no reduced structure, or more work than ``LARGEST_WORK``.
    """
    if one is None or other is None:
        return None
    if len(one) != len(other):
        return False
    skipped = False
    for first, second in ((one, other), (other, one)):
        work = comparison_work(first, second)
        if work > LARGEST_WORK:
            skipped = True
        elif work and _matcher().fit(first, second, skip_structure_reduction=True):
            return True
    return None if skipped else False


def comparison_work(first: Structure, second: Structure) -> int:
    """An upper bound of what the matcher may have to do; 0 where no cell of one is like the cell of the other.

    It tries each cell of the first structure that resembles that of the second, and for each of them shifts that
    bring a site of the rarest element to another one of it; each trial looks at pairs of sites.
    """
    from pymatgen.core import Lattice

    matcher = _matcher()
    ratio = (second.volume / first.volume) ** (1 / 6)  # both are brought to the same volume
    cells = Lattice(first.lattice.matrix * ratio).find_all_mappings(
        Lattice(second.lattice.matrix / ratio), ltol=matcher.ltol, atol=matcher.angle_tol, skip_rotation_matrix=True
    )
    n_cells = sum(abs(abs(np.linalg.det(matrix)) - 1) <= 0.5 for _, _, matrix in cells)
    shifts = int(np.unique(first.atomic_numbers, return_counts=True)[1].min())
    return int(n_cells) * shifts * len(first) ** 2


@cache
def _matcher() -> StructureMatcher:
    """The matcher with its default tolerances: 20 % in lengths, 0.3 in scaled distances, 5 degrees."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher()
