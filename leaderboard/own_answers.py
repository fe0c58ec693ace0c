"""Our own answers, from folders of finished benchmarks or from submissions, checked against the official rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.predictions_check import check_predictions, check_unit
from matgl_infomax.leaderboard.predictions_read import RESULTS, official_folds, read_json, results_table
from matgl_infomax.leaderboard.runs_read import (
    ASKED,
    CARDS,
    N_FOLDS,
    PREDICTIONS,
    SCORES_FILE,
    cards_fit,
    read_asked,
    read_benchmark,
    read_cards,
    score_table,
)
from matgl_infomax.record import ForceMetrics, Metrics, RunCard
from matgl_infomax.tasks.matbench import Task, load_task

if TYPE_CHECKING:
    import pandas as pd

SAME = 1e-6
"""Largest relative difference between kept scores, or kept true values, and those computed again."""


@dataclass(frozen=True, eq=False)
class OwnAnswer:
    """One answer of ours to one task."""

    name: str
    folder: Path
    source: Literal["benchmark", "submission"]
    task: Task
    arm: str
    network: str
    labels: int | None
    table: pd.DataFrame
    """id, fold, target (NaN where it was not kept), prediction, std; materials of each fold in official order."""
    seeds: tuple[int, ...]
    """Seeds of the models whose mean is the prediction; empty where they are not known."""
    seed_errors: NDArray[np.float64]
    """Error of the model of each seed and fold, (S, K); for classes 1 - balanced accuracy."""
    scores: pd.DataFrame | None
    """Scores by fold that were kept beside the predictions."""
    notes: tuple[str, ...]

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that are answered, ascending."""
        return tuple(int(fold) for fold in np.unique(self.table["fold"]))

    def with_truth(self, truth: pd.Series | None) -> OwnAnswer:
        """The answer with the true values of the task, its unit and its kept scores checked.

        Args:
            truth: true values by id; None to take those that were kept with the predictions.

        Raises:
            InputError: If there are no true values at all, kept ones differ, the predictions are in another unit, or
                the kept scores are not those of the predictions.
        """
        card = self.task.card
        kept = self.table["target"].to_numpy(dtype=np.float64)
        if truth is None and np.isnan(kept).any():
            raise InputError(
                f"{self.folder} was kept without true values of {card.name}. Name a folder that has them: "
                "--published with targets/, or --data-dir with the official data."
            )
        known = kept if truth is None else truth[self.table["id"]].to_numpy(dtype=np.float64)
        other = ~np.isnan(kept) & ~np.isclose(kept, known, rtol=SAME, atol=1e-9)
        if other.any():
            first = int(np.argmax(other))
            raise InputError(
                f"{self.folder}: {int(other.sum())} true values are not the official ones, such as {kept[first]:.6g} "
                f"for {self.table['id'].iloc[first]} (officially {known[first]:.6g}): other data, or another unit."
            )
        if card.kind == "regression":
            check_unit(str(self.folder), self.table["prediction"].to_numpy(dtype=np.float64), known, card.unit)
        table = self.table.assign(target=known)
        if self.scores is not None:
            again = score_table(table, card.kind)[["fold", card.metric]].to_numpy(dtype=np.float64)
            said = self.scores[["fold", card.metric]].to_numpy(dtype=np.float64)
            if again.shape != said.shape or not np.allclose(again, said, rtol=SAME, atol=0):
                raise InputError(f"{self.folder / SCORES_FILE} holds other scores than those of {PREDICTIONS}.")
        return replace(self, table=table)


def read_answers(folders: Sequence[Path]) -> list[OwnAnswer]:
    """All answers in some folders; a submission has one per task.

    Args:
        folders: finished benchmarks, or submissions with a ``results.json.gz`` (or that file itself).

    Raises:
        InputError: If a folder is neither, its predictions are not those of official test folds, or two answers to a
            task have the same name.
    """
    found = [answer for folder in folders for answer in _read(folder.expanduser())]
    names = [(answer.task.card.name, answer.name) for answer in found]
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise InputError(f"Two answers to {again[0][0]} are called {again[0][1]}. Rename one of the folders.")
    return found


