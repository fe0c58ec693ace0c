"""What a benchmark is about: arm, folds, masks of labels, seeds, starting weights, and the hashes of all of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import DivergedError, InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.results import BenchmarkSpec
from matgl_infomax.leaderboard.scores import fold_scores, probability_rocauc
from matgl_infomax.record import HASH
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.matbench.task import N_FOLDS, Card, Split, Task, data_hash, mask_hash, nested_masks, split_hash
from matgl_infomax.tasks.studies.arms import (
    ARMS,
    CHOOSING_SHARE,
    DESCRIBED,
    ArmAnswer,
    ArmTask,
)
from matgl_infomax.tasks.studies.descriptors import described
from matgl_infomax.tasks.studies.engine import CardGrid, Grid, Outcome, error_metrics, hash_of
from matgl_infomax.tasks.studies.starts import (
    PER_FOLD,
    Start,
    StartRequest,
    check_starts,
    in_words,
    own_starts,
    seen_facts,
    start_weights,
)
from matgl_infomax.train.finetune import with_held_out
from matgl_infomax.weights import folder_of
from matgl_infomax.workers import workers_here

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.data.store import Store


CODE_VERSION = 1
"""Raise it whenever the same benchmark would give other results."""

TRAINED = ("scratch", "finetuned", "corpus", "transferred")
"""Arms whose networks are trained on the labels, so that a learning rate has to be chosen."""

ONE_ANSWER = ("frozen", "corpus_frozen")
"""Arms whose answer does not depend on the seed: the same weights, and a regression without chance."""


@dataclass(frozen=True)
class BenchmarkRun:
    """One model: a fold and a seed."""

    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"fold_{self.fold}-seed_{self.seed}"


@dataclass(frozen=True)
class Bench(CardGrid[BenchmarkRun]):
    """Everything that the runs of a benchmark need."""

    kind: ClassVar[str] = "benchmark"
    folder: ClassVar[str] = "folds"
    title: ClassVar[str] = "Models"

    config: BenchmarkConfig
    """Settings, with the arm and the kind of task filled in."""
    card: Card
    ids: list[str]
    labels: NDArray[np.float64]
    """Label of each crystal, (n,). Arms never get this, only the entries of their mask."""
    parts: dict[int, Split]
    """Official training and test rows of each fold asked for."""
    masks: dict[int, NDArray[np.int64]]
    """Unmasked rows of each fold, in the order of their draw. All models of a fold share them."""
    data_hash: str
    store: Store | None = None
    features: Path | None = None
    starts: dict[int, Start] = field(default_factory=dict)
    """Weights to start from, by fold; empty for arms that start from none."""

    @property
    def arm(self) -> str:
        """Name of the arm."""
        return self.config.arm or "scratch"

    @property
    def seed(self) -> int:
        """First seed: it decides masks, held-out labels and the choice of the learning rate."""
        return self.config.finetune.seed

    @property
    def seeds(self) -> list[int]:
        """Seeds of the models of each fold."""
        return list(range(self.seed, self.seed + self.config.seeds))

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates to choose among; one means that there is no choice."""
        return tuple(self.config.learning_rates) or (self.config.finetune.learning_rate,)

    @property
    def choosing(self) -> bool:
        """Whether a learning rate has to be chosen."""
        return self.arm in TRAINED and len(self.rates) > 1

    @property
    def runs(self) -> list[BenchmarkRun]:
        """All models, fold by fold."""
        return [BenchmarkRun(fold, seed) for fold in self.parts for seed in self.seeds]

    @property
    def calibrated(self) -> bool:
        """Whether the spread of the models of a fold becomes an uncertainty by a factor: for numbers, not classes."""
        return self.config.seeds > 1 and self.card.kind == "regression"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        return deciding(self.config)

    def spec(self) -> BenchmarkSpec:
        """What stands in ``benchmark.json``."""
        config, card = self.config, self.card
        notes = self._notes()
        return BenchmarkSpec(
            task=card.name, target=card.target, unit=card.unit, kind=card.kind, arm=self.arm,
            model=config.model.model_dump(mode="json"), folds=sorted(self.parts), seeds=self.seeds,
            labels=config.labels, settings=self.settings, notes=notes,
        )  # fmt: skip

    def _notes(self) -> list[str]:
        """What a reader has to know of the weights of ``--init``."""
        if self.config.init is None:
            return []
        said = {in_words("init", start.facts) for start in self.starts.values()} - {""}
        return sorted(said) or ["Nobody checked whether the weights of --init have seen test crystals."]

    def claim(self) -> dict[str, Any]:
        """What the folder of this benchmark holds; folds and seeds may be added later."""
        own = self.starts[min(self.parts)].weights if self.config.init is not None and self.starts else None
        return {
            "crystals and labels": self.data_hash,
            "weights of --init": own,
            "code version": CODE_VERSION,
            **self.settings,
        }

    def fold_hash(self, fold: int) -> str:
        """Hash of the ids of the training part and of the test part."""
        return split_hash(self.ids, self.parts[fold])

    def run_hash(self, run: BenchmarkRun) -> str:
        """Hash of everything that decides the result of a run."""
        return self._fold_hash("run", run.fold, run.seed)

    def rate_hash(self, fold: int, rate: float) -> str:
        """Hash of everything that decides how a learning rate does on the labels of a fold."""
        return self._fold_hash("rate", fold, rate)

    def _fold_hash(self, what: str, fold: int, number: float) -> str:
        """Hash of what decides one result of a fold, be it of a seed or of a learning rate."""
        start = self.starts[fold].weights if fold in self.starts else None
        return hash_of(self.claim(), what, fold, start, self.masks[fold].tolist(), number)

    def carry_out(self, run: BenchmarkRun) -> Outcome:
        """One model: trained on the mask, asked once for the test part, then scored."""
        return run_model(self, run)

    def held_out(self, fold: int) -> NDArray[np.int64]:
        """Positions in the mask of the labels that no model of the fold is trained on; none if they are too few."""
        from matgl_infomax.train.finetune import hold_out

        return hold_out(len(self.masks[fold]), self.config.finetune, self.seed)[1]


