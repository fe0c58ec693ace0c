"""Where answers stand beside the published ones: result objects that keep the numbers and show them.

``matgl-infomax compare`` makes them; a report reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field

from matgl_infomax.errors import InputError
from matgl_infomax.io import Kind as CellKind
from matgl_infomax.io import atomic_write, csv_text, typed_columns, vouch_for
from matgl_infomax.leaderboard.published import FLAGS
from matgl_infomax.leaderboard.scores import Kind
from matgl_infomax.leaderboard.statistics import ALPHA, CalibrationQuality
from matgl_infomax.leaderboard.strata import STRATA_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Finding = Literal["better", "worse", "tie", "untested"]


@dataclass(frozen=True)
class PairedDifference:
    """One answer against another on the same materials of the same folds."""

    ours: str
    other: str
    way: Literal["per material", "per fold"]
    """Per material where the other's predictions are at hand; per fold is weaker: five numbers against five."""
    score: float
    """Ours, mean over folds: mean absolute error in the task's unit, or Matbench's rocauc."""
    other_score: float
    difference: float
    """Error of ours minus error of the other (unit of the task, or 1 - rocauc); below 0 ours is better."""
    low: float
    """Lower end of the 95 % interval of the difference; it covers other materials and, with two seeds or more, other
    seeds of our runs."""
    high: float
    low_materials: float
    """The same interval without other seeds: what can be said of the models that were trained; NaN per fold."""
    high_materials: float
    p: float
    """Two-sided p-value of the difference, before any correction."""
    p_holm: float
    """The same, corrected by Holm for all comparisons of this answer in this task."""
    p_sign: float
    """Exact sign test on which answer is closer, material by material; NaN per fold."""
    p_wilcoxon: float
    """Wilcoxon's signed-rank test of the errors; NaN per fold and for classes."""
    closer: float
    """Share of the materials on which ours is closer, among those where the errors differ; NaN per fold."""
    folds_won: int
    folds: int
    materials: int
    """Materials compared; 0 per fold."""

    @property
    def seeds_decide(self) -> bool:
        """Whether zero is left out by the interval without other seeds only: more seeds would settle it."""
        without = self.low_materials > 0 or self.high_materials < 0
        return without and self.low <= 0 <= self.high

    @property
    def finding(self) -> Finding:
        """Better or worse where the corrected p-value is below 5 %, else a tie; one fold alone cannot be tested."""
        if isnan(self.p):
            return "untested"
        if not self.p_holm < ALPHA:
            return "tie"
        return "better" if self.difference < 0 else "worse"


@dataclass(frozen=True)
class Place:
    """The place of an answer among the published ones, and which places the comparisons leave open."""

    place: int
    """By the mean over folds; 1 is best."""
    of: int
    """Ranked published entries, and this answer."""
    best: int
    """1 + the number of ranked entries that are better beyond doubt."""
    worst: int
    """``of`` minus the number of ranked entries that are worse beyond doubt."""

    def to_text(self) -> str:
        """'8 of 17 (5 to 12)'."""
        return f"{self.place} of {self.of} ({self.best} to {self.worst})"


@dataclass(frozen=True, eq=False)
class RunStanding:
    """One of our answers to one task, beside the published ones."""

    name: str
    """Name of its folder; unique in the comparison."""
    folder: Path
    source: Literal["benchmark", "submission"]
    arm: str
    """Arm of the benchmark; 'submission' for a result file."""
    network: str
    labels: int | None
    """Labels left unmasked in each training part; None for all, or where it is not known."""
    seeds: int
    score: float
    """Mean over folds of the score that ranks."""
    std: float
    """Standard deviation over folds (population, as on Matbench's website)."""
    fold_scores: tuple[float, ...]
    """Score of each fold, in the order of the task's ``folds``."""
    place: Place
    duels: tuple[PairedDifference, ...]
    """Against published entries, the best of them first."""
    predictions: pd.DataFrame
    """One line per material: id, fold, target, prediction, std, error (absolute, or 1 for a wrong class)."""
    strata: pd.DataFrame
    """One line per kind of material: by, kind, materials, error, reference_error, guess, difference, low, high,
    p_holm, finding. Empty without predictions to compare with."""
    reference: str
    """The published entry that the strata compare with; empty where there is none."""
    worst: pd.DataFrame
    """The ten materials with the largest errors: id, fold, error, times_mean, reference_error, and attributes; empty
    for classes."""
    calibration: CalibrationQuality | None
    """How honest the uncertainties are; None where the answer has none."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One line per published entry that it was compared with."""
        return difference_frame(self.duels)

    def to_markdown(self) -> str:
        """Place, differences, strata, largest errors and uncertainty, to read."""
        return run_text(self)

    def plot(self) -> Figure:
        """Forest plot: the difference to each published entry with its 95 % interval."""
        return forest(self.duels, self.name)


