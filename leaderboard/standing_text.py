"""A comparison with the published leaderboard as Markdown and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.leaderboard.published import FLAGS
from matgl_infomax.leaderboard.standing import Duel, LeaderboardComparison, RunStanding, TaskComparison

if TYPE_CHECKING:
    import pandas as pd

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


def duel_frame(duels: Sequence[Duel]) -> pd.DataFrame:
    """One line per comparison, with its finding."""
    import pandas as pd

    names = [*Duel.__dataclass_fields__, "finding"]
    return pd.DataFrame([{**asdict(duel), "finding": duel.finding} for duel in duels], columns=names)


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
            by = {word: [_starred(duel, duel.other) for duel in run.duels if duel.finding == word] for word in words}
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
    compared = {duel.other for run in task.runs for duel in run.duels}
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


def _duels(duels: Sequence[Duel], both: bool = False) -> list[str]:
    """Comparisons as a table."""
    rows = []
    for duel in duels:
        interval = f"{_signed(duel.difference)} [{_signed(duel.low)}, {_signed(duel.high)}]"
        materials = f"[{_signed(duel.low_materials)}, {_signed(duel.high_materials)}]" if duel.materials else ""
        names = [duel.ours, duel.other] if both else [duel.other]
        rows.append([*names, f"{duel.other_score:.4g}", duel.way, interval, materials, _p(duel.p_holm), _p(duel.p_sign),
                     _p(duel.p_wilcoxon), "" if np.isnan(duel.closer) else f"{duel.closer:.0%}",
                     f"{duel.folds_won} of {duel.folds}", _starred(duel, duel.finding)])  # fmt: skip
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


def _starred(duel: Duel, word: str) -> str:
    """The word with a star where only other seeds make it a tie."""
    return f"{word}*" if duel.finding == "tie" and duel.seeds_decide else word


def _signed(value: float) -> str:
    """'+1.23', or '?' where it is not known."""
    return "?" if np.isnan(value) else f"{value:+.3g}"


def _p(value: float) -> str:
    """'0.012', '< 0.001', or nothing."""
    return "" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
