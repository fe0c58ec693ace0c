"""Answer a Matbench task on its official folds: predictions per crystal, scores, run cards, uncertainties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matgl_infomax.io import atomic_write, sweep_drafts
from matgl_infomax.leaderboard.results import ASKED, PREDICTIONS, SCORES_FILE, BenchmarkResult, score_table
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.benchmark_ensemble import calibration_table, put_together, reading_notes
from matgl_infomax.tasks.benchmark_plan import Bench, plan_benchmark, prepare_benchmark, settle_benchmark
from matgl_infomax.tasks.benchmark_rates import RateTrials, found_rates
from matgl_infomax.tasks.engine import carry_out_all, settings_of, take_folder, write_table
from matgl_infomax.tasks.matbench.data import task_crystals
from matgl_infomax.tasks.matbench.task import load_task

if TYPE_CHECKING:
    from matgl_infomax.data.read import Crystals
    from matgl_infomax.tasks.matbench.task import Task


def benchmark(config: BenchmarkConfig | None = None, *, progress: bool = True, **options: Any) -> BenchmarkResult:
    """Answer a Matbench task: one model per official fold and seed, each test part predicted once.

    Learning rate and number of steps are chosen on labels held out of the training part, in the same way for every
    arm. A benchmark that was stopped goes on where it was when called again with the same folder; folds and seeds may
    be added later, other settings in the same folder are refused.

    Args:
        config: what is asked; or give its fields as ``options``, such as ``task="jdft2d", out="answer"``.
        progress: show bars.
        options: fields of ``BenchmarkConfig``, instead of ``config``.

    Returns:
        The finished folds; all files are in the folder ``out``.

    Raises:
        InputError: If anything asked for is not there or makes no sense, the data are not the official ones, or the
            folder holds another benchmark or cannot be written.
        KeyboardInterrupt: After Ctrl-C; finished models are kept.
    """
    config = settings_of(BenchmarkConfig, config, options)
    task = load_task(config.task)
    config = settle_benchmark(config, task.card)
    crystals = task_crystals(task, config.data_dir, config.cache, progress=progress)
    return answer(task, crystals, config, progress=progress)


def answer(task: Task, crystals: Crystals, config: BenchmarkConfig, *, progress: bool = True) -> BenchmarkResult:
    """Answer a task whose data are at hand.

    Args:
        task: card and folds.
        crystals: the complete data of the task, in official order.
        config: settings as ``settle_benchmark`` returns them.
        progress: show bars.

    Raises:
        InputError: As ``benchmark``.
    """
    bench = plan_benchmark(task, crystals, config)
    take_folder(bench)
    for folder in ("", RateTrials.folder):
        sweep_drafts(config.out / folder)
    atomic_write(config.out / ASKED, bench.asked().model_dump_json(indent=1) + "\n")
    bench = prepare_benchmark(bench, crystals, progress=progress)
    if bench.choosing:
        trials = RateTrials.of(bench)
        carry_out_all(trials, progress=progress)
        for fold in trials.folds:
            found_rates(bench, fold)  # where no rate was stable, no model of any fold is trained
    carry_out_all(bench, progress=progress)
    return collect_benchmark(bench)


def collect_benchmark(bench: Bench) -> BenchmarkResult:
    """Put the finished runs together and write the tables.

    Raises:
        InputError: If a run's files are missing or damaged, or a table cannot be written.
    """
    import pandas as pd

    out, asked, cards = bench.config.out, bench.asked(), bench.collect_cards()
    folds = [put_together(bench, fold) for fold in bench.parts]
    predictions = pd.concat([fold.table for fold in folds], ignore_index=True)
    asked = asked.model_copy(update={"notes": [*asked.notes, *reading_notes(bench, folds, cards)]})
    result = BenchmarkResult(asked, predictions, score_table(predictions, bench.card.kind), cards)
    write_table(out / PREDICTIONS, predictions)
    atomic_write(out / SCORES_FILE, result.scores.to_csv(index=False))
    atomic_write(out / ASKED, result.asked.model_dump_json(indent=1) + "\n")
    if bench.calibrated:
        atomic_write(out / "calibration.csv", calibration_table(folds).to_csv(index=False))
    atomic_write(out / "summary.md", f"# {bench.card.name}, {bench.arm}\n\n{result.to_text()}\n")
    return result
