"""A benchmark as a report shows it, also where it was kept without the true values: every score traced to its cards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.io import Kind, check_results, parse_results, read_table
from matgl_infomax.leaderboard.comparison import (
    JSON_FILE,
    ComparisonFile,
    LeaderboardComparison,
    RunStanding,
    TaskComparison,
)
from matgl_infomax.leaderboard.results import (
    CARDS,
    PREDICTIONS,
    SCORES_FILE,
    BenchmarkSpec,
    cards_fit,
    read_benchmark,
    read_benchmark_spec,
    read_cards,
    read_scores,
    score_table,
)
from matgl_infomax.leaderboard.scores import SCORES
from matgl_infomax.leaderboard.verdict import CURVE_COLUMNS, PREDICTION_COLUMNS, PRETRAINING, Verdict, pooled_runs
from matgl_infomax.record import Metrics, RunCard

MAIN = {"regression": "mae", "classification": "rocauc"}
"""The score that ranks."""
SAME_SCORE = 1e-6
"""Largest relative difference of a score from the one computed again; true values in a table may be rounded."""


@dataclass(frozen=True, eq=False)
class BenchmarkNumbers:
    """A finished benchmark."""

    name: str
    spec: BenchmarkSpec
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
        return MAIN[self.spec.kind]

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
    spec = read_benchmark_spec(folder)
    needed: dict[str, Kind] = {"id": "text", "fold": "whole", "prediction": "number"}
    predictions = read_table(folder / PREDICTIONS, needed, {"target": "number", "std": "number"})
    scores = read_scores(folder / SCORES_FILE, SCORES[spec.kind])
    if unknown := predictions["id"][predictions["prediction"].isna()].tolist():
        raise InputError(f"{folder / PREDICTIONS} has no prediction of {unknown[0]}. Run the benchmark again.")
    if "target" in predictions:
        whole = read_benchmark(folder)
        predictions = whole.predictions
        scores = whole.scores
        cards = whole.cards
    else:
        cards = read_cards(folder / CARDS)
        cards_fit(folder, spec, predictions, cards)
        _folds_agree(folder, predictions, scores)
        predictions = _with_truth(predictions, truth)
        if "target" in predictions:
            _right_scores(folder, scores, score_table(predictions, spec.kind))
    _scores_have_cards(folder, spec, scores, cards)
    return BenchmarkNumbers(name, spec, scores, predictions, cards)


def read_truth(files: Sequence[Path], targets: Sequence[str]) -> list[pd.DataFrame]:
    """Tables of true values, from CSV or parquet files.

    Args:
        files: each with a column 'id' or 'mbid', and one of the names of ``targets`` or 'target'.
        targets: names of targets that may occur.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    kinds: dict[str, Kind] = {**dict.fromkeys([*targets, "target"], "number"), "id": "text", "mbid": "text"}
    found = []
    for file in files:
        table = read_table(file, {}, kinds)
        ids = next((name for name in ("id", "mbid") if name in table), None)
        values = next((name for name in [*targets, "target"] if name in table), None)
        if ids is None or values is None:
            wanted, has = " or ".join(dict.fromkeys([*targets, "target"])), ", ".join(map(str, table))
            raise InputError(f"{file} needs a column id (or mbid) and a column {wanted}. It has: {has}.")
        found.append(table[[ids, values]].set_axis(["id", "target"], axis=1).dropna())
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
        if name not in written or not np.allclose(
            written[name], again[name], rtol=SAME_SCORE, atol=1e-9, equal_nan=True
        ):
            # Rounded true values near zero change percentages, and nothing else.
            if name == "mape":
                continue
            raise InputError(f"{folder / SCORES_FILE}: {name} is not that of the predictions and the true values.")


def _scores_have_cards(folder: Path, spec: BenchmarkSpec, scores: pd.DataFrame, cards: Sequence[RunCard]) -> None:
    """One model's error is that of its card; the error of a mean is at most the mean of its members' errors."""
    if spec.kind == "classification":
        _classes_have_cards(folder, scores, cards)
        return
    for fold, mae in zip(scores["fold"], scores["mae"], strict=True):
        errors = [card.metrics.mae for card in cards if card.fold == fold and isinstance(card.metrics, Metrics)]
        if not errors:
            raise InputError(f"{folder / SCORES_FILE}: fold {fold} has no run card in {CARDS}. No number without one.")
        mean = float(np.mean(errors))
        low = (1 - SAME_SCORE) * mean if len(errors) == 1 else 0.0
        if not low <= mae <= (1 + SAME_SCORE) * mean:
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
            if name not in said or not np.isclose(line[name], said[name], rtol=SAME_SCORE, atol=1e-9):
                raise InputError(
                    f"{folder / SCORES_FILE}: {name} of fold {line['fold']} is {line[name]}, its run card says "
                    f"{said.get(name)}."
                )


