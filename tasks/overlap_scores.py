"""Errors of benchmarks, split by how close the pretraining corpus comes to each test crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.results import read_benchmark
from matgl_infomax.leaderboard.scores import CLASS_THRESHOLD
from matgl_infomax.leaderboard.strata import split_errors
from matgl_infomax.tasks.matbench.task import Task
from matgl_infomax.tasks.overlap_tables import strata

COLUMNS = (
    "benchmark", "arm", "level", "crystals", "error", "low", "high", "guess", "ratio", "ratio_low", "ratio_high",
)  # fmt: skip
"""Columns of ``scores.csv``; ratios are to the first benchmark."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The predictions of one benchmark of the task."""

    name: str
    """Name of its folder."""
    arm: str
    predictions: pd.DataFrame
    """One line per test crystal of the finished folds: id, fold, target, prediction, std."""


def read_scored(folder: Path, task: Task) -> Scored:
    """Open the folder of a benchmark.

    Raises:
        InputError: If there is none, or it is of another task.
    """
    result = read_benchmark(folder)
    if result.asked.task != task.card.name:
        raise InputError(f"{folder} answers {result.asked.task}; the report is about {task.card.name}. Leave it out.")
    wrong = result.predictions.loc[~result.predictions["id"].isin(task.ids), "id"]
    if len(wrong):
        raise InputError(f"{folder} predicts {wrong.iloc[0]}, which is no crystal of {task.card.name}.")
    return Scored(folder.resolve().name, result.asked.arm, result.predictions)


def score_table(scored: Sequence[Scored], task: Task, level: NDArray[np.int8]) -> pd.DataFrame:
    """Mean errors of every benchmark on every kind of crystal.

    Args:
        scored: the benchmarks; each is compared with the first one, where that predicts all its crystals as well.
        task: the task they answer.
        level: index into ``LEVELS`` of each crystal of the task, in official order, (n,).

    Returns:
        The columns ``COLUMNS``. The error is the mean absolute error, or for classes the share of wrong ones; guess is
        that of an answer that knows nothing (the median of all targets, or the more frequent class).
    """
    row = pd.Series(np.arange(task.card.n_rows), index=task.ids)
    first: pd.Series | None = None
    lines: list[dict[str, object]] = []
    for benchmark in scored:
        table = benchmark.predictions.set_index("id")
        truth = table["target"].to_numpy(dtype=np.float64)
        errors = _errors(task, truth, table["prediction"].to_numpy(dtype=np.float64))
        guess = _errors(task, truth, np.full(len(truth), np.median(truth)))
        kinds = strata(level[row[table.index].to_numpy()])
        same = first is not None and table.index.isin(first.index).all()
        base = first[table.index].to_numpy() if first is not None and same else None
        first = pd.Series(errors, index=table.index) if first is None else first
        found = split_errors(errors, guess, kinds, baseline=base)
        lines += [{"benchmark": benchmark.name, "arm": benchmark.arm, **_named(asdict(one))} for one in found]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _named(stratum: dict[str, object]) -> dict[str, object]:
    """The name of a kind of crystal stands in the column 'level'."""
    return {"level" if name == "name" else name: value for name, value in stratum.items()}


def _errors(task: Task, truth: NDArray[np.float64], answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute errors, or 1 for each wrong class, (n,)."""
    if task.card.kind == "regression":
        return np.abs(answer - truth)
    return ((truth > CLASS_THRESHOLD) != (answer > CLASS_THRESHOLD)).astype(np.float64)
