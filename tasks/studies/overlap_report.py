"""The report on an overlap as Markdown."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, csv_text, vouch_for
from matgl_infomax.leaderboard.results import read_benchmark
from matgl_infomax.leaderboard.scores import CLASS_THRESHOLD
from matgl_infomax.leaderboard.strata import split_errors
from matgl_infomax.record import peak_memory_mb, versions
from matgl_infomax.settings.commands import OverlapConfig
from matgl_infomax.tasks.matbench.task import N_FOLDS, Task, load_task
from matgl_infomax.tasks.studies.overlap import LEVELS, Overlap, find_overlap, structures_sha256

FEW = 30
"""Crystals below which an interval says little."""

_MEANING = """\
Each crystal counts once, with the closest crystal of the corpus. *novel*: the corpus has nothing of its reduced
formula; *formula*: it has, with another space group; *twin*: the same formula and the same space group (spglib, 0.1 Å
on the structures as they are stored); *match*: pymatgen's StructureMatcher with its default tolerances calls them the
same structure, in one order or the other (it scales volumes, so strain alike in all directions does not count). A layer
with vacuum around it, as in matbench_jdft2d, hardly ever matches the bulk crystal it was cut from: there the honest
question is the shared formula."""

_INTERVALS = """\
Intervals hold 95 % of 2,000 draws of other crystals of the same kind; they do not cover other trainings. *guess* is
the error of an answer that knows nothing ({nothing}): kinds of crystals differ in how hard they are, so compare an
error with its guess, and pretraining with no pretraining on the same kind (column *ratio*), not one kind with
another."""


def report_text(
    task: Task, corpus_name: str, n_corpus: int, overlap: Overlap, folds: pd.DataFrame, scores: pd.DataFrame
) -> str:
    """The whole report.

    Args:
        task: the task.
        corpus_name: what the corpus is called.
        n_corpus: crystals in it.
        overlap: the task's crystals against it.
        folds: table of the folds.
        scores: table of the scores; may be empty.
    """
    lines = [
        f"# {task.card.name} and the corpus {corpus_name}",
        "",
        f"{task.card.n_rows:,} crystals of the task against {n_corpus:,} of the corpus; {len(overlap.pairs):,} pairs "
        "share a reduced formula.",
        "",
        "## Test folds",
        "",
        *_fold_lines(folds),
        "",
        _MEANING,
        "",
        *_open_ends(overlap),
        "## Crystals of the corpus that come close to a test fold",
        "",
        *_corpus_lines(folds),
        "",
        "So many crystals would have to leave the corpus before pretraining: the last column for matches only, the "
        "last two for twins as well, all three for every shared formula.",
    ]
    if len(scores):
        lines += ["", *_score_lines(task, scores)]
    return "\n".join(lines)


def _open_ends(overlap: Overlap) -> list[str]:
    """What could not be decided."""
    lines = []
    if overlap.undecided:
        lines.append(
            f"{overlap.undecided:,} pairs could not be compared within the bound of work, or not be reduced; they are "
            "counted as matches, so the overlap is overstated rather than understated."
        )
    if overlap.no_space_group:
        lines.append(f"{overlap.no_space_group:,} crystals have no space group that spglib finds: nobody's twin.")
    return [line for text in lines for line in (text, "")]


def _fold_lines(folds: pd.DataFrame) -> list[str]:
    """Test crystals by level, with their share."""
    rows = [
        [line["fold"], f"{line['crystals']:,}", *(_share(line[level], line["crystals"]) for level in LEVELS)]
        for line in folds.to_dict("records")
    ]
    return table(["fold", "crystals", *LEVELS], rows)


def _corpus_lines(folds: pd.DataFrame) -> list[str]:
    """Corpus crystals by level."""
    names = [f"corpus_{level}" for level in LEVELS[1:]]
    rows = [[line["fold"], *(f"{line[name]:,}" for name in names)] for line in folds.to_dict("records")]
    return table(["fold", *LEVELS[1:]], rows)


def _score_lines(task: Task, scores: pd.DataFrame) -> list[str]:
    """Errors by kind of crystal, one table per benchmark."""
    regression = task.card.kind == "regression"
    unit = f" ({task.card.unit})" if task.card.unit else ""
    what = f"mean absolute error{unit}" if regression else "share of wrong classes"
    nothing = "the median of all targets" if regression else "the more frequent class"
    lines = [f"## Scores: {what}", "", _INTERVALS.format(nothing=nothing)]
    first = scores["benchmark"].iloc[0]
    for (name, arm), part in scores.groupby(["benchmark", "arm"], sort=False):
        lines += ["", f"### {name} (arm {arm})", ""]
        rows = [
            [
                line["level"], f"{line['crystals']:,}", _with_interval(line["error"], line["low"], line["high"]),
                _number(line["guess"]), _with_interval(line["ratio"], line["ratio_low"], line["ratio_high"]),
            ]
            for line in part.to_dict("records")
        ]  # fmt: skip
        lines += table(["kind", "crystals", "error (95 %)", "guess", f"ratio to {first} (95 %)"], rows)
    if (scores["crystals"].between(1, FEW - 1)).any():
        lines += ["", f"Kinds with fewer than {FEW} crystals say little, whatever their interval."]
    return lines


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table, the first column to the left.

    Args:
        header: names of the columns.
        rows: cells, as text.
    """
    marks = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(map(str, row)) + " |" for row in [header, marks, *rows]]


