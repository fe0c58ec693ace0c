"""The commands that ask questions of a model; ``cli.py`` lists them beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matgl_infomax import config_tasks


def curve(settings: config_tasks.CurveConfig) -> None:
    """Ask whether pretraining helps: a learning curve with a verdict."""
    from matgl_infomax.cli import read_data
    from matgl_infomax.tasks.curve import learning_curve
    from matgl_infomax.tasks.matbench import load_task
    from matgl_infomax.tasks.study_files import OFFICIAL, resolved, with_study
    from matgl_infomax.tasks.task_data import task_crystals

    settings = resolved(with_study(settings))
    if settings.data == OFFICIAL:
        crystals = task_crystals(load_task(str(settings.task)), settings.data_dir, settings.cache)
    else:
        crystals = read_data(settings)
    result = learning_curve(crystals, settings.target[0], settings)
    print(f"{result.to_markdown()}\n\nPlot: {settings.out / 'curve.png'}\nVerdict: {result.verdict.text}")


def benchmark(settings: config_tasks.BenchmarkConfig) -> None:
    """Answer a Matbench task on its official folds."""
    from matgl_infomax.tasks.benchmark import benchmark as run

    print(run(settings).to_text())


def force_study(settings: config_tasks.ForceStudyConfig) -> None:
    """Ask whether pretraining helps force fields: six elements, few frames to all, pretrained against scratch."""
    from matgl_infomax.tasks.force_study import force_study as run

    print(run(settings).to_text())


def overlap(settings: config_tasks.OverlapConfig) -> None:
    """Compare a corpus with the test folds of a task: same formula, twin, same structure."""
    from matgl_infomax.tasks.overlap_report import overlap_report

    print(overlap_report(settings).to_text())


def represent(settings: config_tasks.RepresentConfig) -> None:
    """Ask what frozen vectors know: simple heads on them, beside untrained encoders and descriptors."""
    from matgl_infomax.cli import read_data
    from matgl_infomax.tasks.represent import represent as run

    print(run(read_data(settings), settings).to_text())


def probe(settings: config_tasks.ProbeConfig) -> None:
    """Ask what site and crystal vectors know of structure, beside untrained encoders and composition alone."""
    from matgl_infomax.cli import read_data
    from matgl_infomax.tasks.probe_study import probe as run

    print(run(read_data(settings), settings).to_text())


def submit(settings: config_tasks.SubmitConfig) -> None:
    """Turn finished benchmarks into a folder that Matbench accepts."""
    from matgl_infomax.leaderboard.submit import submit as run

    print(run(settings).to_text())


def report(settings: config_tasks.ReportConfig) -> None:
    """Turn finished results into one page to read: verdict, figures, tables, run cards."""
    from matgl_infomax.leaderboard.report import write_report

    made = write_report(settings)
    print(f"{len(made.cards)} folders, {sum(len(cards) for _, cards in made.cards)} run cards. Page: {settings.out}")


def compare(settings: config_tasks.CompareConfig) -> None:
    """Compare finished benchmarks or submissions with the published leaderboard, material by material."""
    from matgl_infomax.leaderboard.against import compare_with_published

    result = compare_with_published(settings)
    print(result.to_markdown(details=False))
    if settings.out is not None:
        print(f"\nWith strata, largest errors and uncertainty: {settings.out / 'comparison.md'}")
