"""The page of a report, section by section, and how it becomes HTML or Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.comparison import LeaderboardComparison, PairedDifference, RunStanding, TaskComparison
from matgl_infomax.leaderboard.glossary import COMPARISON_INTERVALS, STUDY_INTERVALS, glossary
from matgl_infomax.leaderboard.report.figures import Picture, arm_colours, curve_picture, map_pictures, parity_picture
from matgl_infomax.leaderboard.report.read import (
    BenchmarkNumbers,
    MapNumbers,
    OverlapNumbers,
    StudyNumbers,
    read_comparison,
    read_map,
    read_numbers,
    read_overlap,
    read_study,
    read_truth,
)
from matgl_infomax.leaderboard.report.table import (
    DIFFERENCES,
    TIES,
    Table,
    arms_table,
    card_table,
    common_table,
    cost_table,
    fold_score_table,
    forest_table,
    interval,
    overlap_tables,
    own_table,
    p_text,
    pair_table,
    place_table,
    shown,
    strata_table,
    tie_table,
    uncertainty_table,
    worst_table,
)
from matgl_infomax.leaderboard.results import read_benchmark_spec
from matgl_infomax.leaderboard.verdict import scope
from matgl_infomax.record import RunCard, versions
from matgl_infomax.settings.commands import ReportConfig

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment


@dataclass(frozen=True)
class KeyFinding:
    """An answer in a word, a sentence, and what it rests on."""

    about: str
    label: str
    """'yes', 'no', 'cannot tell', or a place."""
    tone: str
    """'better', 'worse' or 'open'; colours the label."""
    text: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page; parts without anything to show are not made."""

    key: str
    title: str
    text: str = ""
    answers: tuple[KeyFinding, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    rules: tuple[str, ...] = ()
    """By what the answers were found."""
    folded: tuple[tuple[str, tuple[Table, ...]], ...] = ()
    """Tables that open on demand, by the line that opens them."""
    terms: tuple[tuple[str, str], ...] = ()
    """Words of the page with their meaning."""

    @property
    def filled(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.answers or self.pictures or self.tables or self.folded or self.terms)


def sections(report: Report, *, pictures: bool = True) -> list[Section]:
    """All sections with something in them, in the order of the page.

    Args:
        report: the numbers.
        pictures: draw figures; Markdown has none.
    """
    parts = [_verdict(report), _scores(report)]
    if pictures:
        parts += [_curves(report), _parity(report)]
    parts += [_differences(report), _ties(report), _strata(report)]
    if pictures:
        parts.append(_map(report))
    return [
        part
        for part in [*parts, _overlap(report), _cost_section(report), _glossary(report), _cards(report)]
        if part.filled
    ]


def missing(report: Report) -> list[str]:
    """What the page leaves out, and why: one clause each."""
    found = []
    if not report.studies:
        found.append("learning curves (no folder of the command curve)")
    drawn = any(s.predictions is not None for s in report.studies) or any(map(_drawable, report.benchmarks))
    if not drawn:
        more = "; --truth FILE gives them" if report.benchmarks else ""
        found.append(f"parity plots (no predictions with true values{more})")
    if not report.comparisons:
        found.append("differences to published entries and tie groups (no folder of the command compare)")
    if not report.maps:
        found.append("embedding map (no folder of the command represent)")
    if not report.overlaps:
        found.append("overlap table (no folder of the command overlap)")
    for overlap in report.overlaps:
        if overlap.left_out:
            found.append(f"errors by overlap of {', '.join(overlap.left_out)} (their run cards are not at hand)")
    return found


def to_html(report: Report) -> str:
    """The page: one file, nothing loaded from anywhere."""
    script, style = _file("report.js"), _file("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _templates(html=True).get_template("report.html")
    return page.render(report=report, sections=sections(report), missing=missing(report), style=style,
                       script=script, script_sha256=digest)  # fmt: skip


def to_markdown(report: Report) -> str:
    """The same without figures, for a README."""
    page = _templates(html=False).get_template("report.md")
    return page.render(report=report, sections=sections(report, pictures=False), missing=missing(report)).strip() + "\n"


def _file(name: str) -> str:
    """A file of the templates, wherever the package is installed."""
    return (files("matgl_infomax.leaderboard.report") / "templates" / name).read_text(encoding="utf-8")


def _templates(*, html: bool) -> Environment:
    """The templates; in HTML everything that is put in is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup, escape

    found = Environment(loader=FunctionLoader(_file), autoescape=html, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    # Only what this program wrote itself: its own files, and SVG in which matplotlib has escaped all text.
    found.filters["ours"] = Markup
    found.filters["plain"] = _markdown
    found.filters["breakable"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    return found


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is: no tag, no cell border, no emphasis by accident."""
    said = " ".join(str(text).split())
    for sign in "\\`*_[]|":
        said = said.replace(sign, f"\\{sign}")
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _verdict(report: Report) -> Section:
    """The answers, first of all."""
    answers = [study_answer(study) for study in report.studies]
    answers += [task_answer(task) for task in _tasks(report)]
    known = {task.task for task in _tasks(report)}
    answers += [benchmark_answer(task, part) for task, part in _by_task(report) if task not in known]
    rules = dict.fromkeys(f"Rule for studies: {study.verdict.rule}" for study in report.studies)
    rules |= dict.fromkeys(said for study in report.studies if (said := scope(study.verdict)))
    return Section("verdict", "Verdict", answers=tuple(answers), rules=tuple(rules))


def _by_task(report: Report) -> Iterator[tuple[str, list[BenchmarkNumbers]]]:
    """Benchmarks by task."""
    for task in dict.fromkeys(one.spec.task for one in report.benchmarks):
        yield task, [one for one in report.benchmarks if one.spec.task == task]


def _scores(report: Report) -> Section:
    """Scores of the tasks whose answer is a place; those of others stand with their answer."""
    known = {task.task for task in _tasks(report)}
    tables = [fold_score_table(task, best_first(part)) for task, part in _by_task(report) if task in known]
    return Section("scores", "Scores by fold", tables=tuple(tables))


def _curves(report: Report) -> Section:
    """Learning curves."""
    pictures = tuple(curve_picture(study, f"curve{k}") for k, study in enumerate(report.studies))
    return Section("curves", "Learning curves", pictures=pictures)


def _parity(report: Report) -> Section:
    """Predictions against true values."""
    found = []
    for study in report.studies:
        if study.predictions is None:
            continue
        v, table = study.verdict, study.predictions
        most = int(table["labels"].max())
        colours = arm_colours(list(dict.fromkeys(study.curve["arm"])))
        # The two that the verdict is about come first.
        for arm in [name for name in dict.fromkeys([v.baseline, v.arm, *colours]) if name in colours]:
            part = table[(table["arm"] == arm) & (table["labels"] == most)]
            what = f"{study.name}, {arm} at {most} labels, {part['seed'].nunique()} seeds"
            found.append((part, what, v.target, v.unit, colours[arm]))
    for one in report.benchmarks:
        if _drawable(one):
            arm = next(iter(arm_colours([one.spec.arm]).values()))
            found.append((one.predictions, one.name, one.spec.target, one.spec.unit, arm))
    pictures = [
        parity_picture(part["target"].to_numpy(dtype=float), part["prediction"].to_numpy(dtype=float), what=what,
                       target=target, unit=unit, arm=arm, key=f"parity{k}")
        for k, (part, what, target, unit, arm) in enumerate(found)
    ]  # fmt: skip
    return Section("parity", "Predictions against true values", pictures=tuple(pictures))


def _drawable(one: BenchmarkNumbers) -> bool:
    """Whether a benchmark has numbers to draw against true values; classes have none."""
    return one.with_truth and one.spec.kind == "regression"


def _differences(report: Report) -> Section:
    """Forest plots."""
    tables = []
    for task in _tasks(report):
        tables += [forest_table(task)] if any(run.duels for run in task.runs) else []
        tables += [own_table(task)] if task.own else []
    tables += [table for study in report.studies if (table := arms_table(study)) is not None]
    text = DIFFERENCES if _tasks(report) else ""
    return Section("differences", "Paired differences", text=text, tables=tuple(tables))


def _ties(report: Report) -> Section:
    """Who cannot be told apart."""
    tasks = _tasks(report)
    every = tuple((f"{task.task}: all answers", (place_table(task),)) for task in tasks)
    text = TIES if tasks else ""
    return Section("ties", "Tie groups", text=text, tables=tuple(map(tie_table, tasks)), folded=every)


def _tasks(report: Report) -> list[TaskComparison]:
    """Tasks that were compared with published entries."""
    return [task for comparison in report.comparisons for task in comparison.tasks]


def _strata(report: Report) -> Section:
    """Where answers win and lose, and how honest their uncertainty is."""
    folded = []
    for task in _tasks(report):
        for run in task.runs:
            tables = [strata_table(task, run)] if len(run.strata) else []
            tables += [worst_table(task, run)] if len(run.worst) else []
            folded += [(f"{run.name}, {task.task}: by kind of material", tuple(tables))] if tables else []
    honest = [table for task in _tasks(report) if (table := uncertainty_table(task)) is not None]
    return Section("strata", "Where it wins and loses", tables=tuple(honest), folded=tuple(folded))


def _map(report: Report) -> Section:
    """Maps of vectors."""
    text = "Near one another where the encoder finds crystals alike; distances between far groups mean nothing."
    pictures = [picture for k, one in enumerate(report.maps) for picture in map_pictures(one, f"map{k}x")]
    return Section("map", "Embedding map", text=text, pictures=tuple(pictures))


def _overlap(report: Report) -> Section:
    """What corpora share with test folds."""
    text = (
        "Each crystal counts once, with the closest crystal of the corpus. novel: nothing of its formula; formula: the "
        "same formula, another space group; twin: the same formula and space group; match: the same structure."
    )
    tables = [table for one in report.overlaps for table in overlap_tables(one)]
    return Section("overlap", "Overlap of corpus and test folds", text=text, tables=tuple(tables))


def _cost_section(report: Report) -> Section:
    """Times and memory."""
    return Section("cost", "Cost", tables=(cost_table(report.cards),) if report.cards else ())


def _glossary(report: Report) -> Section:
    """What the words of this page mean."""
    cards = [card for _, cards in report.cards for card in cards]
    arms = dict.fromkeys(card.arm for card in cards)
    metrics = dict.fromkeys(name for card in cards for name in type(card.metrics).model_fields)
    told: list[str] = []
    told += STUDY_INTERVALS if report.studies else ()
    told += COMPARISON_INTERVALS if _tasks(report) else ()
    told += ("± sd",) if report.benchmarks else ()
    told += ("ratio", "95 % interval", "a guess") if report.overlaps else ()
    terms = glossary(arms, metrics=list(metrics), intervals=told)
    return Section("glossary", "Glossary", terms=tuple(terms))


def _cards(report: Report) -> Section:
    """Run cards."""
    text = (
        "Every score above goes back to these cards; one without a card, or with another number there, stops the "
        "report. Intervals, p-values and errors by kind are shown as the studies and comparisons wrote them."
    )
    folded = [(f"{name}: {len(cards)} cards", (card_table(name, cards), common_table(name, cards)))
              for name, cards in report.cards]  # fmt: skip
    return Section("cards", "Run cards", text=text, folded=tuple(folded))


# What a report says first: the answer of each study and each task, with the numbers it rests on.

MOST_PAIRS = 6
"""Pairs of our own answers that the verdict tells one by one."""


def study_answer(study: StudyNumbers) -> KeyFinding:
    """Does pretraining help, in this study?"""
    v = study.verdict
    tone = {"yes": "better", "no": "worse"}.get(v.answer, "open")
    lines = [*v.advice, f"Tested on {v.test_crystals:,} crystals with {v.seeds} seed{'s' if v.seeds > 1 else ''}."]
    about = f"{study.name}: does pretraining help for {v.target}?"
    return KeyFinding(about, v.answer, tone, v.text, tuple(lines), pair_table(study) if v.points else None)


def task_answer(task: TaskComparison) -> KeyFinding:
    """Where our answers stand beside the published ones."""
    best = task.runs[0]
    unit = f" {task.unit}" if task.unit else ""
    by = {finding: [d.other for d in best.duels if d.finding == finding] for finding in ("worse", "tie", "better")}
    folds = f"{len(task.folds)} folds" if len(task.folds) > 1 else f"fold {task.folds[0]} alone"
    place = f"place {best.place.place} of {best.place.of}"
    parts = [f"{best.name} has {task.metric} {_benchmark_score(best, unit)} on {folds}: {place}."]
    if best.duels:
        parts.append(
            f"Of {len(best.duels)} entries compared, beyond doubt better than it: {_names(by['worse'])}; not to be "
            f"told from it: {_names(by['tie'])}; beyond doubt worse: {_names(by['better'])}."
        )
    lines = [f"{run.name}: {_benchmark_score(run, unit)}, place {run.place.to_text()}." for run in task.runs[1:]]
    lines += [*_own_lines(task, unit), *task.notes]
    tone = "better" if best.place.place == 1 else "open"
    return KeyFinding(f"{task.task}: where does it stand?", f"place {best.place.to_text()}", tone, " ".join(parts),
                  tuple(lines))  # fmt: skip


def _benchmark_score(run: RunStanding, unit: str) -> str:
    """'44.41 ± 7.44 meV/atom'."""
    return f"{shown(run.score)}{f' ± {shown(run.std, 3)}' if len(run.fold_scores) > 1 else ''}{unit}"


def _own_lines(task: TaskComparison, unit: str) -> list[str]:
    """Our answers against each other: every pair while they are few, of many those that differ."""
    if len(task.own) <= MOST_PAIRS:
        return [own_sentence(paired, unit) for paired in task.own]
    clear = [paired for paired in task.own if paired.finding != "tie"]
    pairs = [f"{paired.ours} is {paired.finding} than {paired.other}" for paired in clear[:MOST_PAIRS]]
    more = f", and {len(clear) - MOST_PAIRS} more" if len(clear) > MOST_PAIRS else ""
    said = f": {', '.join(pairs)}{more}" if pairs else ""
    return [f"Of {len(task.own)} pairs of our answers {len(clear)} differ beyond doubt{said}."]


def own_sentence(paired: PairedDifference, unit: str) -> str:
    """Two answers of our own beside each other."""
    said = {"better": "is better than", "worse": "is worse than", "tie": "cannot be told from"}[paired.finding]
    return (
        f"{paired.ours} {said} {paired.other}: difference {shown(paired.difference, 3)}{unit} "
        f"({interval(paired.low, paired.high)}), p {p_text(paired.p_holm)} after correction."
    )


def _names(entries: Sequence[str]) -> str:
    """At most six names."""
    rest = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    return ", ".join(entries[:6]) + rest if entries else "none"


def best_first(answers: Sequence[BenchmarkNumbers]) -> list[BenchmarkNumbers]:
    """Answers to one task by their mean score: errors rise, shares of right classes fall."""
    lower = answers[0].spec.kind == "regression"
    return sorted(answers, key=lambda one: one.mean if lower else -one.mean)


def benchmark_answer(task: str, answers: Sequence[BenchmarkNumbers]) -> KeyFinding:
    """The scores of a task without a paired comparison: an order, and no claim that it is real.

    Args:
        task: full name of the task.
        answers: those to it.
    """
    lower, order = answers[0].spec.kind == "regression", best_first(answers)
    # A score of one fold says nothing about a place among those of five.
    most = max(len(one.scores) for one in order)
    best = next(one for one in order if len(one.scores) == most)
    unit = f" {best.spec.unit}" if best.spec.unit else ""
    spread = f" ± {shown(best.std, 3)}" if most > 1 else ""
    text = f"{best.name} has {best.main} {shown(best.mean)}{spread}{unit} on {most} fold{'s' if most > 1 else ''}"
    text += f", the {'lowest' if lower else 'highest'} of {len(answers)} answers." if len(answers) > 1 else "."
    text += (
        " Whether it is really better than others is not said here: no paired comparison is among the folders. The "
        "command compare makes one, with the published entries beside it."
    )
    lines = dict.fromkeys(note for one in order for note in one.spec.notes if len(order) == 1)
    return KeyFinding(
        f"{task}: what was reached?", "not compared", "open", text, tuple(lines), fold_score_table(task, order)
    )


# ``matgl-infomax report``: finished results become one page that a person can read, or a reason why not.

ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}
"""Form of the page by the ending of its file."""


@dataclass(frozen=True, eq=False)
class Report:
    """The numbers of finished results, every score traced to its run card; it shows them as a page."""

    title: str
    studies: tuple[StudyNumbers, ...]
    """Learning curves."""
    benchmarks: tuple[BenchmarkNumbers, ...]
    """Answers to Matbench tasks."""
    comparisons: tuple[LeaderboardComparison, ...]
    """Our answers beside the published ones."""
    overlaps: tuple[OverlapNumbers, ...]
    """What corpora share with test folds."""
    maps: tuple[MapNumbers, ...]
    """Representation studies."""
    created: str
    """When the numbers were read, UTC."""
    version: str
    """Version of this package."""

    @property
    def cards(self) -> list[tuple[str, tuple[RunCard, ...]]]:
        """Run cards by folder."""
        every: list[StudyNumbers | BenchmarkNumbers | MapNumbers] = [*self.studies, *self.benchmarks, *self.maps]
        return [(one.name, one.cards) for one in every]

    def to_frame(self) -> pd.DataFrame:
        """One line per run card: folder, task, arm, labels, fold, seed, and its scores."""
        import pandas as pd

        lines = [
            {"folder": name, "task": card.task, "arm": card.arm, "labels": card.mask.used, "fold": card.fold,
             "seed": card.seed, **card.metrics.model_dump()}
            for name, cards in self.cards for card in cards
        ]  # fmt: skip
        return pd.DataFrame(lines)

    def to_html(self) -> str:
        """One self-contained page: light and dark, printable, nothing loaded from anywhere."""
        return to_html(self)

    def to_markdown(self) -> str:
        """The same without figures, for a README."""
        return to_markdown(self)


def report(folders: Sequence[Path | str], *, truth: Sequence[Path | str] = (), title: str | None = None) -> Report:
    """Read finished results and trace every score to its run card; intervals are taken as they were written.

    Args:
        folders: folders written by ``curve``, ``benchmark``, ``compare``, ``overlap`` or ``represent``, or folders of
            such folders.
        truth: CSV or parquet files with true values (columns id and target), for predictions kept without them.
        title: heading of the page; the names of the folders when left out.

    Raises:
        InputError: If a folder holds no results, a file is damaged, or a number has no run card or another one.
    """
    paths = [Path(folder) for folder in folders]
    found = find_results(paths)
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in MARKS.values()}
    targets = [read_benchmark_spec(one.folder).target for one in by_kind["benchmark"]]
    values = read_truth([Path(file) for file in truth], targets)
    benchmarks = tuple(read_numbers(one.folder, one.name, values) for one in by_kind["benchmark"])
    return Report(
        title=title or "Report on " + ", ".join(path.resolve().name for path in paths),
        studies=tuple(read_study(one.folder, one.name) for one in by_kind["study"]),
        benchmarks=benchmarks,
        comparisons=tuple(read_comparison(one.folder, one.name, benchmarks) for one in by_kind["comparison"]),
        overlaps=tuple(read_overlap(one.folder, one.name, benchmarks) for one in by_kind["overlap"]),
        maps=tuple(read_map(one.folder, one.name) for one in by_kind["map"]),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=str(versions()["packages"]["matgl-infomax"]),
    )


