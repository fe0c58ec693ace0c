"""``matgl-infomax report``: finished results become one page that a person can read, or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_infomax.config_tasks import ReportConfig
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.comparison import LeaderboardComparison
from matgl_infomax.leaderboard.report_benchmark import BenchmarkNumbers, read_numbers, read_truth
from matgl_infomax.leaderboard.report_find import MARKS, find_results
from matgl_infomax.leaderboard.report_map import MapNumbers, read_map
from matgl_infomax.leaderboard.report_overlap import OverlapNumbers, read_overlap
from matgl_infomax.leaderboard.report_standing import read_comparison
from matgl_infomax.leaderboard.report_study import StudyNumbers, read_study
from matgl_infomax.leaderboard.results import read_asked
from matgl_infomax.record import RunCard, versions

if TYPE_CHECKING:
    import pandas as pd

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
        from matgl_infomax.leaderboard.report_page import to_html

        return to_html(self)

    def to_markdown(self) -> str:
        """The same without figures, for a README."""
        from matgl_infomax.leaderboard.report_page import to_markdown

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
    targets = [read_asked(one.folder).target for one in by_kind["benchmark"]]
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
