"""One training of a force field: errors of energy, forces and stress, and the running average that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.forces import GPA_OF
from matgl_infomax.host import Potential
from matgl_infomax.nn.potential import Told, tell
from matgl_infomax.settings.training import ForceFieldSettings
from matgl_infomax.train.averaged import AveragedModule
from matgl_infomax.train.ema import WeightAverage


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



def errors_of(told: Told, batch: SiteBatch) -> dict[str, Tensor]:
    """Absolute errors of what has a label: energies per atom (b,), force components (m,), stress components (k,)."""
    labels: Any = (batch.energy, batch.forces, batch.stress)
    answers = (told.energy / batch.size, told.forces, told.stress)
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
