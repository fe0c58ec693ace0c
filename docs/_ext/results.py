"""Numbers of the site come from the files in leaderboard/results: each stands in one place, and its file is named.

Directives: ``results-study`` (a learning curve), ``results-headline`` (scratch, pretrained and descriptors of several
studies), ``results-section`` (a part of a study's own page), ``results-tables`` (those of a page that a command wrote),
``results-csv``. The role ``ratio`` quotes one error ratio with its interval.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from pages import outside_code, write_page
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole

from matgl_infomax.errors import InputError
from matgl_infomax.io import check_results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "leaderboard" / "results"


def read(name: str) -> str:
    """A file of the results, as it was written.

    Args:
        name: path below leaderboard/results.
    """
    file = RESULTS / name
    try:
        if file.name != "README.md":  # people write on it; no command made it
            check_results(file.parent, [file.name])
        return file.read_text(encoding="utf-8")
    except InputError as error:
        raise ExtensionError(str(error)) from error
    except OSError as error:
        raise ExtensionError(f"leaderboard/results/{name} cannot be read: {error.strerror}") from error


def verdict(folder: str) -> dict[str, Any]:
    """The verdict of a study, as its file holds it."""
    found: dict[str, Any] = json.loads(read(f"{folder}/verdict.json"))
    return found


def comparison(folder: str, arm: str, labels: int, against: str = "scratch") -> dict[str, Any]:
    """One arm against another at one number of labels.

    Args:
        folder: a study below leaderboard/results.
        arm: whose error is above the line of the ratio.
        labels: number of labels.
        against: whose error is below it.
    """
    found = verdict(folder)
    for point in [*found["points"], *found["others"]]:
        if (point["arm"], point["labels"], point["against"]) == (arm, labels, against):
            return dict(point)
    raise ExtensionError(
        f"leaderboard/results/{folder}/verdict.json compares no {arm} with {against} at {labels} labels"
    )


def interval(point: dict[str, Any]) -> str:
    """A ratio with its 95 % interval."""
    return f"{point['ratio']:.3f} ({point['ratio_low']:.3f}–{point['ratio_high']:.3f})"


def tables(markdown: str) -> list[list[str]]:
    """The tables of a page, each as its lines."""
    blocks = re.findall(r"(?:^\|.*\n?)+", markdown, re.MULTILINE)
    return [block.strip().splitlines() for block in blocks]


class Generated(SphinxDirective):
    """Base: Markdown that is written while the site is built, and the file it comes from."""

    has_content = False
    required_arguments = 1
    final_argument_whitespace = True

    def markdown(self) -> Iterator[str]:
        """Lines of the page."""
        raise NotImplementedError

    def sources(self) -> list[str]:
        """Files below leaderboard/results that the lines come from."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines as if they stood on the page."""
        for name in self.sources():
            self.env.note_dependency(str(RESULTS / name))
        lines = [*self.markdown(), "", self._source_line()]
        place = nodes.container(classes=["numbers"])
        self.state.nested_parse(StringList(lines, source=self.env.docname), 0, place)
        place.children[-1]["classes"].append("source")
        return [place]

    def _source_line(self) -> str:
        """Where the numbers come from."""
        return f"From {' and '.join(f'`leaderboard/results/{name}`' for name in self.sources())}{self.note()}."

    def note(self) -> str:
        """What belongs to the numbers besides their file."""
        return ""


class Study(Generated):
    """The tables and the verdict of one learning-curve study."""

    option_spec: ClassVar[dict[str, Any]] = {"verdict": directives.flag}

    def sources(self) -> list[str]:
        """Table and verdict."""
        return [f"{self.arguments[0]}/summary.md", f"{self.arguments[0]}/verdict.json"]

    def note(self) -> str:
        """Seeds and test crystals."""
        found = verdict(self.arguments[0])
        return f"; {found['seeds']} seeds, {found['test_crystals']:,} test crystals"

    def markdown(self) -> Iterator[str]:
        """Unit, tables, and the verdict where it is asked for."""
        found = verdict(self.arguments[0])
        unit = found["unit"] or "the unit of the labels"
        yield from (f"Mean absolute error of `{found['target']}` in {unit}, mean ± standard deviation over seeds:", "")
        for table in tables(read(f"{self.arguments[0]}/summary.md")):
            yield from (*table, "")
        if "verdict" in self.options:
            yield from (f"**Verdict.** {found['text']}", "")


class Headline(Generated):
    """Scratch, pretrained and what one would use instead, row by row over several studies."""

    option_spec: ClassVar[dict[str, Any]] = {"arm": directives.unchanged_required, "instead": directives.unchanged}

    def sources(self) -> list[str]:
        """The verdict of each study."""
        return [f"{folder}/verdict.json" for folder in self.arguments[0].split()]

    def note(self) -> str:
        """Seeds of all studies, where they agree."""
        seeds = sorted({verdict(folder)["seeds"] for folder in self.arguments[0].split()})
        return f"; {' or '.join(map(str, seeds))} seeds"

    def markdown(self) -> Iterator[str]:
        """One line per number of labels."""
        folders, arm = self.arguments[0].split(), self.options.get("arm", "")
        instead = self.options.get("instead", "descriptors")
        unit = verdict(folders[0])["unit"] or "unit of the labels"
        yield f"| labels | scratch, {unit} | pretrained | extra trees | pretrained / scratch (95 %) |"
        yield "| ---: | ---: | ---: | ---: | --- |"
        for folder in folders:
            found = verdict(folder)
            for point in found["points"]:
                if arm and point["arm"] != arm:
                    continue
                other = comparison(folder, instead, point["labels"])
                yield (
                    f"| {point['labels']:,} | {point['against_mae']:#.4g} | {point['mae']:#.4g} | {other['mae']:#.4g} "
                    f"| {interval(point)} |"
                )


