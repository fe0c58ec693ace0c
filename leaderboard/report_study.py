"""A learning-curve study as a report shows it: read, and every number traced to its run card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.results import read_cards
from matgl_infomax.leaderboard.verdict import CURVE_COLUMNS, PREDICTION_COLUMNS, Verdict
from matgl_infomax.record import Metrics, RunCard

if TYPE_CHECKING:
    import pandas as pd

VERDICT, CURVE, CARDS, PREDICTIONS = "verdict.json", "curve.csv", "cards.jsonl", "predictions.parquet"
EXACT = 1e-9
"""Largest relative difference between a number and that of its card: both were written from the same one."""

Run = tuple[str, int, int, int]
"""Arm, number of labels, seed, fold."""


@dataclass(frozen=True, eq=False)
class StudyNumbers:
    """A finished learning curve."""

    name: str
    verdict: Verdict
    curve: pd.DataFrame
    """One line per run, the columns of ``curve.csv``."""
    cards: tuple[RunCard, ...]
    predictions: pd.DataFrame | None
    """One line per run and test crystal: arm, labels, seed, fold, id, target, prediction; None if they were not
    kept."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.cards[0].task


def read_study(folder: Path, name: str) -> StudyNumbers:
    """Open the folder that ``matgl-infomax curve`` wrote, and trace every error to its card.

    The intervals of the verdict are taken as they are: they follow from predictions, which need not have been kept.

    Args:
        folder: the study's ``--out``.
        name: what the report calls it.

    Raises:
        InputError: If a file is missing or damaged, a number has no card, or a card says another number.
    """
    import pandas as pd

    cards = read_cards(folder / CARDS)
    verdict = _read_verdict(folder / VERDICT)
    try:
        curve = pd.read_csv(folder / CURVE)
        table = pd.read_parquet(folder / PREDICTIONS) if (folder / PREDICTIONS).is_file() else None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished study ({error}). Run it again.") from error
    if list(curve.columns) != CURVE_COLUMNS:
        raise InputError(f"{folder / CURVE} lacks columns. Needed: {', '.join(CURVE_COLUMNS)}. Run the study again.")
    by_run = _by_run(folder, cards)
    _curve_has_cards(folder, curve, by_run)
    _verdict_has_cards(folder, verdict, cards)
    if table is not None:
        _predictions_have_cards(folder, table, by_run)
    return StudyNumbers(name, verdict, curve, cards, table)


def same(a: float | None, b: float | None) -> bool:
    """Whether two numbers are one, or both are missing."""
    a, b = (float("nan") if value is None else value for value in (a, b))
    return bool(np.isclose(a, b, rtol=EXACT, atol=1e-12, equal_nan=True))


def _read_verdict(file: Path) -> Verdict:
    """The verdict of a study."""
    try:
        return Verdict.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read the verdict {file}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise InputError(f"{file} is no verdict ({place}: {first['msg']}). Run the study again.") from error


def _by_run(folder: Path, cards: Sequence[RunCard]) -> dict[Run, RunCard]:
    """Cards by arm, labels, seed and fold."""
    found: dict[Run, RunCard] = {}
    for card in cards:
        run = (card.arm, card.mask.asked, card.seed, card.fold)
        if run in found:
            raise InputError(f"{folder / CARDS} has two cards of {_words(run)}.")
        if (card.task, card.target, card.unit) != (cards[0].task, cards[0].target, cards[0].unit):
            raise InputError(f"{folder / CARDS}: the card of {_words(run)} belongs to another study.")
        found[run] = card
    if not found:
        raise InputError(f"{folder / CARDS} holds no run card. Run the study again.")
    return found


