"""Tables and forest bars of a report, as the templates draw them: every cell with what it shows and how it sorts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.leaderboard.comparison import PairedDifference, RunStanding, TaskComparison
from matgl_infomax.leaderboard.report.read import LEVELS, BenchmarkNumbers, OverlapNumbers, StudyNumbers
from matgl_infomax.leaderboard.verdict import Paired
from matgl_infomax.record import ClassMetrics, ForceMetrics, Metrics, RunCard

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Bar:
    """A point with its interval on an axis that all bars of a table share; places in per cent of the axis."""

    point: float
    low: float
    high: float
    zero: float
    """Where nothing differs."""
    finding: str
    """'better', 'worse' or 'open'; colours the bar."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number or text it sorts by, and perhaps a bar."""

    text: str
    value: float | str
    """What it sorts by; an infinite number, or none, comes last."""
    bar: Bar | None = None

    @property
    def key(self) -> str:
        """The value as the page's script reads it."""
        return self.value if isinstance(self.value, str) else f"{self.value:.10g}" if math.isfinite(self.value) else ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered on the page."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[str] = field(default=frozenset())
    """Columns that hold words and stand to the left; all others hold numbers."""
    axis: tuple[tuple[float, str], ...] = ()
    """Ticks under the column of bars: place in per cent, and its text."""
    note: str = ""
    """What to know to read it."""

    @property
    def filtered(self) -> bool:
        """Whether there are so many lines that a filter helps."""
        return len(self.rows) > 8

    def without_bars(self) -> Table:
        """The same without columns that are only drawn."""
        kept = [k for k in range(len(self.columns)) if not any(row[k].bar for row in self.rows)]
        columns, rows = tuple(self.columns[k] for k in kept), tuple(tuple(row[k] for k in kept) for row in self.rows)
        return replace(self, columns=columns, rows=rows)


def make_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    words: Sequence[str] = (),
    axis: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Table:
    """A table from its lines.

    Args:
        caption: what it shows, in one line.
        columns: names of the columns.
        rows: cells, one per column in each line.
        words: columns that hold words.
        axis: ticks of the bars.
        note: what to know to read it.

    Raises:
        ValueError: If a line has more or fewer cells than there are columns.
    """
    wrong = [len(row) for row in rows if len(row) != len(columns)]
    if wrong:
        raise ValueError(f"{caption}: {len(columns)} columns, and a line of {wrong[0]} cells")
    lines = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(columns), lines, frozenset(words), tuple(axis), note)


def word(text: object) -> Cell:
    """A cell with words."""
    return Cell(str(text), str(text).lower())


def number(value: float | None, digits: int = 4) -> Cell:
    """A cell with a number, to so many digits that count; a dash where there is none."""
    return Cell(shown(value, digits), math.inf if value is None or math.isnan(value) else float(value))


def shown(value: float | None, digits: int = 4) -> str:
    """A number as it is printed, '–' where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return (f"{value:,.{places}f}" if places <= 7 else f"{value:.{digits - 1}e}").replace("-", "−")


def interval(low: float, high: float, digits: int = 3) -> str:
    """'0.712 to 0.869'."""
    return f"{shown(low, digits)} to {shown(high, digits)}"


def duration(seconds: float | None) -> Cell:
    """Seconds as seconds, minutes or hours."""
    if seconds is None:
        return Cell("–", math.inf)
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return Cell(f"{shown(seconds / size, 3)} {unit}", seconds)
    return Cell(f"{shown(seconds, 3)} s", seconds)


@dataclass(frozen=True)
class Axis:
    """The axis that the bars of a table share: of differences (zero in it) or of ratios (one in it, logarithmic)."""

    low: float
    high: float
    ratios: bool

    def place(self, value: float) -> float:
        """Per cent of the axis, kept inside."""
        low, high = self.low, self.high
        if self.ratios:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-12))
        return min(100.0, max(0.0, 100 * (value - low) / (high - low)))

    def bar(self, point: float, low: float, high: float, finding: str) -> Bar:
        """A point with its interval."""
        nothing = self.place(1.0 if self.ratios else 0.0)
        return Bar(self.place(point), self.place(low), self.place(high), nothing, finding)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers along the axis."""
        from matplotlib.ticker import MaxNLocator

        found = [float(v) for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)]
        # The tick where nothing differs matters most: others that would touch it give way.
        nothing = 1.0 if self.ratios else 0.0
        values = [nothing, *(v for v in found if self.low <= v and abs(self.place(v) - self.place(nothing)) > 15)]
        return [(self.place(v), f"{v:.6g}".replace("-", "−")) for v in sorted(values) if v <= self.high]


