"""A benchmark as a report shows it, also where it was kept without the true values: every score traced to its cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.results import (
    CARDS,
    PREDICTIONS,
    SCORES_FILE,
    Asked,
    cards_fit,
    read_asked,
    read_benchmark,
    read_cards,
    score_table,
)
from matgl_infomax.record import Metrics, RunCard

if TYPE_CHECKING:
    import pandas as pd

MAIN = {"regression": "mae", "classification": "rocauc"}
"""The score that ranks."""
RIGHT = 1e-6
"""Largest relative difference of a score from the one computed again; true values in a table may be rounded."""


@dataclass(frozen=True, eq=False)
class BenchmarkNumbers:
    """A finished benchmark."""

    name: str
    asked: Asked
    scores: pd.DataFrame
    """One line per fold: fold, and the scores of Matbench."""
    predictions: pd.DataFrame
    """One line per test crystal: id, fold, target (where known), prediction, std."""
    cards: tuple[RunCard, ...]

    @property
    def with_truth(self) -> bool:
        """Whether the true values are known."""
        return "target" in self.predictions

    @property
    def main(self) -> str:
        """Name of the score that ranks."""
        return MAIN[self.asked.kind]

    @property
    def mean(self) -> float:
        """Mean over folds of the score that ranks."""
        return float(self.scores[self.main].mean())

    @property
    def std(self) -> float:
        """Its standard deviation over folds, as Matbench's website computes it; NaN for one fold."""
        return float(self.scores[self.main].std(ddof=0)) if len(self.scores) > 1 else float("nan")


def read_numbers(folder: Path, name: str, truth: Sequence[pd.DataFrame] = ()) -> BenchmarkNumbers:
    """Open the folder that ``matgl-infomax benchmark`` wrote, or what was kept of it, and trace scores to cards.

    Args:
        folder: the benchmark's ``--out``; its predictions may lack the true values, its runs may be gone.
        name: what the report calls it.
        truth: tables of true values, with the columns id and target, for predictions without them.

    Raises:
        InputError: If a file is missing or damaged, a score has no card, or is not that of the predictions or cards.
    """
    import pandas as pd

    asked = read_asked(folder)
    try:
        predictions = pd.read_parquet(folder / PREDICTIONS)
        scores = pd.read_csv(folder / SCORES_FILE)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished benchmark ({error}). Run it again.") from error
    if "target" in predictions:
        whole = read_benchmark(folder)
        predictions, scores, cards = whole.predictions, whole.scores, whole.cards
    else:
        cards = read_cards(folder / CARDS)
        cards_fit(folder, asked, predictions, cards)
        _folds_agree(folder, predictions, scores)
        predictions = _with_truth(predictions, truth)
        if "target" in predictions:
            _right_scores(folder, scores, score_table(predictions, asked.kind))
    _scores_have_cards(folder, asked, scores, cards)
    return BenchmarkNumbers(name, asked, scores, predictions, cards)


def read_truth(files: Sequence[Path], targets: Sequence[str]) -> list[pd.DataFrame]:
    """Tables of true values, from CSV or parquet files.

    Args:
        files: each with a column 'id' or 'mbid', and one of the names of ``targets`` or 'target'.
        targets: names of targets that may occur.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    import pandas as pd

    found = []
    for file in files:
        try:
            table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
        except (OSError, ValueError) as error:
            raise InputError(f"Cannot read the true values {file} ({error}). Give a CSV or a parquet file.") from error
        ids = next((name for name in ("id", "mbid") if name in table), None)
        values = next((name for name in [*targets, "target"] if name in table), None)
        if ids is None or values is None:
            wanted, has = " or ".join(dict.fromkeys([*targets, "target"])), ", ".join(map(str, table))
            raise InputError(f"{file} needs a column id (or mbid) and a column {wanted}. It has: {has}.")
        columns = table[[ids, values]].set_axis(["id", "target"], axis=1).dropna()
        found.append(columns.astype({"target": "float64"}))
    return found


def _with_truth(predictions: pd.DataFrame, truth: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The predictions with the true values of the first table that knows all of them."""
    for table in truth:
        known = table.drop_duplicates("id").set_index("id")["target"]
        if predictions["id"].isin(known.index).all():
            return predictions.assign(target=known[predictions["id"]].to_numpy())
    return predictions


def _folds_agree(folder: Path, predictions: pd.DataFrame, scores: pd.DataFrame) -> None:
    """There are scores of exactly the folds that were predicted."""
    folds = sorted(set(predictions["fold"]))
    if "fold" not in scores or sorted(scores["fold"]) != folds:
        raise InputError(f"{folder / SCORES_FILE} has other folds than {PREDICTIONS}. Run the benchmark again.")


def _right_scores(folder: Path, written: pd.DataFrame, again: pd.DataFrame) -> None:
    """Scores computed again from true values are those that were written."""
    for name in again.columns:
        if name not in written or not np.allclose(written[name], again[name], rtol=RIGHT, atol=1e-9, equal_nan=True):
            # Rounded true values near zero change percentages, and nothing else.
            if name == "mape":
                continue
            raise InputError(f"{folder / SCORES_FILE}: {name} is not that of the predictions and the true values.")


def _scores_have_cards(folder: Path, asked: Asked, scores: pd.DataFrame, cards: Sequence[RunCard]) -> None:
    """One model's error is that of its card; the error of a mean is at most the mean of its members' errors."""
    if asked.kind == "classification":
        _classes_have_cards(folder, scores, cards)
        return
    for fold, mae in zip(scores["fold"], scores["mae"], strict=True):
        errors = [card.metrics.mae for card in cards if card.fold == fold and isinstance(card.metrics, Metrics)]
        if not errors:
            raise InputError(f"{folder / SCORES_FILE}: fold {fold} has no run card in {CARDS}. No number without one.")
        mean = float(np.mean(errors))
        low = (1 - RIGHT) * mean if len(errors) == 1 else 0.0
        if not low <= mae <= (1 + RIGHT) * mean:
            raise InputError(
                f"{folder / SCORES_FILE}: the error of fold {fold} is {mae}, which does not follow from its "
                f"{len(errors)} run card(s) of mean {mean}."
            )


def _classes_have_cards(folder: Path, scores: pd.DataFrame, cards: Sequence[RunCard]) -> None:
    """The scores of one model are those of its card; what several models together reach follows from no card."""
    for line in scores.to_dict("records"):
        here = [card.metrics for card in cards if card.fold == line["fold"]]
        if len(here) != 1:
            continue
        said = here[0].model_dump()
        for name in {str(column) for column in line} - {"fold"}:
            if name not in said or not np.isclose(line[name], said[name], rtol=RIGHT, atol=1e-9):
                raise InputError(
                    f"{folder / SCORES_FILE}: {name} of fold {line['fold']} is {line[name]}, its run card says "
                    f"{said.get(name)}."
                )