def _read(folder: Path) -> list[OwnAnswer]:
    """The answers of one folder."""
    file = folder if folder.is_file() else folder / RESULTS
    if (folder / ASKED).is_file():
        return [_benchmark(folder)]
    if file.is_file():
        return _submission(file)
    raise InputError(f"{folder} holds neither a finished benchmark ({ASKED}) nor a submission ({RESULTS}).")


def _benchmark(folder: Path) -> OwnAnswer:
    """A finished benchmark, with or without the true values."""
    import pandas as pd

    asked = read_asked(folder)
    task = load_task(asked.task)
    card = task.card
    if (asked.kind, asked.unit) != (card.kind, card.unit):
        raise InputError(
            f"{folder} answers {asked.kind} in {asked.unit or 'no unit'}; {card.name} is {card.kind} in "
            f"{card.unit or 'no unit'}."
        )
    table = _predictions(folder / PREDICTIONS)
    _check(str(folder), table, task)
    if "target" in table:
        table = read_benchmark(folder).predictions
    cards = read_cards(folder / CARDS)
    cards_fit(folder, asked, table, cards)

    scores = pd.read_csv(folder / SCORES_FILE) if (folder / SCORES_FILE).is_file() else None
    errors = _seed_errors(cards, asked.seeds, sorted({int(fold) for fold in table["fold"]}))
    return OwnAnswer(
        folder.resolve().name, folder, "benchmark", task, asked.arm, asked.network, asked.labels,
        _ordered(table, task), tuple(asked.seeds), errors, scores, tuple(asked.notes),
    )  # fmt: skip


def _predictions(file: Path) -> pd.DataFrame:
    """The table of predictions of a benchmark."""
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {file} as a table of predictions: {error}.") from error
    missing = [name for name in ("id", "fold", "prediction") if name not in table]
    if missing or not len(table):
        raise InputError(f"{file} has no {missing[0] if missing else 'predictions'}. Run the benchmark again.")
    return table


def _seed_errors(cards: Sequence[RunCard], seeds: Sequence[int], folds: Sequence[int]) -> NDArray[np.float64]:
    """Error of the model of each seed and fold, from their run cards, (S, K)."""

    def error(card: RunCard) -> float:
        metrics = card.metrics
        if isinstance(metrics, ForceMetrics):
            raise InputError(f"A force field ({card.task}) has no place on this leaderboard.")
        return metrics.mae if isinstance(metrics, Metrics) else 1 - metrics.balanced_accuracy

    by_run = {(card.fold, card.seed): error(card) for card in cards}
    return np.array([[by_run[fold, seed] for fold in folds] for seed in seeds])


def _submission(file: Path) -> list[OwnAnswer]:
    """Every task of a submission."""
    document, name = read_json(file), file.resolve().parent.name.removeprefix("matbench_v0.1_")
    found = []
    for full in document["tasks"]:
        task = load_task(full)
        table = results_table(document, full, str(file))
        if table is None:
            continue
        _check(f"{file}, {full}", table, task)
        found.append(
            OwnAnswer(name, file.parent, "submission", task, "submission", "not known", None, _ordered(table, task),
                      (), np.empty((0, N_FOLDS)), None, ())
        )  # fmt: skip
    return found


def _check(where: str, table: pd.DataFrame, task: Task) -> None:
    """Ids, folds and numbers."""
    check_predictions(where, table, official_folds(task), task.card.kind)


def _ordered(table: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The columns id, fold, target, prediction, std in official order of the materials."""
    fold_of = official_folds(task)
    wanted = ["fold", "target", "prediction", "std"]
    found = table.set_index("id").reindex(columns=wanted)
    return found.loc[fold_of.index[fold_of.isin(found["fold"].unique())]].reset_index()