@dataclass(frozen=True, eq=False)
class TaskComparison:
    """One task: our answers, the published ones, and who cannot be told apart."""

    task: str
    """Full name, such as matbench_jdft2d."""
    target: str
    unit: str | None
    kind: Kind
    metric: str
    """Score that ranks: 'mae' (lower is better) or 'rocauc' (higher is better)."""
    folds: tuple[int, ...]
    """Folds that were compared; fewer than five give no place on the leaderboard proper."""
    materials: int
    runs: tuple[RunStanding, ...]
    """Our answers, the best first."""
    own: tuple[PairedDifference, ...]
    """Our answers against each other, each pair once."""
    table: pd.DataFrame
    """One line per answer, the best first: entry, own, score, std, ranked, place, group, predictions, status, flag,
    reason, source, date. Place counts ranked entries only; group numbers the tie groups (0: not compared)."""
    groups: tuple[tuple[str, ...], ...]
    """Tie groups: each starts with the best answer not yet in one and takes in all that cannot be told from it."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """All comparisons of our answers, one line each."""
        return difference_frame([paired for run in self.runs for paired in run.duels] + list(self.own))

    def to_markdown(self) -> str:
        """The task to read: who stands where, ties, and every answer of ours in detail."""
        return task_text(self)

    def plot(self) -> Figure:
        """Forest plot of all comparisons of our answers."""
        duels: Sequence[PairedDifference] = [paired for run in self.runs for paired in run.duels] + list(self.own)
        return forest(duels, self.task)


@dataclass(frozen=True, eq=False)
class LeaderboardComparison:
    """Our answers beside the published leaderboard, task by task."""

    tasks: tuple[TaskComparison, ...]
    draws: int
    """Resamplings behind every interval."""
    published: str
    """Which published predictions were read: name of the folder, or 'none'."""
    ranked: str
    """Which published entries count for places: 'merged', 'comparable' or 'all'."""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """All comparisons of all tasks, one line each, with the task in the first column."""
        import pandas as pd

        frames = [task.to_frame().assign(task=task.task) for task in self.tasks]
        table = pd.concat(frames, ignore_index=True)
        return table[["task", *(name for name in table.columns if name != "task")]]

    def to_markdown(self, *, details: bool = True) -> str:
        """Everything to read, the summary first.

        Args:
            details: with strata, largest errors and calibration of each answer.
        """
        return comparison_text(self, details)

    def plot(self) -> Figure:
        """Forest plots, one panel per task."""
        return forests(self)


# A comparison with the published leaderboard as Markdown and as tables.

HOW = (
    "Differences are error of ours minus error of the other (mean over folds; below 0 ours is better) with 95 % "
    "intervals from {draws:,} resamplings of the materials inside each fold. With two seeds or more they cover other "
    "seeds of ours too (Student's t: few seeds make them wide); 'these seeds' leaves that out. They never cover other "
    "trainings of a published entry. p is two-sided, covers what the interval covers and is corrected by Holm for all "
    "comparisons of one answer in one task; better and worse mean p < 5 %, anything else is a tie, with * where the "
    "interval of these seeds leaves out zero and that of all seeds does not. The brackets behind a place hold the "
    "places that these comparisons leave open. 'Per fold' compares the scores of the folds alone (t-test with the "
    "variance of Nadeau and Bengio), which is much weaker: a tie there says little, and one fold alone cannot be "
    "tested. Sign test and Wilcoxon's test ask which answer is closer on most materials; they may disagree with the "
    "mean, which a few large errors can rule."
)


def difference_frame(duels: Sequence[PairedDifference]) -> pd.DataFrame:
    """One line per comparison, with its finding."""
    import pandas as pd

    names = [*PairedDifference.__dataclass_fields__, "finding"]
    return pd.DataFrame([{**asdict(paired), "finding": paired.finding} for paired in duels], columns=names)


def comparison_text(result: LeaderboardComparison, details: bool) -> str:
    """Summary, how to read it, and every task."""
    lines = ["# Beside the published leaderboard", "", *_summary(result), "", HOW.format(draws=result.draws)]
    if result.ranked != "all":
        lines += ["", f"Ranked entries: {result.ranked}, without those that may not be compared."]
    lines += [f"\n{note}" for note in result.notes]
    for task in result.tasks:
        lines += ["", task_text(task, details)]
    return "\n".join(lines)


def _summary(result: LeaderboardComparison) -> list[str]:
    """One line per answer."""
    rows = []
    for task in result.tasks:
        for run in task.runs:
            words = ("better", "tie", "worse", "untested")
            by = {
                word: [_starred(paired, paired.other) for paired in run.duels if paired.finding == word]
                for word in words
            }
            rows.append([task.task.removeprefix("matbench_"), run.name, _with_std(run.score, run.std, len(task.folds)),
                         run.place.to_text(), *(", ".join(names) for names in by.values())])  # fmt: skip
    head = ["task", "answer", "score", "place (open)", "better than", "tie with", "worse than", "untested"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table_lines(head, rows)


def task_text(task: TaskComparison, details: bool = True) -> str:
    """One task: who stands where, ties, every answer of ours."""
    unit = f", {task.unit}" if task.unit else ""
    classes = "; differences are those of 1 - rocauc, which Matbench computes from classes cut at one half"
    lines = [
        f"## {task.task}",
        "",
        f"{task.target}{unit}; {task.metric}, fold {', '.join(map(str, task.folds))}; {task.materials:,} materials"
        f"{'' if task.metric == 'mae' else classes}.",
        "",
        *_places(task),
        "",
        *_ties(task),
        *(f"\n{note}" for note in task.notes),
    ]
    for run in task.runs:
        lines += ["", run_text(run, details)]
    if task.own:
        lines += ["", "### Our answers against each other", "", *_duels(task.own, both=True)]
    return "\n".join(lines)


def _places(task: TaskComparison) -> list[str]:
    """Ranked entries, ours and those compared."""
    compared = {paired.other for run in task.runs for paired in run.duels}
    table = task.table
    shown = table[table["ranked"] | table["own"] | table["entry"].isin(compared)]
    rows = []
    for row in shown.to_dict("records"):
        name = f"**{row['entry']}**" if row["own"] else row["entry"]
        mark = f" ({row['flag'].replace('_', ' ')})" if row["flag"] else ""
        group = str(row["group"]) if row["group"] else ""
        rows.append([str(row["place"]) if row["place"] else "-", name + mark,
                     _with_std(row["score"], row["std"], len(task.folds)), group])  # fmt: skip
    lines = table_lines(["place", "entry", task.metric, "tie group"], rows)
    out = table[~table.index.isin(shown.index)]
    if len(out):
        flagged = out["flag"].value_counts()
        pairs = zip(flagged.index.astype(str), flagged.tolist(), strict=True)
        why = [f"{FLAGS[flag]} ({n})" if flag else f"not merged ({n})" for flag, n in pairs]
        lines += ["", f"{len(out)} published entries are not ranked here: {'; '.join(why)}."]
    return lines


def _ties(task: TaskComparison) -> list[str]:
    """Groups with more than one member."""
    groups = [f"{number}: {', '.join(group)}" for number, group in enumerate(task.groups, 1) if len(group) > 1]
    said = "; ".join(groups) if groups else "none"
    return [f"Tie groups (all that cannot be told from the best of the group, among answers with predictions): {said}."]


def run_text(run: RunStanding, details: bool = True) -> str:
    """One answer of ours in detail."""
    seeds = {0: "seeds not known: other seeds are not covered", 1: "one seed: other seeds are not covered"}
    about = f"{run.arm}, {run.network}, {seeds.get(run.seeds, f'{run.seeds} seeds')}"
    lines = [f"### {run.name}: place {run.place.to_text()}", "", f"{about}.", "", *_duels(run.duels)]
    if not details:
        return "\n".join(lines)
    if len(run.strata):
        said = f"Where these models win and lose against {run.reference} (p corrected for all kinds, not for seeds):"
        lines += ["", said, "", *_strata(run)]
    if len(run.worst):
        lines += ["", "Largest errors, in units of its mean error:", "", *_worst(run)]
    if run.calibration is not None:
        lines += ["", f"Uncertainty: {run.calibration.to_text()}"]
    lines += [f"\n{note}" for note in run.notes]
    return "\n".join(lines)


def _duels(duels: Sequence[PairedDifference], both: bool = False) -> list[str]:
    """Comparisons as a table."""
    rows = []
    for paired in duels:
        interval = f"{_signed(paired.difference)} [{_signed(paired.low)}, {_signed(paired.high)}]"
        materials = f"[{_signed(paired.low_materials)}, {_signed(paired.high_materials)}]" if paired.materials else ""
        names = [paired.ours, paired.other] if both else [paired.other]
        closer = "" if np.isnan(paired.closer) else f"{paired.closer:.0%}"
        rows.append(
            [
                *names,
                f"{paired.other_score:.4g}",
                paired.way,
                interval,
                materials,
                _p(paired.p_holm),
                _p(paired.p_sign),
                _p(paired.p_wilcoxon),
                closer,
                f"{paired.folds_won} of {paired.folds}",
                _starred(paired, paired.finding),
            ]
        )
    head = [*(["ours", "against"] if both else ["against"]), "its score", "way", "difference [95 %]", "these seeds",
            "p (Holm)",            "p, sign test", "p, Wilcoxon", "closer on", "folds won", "finding"]  # fmt: skip
    return table_lines(head, rows) if rows else ["Nothing to compare with."]


def _strata(run: RunStanding) -> list[str]:
    """Kinds of materials as a table."""
    rows = []
    for row in run.strata.to_dict("records"):
        interval = f"{_signed(row['difference'])} [{_signed(row['low'])}, {_signed(row['high'])}]"
        rows.append([str(row["by"]), str(row["kind"]), str(row["materials"]), f"{row['error']:.4g}",
                     f"{row['reference_error']:.4g}", f"{row['guess']:.4g}", interval, row["finding"]])  # fmt: skip
    head = ["by", "kind", "materials", "error", run.reference, "a guess", "difference [95 %]", "finding"]
    return table_lines(head, rows)


def _worst(run: RunStanding) -> list[str]:
    """Materials with the largest errors; errors as multiples of the mean, for true values are not ours to pass on."""
    mean = run.predictions["error"].mean()
    facts = [str(name) for name in run.worst if name not in ("id", "fold", "error", "times_mean", "reference_error")]
    rows = []
    for row in run.worst.to_dict("records"):
        reference = _times(row["reference_error"], mean)
        rows.append([row["id"], f"{row['times_mean']:.1f}", reference, *(str(row[name]) for name in facts)])
    return table_lines(["id", "error", run.reference or "reference", *facts], rows)


def _times(error: float, mean: float) -> str:
    """'12.3', or nothing."""
    return "" if np.isnan(error) else f"{error / mean:.1f}"


def table_lines(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table, line by line.

    Args:
        head: names of the columns.
        rows: cells, as text.
    """
    lines = [list(head), ["---"] * len(head), *([str(cell).replace("|", "/") for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _with_std(score: float, std: float, folds: int) -> str:
    """'45.36 ± 10.06'."""
    return f"{score:.4g}" + (f" ± {std:.2g}" if folds > 1 and not np.isnan(std) else "")


def _starred(paired: PairedDifference, word: str) -> str:
    """The word with a star where only other seeds make it a tie."""
    return f"{word}*" if paired.finding == "tie" and paired.seeds_decide else word


def _signed(value: float) -> str:
    """'+1.23', or '?' where it is not known."""
    return "?" if np.isnan(value) else f"{value:+.3g}"


def _p(value: float) -> str:
    """'0.012', '< 0.001', or nothing."""
    return "" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


# The files of a comparison: JSON, Markdown and tables; none of them holds a true value or a prediction.

JSON_FILE = "comparison.json"
TEXT_FILE = "comparison.md"
DIFFERENCES_FILE = "comparison.csv"
STRATA_FILE = "strata.csv"


def write_comparison(result: LeaderboardComparison, out: Path) -> None:
    """Write a comparison.

    Args:
        result: what to write.
        out: folder; gets comparison.json (all numbers), comparison.md (to read), comparison.csv (one line per
            comparison) and strata.csv (one line per answer and kind of material).

    Raises:
        OSError: If nothing can be written.
    """
    strata = [run.strata.assign(task=task.task, answer=run.name, reference=run.reference)
              for task in result.tasks for run in task.runs if len(run.strata)]  # fmt: skip
    atomic_write(out / JSON_FILE, json.dumps(as_json(result), indent=1, allow_nan=False) + "\n")
    atomic_write(out / TEXT_FILE, result.to_markdown() + "\n")
    atomic_write(out / DIFFERENCES_FILE, csv_text(result.to_frame(), float_format="%.8g"))
    if strata:
        table = pd.concat(strata, ignore_index=True)
        first = ["task", "answer", "reference"]
        table = table[[*first, *(name for name in table if name not in first)]]
        atomic_write(out / STRATA_FILE, csv_text(table, float_format="%.6g"))
    else:
        (out / STRATA_FILE).unlink(missing_ok=True)  # of an earlier comparison
    vouch_for(out, (JSON_FILE, TEXT_FILE, DIFFERENCES_FILE, STRATA_FILE))


def as_json(result: LeaderboardComparison) -> dict[str, Any]:
    """All numbers of a comparison as plain values; what is not known is None.

    Args:
        result: the comparison.
    """
    return _plain({
        "format": 1,
        "draws": result.draws,
        "published": result.published,
        "ranked": result.ranked,
        "notes": list(result.notes),
        "tasks": [_task(task) for task in result.tasks],
    })  # fmt: skip


def _task(task: TaskComparison) -> dict[str, Any]:
    """One task."""
    return {
        "task": task.task, "target": task.target, "unit": task.unit, "kind": task.kind, "metric": task.metric,
        "folds": list(task.folds), "materials": task.materials, "groups": [list(group) for group in task.groups],
        "notes": list(task.notes), "runs": [_run(run) for run in task.runs],
        "own": [_paired_difference(paired) for paired in task.own], "table": task.table.to_dict("records"),
    }  # fmt: skip


def _run(run: RunStanding) -> dict[str, Any]:
    """One answer."""
    worst = run.worst.drop(columns=["error", "reference_error"])  # with a prediction they give the true value
    return {
        "name": run.name, "source": run.source, "arm": run.arm, "network": run.network, "labels": run.labels,
        "seeds": run.seeds, "score": run.score, "std": run.std, "fold_scores": list(run.fold_scores),
        "place": asdict(run.place), "reference": run.reference, "notes": list(run.notes),
        "duels": [_paired_difference(paired) for paired in run.duels], "strata": run.strata.to_dict("records"),
        "worst": worst.round({"times_mean": 1}).to_dict("records"),
        "calibration": asdict(run.calibration) if run.calibration is not None else None,
    }  # fmt: skip


def _paired_difference(paired: PairedDifference) -> dict[str, Any]:
    """One comparison with its finding."""
    return {**asdict(paired), "finding": paired.finding}


def _plain(value: Any) -> Any:
    """Plain Python values without NaN, at every depth; numbers with ten digits, which all machines agree on."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value


# Forest plots: differences to published entries with their intervals.

COLOURS = {"better": "#00798c", "tie": "#8d96a3", "worse": "#d1495b", "untested": "#c8ccd1"}
"""Colours of findings."""
MARKERS = {"per material": "o", "per fold": "s"}


def forest(duels: Sequence[PairedDifference], title: str) -> Figure:
    """One line per comparison: difference and 95 % interval, left of zero where ours is better.

    Args:
        duels: the comparisons.
        title: heading.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.4 + 0.28 * max(1, len(duels))), dpi=150, layout="constrained")
    _draw(figure.add_subplot(), duels, title)
    return figure


def forests(result: LeaderboardComparison) -> Figure:
    """The forest plots of all tasks, one panel below the other.

    Args:
        result: the comparison.
    """
    from matplotlib.figure import Figure

    panels = [[paired for run in task.runs for paired in run.duels] + list(task.own) for task in result.tasks]
    heights = [1 + 0.28 * max(1, len(duels)) for duels in panels]
    figure = Figure(figsize=(6.4, 0.4 + sum(heights)), dpi=150, layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for one, duels, task in zip(axes, panels, result.tasks, strict=True):
        _draw(one, duels, task.task)
    return figure


def _draw(axes: Axes, duels: Sequence[PairedDifference], title: str) -> None:
    """One panel."""
    several = len({paired.ours for paired in duels}) > 1
    for y, paired in enumerate(duels):
        colour = COLOURS[paired.finding]
        if not np.isnan(paired.low):
            axes.plot([paired.low, paired.high], [y, y], color=colour, linewidth=1.5)
        # Open squares: five numbers against five, not material by material.
        axes.plot(paired.difference, y, MARKERS[paired.way], color=colour, markersize=5,
                  markerfacecolor=colour if paired.way == "per material" else "white")  # fmt: skip
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(duels)), [f"{d.ours} - {d.other}" if several else d.other for d in duels], fontsize=7)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("error of ours minus error of the other, 95 % interval", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)