class Section(Generated):
    """One part of the page that a study wrote about itself, word for word."""

    option_spec: ClassVar[dict[str, Any]] = {"section": directives.unchanged_required, "tables": directives.flag}

    def sources(self) -> list[str]:
        """The page."""
        return [self.arguments[0]]

    def markdown(self) -> Iterator[str]:
        """The lines below the heading, or their tables alone."""
        wanted, text = self.options["section"], read(self.arguments[0])
        found = re.search(rf"^(#+) {re.escape(wanted)}\n(.*?)(?=^#{{1,4}} |\Z)", text, re.DOTALL | re.MULTILINE)
        if found is None:
            raise ExtensionError(f"leaderboard/results/{self.arguments[0]} has no section {wanted!r}")
        body = unlinked(found.group(2))
        if "tables" in self.options:
            for table in tables(body):
                yield from (*table, "")
        else:
            yield from body.splitlines()


class Tables(Generated):
    """The tables of a page that a command wrote, all or the first few."""

    option_spec: ClassVar[dict[str, Any]] = {"first": directives.positive_int}

    def sources(self) -> list[str]:
        """The page."""
        return [self.arguments[0]]

    def markdown(self) -> Iterator[str]:
        """The tables, one after the other."""
        found = tables(read(self.arguments[0]))
        for table in found[: self.options.get("first", len(found))]:
            yield from (*table, "")


class Csv(Generated):
    """A table of a CSV file."""

    option_spec: ClassVar[dict[str, Any]] = {"columns": directives.unchanged}

    def sources(self) -> list[str]:
        """The file."""
        return [self.arguments[0]]

    def markdown(self) -> Iterator[str]:
        """All rows, all or some columns."""
        rows = list(csv.DictReader(read(self.arguments[0]).splitlines()))
        columns = self.options.get("columns", "").split() or list(rows[0])
        yield f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"
        yield f"|{' --- |' * len(columns)}"
        for row in rows:
            yield f"| {' | '.join(rounded(row[name]) for name in columns)} |"


def rounded(cell: str) -> str:
    """A cell of a table; a number with more than four decimals is rounded to four significant digits."""
    return f"{float(cell):#.4g}" if re.fullmatch(r"-?\d+\.\d{5,}(?:e-?\d+)?", cell) else cell


def unbroken(line: str) -> str:
    """A line of a table in which a number stays on one line with its spread or its interval."""
    if not line.startswith("|"):
        return line
    return re.sub(r"(?<=\d)–(?=\d)", "–\u2060", line.replace(" ± ", "\u00a0±\u00a0"))


def unlinked(markdown: str) -> str:
    """Text of a page of the results without its pictures, its links as plain words."""
    without = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", markdown)
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]*\)", r"\1", without)


class Ratio(SphinxRole):
    """``{ratio}`folder arm labels``` quotes an error ratio against scratch, or against a fourth word."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The ratio as text; its file is told by the page's title on hovering."""
        folder, arm, labels, *against = self.text.split()
        point = comparison(folder, arm, int(labels), *against)
        self.env.note_dependency(str(RESULTS / folder / "verdict.json"))
        return [nodes.inline(text=interval(point), classes=["quoted"])], []


def relinked(text: str, name: str) -> str:
    """Links of a study's own page made fit for the site; numbers in its tables stay on one line.

    Args:
        text: prose of the page.
        name: folder of the study.
    """
    text = re.sub(r"(!\[[^\]]*\]\()([^)]+)\)", rf"\g<1>{name}/\g<2>)", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./(\w+)/README\.md(?:#[\w-]+)?\)", r"[\1](\2.md)", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!http|\w+\.md\))[^)]*\)", r"\1", text)
    return "".join(map(unbroken, text.splitlines(keepends=True)))


def write_records(app: Sphinx) -> None:
    """Each study's own page, its pictures beside it, for the part of the site that keeps records."""
    folder = Path(app.srcdir) / "generated" / "records"
    for page in sorted(RESULTS.glob("*/README.md")):
        name = page.parent.name
        text = page.read_text(encoding="utf-8")
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            copy = folder / name / picture
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((page.parent / picture).read_bytes())
        text = outside_code(text, partial(relinked, name=name))
        heading, _, rest = text.partition("\n")
        source = f"*Record of a study, as it stands in `leaderboard/results/{name}/README.md`.*"
        write_page(folder / f"{name}.md", f"---\norphan: true\n---\n{heading}\n\n{source}\n{rest}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register directives and the role."""
    for directive in (Study, Headline, Section, Tables, Csv):
        app.add_directive(f"results-{directive.__name__.lower()}", directive)
    app.add_role("ratio", Ratio())
    app.connect("builder-inited", write_records, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
