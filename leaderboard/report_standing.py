"""A comparison with published entries, read from its folder, our scores in it traced to run cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.comparison import (
    JSON_FILE,
    Duel,
    LeaderboardComparison,
    Place,
    RunStanding,
    TaskComparison,
)
from matgl_infomax.leaderboard.report_benchmark import BenchmarkNumbers
from matgl_infomax.leaderboard.statistics import Calibration

RIGHT = 1e-6
"""Largest relative difference between a score of the comparison, kept to ten digits, and that of the benchmark."""


def read_comparison(folder: Path, name: str, benchmarks: Sequence[BenchmarkNumbers]) -> LeaderboardComparison:
    """Open the folder that ``matgl-infomax compare`` wrote, and trace our scores to the benchmarks they came from.

    The file holds no predictions, so the tables of predictions are empty.

    Args:
        folder: the comparison's ``--out``.
        name: what the report calls it.
        benchmarks: those of the report, whose cards were checked.

    Raises:
        InputError: If the file is missing or damaged, or an answer of ours is not among the benchmarks or has another
            score there.
    """
    file = folder / JSON_FILE
    try:
        content = json.loads(file.read_text())
        if content["format"] != 1:
            raise InputError(f"{file} has format {content['format']}, known is 1. Update the package or compare again.")
        tasks = tuple(_task(one, folder) for one in content["tasks"])
        found = LeaderboardComparison(
            tasks, content["draws"], content["published"], content["ranked"], tuple(content["notes"])
        )
    except OSError as error:
        raise InputError(f"Cannot read the comparison {file}: {error.strerror or error}.") from error
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{file} is no comparison ({type(error).__name__}: {error}). Compare again.") from error
    for task in found.tasks:
        for run in task.runs:
            _has_cards(task, run, name, benchmarks)
    return found


def _task(content: Mapping[str, Any], folder: Path) -> TaskComparison:
    """One task."""
    plain = ("task", "target", "unit", "kind", "metric", "materials")
    return TaskComparison(
        **{key: content[key] for key in plain},
        folds=tuple(content["folds"]),
        runs=tuple(_run(one, folder) for one in content["runs"]),
        own=tuple(_duel(one) for one in content["own"]),
        table=pd.DataFrame(content["table"]),
        groups=tuple(tuple(group) for group in content["groups"]),
        notes=tuple(content["notes"]),
    )


def _run(content: Mapping[str, Any], folder: Path) -> RunStanding:
    """One answer."""
    plain = ("name", "source", "arm", "network", "labels", "seeds", "score", "reference")
    known = content["calibration"]
    calibration = None
    if known is not None:
        known = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
        calibration = Calibration(**{key: _number(value) for key, value in known.items()})
    return RunStanding(
        **{key: content[key] for key in plain},
        folder=folder,
        std=_number(content["std"]),
        fold_scores=tuple(content["fold_scores"]),
        place=Place(**content["place"]),
        duels=tuple(_duel(one) for one in content["duels"]),
        predictions=pd.DataFrame(columns=["id", "fold", "target", "prediction", "std", "error"]),
        strata=_numbers(pd.DataFrame(content["strata"])),
        worst=pd.DataFrame(content["worst"]),
        calibration=calibration,
        notes=tuple(content["notes"]),
    )


def _duel(content: Mapping[str, Any]) -> Duel:
    """One comparison; what was not known is NaN."""
    return Duel(**{key: _number(content[key]) for key in Duel.__dataclass_fields__})


def _number(value: Any) -> Any:
    """A missing number as NaN, anything else as it is."""
    return float("nan") if value is None else value


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A table in which missing numbers are NaN; columns of words stay."""
    words = {"by", "kind", "finding"}
    return table.astype({name: "float64" for name in table.columns if name not in words})


def _has_cards(task: TaskComparison, run: RunStanding, name: str, benchmarks: Sequence[BenchmarkNumbers]) -> None:
    """An answer of ours has its benchmark in the report, with the same scores."""
    known = next((one for one in benchmarks if one.name.rpartition("/")[2] == run.name.rpartition("/")[2]), None)
    if known is None or known.asked.task != task.task:
        raise InputError(
            f"{name}: {run.name} has no run cards among the folders of the report. Give the folder of its benchmark "
            "as well: no number without a card."
        )
    scores = dict(zip(known.scores["fold"], known.scores[known.main], strict=True))
    ours = [scores.get(fold, float("nan")) for fold in task.folds]
    same = len(ours) == len(run.fold_scores) and np.allclose(ours, run.fold_scores, rtol=RIGHT, atol=1e-9)
    if not (same and np.isclose(np.mean(ours), run.score, rtol=RIGHT, atol=1e-9)):
        raise InputError(f"{name}: the scores of {run.name} are not those of its benchmark. Compare again.")
    for duel in [*run.duels, *(duel for duel in task.own if duel.ours == run.name)]:
        if not np.isclose(duel.score, run.score, rtol=RIGHT, atol=1e-9):
            raise InputError(f"{name}: {run.name} against {duel.other} has another score than {run.name}.")
