"""The folder of a finished benchmark, read and checked: what was asked, predictions, run cards, scores."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matgl_infomax.errors import InputError
from matgl_infomax.io import Kind as CellKind
from matgl_infomax.io import check_results, parse_results, read_table, sha256_of
from matgl_infomax.leaderboard.published import (
    RESULTS,
    check_predictions,
    check_unit,
    official_folds,
    read_result_file,
    results_table,
    typed_predictions,
)
from matgl_infomax.leaderboard.scores import SCORES, Kind, fold_scores, probability_rocauc
from matgl_infomax.record import ForceMetrics, Metrics, RunCard
from matgl_infomax.settings.arms import WITHOUT_NETWORK
from matgl_infomax.tasks.matbench.task import Task, load_task

if TYPE_CHECKING:
    import pandas as pd


N_FOLDS = 5
SPEC_FILE = "benchmark.json"
PREDICTIONS = "predictions.parquet"
CARDS = "cards.jsonl"
SCORES_FILE = "scores.csv"
CALIBRATION = "calibration.csv"
SUMMARY = "summary.md"
VOUCHED = (SPEC_FILE, PREDICTIONS, CARDS, SCORES_FILE, CALIBRATION, SUMMARY)
"""Files whose hashes are noted; those of the runs stand in their cards."""
RUNS = "folds"
"""Folder with the card and the predictions of each model."""
COLUMNS: dict[str, CellKind] = {
    "id": "text", "fold": "whole", "target": "number", "prediction": "number", "std": "number"
}  # fmt: skip
"""Columns of ``predictions.parquet``."""


class BenchmarkSpec(BaseModel):
    """What a benchmark is about: the content of ``benchmark.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    task: str = Field(description="Full name of the task, such as 'matbench_jdft2d'.")
    target: str
    unit: str | None
    kind: Kind
    arm: str
    model: dict[str, Any] = Field(description="Settings of the network.")
    folds: list[int] = Field(min_length=1, description="Folds that were asked for, ascending.")
    seeds: list[int] = Field(min_length=1, description="Seeds of the models of each fold, the first one first.")
    labels: int | None = Field(description="Labels left unmasked in each training part; None for all.")
    settings: dict[str, Any] = Field(description="All settings that decide the result, without any path.")
    notes: list[str] = Field(default=[], description="What a reader of the numbers has to know.")

    @model_validator(mode="after")
    def _has_a_network(self) -> BenchmarkSpec:
        """All arms but those on descriptors say which network they train."""
        if self.arm not in WITHOUT_NETWORK and not isinstance(self.model.get("name"), str):
            raise ValueError("the settings of the network have no name")
        return self

    @property
    def network(self) -> str:
        """Name of the network; the arms on descriptors have none."""
        return "no network" if self.arm in WITHOUT_NETWORK else str(self.model["name"])