def _curve_has_cards(folder: Path, curve: pd.DataFrame, by_run: dict[Run, RunCard]) -> None:
    """One card for each line of the table, with the same numbers, and no line twice."""
    seen: set[Run] = set()
    for line in curve.to_dict("records"):
        run = (str(line["arm"]), int(line["labels_asked"]), int(line["seed"]), int(line["fold"]))
        card = by_run.get(run)
        if card is None:
            raise InputError(f"{folder / CURVE}: {_words(run)} has no run card in {CARDS}. No number without a card.")
        if run in seen:
            raise InputError(f"{folder / CURVE} has two lines of {_words(run)}.")
        seen.add(run)
        said = {"task": card.task, "labels_used": card.mask.used, **card.metrics.model_dump()}
        said["seconds"] = card.cost.seconds
        for name, value in said.items():
            ours = line.get(name)
            if not (ours == value if isinstance(value, str) else same(ours, value)):
                raise InputError(f"{folder / CURVE}: {name} of {_words(run)} is {ours}, its run card says {value}.")
    rest = sorted(set(by_run) - seen)
    if rest:
        raise InputError(f"{folder / CURVE} lacks {_words(rest[0])}, of which there is a run card.")


def _verdict_has_cards(folder: Path, verdict: Verdict, cards: Sequence[RunCard]) -> None:
    """Errors of the verdict are the means of the cards, and ratios those of the errors, inside their intervals."""
    errors: dict[tuple[str, int], list[float]] = {}
    for card in cards:
        if isinstance(card.metrics, Metrics):
            errors.setdefault((card.arm, card.mask.asked), []).append(card.metrics.mae)
    for pair in [*verdict.points, *verdict.others]:
        for arm, mae in ((pair.arm, pair.mae), (pair.against, pair.against_mae)):
            known = errors.get((arm, pair.labels))
            if known is None:
                raise InputError(f"{folder / VERDICT}: {arm} at {pair.labels} labels has no run card in {CARDS}.")
            if not same(mae, float(np.mean(known))):
                raise InputError(
                    f"{folder / VERDICT}: the error of {arm} at {pair.labels} labels is {mae}, the mean of its run "
                    f"cards {np.mean(known)}."
                )
        inside = pair.ratio_low <= pair.ratio <= pair.ratio_high
        if not (inside and np.isclose(pair.ratio * pair.against_mae, pair.mae)):
            raise InputError(f"{folder / VERDICT}: the ratio at {pair.labels} labels is not that of {pair.sentence}")
    first = cards[0]
    about = (verdict.target, verdict.unit, verdict.test_crystals)
    if about != (first.target, first.unit, first.n_test):
        raise InputError(f"{folder / VERDICT} is about {json.dumps(about)}, and its run cards are of something else.")


def _predictions_have_cards(folder: Path, table: pd.DataFrame, by_run: dict[Run, RunCard]) -> None:
    """Each run's predictions have the error that its card says."""
    if not set(PREDICTION_COLUMNS) <= set(table.columns):
        raise InputError(f"{folder / PREDICTIONS} needs the columns {', '.join(PREDICTION_COLUMNS)}.")
    error = (table["prediction"] - table["target"]).abs()
    mean = error.groupby([table[name] for name in ("arm", "labels", "seed", "fold")], observed=True).mean()
    for key, value in mean.items():
        arm, labels, seed, fold = cast(tuple[Any, ...], key)
        run = (str(arm), int(labels), int(seed), int(fold))
        card = by_run.get(run)
        if card is None:
            raise InputError(f"{folder / PREDICTIONS}: {_words(run)} has no run card in {CARDS}.")
        if isinstance(card.metrics, Metrics) and not np.isclose(value, card.metrics.mae, rtol=1e-5, atol=1e-9):
            raise InputError(
                f"{folder / PREDICTIONS}: the error of {_words(run)} is {value}, its run card says {card.metrics.mae}."
            )


def _words(run: Run) -> str:
    """'arm scratch, 50 labels, seed 0, fold 0'."""
    return f"arm {run[0]}, {run[1]} labels, seed {run[2]}, fold {run[3]}"