def axis_for(lows: Sequence[float], highs: Sequence[float], *, ratios: bool) -> Axis:
    """An axis that holds all intervals and the place where nothing differs.

    Args:
        lows: lower ends.
        highs: upper ends.
        ratios: whether the numbers are ratios, all above zero.
    """
    nothing = 1.0 if ratios else 0.0
    low, high = min([*lows, nothing]), max([*highs, nothing])
    if ratios:
        margin = max(high / max(low, 1e-12), 1.02) ** 0.06
        return Axis(max(low, 1e-12) / margin, high * margin, True)
    margin = 0.06 * (high - low) or 1.0
    return Axis(low - margin, high + margin, False)


# The comparison with published entries as a report shows it: differences, tie groups, strata, worst materials.

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
    duels = [paired for run in task.runs for paired in run.duels]
    return _forest(f"{task.task}: our answers against published entries{_unit(task)}", duels, "published entry")


def own_table(task: TaskComparison) -> Table:
    """Our answers against each other."""
    return _forest(f"{task.task}: our answers against each other{_unit(task)}", task.own, "against")


def _unit(task: TaskComparison) -> str:
    """' (eV)', or nothing."""
    return f" ({task.unit})" if task.unit else ""


def _forest(caption: str, duels: Sequence[PairedDifference], other: str) -> Table:
    """One line per comparison, with its interval as a bar."""
    axis = axis_for([paired.low for paired in duels], [paired.high for paired in duels], ratios=False)
    rows = []
    for paired in duels:
        closer = Cell("–", np.inf) if np.isnan(paired.closer) else Cell(f"{paired.closer:.0%}", paired.closer)
        rows.append([
            word(paired.ours), word(paired.other), *difference_cells(paired, axis), number(paired.score),
            number(paired.other_score), closer, word(paired.way),
        ])  # fmt: skip
    columns = ("answer", other, "difference", "drawn", "finding", "95 % interval", "p (Holm)", "score",
               "other's score", "closer on", "compared")  # fmt: skip
    return make_table(caption, columns, rows, words=("answer", other, "finding", "compared"), axis=axis.ticks())


def uncertainty_table(task: TaskComparison) -> Table | None:
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


# What the runs of a report took, and the cards that stand for its numbers.

Named = tuple[str, tuple[RunCard, ...]]
"""Name of a folder and its cards."""


def cost_table(folders: Sequence[Named]) -> Table:
    """Times and memory, one line per folder and arm.

    Args:
        folders: cards by folder.
    """
    rows = []
    for name, cards in folders:
        for arm in dict.fromkeys(card.arm for card in cards):
            rows.append(_cost_row(name, arm, [card for card in cards if card.arm == arm]))
    columns = ("folder", "arm", "runs", "each run", "all runs", "search for rates", "pretraining", "peak memory (MB)")
    note = (
        "Times on the wall, of the machine that the runs were made on. A pretraining that runs share counts once; "
        "a dash where there was none, or where it is not known."
    )
    return make_table("Time and memory", columns, rows, words=("folder", "arm"), note=note)