# A learning-curve study as a report shows it: read, and every number traced to its run card.

VERDICT, CURVE = "verdict.json", "curve.csv"
EXACT = 1e-9
"""Largest relative difference between a number and that of its card: both were written from the same one."""

Run = tuple[str, int, int, int, int]
"""Arm, number of labels, seed, fold, pretraining."""


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

    @property
    def pooled(self) -> pd.DataFrame:
        """One line per arm, number of labels and seed: the error over all folds."""
        names = [name for name in ("arm", "labels_asked", "seed", PRETRAINING) if name in self.curve]
        if not self.curve.duplicated(names).any():
            return self.curve
        return pooled_runs(card.model_dump() for card in self.cards)


def read_study(folder: Path, name: str) -> StudyNumbers:
    """Open the folder that ``matgl-infomax curve`` wrote, and trace every error to its card.

    The intervals of the verdict are taken as they are: they follow from predictions, which need not have been kept.

    Args:
        folder: the study's ``--out``.
        name: what the report calls it.

    Raises:
        InputError: If a file is missing or damaged, a number has no card, or a card says another number.
    """
    check_results(folder, (CARDS, VERDICT, CURVE, PREDICTIONS))
    cards = read_cards(folder / CARDS)
    verdict = _parsed(Verdict, folder / VERDICT, "verdict")
    curve = read_table(folder / CURVE, {}, _kinds([*CURVE_COLUMNS, PRETRAINING]))
    there = (folder / PREDICTIONS).is_file()
    table = read_table(folder / PREDICTIONS, _kinds(PREDICTION_COLUMNS), _kinds([PRETRAINING])) if there else None
    if list(curve.columns) not in (CURVE_COLUMNS, [*CURVE_COLUMNS, PRETRAINING]):
        raise InputError(f"{folder / CURVE} lacks columns. Needed: {', '.join(CURVE_COLUMNS)}. Run the study again.")
    by_run = _by_run(folder, cards)
    _curve_has_cards(folder, curve, by_run)
    _verdict_has_cards(folder, verdict, cards)
    if table is not None:
        _predictions_have_cards(folder, table, by_run)
    return StudyNumbers(name, verdict, curve, cards, table)


_WORDS, _WHOLE = ("task", "arm", "id"), ("labels", "labels_asked", "labels_used", "seed", "fold", PRETRAINING)


def _kinds(columns: Sequence[str]) -> dict[str, Kind]:
    """What columns of runs hold."""
    return {name: "text" if name in _WORDS else "whole" if name in _WHOLE else "number" for name in columns}


def same(a: float | None, b: float | None) -> bool:
    """Whether two numbers are one, or both are missing."""
    a, b = (float("nan") if value is None else value for value in (a, b))
    return bool(np.isclose(a, b, rtol=EXACT, atol=1e-12, equal_nan=True))


Content = TypeVar("Content", bound=BaseModel)


