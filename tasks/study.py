"""One learning-curve study: what is asked, of which data, and what a finished run must match to count."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.config_tasks import CurveConfig, StartSettings
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.files import sha256_of
from matgl_infomax.tasks.arms import ARMS, DESCRIBED, STARTS, open_encoder, state_hash
from matgl_infomax.tasks.descriptors import described
from matgl_infomax.tasks.launch import workers_here
from matgl_infomax.tasks.masking import mask_hash, nested_masks
from matgl_infomax.tasks.matbench import Split, find_task, split
from matgl_infomax.tasks.starts import Start, check_starts, start_weights

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""

OWN_DATA = "own data"
"""Name of the task where none of Matbench's was named."""

ELSEWHERE: Any = {
    **dict.fromkeys(["data", "labels_file", "id_column", "on_error", "cache", "data_dir", "out"], True),
    **dict.fromkeys(["target", "labels", "seeds", "arms", "study", "workers", "launcher"], True),
    **dict.fromkeys(StartSettings.model_fields, True),
    "pretrain": {"probe_every"},
    "finetune": {"seed"},
}
"""Settings that do not decide the result of one run: where things lie, which runs there are, and its own seed.

A corpus or source decides only the arms that learn from it: the folder of their weights is theirs alone, and the
weights are part of the hash of their runs."""


@dataclass(frozen=True)
class Run:
    """One arm with one label mask."""

    arm: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{self.arm}-n{self.labels}-s{self.seed}"


@dataclass(frozen=True)
class Study:
    """Everything that runs need; it travels to worker processes."""

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
    def runs(self) -> list[Run]:
        """All runs, the cheap ones first, so that something is to be seen soon."""
        counts = sorted(set(self.config.labels))
        return [Run(arm, n, seed) for n in counts for seed in seeds(self.config) for arm in self.arms]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        return self.config.model_dump(mode="json", exclude=ELSEWHERE)

    @property
    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        return sha256_of(f"{mask_hash(self.ids, self.parts.train)} {mask_hash(self.ids, self.parts.test)}")

    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in."""
        return {
            "target": self.target,
            "crystals and labels": self.data_hash,
            "code version": CODE_VERSION,
            **self.settings,
        }

    def run_hash(self, run: Run) -> str:
        """Hash of everything that decides the result of a run."""
        start = self.starts[run.arm].weights if run.arm in self.starts else None
        mask = self.masks[run.labels, run.seed].tolist()
        return sha256_of(json.dumps([self.claim(), run.arm, start, run.labels, run.seed, mask], sort_keys=True))


def named_arms(arms: Sequence[str]) -> dict[str, Path | None]:
    """Names of the arms, with the folder of weights where one was given.

    Raises:
        InputError: For an unknown arm, a name that cannot be one, or one given twice.
    """
    found: dict[str, Path | None] = {}
    for arm in arms:
        name, equals, folder = arm.partition("=")
        if not equals and name not in ARMS:
            raise InputError(f"There is no such arm. Received: {arm}. Known: {', '.join(ARMS)}, or NAME=FOLDER.")
        if equals and (name in ARMS or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or not folder):
            raise InputError(
                f"Weights of your own are given as NAME=FOLDER, the name made of letters, digits, '_', '-' and '.', "
                f"and other than {', '.join(ARMS)}. Received: {arm}."
            )
        if name in found:
            raise InputError(f"Each arm can be asked for once. Received twice: {name}.")
        found[name] = Path(folder).expanduser() if equals else None
    return found


def seeds(config: CurveConfig) -> range:
    """The seeds of a study; the one of the fine-tuning settings is the first."""
    return range(config.finetune.seed, config.finetune.seed + config.seeds)


def plan(crystals: Crystals, target: str, config: CurveConfig) -> Study:
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
        for seed in seeds(config)
        for count, rows in nested_masks(crystals.ids, available, config.labels, seed).items()
    }
    check_starts(arms, config, config.data_dir)
    own = {
        name: Start(folder, state_hash(open_encoder(folder, config.model)), None, {})
        for name, folder in arms.items()
        if folder is not None
    }
    task, unit = OWN_DATA, None
    if config.task is not None:
        task, facts = find_task(config.task)
        unit = facts.unit if facts.target == target else None
    return Study(
        config, target, task, unit, crystals.ids, values, parts, masks, data_hash(crystals, values), starts=own
    )


def prepare(study: Study, crystals: Crystals, *, progress: bool) -> Study:
    """Compute what the runs share: prepared crystals, pretraining without labels, descriptors.

    Raises:
        InputError: If something cannot be written, or there are too few structures to pretrain on.
    """
    config = study.config
    workers = workers_here(config.workers, config.launcher)
    if set(study.arms) - set(DESCRIBED):
        from matgl_infomax.data.store import build_store
        from matgl_infomax.train.pretrain import edge_rule

        rule = edge_rule(config.model)
        store = build_store(crystals, rule, config.cache, progress=progress, workers=workers)
        study = replace(study, store=store)
    study = replace(study, starts=study.starts | _starts(study, crystals, workers, progress))
    kinds = dict.fromkeys(DESCRIBED[arm][0] for arm in study.arms if arm in DESCRIBED)
    features = {k: described(k, crystals, config.cache, workers=workers, progress=progress) for k in kinds}
    return replace(study, features=features)


def _starts(study: Study, crystals: Crystals, workers: int, progress: bool) -> dict[str, Start]:
    """Weights of the arms that start from some, each kind learnt once, or found where that was done."""
    config, kinds = study.config, dict[str, Start]()
    arms = [arm for arm in study.arms if arm in STARTS]
    for arm in arms:
        if STARTS[arm] in kinds:
            continue
        if study.store is None:
            raise ValueError("pretraining needs prepared crystals")
        found = start_weights(
            arm, crystals=crystals, train=study.parts.train, test=study.parts.test, store=study.store, out=config.out,
            model=config.model, pretrain=config.pretrain, finetune=config.finetune, starts=config, cache=config.cache,
            data_dir=config.data_dir, workers=workers, progress=progress,
        )  # fmt: skip
        if found is not None:
            kinds[STARTS[arm]] = found
    return {arm: kinds[STARTS[arm]] for arm in arms}


def data_hash(crystals: Crystals, values: NDArray[np.float64]) -> str:
    """Hash of ids, structures and labels, in their order."""
    import hashlib

    digest = hashlib.sha256()
    for crystal, value in zip(crystals, values, strict=True):
        digest.update(f"{crystal.id}\0{crystal.n_sites}\0{float(value).hex()}\0".encode())
        for array, kind in ((crystal.lattice, "<f8"), (crystal.numbers, "<i8"), (crystal.frac, "<f8")):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def file_stamp(config: CurveConfig) -> tuple[tuple[str, int, int], ...]:
    """Size and time of change of every file of the data; empty where the crystals came from no file."""
    from matgl_infomax.data.sources import find_files

    try:
        files = [*find_files(config.data, config.labels_file).paths]
    except InputError:
        return ()
    files += [config.labels_file] if config.labels_file else []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