def write_report(settings: ReportConfig) -> Report:
    """Write the page.

    Args:
        settings: folders, form and file.

    Raises:
        InputError: As ``report``, or if the form cannot be told or the file cannot be written.
    """
    form = settings.format or ENDINGS.get(settings.out.suffix.lower())
    if form is None:
        raise InputError(
            f"Cannot tell the form of {settings.out.name}. End the file's name with .html or .md, or give --format."
        )
    made = report(settings.run, truth=settings.truth, title=settings.title)
    atomic_write(settings.out, made.to_html() if form == "html" else made.to_markdown())
    return made


# Which folders hold results, and of which kind: what a report goes through.

MARKS = {
    "curve.csv": "study",
    "verdict.json": "study",
    "benchmark.json": "benchmark",
    "comparison.json": "comparison",
    "overlap.json": "overlap",
    "map.csv": "map",
}
"""The file by which a folder is known, and what it then holds."""
DEPTH = 3
"""Folders inside folders that are gone through."""
INNER = {"runs", "fits", "folds", "pretrained"}
"""Folders that belong to a result and hold none."""


@dataclass(frozen=True)
class Found:
    """A folder with results."""

    kind: str
    folder: Path
    name: str
    """What the report calls it; unique."""


def find_results(folders: Sequence[Path]) -> list[Found]:
    """Go through folders and what is in them, in the order they are given and then of names.

    Args:
        folders: folders with results, or folders of such folders.

    Raises:
        InputError: If a folder is missing, or nothing is found at all.
    """
    found: dict[tuple[str, Path], str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no such folder. Received: {folder}.")
        for inner in _inside(folder, DEPTH):
            kinds = dict.fromkeys(kind for mark, kind in MARKS.items() if (inner / mark).is_file())
            own = inner.relative_to(folder).as_posix()
            for kind in kinds:
                found.setdefault((kind, inner.resolve()), inner.resolve().name if own == "." else own)
    if not found:
        given = ", ".join(map(str, folders))
        raise InputError(
            f"There is nothing to report on. Received: {given}. Give folders written by `matgl-infomax curve`, "
            "`benchmark`, `compare`, `overlap` or `represent`."
        )
    names = list(found.values())
    return [
        Found(kind, folder, name if names.count(name) == 1 else f"{folder.parent.name}/{folder.name}")
        for (kind, folder), name in found.items()
    ]


def _inside(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it."""
    yield folder
    if depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith(".") and inner.name not in INNER:
                yield from _inside(inner, depth - 1)
