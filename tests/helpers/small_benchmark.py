"""A task of the benchmark with eighty rows, and arms that only pretend, for the tests of ``benchmark``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.leaderboard.results import BenchmarkResult
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.matbench.task import Card, Split, kfolds, load_card, stratified_folds
from matgl_infomax.tasks.studies.arms import ArmAnswer, ArmTask
from matgl_infomax.tasks.studies.benchmark import answer
from matgl_infomax.tasks.studies.benchmark_grid import settle_benchmark
from tests.helpers.build import many
from tests.helpers.small_curve import FAST

ROWS = 80


@dataclass(frozen=True)
class SmallTask:
    """What a benchmark needs of a task."""

    card: Card
    folds: list[Split]

    def fold(self, k: int) -> Split:
        """An official fold."""
        return self.folds[k]


def numbers(crystals: list[Crystal]) -> tuple[SmallTask, Crystals]:
    """A regression task."""
    card = load_card("matbench_jdft2d").model_copy(update={"n_rows": ROWS, "target": "y"})
    return SmallTask(card, kfolds(ROWS)), named(many(crystals, ROWS), card)


def classes(crystals: list[Crystal]) -> tuple[SmallTask, Crystals]:
    """A classification task, the larger half of the same labels being class 1."""
    card = load_card("matbench_mp_is_metal").model_copy(update={"n_rows": ROWS, "target": "y"})
    items = many(crystals, ROWS)
    limit = float(np.median([item.labels["y"] for item in items]))
    items = [replace(item, labels={"y": float(item.labels["y"] > limit)}) for item in items]
    return SmallTask(card, stratified_folds(np.array([item.labels["y"] > 0.5 for item in items]))), named(items, card)


def named(items: list[Crystal], card: Card) -> Crystals:
    """The crystals under the names of the task's rows."""
    return Crystals([replace(item, id=card.mbid(row)) for row, item in enumerate(items)], targets=["y"])


def config(folder: Path, **changes: Any) -> BenchmarkConfig:
    """Settings of a small benchmark."""
    settings: dict[str, Any] = {
        "task": "jdft2d",
        "learning_rates": [0.001, 0.01],
        "out": folder / "out",
        "cache": folder / "cache",
        "model": {"supercell_atoms": 12},
        "pretrain": FAST,
        "finetune": {**FAST, "validation_fraction": 0.2},
    }
    return BenchmarkConfig(**{**settings, **changes})


def run(asked: tuple[SmallTask, Crystals], folder: Path, **changes: Any) -> BenchmarkResult:
    """Answer a small task."""
    task, crystals = asked
    return answer(task, crystals, settle_benchmark(config(folder, **changes), task.card), progress=False)  # type: ignore[arg-type]


class Pretender:
    """An arm that writes down what it was given and answers at once; every learning rate has its own error."""

    def __init__(self, fail_at: int | None = None, diverges: tuple[float, ...] = ()) -> None:
        self.tasks: list[ArmTask] = []
        self.fail_at, self.diverges = fail_at, diverges

    def __call__(self, task: ArmTask) -> ArmAnswer:
        """The mean of the labels, away by the learning rate and a number that depends on seed and crystal."""
        self.tasks.append(task)
        if len(self.tasks) == self.fail_at:
            raise KeyboardInterrupt("on purpose")
        (rate,) = task.learning_rates
        if rate in self.diverges:
            return ArmAnswer(np.full(len(task.test), np.nan))
        chance = np.random.default_rng(task.seed).standard_normal(ROWS)[task.test]
        found = task.labels.mean() + 30 * rate + 0.1 * chance
        return ArmAnswer(np.clip(found, 0, 1) if task.finetune.task == "classification" else found)

    @property
    def trials(self) -> list[ArmTask]:
        """Trainings that were asked for a part of the mask they came from."""
        return [task for task in self.tasks if len(task.test) < 16]
