"""Does a corpus hold crystals of a task? By formula, by formula and space group, and by structure.

A network that was pretrained on a test crystal, even without its label, has seen more than one from scratch. Crystals
are first indexed by reduced formula; only those that share one are looked at any further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.overlap_jobs import SIDE, Answer, Block, answers

if TYPE_CHECKING:
    import pandas as pd

LEVELS = ("novel", "formula", "twin", "match")
"""How close the closest crystal is: nothing of this formula; the same reduced formula; also the same space group (the
atoms may still sit elsewhere); the same structure by pymatgen's StructureMatcher. The strongest comes last."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """What two lists of crystals have in common."""

    level: NDArray[np.int8]
    """Per crystal: index into ``LEVELS`` of the closest corpus crystal, (n,)."""
    corpus_level: NDArray[np.int8]
    """Per corpus crystal: index into ``LEVELS`` of its closest crystal, (m,)."""
    pairs: pd.DataFrame
    """Every pair that shares a formula: ``id``, ``corpus_id``, ``level`` (name) and ``decided``, which is false where
    structures could not be compared within the bound; such a pair counts as a match."""
    no_space_group: int
    """Crystals of both lists whose space group was needed and not found: they are nobody's twin."""

    @property
    def undecided(self) -> int:
        """Pairs whose structures could not be compared within the bound."""
        return int((~self.pairs["decided"]).sum())

    def counts(self) -> dict[str, int]:
        """Number of crystals by level, the closest corpus crystal counting."""
        return _counts(self.level)

    def corpus_counts(self) -> dict[str, int]:
        """Number of corpus crystals by level, the closest crystal of the other list counting."""
        return _counts(self.corpus_level)


def _counts(level: NDArray[np.int8]) -> dict[str, int]:
    """Entries by level."""
    return dict(zip(LEVELS, np.bincount(level, minlength=len(LEVELS)).tolist(), strict=True))


def find_overlap(
    crystals: Sequence[Crystal],
    corpus: Sequence[Crystal],
    *,
    match: bool = True,
    workers: int = 1,
    progress: bool = True,
    cache: Path | None = None,
) -> Overlap:
    """Find for every crystal how close the closest one of a corpus is, and the other way round.

    Space groups are those that spglib finds for the stored structures within 0.1 angstrom. Structures match when
    ``StructureMatcher`` with its default tolerances says so in one order or the other; the volume does not count, so a
    crystal strained alike in all directions is the same. Pairs beyond a bound of work are left undecided and counted.

    Args:
        crystals: n crystals, those of a task for example.
        corpus: m crystals, those to pretrain on for example.
        match: compare structures as well; otherwise the closest level is ``twin``.
        workers: processes at the same time; their number changes nothing but the time.
        progress: show a bar.
        cache: folder for finished comparisons under a hash of their content; a stopped search goes on there.

    Raises:
        InputError: If there is no worker, the cache cannot be written, or a process was killed.
    """
    if workers < 1:
        raise InputError(f"At least one process has to do the work. Received: workers = {workers}.")
    blocks = list(_blocks(crystals, corpus))
    level, corpus_level = np.zeros(len(crystals), np.int8), np.zeros(len(corpus), np.int8)
    lost, corpus_lost = np.zeros(len(crystals), np.bool_), np.zeros(len(corpus), np.bool_)
    found: dict[int, Answer] = {}
    with closing(answers(blocks, crystals, corpus, match, workers, cache, progress)) as results:
        for number, answer in results:
            block, n = blocks[number], len(blocks[number].rows)
            np.maximum.at(level, block.rows, answer.level.max(1))
            np.maximum.at(corpus_level, block.corpus_rows, answer.level.max(0))
            lost[block.rows] |= answer.no_group[:n]
            corpus_lost[block.corpus_rows] |= answer.no_group[n:]
            found[number] = answer
    pairs = _pairs(blocks, [found[number] for number in range(len(blocks))], crystals, corpus)
    return Overlap(level, corpus_level, pairs, int(lost.sum() + corpus_lost.sum()))


def _blocks(crystals: Sequence[Crystal], corpus: Sequence[Crystal]) -> Iterator[Block]:
    """Pieces of work: crystals and corpus crystals of one formula, at most ``SIDE`` of each."""
    ours, theirs = _by_formula(crystals), _by_formula(corpus)
    for formula in sorted(ours.keys() & theirs.keys()):
        for start in range(0, len(ours[formula]), SIDE):
            for other in range(0, len(theirs[formula]), SIDE):
                rows, corpus_rows = ours[formula][start : start + SIDE], theirs[formula][other : other + SIDE]
                yield Block(np.array(rows, np.int64), np.array(corpus_rows, np.int64))


def _by_formula(crystals: Sequence[Crystal]) -> dict[tuple[tuple[int, int], ...], list[int]]:
    """Rows by reduced formula, as pairs of atomic number and count."""
    rows: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row, crystal in enumerate(crystals):
        counts = Counter(crystal.numbers.tolist())
        divisor = gcd(*counts.values())
        formula = tuple(sorted((z, count // divisor) for z, count in counts.items()))
        rows.setdefault(formula, []).append(row)
    return rows


def _pairs(
    blocks: Sequence[Block], found: Sequence[Answer], crystals: Sequence[Crystal], corpus: Sequence[Crystal]
) -> pd.DataFrame:
    """One line per pair, in the order of the crystals, then of the corpus."""
    import pandas as pd

    none = np.empty(0, np.int64)
    row = np.concatenate([none, *(np.repeat(block.rows, len(block.corpus_rows)) for block in blocks)])
    other = np.concatenate([none, *(np.tile(block.corpus_rows, len(block.rows)) for block in blocks)])
    level = np.concatenate([none, *(answer.level.ravel() for answer in found)])
    undecided = np.concatenate([none, *(answer.undecided.ravel() for answer in found)]).astype(np.bool_)
    order = np.lexsort((other, row))
    return pd.DataFrame(
        {
            "id": np.array([crystals[int(k)].id for k in row[order]], dtype=object),
            "corpus_id": np.array([corpus[int(k)].id for k in other[order]], dtype=object),
            "level": np.array(LEVELS, dtype=object)[level[order]],
            "decided": ~undecided[order],
        }
    )
