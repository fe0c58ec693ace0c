"""A store of a million crystals, built and streamed: python -m tests.benchmarks.million FOLDER [CRYSTALS].

The 156,129 structures of the shared data, again and again under hydrostatic strain. The folder needs 30 GB; the store
in it is kept, so a run that was stopped goes on. Streaming is measured in a fresh process that does the arithmetic of
a step of 800 crystals/s between the batches, after the store was dropped from the system's cache of files.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from matgl_infomax.data.loader import StepOrder, StoreBatches
from matgl_infomax.data.read import read_crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.workers import cores
from tests.helpers.strained import Strained

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "mp_unlabelled" / "mp_2025.parquet"
STEP_RATE = 800.0
"""Crystals/s of the training step that the loader has to keep up with."""
BATCH_SITES, STEPS = 1200, 400


def main(folder: Path, n: int) -> None:
    """Build, stream in every view, and print one table."""
    known = read_crystals(SHARED, on_error="skip")
    peaks, stop = {"none": 0.0}, threading.Event()
    watch = threading.Thread(target=_watched, args=(peaks, stop))
    watch.start()
    start, before = time.perf_counter(), sum(os.times()[:4])
    try:
        store = build_store(Strained(known, n), SupercellRule(50), folder)
    finally:
        stop.set()
        watch.join()
    seconds, spent = time.perf_counter() - start, sum(os.times()[:4]) - before
    size = sum(file.stat().st_size for file in store.path.iterdir())
    rows = {
        "crystals (structures)": f"{len(store):,} ({len(known):,})",
        "build": f"{n / seconds:,.0f} crystals/s with {cores()} processes ({seconds:,.0f} s)",
        "processor time of the build": f"{1000 * spent / n:.2f} ms per crystal, all processes",
        "peak memory of a building process": f"{max(peaks.values()):,.0f} MB",
        "size on disk": f"{size / 1e9:.1f} GB, {size / n / 1e3:.1f} kB per crystal",
    }
    for view in ("full", "merged", "both"):
        command = [sys.executable, "-m", "tests.benchmarks.million", "--stream", str(store.path), view]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows["open, files not cached"] = f"{found['open_cold']:.2f} s"
        rows["open, files cached"] = f"{found['open_warm']:.2f} s"
        rows |= {f"{view}: {what}": text for what, text in _told(found).items()}
    width = max(map(len, rows))
    print("\n".join(f"| {name.ljust(width)} | {text} |" for name, text in rows.items()))


def _told(found: dict[str, Any]) -> dict[str, str]:
    """Numbers of a stream in words."""
    step = 1000 * found["crystals"] / STEP_RATE
    cold, warm = (
        f"{found[name]:.2f} ms, {found[name] / step:.1%} of {step:.0f} ms "
        f"(median {found[f'{name}_50']:.2f}, longest {found[f'{name}_100']:.0f} ms)"
        for name in ("wait_cold", "wait_warm")
    )
    return {
        "processor time of a batch": f"{found['cpu_ms']:.2f} ms ({found['crystals']:.0f} crystals, shuffled)",
        "the step waits, files not cached": cold,
        "the step waits, files cached": warm,
        "batches alone": f"{found['rate']:,.0f}/s",
        "resident memory": f"{found['first_mb']:.0f} MB after two passes of {STEPS} batches, {found['last_mb']:.0f} MB "
        f"after five, {found['peak_mb']:.0f} MB at its peak",
    }


def stream(path: Path, view: Any) -> dict[str, float]:
    """Open a store and stream shuffled batches of it, with and without the work of a step in between."""
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    for name in ("open_cold", "open_warm"):
        if name == "open_cold":
            _drop(path)
        start = time.perf_counter()
        store = Store.open(path)
        found[name] = time.perf_counter() - start
    batches = StoreBatches(store, np.arange(len(store)), view=view)
    order = StepOrder(batches.sizes, 4 * STEPS, STEPS, BATCH_SITES, seed=1)
    crystals = float(np.mean([len(batch) for batch in order]))
    work = _work(crystals / STEP_RATE)
    loader = batches.loader(order)
    for number, name in enumerate(("wait_cold", "wait_warm")):
        order.set_epoch(0)
        if number == 0:
            _drop(path)
        waits = []
        source, done = iter(loader), False
        while not done:
            start = time.perf_counter()
            done = next(source, None) is None
            waits.append(time.perf_counter() - start)
            work()
        kept = 1000 * np.array(waits[1:-1])  # the first batch cannot be loaded ahead
        found[name] = float(kept.mean())
        found |= {f"{name}_{p}": float(np.percentile(kept, p)) for p in (50, 99, 100)}
        found[f"{name}_first"] = 1000 * waits[0]
    found["first_mb"] = resident("VmRSS")
    plan = list(order)
    start = time.process_time()
    for batch in plan:
        batches[batch]
    found["cpu_ms"] = 1000 * (time.process_time() - start) / len(plan)
    for epoch in (1, 2, 3):
        order.set_epoch(epoch)
        start = time.perf_counter()
        count = sum(1 for _ in loader)
        found["rate"] = count / (time.perf_counter() - start)
    return {**found, "crystals": crystals, "last_mb": resident("VmRSS"), "peak_mb": resident("VmHWM")}


def resident(field: str, process: str = "self") -> float:
    """Resident memory of a process in MB: VmHWM is its peak. (The peak of getrusage begins at the parent's.)"""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1.024e-3 for line in lines if line.startswith(f"{field}:"))


def _work(seconds: float) -> Any:
    """A function that multiplies matrices for about this long, always the same number of times."""
    matrix = torch.ones(64, 64)
    start = time.perf_counter()
    for _ in range(2000):
        matrix @ matrix
    count = int(2000 * seconds / (time.perf_counter() - start))

    def work() -> None:
        for _ in range(count):
            matrix @ matrix

    return work


def _drop(path: Path) -> None:
    """Take the files of a store out of the system's cache."""
    os.sync()
    for file in path.iterdir():
        number = os.open(file, os.O_RDONLY)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def _watched(peaks: dict[str, float], stop: threading.Event) -> None:
    """Note the peak memory in MB of every process that this one started, until told to stop."""
    while not stop.wait(0.5):
        for children in Path("/proc/self/task").glob("*/children"):
            for child in children.read_text().split():
                with contextlib.suppress(OSError, StopIteration):  # it has just ended
                    peaks[child] = resident("VmHWM", child)


if __name__ == "__main__":
    if sys.argv[1] == "--stream":
        print(json.dumps(stream(Path(sys.argv[2]), sys.argv[3])))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
