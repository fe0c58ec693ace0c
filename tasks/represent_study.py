"""One representation study: which vectors, which label masks, and what a finished fit must match to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import cached_array, sha256_of
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import RepresentConfig
from matgl_infomax.tasks.engine import CardGrid, Outcome, hash_of, regression_metrics
from matgl_infomax.tasks.matbench.task import (
    Split,
    data_hash,
    mask_hash,
    name_and_unit,
    nested_masks,
    split,
    split_hash,
)
from matgl_infomax.tasks.represent_fit import HeadAnswer, HeadFit, HeadJob, fit_head

if TYPE_CHECKING:
    from matgl_infomax.nn.build import Encoder

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""

FEWEST = 3
"""Fewer test crystals make neither a map nor an interval."""

PRETRAINED, UNTRAINED = "pretrained", "untrained"


@dataclass(frozen=True)
class Vectors:
    """The frozen vectors of one arm."""

    kind: str
    """``pretrained``, ``untrained``, or the name of the descriptor."""
    file: Path
    """Array of one line per crystal, (L, D)."""
    lines: NDArray[np.int64]
    """Line of each crystal of the data, -1 where no fit needs it, (n,)."""
    width: int
    """Numbers per crystal, D."""
    content: str
    """Hash of everything that decides the numbers, the crystals apart."""
    failures: dict[int, str]
    """Why a crystal has no vector, by row of the data."""
    weights: str | None = None
    """Hash of the encoder's weights."""
    store: str | None = None
    """Hash of the prepared crystals."""


