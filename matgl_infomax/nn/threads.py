"""Work on independent pieces in as many threads as torch has, each with one thread of its own.

Many small matrix products gain nothing from threads inside them; whole pieces side by side do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")
FEWEST_PIECES = 2
"""Pieces per thread below which another thread is not worth waking."""


def in_threads(work: Callable[[list[Piece]], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Apply a function to runs of pieces, one run per thread; results in the order of the pieces.

    How the pieces are cut depends on their number and that of the threads alone, so results repeat bit for bit.

    Args:
        work: gets a run of neighbouring pieces, without recording gradients.
        pieces: what is to be done.
    """
    threads = min(torch.get_num_threads(), max(1, len(pieces) // FEWEST_PIECES))
    if threads == 1:
        return [torch.no_grad()(work)(list(pieces))]
    cuts = [len(pieces) * k // threads for k in range(threads + 1)]
    runs = [list(pieces[a:b]) for a, b in pairwise(cuts)]
    # Whether gradients are recorded is a matter of each thread: they never are here.
    others = [_pool(threads - 1).submit(torch.no_grad()(work), run) for run in runs[1:]]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first = torch.no_grad()(work)(runs[0])
    finally:
        torch.set_num_threads(before)
    return [first, *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; torch starts none of its own in them."""
    return ThreadPoolExecutor(threads, "chunks", initializer=torch.set_num_threads, initargs=(1,))
