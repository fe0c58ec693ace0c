"""Which crystals meet in which step: a pure function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from matgl_infomax.data.batch import SiteBatch
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
    batches: list[list[int]] = []
    current: list[int] = []
    total = 0
    for index in order.tolist():
        if len(current) >= least and total + sizes[index] > limit:
            batches.append(current)
            current, total = [], 0
        current.append(index)
        total += int(sizes[index])
    if current and len(current) < least and batches:
        batches[-1].extend(current)
    elif current:
        batches.append(current)
    return batches


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
        self.sizes, self.steps, self.chunk = sizes, steps, chunk
        self.batch_sites, self.seed, self.least = batch_sites, seed, least
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the chunk; Lightning calls it before each one, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(0, min(self.chunk, self.steps - self.epoch * self.chunk))

    def __iter__(self) -> Iterator[list[int]]:
        start = self.epoch * self.chunk
        stop = start + len(self)
        step = 0
        number = 0
        while step < stop:
            order = random_stream(self.seed, number).permutation(len(self.sizes))
            for batch in group_by_sites(self.sizes, order, self.batch_sites, self.least):
                if start <= step < stop:
                    yield batch
                step += 1
            number += 1


class StoreBatches(Dataset[Any]):
    """Batches of some rows of a store, with their labels if there are any.

    Args:
        store: prepared crystals.
        rows: rows of the store that may be used, (n,); positions below refer to these.
        labels: normalised labels, NaN where missing, (n, T).
    """

    def __init__(self, store: Store, rows: NDArray[np.int64], labels: NDArray[np.float64] | None = None) -> None:
        self.store, self.rows = store, np.asarray(rows, dtype=np.int64)
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels)).float()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Sites of each usable crystal, (n,)."""
        return self.store.n_sites[self.rows]

    def __getitem__(self, positions: list[int]) -> SiteBatch | tuple[SiteBatch, Tensor]:
        batch = self.store.batch(self.rows[positions])
        return batch if self.labels is None else (batch, self.labels[positions])

    def loader(self, order: Sampler[list[int]] | list[list[int]]) -> DataLoader[Any]:
        """Load the batches of an order, one after the other."""
        return DataLoader(self, sampler=order, batch_size=None)
