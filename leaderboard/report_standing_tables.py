"""The comparison with published entries as a report shows it: differences, tie groups, strata, worst materials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.leaderboard.comparison import Duel, RunStanding, TaskComparison
from matgl_infomax.leaderboard.report_study import StudyNumbers
from matgl_infomax.leaderboard.report_table import Cell, Table, axis_for, make_table, number, word
from matgl_infomax.leaderboard.report_verdict import duel_cells, ratio_cells

if TYPE_CHECKING:
    import pandas as pd

DIFFERENCES = (
    "Error of the answer minus error of the other, below 0 the answer is better. A finding other than a tie needs "
    "p < 0.05 after Holm's correction; * marks ties that more seeds of our runs would settle. Per fold is weaker than "
    "per material: five numbers against five."
)
TIES = (
    "Each group starts with the best answer that is in none yet, and takes in all that cannot be told from it; answers "
    "without predictions are in none."
)


def forest_table(task: TaskComparison) -> Table:
    """The differences of our answers to published entries, drawn."""
    duels = [duel for run in task.runs for duel in run.duels]
    return _forest(f"{task.task}: our answers against published entries{_unit(task)}", duels, "published entry")


def own_table(task: TaskComparison) -> Table:
    """Our answers against each other."""
    return _forest(f"{task.task}: our answers against each other{_unit(task)}", task.own, "against")


def _unit(task: TaskComparison) -> str:
    """' (eV)', or nothing."""
    return f" ({task.unit})" if task.unit else ""


def _forest(caption: str, duels: Sequence[Duel], other: str) -> Table:
    """One line per comparison, with its interval as a bar."""
    axis = axis_for([duel.low for duel in duels], [duel.high for duel in duels], ratios=False)
    rows = []
    for duel in duels:
        closer = Cell("–", np.inf) if np.isnan(duel.closer) else Cell(f"{duel.closer:.0%}", duel.closer)
        rows.append([
            word(duel.ours), word(duel.other), *duel_cells(duel, axis), number(duel.score), number(duel.other_score),
            closer, word(duel.way),
        ])  # fmt: skip
    columns = ("answer", other, "difference", "drawn", "finding", "95 % interval", "p (Holm)", "score",
               "other's score", "closer on", "compared")  # fmt: skip
    return make_table(caption, columns, rows, words=("answer", other, "finding", "compared"), axis=axis.ticks())


def calibration_table(task: TaskComparison) -> Table | None:
    """How honest the uncertainties are; None where no answer has any."""
    rows = [
        [
            word(run.name), number(run.calibration.materials),
            Cell(f"{run.calibration.coverage_95:.1%}", run.calibration.coverage_95), number(run.calibration.sharpness),
            Cell(f"{run.calibration.miscalibration:.1%}", run.calibration.miscalibration),
            number(run.calibration.ranking, 2),
        ]
        for run in task.runs if run.calibration is not None
    ]  # fmt: skip
    columns = ("answer", "materials", "95 % intervals hold", f"sharpness{_unit(task)}", "miscalibration", "ranking")
    note = (
        "Sharpness: root mean square of the standard deviations. Miscalibration: mean distance of promised and "
        "observed shares, 0 is honest. Ranking: rank correlation of standard deviation and error, above 0 the answer "
        "knows where it is bad."
    )
    return make_table(f"{task.task}: uncertainties", columns, rows, words=("answer",), note=note) if rows else None


def arms_table(study: StudyNumbers) -> Table | None:
    """All other pairs of arms of a study, drawn; None where there is none."""
    pairs = study.verdict.others
    if not pairs:
        return None
    axis = axis_for([p.ratio_low for p in pairs], [p.ratio_high for p in pairs], ratios=True)
    unit = f" ({study.verdict.unit})" if study.verdict.unit else ""
    rows = [
        [number(p.labels), word(p.arm), word(p.against), *ratio_cells(p, axis), number(p.mae), number(p.against_mae)]
        for p in pairs
    ]
    columns = ("labels", "arm", "against", "ratio", "drawn", "finding", "95 % interval", "error", "other's error")
    caption = f"{study.name}: the other arms, mean absolute errors{unit}"
    note = "Ratio of the errors on the same crystals and masks; below 1 the arm is better."
    return make_table(caption, columns, rows, words=("arm", "against", "finding"), axis=axis.ticks(), note=note)


def tie_table(task: TaskComparison) -> Table:
    """Groups of answers that cannot be told apart, the best first."""
    score = dict(zip(task.table["entry"], task.table["score"], strict=True))
    rows = [
        [number(k), number(len(group)), number(score.get(group[0])), word(", ".join(group))]
        for k, group in enumerate(task.groups, 1)
    ]
    columns = ("group", "answers", f"best {task.metric}", "who")
    return make_table(f"{task.task}: tie groups", columns, rows, words=("who",))


def place_table(task: TaskComparison) -> Table:
    """Everyone who answered the task, the best first."""
    rows = []
    for line in task.table.to_dict("records"):
        group = line.get("group")
        whys = [str(line[name]).replace("_", " ") for name in ("reason", "flag") if _said(line.get(name))]
        if not (whys or line["place"] or line["own"]):
            whys = [f"not merged ({line['status']})"]
        rows.append([
            number(line["place"] or None), word(line["entry"]), number(line["score"]), number(line["std"], 3),
            number(group or None), word("yes" if line["own"] else ""), word(next(iter(whys), "")),
        ])  # fmt: skip
    score = f"{task.metric}{_unit(task)}"
    columns = ("place", "entry", score, "sd over folds", "tie group", "ours", "left out because")
    return make_table(f"{task.task}: all answers", columns, rows, words=("entry", "ours", "left out because"))


def _said(value: object) -> bool:
    """Whether a cell of a table says something."""
    return value is not None and str(value) not in ("", "nan")


def strata_table(task: TaskComparison, run: RunStanding) -> Table:
    """Where an answer wins and loses, by kind of material."""
    part: pd.DataFrame = run.strata
    axis = axis_for(part["low"].dropna().tolist(), part["high"].dropna().tolist(), ratios=False)
    rows = []
    for line in part.to_dict("records"):
        drawn = not np.isnan([line["difference"], line["low"], line["high"]]).any()
        tone = "open" if line["finding"] not in ("better", "worse") else str(line["finding"])
        bar = axis.bar(line["difference"], line["low"], line["high"], tone) if drawn else None
        rows.append([
            word(line["by"]), word(line["kind"]), number(line["materials"]), number(line["error"]),
            number(line["reference_error"]), number(line["guess"]), number(line["difference"], 3),
            Cell("" if drawn else "–", line["difference"], bar), word(line["finding"]),
        ])  # fmt: skip
    error = f"error{_unit(task)}"
    columns = ("by", "kind", "materials", error, run.reference, "a guess", "difference", "drawn", "finding")
    caption = f"{run.name}, {task.task}: by kind of material, beside {run.reference}"
    return make_table(caption, columns, rows, words=("by", "kind", "finding"), axis=axis.ticks())


def worst_table(task: TaskComparison, run: RunStanding) -> Table:
    """The materials with the largest errors."""
    frame = run.worst
    numbers = {name for name in frame.columns if np.issubdtype(frame[name].to_numpy().dtype, np.number)}
    rows = [
        [number(line[name]) if name in numbers else word(line[name]) for name in frame.columns]
        for line in frame.to_dict("records")
    ]
    names = [name.replace("_", " ") for name in frame.columns]
    words = [name.replace("_", " ") for name in frame.columns if name not in numbers]
    return make_table(f"{run.name}, {task.task}: largest errors{_unit(task)}", names, rows, words=words)
