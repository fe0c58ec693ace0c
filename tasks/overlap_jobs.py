"""The work of comparing crystals: cut into batches, done by one or several processes, each kept when done."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import LARGEST_CELL, LARGEST_WORK, SYMPREC_ANGSTROM, compare_block
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.workers import run_jobs

SIDE = 64
"""Crystals of one formula on each side of a block: silica has hundreds, and must not wait for one process."""

BATCH_SITES = 3000
"""Sites in a batch: a few seconds of work, little enough to lose when a search is stopped."""

BATCH_PAIRS = 2 * SIDE * SIDE

CODE_VERSION = 1
"""Raise it whenever the same crystals would give another answer."""


@dataclass(frozen=True, eq=False)
class Block:
    """Crystals and corpus crystals of one formula, each of which is compared with each."""

    rows: NDArray[np.int64]
    """Rows of the crystals, (a,)."""
    corpus_rows: NDArray[np.int64]
    """Rows of the corpus, (b,)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the comparison of a block gave."""

    level: NDArray[np.int8]
    """How close each pair is, (a, b)."""
    undecided: NDArray[np.bool_]
    """Pairs whose structures could not be compared within the bound, (a, b)."""
    no_group: NDArray[np.bool_]
    """Crystals, then corpus crystals, without the space group that was needed, (a + b,)."""


Pieces = list[tuple[list[Crystal], list[Crystal]]]


def answers(
    blocks: Sequence[Block],
    crystals: Sequence[Crystal],
    corpus: Sequence[Crystal],
    match: bool,
    workers: int,
    cache: Path | None,
    progress: bool,
) -> Generator[tuple[int, Answer], None, None]:
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
    with tqdm(total=sum(sizes), desc="Comparing crystals", unit="pair", disable=not progress, smoothing=0) as bar:

        def told(batch: range, results: Sequence[Answer]) -> Iterator[tuple[int, Answer]]:
            yield from zip(batch, results, strict=True)
            bar.update(sum(sizes[number] for number in batch))

        for name, batch in enumerate(work):
            file = _file(cache, _pieces(batch, blocks, crystals, corpus), match)
            known = _read(file, [blocks[number] for number in batch])
            if known is None:
                todo[name] = file
            else:
                yield from told(batch, known)
        jobs = ((name, _pieces(work[name], blocks, crystals, corpus), match) for name in todo)
        for name, results in _done(jobs, min(workers, len(todo))):
            _write(todo[name], results)
            yield from told(work[name], results)


def compare_batch(name: int, pieces: Pieces, match: bool) -> tuple[int, list[Answer]]:
    """Compare the crystals of one batch; it runs in a process of its own.

    Args:
        name: number of the batch, given back.
        pieces: crystals and corpus crystals of each block.
        match: compare structures as well.
    """
    return name, [Answer(*compare_block(ours, theirs, match)) for ours, theirs in pieces]


def _done(jobs: Iterator[tuple[int, Pieces, bool]], workers: int) -> Iterator[tuple[int, list[Answer]]]:
    """Results of all jobs: in this process, or in several others."""
    if workers <= 1:
        for job in jobs:
            yield compare_batch(*job)
        return
    try:
        yield from run_jobs(compare_batch, jobs, workers)
    except InputError as error:
        raise InputError(
            "A process that compares crystals ended abruptly, most often for lack of memory. What is finished is "
            f"kept: start again with fewer --workers. Received: {workers}."
        ) from error


def _batches(blocks: Sequence[Block], crystals: Sequence[Crystal], corpus: Sequence[Crystal]) -> list[range]:
    """Neighbouring blocks put together until there is work for some seconds; the crystals alone decide where to cut."""
    cuts, sites, pairs = [0], 0, 0
    for number, block in enumerate(blocks):
        sites += sum(crystals[int(row)].n_sites for row in block.rows)
        sites += sum(corpus[int(row)].n_sites for row in block.corpus_rows)
        pairs += len(block.rows) * len(block.corpus_rows)
        if sites >= BATCH_SITES or pairs >= BATCH_PAIRS or number == len(blocks) - 1:
            cuts.append(number + 1)
            sites = pairs = 0
    return [range(*ends) for ends in pairwise(cuts)]


def _pieces(batch: range, blocks: Sequence[Block], crystals: Sequence[Crystal], corpus: Sequence[Crystal]) -> Pieces:
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


def _read(file: Path | None, blocks: Sequence[Block]) -> list[Answer] | None:
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
            return [Answer(level.reshape(s), open_.reshape(s), lost) for s, level, open_, lost in parts]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write(file: Path | None, results: Sequence[Answer]) -> None:
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
