"""Does a corpus hold crystals of a task? By formula, by formula and space group, and by structure.

A network that was pretrained on a test crystal, even without its label, has seen more than one from scratch. Crystals
are first indexed by reduced formula; only those that share one are looked at any further.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import LARGEST_CELL, LARGEST_WORK, SYMPREC_ANGSTROM, compare_block
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.workers import run_jobs

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
    found: dict[int, BlockComparison] = {}
    with closing(compare_blocks(blocks, crystals, corpus, match, workers, cache, progress)) as results:
        for number, answer in results:
            block, n = blocks[number], len(blocks[number].rows)
            np.maximum.at(level, block.rows, answer.level.max(1))
            np.maximum.at(corpus_level, block.corpus_rows, answer.level.max(0))
            lost[block.rows] |= answer.no_group[:n]
            corpus_lost[block.corpus_rows] |= answer.no_group[n:]
            found[number] = answer
    pairs = _pairs(blocks, [found[number] for number in range(len(blocks))], crystals, corpus)
    return Overlap(level, corpus_level, pairs, int(lost.sum() + corpus_lost.sum()))


def _blocks(crystals: Sequence[Crystal], corpus: Sequence[Crystal]) -> Iterator[FormulaBlock]:
    """Pieces of work: crystals and corpus crystals of one formula, at most ``SIDE`` of each."""
    ours, theirs = _by_formula(crystals), _by_formula(corpus)
    for formula in sorted(ours.keys() & theirs.keys()):
        for start in range(0, len(ours[formula]), SIDE):
            for other in range(0, len(theirs[formula]), SIDE):
                rows, corpus_rows = ours[formula][start : start + SIDE], theirs[formula][other : other + SIDE]
                yield FormulaBlock(np.array(rows, np.int64), np.array(corpus_rows, np.int64))


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
    blocks: Sequence[FormulaBlock],
    found: Sequence[BlockComparison],
    crystals: Sequence[Crystal],
    corpus: Sequence[Crystal],
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


# The work of comparing crystals: cut into batches, done by one or several processes, each kept when done.

SIDE = 64
"""Crystals of one formula on each side of a block: silica has hundreds, and must not wait for one process."""

BATCH_SITES = 3000
"""Sites in a batch: a few seconds of work, little enough to lose when a search is stopped."""

BATCH_PAIRS = 2 * SIDE * SIDE

CODE_VERSION = 1
"""Raise it whenever the same crystals would give another answer."""


@dataclass(frozen=True, eq=False)
class FormulaBlock:
    """Crystals and corpus crystals of one formula, each of which is compared with each."""

    rows: NDArray[np.int64]
    """Rows of the crystals, (a,)."""
    corpus_rows: NDArray[np.int64]
    """Rows of the corpus, (b,)."""


@dataclass(frozen=True, eq=False)
class BlockComparison:
    """What the comparison of a block gave."""

    level: NDArray[np.int8]
    """How close each pair is, (a, b)."""
    undecided: NDArray[np.bool_]
    """Pairs whose structures could not be compared within the bound, (a, b)."""
    no_group: NDArray[np.bool_]
    """Crystals, then corpus crystals, without the space group that was needed, (a + b,)."""


Pieces = list[tuple[list[Crystal], list[Crystal]]]


def compare_blocks(
    blocks: Sequence[FormulaBlock],
    crystals: Sequence[Crystal],
    corpus: Sequence[Crystal],
    match: bool,
    workers: int,
    cache: Path | None,
    progress: bool,
) -> Generator[tuple[int, BlockComparison], None, None]:
    """Compare the crystals of all blocks, those of finished batches first.

    Args:
        blocks: what is to be compared.
        crystals: the crystals whose rows they name.
        corpus: the corpus whose rows they name.
        match: compare structures as well.
        workers: processes at the same time.
        cache: folder for finished batches.
        progress: show a bar.

    Yields:
        Number of each block with its answer, in the order in which they are ready.

    Raises:
        InputError: If the cache cannot be written, or a process was killed.
    """
    work = _batches(blocks, crystals, corpus)
    sizes = [len(block.rows) * len(block.corpus_rows) for block in blocks]
    todo: dict[int, Path | None] = {}
    with progress_bar(total=sum(sizes), desc="Comparing crystals", unit="pair", shown=progress, smoothing=0) as bar:

        def ready(batch: range, results: Sequence[BlockComparison]) -> Iterator[tuple[int, BlockComparison]]:
            yield from zip(batch, results, strict=True)
            bar.update(sum(sizes[number] for number in batch))

        for name, batch in enumerate(work):
            file = _file(cache, _pieces(batch, blocks, crystals, corpus), match)
            known = _read(file, [blocks[number] for number in batch])
            if known is None:
                todo[name] = file
            else:
                yield from ready(batch, known)
        jobs = ((name, _pieces(work[name], blocks, crystals, corpus), match) for name in todo)
        for name, results in _done(jobs, min(workers, len(todo))):
            _write(todo[name], results)
            yield from ready(work[name], results)


def compare_batch(name: int, pieces: Pieces, match: bool) -> tuple[int, list[BlockComparison]]:
    """Compare the crystals of one batch; it runs in a process of its own.

    Args:
        name: number of the batch, given back.
        pieces: crystals and corpus crystals of each block.
        match: compare structures as well.
    """
    results = []
    for ours, theirs in pieces:
        level, undecided, no_group = compare_block(ours, theirs, match)
        results.append(BlockComparison(level=level, undecided=undecided, no_group=no_group))
    return name, results


def _done(jobs: Iterator[tuple[int, Pieces, bool]], workers: int) -> Iterator[tuple[int, list[BlockComparison]]]:
    """Results of all jobs: in this process, or in several others."""
    if workers <= 1:
        for name, pieces, match in jobs:
            yield compare_batch(name, pieces, match)
        return
    try:
        yield from run_jobs(compare_batch, jobs, workers)
    except InputError as error:
        raise InputError(
            "A process that compares crystals ended abruptly, most often for lack of memory. What is finished is "
            f"kept: start again with fewer --workers. Received: {workers}."
        ) from error


def _batches(blocks: Sequence[FormulaBlock], crystals: Sequence[Crystal], corpus: Sequence[Crystal]) -> list[range]:
    """Neighbouring blocks put together until there is work for some seconds; the crystals alone decide where to cut."""
    cuts = [0]
    sites = 0
    pairs = 0
    for number, block in enumerate(blocks):
        sites += sum(crystals[int(row)].n_sites for row in block.rows)
        sites += sum(corpus[int(row)].n_sites for row in block.corpus_rows)
        pairs += len(block.rows) * len(block.corpus_rows)
        if sites >= BATCH_SITES or pairs >= BATCH_PAIRS or number == len(blocks) - 1:
            cuts.append(number + 1)
            sites = pairs = 0
    return [range(*ends) for ends in pairwise(cuts)]


def _pieces(
    batch: range, blocks: Sequence[FormulaBlock], crystals: Sequence[Crystal], corpus: Sequence[Crystal]
) -> Pieces:
    """The crystals of a batch."""
    chosen = [blocks[number] for number in batch]
    return [([crystals[int(k)] for k in b.rows], [corpus[int(k)] for k in b.corpus_rows]) for b in chosen]


def _file(cache: Path | None, pieces: Pieces, match: bool) -> Path | None:
    """Where the answers of a batch are kept: under a hash of everything that decides them."""
    if cache is None:
        return None
    digest = hashlib.sha256(repr((_rules(), match)).encode())
    for ours, theirs in pieces:
        digest.update(f"{structures_sha256(ours)} {structures_sha256(theirs)}\n".encode())
    key = digest.hexdigest()[:32]
    return cache.expanduser() / "overlap" / key[:2] / f"{key}.npz"


def structures_sha256(crystals: Sequence[Crystal]) -> str:
    """Fingerprint of structures in their order; their names and labels are left out."""
    digest = hashlib.sha256()
    for crystal in crystals:
        digest.update(np.array([crystal.n_sites], dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(crystal.numbers, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(crystal.lattice, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(crystal.frac, dtype="<f8").tobytes())
    return digest.hexdigest()


@once
def _rules() -> tuple[object, ...]:
    """What decides an answer besides the crystals."""
    return CODE_VERSION, version("pymatgen"), version("spglib"), SYMPREC_ANGSTROM, LARGEST_WORK, LARGEST_CELL


def _read(file: Path | None, blocks: Sequence[FormulaBlock]) -> list[BlockComparison] | None:
    """Answers of a batch that was finished earlier; None where there are none, or the file is damaged."""
    if file is None or not file.is_file():
        return None
    shapes = [(len(block.rows), len(block.corpus_rows)) for block in blocks]
    ends = np.cumsum([a * b for a, b in shapes])[:-1]
    single = np.cumsum([a + b for a, b in shapes])[:-1]
    try:
        # By way of memory: numpy leaves a damaged file open.
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
            parts = zip(
                shapes,
                np.split(found["level"].astype(np.int8), ends),
                np.split(found["undecided"].astype(np.bool_), ends),
                np.split(found["no_group"].astype(np.bool_), single),
                strict=True,
            )
            return [BlockComparison(level.reshape(s), open_.reshape(s), lost) for s, level, open_, lost in parts]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write(file: Path | None, results: Sequence[BlockComparison]) -> None:
    """Keep the answers of a batch."""
    if file is None:
        return
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        level=np.concatenate([answer.level.ravel() for answer in results]),
        undecided=np.concatenate([answer.undecided.ravel() for answer in results]),
        no_group=np.concatenate([answer.no_group for answer in results]),
    )
    atomic_write(file, buffer.getvalue())