@dataclass(frozen=True)
class BenchmarkResult:
    """The numbers of a benchmark; finished folds only."""

    spec: BenchmarkSpec
    """What the benchmark is about."""
    predictions: pd.DataFrame
    """One line per test crystal: id, fold, target, prediction (mean over seeds; a probability for classes), std
    (calibrated for numbers; NaN with one seed)."""
    scores: pd.DataFrame
    """One line per fold: fold, and the scores of Matbench."""
    cards: tuple[RunCard, ...]
    """One card per fold and seed."""

    @property
    def folds(self) -> list[int]:
        """Folds that are finished."""
        return [int(fold) for fold in self.scores["fold"]]

    @property
    def complete(self) -> bool:
        """Whether all five folds are there, as a submission needs them."""
        return self.folds == list(range(N_FOLDS))

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of scores, one line per fold."""
        return self.scores.copy()

    def to_text(self) -> str:
        """The scores as a table to read, with mean and standard deviation over folds, and what to know about them."""
        spec = self.spec
        unit = f" ({spec.unit})" if spec.unit else ""
        labels = "all labels" if spec.labels is None else f"{spec.labels} labels"
        lines = [
            f"{spec.task}: {spec.target}{unit}, arm {spec.arm}, {spec.network}, "
            f"{labels} of each training part, {len(spec.seeds)} seed(s)",
            "",
            *_table(self.scores, failed_folds(self.cards)),
        ]
        missing = [str(fold) for fold in range(N_FOLDS) if fold not in self.folds]
        if missing:
            lines += ["", f"Folds that are still to be done: {', '.join(missing)}. A submission needs all five."]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes())])

    def notes(self) -> list[str]:
        """What a reader of the numbers has to know."""
        found = [*self.spec.notes]
        if self.spec.kind == "classification":
            areas = [probability_rocauc(part["target"].to_numpy(), part["prediction"].to_numpy())
                     for _, part in self.predictions.groupby("fold")]  # fmt: skip
            found.append(
                "Matbench computes rocauc from classes, so it equals the balanced accuracy; that of the "
                f"probabilities is {np.mean(areas):.4f} (mean over folds)."
            )
        return found


def failed_folds(cards: Sequence[RunCard]) -> list[int]:
    """Folds in which all networks are dead: their scores are those of failed runs, and are compared with nothing."""
    return sorted({card.fold for card in cards} - {card.fold for card in cards if not card.dead})


def failed_notes(cards: Sequence[RunCard]) -> list[str]:
    """What is to be said of dead networks, and of those that were trained again at a lower rate; mostly nothing.

    Args:
        cards: run cards of a benchmark.
    """
    failed, notes = failed_folds(cards), []
    if dead := [card for card in cards if card.dead and card.fold not in failed]:
        runs = ", ".join(f"fold {card.fold} seed {card.seed}" for card in dead)
        notes.append(f"Dead networks are left out of the predictions: {runs}.")
    if failed:
        notes.append(
            f"Failed: all networks of fold {', '.join(map(str, failed))} are dead (one answer for all crystals, or no "
            "better than a constant on their own training labels). The scores of these folds are no errors to compare. "
            "Lower --learning-rates or --finetune.learning-rate."
        )
    if again := [(card, card.training) for card in cards if card.training and card.training.retries and not card.dead]:
        runs = ", ".join(f"fold {card.fold} seed {card.seed} at {how.learning_rate:g}" for card, how in again)
        notes.append(f"Networks that were dead at first and were trained again at a lower learning rate: {runs}.")
    return notes


def score_table(predictions: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Matbench's scores of each fold.

    Args:
        predictions: with the columns fold, target, prediction.
        kind: kind of the task.
    """
    import pandas as pd

    lines = []
    for fold, part in predictions.groupby("fold", sort=True):
        lines.append({"fold": fold, **fold_scores(kind, part["target"].to_numpy(), part["prediction"].to_numpy())})
    return pd.DataFrame(lines, columns=["fold", *SCORES[kind]]).astype({"fold": "int64"})


def read_benchmark(folder: Path) -> BenchmarkResult:
    """Open the folder that ``matgl-infomax benchmark`` wrote, and check that its files belong together.

    The scores are computed again from the predictions; nothing is taken on trust that can be recomputed.

    Args:
        folder: the benchmark's ``--out``.

    Raises:
        InputError: If a file is missing or damaged, or two of them contradict each other.
    """
    spec = read_benchmark_spec(folder)
    predictions = _read_predictions(folder / PREDICTIONS, spec)
    cards = read_cards(folder / CARDS)
    scores = score_table(predictions, spec.kind)
    _same_scores(folder / SCORES_FILE, scores)
    cards_fit(folder, spec, predictions, cards)
    return BenchmarkResult(spec, predictions, scores, cards)