# What ``comparison.json`` holds; a number that was not known is null there and NaN here.


def _known(content: Any) -> Any:
    """Missing numbers as NaN."""
    if not isinstance(content, dict):
        return content
    return {key: math.nan if value is None else value for key, value in content.items()}


PairedEntry = Annotated[PairedDifference, BeforeValidator(_known)]
CalibrationEntry = Annotated[CalibrationQuality, BeforeValidator(_known)]


class RunEntry(BaseModel):
    """One answer."""

    name: str
    source: Literal["benchmark", "submission"]
    arm: str
    network: str
    labels: int | None
    seeds: int
    score: float
    std: float | None
    fold_scores: tuple[float, ...]
    place: Place
    reference: str
    notes: tuple[str, ...]
    duels: tuple[PairedEntry, ...]
    strata: list[dict[str, str | float | None]]
    worst: list[dict[str, Any]]
    calibration: CalibrationEntry | None


class TaskEntry(BaseModel):
    """One task."""

    task: str
    target: str
    unit: str | None
    kind: Literal["regression", "classification"]
    metric: Literal["mae", "rocauc"]
    folds: tuple[int, ...] = Field(min_length=1)
    materials: int
    groups: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    runs: tuple[RunEntry, ...] = Field(min_length=1)
    own: tuple[PairedEntry, ...]
    table: list[dict[str, Any]] = Field(min_length=1)


