"""Memory of a training step, measured in a fresh process: python -m tests.benchmarks.memory STEP STORE SITES.

A first step on two crystals loads what is loaded only once (compiled code, buffers of the libraries, the optimiser's
state). Then the peak of the resident memory is reset, and three steps on full batches show what a step needs.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MB = 1e6
LIMIT_BYTES = 12_000_000_000
"""A step that asks for more fails instead of taking the machine down."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
_STEADY = 32 * 1024 * 1024  # where glibc's own thresholds end up in a process that frees large arrays


@contextmanager
def kept_by_the_process() -> Iterator[None]:
    """Let glibc keep freed memory instead of asking the kernel for the same pages at each step.

    The plain formula frees a gigabyte per step; without this it spends a fifth of its time in the kernel.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield  # another C library, with habits of its own
        return
    largest = 2**31 - 1
    libc.mallopt(_MMAP_THRESHOLD, largest)
    libc.mallopt(_TRIM_THRESHOLD, largest)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _STEADY)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _STEADY)
        libc.malloc_trim(0)


def resident(field: str) -> float:
    """Resident memory of this process in MB: VmRSS for now, VmHWM for its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 / MB for line in lines if line.startswith(f"{field}:"))


def reset_peak() -> None:
    """Let the peak start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def measured(step: str, store: str, sites: int) -> dict[str, float]:
    """What a step adds at its peak (step_mb) and the peak of the whole process (process_mb)."""
    code = [sys.executable, "-m", "tests.benchmarks.memory", step, store, str(sites)]
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{' '.join(code[1:])} failed: {done.stderr.strip()[-500:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(name: str, path: str, sites: int) -> None:
    """Run the steps and print the numbers."""
    import torch

    from matgl_infomax.data.store import Store
    from tests.benchmarks.material import batches_of
    from tests.benchmarks.matgl_steps import MATGL_STEPS
    from tests.benchmarks.steps import STEPS

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    store = Store.open(Path(path))
    prepare, step = {**STEPS, **MATGL_STEPS}[name]()
    step(prepare(store, [0, 1]))
    batches = [prepare(store, rows) for rows in batches_of(store, 2, sites)]
    before, earlier = resident("VmRSS"), resident("VmHWM")
    reset_peak()
    for batch in [*batches, batches[0]]:
        step(batch)
    peak = resident("VmHWM")
    print(json.dumps({"step_mb": peak - before, "process_mb": max(peak, earlier)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
