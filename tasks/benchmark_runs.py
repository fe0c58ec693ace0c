"""One model of a benchmark: learning rates are tried on the labels of its fold, the best one trains it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.scores import fold_scores, probability_rocauc
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.tasks.arms import ARMS, ArmAnswer
from matgl_infomax.tasks.benchmark_plan import TRAINED, Bench, BenchmarkRun
from matgl_infomax.tasks.benchmark_rates import TriedRate, arm_task, class_loss, found_rates
from matgl_infomax.tasks.engine import Outcome, regression_metrics
from matgl_infomax.tasks.matbench.task import mask_hash

if TYPE_CHECKING:
    import pandas as pd


ROUNDING = 1e-9
"""How far a mean of probabilities may come out of 0 to 1."""


def run_model(bench: Bench, run: BenchmarkRun) -> Outcome:
    """Train one model on the mask of its fold, with the best of the learning rates that were tried, and test it once.

    Raises:
        InputError: If a prediction is no finite number, or no learning rate was stable.
    """
    tried = found_rates(bench, run.fold) if bench.choosing else ()
    started = time.perf_counter()
    answer, held_out = _answer(bench, run, tried)
    seconds = time.perf_counter() - started
    test = bench.parts[run.fold].test
    aside = None
    if held_out is not None:
        aside = _lines(bench, run, bench.masks[run.fold][bench.held_out(run.fold)], held_out)
    card = _card(bench, run, answer, tried) | {"metrics": _scores(bench, bench.labels[test], answer.prediction)}
    card["cost"]["seconds"] = seconds
    return Outcome(_lines(bench, run, test, answer.prediction), card, aside)


def _answer(
    bench: Bench, run: BenchmarkRun, tried: Sequence[TriedRate]
) -> tuple[ArmAnswer, NDArray[np.float64] | None]:
    """What the arm says of the test part, and of the held-out labels where an uncertainty may be fitted on them."""
    rows, test = bench.masks[run.fold], bench.parts[run.fold].test
    rate = min(tried, key=lambda entry: entry.error).learning_rate if tried else bench.rates[0]
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


def _lines(bench: Bench, run: BenchmarkRun, rows: NDArray[np.int64], prediction: NDArray[np.float64]) -> pd.DataFrame:
    """One line per crystal."""
    import pandas as pd

    ids = [bench.ids[int(row)] for row in rows]
    known = {"fold": run.fold, "seed": run.seed, "target": bench.labels[rows]}
    return pd.DataFrame({"id": ids, **known, "prediction": prediction})


def _scores(bench: Bench, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float | None]:
    """The metrics of a run card."""
    if bench.card.kind == "regression":
        return regression_metrics(truth, prediction)
    area, loss = probability_rocauc(truth, prediction), class_loss(truth, prediction)
    return {**fold_scores("classification", truth, prediction), "probability_rocauc": area, "log_loss": loss}


def _card(bench: Bench, run: BenchmarkRun, answer: ArmAnswer, tried: Sequence[TriedRate]) -> dict[str, Any]:
    """What the run card says beside the errors and the time of training."""
    mask, start = bench.masks[run.fold], bench.starts.get(run.fold)
    name = "scratch" if bench.arm in ("scratch", "untrained") else STARTS.get(bench.arm, bench.arm)
    name = name if bench.config.init is None else "init"
    return {
        "task": bench.card.name,
        "target": bench.card.target,
        "unit": bench.card.unit,
        "arm": bench.arm,
        "fold": run.fold,
        "seed": run.seed,
        "mask": {"asked": len(mask), "used": len(mask), "sha256": mask_hash(bench.ids, mask)},
        "n_test": len(bench.parts[run.fold].test),
        "initial": {"name": name, "sha256": answer.initial, "facts": start.facts if start else {}},
        "settings": bench.settings,
        "tried": [entry.model_dump(include={"learning_rate", "mae", "log_loss"}) for entry in tried],
        "hashes": {
            "data": bench.data_hash,
            "folds": bench.fold_hash(run.fold),
            "store": bench.store.key if bench.store is not None else None,
        },
        "cost": {
            "choosing_seconds": sum(entry.seconds for entry in tried) if tried else None,
            "pretraining_seconds": start.seconds if start else None,
        },
    }
