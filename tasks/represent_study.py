"""One representation study: which vectors, which label masks, and what a finished fit must match to count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.config_tasks import RepresentConfig
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.files import sha256_of
from matgl_infomax.tasks.kept import kept
from matgl_infomax.tasks.masking import mask_hash, nested_masks
from matgl_infomax.tasks.matbench import Split, find_task, split
from matgl_infomax.tasks.represent_fit import Fit, Job
from matgl_infomax.tasks.study import OWN_DATA, data_hash

if TYPE_CHECKING:
    from matgl_infomax.train.weights import Encoder

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
class Representation:
    """A study that was checked."""

    config: RepresentConfig
    target: str
    task: str
    unit: str | None
    crystals: Crystals
    labels: NDArray[np.float64]
    """Label of each crystal, NaN where missing, (n,). A fit gets the entries of its mask and no others."""
    parts: Split
    masks: dict[tuple[int, int], NDArray[np.int64]]
    """Unmasked rows by number of labels and seed."""
    data_hash: str
    encoder: Encoder
    weights: str
    """Hash of the encoder's weights."""

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
    def fits(self) -> list[Fit]:
        """All fits, those with few labels first."""
        heads = [(head, scaling) for scaling in unique(self.config.scaling) for head in unique(self.config.heads)]
        return [
            Fit(arm, head, scaling, count, seed)
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
            "target": self.target,
            "crystals and labels": self.data_hash,
            "encoder": self.weights,
            "task": self.task,
            "fold": self.config.fold,
            "seed": self.config.seed,
            "code version": CODE_VERSION,
        }

    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        ids = self.crystals.ids
        return sha256_of(f"{mask_hash(ids, self.parts.train)} {mask_hash(ids, self.parts.test)}")

    def fit_hash(self, fit: Fit, vectors: Vectors) -> str:
        """Hash of everything that decides the result of a fit."""
        mask = self.masks[fit.labels, fit.seed].tolist()
        return sha256_of(json.dumps([self.claim(), fit.name, vectors.content, mask], sort_keys=True))

    def job(self, fit: Fit, vectors: Vectors) -> Job:
        """What the fit gets to see: the labels of its mask, cut out of all others."""
        rows, test = self.masks[fit.labels, fit.seed], self.parts.test
        return Job(fit, vectors.file, vectors.lines[rows], self.labels[rows].copy(), vectors.lines[test])


def plan(crystals: Crystals, target: str, config: RepresentConfig) -> Representation:
    """Check a study before anything is computed or written.

    Raises:
        InputError: For an unknown task or target, too few labels, a folder without an encoder, or elements that the
            encoder does not know.
    """
    from matgl_infomax.data.elements_guard import check_elements
    from matgl_infomax.tasks.arms import state_hash
    from matgl_infomax.train.weights import load_encoder

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
    task, unit = OWN_DATA, None
    if config.task is not None:
        task, card = find_task(config.task)
        unit = card.unit if card.target == target else None
    encoder = load_encoder(config.checkpoint)
    elements = {int(z) for crystal in crystals for z in np.unique(crystal.numbers)}
    check_elements(elements, encoder.element_types, str(config.checkpoint))
    weights, content = state_hash(encoder), data_hash(crystals, values)
    return Representation(config, target, task, unit, crystals, values, parts, masks, content, encoder, weights)


def prepare(study: Representation, *, progress: bool) -> dict[str, Vectors]:
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
    return found


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
    values = kept(file, partial(embed_rows, encoder, store, lines, progress=progress))
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
    kept(file, lambda: found.values)
    failures = {int(rows[line]): reason for line, reason in found.failures.items()}
    return Vectors(name, file, lines, found.values.shape[1], recipe(name), failures)