class ComparisonFile(BaseModel):
    """The whole file."""

    format: Literal[1]
    draws: int
    published: str
    ranked: str
    notes: list[str]
    tasks: list[TaskEntry]

    def comparison(self, folder: Path) -> LeaderboardComparison:
        """What the file in a folder says, without predictions, which it does not hold."""
        tasks = tuple(_task_said(one, folder) for one in self.tasks)
        return LeaderboardComparison(tasks, self.draws, self.published, self.ranked, tuple(self.notes))


_WORDS = ("by", "kind", "finding")
STRATA_KINDS: dict[str, CellKind] = {name: "text" if name in _WORDS else "number" for name in STRATA_COLUMNS}
PLACE_KINDS: dict[str, CellKind] = {
    "entry": "text", "score": "number", "std": "number", "place": "whole", "group": "whole", "status": "text",
    "flag": "text", "reason": "text",
}  # fmt: skip


def _task_said(content: TaskEntry, folder: Path) -> TaskComparison:
    """One task."""
    where = f"{folder / JSON_FILE}: {content.task}, table"
    table = _lines(content.table, PLACE_KINDS, where)
    if "own" not in table or not all(isinstance(value, bool) for value in table["own"]):
        raise InputError(f"{where}, does not say which answers are our own. Compare again.")
    plain = ("task", "target", "unit", "kind", "metric", "materials", "folds", "groups", "notes")
    return TaskComparison(
        **{key: getattr(content, key) for key in plain},
        runs=tuple(_run_said(one, folder) for one in content.runs),
        own=content.own,
        table=table,
    )