def _cost_row(name: str, arm: str, cards: Sequence[RunCard]) -> list[Cell]:
    """One line."""
    seconds = [card.cost.seconds for card in cards]
    # Models of a fold share one search; runs of a study, or folds with one corpus, share one pretraining.
    searches = {(card.fold, card.cost.choosing_seconds) for card in cards if card.cost.choosing_seconds is not None}
    pretrainings = {card.cost.pretraining_seconds for card in cards if card.cost.pretraining_seconds is not None}
    memory = [card.cost.peak_memory_mb for card in cards if card.cost.peak_memory_mb is not None]
    return [
        word(name), word(arm), number(len(cards)), duration(sum(seconds) / len(seconds)), duration(sum(seconds)),
        duration(sum(time for _, time in searches) if searches else None),
        duration(sum(pretrainings) if pretrainings else None),
        number(float(round(max(memory))) if memory else None),
    ]  # fmt: skip


def card_table(name: str, cards: Sequence[RunCard]) -> Table:
    """What differs from run to run.

    Args:
        name: the folder.
        cards: its cards.
    """
    classes = isinstance(cards[0].metrics, ClassMetrics)
    rows = []
    for card in cards:
        score = _card_score(card.metrics)
        head = card.settings.get("head")
        rows.append([
            word(card.arm if head is None else f"{card.arm}, {head}"), number(card.mask.used), number(card.fold),
            number(card.seed), number(score), number(card.n_test), word(card.initial.name), _rate(card),
            duration(card.cost.seconds), word(card.created[:10]), word(card.hashes.run[:12]),
            word(card.hashes.predictions[:12]),
        ])  # fmt: skip
    unit = f" ({cards[0].unit})" if cards[0].unit and not classes else ""
    columns = ("arm", "labels", "fold", "seed", f"{'rocauc' if classes else 'mae'}{unit}", "tested on", "start",
               "rate", "time", "finished", "run hash", "predictions")  # fmt: skip
    words = ("arm", "start", "finished", "run hash", "predictions")
    return make_table(f"{name}: {len(cards)} run cards", columns, rows, words=words)


def _card_score(metrics: Metrics | ClassMetrics | ForceMetrics) -> float | None:
    """The number of a run that a line has room for; of a force field that of its forces, eV/angstrom."""
    if isinstance(metrics, ClassMetrics):
        return metrics.rocauc
    return metrics.forces.mae if isinstance(metrics, ForceMetrics) else metrics.mae


def _rate(card: RunCard) -> Cell:
    """The learning rate with the smallest error of those tried; a dash where none were."""
    known = [(t.mae if t.mae is not None else t.log_loss, t.learning_rate) for t in card.tried]
    tried = [(error, rate) for error, rate in known if error is not None]
    return number(min(tried)[1], 2) if tried else number(None)


def common_table(name: str, cards: Sequence[RunCard]) -> Table:
    """What the cards of a folder share; several values stand side by side.

    Args:
        name: the folder.
        cards: its cards.
    """
    facts: dict[str, dict[str, None]] = {}
    for card in cards:
        shared: dict[str, Any] = {"task": card.task, "target": card.target, "unit": card.unit}
        # A head and its scaling differ from fit to fit and stand in the other table.
        shared |= _flat(card.settings, "settings")
        shared |= {"data": card.hashes.data, "folds": card.hashes.folds, "store": card.hashes.store}
        shared |= {"Python": card.versions.python, "graphs": card.versions.backend}
        shared |= card.versions.packages
        for fact, value in shared.items():
            facts.setdefault(fact, {})[value if isinstance(value, str) else json.dumps(value)] = None
    rows = [[word(fact), word(" | ".join(values))] for fact, values in facts.items() if list(values) != ["null"]]
    return make_table(f"{name}: what its runs share", ("what", "value"), rows, words=("what", "value"))


