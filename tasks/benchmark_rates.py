"""Which learning rate the models of a fold train with: each is tried on most of the mask and judged on the rest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.record import HASH
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.arms import ARMS, CHOOSING_SHARE, ArmTask
from matgl_infomax.tasks.benchmark_plan import Bench
from matgl_infomax.tasks.engine import Grid


@dataclass(frozen=True)
class RateTrial:
    """One learning rate, tried on the labels of one fold."""

    fold: int
    rate: float

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"fold_{self.fold}-rate_{self.rate!r}"


class TriedRate(BaseModel):
    """What a trial found."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    run: str = Field(pattern=HASH)
    learning_rate: float = Field(gt=0)
    mae: float | None = Field(ge=0)
    log_loss: float | None = Field(ge=0)
    seconds: float = Field(ge=0)

    @property
    def error(self) -> float:
        """What is compared, the lower the better: infinite where the training diverged."""
        found = self.log_loss if self.mae is None else self.mae
        return float("inf") if found is None else found


@dataclass(frozen=True)
class RateTrials(Grid[RateTrial]):
    """The learning rates of a benchmark, each tried on the labels of every fold that has models to train."""

    kind: ClassVar[str] = Bench.kind
    folder: ClassVar[str] = "rates"
    title: ClassVar[str] = "Learning rates"

    config: BenchmarkConfig
    bench: Bench
    folds: tuple[int, ...]
    """Folds whose models are not all trained."""

    @classmethod
    def of(cls, bench: Bench) -> RateTrials:
        """The trials that a benchmark needs before its models can be trained."""
        return cls(bench.config, bench, tuple(sorted({r.fold for r in bench.runs if not bench.is_finished(r)})))

    @property
    def runs(self) -> list[RateTrial]:
        """Every learning rate, fold by fold."""
        return [RateTrial(fold, rate) for fold in self.folds for rate in self.bench.rates]

    def claim(self) -> dict[str, Any]:
        """The folder is that of the benchmark."""
        return self.bench.claim()

    def is_finished(self, run: RateTrial) -> bool:
        """Whether it is known how this learning rate does."""
        return known_rate(self.bench, run) is not None

    def complete(self, run: RateTrial) -> None:
        """Try one learning rate."""
        try_rate(self.bench, run)


def try_rate(bench: Bench, trial: RateTrial) -> None:
    """Train with one learning rate on the beginning of a fold's mask, and write the error on its end."""
    rows = bench.masks[trial.fold]
    # The draw of the mask is random already: its end is as good a sample as any.
    n = len(rows) - max(1, round(CHOOSING_SHARE * len(rows)))
    started = time.perf_counter()
    task = arm_task(bench, trial.fold, bench.seed, rows[:n], rows[n:], trial.rate)
    prediction, truth = ARMS[bench.arm](task).prediction, bench.labels[rows[n:]]
    mae = log_loss = None
    if np.isfinite(prediction).all():  # a learning rate with which the training diverges just loses
        if bench.card.kind == "regression":
            mae = float(np.abs(prediction - truth).mean())
        else:
            log_loss = class_loss(truth, prediction)
    seconds = time.perf_counter() - started
    own = bench.rate_hash(trial.fold, trial.rate)
    tried = TriedRate(run=own, learning_rate=trial.rate, mae=mae, log_loss=log_loss, seconds=seconds)
    atomic_write(trial_file(bench, trial), tried.model_dump_json(indent=1) + "\n")


def trial_file(bench: Bench, trial: RateTrial) -> Path:
    """Where a trial leaves what it found."""
    return bench.config.out / RateTrials.folder / f"{trial.name}.json"


def known_rate(bench: Bench, trial: RateTrial) -> TriedRate | None:
    """What a trial found earlier, None if it is still to be done.

    Raises:
        InputError: If its file is damaged.
    """
    file = trial_file(bench, trial)
    if not file.is_file():
        return None
    try:
        found = TriedRate.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise InputError(f"{file} is damaged. Delete it, and the learning rate is tried again.") from error
    return found if found.run == bench.rate_hash(trial.fold, trial.rate) else None


def found_rates(bench: Bench, fold: int) -> tuple[TriedRate, ...]:
    """What all trials of a fold found, in the order of the learning rates.

    Raises:
        InputError: If a file vanished meanwhile, or no training was stable.
    """
    found = []
    for rate in bench.rates:
        tried = known_rate(bench, RateTrial(fold, rate))
        if tried is None:
            file = trial_file(bench, RateTrial(fold, rate))
            raise InputError(f"{file} vanished while the benchmark was running. Start it again.")
        found.append(tried)
    if not np.isfinite([tried.error for tried in found]).any():
        raise InputError(f"Fold {fold}: the training diverged with every learning rate. Give lower --learning-rates.")
    return tuple(found)


def arm_task(
    bench: Bench, fold: int, seed: int, rows: NDArray[np.int64], wanted: NDArray[np.int64], rate: float
) -> ArmTask:
    """What the arm gets to see: labels of the mask, or of a part of it, cut out of all others.

    Args:
        bench: the benchmark.
        fold: decides the weights to start from.
        seed: of the model.
        rows: rows of the mask whose labels it sees, (n,).
        wanted: rows to predict, (m,).
        rate: learning rate.
    """
    start = bench.starts.get(fold)
    return ArmTask(
        rows=rows,
        labels=bench.labels[rows].copy(),
        test=wanted,
        seed=seed,
        model=bench.config.model,
        finetune=bench.config.finetune,
        learning_rates=(rate,),
        cache=bench.config.cache,
        store=bench.store,
        weights=start.folder if start else None,
        features=bench.features,
        split_seed=bench.seed,
    )


def class_loss(truth: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    """How badly probabilities (n,) fit classes 0 and 1 (n,): binary cross-entropy per crystal."""
    from sklearn.metrics import log_loss

    return float(log_loss(truth, probability, labels=[0.0, 1.0]))
