"""Force fields: a network of MatGL, fresh or pretrained, learns energies, forces and stresses inside MatGL's Potential.

The folder opens with ``matgl.load_model`` as a potential, for MatGL's ASE calculator and relaxers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import check_elements
from matgl_infomax.data.forces import GPA_OF, EnergyScale, ForceLabels, energy_scale, force_size
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.host import Potential, load_model
from matgl_infomax.io import read_json
from matgl_infomax.nn.build import load_encoder, save_model
from matgl_infomax.nn.matgl_net import MatGLNet, full_arguments
from matgl_infomax.nn.potential import Told, check_forces, energy_network, new_potential, take_over, tell
from matgl_infomax.nn.sitenet import ELEMENTS
from matgl_infomax.record import claim_folder
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.training import ForceFieldSettings, ModelSettings
from matgl_infomax.train.finetune import FEWEST_FOR_VALIDATION, VALIDATION_STREAM
from matgl_infomax.train.loop import CHECKPOINT, run_steps
from matgl_infomax.train.losses import check_force_labels
from matgl_infomax.train.module import AveragedModule, WeightAverage
from matgl_infomax.train.ranks import HeldOut

RECORD = "forcefield.json"
DEFAULTS = ForceFieldSettings()


@dataclass(frozen=True)
class FittedForces:
    """A finished force field."""

    path: Path
    """Folder for ``matgl.load_model``."""
    potential: Potential
    """The potential with its best weights."""
    history: list[dict[str, float]]
    """Errors at each validation: energy eV/atom, forces eV/angstrom, stress GPa."""
    best_step: int
    """Step whose weights were kept."""
    seconds: float
    """Time of training in this process."""
    n_train: int
    """Crystals that gave gradients."""
    n_validation: int
    """Crystals that chose the checkpoint."""


class ForceStart(NamedTuple):
    """What a force field starts from."""

    network: Any
    """One of MatGL's networks, which gives energies."""
    learnt: list[nn.Parameter]
    """Its pretrained weights; none from scratch."""


def start_network(init: Path | str | None, model: ModelSettings, seed: int, elements: Sequence[int]) -> ForceStart:
    """The network that a force field starts from, and its pretrained weights; none from scratch.

    Args:
        init: folder of an encoder or of a potential; none starts from scratch.
        model: network, when there is no ``init``.
        seed: seed of the weights that start afresh.
        elements: atomic numbers in the data.

    Raises:
        InputError: If the network makes no force field, or does not know an element.
    """
    if init is None:
        check_forces(model.name)
        network = energy_network(model.name, ELEMENTS, full_arguments(model.name, model.options), seed)
        check_elements(elements, network.element_types, f"A fresh {model.name}")
        return ForceStart(network, learnt=[])
    encoder = load_encoder(init)
    check_forces(encoder.name if isinstance(encoder, MatGLNet) else "sitenet")
    check_elements(elements, encoder.element_types, str(init))
    pretrained = cast(MatGLNet, encoder)
    arguments = pretrained.init_args["arguments"]
    network = energy_network(pretrained.name, pretrained.element_types, arguments, seed)
    return ForceStart(network, learnt=take_over(network, pretrained.name, pretrained.network))


def rule_of(network: Any) -> RadiusRule:
    """How crystals become pairs for a network."""
    return RadiusRule(float(network.cutoff))


def fit_forces(
    start: ForceStart,
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    labels: ForceLabels,
    out: Path,
    settings: ForceFieldSettings = DEFAULTS,
    *,
    progress: bool = True,
) -> FittedForces:
    """Train a potential; element energies, unit, validation part and checkpoint come out of these labels alone.

    A run that was stopped goes on from its last checkpoint and ends with the same weights, bit for bit on the CPU.

    Args:
        start: network and its pretrained weights, from ``start_network``.
        store: prepared crystals.
        rows: rows of the store to learn from, (n,).
        labels: of these rows, (n,).
        out: folder of the potential.
        settings: training.
        progress: show a bar.

    Raises:
        InputError: If there are no labels, or none that can be scaled, or the folder holds another run.
    """
    network, learnt = start
    rows = np.asarray(rows, dtype=np.int64)
    if len(labels) != len(rows):
        raise InputError(f"Each crystal needs its labels. Received: {len(rows)} crystals, labels of {len(labels)}.")
    check_force_labels(labels)
    store.check_rule(rule_of(network))
    began = time.perf_counter()
    train, held_out = _split(len(rows), settings)
    scale = force_scale(labels.pick(train), [store.numbers(int(rows[k])) for k in train])
    weights = [float(p.detach().double().sum()) for p in network.parameters()]
    claim = {"settings": deciding(settings), "store": store.key, "rows": rows, "start": weights}
    claim_folder(out, "forcefield", claim | labels.claim())
    potential = new_potential(network, scale)
    if (out / RECORD).is_file():
        return _finished(out)
    training, validation = (StoreBatches(store, rows[p], physics=labels.pick(p)) for p in (train, held_out))
    fixed = group_by_sites(validation.sizes, np.arange(len(held_out)), settings.batch_sites)
    module = ForceModule(potential, settings, HeldOut(validation, fixed), learnt)
    loader = training.loader(_order(training, settings))
    run_steps(module, loader, settings, out=out, description="Force field" if progress else None)
    facts = {"seconds": time.perf_counter() - began, "n_train": len(train), "n_validation": len(held_out)}
    return _save(module, out, facts)


