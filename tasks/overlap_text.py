"""The report on an overlap as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from matgl_infomax.tasks.matbench.task import Task
from matgl_infomax.tasks.overlap import LEVELS, Overlap

if TYPE_CHECKING:
    import pandas as pd

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
