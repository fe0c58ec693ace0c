"""Carry out a benchmark: learning rates are tried, then there is one run per fold and seed, and none of them twice."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write, sha256_of
from matgl_infomax.leaderboard.scores import fold_scores, probability_rocauc
from matgl_infomax.record import RunCard, new_card, peak_memory_mb, read_card, write_card
from matgl_infomax.tasks.arms import ARMS, STARTS, ArmAnswer
from matgl_infomax.tasks.benchmark_plan import TRAINED, Bench
from matgl_infomax.tasks.benchmark_rates import Trial, Tried, arm_task, class_loss, found_rates, known, try_rate
from matgl_infomax.tasks.launch import at_once
from matgl_infomax.tasks.masking import mask_hash
from matgl_infomax.tasks.runs import metrics

if TYPE_CHECKING:
    import pandas as pd


ROUNDING = 1e-9
"""How far a mean of probabilities may come out of 0 to 1."""


@dataclass(frozen=True)
class Run:
    """One model: a fold and a seed, and what the trials of the fold found."""

    fold: int
    seed: int
    tried: tuple[Tried, ...] = ()

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"fold_{self.fold}-seed_{self.seed}"


@dataclass(frozen=True)
class RunFiles:
    """Where a run leaves its results."""

    card: Path
    predictions: Path
    held_out: Path


def run_files(bench: Bench, run: Run) -> RunFiles:
    """Card, predictions of the test part, and predictions of the labels that no model of the fold was trained on."""
    folds, held_out = bench.config.out / "folds", bench.config.out / "held_out"
    return RunFiles(folds / f"{run.name}.json", folds / f"{run.name}.parquet", held_out / f"{run.name}.parquet")


def finished(bench: Bench, run: Run) -> RunCard | None:
    """The card of a run that was completed earlier, None if it is still to be done.

    Raises:
        InputError: If a card is there that is none.
    """
    files = run_files(bench, run)
    if not files.card.is_file() or not files.predictions.is_file():
        return None
    card = read_card(files.card)
    same = card.hashes.run == bench.hash_of("run", run.fold, run.seed)
    same = same and card.hashes.predictions == sha256_of(files.predictions.read_bytes())
    if bench.calibrated and same:
        same = files.held_out.is_file() and card.hashes.held_out == sha256_of(files.held_out.read_bytes())
    return card if same else None


def execute(bench: Bench, *, progress: bool) -> None:
    """Carry out all that is left to do; each trial and run leaves its files when it is done.

    Raises:
        InputError: If a run's input is wrong, its files cannot be written, or a process died.
        KeyboardInterrupt: After Ctrl-C; what is finished is kept.
    """
    todo = [run for fold in bench.parts for run in _runs(bench, fold) if finished(bench, run) is None]
    folds = sorted({run.fold for run in todo})
    if bench.choosing:
        wanted = [Trial(fold, rate) for fold in folds for rate in bench.rates]
        left = [trial for trial in wanted if known(bench, trial) is None]
        _all_at_once(bench, try_rate, left, len(wanted), "Learning rates", progress)
        found = {fold: found_rates(bench, fold) for fold in folds}
        todo = [replace(run, tried=found[run.fold]) for run in todo]
    total = len(bench.parts) * len(bench.seeds)
    _all_at_once(bench, carry_out, todo, total, "Models", progress)


def carry_out(bench: Bench, run: Run) -> Run:
    """One model: trained on the mask, asked once for the test part; then scored and written, the card last."""
    started = time.perf_counter()
    answer, held_out = _answer(bench, run)
    seconds = time.perf_counter() - started
    files, test = run_files(bench, run), bench.parts[run.fold].test
    table = write_table(files.predictions, _lines(bench, run, test, answer.prediction))
    aside = None
    if held_out is not None:
        rows = bench.masks[run.fold][bench.held_out(run.fold)]
        aside = write_table(files.held_out, _lines(bench, run, rows, held_out))
    scores = _scores(bench, bench.labels[test], answer.prediction)
    write_card(files.card, _card(bench, run, answer, scores, seconds, (table, aside)))
    return run


def _answer(bench: Bench, run: Run) -> tuple[ArmAnswer, NDArray[np.float64] | None]:
    """What the arm says of the test part, and of the held-out labels where an uncertainty may be fitted on them."""
    rows, test = bench.masks[run.fold], bench.parts[run.fold].test
    rate = min(run.tried, key=lambda tried: tried.error).learning_rate if run.tried else bench.rates[0]
    arm = ARMS[bench.arm]
    aside = bench.held_out(run.fold) if bench.card.kind == "regression" else np.empty(0, dtype=np.int64)
    if bench.arm in TRAINED:
        # The part that chose the checkpoint gave no gradient to any model of the fold, for all share it.
        asked = np.concatenate([test, rows[aside]])
        answer = arm(arm_task(bench, run.fold, run.seed, rows, asked, rate))
        both = _checked(bench, answer.prediction, run.name)
        return replace(answer, prediction=both[: len(test)]), both[len(test) :] if len(aside) else None
    held_out = None
    if bench.calibrated:
        # A regression on vectors holds nothing out by itself: a second one, without these labels, has not seen them.
        others = np.delete(rows, aside)
        second = arm(arm_task(bench, run.fold, run.seed, others, rows[aside], rate))
        held_out = _checked(bench, second.prediction, run.name)
    answer = arm(arm_task(bench, run.fold, run.seed, rows, test, rate))
    return replace(answer, prediction=_checked(bench, answer.prediction, run.name)), held_out


def _runs(bench: Bench, fold: int) -> list[Run]:
    """The runs of a fold."""
    return [Run(fold, seed) for seed in bench.seeds]


def _all_at_once(bench: Bench, function: Any, jobs: Sequence[Any], total: int, title: str, progress: bool) -> None:
    """Carry out jobs with a bar."""
    config = bench.config
    folder = config.out / "folds"
    results = at_once(partial(function, bench), jobs, workers=config.workers, launcher=config.launcher, folder=folder)
    bar = tqdm(total=total, initial=total - len(jobs), desc=title, unit="training", disable=not progress or not jobs)
    with bar, closing(results):
        for job in results:
            bar.set_postfix_str(job.name, refresh=False)
            bar.update()


def _checked(bench: Bench, prediction: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Predictions that are numbers, and probabilities where classes are asked for."""
    if not np.isfinite(prediction).all():
        raise InputError(
            f"{name} predicts no finite number for some crystals: the training diverged. "
            "Lower --learning-rates or --finetune.learning-rate."
        )
    if bench.card.kind == "regression":
        return prediction
    inside = np.clip(prediction, 0.0, 1.0)
    if np.abs(inside - prediction).max() > ROUNDING:
        raise ValueError(f"{name}: the arm {bench.arm} gave no probabilities")
    return inside