def _flat(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{path}.{key}") if isinstance(value, dict) and value else {f"{path}.{key}": value}
    return found


def overlap_tables(overlap: OverlapNumbers) -> list[Table]:
    """How many test crystals the corpus came close to, and the errors on them."""
    task, corpus = overlap.facts["task"], overlap.facts["corpus"]
    rows = [
        [
            word(line["fold"]),
            number(line["crystals"]),
            *(_count_and_share(line[level], line["crystals"]) for level in LEVELS),
        ]
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
            _interval_cell(line["low"], line["high"]), number(line["guess"]), number(line["ratio"], 3),
            _interval_cell(line["ratio_low"], line["ratio_high"]),
        ]
        for line in overlap.scores.to_dict("records") if line["crystals"]
    ]  # fmt: skip
    columns = ("answer", "kind", "crystals", "error", "95 % interval", "a guess", "ratio to the first",
               "interval of the ratio")  # fmt: skip
    note = "Kinds differ in how hard they are: compare an error with its guess. Fewer than 30 crystals say little."
    caption = f"{overlap.name}: errors by kind of crystal"
    return [*found, make_table(caption, columns, rows, words=("answer", "kind"), note=note)]


def _count_and_share(count: float, total: float) -> Cell:
    """A count with its share."""
    return Cell(f"{shown(count)} ({count / total:.1%})" if total else "0", count)


def _interval_cell(low: float, high: float) -> Cell:
    """An interval, a dash without one."""
    return Cell("–", np.inf) if np.isnan(low) else Cell(interval(low, high), low)


WORDS = {"better": "better", "worse": "worse", "open": "no clear difference", "tie": "tie"}


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
    found = WORDS[pair.finding] if pair.seeds_needed is None else "too few seeds"
    return [number(pair.ratio), Cell("", pair.ratio, bar), word(found), Cell(said, pair.ratio_low)]


def difference_cells(paired: PairedDifference, axis: Axis) -> list[Cell]:
    """Difference, bar, finding, interval and corrected p-value."""
    tone = "open" if paired.finding == "tie" else paired.finding
    bar = axis.bar(paired.difference, paired.low, paired.high, tone)
    star = "*" if paired.finding == "tie" and paired.seeds_decide else ""
    return [
        number(paired.difference, 3), Cell("", paired.difference, bar), word(WORDS[paired.finding] + star),
        Cell(interval(paired.low, paired.high), paired.low), Cell(p_text(paired.p_holm), paired.p_holm),
    ]  # fmt: skip


def p_text(value: float) -> str:
    """A p-value; what lies far below any level is not told apart."""
    return "< 0.001" if value < 0.001 else shown(value, 2)


def fold_score_table(task: str, answers: Sequence[BenchmarkNumbers]) -> Table:
    """Mean and standard deviation over folds of the score that ranks, and each fold."""
    folds = sorted({int(fold) for one in answers for fold in one.scores["fold"]})
    main, unit = answers[0].main, answers[0].spec.unit
    rows = []
    for one in answers:
        by_fold = dict(zip(one.scores["fold"], one.scores[main], strict=True))
        labels = one.spec.labels
        rows.append([
            word(one.name), word(one.spec.network), word(one.spec.arm), Cell("all", float("inf"))
            if labels is None else number(labels), number(len(one.spec.seeds)), number(one.mean),
            *((number(one.std, 3), *(number(by_fold.get(fold)) for fold in folds)) if len(folds) > 1 else ()),
        ])  # fmt: skip
    head = f"{main}{f' ({unit})' if unit else ''}"
    columns = ["answer", "network", "arm", "labels", "seeds", head]
    columns += ["sd over folds", *(f"fold {fold}" for fold in folds)] if len(folds) > 1 else []
    note = "" if len(folds) > 1 else f"Fold {folds[0]} alone, one of five: no place on the leaderboard."
    return make_table(f"{task}: {main} by fold", columns, rows, words=("answer", "network", "arm"), note=note)
