"""What a report says first: the answer of each study and each task, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matgl_infomax.leaderboard.comparison import Duel, RunStanding, TaskComparison
from matgl_infomax.leaderboard.report_benchmark import BenchmarkNumbers
from matgl_infomax.leaderboard.report_study import StudyNumbers
from matgl_infomax.leaderboard.report_table import (
    Axis,
    Cell,
    Table,
    axis_for,
    interval,
    make_table,
    number,
    shown,
    word,
)
from matgl_infomax.leaderboard.verdict import Paired

MOST_PAIRS = 6
"""Pairs of our own answers that the verdict tells one by one."""
WORDS = {"better": "better", "worse": "worse", "open": "no clear difference", "tie": "tie"}


@dataclass(frozen=True)
class Answer:
    """An answer in a word, a sentence, and what it rests on."""

    about: str
    label: str
    """'yes', 'no', 'cannot tell', or a place."""
    tone: str
    """'better', 'worse' or 'open'; colours the label."""
    text: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


def study_answer(study: StudyNumbers) -> Answer:
    """Does pretraining help, in this study?"""
    v = study.verdict
    tone = {"yes": "better", "no": "worse"}.get(v.answer, "open")
    lines = [*v.advice, f"Tested on {v.test_crystals:,} crystals with {v.seeds} seed{'s' if v.seeds > 1 else ''}."]
    about = f"{study.name}: does pretraining help for {v.target}?"
    return Answer(about, v.answer, tone, v.text, tuple(lines), pair_table(study) if v.points else None)


def pair_table(study: StudyNumbers) -> Table:
    """The pretrained arm beside the baseline, one line per number of labels."""
    v = study.verdict
    axis = axis_for([p.ratio_low for p in v.points], [p.ratio_high for p in v.points], ratios=True)
    worth = {saving.labels: saving for saving in v.savings}
    rows = []
    for p in v.points:
        saving = worth.get(p.labels)
        equals = saving.equals if saving else None
        rows.append([number(p.labels), *ratio_cells(p, axis), number(p.mae), number(p.against_mae), number(equals, 3)])
    unit = f" ({v.unit})" if v.unit else ""
    columns = ("labels", "ratio", "drawn", "finding", "95 % interval", v.arm, v.baseline, f"{v.baseline} needs")
    note = (
        f"Ratio: error of {v.arm} over error of {v.baseline}, below 1 is better. The last column is the number of "
        f"labels at which {v.baseline} has the same error; a dash where its measured curve does not reach it."
    )
    caption = f"{study.name}: mean absolute error{unit} of {v.arm} and {v.baseline}"
    return make_table(caption, columns, rows, words=("finding",), axis=axis.ticks(), note=note)


def ratio_cells(pair: Paired, axis: Axis) -> list[Cell]:
    """Ratio, bar, finding and interval."""
    bar = axis.bar(pair.ratio, pair.ratio_low, pair.ratio_high, pair.finding)
    said = interval(pair.ratio_low, pair.ratio_high)
    return [number(pair.ratio), Cell("", pair.ratio, bar), word(WORDS[pair.finding]), Cell(said, pair.ratio_low)]


def duel_cells(duel: Duel, axis: Axis) -> list[Cell]:
    """Difference, bar, finding, interval and corrected p-value."""
    tone = "open" if duel.finding == "tie" else duel.finding
    bar = axis.bar(duel.difference, duel.low, duel.high, tone)
    star = "*" if duel.finding == "tie" and duel.seeds_decide else ""
    return [
        number(duel.difference, 3), Cell("", duel.difference, bar), word(WORDS[duel.finding] + star),
        Cell(interval(duel.low, duel.high), duel.low), Cell(_p(duel.p_holm), duel.p_holm),
    ]  # fmt: skip


def _p(value: float) -> str:
    """A p-value; what lies far below any level is not told apart."""
    return "< 0.001" if value < 0.001 else shown(value, 2)


def task_answer(task: TaskComparison) -> Answer:
    """Where our answers stand beside the published ones."""
    best = task.runs[0]
    unit = f" {task.unit}" if task.unit else ""
    by = {finding: [d.other for d in best.duels if d.finding == finding] for finding in ("worse", "tie", "better")}
    folds = f"{len(task.folds)} folds" if len(task.folds) > 1 else f"fold {task.folds[0]} alone"
    place = f"place {best.place.place} of {best.place.of}"
    parts = [f"{best.name} has {task.metric} {_score(best, unit)} on {folds}: {place}."]
    if best.duels:
        parts.append(
            f"Of {len(best.duels)} entries compared, beyond doubt better than it: {_names(by['worse'])}; not to be "
            f"told from it: {_names(by['tie'])}; beyond doubt worse: {_names(by['better'])}."
        )
    lines = [f"{run.name}: {_score(run, unit)}, place {run.place.to_text()}." for run in task.runs[1:]]
    lines += [*_own_lines(task, unit), *task.notes]
    tone = "better" if best.place.place == 1 else "open"
    return Answer(f"{task.task}: where does it stand?", f"place {best.place.to_text()}", tone, " ".join(parts),
                  tuple(lines))  # fmt: skip


def _score(run: RunStanding, unit: str) -> str:
    """'44.41 ± 7.44 meV/atom'."""
    return f"{shown(run.score)}{f' ± {shown(run.std, 3)}' if len(run.fold_scores) > 1 else ''}{unit}"


def _own_lines(task: TaskComparison, unit: str) -> list[str]:
    """Our answers against each other: every pair while they are few, of many those that differ."""
    if len(task.own) <= MOST_PAIRS:
        return [own_sentence(duel, unit) for duel in task.own]
    told = [duel for duel in task.own if duel.finding != "tie"]
    pairs = [f"{duel.ours} is {duel.finding} than {duel.other}" for duel in told[:MOST_PAIRS]]
    more = f", and {len(told) - MOST_PAIRS} more" if len(told) > MOST_PAIRS else ""
    said = f": {', '.join(pairs)}{more}" if pairs else ""
    return [f"Of {len(task.own)} pairs of our answers {len(told)} differ beyond doubt{said}."]


def own_sentence(duel: Duel, unit: str) -> str:
    """Two answers of our own beside each other."""
    said = {"better": "is better than", "worse": "is worse than", "tie": "cannot be told from"}[duel.finding]
    return (
        f"{duel.ours} {said} {duel.other}: difference {shown(duel.difference, 3)}{unit} "
        f"({interval(duel.low, duel.high)}), p {_p(duel.p_holm)} after correction."
    )


def _names(entries: Sequence[str]) -> str:
    """At most six names."""
    rest = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    return ", ".join(entries[:6]) + rest if entries else "none"


def best_first(answers: Sequence[BenchmarkNumbers]) -> list[BenchmarkNumbers]:
    """Answers to one task by their mean score: errors rise, shares of right classes fall."""
    lower = answers[0].asked.kind == "regression"
    return sorted(answers, key=lambda one: one.mean if lower else -one.mean)


def benchmark_answer(task: str, answers: Sequence[BenchmarkNumbers]) -> Answer:
    """The scores of a task without a paired comparison: an order, and no claim that it is real.

    Args:
        task: full name of the task.
        answers: those to it.
    """
    lower, order = answers[0].asked.kind == "regression", best_first(answers)
    # A score of one fold says nothing about a place among those of five.
    most = max(len(one.scores) for one in order)
    best = next(one for one in order if len(one.scores) == most)
    unit = f" {best.asked.unit}" if best.asked.unit else ""
    spread = f" ± {shown(best.std, 3)}" if most > 1 else ""
    text = f"{best.name} has {best.main} {shown(best.mean)}{spread}{unit} on {most} fold{'s' if most > 1 else ''}"
    text += f", the {'lowest' if lower else 'highest'} of {len(answers)} answers." if len(answers) > 1 else "."
    text += (
        " Whether it is really better than others is not said here: no paired comparison is among the folders. The "
        "command compare makes one, with the published entries beside it."
    )
    lines = dict.fromkeys(note for one in order for note in one.asked.notes if len(order) == 1)
    return Answer(f"{task}: what was reached?", "not compared", "open", text, tuple(lines), score_table(task, order))


def score_table(task: str, answers: Sequence[BenchmarkNumbers]) -> Table:
    """Mean and standard deviation over folds of the score that ranks, and each fold."""
    folds = sorted({int(fold) for one in answers for fold in one.scores["fold"]})
    main, unit = answers[0].main, answers[0].asked.unit
    rows = []
    for one in answers:
        by_fold = dict(zip(one.scores["fold"], one.scores[main], strict=True))
        labels = one.asked.labels
        rows.append([
            word(one.name), word(one.asked.network), word(one.asked.arm), Cell("all", float("inf"))
            if labels is None else number(labels), number(len(one.asked.seeds)), number(one.mean),
            *((number(one.std, 3), *(number(by_fold.get(fold)) for fold in folds)) if len(folds) > 1 else ()),
        ])  # fmt: skip
    head = f"{main}{f' ({unit})' if unit else ''}"
    columns = ["answer", "network", "arm", "labels", "seeds", head]
    columns += ["sd over folds", *(f"fold {fold}" for fold in folds)] if len(folds) > 1 else []
    note = "" if len(folds) > 1 else f"Fold {folds[0]} alone, one of five: no place on the leaderboard."
    return make_table(f"{task}: {main} by fold", columns, rows, words=("answer", "network", "arm"), note=note)
