"""A benchmark as a report shows it, also where it was kept without the true values: every score traced to its cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.io import read_csv
from matgl_infomax.leaderboard.comparison import (
    JSON_FILE,
    LeaderboardComparison,
    PairedDifference,
    Place,
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
    score_table,
)
from matgl_infomax.leaderboard.statistics import CalibrationQuality
from matgl_infomax.leaderboard.verdict import CURVE_COLUMNS, PREDICTION_COLUMNS, Verdict
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
    import pandas as pd

    spec = read_benchmark_spec(folder)
    try:
        predictions = pd.read_parquet(folder / PREDICTIONS)
        scores = read_csv(folder / SCORES_FILE)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished benchmark ({error}). Run it again.") from error
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
    import pandas as pd

    found = []
    for file in files:
        try:
            table = read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
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
        curve = read_csv(folder / CURVE)
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


# An overlap report as a report shows it: which test crystals the corpus came close to, and the errors on them.

OVERLAP_FACTS = "overlap.json"
OVERLAP_FOLDS = "folds.csv"
OVERLAP_SCORES = "scores.csv"
LEVELS = ("novel", "formula", "twin", "match")
"""How close the corpus comes to a crystal of the task."""


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
    import pandas as pd

    try:
        facts = json.loads((folder / OVERLAP_FACTS).read_text())
        folds = read_csv(folder / OVERLAP_FOLDS, dtype={"fold": str})
        scores = read_csv(folder / OVERLAP_SCORES) if (folder / OVERLAP_SCORES).is_file() else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished overlap report ({error}). Run it again.") from error
    if not isinstance(facts, dict) or not {"task", "corpus", "levels", "corpus_crystals"} <= set(facts):
        raise InputError(f"{folder / OVERLAP_FACTS} does not say what was compared. Run the overlap report again.")
    _folds_fit(folder, facts, folds)
    spec = [str(one) for one in facts.get("benchmarks", [])]
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
    columns = ["fold", "crystals", *LEVELS]
    if not set(columns) <= set(folds.columns) or list(folds["fold"]).count("all") != 1:
        raise InputError(f"{folder / OVERLAP_FOLDS} needs the columns {', '.join(columns)} and a line of all folds.")
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
MAP_COLUMNS = ("arm", "id", "target", "crystal_system", "element")
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

    cards = read_cards(folder / CARDS)
    try:
        points, fits = read_csv(folder / MAP), read_csv(folder / FITS)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished representation study ({error}). Run it again.") from error
    method = next((one for one in METHODS if {f"{one}_1", f"{one}_2"} <= set(points.columns)), None)
    if not cards or method is None or not set(MAP_COLUMNS) <= set(points.columns):
        raise InputError(f"{folder / MAP} is no map with run cards beside it. Run the representation study again.")
    _fits_have_cards(folder, fits, cards)
    return MapNumbers(name, points, method, fits, cards)


def _fits_have_cards(folder: Path, fits: pd.DataFrame, cards: tuple[RunCard, ...]) -> None:
    """Each fit has its card, with the same error."""
    known = {(c.arm, c.settings.get("head"), c.settings.get("scaling"), c.mask.used, c.seed): c for c in cards}
    if not {"arm", "head", "scaling", "labels", "seed", "mae"} <= set(fits.columns):
        raise InputError(f"{folder / FITS} is no table of fits. Run the representation study again.")
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
        own=tuple(_paired_difference(one) for one in content["own"]),
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
        calibration = CalibrationQuality(**{key: _number(value) for key, value in known.items()})
    return RunStanding(
        **{key: content[key] for key in plain},
        folder=folder,
        std=_number(content["std"]),
        fold_scores=tuple(content["fold_scores"]),
        place=Place(**content["place"]),
        duels=tuple(_paired_difference(one) for one in content["duels"]),
        predictions=pd.DataFrame(columns=["id", "fold", "target", "prediction", "std", "error"]),
        strata=_numbers(pd.DataFrame(content["strata"])),
        worst=pd.DataFrame(content["worst"]),
        calibration=calibration,
        notes=tuple(content["notes"]),
    )


def _paired_difference(content: Mapping[str, Any]) -> PairedDifference:
    """One comparison; what was not known is NaN."""
    return PairedDifference(**{key: _number(content[key]) for key in PairedDifference.__dataclass_fields__})


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
