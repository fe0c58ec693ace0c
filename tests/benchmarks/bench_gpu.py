"""The step on a GPU against the time that its memory traffic takes at the bandwidth of that GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from matgl_infomax.nn.sitenet import PRESETS
from tests.benchmarks import floor
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import batches_of, prepared
from tests.benchmarks.steps import ours

SITES = 38_400
"""A batch large enough that starting the kernels costs little."""

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def median_seconds(run: Callable[[], object], rounds: int) -> float:
    """Wall time of a run on the GPU; the processor's time would leave out the waiting."""
    seconds = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


def bandwidth() -> float:
    """Bytes per second of a large copy on the GPU, reading and writing counted."""
    source = torch.zeros(256 * 1024 * 1024, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), 12)


def test_gpu_step(store_folder: Path, note: Callable[..., None]) -> None:
    """Time of a step, with the bytes it must move at the least and the bandwidth found."""
    store = prepared(store_folder, 250 if QUICK else 2000)
    rows = batches_of(store, 1, SITES)[0]
    prepare, step = ours("cuda")
    batch = prepare(store, rows)

    seconds = median_seconds(lambda: step(batch), 15)
    least = batch.n_pairs * floor.bytes_per_pair(PRESETS["published"])
    note(gpu_s=seconds, floor_s=least / bandwidth(), crystals=len(rows), pairs=batch.n_pairs)
