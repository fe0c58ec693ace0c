"""The report on what a pretraining corpus and the test folds of a task share, and what it did to the scores."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgl_infomax.io import atomic_write
from matgl_infomax.record import peak_memory_mb, versions
from matgl_infomax.settings.commands import OverlapConfig
from matgl_infomax.tasks.matbench.task import Task, load_task
from matgl_infomax.tasks.overlap import Overlap, find_overlap
from matgl_infomax.tasks.overlap_jobs import structures_sha256
from matgl_infomax.tasks.overlap_scores import Scored, read_scored, score_table
from matgl_infomax.tasks.overlap_tables import crystal_table, fold_table
from matgl_infomax.tasks.overlap_text import report_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class OverlapReport:
    """What a corpus and the test folds of a task share."""

    overlap: Overlap
    """Every crystal of the task, in official order, against the corpus."""
    crystals: pd.DataFrame
    """One line per crystal of the task: id, fold whose test part it is in, level, and by level the number of corpus
    crystals that share just this much with it."""
    folds: pd.DataFrame
    """One line per test fold and one for all: crystals by level, and corpus crystals by level."""
    scores: pd.DataFrame
    """One line per benchmark and kind of crystal; empty without benchmarks."""
    text: str
    """The report in Markdown."""

    def to_text(self) -> str:
        """The report to read."""
        return self.text


def overlap_report(settings: OverlapConfig, *, progress: bool = True) -> OverlapReport:
    """Compare a corpus with the test folds of a task, split the scores of benchmarks, and write it all down.

    The folder gets ``summary.md``, ``folds.csv``, ``crystals.csv``, ``pairs.parquet``, ``overlap.png``,
    ``overlap.json`` and, with benchmarks, ``scores.csv``.

    Args:
        settings: corpus, task, benchmarks and folder.
        progress: show bars.

    Raises:
        InputError: If the corpus, the task's data or a benchmark cannot be read, a benchmark is of another task, or
            the folder cannot be written.
    """
    from matgl_infomax.data.read import read_data
    from matgl_infomax.tasks.matbench.data import task_crystals
    from matgl_infomax.tasks.overlap_plot import plot_overlap

    task, name = load_task(settings.task), Path(settings.data).name
    # First what is quick: a benchmark of another task is refused before the long reading.
    scored = [read_scored(folder, task) for folder in settings.scores]
    crystals = task_crystals(task, settings.data_dir, settings.cache, progress=progress)
    corpus = read_data(settings)
    started = time.perf_counter()
    overlap = find_overlap(crystals, corpus, workers=settings.workers, progress=progress, cache=settings.cache)
    facts = {
        "task": task.card.name,
        "task_structures_sha256": structures_sha256(crystals),
        "corpus": name,
        "corpus_structures_sha256": structures_sha256(corpus),
        "corpus_crystals": len(corpus),
        "corpus_left_out": len(corpus.bad),
        "levels": overlap.counts(),
        "corpus_levels": overlap.corpus_counts(),
        "pairs": len(overlap.pairs),
        "undecided": overlap.undecided,
        "no_space_group": overlap.no_space_group,
        "benchmarks": [benchmark.name for benchmark in scored],
        "workers": settings.workers,
        "seconds": time.perf_counter() - started,
        "peak_memory_mb": peak_memory_mb(),
        "versions": versions(),
        "spglib": version("spglib"),
    }
    report = make_report(task, crystals.ids, overlap, scored, name)
    _write(settings.out, report, facts)
    plot_overlap(report.folds, report.scores, settings.out / "overlap.png", task=task, corpus=name)
    return report


def make_report(task: Task, ids: Sequence[str], overlap: Overlap, scored: Sequence[Scored], name: str) -> OverlapReport:
    """Tables and text of an overlap.

    Args:
        task: the task.
        ids: names of all its crystals, in official order, (n,).
        overlap: they against the corpus.
        scored: benchmarks of the task.
        name: what the corpus is called.
    """
    crystals = crystal_table(ids, task, overlap)
    folds = fold_table(crystals, overlap)
    scores = score_table(scored, task, overlap.level)
    text = report_text(task, name, len(overlap.corpus_level), overlap, folds, scores)
    return OverlapReport(overlap, crystals, folds, scores, text)


def _write(out: Path, report: OverlapReport, facts: dict[str, Any]) -> None:
    """All files but the picture."""
    buffer = io.BytesIO()
    report.overlap.pairs.to_parquet(buffer, index=False)
    atomic_write(out / "pairs.parquet", buffer.getvalue())
    atomic_write(out / "crystals.csv", report.crystals.to_csv(index=False))
    atomic_write(out / "folds.csv", report.folds.to_csv(index=False))
    if len(report.scores):
        atomic_write(out / "scores.csv", report.scores.to_csv(index=False))
    else:
        (out / "scores.csv").unlink(missing_ok=True)  # of an earlier report
    atomic_write(out / "overlap.json", json.dumps(facts, indent=1) + "\n")
    atomic_write(out / "summary.md", report.text + "\n")
