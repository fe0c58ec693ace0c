"""How the cost of a step grows with the supercell and with the batch, and what a step at 500 atoms needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from matgl_infomax.data.store import Store
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import batches_of, prepared, read_batch
from tests.benchmarks.memory import measured
from tests.benchmarks.steps import STEPS

SITES = 300 if QUICK else 1200
CRYSTALS = 60 if QUICK else 250


def time_per_pair(kind: str, store: Store, sites: int, measure: Callable[..., None]) -> None:
    rows = batches_of(store, 1, sites)[0]
    prepare, step = STEPS[kind]()
    # Pairs of the formula: sites times supercell sites, whether or not equal ones are merged.
    pairs = read_batch(store, rows, "full").n_pairs
    measure(step, setup=lambda: [prepare(store, rows)], units=pairs, rounds=5, crystals=len(rows))


@pytest.mark.parametrize("atoms", [50, 100, 200, 500])
def test_by_supercell(atoms: int, store_folder: Path, measure: Callable[..., None]) -> None:
    """The published network at a fixed number of sites."""
    time_per_pair("ours", prepared(store_folder, CRYSTALS, atoms), SITES, measure)


@pytest.mark.parametrize("sites", [200, 600, 1200, 2400])
@pytest.mark.parametrize("kind", ["ours", "infomax"])
def test_by_batch(kind: str, sites: int, store_folder: Path, measure: Callable[..., None]) -> None:
    """Supercells of 50 atoms, batches of different size."""
    time_per_pair(kind, prepared(store_folder, CRYSTALS), sites, measure)


def test_memory_500(store_folder: Path, note: Callable[..., None]) -> None:
    """Peak of a step of the published network on supercells of 500 atoms, in a fresh process."""
    note(**measured("ours", str(prepared(store_folder, CRYSTALS, 500).path), SITES))
