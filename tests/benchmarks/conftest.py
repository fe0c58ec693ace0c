"""How the benchmarks measure: rounds, clock, threads; and which of them were left out, for the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

QUICK = os.environ.get("BENCH_QUICK") == "1"
"""Few rounds on few crystals, for CI."""

_left_out: dict[str, tuple[str, str]] = {}


@pytest.fixture(scope="session")
def threads() -> int:
    """Threads of PyTorch, as OMP_NUM_THREADS says."""
    number = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(number)
    return number


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stores of this run lie."""
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def measure(benchmark: Any, threads: int) -> Callable[..., None]:
    """Time something in rounds and note what one round did.

    ``measure(run, units=..., setup=..., rounds=..., **facts)``: ``setup`` makes the arguments of each round outside
    the timing; ``units`` are the things (crystals, pairs) done in a round; facts go into the JSON as they are.
    """

    def timed(
        run: Callable[..., Any],
        *,
        units: float,
        setup: Callable[[], Sequence[Any]] | None = None,
        rounds: int = 7,
        **facts: Any,
    ) -> None:
        benchmark.extra_info.update(units=units, threads=threads, **facts)
        arguments = None if setup is None else lambda: (tuple(setup()), {})
        few = min(rounds, 3) if QUICK else rounds
        benchmark.pedantic(run, setup=arguments, rounds=few, warmup_rounds=1 if QUICK else 2)

    return timed


@pytest.fixture
def note(benchmark: Any, threads: int) -> Callable[..., None]:
    """Put numbers that are no times (memory, differences) into the JSON."""

    def noted(**facts: Any) -> None:
        benchmark.extra_info.update(threads=threads, **facts)
        benchmark.pedantic(lambda: None)

    return noted


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember every benchmark that gave no number, and why."""
    name = report.nodeid.rpartition("::")[2]
    if report.skipped and isinstance(report.longrepr, tuple):
        _left_out.setdefault(name, ("skipped", report.longrepr[2].removeprefix("Skipped: ")))
    elif report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        first = str(crash.message if crash else report.longrepr).partition("\n")[0]
        _left_out.setdefault(name, ("failed", first[:80]))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Tell the table what is missing from the numbers."""
    output_json["left_out"] = dict(_left_out)
