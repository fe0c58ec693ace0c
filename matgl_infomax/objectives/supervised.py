"""Supervised pretraining: energies, and forces and stresses as derivatives of the energy.

Preset ``relaxed`` is the loss of Gao et al. 2022 (arXiv 2211.14429), (1 - a) MAE(E) + a mean |dE/dR|: in a relaxed
structure every force is zero. ``default`` is that of Jia et al. 2024 (Digital Discovery): energy, force and stress
where there are labels. Labels come with the batches, in units of the spread of the energies (``data.forces``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch, View, segment_mean
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.errors import InputError
from matgl_infomax.nn.kernels import plain_formulas
from matgl_infomax.nn.layers import Head
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder, levels, site_vectors
from matgl_infomax.objectives.perturb import moved, within
from matgl_infomax.settings.base import chosen
from matgl_infomax.settings.training import LabelColumns

Derivatives = tuple[Tensor, Tensor, Tensor]
"""Energy per atom (b,), forces (n, 3) and stress times volume per atom (b, 3, 3)."""


class Supervised(Objective):
    """Predict energies whose derivatives are the forces and stresses; L1 losses, labels that are missing left out.

    Args:
        encoder: the network to be trained; only its widths are read here.
        settings: labels and weights.

    Raises:
        InputError: If derivatives are asked of a network that gets them wrong.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"energies"})

    def __init__(self, encoder: TwoLevelEncoder, settings: SupervisedSettings) -> None:
        super().__init__()
        self.settings = self.columns = settings
        self.geometry = self._derives
        # An encoder from elsewhere need not say so.
        reason = getattr(encoder, "wrong_forces", None)
        if self._derives and reason:
            raise InputError(
                f"{reason} Learn from energies alone (force_weight=0 stress_weight=0), or take another network."
            )
        by_distance = encoder.separable and not self._derives
        self.view: View = "merged" if by_distance else "full"
        width = encoder.site_vector_width if settings.level == "site" else encoder.crystal_vector_width
        self.energy = Head(width, [settings.hidden_width], 1, "mish")

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Supervised:
        """Supervised pretraining with a head as wide as this encoder's vectors.

        Raises:
            InputError: For an unknown preset or option, or a network whose forces are wrong.
        """
        return cls(encoder, supervised_settings(preset, options))

    @property
    def _derives(self) -> bool:
        """Whether forces or stresses are part of the loss."""
        return self.settings.learns_forces or self.settings.learns_stress

    def loss(
        self,
        encoder: TwoLevelEncoder,
        batch: SiteBatch,
        generator: torch.Generator,  # noqa: ARG002 - nothing is drawn here
        share: Share | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the mean absolute errors of energy per atom, forces, and stress times volume per atom."""
        s = self.settings
        share = share or Share.of(batch)
        whole, own = share.whole, share.own
        if whole.energy is None or whole.stress is None:
            raise InputError(
                "Supervised pretraining needs labels, and none were named. Give them as "
                "--objective-options energy=COLUMN (and forces=, stress=), or take another objective."
            )
        energy, forces, stress = self.answer(encoder, own)
        parts = {"energy": _crystals_error(energy, whole.energy, share)}
        parts |= {name: energy.new_zeros(()) for name in ("force", "stress")}
        if s.learns_forces:
            label = forces.new_full((whole.n_sites, 3), torch.nan) if whole.forces is None else whole.forces  # (N, 3)
            parts["force"] = _sites_error(forces, self._wanted(label), share)
        if s.learns_stress:
            parts["stress"] = _crystals_error(stress, self._wanted(whole.stress), share)
        total = s.energy_weight * parts["energy"] + s.force_weight * parts["force"] + s.stress_weight * parts["stress"]
        return total, {name: value.detach() for name, value in parts.items()}

    def answer(self, encoder: TwoLevelEncoder, batch: SiteBatch) -> Derivatives:
        """What is predicted of some crystals: energies, forces and stresses, the last two zero where nobody asks.

        Args:
            encoder: the network that is trained.
            batch: n sites, b crystals; with geometry where derivatives are part of the loss.
        """
        like = batch.distance
        shift, strain = like.new_zeros(batch.n_sites, 3), like.new_zeros(batch.n_crystals, 3, 3)
        if not self._derives:
            return self.energies(encoder, batch), shift, strain
        training = torch.is_grad_enabled()
        # Second derivatives are needed, and validation without any needs the first ones.
        with torch.enable_grad(), plain_formulas():
            shift.requires_grad_(True)
            strain.requires_grad_(True)
            energy = self.energies(encoder, within(moved(batch, shift, strain), encoder.reach_angstrom))  # (b,)
            total = (energy * batch.atoms).sum() + 0.0 * (shift.sum() + strain.sum())  # of no crystals too
            gradients = torch.autograd.grad(total, (shift, strain), create_graph=training)
        work = 0.5 * (gradients[1] + gradients[1].transpose(1, 2)) / batch.atoms.view(-1, 1, 1)  # (b, 3, 3)
        return (energy, -gradients[0], work) if training else (energy.detach(), -gradients[0], work.detach())

    def energies(self, encoder: TwoLevelEncoder, batch: SiteBatch) -> Tensor:
        """Energy per atom, (b,): from the crystal vector, or as the mean of what each site contributes."""
        if self.settings.level == "crystal":
            return self.energy(at_least_single(levels(encoder, batch, False)[1].vector)).squeeze(1)  # (b,)
        each = self.energy(at_least_single(site_vectors(encoder, batch))).squeeze(1)  # (n,)
        if batch.weight is None:
            return segment_mean(each, batch.owner, batch.size)
        return each.new_zeros(batch.n_crystals).index_add(0, batch.owner, each * batch.weight) / batch.atoms

    def _wanted(self, label: Tensor) -> Tensor:
        """Labels of forces or stresses; of relaxed crystals those that are missing are zero."""
        return label.nan_to_num(0.0) if self.settings.relaxed else label


def _sites_error(predicted: Tensor, wanted: Tensor, share: Share) -> Tensor:
    """Mean absolute error of vectors of sites, (n, 3) against (N, 3): over a crystal's sites, then over crystals."""
    whole, own = share.whole, share.own
    missing = segment_mean(wanted.isnan().any(1).to(predicted.dtype), whole.owner, whole.size) > 0  # (B,)
    error = (predicted - wanted[share.sites].nan_to_num(0.0)).abs().mean(1)  # (n,)
    return _mean_of_known(segment_mean(error, own.owner, own.size), ~missing, share)


def _crystals_error(predicted: Tensor, wanted: Tensor, share: Share) -> Tensor:
    """Mean absolute error of values of crystals, (b, ...) against (B, ...)."""
    flat, label = predicted.flatten(1) if predicted.dim() > 1 else predicted[:, None], wanted.reshape(len(wanted), -1)
    error = (flat - label[share.crystals].nan_to_num(0.0)).abs().mean(1)  # (b,)
    return _mean_of_known(error, ~label.isnan().any(1), share)


def _mean_of_known(error: Tensor, known: Tensor, share: Share) -> Tensor:
    """This process's share of the mean of errors (b,) over the crystals with a label (B,); zero if there is none."""
    return (error * known[share.crystals]).sum() * (share.ranks / known.sum().clamp(min=1).to(error.dtype))


def supervised_settings(preset: str, options: Mapping[str, Any]) -> SupervisedSettings:
    """The settings of a preset with the user's options over it.

    Raises:
        InputError: For an unknown preset or option.
    """
    return chosen("supervised", SupervisedSettings, SUPERVISED_PRESETS, preset, options)


# Settings of supervised pretraining; no label is read that is not named here.


class SupervisedSettings(LabelColumns):
    """Which labels are learnt, and how much each counts; all in units of the spread of the energies."""

    energy_weight: float = Field(default=1.0, ge=0, description="Weight of the error of the energy per atom.")
    force_weight: float = Field(
        default=1.0, ge=0, description="Weight of the error of the forces; 0 takes no derivatives."
    )
    stress_weight: float = Field(
        default=1.0, ge=0, description="Weight of the error of the stress times volume per atom."
    )
    relaxed: bool = Field(
        default=False,
        description="Take the forces and stresses of crystals without such labels for zero, as they are where a structure was relaxed.",
    )
    level: Literal["crystal", "site"] = Field(
        default="crystal",
        description="What the energy is made from: the crystal vector, so that the whole network learns, or what each site contributes, as in force fields.",
    )
    hidden_width: int = Field(default=64, ge=1, description="Hidden width of the energy head.")

    @property
    def learns_forces(self) -> bool:
        """Whether forces are part of the loss: labels, or zeros of relaxed crystals."""
        return self.force_weight > 0 and (self.relaxed or self.forces is not None)

    @property
    def learns_stress(self) -> bool:
        """Whether stresses are part of the loss."""
        return self.stress_weight > 0 and (self.relaxed or self.stress is not None)


SHARE_OF_FORCES = 0.1
"""a in (1 - a) MAE(E) + a mean |dE/dR|; the paper's own value is not known here."""

SUPERVISED_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "relaxed": {
        "relaxed": True,
        "energy_weight": 1.0 - SHARE_OF_FORCES,
        "force_weight": SHARE_OF_FORCES,
        "stress_weight": 0.0,
    },
    "energy": {"force_weight": 0.0, "stress_weight": 0.0},
}
"""Energy, force and stress of labelled frames; energy and vanishing forces of relaxed crystals; energy alone."""