def write_table(file: Path, table: pd.DataFrame) -> bytes:
    """Write a table as parquet, whole or not at all, and return its bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    atomic_write(file, buffer.getvalue())
    return buffer.getvalue()


def _lines(bench: Bench, run: Run, rows: NDArray[np.int64], prediction: NDArray[np.float64]) -> pd.DataFrame:
    """One line per crystal."""
    import pandas as pd

    ids = [bench.ids[int(row)] for row in rows]
    known = {"fold": run.fold, "seed": run.seed, "target": bench.labels[rows]}
    return pd.DataFrame({"id": ids, **known, "prediction": prediction})


def _scores(bench: Bench, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float | None]:
    """The metrics of a run card."""
    if bench.card.kind == "regression":
        return metrics(truth, prediction)
    area, loss = probability_rocauc(truth, prediction), class_loss(truth, prediction)
    return {**fold_scores("classification", truth, prediction), "probability_rocauc": area, "log_loss": loss}


def _card(
    bench: Bench,
    run: Run,
    answer: ArmAnswer,
    scores: dict[str, float | None],
    seconds: float,
    tables: tuple[bytes, bytes | None],
) -> RunCard:
    """The run card."""
    mask, start = bench.masks[run.fold], bench.starts.get(run.fold)
    name = "scratch" if bench.arm in ("scratch", "untrained") else STARTS.get(bench.arm, bench.arm)
    name = name if bench.config.init is None else "init"
    return new_card(
        task=bench.card.name,
        target=bench.card.target,
        unit=bench.card.unit,
        arm=bench.arm,
        fold=run.fold,
        seed=run.seed,
        mask={"asked": len(mask), "used": len(mask), "sha256": mask_hash(bench.ids, mask)},
        n_test=len(bench.parts[run.fold].test),
        initial={"name": name, "sha256": answer.initial, "facts": start.facts if start else {}},
        settings=bench.settings,
        tried=[tried.model_dump(include={"learning_rate", "mae", "log_loss"}) for tried in run.tried],
        hashes={
            "run": bench.hash_of("run", run.fold, run.seed),
            "data": bench.data_hash,
            "folds": bench.fold_hash(run.fold),
            "store": bench.store.key if bench.store is not None else None,
            "predictions": sha256_of(tables[0]),
            "held_out": None if tables[1] is None else sha256_of(tables[1]),
        },
        cost={
            "seconds": seconds,
            "choosing_seconds": sum(tried.seconds for tried in run.tried) if run.tried else None,
            "pretraining_seconds": start.seconds if start else None,
            "peak_memory_mb": peak_memory_mb(),
        },
        metrics=scores,
    )