def _run_said(content: RunEntry, folder: Path) -> RunStanding:
    """One answer."""
    plain = ("name", "source", "arm", "network", "labels", "seeds", "score", "reference", "fold_scores", "notes",
             "place", "duels", "calibration")  # fmt: skip
    where = f"{folder / JSON_FILE}: {content.name}, strata"
    worst = pd.DataFrame(content.worst)
    words = [name for name in worst if worst[name].dtype.kind not in "iuf"]
    return RunStanding(
        **{key: getattr(content, key) for key in plain},
        folder=folder,
        std=float("nan") if content.std is None else content.std,
        predictions=pd.DataFrame(columns=["id", "fold", "target", "prediction", "std", "error"]),
        strata=_lines(content.strata, STRATA_KINDS, where),
        worst=worst.assign(**{str(name): worst[name].astype(str) for name in words}),
    )


def _lines(lines: list[dict[str, Any]], kinds: Mapping[str, CellKind], where: str) -> pd.DataFrame:
    """Lines as a table; no line gives one without columns."""
    if not lines:
        return pd.DataFrame(columns=list(kinds))
    lacking = sorted({name for line in lines for name in set(kinds) - set(line)})
    if lacking:
        raise InputError(f"{where}, lacks {lacking[0]} in a line. Compare again.")
    return typed_columns(pd.DataFrame(lines, dtype=object), kinds, where)