def _parsed(kind: type[Content], file: Path, what: str) -> Content:
    """A JSON file of results, every entry of its kind."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read the {what} {file}: {error.strerror or error}.") from error
    try:
        return kind.model_validate(parse_results(content, str(file)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise InputError(f"{file} is no {what} ({place}: {first['msg']}). Make it again.") from error


def _by_run(folder: Path, cards: Sequence[RunCard]) -> dict[Run, RunCard]:
    """Cards by arm, labels, seed and fold."""
    found: dict[Run, RunCard] = {}
    for card in cards:
        run = (card.arm, card.mask.asked, card.seed, card.fold, card.initial.pretraining)
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
        labels, seed, fold, which = (int(line.get(name, 0)) for name in ("labels_asked", "seed", "fold", PRETRAINING))
        run = (str(line["arm"]), labels, seed, fold, which)
        card = by_run.get(run)
        if card is None:
            raise InputError(f"{folder / CURVE}: {_words(run)} has no run card in {CARDS}. No number without a card.")
        if run in seen:
            raise InputError(f"{folder / CURVE} has two lines of {_words(run)}.")
        seen.add(run)
        said = {"task": card.task, "labels_used": card.mask.used, **card.errors()}
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
    errors: dict[tuple[str, int], list[tuple[int, float, int]]] = {}
    for card in cards:
        if isinstance(card.metrics, Metrics):
            errors.setdefault((card.arm, card.mask.asked), []).append((card.seed, card.metrics.mae, card.n_test))
    dead = [card for card in cards if card.dead]
    for pair in [*verdict.points, *verdict.others]:
        failed = {d.seed for d in dead if d.mask.asked == pair.labels and d.arm in (pair.arm, pair.against)}
        for arm, mae in ((pair.arm, pair.mae), (pair.against, pair.against_mae)):
            known = [one for one in errors.get((arm, pair.labels), []) if one[0] not in failed]
            if not known:
                raise InputError(f"{folder / VERDICT}: {arm} at {pair.labels} labels has no run card in {CARDS}.")
            # Folds may differ in size: every test crystal counts the same.
            mean = float(np.average([error for _, error, _ in known], weights=[n for _, _, n in known]))
            if not same(mae, mean):
                raise InputError(
                    f"{folder / VERDICT}: the error of {arm} at {pair.labels} labels is {mae}, the mean of its run "
                    f"cards {mean}."
                )
        inside = pair.ratio_low <= pair.ratio <= pair.ratio_high
        if not (inside and np.isclose(pair.ratio * pair.against_mae, pair.mae)):
            raise InputError(f"{folder / VERDICT}: the ratio at {pair.labels} labels is not that of {pair.sentence}")
    first = cards[0]
    about = (verdict.target, verdict.unit, verdict.test_crystals)
    repeat = (first.arm, first.mask.asked, first.seed, first.initial.pretraining)
    folds = [c.n_test for c in cards if (c.arm, c.mask.asked, c.seed, c.initial.pretraining) == repeat]
    if about != (first.target, first.unit, sum(folds)):
        raise InputError(f"{folder / VERDICT} is about {json.dumps(about)}, and its run cards are of something else.")


def _predictions_have_cards(folder: Path, table: pd.DataFrame, by_run: dict[Run, RunCard]) -> None:
    """Each run's predictions have the error that its card says."""
    unknown = table["id"][table[["target", "prediction"]].isna().any(axis=1)].tolist()
    if unknown:
        raise InputError(f"{folder / PREDICTIONS} has no number for {unknown[0]}. Run the study again.")
    error = (table["prediction"] - table["target"]).abs()
    table = table.assign(**{PRETRAINING: table.get(PRETRAINING, 0)})
    names = ("arm", "labels", "seed", "fold", PRETRAINING)
    for key, value in error.groupby([table[name] for name in names], observed=True).mean().items():
        arm, labels, seed, fold, which = cast(tuple[Any, ...], key)
        run = (str(arm), int(labels), int(seed), int(fold), int(which))
        card = by_run.get(run)
        if card is None:
            raise InputError(f"{folder / PREDICTIONS}: {_words(run)} has no run card in {CARDS}.")
        if isinstance(card.metrics, Metrics) and not np.isclose(value, card.metrics.mae, rtol=1e-5, atol=1e-9):
            raise InputError(
                f"{folder / PREDICTIONS}: the error of {_words(run)} is {value}, its run card says {card.metrics.mae}."
            )


def _words(run: Run) -> str:
    """'arm scratch, 50 labels, seed 0, fold 0', with the pretraining from the second one on."""
    return f"arm {run[0]}, {run[1]} labels, seed {run[2]}, fold {run[3]}{f', pretraining {run[4]}' if run[4] else ''}"


# An overlap report as a report shows it: which test crystals the corpus came close to, and the errors on them.

OVERLAP_FACTS = "overlap.json"
OVERLAP_FOLDS = "folds.csv"
OVERLAP_SCORES = "scores.csv"
LEVELS = ("novel", "formula", "twin", "match")
"""How close the corpus comes to a crystal of the task."""


class OverlapFacts(BaseModel):
    """What the card of an overlap report has to say; it says more."""

    model_config = ConfigDict(extra="allow")

    task: str
    corpus: str
    corpus_crystals: int = Field(ge=0)
    levels: dict[str, int]
    benchmarks: list[str] = []