@dataclass(frozen=True)
class Representation(CardGrid[HeadFit]):
    """A representation study that was checked."""

    kind: ClassVar[str] = "represent"
    folder: ClassVar[str] = "fits"
    title: ClassVar[str] = "Fits"

    config: RepresentConfig
    target: str
    task: str
    unit: str | None
    crystals: Crystals
    """Worker processes get neither these nor the encoder."""
    ids: list[str]
    labels: NDArray[np.float64]
    """Label of each crystal, NaN where missing, (n,). A fit gets the entries of its mask and no others."""
    parts: Split
    masks: dict[tuple[int, int], NDArray[np.int64]]
    """Unmasked rows by number of labels and seed."""
    data_hash: str
    encoder: Encoder
    weights: str
    """Hash of the encoder's weights."""
    vectors: dict[str, Vectors] = field(default_factory=dict)
    """Frozen vectors by arm, once they are computed."""

    def __getstate__(self) -> dict[str, Any]:
        """What travels to worker processes: vectors lie on disk, so that nobody needs crystals and encoder there."""
        return {**self.__dict__, "crystals": None, "encoder": None}

    @property
    def seeds(self) -> range:
        """One per draw."""
        return range(self.config.seed, self.config.seed + self.config.repeats)

    @property
    def arms(self) -> list[str]:
        """Names of all arms: the encoder, the untrained ones, the descriptors."""
        untrained = [f"{UNTRAINED}-{seed}" for seed in self.untrained_seeds]
        return [PRETRAINED, *untrained, *dict.fromkeys(self.config.descriptors)]

    @property
    def untrained_seeds(self) -> range:
        """Seeds of the random weights."""
        return range(self.config.seed, self.config.seed + self.config.untrained)

    @property
    def runs(self) -> list[HeadFit]:
        """All fits, those with few labels first."""
        heads = [(head, scaling) for scaling in unique(self.config.scaling) for head in unique(self.config.heads)]
        return [
            HeadFit(arm, head, scaling, count, seed)
            for count in sorted(set(self.config.labels))
            for seed in self.seeds
            for arm in self.arms
            for head, scaling in heads
        ]

    @property
    def needed(self) -> NDArray[np.int64]:
        """Rows that some fit learns from or predicts, ascending."""
        return np.unique(np.concatenate([self.parts.test, *self.masks.values()]))

    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in; draws, heads and arms may be added to it."""
        return {
            **deciding(self.config),
            "target": self.target,
            "task": self.task,
            "crystals and labels": self.data_hash,
            "encoder": self.weights,
            "code version": CODE_VERSION,
        }

    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        return split_hash(self.ids, self.parts)

    def run_hash(self, run: HeadFit) -> str:
        """Hash of everything that decides the result of a fit."""
        mask = self.masks[run.labels, run.seed].tolist()
        return hash_of(self.claim(), run.name, self.vectors[run.arm].content, mask)

    def job(self, fit: HeadFit) -> HeadJob:
        """What the fit gets to see: the labels of its mask, cut out of all others."""
        vectors, rows, test = self.vectors[fit.arm], self.masks[fit.labels, fit.seed], self.parts.test
        return HeadJob(fit, vectors.file, vectors.lines[rows], self.labels[rows].copy(), vectors.lines[test])

    def carry_out(self, run: HeadFit) -> Outcome:
        """Fit one head and score it."""
        import pandas as pd

        answer = fit_head(self.job(run))
        if not np.isfinite(answer.prediction).all():
            raise InputError(
                f"{run.name} predicts no finite number for some test crystals. Leave out the head {run.head}."
            )
        truth = self.labels[self.parts.test]
        ids = [self.ids[int(row)] for row in self.parts.test]
        table = pd.DataFrame({"id": ids, "target": truth, "prediction": answer.prediction})
        return Outcome(table, _card(self, answer) | {"metrics": regression_metrics(truth, answer.prediction)})


def _card(study: Representation, answer: HeadAnswer) -> dict[str, Any]:
    """What the run card of a fit says beside the errors."""
    fit, vectors = answer.fit, study.vectors[answer.fit.arm]
    mask, failed = study.masks[fit.labels, fit.seed], list(vectors.failures)
    return {
        "task": study.task,
        "target": study.target,
        "unit": study.unit,
        "arm": fit.arm,
        "fold": study.config.fold,
        "seed": fit.seed,
        "mask": {"asked": fit.labels, "used": len(mask), "sha256": mask_hash(study.ids, mask)},
        "n_test": len(study.parts.test),
        "initial": {"name": vectors.kind, "sha256": vectors.weights},
        "settings": {
            "head": fit.head,
            "scaling": fit.scaling,
            "dimensions": vectors.width,
            "imputed_train": int(np.isin(mask, failed).sum()),
            "imputed_test": int(np.isin(study.parts.test, failed).sum()),
        },
        "tried": [],
        "hashes": {"data": study.data_hash, "folds": study.fold_hash(), "store": vectors.store},
        "cost": {"seconds": answer.seconds, "pretraining_seconds": None},
    }


def plan_representation(crystals: Crystals, target: str, config: RepresentConfig) -> Representation:
    """Check a study before anything is computed or written.

    Raises:
        InputError: For an unknown task or target, too few labels, a folder without an encoder, or elements that the
            encoder does not know.
    """
    from matgl_infomax.data.elements import check_elements
    from matgl_infomax.nn.build import load_encoder
    from matgl_infomax.tasks.arms import state_hash

    if min(config.labels) < 2:
        raise InputError(f"Heads are fitted on at least 2 labels. Received: {min(config.labels)}.")
    values = crystals.labels([target])[:, 0]
    parts = split(crystals.ids, ~np.isnan(values), config.task, config.fold)
    if len(parts.test) < FEWEST:
        raise InputError(f"{FEWEST} test crystals are needed at least. Received: {len(parts.test)}. Add labelled ones.")
    available = parts.train[~np.isnan(values[parts.train])]
    masks = {
        (count, seed): rows
        for seed in range(config.seed, config.seed + config.repeats)
        for count, rows in nested_masks(crystals.ids, available, config.labels, seed).items()
    }
    task, unit = name_and_unit(config.task, target)
    encoder = load_encoder(config.checkpoint)
    elements = {int(z) for crystal in crystals for z in np.unique(crystal.numbers)}
    check_elements(elements, encoder.element_types, str(config.checkpoint))
    weights, content = state_hash(encoder), data_hash(crystals, values)
    return Representation(
        config=config,
        target=target,
        task=task,
        unit=unit,
        crystals=crystals,
        ids=crystals.ids,
        labels=values,
        parts=parts,
        masks=masks,
        data_hash=content,
        encoder=encoder,
        weights=weights,
    )


def prepare_vectors(study: Representation, *, progress: bool) -> Representation:
    """Compute the vectors of every arm, or find that it was done.

    Encoders embed every crystal once, so that the vectors do not depend on the draws; descriptors, which take up to a
    second each, are computed for the crystals that some fit needs.

    Raises:
        InputError: If something cannot be written.
    """
    from matgl_infomax.data.store import build_store

    config = study.config
    encoders = {PRETRAINED: (PRETRAINED, study.encoder)}
    encoders |= {f"{UNTRAINED}-{seed}": (UNTRAINED, fresh(study.encoder, seed)) for seed in study.untrained_seeds}
    rule = study.encoder.edges
    store = build_store(study.crystals, rule, config.cache, progress=progress, workers=config.workers)
    found = {name: _embedded(kind, model, store, config.cache, progress) for name, (kind, model) in encoders.items()}
    for name in unique(config.descriptors):
        found[name] = _described(study, name, progress)
    return replace(study, vectors=found)


def fresh(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same architecture whose weights are random: what the architecture gives by itself.

    Args:
        encoder: the trained one; left as it is.
        seed: seed of the weights.
    """
    from matgl_infomax.nn.matgl_net import MatGLNet
    from matgl_infomax.nn.sitenet import SiteNet

    if isinstance(encoder, MatGLNet):
        return MatGLNet.seeded(seed, **encoder.init_args)
    # Every setting of a preset is among the arguments that an encoder remembers.
    return SiteNet.from_preset("compact", seed=seed, **encoder.init_args)