def read_benchmark_spec(folder: Path) -> BenchmarkSpec:
    """What the benchmark in a folder is about, finished or not; all its files are those that were written.

    Raises:
        InputError: If there is no benchmark, its description is damaged, or a file is another than was written.
    """
    file = folder / SPEC_FILE
    if file.is_file():
        check_results(folder, VOUCHED)
    try:
        return BenchmarkSpec.model_validate(parse_results(_bytes(file), str(file)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise InputError(f"{file} describes no benchmark ({place}: {first['msg']}).") from error


def _read_predictions(file: Path, spec: BenchmarkSpec) -> pd.DataFrame:
    """The table of predictions: every column there, every id once, every number finite."""
    _bytes(file)  # whether it is there at all
    table = read_table(file, {}, COLUMNS)
    if list(table.columns) != list(COLUMNS):
        raise InputError(f"{file} has the columns {', '.join(map(str, table))}. Needed: {', '.join(COLUMNS)}.")
    if not len(table):
        raise InputError(f"{file} holds no prediction. Run the benchmark again.")
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise InputError(f"{file} predicts {twice.iloc[0]} more than once. Run the benchmark again.")
    numbers = table[["target", "prediction"]].to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(numbers).all(axis=1)
    if wrong.any():
        raise InputError(f"{file} has no number for {table['id'][wrong].iloc[0]}. Run the benchmark again.")
    other = sorted(set(table["fold"]) - set(spec.folds))
    if other:
        raise InputError(f"{file} has fold {other[0]}, and {SPEC_FILE} does not ask for it.")
    probabilities = table["prediction"].between(0, 1) & table["target"].isin([0.0, 1.0])
    if spec.kind == "classification" and not probabilities.all():
        raise InputError(f"{file} has no probability of a class for {table['id'][~probabilities].iloc[0]}.")
    return table


def read_cards(file: Path) -> tuple[RunCard, ...]:
    """All run cards of a file with one per line.

    Raises:
        InputError: If it cannot be read, or a line is no run card.
    """
    cards = []
    for number, line in enumerate(_bytes(file).splitlines(), 1):
        try:
            cards.append(RunCard.model_validate(parse_results(line, f"{file}, line {number},")))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"]) or "the line"
            raise InputError(f"{file}, line {number}, is no run card ({place}: {first['msg']}).") from error
    return tuple(cards)


def _same_scores(file: Path, scores: pd.DataFrame) -> None:
    """The table of scores has to be that of the predictions."""
    _bytes(file)  # whether it is there at all
    written = read_scores(file, [str(name) for name in scores.columns[1:]])
    same = list(written.columns) == list(scores.columns) and len(written) == len(scores)
    if not (same and np.allclose(written.to_numpy(), scores.to_numpy(), rtol=1e-9, atol=0, equal_nan=True)):
        raise InputError(f"{file} holds other scores than those of {PREDICTIONS}. Run the benchmark again.")


def read_scores(file: Path, names: Sequence[str]) -> pd.DataFrame:
    """The table of scores of a benchmark: fold, and Matbench's scores of each.

    Args:
        file: the table.
        names: scores that have to be there.

    Raises:
        InputError: If it is missing or damaged.
    """
    kinds: dict[str, CellKind] = dict.fromkeys(names, "number")
    return read_table(file, {"fold": "whole", **kinds})


def cards_fit(folder: Path, spec: BenchmarkSpec, predictions: pd.DataFrame, cards: Sequence[RunCard]) -> None:
    """Each fold has one card per seed, of this benchmark.

    Args:
        folder: the benchmark's folder, named in errors; its runs are compared where they were kept.
        asked: what the benchmark is about.
        predictions: with the columns id, fold, prediction; true values are not needed.
        cards: its run cards.

    Raises:
        InputError: If a card is missing, one too many, of another benchmark, or of other predictions.
    """
    wanted = {(int(fold), seed) for fold in set(predictions["fold"]) for seed in spec.seeds}
    found = [(card.fold, card.seed) for card in cards]
    if sorted(found) != sorted(wanted):
        raise InputError(
            f"{folder / CARDS} has cards of the folds and seeds {json.dumps(sorted(found))}, the predictions need "
            f"{json.dumps(sorted(wanted))}."
        )
    sizes = predictions.groupby("fold").size()
    for card in cards:
        about = (card.task, card.target, card.arm, card.settings)
        if about != (spec.task, spec.target, spec.arm, spec.settings):
            raise InputError(f"{folder / CARDS}: the card of fold {card.fold} belongs to another benchmark.")
        if card.n_test != sizes[card.fold]:
            raise InputError(f"{folder / CARDS}: fold {card.fold} was tested on {card.n_test} crystals, not as here.")
    if (folder / RUNS).is_dir():  # absent where only the tables were kept
        _mean_of_runs(folder / RUNS, predictions, cards)


def _mean_of_runs(folder: Path, predictions: pd.DataFrame, cards: Sequence[RunCard]) -> None:
    """The table holds the mean of the predictions that the cards belong to, crystal by crystal, dead ones left out."""
    import pandas as pd

    tables, failed = [], failed_folds(cards)
    for card in cards:
        file = folder / f"fold_{card.fold}-seed_{card.seed}.parquet"
        content = _bytes(file)
        if sha256_of(content) != card.hashes.predictions:
            raise InputError(f"{file} is not the file that its card was written for. Run the benchmark again.")
        if not card.dead or card.fold in failed:
            tables.append(pd.read_parquet(io.BytesIO(content)))
    mean = pd.concat(tables).groupby("id")["prediction"].mean()
    found = predictions.set_index("id")["prediction"]
    if set(mean.index) != set(found.index) or not np.allclose(mean[found.index], found, rtol=1e-9, atol=1e-12):
        raise InputError(f"{folder.parent / PREDICTIONS} is not the mean of the runs in {folder}. Run it again.")


def _bytes(file: Path) -> bytes:
    """Content of a file of the folder."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file.parent} holds no finished benchmark: cannot read {file.name} ({error.strerror or error})."
        ) from error


def _table(scores: pd.DataFrame, failed: Sequence[int]) -> list[str]:
    """Scores as lines of Markdown; the last one is mean ± standard deviation over folds, as Matbench's website.

    Failed folds say so instead of a score, and are not in the mean.
    """
    names = [name for name in scores.columns if name != "fold"]
    lines = [["fold", *names], ["---", *["---:"] * len(names)]]
    for row in scores.itertuples(index=False):
        lines.append(
            [str(row.fold), *("failed" if row.fold in failed else f"{getattr(row, name):.4f}" for name in names)]
        )
    scores = scores[~scores["fold"].isin(failed)]
    if len(scores) > 1:
        both = [f"{scores[name].mean():.4f} ± {scores[name].std(ddof=0):.4f}" for name in names]
        lines.append(["mean ± std", *both])
    return ["| " + " | ".join(line) + " |" for line in lines]


# Our own answers, from folders of finished benchmarks or from submissions, checked against the official rows.

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
    """Seeds of the models whose mean is the prediction, those with a dead network left out; empty where they are not
    known."""
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
    if (folder / SPEC_FILE).is_file():
        return [_benchmark(folder)]
    if file.is_file():
        return _submission(file)
    raise InputError(f"{folder} holds neither a finished benchmark ({SPEC_FILE}) nor a submission ({RESULTS}).")


def _benchmark(folder: Path) -> OwnAnswer:
    """A finished benchmark, with or without the true values."""
    spec = read_benchmark_spec(folder)
    task = load_task(spec.task)
    card = task.card
    if (spec.kind, spec.unit) != (card.kind, card.unit):
        raise InputError(
            f"{folder} answers {spec.kind} in {spec.unit or 'no unit'}; {card.name} is {card.kind} in "
            f"{card.unit or 'no unit'}."
        )
    table = _predictions(folder / PREDICTIONS)
    _check(str(folder), table, task)
    if "target" in table:
        table = read_benchmark(folder).predictions
    cards = read_cards(folder / CARDS)
    cards_fit(folder, spec, table, cards)
    if failed := failed_folds(cards):
        raise InputError(
            f"{folder}: all networks of fold {failed[0]} are dead, so there is no error to compare. Run the benchmark "
            "into another folder with lower --learning-rates or --finetune.learning-rate."
        )
    scores = read_scores(folder / SCORES_FILE, SCORES[card.kind]) if (folder / SCORES_FILE).is_file() else None
    dead = {card.seed for card in cards if card.dead}
    seeds = tuple(seed for seed in spec.seeds if seed not in dead)
    errors = _seed_errors(cards, seeds, sorted({int(fold) for fold in table["fold"]}))
    return OwnAnswer(
        folder.resolve().name, folder, "benchmark", task, spec.arm, spec.network, spec.labels,
        _ordered(table, task), seeds, errors, scores, tuple(spec.notes),
    )  # fmt: skip


def _predictions(file: Path) -> pd.DataFrame:
    """The table of predictions of a benchmark."""
    table = read_table(file, {}, {"target": "number", "std": "number"})
    missing = [name for name in ("id", "fold", "prediction") if name not in table]
    if missing or not len(table):
        raise InputError(f"{file} has no {missing[0] if missing else 'predictions'}. Run the benchmark again.")
    return typed_predictions(table, str(file))


def _seed_errors(cards: Sequence[RunCard], seeds: Sequence[int], folds: Sequence[int]) -> NDArray[np.float64]:
    """Error of the model of each seed and fold, from their run cards, (S, K)."""

    def error(card: RunCard) -> float:
        metrics = card.metrics
        if isinstance(metrics, ForceMetrics):
            raise InputError(f"A force field ({card.task}) has no place on this leaderboard.")
        return metrics.mae if isinstance(metrics, Metrics) else 1 - metrics.balanced_accuracy

    by_run = {(card.fold, card.seed): error(card) for card in cards}
    return np.array([[by_run[fold, seed] for fold in folds] for seed in seeds]).reshape(len(seeds), len(folds))


def _submission(file: Path) -> list[OwnAnswer]:
    """Every task of a submission."""
    document, name = read_result_file(file), file.resolve().parent.name.removeprefix("matbench_v0.1_")
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
    if "std" in table and (table["std"] < 0).any():
        raise InputError(f"{where}: the standard deviation of {table['id'][table['std'] < 0].iloc[0]} is below zero.")


def _ordered(table: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The columns id, fold, target, prediction, std in official order of the materials."""
    fold_of = official_folds(task)
    wanted = ["fold", "target", "prediction", "std"]
    found = table.set_index("id").reindex(columns=wanted)
    return found.loc[fold_of.index[fold_of.isin(found["fold"].unique())]].reset_index()
