"""An overlap report as a report shows it: which test crystals the corpus came close to, and the errors on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report_benchmark import BenchmarkNumbers
from matgl_infomax.leaderboard.report_table import Cell, Table, interval, make_table, number, shown, word
from matgl_infomax.record import Metrics

if TYPE_CHECKING:
    import pandas as pd

FACTS, FOLDS, SCORES = "overlap.json", "folds.csv", "scores.csv"
LEVELS = ("novel", "formula", "twin", "match")
"""How close the corpus comes to a crystal of the task."""
RIGHT = 1e-6


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
        facts = json.loads((folder / FACTS).read_text())
        folds = pd.read_csv(folder / FOLDS, dtype={"fold": str})
        scores = pd.read_csv(folder / SCORES) if (folder / SCORES).is_file() else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished overlap report ({error}). Run it again.") from error
    if not isinstance(facts, dict) or not {"task", "corpus", "levels", "corpus_crystals"} <= set(facts):
        raise InputError(f"{folder / FACTS} does not say what was compared. Run the overlap report again.")
    _folds_fit(folder, facts, folds)
    asked = [str(one) for one in facts.get("benchmarks", [])]
    by_name = {one.name.rpartition("/")[2]: one for one in benchmarks}
    if len(scores):
        unknown = sorted(set(scores["benchmark"]) - set(asked))
        if unknown:
            raise InputError(f"{folder / SCORES}: {unknown[0]} is not named in {FACTS}. No number without a card.")
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
        raise InputError(f"{folder / FOLDS} needs the columns {', '.join(columns)} and a line of all folds.")
    whole, parts = folds[folds["fold"] == "all"].iloc[0], folds[folds["fold"] != "all"]
    for level in LEVELS:
        if int(whole[level]) != facts["levels"].get(level) or int(parts[level].sum()) != int(whole[level]):
            raise InputError(f"{folder / FOLDS}: the number of {level} crystals is not that of {FACTS}.")


def _scores_fit(folder: Path, scores: pd.DataFrame, benchmark: BenchmarkNumbers) -> None:
    """The error on all crystals is that of the benchmark, whose cards were checked."""
    for card in benchmark.cards:
        if not isinstance(card.metrics, Metrics):
            return  # shares of wrong classes are no score of a card
    sizes = benchmark.predictions.groupby("fold").size()
    mean = float(np.average(benchmark.scores["mae"], weights=sizes[benchmark.scores["fold"]]))
    whole = scores[scores["level"] == "all"]
    if len(whole) != 1 or not np.isclose(whole["error"].iloc[0], mean, rtol=RIGHT):
        raise InputError(
            f"{folder / SCORES}: the error of {benchmark.name} on all crystals is not {mean}, as its scores and run "
            "cards say. Run the overlap report again."
        )


def overlap_tables(overlap: OverlapNumbers) -> list[Table]:
    """How many test crystals the corpus came close to, and the errors on them."""
    task, corpus = overlap.facts["task"], overlap.facts["corpus"]
    rows = [
        [word(line["fold"]), number(line["crystals"]), *(_share(line[level], line["crystals"]) for level in LEVELS)]
        for line in overlap.folds.to_dict("records")
    ]
    note = f"Corpus {corpus}: {shown(float(overlap.facts['corpus_crystals']))} crystals."
    found = [make_table(f"{overlap.name}: {task} and {corpus}", ("fold", "crystals", *LEVELS), rows, words=("fold",),
                        note=note)]  # fmt: skip
    if not len(overlap.scores):
        return found
    rows = [
        [
            word(line["benchmark"]), word(line["level"]), number(line["crystals"]), number(line["error"]),
            _interval(line["low"], line["high"]), number(line["guess"]), number(line["ratio"], 3),
            _interval(line["ratio_low"], line["ratio_high"]),
        ]
        for line in overlap.scores.to_dict("records") if line["crystals"]
    ]  # fmt: skip
    columns = ("answer", "kind", "crystals", "error", "95 % interval", "a guess", "ratio to the first",
               "interval of the ratio")  # fmt: skip
    note = "Kinds differ in how hard they are: compare an error with its guess. Fewer than 30 crystals say little."
    caption = f"{overlap.name}: errors by kind of crystal"
    return [*found, make_table(caption, columns, rows, words=("answer", "kind"), note=note)]


def _share(count: float, total: float) -> Cell:
    """A count with its share."""
    return Cell(f"{shown(count)} ({count / total:.1%})" if total else "0", count)


def _interval(low: float, high: float) -> Cell:
    """An interval, a dash without one."""
    return Cell("–", np.inf) if np.isnan(low) else Cell(interval(low, high), low)
