"""One learning-curve study: what is asked, of which data, and what a finished run must match to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.record import RunCard
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import CurveConfig, StartSettings
from matgl_infomax.tasks.arms import DESCRIBED, named_arms, open_encoder, state_hash
from matgl_infomax.tasks.descriptors import described
from matgl_infomax.tasks.engine import CardGrid, Outcome, hash_of
from matgl_infomax.tasks.matbench.task import Split, data_hash, name_and_unit, nested_masks, split, split_hash
from matgl_infomax.tasks.starts import Start, StartRequest, check_starts, start_weights
from matgl_infomax.workers import workers_here

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""

APART = ("target", "finetune.seed", *(name for name in StartSettings.model_fields if name not in ("corpus", "source")))
"""Settings that are told otherwise: the target by its name, each run's seed in the run, and a corpus or source, which
decides only the arms that learn from it, by the weights of these."""

PROCESSES = ("pretrain.processes", "finetune.processes")
"""They decide nothing, but have stood in claims and hashes since the first studies. They still do, as their default."""


@dataclass(frozen=True)
class CurveRun:
    """One arm with one label mask."""

    arm: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{self.arm}-n{self.labels}-s{self.seed}"


@dataclass(frozen=True)
class CurveStudy(CardGrid[CurveRun]):
    """Everything that the runs of a learning curve need."""

    kind: ClassVar[str] = "curve"
    undeciding: ClassVar[Sequence[str]] = PROCESSES

    config: CurveConfig
    target: str
    task: str
    unit: str | None
    ids: list[str]
    labels: NDArray[np.float64]
    """Label of each crystal, NaN where missing, (n,). Arms never get this, only the entries of their mask."""
    parts: Split
    masks: dict[tuple[int, int], NDArray[np.int64]]
    """Unmasked rows by number of labels and seed."""
    data_hash: str
    store: Store | None = None
    features: dict[str, Path] = field(default_factory=dict)
    """Files of descriptors by their kind."""
    starts: dict[str, Start] = field(default_factory=dict)
    """Weights by the name of each arm that starts from some."""

    @property
    def arms(self) -> dict[str, Path | None]:
        """Folder of weights by arm, None for the arms that need no folder given."""
        return named_arms(self.config.arms)

    @property
    def runs(self) -> list[CurveRun]:
        """All runs, the cheap ones first, so that something is to be seen soon."""
        counts = sorted(set(self.config.labels))
        return [CurveRun(arm, n, seed) for n in counts for seed in seeds_of(self.config) for arm in self.arms]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        return _with_default_processes(deciding(self.config, apart=APART))

    @property
    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        return split_hash(self.ids, self.parts)

    def claim(self, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """What this study is; numbers of labels, seeds and arms may be added later.

        Args:
            settings: as an earlier version noted them; those of this study when left out.
        """
        return {
            "target": self.target,
            "crystals and labels": self.data_hash,
            "code version": CODE_VERSION,
            **(self.settings if settings is None else settings),
        }

    def run_hash(self, run: CurveRun, settings: dict[str, Any] | None = None) -> str:
        """Hash of everything that decides the result of a run.

        Args:
            run: the run.
            settings: as an earlier version noted them; those of this study when left out.
        """
        start = self.starts[run.arm].weights if run.arm in self.starts else None
        mask = self.masks[run.labels, run.seed].tolist()
        return hash_of(self.claim(settings), run.arm, start, run.labels, run.seed, mask)

    def is_of(self, card: RunCard, run: CurveRun) -> bool:
        """Whether a card belongs to a run of this study, also one whose hash held the processes as they were given."""
        same = _with_default_processes(card.settings) == self.settings
        return same and card.hashes.run == self.run_hash(run, card.settings)

    def carry_out(self, run: CurveRun) -> Outcome:
        """One run: the arm sees its mask and nothing else, then its predictions are scored."""
        from matgl_infomax.tasks.runs import run_arm

        return run_arm(self, run)


def _with_default_processes(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which the numbers of processes are their defaults."""
    changed = dict(settings)
    for dotted in PROCESSES:
        section, name = dotted.split(".")
        changed[section] = {**changed.get(section, {}), name: 1}
    return changed


