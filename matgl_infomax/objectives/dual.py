"""DSSL: hidden elements, two moved copies of a crystal that should agree, and a physical number of the hidden sites.

Fu, Wei and Hu, J. Phys. Chem. Lett. 2024 (arXiv 2401.05223). As published, the agreement knows no other crystal, so
that only the other parts keep the vectors apart; the default compares with the other crystals of the batch. Masks and
copies are drawn anew at every step, where the published code drew them once for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from matgl_infomax.config import Settings
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.objectives.agree import Projector, at_least_two, barlow_twins, cosine, nt_xent
from matgl_infomax.objectives.base import Objective, SiteNumber, TwoLevelEncoder
from matgl_infomax.objectives.health import spread_of
from matgl_infomax.objectives.levels import site_vectors
from matgl_infomax.objectives.masked import element_head, guessed
from matgl_infomax.objectives.micro import FROM_POTENTIAL, MICRO, Micro
from matgl_infomax.objectives.options import chosen
from matgl_infomax.objectives.twins import both_whole
from matgl_infomax.objectives.views import Rounding, moved, nudges, some_sites, with_hidden, within


class DualSettings(Settings):
    """What is hidden and moved, what is compared with what, and how much each part counts."""

    share: float = Field(default=0.15, gt=0, le=1, description="Share of each crystal's sites whose element is hidden, at least one.")  # noqa: E501
    rounding: Rounding = Field(default="nearest", description="How that share becomes a whole number: nearest, down, or down and one more (up).")  # noqa: E501
    single: bool = Field(default=False, description="Also hide the only site of a one-atom cell, as published.")
    least_angstrom: float = Field(default=0.0, ge=0, description="Shortest displacement of a site in a copy; lengths are even, directions random.")  # noqa: E501
    most_angstrom: float = Field(default=0.1, gt=0, description="Longest displacement of a site in a copy.")
    contrast: Literal["nt_xent", "barlow", "cosine"] = Field(default="nt_xent", description="Agreement of the copies: against all other crystals, by Barlow Twins, or the cosine alone, as published.")  # noqa: E501
    temperature: float = Field(default=0.1, gt=0, description="NT-Xent: smaller is sharper.")
    redundancy: float = Field(default=0.0051, gt=0, description="Barlow Twins: weight of what two dimensions say both.")
    projector_layers: int = Field(default=2, ge=0, description="Layers between the crystal's vector and the compared one; 0 compares the vector itself.")  # noqa: E501
    micro: Literal["none", "valence", "stiffness", "curvature", "hessian"] = Field(default="none", description="Physical number that is told of hidden sites: none, valence electrons, the stiffness of the element, or that of the site by a potential: curvature of its energy with volume, or trace of its Hessian.")  # noqa: E501
    potential: str | None = Field(default=None, description="Folder of the potential that curvature or hessian come from; any that MatGL opens.")  # noqa: E501
    micro_raw: bool = Field(default=False, description="Stiffness: absolute error in its unit, as published, instead of the smooth error of its standardised logarithm.")  # noqa: E501
    hidden_width: int = Field(default=64, ge=0, description="Hidden width of the heads of hidden sites; 0 for linear ones.")  # noqa: E501
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
        self.micro: Micro | None = None
        if s.micro != "none":
            self.micro = MICRO[s.micro](encoder.site_vector_width, s.hidden_width, s.micro_raw)
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
