"""Attention over pairs without pair-sized intermediates: a few receivers at a time, recomputed in the backward pass.

What stays in memory per pair is its vector and nothing else, so a supercell of 500 atoms costs time, not gigabytes.
For float32 on the CPU (see ``nn.compiled``); the plain formulas of ``nn.attention`` are the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.kernels import (
    attend,
    attend_backward,
    bond_layer_backward,
    kernels_for,
    one_group,
    rows,
    standardise_backward,
)

CHUNK_NUMBERS = 1 << 18
"""Numbers per chunk and buffer, a megabyte: half of it is 3 % slower, and so is twice of it."""


class Chunk(NamedTuple):
    """Receivers from start to stop, and their pairs from a to b."""

    start: int
    stop: int
    a: int
    b: int


@dataclass(frozen=True)
class PairPlan:
    """Who receives from whom."""

    src: NDArray[np.int64]  # (E,)
    dst: NDArray[np.int64]  # (E,)
    first: NDArray[np.int64]  # (N + 1,)
    copies: NDArray[np.float32]  # (E,)

    @classmethod
    def of(cls, batch: SiteBatch) -> PairPlan:
        """The plan of a batch."""
        first = np.append(rows(batch.first_pair), batch.n_pairs)
        copies = np.ones(batch.n_pairs, np.float32) if batch.copies is None else rows(batch.copies.float())
        return cls(rows(batch.src), rows(batch.dst), first, copies)

    def chunks(self, width: int) -> list[Chunk]:
        """Whole receivers whose rows of this width fit into a buffer."""
        pairs = max(1, CHUNK_NUMBERS // width)
        found = []
        start = 0
        n = len(self.first) - 1
        while start < n:
            stop = max(start + 1, int(np.searchsorted(self.first, self.first[start] + pairs, "right")) - 1)
            found.append(Chunk(start, stop, int(self.first[start]), int(self.first[stop])))
            start = stop
        return found


@dataclass(frozen=True)
class PairShape:
    """Columns of the first layer, side by side: logits, values, new pair vectors (0 for none)."""

    logit: int
    value: int
    pair: int
    activation: str

    @property
    def width(self) -> int:
        """All columns."""
        return self.logit + self.value + self.pair

    @property
    def edges(self) -> NDArray[np.int64]:
        """Groups that are normalised each by itself."""
        return np.cumsum([0, self.logit, self.value, self.pair][: 4 if self.pair else 3])


class _Forward:
    """Buffers for one chunk, and its forward pass; with ``keep`` they also hold what the gradient needs."""

    def __init__(self, task: _Task, chunks: list[Chunk], keep: bool) -> None:
        self.task, self.keep = task, keep
        shape = task.shape
        self.edges, self.kernels = shape.edges, kernels_for(shape.activation, keep)
        largest = max((chunk.b - chunk.a for chunk in chunks), default=0)
        widths = [(shape.width, len(self.edges) - 1), *((weight.shape[0], 1) for weight, _ in task.deeper)]
        new = task.w_pair.new_empty
        self.x = [new(largest, width) for width, _ in widths]
        # Never in place: where input and output may be one, the compiler falls back to one number at a time.
        self.hat = [new(largest, width) for width, _ in widths]
        self.factor = [new(largest, groups) for _, groups in widths]

    def run(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Logits (M, H) and values (M, V) of a chunk."""
        task, (_, _, a, b) = self.task, chunk
        n, shape = b - a, task.shape
        x, hat, factor = self.x[0][:n], self.hat[0][:n], self.factor[0][:n]
        if not len(task.index):
            torch.mm(task.pair[a:b], task.w_pair.t(), out=x)  # (M, W)
        self.kernels.bond_layer(
            rows(x), task.table, task.index[a:b], task.own, task.other, task.plan.src[a:b], task.plan.dst[a:b],
            self.edges, rows(hat), rows(factor),
        )  # fmt: skip
        logits = torch.addmm(task.b_logit, hat[:, : shape.logit], task.w_logit.t())  # (M, H)
        value = hat[:, shape.logit : shape.logit + shape.value]  # (M, V_1)
        for k, (weight, bias) in enumerate(task.deeper, start=1):
            x, hat, factor = self.x[k][:n], self.hat[k][:n], self.factor[k][:n]
            torch.addmm(bias, value, weight.t(), out=x)
            self.kernels.standardise(rows(x), one_group(x), rows(hat), rows(factor))
            value = hat
        # The kernels want rows that lie together.
        return logits, value.contiguous()


