"""The page of a report, section by section, and how it becomes HTML or Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from matgl_infomax.leaderboard import report_standing_tables as compared
from matgl_infomax.leaderboard.report_cost import card_table, common_table, cost_table
from matgl_infomax.leaderboard.report_figure import Picture, arm_colours
from matgl_infomax.leaderboard.report_overlap import overlap_tables
from matgl_infomax.leaderboard.report_plots import curve_picture, map_pictures, parity_picture
from matgl_infomax.leaderboard.report_table import Table
from matgl_infomax.leaderboard.report_verdict import (
    Answer,
    benchmark_answer,
    best_first,
    score_table,
    study_answer,
    task_answer,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from matgl_infomax.leaderboard.comparison import TaskComparison
    from matgl_infomax.leaderboard.report import Report
    from matgl_infomax.leaderboard.report_benchmark import BenchmarkNumbers

PARITY_ARMS = 2
"""Arms of a study whose predictions are drawn: the pretrained one and the baseline."""


@dataclass(frozen=True)
class Section:
    """A part of the page; parts without anything to show are not made."""

    key: str
    title: str
    text: str = ""
    answers: tuple[Answer, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    rules: tuple[str, ...] = ()
    """By what the answers were found."""
    folded: tuple[tuple[str, tuple[Table, ...]], ...] = ()
    """Tables that open on demand, by the line that opens them."""

    @property
    def filled(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.answers or self.pictures or self.tables or self.folded)


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
    return [part for part in [*parts, _overlap(report), _cost(report), _cards(report)] if part.filled]


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
    return (files("matgl_infomax.leaderboard") / "templates" / name).read_text(encoding="utf-8")


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
    return Section("verdict", "Verdict", answers=tuple(answers), rules=tuple(rules))


def _by_task(report: Report) -> Iterator[tuple[str, list[BenchmarkNumbers]]]:
    """Benchmarks by task."""
    for task in dict.fromkeys(one.asked.task for one in report.benchmarks):
        yield task, [one for one in report.benchmarks if one.asked.task == task]


def _scores(report: Report) -> Section:
    """Scores of the tasks whose answer is a place; those of others stand with their answer."""
    known = {task.task for task in _tasks(report)}
    tables = [score_table(task, best_first(part)) for task, part in _by_task(report) if task in known]
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
        for arm in [name for name in dict.fromkeys([v.baseline, v.arm]) if name in colours][:PARITY_ARMS]:
            part = table[(table["arm"] == arm) & (table["labels"] == most)]
            what = f"{study.name}, {arm} at {most} labels, {part['seed'].nunique()} seeds"
            found.append((part, what, v.target, v.unit, colours[arm]))
    for one in report.benchmarks:
        if _drawable(one):
            arm = next(iter(arm_colours([one.asked.arm]).values()))
            found.append((one.predictions, one.name, one.asked.target, one.asked.unit, arm))
    pictures = [
        parity_picture(part["target"].to_numpy(dtype=float), part["prediction"].to_numpy(dtype=float), what=what,
                       target=target, unit=unit, arm=arm, key=f"parity{k}")
        for k, (part, what, target, unit, arm) in enumerate(found)
    ]  # fmt: skip
    return Section("parity", "Predictions against true values", pictures=tuple(pictures))


def _drawable(one: BenchmarkNumbers) -> bool:
    """Whether a benchmark has numbers to draw against true values; classes have none."""
    return one.with_truth and one.asked.kind == "regression"


def _differences(report: Report) -> Section:
    """Forest plots."""
    tables = []
    for task in _tasks(report):
        tables += [compared.forest_table(task)] if any(run.duels for run in task.runs) else []
        tables += [compared.own_table(task)] if task.own else []
    tables += [table for study in report.studies if (table := compared.arms_table(study)) is not None]
    text = compared.DIFFERENCES if _tasks(report) else ""
    return Section("differences", "Paired differences", text=text, tables=tuple(tables))


def _ties(report: Report) -> Section:
    """Who cannot be told apart."""
    tasks = _tasks(report)
    every = tuple((f"{task.task}: all answers", (compared.place_table(task),)) for task in tasks)
    text = compared.TIES if tasks else ""
    return Section("ties", "Tie groups", text=text, tables=tuple(map(compared.tie_table, tasks)), folded=every)


def _tasks(report: Report) -> list[TaskComparison]:
    """Tasks that were compared with published entries."""
    return [task for comparison in report.comparisons for task in comparison.tasks]


def _strata(report: Report) -> Section:
    """Where answers win and lose, and how honest their uncertainty is."""
    folded = []
    for task in _tasks(report):
        for run in task.runs:
            tables = [compared.strata_table(task, run)] if len(run.strata) else []
            tables += [compared.worst_table(task, run)] if len(run.worst) else []
            folded += [(f"{run.name}, {task.task}: by kind of material", tuple(tables))] if tables else []
    honest = [table for task in _tasks(report) if (table := compared.calibration_table(task)) is not None]
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


def _cost(report: Report) -> Section:
    """Times and memory."""
    return Section("cost", "Cost", tables=(cost_table(report.cards),) if report.cards else ())


def _cards(report: Report) -> Section:
    """Run cards."""
    text = (
        "Every score above goes back to these cards; one without a card, or with another number there, stops the "
        "report. Intervals, p-values and errors by kind are shown as the studies and comparisons wrote them."
    )
    folded = [(f"{name}: {len(cards)} cards", (card_table(name, cards), common_table(name, cards)))
              for name, cards in report.cards]  # fmt: skip
    return Section("cards", "Run cards", text=text, folded=tuple(folded))