def _share(count: int, total: int) -> str:
    """A count with its share."""
    return f"{count:,} ({count / total:.1%})" if total else "0"


def _with_interval(value: float, low: float, high: float) -> str:
    """A value with its interval, as far as there is one."""
    if math.isnan(value):
        return "–"
    return _number(value) if math.isnan(low) else f"{_number(value)} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    """Four digits that count."""
    return "–" if math.isnan(value) else f"{value:.4g}"


# The report on what a pretraining corpus and the test folds of a task share, and what it did to the scores.


@dataclass(frozen=True, eq=False)
class OverlapReport:
    """What a corpus and the test folds of a task share."""

    overlap: Overlap
    """Every crystal of the task, in official order, against the corpus."""
    crystals: pd.DataFrame
    """One line per crystal of the task: id, fold whose test part it is in, level, and by level the number of corpus
    crystals that share just this much with it."""
    folds: pd.DataFrame
    """One line per test fold and one for all: crystals by level, and corpus crystals by level."""
    scores: pd.DataFrame
    """One line per benchmark and kind of crystal; empty without benchmarks."""
    text: str
    """The report in Markdown."""

    def to_text(self) -> str:
        """The report to read."""
        return self.text


def overlap_report(settings: OverlapConfig, *, progress: bool = True) -> OverlapReport:
    """Compare a corpus with the test folds of a task, split the scores of benchmarks, and write it all down.

    The folder gets ``summary.md``, ``folds.csv``, ``crystals.csv``, ``pairs.parquet``, ``overlap.png``,
    ``overlap.json`` and, with benchmarks, ``scores.csv``.

    Args:
        settings: corpus, task, benchmarks and folder.
        progress: show bars.

    Raises:
        InputError: If the corpus, the task's data or a benchmark cannot be read, a benchmark is of another task, or
            the folder cannot be written.
    """
    from matgl_infomax.data.read import read_data
    from matgl_infomax.tasks.matbench.data import task_crystals
    from matgl_infomax.tasks.studies.plots import plot_overlap

    task, name = load_task(settings.task), Path(settings.data).name
    # First what is quick: a benchmark of another task is refused before the long reading.
    scored = [read_scored(folder, task) for folder in settings.scores]
    crystals = task_crystals(task, settings.data_dir, settings.cache, progress=progress)
    corpus = read_data(settings)
    started = time.perf_counter()
    overlap = find_overlap(crystals, corpus, workers=settings.workers, progress=progress, cache=settings.cache)
    facts = {
        "task": task.card.name,
        "task_structures_sha256": structures_sha256(crystals),
        "corpus": name,
        "corpus_structures_sha256": structures_sha256(corpus),
        "corpus_crystals": len(corpus),
        "corpus_left_out": len(corpus.bad),
        "levels": overlap.counts(),
        "corpus_levels": overlap.corpus_counts(),
        "pairs": len(overlap.pairs),
        "undecided": overlap.undecided,
        "no_space_group": overlap.no_space_group,
        "benchmarks": [benchmark.name for benchmark in scored],
        "workers": settings.workers,
        "seconds": time.perf_counter() - started,
        "peak_memory_mb": peak_memory_mb(),
        "versions": versions(),
        "spglib": version("spglib"),
    }
    report = make_report(task, crystals.ids, overlap, scored, name)
    _write(settings.out, report, facts)
    plot_overlap(report.folds, report.scores, settings.out / "overlap", task=task, corpus=name)
    return report


def make_report(task: Task, ids: Sequence[str], overlap: Overlap, scored: Sequence[Scored], name: str) -> OverlapReport:
    """Tables and text of an overlap.

    Args:
        task: the task.
        ids: names of all its crystals, in official order, (n,).
        overlap: they against the corpus.
        scored: benchmarks of the task.
        name: what the corpus is called.
    """
    crystals = crystal_table(ids, task, overlap)
    folds = fold_table(crystals, overlap)
    scores = overlap_score_table(scored, task, overlap.level)
    text = report_text(task, name, len(overlap.corpus_level), overlap, folds, scores)
    return OverlapReport(overlap, crystals, folds, scores, text)


def _write(out: Path, report: OverlapReport, facts: dict[str, Any]) -> None:
    """All files but the picture."""
    buffer = io.BytesIO()
    report.overlap.pairs.to_parquet(buffer, index=False)
    atomic_write(out / "pairs.parquet", buffer.getvalue())
    atomic_write(out / "crystals.csv", csv_text(report.crystals))
    atomic_write(out / "folds.csv", csv_text(report.folds))
    if len(report.scores):
        atomic_write(out / "scores.csv", csv_text(report.scores))
    else:
        (out / "scores.csv").unlink(missing_ok=True)  # of an earlier report
    atomic_write(out / "overlap.json", json.dumps(facts, indent=1) + "\n")
    atomic_write(out / "summary.md", report.text + "\n")
    tables = ("pairs.parquet", "crystals.csv", "folds.csv", "scores.csv")
    vouch_for(out, (*tables, "overlap.json", "summary.md"))


# Tables of an overlap: one line per crystal of the task, and one per test fold.

SHARED = LEVELS[1:]
"""Levels at which something is shared."""


def crystal_table(ids: Sequence[str], task: Task, overlap: Overlap) -> pd.DataFrame:
    """One line per crystal of the task, in official order.

    Args:
        ids: names of the crystals, in official order, (n,).
        task: the task; its folds say in which test part a crystal is.
        overlap: its crystals against a corpus.

    Returns:
        Columns id, fold, level, closest (the first corpus crystal at this level; empty for novel ones), and for each
        level the number of corpus crystals that are just this close.
    """
    fold = np.empty(len(ids), dtype=np.int64)
    for k in range(N_FOLDS):
        fold[task.fold(k).test] = k
    table = pd.DataFrame({"id": ids, "fold": fold, "level": np.array(LEVELS, dtype=object)[overlap.level]})
    first = overlap.pairs.drop_duplicates(["id", "level"]).set_index(["id", "level"])["corpus_id"]
    table["closest"] = [first.get(place, "") for place in zip(table["id"], table["level"], strict=True)]
    for level in SHARED:
        count = overlap.pairs.loc[overlap.pairs["level"] == level, "id"].value_counts()
        table[level] = table["id"].map(count).fillna(0).astype(np.int64)
    return table


def fold_table(crystals: pd.DataFrame, overlap: Overlap) -> pd.DataFrame:
    """One line per test fold, and a last one for all of them.

    Args:
        crystals: what ``crystal_table`` gave.
        overlap: the same overlap.

    Returns:
        Columns fold (a number, or 'all'), crystals, by level the number of crystals whose closest corpus crystal is
        that close, undecided (pairs), and by level (corpus_formula, ...) the number of corpus crystals whose closest
        crystal of this fold is that close: so many would have to go.
    """
    number = {level: k for k, level in enumerate(LEVELS)}
    pairs = overlap.pairs.assign(
        fold=overlap.pairs["id"].map(crystals.set_index("id")["fold"]), number=overlap.pairs["level"].map(number)
    )
    parts = [(str(k), crystals["fold"] == k, pairs["fold"] == k) for k in range(N_FOLDS)]
    parts.append(("all", crystals["fold"] >= 0, pairs["fold"] >= 0))
    lines = []
    for name, rows, some in parts:
        here, shared = crystals[rows], pairs[some]
        closest = shared.groupby("corpus_id")["number"].max()
        line: dict[str, object] = {"fold": name, "crystals": len(here)}
        line |= {level: int((here["level"] == level).sum()) for level in LEVELS}
        line["undecided"] = int((~shared["decided"]).sum())
        line |= {f"corpus_{level}": int((closest == number[level]).sum()) for level in SHARED}
        lines.append(line)
    return pd.DataFrame(lines)


def strata(level: NDArray[np.int8]) -> dict[str, NDArray[np.bool_]]:
    """Kinds of crystals by which errors are split: each level, all that are not novel, and all.

    Args:
        level: index into ``LEVELS`` of each crystal, (n,).
    """
    kinds = {name: level == k for k, name in enumerate(LEVELS)}
    return {**kinds, "seen": level > 0, "all": np.ones(len(level), dtype=np.bool_)}


# Errors of benchmarks, split by how close the pretraining corpus comes to each test crystal.

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
    if result.spec.task != task.card.name:
        raise InputError(f"{folder} answers {result.spec.task}; the report is about {task.card.name}. Leave it out.")
    wrong = result.predictions.loc[~result.predictions["id"].isin(task.ids), "id"]
    if len(wrong):
        raise InputError(f"{folder} predicts {wrong.iloc[0]}, which is no crystal of {task.card.name}.")
    return Scored(folder.resolve().name, result.spec.arm, result.predictions)


def overlap_score_table(scored: Sequence[Scored], task: Task, level: NDArray[np.int8]) -> pd.DataFrame:
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