def unique(names: Sequence[str]) -> list[str]:
    """Names without repetition, in the order they were given."""
    return list(dict.fromkeys(names))


def _embedded(kind: str, encoder: Encoder, store: Any, cache: Path, progress: bool) -> Vectors:
    """Crystal vectors of an encoder."""
    from matgl_infomax.tasks.arms import state_hash
    from matgl_infomax.train.predict import embed_rows

    weights = state_hash(encoder)
    content = sha256_of(f"{weights} {store.key}")
    lines = np.arange(len(store))
    file = cache.expanduser() / f"vectors-{content[:24]}.npy"
    values = cached_array(file, partial(embed_rows, encoder, store, lines, progress=progress))
    if not np.isfinite(values).all():
        raise InputError(f"The {kind} encoder gives no finite vector for some crystals: its training diverged.")
    return Vectors(kind, file, lines, values.shape[1], content, {}, weights, store.key)


def _described(study: Representation, name: str, progress: bool) -> Vectors:
    """Descriptors of the crystals that some fit needs."""
    rows, config = study.needed, study.config
    chosen = study.crystals.subset(rows)
    lines = np.full(len(study.crystals), -1)
    lines[rows] = np.arange(len(rows))
    if name == "magpie":
        from matgl_infomax.tasks import descriptors as magpie

        file = magpie.descriptors(chosen, config.cache, workers=config.workers, progress=progress)
        width = magpie.read_descriptors(file).shape[1]
        content = sha256_of(f"magpie {magpie.CODE_VERSION} {version('matminer')}")
        return Vectors(name, file, lines, width, content, {})
    from matgl_infomax.tasks.structure_descriptors import recipe, structure_descriptors

    found = structure_descriptors(name, chosen, config.cache, workers=config.workers, progress=progress)
    file = config.cache.expanduser() / f"{name}-{sha256_of(found.values.tobytes())[:24]}.npy"
    cached_array(file, lambda: found.values)
    failures = {int(rows[line]): reason for line, reason in found.failures.items()}
    return Vectors(name, file, lines, found.values.shape[1], recipe(name), failures)