FOLD_KINDS: dict[str, Kind] = {"fold": "text", "crystals": "whole", **dict.fromkeys(LEVELS, "whole")}
SCORE_KINDS: dict[str, Kind] = {
    "benchmark": "text", "level": "text", "crystals": "whole",
    **dict.fromkeys(("error", "low", "high", "guess", "ratio", "ratio_low", "ratio_high"), "number"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class OverlapNumbers:
    """What a corpus and the test folds of a task share."""

    name: str
    facts: dict[str, Any]
    """The report's own card: task, corpus, sizes, hashes, versions."""
    folds: pd.DataFrame
    """One line per test fold and one for all: fold, crystals, and crystals by level."""
    scores: pd.DataFrame
    """One line per benchmark and kind of crystal, of benchmarks whose cards are at hand; may be empty."""
    left_out: tuple[str, ...]
    """Benchmarks whose cards are not among the folders of the report."""


def read_overlap(folder: Path, name: str, benchmarks: Sequence[BenchmarkNumbers]) -> OverlapNumbers:
    """Open the folder that ``matgl-infomax overlap`` wrote, and check that its numbers belong together.

    Errors by kind of crystal are shown only of benchmarks whose run cards are at hand.

    Args:
        folder: the report's ``--out``.
        name: what the report calls it.
        benchmarks: those of the report.

    Raises:
        InputError: If a file is missing or damaged, or numbers contradict the facts or the cards of a benchmark.
    """
    check_results(folder, (OVERLAP_FACTS, OVERLAP_FOLDS, OVERLAP_SCORES))
    facts = _parsed(OverlapFacts, folder / OVERLAP_FACTS, "overlap report").model_dump()
    folds = read_table(folder / OVERLAP_FOLDS, FOLD_KINDS)
    there = (folder / OVERLAP_SCORES).is_file()
    scores = read_table(folder / OVERLAP_SCORES, SCORE_KINDS) if there else pd.DataFrame()
    _folds_fit(folder, facts, folds)
    spec = facts["benchmarks"]
    by_name = {one.name.rpartition("/")[2]: one for one in benchmarks}
    if len(scores):
        unknown = sorted(set(scores["benchmark"]) - set(spec))
        if unknown:
            raise InputError(
                f"{folder / OVERLAP_SCORES}: {unknown[0]} is not named in {OVERLAP_FACTS}. No number without a card."
            )
        for benchmark in set(scores["benchmark"]) & set(by_name):
            _scores_fit(folder, scores[scores["benchmark"] == benchmark], by_name[benchmark])
        known = scores["benchmark"].isin(by_name)
        left_out = tuple(dict.fromkeys(scores.loc[~known, "benchmark"]))
        return OverlapNumbers(name, facts, folds, scores[known], left_out)
    return OverlapNumbers(name, facts, folds, scores, ())


def _folds_fit(folder: Path, facts: dict[str, Any], folds: pd.DataFrame) -> None:
    """The line of all folds says what the facts say, and the folds add up to it."""
    if list(folds["fold"]).count("all") != 1:
        raise InputError(f"{folder / OVERLAP_FOLDS} needs one line of all folds.")
    whole, parts = folds[folds["fold"] == "all"].iloc[0], folds[folds["fold"] != "all"]
    for level in LEVELS:
        if int(whole[level]) != facts["levels"].get(level) or int(parts[level].sum()) != int(whole[level]):
            raise InputError(
                f"{folder / OVERLAP_FOLDS}: the number of {level} crystals is not that of {OVERLAP_FACTS}."
            )


def _scores_fit(folder: Path, scores: pd.DataFrame, benchmark: BenchmarkNumbers) -> None:
    """The error on all crystals is that of the benchmark, whose cards were checked."""
    for card in benchmark.cards:
        if not isinstance(card.metrics, Metrics):
            return  # shares of wrong classes are no score of a card
    sizes = benchmark.predictions.groupby("fold").size()
    mean = float(np.average(benchmark.scores["mae"], weights=sizes[benchmark.scores["fold"]]))
    whole = scores[scores["level"] == "all"]
    if len(whole) != 1 or not np.isclose(whole["error"].iloc[0], mean, rtol=SAME_SCORE):
        raise InputError(
            f"{folder / OVERLAP_SCORES}: the error of {benchmark.name} on all crystals is not {mean}, as its scores "
            "and run cards say. Run the overlap report again."
        )


# The map of a representation study as a report shows it: test crystals in the plane, with the cards of its fits.

MAP, FITS = "map.csv", "fits.csv"
MAP_COLUMNS: dict[str, Kind] = {
    "arm": "text", "id": "text", "target": "number", "crystal_system": "text", "element": "text"
}  # fmt: skip
FIT_KINDS: dict[str, Kind] = {
    "arm": "text", "head": "text", "scaling": "text", "labels": "whole", "seed": "whole", "mae": "number"
}  # fmt: skip
METHODS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}
"""Kinds of maps, the most telling one first."""


@dataclass(frozen=True, eq=False)
class MapNumbers:
    """Where frozen vectors put the test crystals."""

    name: str
    points: pd.DataFrame
    """One line per arm and crystal: arm, id, target, crystal_system, element, and two coordinates per method."""
    method: str
    """Map that is shown: tsne, umap or pca."""
    fits: pd.DataFrame
    """One line per fit: arm, head, labels, seed, mae, ..."""
    cards: tuple[RunCard, ...]


def read_map(folder: Path, name: str) -> MapNumbers:
    """Open the folder that ``matgl-infomax represent`` wrote.

    Args:
        folder: the study's ``--out``.
        name: what the report calls it.

    Raises:
        InputError: If a file is missing or damaged, a fit has no card, or its card says another error.
    """
    check_results(folder, (CARDS, MAP, FITS))
    cards = read_cards(folder / CARDS)
    axes: dict[str, Kind] = {f"{one}_{k}": "number" for one in METHODS for k in (1, 2)}
    points = read_table(folder / MAP, dict(MAP_COLUMNS), axes)
    fits = read_table(folder / FITS, FIT_KINDS)
    method = next((one for one in METHODS if {f"{one}_1", f"{one}_2"} <= set(points.columns)), None)
    if not cards or not len(points) or method is None:
        raise InputError(f"{folder / MAP} is no map with run cards beside it. Run the representation study again.")
    _fits_have_cards(folder, fits, cards)
    return MapNumbers(name, points, method, fits, cards)


def _fits_have_cards(folder: Path, fits: pd.DataFrame, cards: tuple[RunCard, ...]) -> None:
    """Each fit has its card, with the same error."""
    known = {(c.arm, c.settings.get("head"), c.settings.get("scaling"), c.mask.used, c.seed): c for c in cards}
    for line in fits.to_dict("records"):
        fit = (line["arm"], line["head"], line["scaling"], int(line["labels"]), int(line["seed"]))
        card = known.get(fit)
        words = f"arm {fit[0]}, head {fit[1]}, {fit[3]} labels, draw {fit[4]}"
        if card is None or not isinstance(card.metrics, Metrics):
            raise InputError(f"{folder / FITS}: {words} has no run card in {CARDS}. No number without a card.")
        if not same(line["mae"], card.metrics.mae):
            raise InputError(f"{folder / FITS}: the error of {words} is {line['mae']}, its card says another.")


# A comparison with published entries, read from its folder, our scores in it traced to run cards.


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
    check_results(folder, (JSON_FILE,))
    content = _parsed(ComparisonFile, folder / JSON_FILE, "comparison")
    found = content.comparison(folder)
    for task in found.tasks:
        for run in task.runs:
            _has_cards(task, run, name, benchmarks)
    return found


def _has_cards(task: TaskComparison, run: RunStanding, name: str, benchmarks: Sequence[BenchmarkNumbers]) -> None:
    """An answer of ours has its benchmark in the report, with the same scores."""
    known = next((one for one in benchmarks if one.name.rpartition("/")[2] == run.name.rpartition("/")[2]), None)
    if known is None or known.spec.task != task.task:
        raise InputError(
            f"{name}: {run.name} has no run cards among the folders of the report. Give the folder of its benchmark "
            "as well: no number without a card."
        )
    scores = dict(zip(known.scores["fold"], known.scores[known.main], strict=True))
    ours = [scores.get(fold, float("nan")) for fold in task.folds]
    same = len(ours) == len(run.fold_scores) and np.allclose(ours, run.fold_scores, rtol=SAME_SCORE, atol=1e-9)
    if not (same and np.isclose(np.mean(ours), run.score, rtol=SAME_SCORE, atol=1e-9)):
        raise InputError(f"{name}: the scores of {run.name} are not those of its benchmark. Compare again.")
    for paired in [*run.duels, *(paired for paired in task.own if paired.ours == run.name)]:
        if not np.isclose(paired.score, run.score, rtol=SAME_SCORE, atol=1e-9):
            raise InputError(f"{name}: {run.name} against {paired.other} has another score than {run.name}.")