class _Task:
    """What all chunks of one ``PairAttention`` share."""

    def __init__(
        self,
        plan: PairPlan,
        shape: PairShape,
        index: NDArray[np.int64],
        inputs: tuple[Tensor, ...],
        table: NDArray[np.float32] | None = None,
    ) -> None:
        self.plan = plan
        self.shape = shape
        self.index = index
        self.pair, own, other, self.w_pair, self.w_logit, self.b_logit, *deeper = inputs
        self.own, self.other = rows(own), rows(other)
        self.deeper = list(zip(deeper[::2], deeper[1::2], strict=True))
        self.chunks = plan.chunks(shape.width)
        # Terms that many pairs share are multiplied once.
        self.table = self._shared() if table is None else table

    def _shared(self) -> NDArray[np.float32]:
        """Own terms of the pairs that the index points to, (U, W)."""
        n = len(self.pair) if len(self.index) else 0
        table = self.pair.new_empty(n, self.shape.width)

        def some(chunks: list[slice]) -> None:
            for chunk in chunks:
                torch.mm(self.pair[chunk], self.w_pair.t(), out=table[chunk])

        in_threads(some, self.row_chunks(n))
        return rows(table)

    def row_chunks(self, n: int) -> list[slice]:
        """Rows that fit into a buffer: one large product would wait for memory."""
        step = max(1, CHUNK_NUMBERS // self.shape.width)
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def from_first(self, chunk: Chunk) -> NDArray[np.int64]:
        """First pair of each receiver of a chunk, and the end of the last, counted within the chunk."""
        return self.plan.first[chunk.start : chunk.stop + 1] - chunk.a


class PairAttention(Function):
    """Bond layers, attention and new pair vectors of one block; the affine parts of layer norms lie outside.

    Shapes:
        pair (U, P), own (N, W), other (N, W), w_pair (W, P), w_logit (H, L), b_logit (H,), then weight and bias of
        each deeper value layer -> gathered (N, H * V), new pairs (E, shape.pair). ``index`` (E,) names each pair's
        row of ``pair``; without entries U is E and each has its own.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: PairPlan, shape: PairShape, index: NDArray[np.int64], *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gathered values and new pair vectors, chunk by chunk."""
        inputs = tuple(x.contiguous() for x in inputs)
        task = _Task(plan, shape, index, inputs)
        width = task.deeper[-1][0].shape[0] if task.deeper else shape.value
        gathered = inputs[0].new_empty(len(plan.first) - 1, task.w_logit.shape[0] * width)
        new_pair = inputs[0].new_empty(len(plan.src), shape.pair)

        def some(chunks: list[Chunk]) -> None:
            forward, out = _Forward(task, chunks, keep=False), rows(gathered)
            for chunk in chunks:
                start, stop, a, b = chunk
                logits, value = forward.run(chunk)
                if shape.pair:
                    new_pair[a:b] = forward.hat[0][: b - a, shape.logit + shape.value :]
                attend(rows(logits), rows(value), plan.copies[a:b], task.from_first(chunk), out[start:stop])

        in_threads(some, task.chunks)
        ctx.plan = plan
        ctx.shape = shape
        ctx.index = index
        ctx.table = task.table
        ctx.save_for_backward(*inputs)
        return gathered, new_pair

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients of the pairs, the two site terms and all weights."""
        task = _Task(ctx.plan, ctx.shape, ctx.index, ctx.saved_tensors, ctx.table)
        to_pair = torch.zeros_like(task.pair)
        gathered, new_pair = (grad.contiguous() for grad in grads)

        def some(chunks: list[Chunk]) -> list[Tensor]:
            gradient = _Gradient(task, _Forward(task, chunks, keep=True), to_pair, ctx.saved_tensors[1:])
            for chunk in chunks:
                gradient.add(chunk, gathered, new_pair)
            return gradient.finished()

        # Sums of sums, always in the same order.
        totals = [sum(parts[1:], parts[0]) for parts in zip(*in_threads(some, task.chunks), strict=True)]
        table, *others = totals
        if len(task.index):
            others[2] += _through_table(task, table, to_pair)
        return None, None, None, to_pair, *others


def _through_table(task: _Task, table: Tensor, to_pair: Tensor) -> Tensor:
    """Gradient of the pairs that share rows (U, P), written to ``to_pair``, and of their weights, (W, P)."""

    def some(chunks: list[slice]) -> Tensor:
        weights = torch.zeros_like(task.w_pair)
        for chunk in chunks:
            torch.mm(table[chunk], task.w_pair, out=to_pair[chunk])
            weights.addmm_(table[chunk].t(), task.pair[chunk])
        return weights

    first, *more = in_threads(some, task.row_chunks(len(table)))
    return sum(more, first)


class _Gradient:
    """Gradients of a ``PairAttention``, summed over some of its chunks."""

    def __init__(self, task: _Task, forward: _Forward, to_pair: Tensor, inputs: tuple[Tensor, ...]) -> None:
        self.task = task
        self.forward = forward
        self.pair = to_pair
        self.inputs = [torch.zeros_like(x) for x in inputs]
        self.own, self.other, self.w_pair, self.w_logit, self.b_logit, *self.deeper = self.inputs
        self.table = np.zeros_like(task.table)
        self.grad = torch.empty_like(forward.x[0])

    def add(self, chunk: Chunk, gathered: Tensor, new_pair: Tensor) -> None:
        """Recompute one chunk and add its gradients, those of its pairs to the common tensor."""
        task, forward, (start, stop, a, b) = self.task, self.forward, chunk
        shape, n = task.shape, b - a
        logits, value = forward.run(chunk)
        x, hat, grad = forward.x[0][:n], forward.hat[0][:n], self.grad[:n]
        to_logits, to_value = torch.empty_like(logits), torch.empty_like(value)
        attend_backward(
            rows(gathered)[start:stop], rows(logits), rows(value), task.plan.copies[a:b], task.from_first(chunk),
            rows(to_logits), rows(to_value),
        )  # fmt: skip
        values = slice(shape.logit, shape.logit + shape.value)
        grad[:, values] = self._through_deeper(to_value, hat[:, values])
        torch.mm(to_logits, task.w_logit, out=grad[:, : shape.logit])
        if shape.pair:
            grad[:, values.stop :] = new_pair[a:b]
        self.w_logit.addmm_(to_logits.t(), hat[:, : shape.logit])
        self.b_logit.add_(to_logits.sum(0))
        standardise_backward(rows(grad), rows(x), rows(hat), rows(forward.factor[0]), forward.edges)
        src = task.plan.src[a:b]
        dst = task.plan.dst[a:b]
        index = task.index[a:b]
        bond_layer_backward(rows(grad), rows(self.own), rows(self.other), src, dst, self.table, index)
        if not len(index):
            torch.mm(grad, task.w_pair, out=self.pair[a:b])
            self.w_pair.addmm_(grad.t(), task.pair[a:b])

    def finished(self) -> list[Tensor]:
        """Gradient of the table, then of the inputs without the pairs."""
        return [torch.from_numpy(self.table), *self.inputs]

    def _through_deeper(self, grad: Tensor, value: Tensor) -> Tensor:
        """Gradient of the first value layer's output (M, V_1), from that of the last one's (M, V)."""
        forward, n = self.forward, len(grad)
        for k in range(len(self.task.deeper), 0, -1):
            slope, hat, factor = forward.x[k][:n], forward.hat[k][:n], forward.factor[k][:n]
            standardise_backward(rows(grad), rows(slope), rows(hat), rows(factor), one_group(hat))
            below = forward.hat[k - 1][:n] if k > 1 else value
            self.deeper[2 * k - 2].addmm_(grad.t(), below)
            self.deeper[2 * k - 1].add_(grad.sum(0))
            grad = grad @ self.task.deeper[k - 1][0]
        return grad


# Work on independent pieces in as many threads as torch has, each with one thread of its own.
#
# Many small matrix products gain nothing from threads inside them; whole pieces side by side do.

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