def _order(training: StoreBatches, settings: ForceFieldSettings) -> StepOrder:
    """The batches of the whole run."""
    return StepOrder(
        training.sizes,
        steps=settings.steps,
        chunk=settings.validate_every,
        batch_sites=settings.batch_sites,
        seed=settings.seed,
    )


def force_scale(labels: ForceLabels, numbers: Sequence[NDArray[np.int64]]) -> EnergyScale:
    """Element energies, and the size of the forces as the unit: a fresh network then gives forces of that size.

    Args:
        labels: of n crystals, in eV and angstrom.
        numbers: atomic numbers of each, (N,).
    """
    scale = energy_scale(labels, numbers)
    size = force_size(labels) if labels.has_forces else 0.0
    return replace(scale, unit=size) if size > 0 else scale


def _split(n: int, settings: ForceFieldSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that give gradients, and positions that choose the checkpoint (none if they would be too few)."""
    order = random_stream(settings.seed, VALIDATION_STREAM).permutation(n)
    held_out = round(n * settings.validation_fraction)
    held_out = held_out if held_out >= FEWEST_FOR_VALIDATION else 0
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _save(module: ForceModule, out: Path, facts: dict[str, Any]) -> FittedForces:
    """Write the best weights as MatGL's potential, and the record last."""
    module.potential.load_state_dict(module.best_state)
    record = json.dumps({"history": module.history, "best_step": module.best_step, **facts})
    about = {"matgl_infomax": "forcefield", "step": module.best_step}
    save_model(module.potential.cpu().eval(), out, about, {RECORD: record})
    (out / CHECKPOINT).unlink(missing_ok=True)
    return _finished(out)


def _finished(out: Path) -> FittedForces:
    """A run that is complete."""
    potential = load_model(out)  # first: it checks the record as well
    record = read_json(out / RECORD)
    if not isinstance(potential, Potential):
        raise InputError(f"{out} holds a {type(potential).__name__}, not a potential. Choose another folder.")
    return FittedForces(out, potential.eval(), **record)


# One training of a force field: errors of energy, forces and stress, and the running average that predicts.


class ForceModule(AveragedModule):
    """One step on labelled crystals; labels that are missing are left out of the loss."""

    def __init__(
        self, potential: Potential, settings: ForceFieldSettings, held_out: Sequence[Any], learnt: list[nn.Parameter]
    ) -> None:
        known = {id(p) for p in learnt}
        fresh = [p for p in potential.parameters() if id(p) not in known and p.requires_grad]
        groups = [
            {"params": fresh, "lr": settings.learning_rate},
            {"params": learnt, "lr": settings.learning_rate * settings.encoder_rate},
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            steps=settings.steps,
            weight_decay=settings.weight_decay,
            warmup_fraction=settings.warmup_fraction,
        )
        self.potential, self.settings = potential, settings
        self.average = WeightAverage(potential, settings.ema_decay)
        self.held_out = held_out

    def training_step(self, batch: SiteBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Weighted mean absolute errors of the labels that are there."""
        errors = errors_of(tell(self.potential, batch), batch)
        parts = {name: error.sum() / max(1, len(error)) for name, error in errors.items()}
        total = self._weighted(parts)
        self.count({"loss": total, **parts})
        return total

    def _weighted(self, parts: dict[str, Any]) -> Any:
        """The loss from the errors of each kind."""
        s = self.settings
        return s.energy_weight * parts["energy"] + s.force_weight * parts["force"] + s.stress_weight * parts["stress"]

    def validate(self) -> tuple[dict[str, float], nn.Module]:
        """Mean absolute errors of the averaged weights on crystals held out."""
        if not len(self.held_out):
            return {}, self.potential
        found: dict[str, list[Tensor]] = {}
        for _, batch in self.own_batches(self.held_out):
            for name, error in errors_of(tell(self.potential, batch), batch).items():
                found.setdefault(name, []).append(error.detach())
        errors = {name: torch.cat(parts) for name, parts in found.items()}
        means = {name: float(error.mean()) if len(error) else 0.0 for name, error in errors.items()}
        return {**means, "score": float(self._weighted(means))}, self.potential


def errors_of(predicted: Told, batch: SiteBatch) -> dict[str, Tensor]:
    """Absolute errors of what has a label: energies per atom (b,), force components (m,), stress components (k,)."""
    labels: Any = (batch.energy, batch.forces, batch.stress)
    answers = (predicted.energy / batch.size, predicted.forces, predicted.stress)
    errors = {}
    for name, answer, label in zip(("energy", "force", "stress"), answers, labels, strict=True):
        difference = answer - label
        if name == "stress":
            difference = difference * _gpa_per_ev(batch)
        errors[name] = difference[~label.isnan()].abs()
    return errors


def _gpa_per_ev(batch: SiteBatch) -> Tensor:
    """From stress times volume per atom, eV, to GPa, (B, 1, 1)."""
    lattice: Any = batch.lattice
    return (GPA_OF["eV/A3"] * batch.size / torch.linalg.det(lattice).abs()).view(-1, 1, 1)
