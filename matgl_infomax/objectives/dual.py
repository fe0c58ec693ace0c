"""DSSL: hidden elements, two moved copies of a crystal that should agree, and a physical number of the hidden sites.

Fu, Wei and Hu, J. Phys. Chem. Lett. 2024 (arXiv 2401.05223). As published, the agreement knows no other crystal, so
that only the other parts keep the vectors apart; the default compares with the other crystals of the batch. Masks and
copies are drawn anew at every step, where the published code drew them once for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, smooth_l1_loss

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import VALENCE_CLASSES, element_stiffness, valence_class
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.errors import InputError
from matgl_infomax.nn.layers import Head
from matgl_infomax.objectives.base import Objective, SiteNumber, TwoLevelEncoder, site_vectors, spread_of
from matgl_infomax.objectives.masked import element_head, guessed
from matgl_infomax.objectives.perturb import Rounding, moved, nudges, some_sites, with_hidden, within
from matgl_infomax.objectives.twins import both_whole
from matgl_infomax.objectives.two_views import Projector, at_least_two, barlow_twins, cosine, nt_xent
from matgl_infomax.settings.base import Settings, chosen


class DualSettings(Settings):
    """What is hidden and moved, what is compared with what, and how much each part counts."""

    share: float = Field(
        default=0.15, gt=0, le=1, description="Share of each crystal's sites whose element is hidden, at least one."
    )
    rounding: Rounding = Field(
        default="nearest",
        description="How that share becomes a whole number: nearest, down, or down and one more (up).",
    )
    single: bool = Field(default=False, description="Also hide the only site of a one-atom cell, as published.")
    least_angstrom: float = Field(
        default=0.0, ge=0, description="Shortest displacement of a site in a copy; lengths are even, directions random."
    )
    most_angstrom: float = Field(default=0.1, gt=0, description="Longest displacement of a site in a copy.")
    contrast: Literal["nt_xent", "barlow", "cosine"] = Field(
        default="nt_xent",
        description="Agreement of the copies: against all other crystals, by Barlow Twins, or the cosine alone, as published.",
    )
    temperature: float = Field(default=0.1, gt=0, description="NT-Xent: smaller is sharper.")
    redundancy: float = Field(default=0.0051, gt=0, description="Barlow Twins: weight of what two dimensions say both.")
    projector_layers: int = Field(
        default=2,
        ge=0,
        description="Layers between the crystal's vector and the compared one; 0 compares the vector itself.",
    )
    micro: Literal["none", "valence", "stiffness", "curvature", "hessian"] = Field(
        default="none",
        description="Physical number that is told of hidden sites: none, valence electrons, the stiffness of the element, or that of the site by a potential: curvature of its energy with volume, or trace of its Hessian.",
    )
    potential: str | None = Field(
        default=None, description="Folder of the potential that curvature or hessian come from; any that MatGL opens."
    )
    micro_raw: bool = Field(
        default=False,
        description="Stiffness: absolute error in its unit, as published, instead of the smooth error of its standardised logarithm.",
    )
    hidden_width: int = Field(
        default=64, ge=0, description="Hidden width of the heads of hidden sites; 0 for linear ones."
    )
    mask_weight: float = Field(default=1.0, ge=0, description="Weight of the hidden elements.")
    contrast_weight: float = Field(default=1.0, ge=0, description="Weight of the agreement of the copies.")
    micro_weight: float = Field(default=0.5, gt=0, description="Weight of the physical number.")

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> DualSettings:
        """Refuse options that contradict each other or would do nothing."""
        if self.least_angstrom > self.most_angstrom:
            raise ValueError(f"least_angstrom {self.least_angstrom} is above most_angstrom {self.most_angstrom}")
        if not self.mask_weight and not self.contrast_weight and self.micro == "none":
            raise ValueError("nothing is left to be learnt")
        vain = {"temperature": self.contrast != "nt_xent", "redundancy": self.contrast != "barlow"}
        vain["potential"] = self.micro not in FROM_POTENTIAL
        if self.micro in FROM_POTENTIAL and self.potential is None:
            raise ValueError(f"micro {self.micro} comes from a potential. Give the folder of one as potential")
        vain |= {"micro_weight": self.micro == "none", "micro_raw": self.micro in ("none", "valence")}
        given = [name for name, unread in vain.items() if unread and name in self.model_fields_set]
        if given:
            raise ValueError(f"{', '.join(given)} does nothing with contrast {self.contrast} and micro {self.micro}")
        return self


_PUBLISHED: dict[str, Any] = {
    "rounding": "up", "single": True, "least_angstrom": 0.1, "most_angstrom": 0.5, "contrast": "cosine",
    "projector_layers": 0, "hidden_width": 0,
}  # fmt: skip
_WITH_MICRO: dict[str, Any] = {"mask_weight": 0.1, "contrast_weight": 1.0, "micro_weight": 0.1}
DUAL_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {**_PUBLISHED, "mask_weight": 0.5, "contrast_weight": 0.5},
    "published_valence": {**_PUBLISHED, **_WITH_MICRO, "micro": "valence"},
    "published_stiffness": {**_PUBLISHED, **_WITH_MICRO, "micro": "stiffness", "micro_raw": True},
}


class Dual(Objective):
    """The weighted sum of cross-entropy of hidden elements, disagreement of two copies, and error of a physical number.

    Args:
        encoder: the network to be trained; only its widths are read here.
        settings: views, comparison and weights.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"hidden elements", "agreement of two views"})
    geometry = True

    def __init__(self, encoder: TwoLevelEncoder, settings: DualSettings) -> None:
        super().__init__()
        self.settings = s = settings
        width = encoder.crystal_vector_width
        self.guess = element_head(encoder, s.hidden_width)
        widths, shifted = [width] * (s.projector_layers + 1), s.contrast != "barlow"
        self.project = Projector(widths, "mish", batch_norm=False, shifted=shifted)
        self.micro: SiteProperty | None = None
        if s.micro != "none":
            self.micro = SITE_PROPERTIES[s.micro](encoder.site_vector_width, s.hidden_width, s.micro_raw)
        self.asks = SiteNumber(s.micro, s.potential) if s.potential else None

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Dual:
        """DSSL with heads and projector for this encoder.

        Raises:
            InputError: For an unknown preset or option, or options that contradict each other.
        """
        return cls(encoder, chosen("dual", DualSettings, DUAL_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and its parts without their weights.

        Raises:
            InputError: If the batch holds one crystal, which the default compares with others.
        """
        s, share = self.settings, share or Share.of(batch)
        hidden = some_sites(batch, s.share, generator, single=s.single, rounding=s.rounding)  # (N,)
        vectors = site_vectors(encoder, share.cut(with_hidden(batch, hidden)))  # (n, D)
        element, right = guessed(self.guess, vectors, hidden, share)
        agreement, spread_ = self._agreement(encoder, batch, generator, share)
        loss = s.mask_weight * element + s.contrast_weight * agreement
        parts = {"element": element, "right": right, "contrast": agreement, "projected_spread": spread_}
        if self.micro is not None:
            parts["micro"] = self.micro.loss(at_least_single(vectors), hidden, share)
            loss = loss + s.micro_weight * parts["micro"]
        return loss, {name: value.detach() for name, value in parts.items()}

    def _agreement(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share
    ) -> tuple[Tensor, Tensor]:
        """Disagreement of two moved copies, and how widely the compared vectors spread."""
        s = self.settings
        if s.contrast != "cosine":
            at_least_two(batch.n_crystals, f"The contrast {s.contrast}")
        copies = (moved(batch, nudges(batch, s.least_angstrom, s.most_angstrom, generator)) for _ in range(2))
        views = [share.cut(within(copy, encoder.reach_angstrom)) for copy in copies]
        compared = (self.project(vectors) for vectors in both_whole(encoder, views, share))
        one, other = map(at_least_single, compared)  # (B, P)
        width = spread_of(one)
        if s.contrast == "nt_xent":
            return nt_xent(one, other, s.temperature), width
        return (barlow_twins(one, other, s.redundancy) if s.contrast == "barlow" else cosine(one, other)), width


# Heads that tell a physical number of a site, and what an answer costs; sites without a number cost nothing.

LEAST_SPREAD = 1e-3
"""Logarithms that hardly differ within a batch are not blown up."""


class SiteProperty(nn.Module, ABC):
    """A number that sites have, or are known not to have.

    Args:
        width: width of site vectors.
        hidden_width: hidden width of the head; 0 for a linear one.
        raw: compare numbers in their unit instead of standardised ones.
    """

    answers = 1

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__()
        self.raw = raw
        self.tell = Head(width, [hidden_width] if hidden_width else [], self.answers, "mish")

    @abstractmethod
    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """What is to be told of each site, (N,), and of which sites it is known, (N,) bool."""

    @abstractmethod
    def error(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """What each answer (M, A) costs where (M,) is wanted, (M,)."""

    def loss(self, vectors: Tensor, chosen: Tensor, share: Share) -> Tensor:
        """Error of the chosen sites whose number is known: mean over a crystal's, then over crystals that have any.

        Args:
            vectors: vectors of the own sites, (n, D).
            chosen: sites of the whole batch that are asked for, (N,) bool.
            share: which crystals are this process's own.
        """
        wanted, known = self.numbers(share.whole)  # (N,), (N,)
        known = chosen & known
        own = known[share.sites]  # (n,)
        predicted = at_least_single(self.tell(vectors[own]))  # (M, A)
        return share.mean_of_chosen(self.error(predicted, wanted[share.sites][own]), known)


class Valence(SiteProperty):
    """How many valence electrons the element has: cross-entropy over 17 classes."""

    answers = VALENCE_CLASSES

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__(width, hidden_width, raw)
        self.register_buffer("table", torch.from_numpy(valence_class()), persistent=False)

    table: Tensor

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Class of each site's element."""
        wanted = self.table[batch.number]
        return wanted, wanted >= 0

    def error(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of each site."""
        return cross_entropy(predicted, wanted, reduction="none")


class _Amount(SiteProperty):
    """A number with a unit; its error is absolute, or smooth after standardisation."""

    def error(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Absolute error in the unit, or smooth absolute error of the standardised logarithm."""
        loss = l1_loss if self.raw else smooth_l1_loss
        return loss(predicted.squeeze(1), wanted.to(predicted.dtype), reduction="none")


class ElementStiffness(_Amount):
    """How stiff the element's solid is, in eV; only metals have a number."""

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__(width, hidden_width, raw)
        table = torch.from_numpy(element_stiffness())
        log = table.log1p()
        known = log[~log.isnan()]
        self.register_buffer("table", table if raw else (log - known.mean()) / known.std(), persistent=False)

    table: Tensor

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Stiffness of each site's element, in eV or standardised over the metals."""
        wanted = self.table[batch.number]
        return wanted, ~wanted.isnan()


class SiteStiffness(_Amount):
    """How stiff the site is in its crystal, as a potential has it: what the trainer put into the batch."""

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Stiffness of each site, in its unit, or its signed logarithm standardised over the batch.

        Raises:
            InputError: If the batch holds no such numbers.
        """
        if batch.site_property is None:
            raise InputError(
                "This objective asks for numbers of sites, and the batch has none: see train/site_stiffness.py."
            )
        known = ~batch.site_property.isnan()
        if self.raw:
            return batch.site_property, known
        log = batch.site_property.sign() * batch.site_property.abs().log1p()  # a site may be unstable
        mean = log[known].mean() if bool(known.any()) else log.new_zeros(())
        spread = (log[known] - mean).square().mean().sqrt().clamp(min=LEAST_SPREAD)
        return (log - mean) / spread, known


SITE_PROPERTIES: dict[str, type[SiteProperty]] = {
    "valence": Valence,
    "stiffness": ElementStiffness,
    "curvature": SiteStiffness,
    "hessian": SiteStiffness,
}
FROM_POTENTIAL = ("curvature", "hessian")
"""Numbers that need a potential."""