def seeds_of(config: CurveConfig) -> range:
    """The seeds of a study; the one of the fine-tuning settings is the first."""
    return range(config.finetune.seed, config.finetune.seed + config.seeds)


def plan_curve(crystals: Crystals, target: str, config: CurveConfig) -> CurveStudy:
    """Check a study before anything is computed or written.

    Raises:
        InputError: For an unknown arm, task or target, too few labels, or weights that do not fit.
    """
    arms = named_arms(config.arms)
    if config.finetune.task != "regression":
        raise InputError(f"Learning curves are for regression. Received: finetune.task = {config.finetune.task}.")
    if min(config.labels) < 2:
        raise InputError(f"A learning curve needs at least 2 labels. Received: {min(config.labels)}.")
    wrong = [rate for rate in config.learning_rates if rate <= 0]
    if wrong:
        raise InputError(f"Learning rates are above 0. Received: {wrong[0]}.")
    values = crystals.labels([target])[:, 0]
    parts = split(crystals.ids, ~np.isnan(values), config.task, config.fold)
    available = parts.train[~np.isnan(values[parts.train])]
    masks = {
        (count, seed): rows
        for seed in seeds_of(config)
        for count, rows in nested_masks(crystals.ids, available, config.labels, seed).items()
    }
    check_starts(arms, config, config.data_dir)
    own = {
        name: Start(folder, state_hash(open_encoder(folder, config.model)), None, {})
        for name, folder in arms.items()
        if folder is not None
    }
    task, unit = name_and_unit(config.task, target)
    return CurveStudy(
        config, target, task, unit, crystals.ids, values, parts, masks, data_hash(crystals, values), starts=own
    )


def prepare_curve(study: CurveStudy, crystals: Crystals, *, progress: bool) -> CurveStudy:
    """Compute what the runs share: prepared crystals, pretraining without labels, descriptors.

    Raises:
        InputError: If something cannot be written, or there are too few structures to pretrain on.
    """
    config = study.config
    workers = workers_here(config.workers, config.launcher)
    if set(study.arms) - set(DESCRIBED):
        from matgl_infomax.data.store import build_store
        from matgl_infomax.nn.build import edge_rule

        rule = edge_rule(config.model)
        store = build_store(crystals, rule, config.cache, progress=progress, workers=workers)
        starts = _learnt_starts(study, crystals, store, progress)
        study = replace(study, store=store, starts=study.starts | starts)
    kinds = dict.fromkeys(DESCRIBED[arm][0] for arm in study.arms if arm in DESCRIBED)
    features = {k: described(k, crystals, config.cache, workers=workers, progress=progress) for k in kinds}
    return replace(study, features=features)


def _learnt_starts(study: CurveStudy, crystals: Crystals, store: Store, progress: bool) -> dict[str, Start]:
    """Weights of the arms that start from some, each kind learnt once, or found where that was done."""
    kinds: dict[str, Start] = {}
    arms = [arm for arm in study.arms if arm in STARTS]
    request = StartRequest.of(study.config, crystals, study.parts, store, folder=study.config.out, progress=progress)
    for arm in arms:
        if STARTS[arm] not in kinds and (found := start_weights(arm, request)) is not None:
            kinds[STARTS[arm]] = found
    return {arm: kinds[STARTS[arm]] for arm in arms}


def file_stamp(config: CurveConfig) -> tuple[tuple[str, int, int], ...]:
    """Size and time of change of every file of the data; empty where the crystals came from no file."""
    from matgl_infomax.data.read import find_files

    try:
        files = [*find_files(config.data, config.labels_file).paths]
    except InputError:
        return ()
    files += [config.labels_file] if config.labels_file else []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
