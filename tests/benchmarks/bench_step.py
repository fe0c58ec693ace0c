"""Training steps: the published network against its plain formula, and Deep InfoMax, with their memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from matgl_infomax.data.store import Store
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import batches_of, has_mp, prepared, published_network, read_batch
from tests.benchmarks.memory import kept_by_the_process, measured
from tests.benchmarks.plain_sitenet import PlainSiteNet, plain_batch
from tests.benchmarks.steps import INFOMAX_VIEW, STEPS, predictions

BATCHES = 1 if QUICK else 3
CRYSTALS = 250 if QUICK else 2000


@pytest.fixture(scope="module")
def store(store_folder: Path) -> Store:
    """The sample in supercells of 50 atoms."""
    return prepared(store_folder, CRYSTALS)


@pytest.mark.parametrize("kind", ["plain", "ours", "infomax"])
def test_step(kind: str, store: Store, measure: Callable[..., None]) -> None:
    """Crystals per second of one training step."""
    rows = batches_of(store, BATCHES)
    prepare, step = STEPS[kind]()

    def several(batches: list[Any]) -> None:
        for batch in batches:
            step(batch)

    with kept_by_the_process() if kind == "plain" else nullcontext():
        measure(
            several,
            setup=lambda: [[prepare(store, r) for r in rows]],
            units=sum(map(len, rows)),
            rounds=5 if kind == "plain" else 9,
            mp=has_mp(),
            sites_per_crystal=float(store.n_sites.mean()),
        )


def test_same_outputs(store: Store, note: Callable[..., None]) -> None:
    """Relative difference of the predictions of ours and the plain formula, norm over a batch."""
    rows = batches_of(store, 1)[0]
    model = published_network()
    with torch.no_grad():
        theirs = PlainSiteNet(model)(plain_batch(read_batch(store, rows, "full")))
        mine = predictions(model, read_batch(store, rows, "merged"))
    # Relative to how much crystals differ: a large common offset would hide a difference.
    note(difference=float((mine - theirs).norm() / (theirs - theirs.mean()).norm()))


@pytest.mark.parametrize("kind", ["plain", "ours", "infomax"])
def test_memory(kind: str, store: Store, note: Callable[..., None]) -> None:
    """Peak of a step in a fresh process."""
    note(**measured(kind, str(store.path), 1200))


def test_reading(store: Store, measure: Callable[..., None]) -> None:
    """Batches read from the store, as Deep InfoMax trains on them; rows as they come in a shuffled pass."""
    rows = batches_of(store, 3 * BATCHES)
    measure(lambda: [read_batch(store, r, INFOMAX_VIEW) for r in rows], units=sum(map(len, rows)), rounds=15)
