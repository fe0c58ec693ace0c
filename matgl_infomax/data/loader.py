"""Which crystals meet in which step: a pure function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.build import shard_rows
from matgl_infomax.data.forces import ForceLabels
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError


def random_stream(seed: int, *place: int) -> np.random.Generator:
    """Independent random numbers for a named place of a run (such as a pass over the data)."""
    return np.random.default_rng(np.random.SeedSequence([seed, *place]))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one training step, whatever ran before it."""
    state = np.random.SeedSequence([seed, 7, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def group_by_sites(sizes: NDArray[np.int64], order: NDArray[np.int64], limit: int, least: int = 1) -> list[list[int]]:
    """Cut an order of crystals into batches, adding crystals until the next one would exceed the limit of sites.

    Args:
        sizes: sites of each crystal, (n,).
        order: positions to be cut.
        limit: sites per batch; a larger crystal gets a batch of its own.
        least: crystals per batch at least, whatever the limit; too small a rest joins the batch before it.
    """
    bounds = _bounds(sizes[order], limit, least)
    return [order[a:b].tolist() for a, b in pairwise(bounds.tolist())]


def _bounds(sizes: NDArray[np.int64], limit: int, least: int) -> NDArray[np.int64]:
    """First place of each batch in an order, and the end of the last, for crystals of these sizes in that order."""
    total = np.concatenate([[0], np.cumsum(sizes)])  # sites before each place
    n = len(sizes)
    bounds = [0]
    while bounds[-1] < n:
        start = bounds[-1]
        # The first crystal that does not fit any more, but never one of the least number.
        fits = int(total.searchsorted(total[start] + limit, side="right")) - 1
        bounds.append(min(max(fits, start + least), n))
    if len(bounds) > 2 and n - bounds[-2] < least:
        del bounds[-2]
    return np.array(bounds, dtype=np.int64)


class StepOrder(Sampler[list[int]]):
    """Batches for a fixed number of steps, handed out in chunks; Lightning's epoch is one chunk.

    Args:
        sizes: sites of each crystal, (n,).
        steps: steps of the whole run.
        chunk: steps per chunk.
        batch_sites: sites per batch.
        seed: seed of the order.
        least: crystals per batch at least.
    """

    def __init__(
        self, sizes: NDArray[np.int64], steps: int, chunk: int, batch_sites: int, seed: int, least: int = 1
    ) -> None:
        if len(sizes) < least:
            raise InputError(f"A batch needs at least {least} crystals. Received: {len(sizes)}. Give more crystals.")
        self.sizes = np.asarray(sizes)
        self.steps = steps
        self.chunk = chunk
        self.batch_sites = batch_sites
        self.seed = seed
        self.least = least
        self.epoch = 0
        self._first_step = [0]  # of each pass over the data, as far as they were counted
        self._last: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the chunk; Lightning calls it before each one, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(0, min(self.chunk, self.steps - self.epoch * self.chunk))

    def __iter__(self) -> Iterator[list[int]]:
        step = self.epoch * self.chunk
        stop = step + len(self)
        while step < stop:
            while self._first_step[-1] <= step:
                _, bounds = self._pass(len(self._first_step) - 1)
                self._first_step.append(self._first_step[-1] + len(bounds) - 1)
            number = bisect_right(self._first_step, step) - 1
            order, bounds = self._pass(number)
            for k in range(step - self._first_step[number], len(bounds) - 1):
                if step == stop:
                    return
                yield order[bounds[k] : bounds[k + 1]].tolist()
                step += 1

    def _pass(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order of one pass over the data, (n,), and where its batches begin and end; the last one is kept."""
        if self._last is None or self._last[0] != number:
            order = random_stream(self.seed, number).permutation(len(self.sizes))
            self._last = number, order, _bounds(self.sizes[order], self.batch_sites, self.least)
        return self._last[1:]


class StoreBatches(Dataset[Any]):
    """Batches of some rows of a store, with their labels if there are any.

    Args:
        store: prepared crystals.
        rows: rows of the store that may be used, (n,); positions below refer to these.
        labels: normalised labels, NaN where missing, (n, T).
        view: which pairs the batches hold, see ``Store.batch``.
        geometry: also give positions, lattices and image offsets.
        site_property: a number of each site of every crystal of the store, (N,) each; none for no such numbers.
        physics: energies, forces and stresses of these rows, (n,), which the batches then hold.
    """

    def __init__(
        self,
        store: Store,
        rows: NDArray[np.int64],
        labels: NDArray[np.float64] | None = None,
        *,
        view: View = "full",
        geometry: bool = False,
        site_property: Sequence[NDArray[np.float64]] | None = None,
        physics: ForceLabels | None = None,
    ) -> None:
        self.store, self.rows = store, np.asarray(rows, dtype=np.int64)
        self.view = view
        self.geometry = geometry
        self.site_property = site_property
        self.physics = physics
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels)).float()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Sites of each usable crystal, (n,)."""
        return self.store.n_sites[self.rows]

    def __getitem__(self, positions: list[int]) -> SiteBatch | tuple[SiteBatch, Tensor]:
        rows = self.rows[positions]
        batch = self.store.batch(rows, view=self.view, geometry=self.geometry)
        if self.site_property is not None:
            numbers = np.concatenate([self.site_property[row] for row in rows])
            batch = replace(batch, site_property=torch.from_numpy(numbers).to(batch.distance.dtype))
        if self.physics is not None:
            batch = self.physics.pick(positions).onto(batch)
        return batch if self.labels is None else (batch, self.labels[positions])

    def loader(self, order: Sampler[list[int]] | list[list[int]]) -> DataLoader[Any]:
        """Load the batches of an order, one after the other; of a store with several shards ahead of their use."""
        kind = AheadLoader if len(shard_rows(len(self.store))) > 1 else DataLoader
        return kind(self, sampler=order, batch_size=None)


class AheadLoader(DataLoader[Any]):
    """Load the next batches in a thread while the present one is used, so that a step does not wait for the disk."""

    AHEAD = 2
    """Batches ready at most."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        # One thread: the batches come in their order.
        with ThreadPoolExecutor(1, thread_name_prefix="load-ahead") as thread:
            ready = deque(thread.submit(next, batches, None) for _ in range(self.AHEAD))
            while (batch := ready.popleft().result()) is not None:
                ready.append(thread.submit(next, batches, None))
                yield batch