def settle_benchmark(config: BenchmarkConfig, card: Card) -> BenchmarkConfig:
    """Fill in the arm and the kind of task, and refuse what makes no sense, before any data are read.

    Raises:
        InputError: With what to change.
    """
    arm = config.arm or ("scratch" if config.init is None else "finetuned")
    if config.init is not None and arm not in ("finetuned", "frozen"):
        raise InputError(f"--init gives the weights of the arms finetuned and frozen. Received: --arm {arm}.")
    if config.finetune.task == "classification" and card.kind == "regression":
        raise InputError(f"{card.name} asks for numbers. Leave out --finetune.task classification.")
    check_starts([arm] if config.init is None else [], config, config.data_dir)
    _refuse_unused(config, arm)
    wrong = [fold for fold in config.folds if not 0 <= fold < N_FOLDS]
    if wrong:
        raise InputError(f"Folds are numbered 0 to {N_FOLDS - 1}. Received: {wrong[0]}.")
    if len(set(config.folds)) < len(config.folds):
        raise InputError(f"Each fold can be asked for once. Received: {' '.join(map(str, config.folds))}.")
    low = [rate for rate in config.learning_rates if rate <= 0]
    if low or len(set(config.learning_rates)) < len(config.learning_rates):
        raise InputError(f"Learning rates are above 0 and differ. Received: {_listed(config.learning_rates)}.")
    if arm in ONE_ANSWER and config.seeds > 1:
        raise InputError(
            f"With the arm {arm} every seed gives the same answer: nothing in it is drawn at random. "
            f"Give --seeds 1, or the arm untrained or finetuned. Received: --seeds {config.seeds}."
        )
    # Always, for more seeds can be added later, and their uncertainty is fitted on labels that none was trained on.
    finetune = with_held_out(config.finetune.model_copy(update={"task": card.kind}))
    if arm in TRAINED:
        from matgl_infomax.train.losses import check_goal

        check_goal(finetune)
    return config.model_copy(update={"task": card.name, "arm": arm, "finetune": finetune})


def _refuse_unused(config: BenchmarkConfig, arm: str) -> None:
    """Settings that only another arm reads are a mistake, not a wish to be ignored."""
    kind = STARTS.get(arm) if config.init is None else None
    needs = {"corpus": "corpus", "corpus_size": "corpus", "source": "transferred", "source_target": "transferred"}
    for name, needed in needs.items():
        if getattr(config, name) is not None and kind != needed:
            arms = " or ".join(other for other, start in STARTS.items() if start == needed)
            raise InputError(f"--{name.replace('_', '-')} is for the arm {arms}. Received: --arm {arm}.")


def plan_benchmark(task: Task, crystals: Crystals, config: BenchmarkConfig) -> Bench:
    """Check a benchmark before anything is computed or written.

    Args:
        task: the Matbench task.
        crystals: its complete official data, in official order.
        config: settings as ``settle_benchmark`` returns them.

    Raises:
        InputError: If there are too few labels, or the weights of ``--init`` do not fit.
    """
    values = crystals.labels([task.card.target])[:, 0]
    parts = {fold: task.fold(fold) for fold in sorted(config.folds)}
    masks = {}
    for fold, part in parts.items():
        count = len(part.train) if config.labels is None else config.labels
        masks[fold] = nested_masks(crystals.ids, part.train, [count], config.finetune.seed)[count]
    bench = Bench(config, task.card, crystals.ids, values, parts, masks, data_hash(crystals, values))
    if config.init is not None:
        own = own_starts({"init": [folder_of(config.init)]}, config.model)["init"]
        tested = {fold: [crystals[int(row)] for row in part.test] for fold, part in parts.items()}
        tests = {fold: seen_facts(own.folder, found) for fold, found in tested.items()}
        refuse_seen(tests, config)
        bench = replace(bench, starts={fold: replace(own, facts=own.facts | facts) for fold, facts in tests.items()})
    if bench.choosing and min(map(len, masks.values())) < 3:
        raise InputError(
            f"A learning rate is chosen on labels held out of the mask, and {config.labels} are too few to hold any "
            "out. Give one --learning-rates, or more --labels."
        )
    if bench.calibrated:
        _enough_to_calibrate(bench)
    return bench


