"""Answer a Matbench task on its official folds: predictions per crystal, scores, run cards, uncertainties."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS, atomic_write, csv_text, sweep_drafts, vouch_for
from matgl_infomax.leaderboard.results import (
    CALIBRATION,
    COLUMNS,
    PREDICTIONS,
    SCORES_FILE,
    SPEC_FILE,
    SUMMARY,
    VOUCHED,
    BenchmarkResult,
    failed_notes,
    score_table,
)
from matgl_infomax.record import RunCard, read_card
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.matbench.data import task_crystals
from matgl_infomax.tasks.matbench.task import load_task
from matgl_infomax.tasks.studies.benchmark_grid import (
    TRAINED,
    Bench,
    BenchmarkRun,
    RateTrials,
    found_rates,
    plan_benchmark,
    prepare_benchmark,
    settle_benchmark,
)
from matgl_infomax.tasks.studies.engine import carry_out_all, settings_of, take_folder, write_table
from matgl_infomax.train.ensemble import Calibration, calibrate, combine, interval_width

if TYPE_CHECKING:
    import pandas as pd

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
    if not (config.out / SUMS).is_file():  # else folds that are finished can be read while others are added
        atomic_write(config.out / SPEC_FILE, bench.spec().model_dump_json(indent=1) + "\n")
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

    out = bench.config.out
    spec = bench.spec()
    cards = bench.collect_cards()
    folds = [put_together(bench, fold) for fold in bench.parts]
    predictions = pd.concat([fold.table for fold in folds], ignore_index=True)
    spec = spec.model_copy(update={"notes": [*spec.notes, *reading_notes(bench, folds, cards)]})
    result = BenchmarkResult(spec, predictions, score_table(predictions, bench.card.kind), cards)
    write_table(out / PREDICTIONS, predictions)
    atomic_write(out / SCORES_FILE, csv_text(result.scores))
    atomic_write(out / SPEC_FILE, result.spec.model_dump_json(indent=1) + "\n")
    if bench.calibrated:
        atomic_write(out / CALIBRATION, csv_text(fold_calibration_table(folds)))
    atomic_write(out / SUMMARY, f"# {bench.card.name}, {bench.arm}\n\n{result.to_text()}\n")
    vouch_for(out, VOUCHED)
    return result


# The models of a fold predict together: their mean, and their spread as an uncertainty that can be trusted.

METHOD, COVERAGE = "gaussian", 0.9
"""How the factor on the spread is fitted, and the share of crystals on which it is checked."""


@dataclass(frozen=True)
class Fold:
    """The predictions of one fold."""

    fold: int
    table: pd.DataFrame
    """One line per test crystal: id, fold, target, prediction, std."""
    calibration: Calibration | None
    """Factor of the uncertainty; None with one model, and for classes."""

    @property
    def covered(self) -> float:
        """Share of test crystals inside the intervals that were to hold ``COVERAGE`` of them."""
        error = (self.table["prediction"] - self.table["target"]).abs()
        return float((error <= interval_width(COVERAGE) * self.table["std"]).mean())


def put_together(bench: Bench, fold: int) -> Fold:
    """Mean and uncertainty of the predictions of the models of a fold, without those of dead networks.

    Args:
        bench: the benchmark, this fold finished.
        fold: number of the fold.

    Returns:
        The fold; where all networks are dead, their mean stands there. Its ``std`` is NaN with one living model, the
        plain spread of probabilities for classes, and for numbers the spread times a factor fitted on labels that none
        of the models was trained on.

    Raises:
        InputError: If a run's file is missing or damaged.
    """
    import pandas as pd

    files = [bench.files(BenchmarkRun(fold, seed)) for seed in bench.seeds]
    cards = [read_card(file.card) for file in files]
    files = [file for file, card in zip(files, cards, strict=True) if not card.dead] or files
    first, members = _members([file.predictions for file in files])  # (M, n)
    mean, std = combine(members) if len(files) > 1 else (members[0], np.full(len(first), np.nan))
    calibration = None
    if bench.calibrated and len(files) > 1:
        aside, held_out = _members([file.held_out for file in files])  # (M, v)
        calibration = calibrate(aside["target"].to_numpy(), held_out, METHOD, COVERAGE)
        std = calibration.std(std)
    known = {"id": first["id"], "fold": fold, "target": first["target"]}
    table = pd.DataFrame({**known, "prediction": mean, "std": std}, columns=list(COLUMNS))
    return Fold(fold, table, calibration)


def fold_calibration_table(folds: Sequence[Fold]) -> pd.DataFrame:
    """One line per fold: factor and floor of the uncertainty, and the coverage meant, held-out, without factor, test.

    Args:
        folds: finished folds of an ensemble.
    """
    import pandas as pd

    lines = [
        {
            "fold": fold.fold,
            "factor": known.factor,
            "floor": known.floor,
            "held_out_labels": known.n,
            "coverage": known.coverage,
            "coverage_held_out": known.observed,
            "coverage_without_factor": known.unscaled,
            "coverage_test": fold.covered,
        }
        for fold in folds
        if (known := fold.calibration) is not None
    ]
    return pd.DataFrame(lines)


def reading_notes(bench: Bench, folds: Sequence[Fold], cards: Sequence[RunCard]) -> list[str]:
    """What a reader of the scores has to know: rates chosen, weights started from, how far to trust the uncertainty.

    Args:
        bench: the benchmark.
        folds: its finished folds.
        cards: all run cards.
    """
    of_fold = {card.fold: card for card in cards if card.seed == bench.seed}
    notes = failed_notes(cards)
    if bench.choosing:
        best = {
            fold: min(card.tried, key=lambda tried: _error(tried.mae, tried.log_loss)) for fold, card in of_fold.items()
        }
        rates = ", ".join(f"{tried.learning_rate:g} (fold {fold})" for fold, tried in best.items())
        notes.append(f"Learning rates chosen on held-out labels: {rates}.")
    facts = {
        fold: ", ".join(f"{name} {value}" for name, value in card.initial.facts.items())
        for fold, card in of_fold.items()
    }
    for text in dict.fromkeys(filter(None, facts.values())):
        where = ", ".join(str(fold) for fold, own in facts.items() if own == text)
        notes.append(f"Weights that fold {where} started from: {text}.")
    if bench.calibrated:
        notes.append(_uncertainty(bench, folds))
    elif len(bench.seeds) > 1:
        notes.append("std is the plain spread of the models' probabilities: a class of 0 or 1 has no interval.")
    return notes


def _error(mae: float | None, log_loss: float | None) -> float:
    """What learning rates were compared by; infinite where the training diverged."""
    found = log_loss if mae is None else mae
    return float("inf") if found is None else found


def _uncertainty(bench: Bench, folds: Sequence[Fold]) -> str:
    """How std was made, and how often it was right."""
    folds = [fold for fold in folds if fold.calibration is not None]
    if not folds:
        return "std is missing: in no fold are two networks alive."
    sizes = [len(fold.table) for fold in folds]
    covered = float(np.average([fold.covered for fold in folds], weights=sizes))
    factors = ", ".join(f"{fold.calibration.factor:.2f}" for fold in folds if fold.calibration is not None)
    caveat = (
        "These labels also chose the step at which training stopped, so the factors are a little too small"
        if bench.arm in TRAINED
        else "They were predicted by models that saw the other labels only, so the factors are a little too large"
    )
    return (
        f"std is the spread of {len(bench.seeds)} models times a factor fitted on held-out labels of each fold "
        f"({factors}). {caveat}. Intervals meant to hold {COVERAGE:.0%} of the test crystals hold {covered:.1%}."
    )


def _members(files: Sequence[Path]) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The table of the first model, and the predictions of all on the same crystals, (M, n)."""
    tables = [_read(file) for file in files]
    if any(table["id"].tolist() != tables[0]["id"].tolist() for table in tables):
        raise InputError(f"{files[0].parent} holds predictions of different crystals for one fold. Delete the folder.")
    return tables[0], np.stack([table["prediction"].to_numpy(dtype=np.float64) for table in tables])


def _read(file: Path) -> pd.DataFrame:
    """A table that a run left."""
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is missing or damaged ({error}). Start the benchmark again.") from error
