"""MatGL's own networks: their bare training step, for scale, and what Deep InfoMax adds to its time and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from matgl_infomax import host
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import has_mp
from tests.benchmarks.matgl_steps import BATCH, CUTOFF_ANGSTROM, MATGL_STEPS, MEASURED, matgl_store
from tests.benchmarks.memory import measured

ROWS = [list(range(start, start + BATCH)) for start in range(0, BATCH if QUICK else MEASURED, BATCH)]


@pytest.mark.parametrize("name", CUTOFF_ANGSTROM)
@pytest.mark.parametrize("kind", ["bare", "infomax"])
def test_matgl_step(
    kind: str,
    name: str,
    store_folder: Path,
    measure: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Crystals per second of a training step on the same batches of 32 crystals."""
    monkeypatch.chdir(tmp_path)  # MatGL's datasets leave files where they are made
    store = matgl_store(name, store_folder)
    prepare, step = MATGL_STEPS[f"{kind}-{name}"]()
    batches = [prepare(store, rows) for rows in ROWS]

    def several() -> None:
        for batch in batches:
            step(batch)

    measure(several, units=BATCH * len(ROWS), rounds=9, backend=host.BACKEND, mp=has_mp())


@pytest.mark.parametrize("name", CUTOFF_ANGSTROM)
@pytest.mark.parametrize("kind", ["bare", "infomax"])
def test_matgl_memory(kind: str, name: str, store_folder: Path, note: Callable[..., None]) -> None:
    """Peak of the same step in a fresh process, batches of 400 sites."""
    note(**measured(f"{kind}-{name}", str(matgl_store(name, store_folder).path), 400))