def refuse_seen(facts: Mapping[int, Mapping[str, int | float | str]], config: BenchmarkConfig) -> None:
    """Refuse weights whose corpus holds test crystals.

    Args:
        facts: ``seen_facts`` of the test part of each fold.
        config: settings of the benchmark.

    Raises:
        InputError: If the corpus holds the structure of a test crystal, and ``--allow-seen`` was not given.
    """
    seen = {fold: told for fold, told in facts.items() if told.get("seen_structures")}
    if seen and not config.allow_seen:
        fold, told = next(iter(seen.items()))
        raise InputError(
            f"The corpus of {told['weights_name']} holds {told['seen_structures']} of the {told['tested']} test "
            f"crystals of fold {fold}. Take weights that have not seen them, or give --allow-seen: then the result "
            "says so."
        )


def _enough_to_calibrate(bench: Bench) -> None:
    """Refuse a validation part that is too small for the factor, before anything is trained."""
    from matgl_infomax.train.finetune import FEWEST_FOR_VALIDATION

    for fold in bench.parts:
        if not len(bench.held_out(fold)):
            raise InputError(
                f"The uncertainty of {bench.config.seeds} models is fitted on labels that none of them was trained on, "
                f"at least {FEWEST_FOR_VALIDATION}; {bench.config.finetune.validation_fraction:g} of "
                f"{len(bench.masks[fold])} labels is less. Raise --finetune.validation-fraction or --labels, or give "
                "--seeds 1."
            )


def prepare_benchmark(bench: Bench, crystals: Crystals, *, progress: bool) -> Bench:
    """Compute what the runs share: prepared crystals, starting weights of each fold, descriptors.

    Raises:
        InputError: If something cannot be written, or there is too little to learn from.
    """
    config = bench.config
    workers = workers_here(config.workers, config.launcher)
    if bench.arm in DESCRIBED:
        kind = DESCRIBED[bench.arm][0]
        return replace(bench, features=described(kind, crystals, config.cache, workers=workers, progress=progress))
    from matgl_infomax.data.store import build_store
    from matgl_infomax.nn.build import edge_rule

    store = build_store(crystals, edge_rule(config.model), config.cache, progress=progress, workers=workers)
    bench = replace(bench, store=store)
    if bench.starts or bench.arm not in STARTS:
        return bench
    return replace(bench, starts=_learnt_starts(bench, crystals, store, progress))


def _learnt_starts(bench: Bench, crystals: Crystals, store: Store, progress: bool) -> dict[int, Start]:
    """Starting weights of each fold; those that serve all folds are learnt once."""
    config, found = bench.config, dict[int, Start]()
    for fold, part in bench.parts.items():
        if found and bench.arm not in PER_FOLD:
            found[fold] = next(iter(found.values()))
            continue
        folder = config.out / "starts"
        own = folder / f"fold_{fold}" if bench.arm in PER_FOLD else folder
        start = start_weights(bench.arm, StartRequest.of(config, crystals, part, store, folder=own, progress=progress))
        if start is None:
            raise ValueError(f"the arm {bench.arm} got no weights")
        found[fold] = start
    return found


def _listed(values: Sequence[float]) -> str:
    """Numbers as they would be typed."""
    return " ".join(f"{value:g}" for value in values)


# One model of a benchmark: learning rates are tried on the labels of its fold, the best one trains it.

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
        spec = np.concatenate([test, rows[aside]])
        answer = arm(arm_task(bench, run.fold, run.seed, rows, spec, rate))
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
        return error_metrics(truth, prediction)
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
        "training": answer.training,
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


# Which learning rate the models of a fold train with: each is tried on most of the mask and judged on the rest.


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
        """What is compared, the lower the better: infinite where the training diverged or the network was dead."""
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
    truth = bench.labels[rows[n:]]
    nothing = np.full(len(truth), np.nan)
    try:
        answer = ARMS[bench.arm](task)
        # With retries it would be the error of another learning rate.
        prediction = nothing if answer.training and answer.training["retries"] else answer.prediction
    except DivergedError:
        prediction = nothing
    mae = log_loss = None
    if np.isfinite(prediction).all():  # a learning rate with which the training diverges, or the network dies, loses
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
        raise InputError(
            f"Fold {fold}: the training diverged with every learning rate, or the network was dead. "
            "Give lower --learning-rates."
        )
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
