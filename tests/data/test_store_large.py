"""Stores of many shards in real processes: memory, kill -9, two builders, a file system that refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from matgl_infomax.data.build import CRYSTALS_PER_SHARD
from matgl_infomax.data.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import resource, sys
import numpy as np
from pathlib import Path
from matgl_infomax.cli import exit_code
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import build_store
from matgl_infomax.data.supercell import SupercellRule
from tests.helpers.strained import Strained

folder, n, workers, limit = sys.argv[1], *map(int, sys.argv[2:])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
numbers = lambda: (rng.integers(1, 90, 4), 4 * np.eye(3) + rng.random((3, 3)), rng.random((4, 3)))
some = [Crystal(f"c{k}", *numbers()) for k in range(50)]
job = lambda: build_store(Strained(some, n), SupercellRule(60), Path(folder), progress=False, workers=workers)
sys.exit(exit_code("build", job))
"""
STREAM = """
import sys
from pathlib import Path
import numpy as np
from matgl_infomax.data.loader import StepOrder, StoreBatches
from matgl_infomax.data.store import Store

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

store = Store.open(Path(sys.argv[1]))
batches = StoreBatches(store, np.arange(len(store)), view=sys.argv[2])
order = StepOrder(batches.sizes, 600, 150, 400, 0)
seen = 0
for epoch in range(4):
    order.set_epoch(epoch)
    seen += sum(batch.n_crystals for batch in batches.loader(order))
    print(seen, resident())
"""


def builder(folder, n, workers=2, limit=0):
    command = [sys.executable, "-c", BUILD, *map(str, (folder, n, workers, limit))]
    # A shell's background jobs do not hear Ctrl-C, and their children inherit that.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=listen)


def built(folder, n, **more):
    process = builder(folder, n, **more)
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 0, error
    assert [p.name for p in folder.iterdir() if not p.name.startswith("store-")] == []
    return Store.open(next(folder.glob("store-*")))


@pytest.mark.parametrize("view", ["full", "merged", "both"])
def test_memory_stays_flat_while_batches_are_read(view, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "flat"  # one store for all views
    store = built(folder, 30_000) if not folder.exists() else Store.open(next(folder.glob("store-*")))
    assert sum(file.stat().st_size for file in store.path.iterdir()) > 60e6, "too small to notice a leak"
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(store.path), view], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    lines = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) == 4 and lines[-1][0] > 30_000, done.stderr
    memory = [resident for _, resident in lines]
    assert max(memory) < 1_000 and max(memory) - memory[0] < 10, memory


def test_killed_build_goes_on_from_its_shards(tmp_path):
    n = 12 * CRYSTALS_PER_SHARD - 5
    process = builder(tmp_path, n)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob(".draft-*/shard-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(children) == 2
    while any(_alive(int(child)) for child in children):
        assert time.monotonic() < deadline, "processes of a killed build go on for ever"
        time.sleep(0.05)
    draft = next(tmp_path.glob(".draft-*"))
    kept = {file.name: file.stat().st_ino for file in draft.iterdir()}
    assert 3 <= len(kept) < 12 and not list(tmp_path.glob("store-*"))
    store = built(tmp_path, n)
    assert len(store) == n and not draft.exists()
    assert {name: (store.path / name).stat().st_ino for name in kept} == kept, "a finished shard was written again"
    assert store.ids[n - 1] == f"c{(n - 1) % 50}-{(n - 1) // 50}"


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_two_builders_share_the_work_and_one_store(tmp_path):
    n = 6 * CRYSTALS_PER_SHARD
    pair = [builder(tmp_path / "pair", n) for _ in range(2)]
    for process in pair:
        error = process.communicate(timeout=200)[1]
        assert process.returncode == 0, error
    alone = built(tmp_path / "alone", n, workers=1)
    (both,) = (tmp_path / "pair").iterdir()
    assert both.name == alone.path.name
    assert {f.name: f.read_bytes() for f in both.iterdir()} == {f.name: f.read_bytes() for f in alone.path.iterdir()}


def test_file_system_that_refuses_gets_a_sentence(tmp_path):
    process = builder(tmp_path, 3 * CRYSTALS_PER_SHARD, limit=1_000_000)
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 2 and "File too large" in error and "--cache" in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_interrupt_ends_all_processes_and_keeps_the_shards(tmp_path):
    process = builder(tmp_path, 12 * CRYSTALS_PER_SHARD)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".draft-*/shard-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGINT)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and "Traceback" not in error
    assert not any(_alive(int(child)) for child in children)
    assert list(tmp_path.glob(".draft-*/shard-*"))


def test_order_of_a_million_crystals_costs_little():
    from matgl_infomax.data.loader import StepOrder

    order = StepOrder(np.random.default_rng(0).integers(2, 60, 1_000_000), 60_000, 250, 1200, seed=0, least=2)
    order.set_epoch(239)  # in the third pass over the data
    start = time.process_time()
    assert len(list(order)) == 250
    first = time.process_time() - start
    order.set_epoch(238)
    start = time.process_time()
    list(order)
    assert first < 5 and time.process_time() - start < 0.5
