"""What a benchmark is about: arm, folds, masks of labels, seeds, starting weights, and the hashes of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.results import Asked
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.arms import DESCRIBED, open_encoder, state_hash
from matgl_infomax.tasks.descriptors import described
from matgl_infomax.tasks.engine import CardGrid, Outcome, hash_of
from matgl_infomax.tasks.matbench.task import N_FOLDS, Card, Split, Task, data_hash, nested_masks, split_hash
from matgl_infomax.tasks.starts import PER_FOLD, Start, StartRequest, check_starts, start_weights
from matgl_infomax.train.budget import with_held_out
from matgl_infomax.workers import workers_here

if TYPE_CHECKING:
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

    def asked(self) -> Asked:
        """What stands in ``benchmark.json``."""
        config, card = self.config, self.card
        notes = [] if config.init is None else ["Nobody checked whether the weights of --init have seen test crystals."]
        return Asked(
            task=card.name, target=card.target, unit=card.unit, kind=card.kind, arm=self.arm,
            model=config.model.model_dump(mode="json"), folds=sorted(self.parts), seeds=self.seeds,
            labels=config.labels, settings=self.settings, notes=notes,
        )  # fmt: skip

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
        from matgl_infomax.tasks.benchmark_runs import run_model

        return run_model(self, run)

    def held_out(self, fold: int) -> NDArray[np.int64]:
        """Positions in the mask of the labels that no model of the fold is trained on; none if they are too few."""
        from matgl_infomax.train.finetune import split

        return split(len(self.masks[fold]), self.config.finetune, self.seed)[1]


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
        start = Start(config.init, state_hash(open_encoder(config.init, config.model)), None, {})
        bench = replace(bench, starts=dict.fromkeys(parts, start))
    if bench.choosing and min(map(len, masks.values())) < 3:
        raise InputError(
            f"A learning rate is chosen on labels held out of the mask, and {config.labels} are too few to hold any "
            "out. Give one --learning-rates, or more --labels."
        )
    if bench.calibrated:
        _enough_to_calibrate(bench)
    return bench


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
        start = start_weights(
            bench.arm, StartRequest.of(config, crystals, part, store, folder=own, progress=progress)
        )
        if start is None:
            raise ValueError(f"the arm {bench.arm} got no weights")
        found[fold] = start
    return found


def _listed(values: Sequence[float]) -> str:
    """Numbers as they would be typed."""
    return " ".join(f"{value:g}" for value in values)
