"""Denoising: move the atoms a little, strain the cell, and tell what the clean crystal was.

Distances as in CDSSL (New et al. 2024, arXiv 2408.17255): noise on positions, the clean distances of the pairs as the
answer, so that nothing depends on the orientation. Coordinates as in Zaidi et al. (ICLR 2023): the noise itself, put
together from pair vectors, so that the answer turns with the crystal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.nn.layers import BondLayer
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder, site_vectors
from matgl_infomax.objectives.perturb import displacements, keep_pairs, moved, pair_vectors, strains, strengths, within
from matgl_infomax.settings.base import Settings, chosen

BASIS = 16
"""Gaussians along the distance of a pair."""


class DenoiseSettings(Settings):
    """How strong the noise is, and what is to be told of the clean crystal."""

    answer: Literal["distances", "coordinates"] = Field(
        default="distances",
        description="What is told of the clean crystal: its distances, or the displacement of each site.",
    )
    least_angstrom: float = Field(
        default=0.02,
        gt=0,
        description="Weakest noise on positions; every crystal draws its own strength, evenly in the logarithm.",
    )
    most_angstrom: float = Field(default=0.5, gt=0, description="Strongest noise on positions.")
    strain: float = Field(
        default=0.08,
        ge=0,
        description="Standard deviation of the strain of the cell; 0 leaves cells alone. Without it a one-atom cell has nothing to be denoised.",
    )
    reach_angstrom: float = Field(default=5.0, gt=0, description="Pairs up to this clean distance are asked for.")
    hidden_width: int = Field(default=64, ge=1, description="Hidden width of the answering head.")

    @model_validator(mode="after")
    def _weak_before_strong(self) -> DenoiseSettings:
        if self.least_angstrom > self.most_angstrom:
            raise ValueError(f"least_angstrom {self.least_angstrom} is above most_angstrom {self.most_angstrom}")
        return self


DENOISE_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # What the default was before the search for a recipe (leaderboard/results/recipe).
    "gentle": {"most_angstrom": 0.3, "strain": 0.02},
    "published": {"most_angstrom": 0.3, "strain": 0.0},
    "coordinates": {"answer": "coordinates", "least_angstrom": 0.04, "most_angstrom": 0.04, "strain": 0.0},
}


@dataclass(frozen=True)
class Noise:
    """What was done to a batch."""

    noisy: SiteBatch
    """The crystals with their atoms moved and their cells strained."""
    size_angstrom: Tensor
    """Standard deviation of the displacements of each crystal along an axis, (B,)."""
    shift: Tensor
    """The displacements, (N, 3), angstrom."""


class Denoise(Objective):
    """Tell clean distances, or displacements, from a noisy crystal; the loss is about 0.8 for an answer of zero.

    Args:
        encoder: the network to be trained; only its width is read here.
        settings: noise and answer.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"clean places"})
    geometry = True

    def __init__(self, encoder: TwoLevelEncoder, settings: DenoiseSettings) -> None:
        super().__init__()
        self.settings = settings
        self.pair = BondLayer(encoder.site_vector_width, BASIS, settings.hidden_width, "mish")
        self.out = nn.Linear(settings.hidden_width, 1)
        centre = torch.linspace(0.0, settings.reach_angstrom, BASIS)
        self.register_buffer("centre", centre, persistent=False)

    centre: Tensor

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Denoise:
        """Denoising with a head as wide as this encoder's site vectors.

        Raises:
            InputError: For an unknown preset or option, or noise whose weakest is stronger than its strongest.
        """
        return cls(encoder, chosen("denoise", DenoiseSettings, DENOISE_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error in units of the expected noise, and the same for an answer of zero."""
        share = share or Share.of(batch)
        noise = self.noise(batch, generator)
        vectors = site_vectors(encoder, share.cut(within(noise.noisy, encoder.reach_angstrom)))  # (n, D)
        loss, zero = self.denoising_loss(vectors, noise, share)
        return loss, {"noise": loss.detach(), "blind": zero.detach()}

    def noise(self, batch: SiteBatch, generator: torch.Generator) -> Noise:
        """Fresh noise for all crystals, which keep the pairs of the clean ones."""
        size = strengths(batch, self.settings.least_angstrom, self.settings.most_angstrom, generator)  # (B,)
        shift = displacements(batch, size, generator)  # (N, 3)
        strain = strains(batch, self.settings.strain, generator) if self.settings.strain else None  # (B, 3, 3)
        return Noise(moved(batch, shift, strain), size, shift)

    def denoising_loss(self, vectors: Tensor, noise: Noise, share: Share) -> tuple[Tensor, Tensor]:
        """Mean absolute error of what the head tells of the clean crystals, and the same for an answer of zero.

        Args:
            vectors: vectors of the own sites of the noisy crystals, (n, D).
            noise: what was done to all crystals.
            share: which crystals are this process's own.
        """
        s, vectors = self.settings, at_least_single(vectors)
        # The pairs are those of the clean crystal, so that each has a clean distance; a site's own never changes.
        within_reach = (share.own.distance > 0) & (share.own.distance <= s.reach_angstrom)  # (E,)
        near, clean = keep_pairs(share.cut(noise.noisy), within_reach), share.own.distance[within_reach]  # (M,)
        answer, own = self.answer(vectors, near), noise.size_angstrom[share.crystals]  # (M,), (b,)
        if s.answer == "distances":
            owner = near.owner[near.src]  # (M,)
            wanted = (clean - near.distance) / expected_change(own[owner], clean, s.strain)  # (M,)
            pairs = torch.bincount(owner, minlength=near.n_crystals)  # (b,)
            error, blind = (segment_mean(v.abs(), owner, pairs) for v in (answer - wanted, wanted))  # (b,)
            return share.mean(error), share.mean(blind)
        wanted = centred(-noise.shift[share.sites] / own[near.owner].unsqueeze(1), near)  # (n, 3)
        found = centred(summed(answer, near), near)  # (n, 3)
        return share.mean_of_sites((found - wanted).abs().mean(1)), share.mean_of_sites(wanted.abs().mean(1))

    def answer(self, vectors: Tensor, near: SiteBatch) -> Tensor:
        """What the head says of each pair, (M,), from site vectors (n, D) and noisy distances."""
        width = self.settings.reach_angstrom / (BASIS - 1)
        basis = (-0.5 * ((near.distance.unsqueeze(1) - self.centre) / width) ** 2).exp()  # (M, K)
        return self.out(self.pair(vectors, basis.to(vectors.dtype), near.src, near.dst)).squeeze(1)


def summed(answer: Tensor, near: SiteBatch) -> Tensor:
    """A vector per site, (n, 3): each pair's answer (M,) along the pair, added up; it turns with the crystal."""
    direction = pair_vectors(near) / near.distance.clamp(min=1e-6).unsqueeze(1)  # (M, 3)
    return answer.new_zeros(near.n_sites, 3).index_add(0, near.src, answer.unsqueeze(1) * direction)


def centred(vectors: Tensor, batch: SiteBatch) -> Tensor:
    """Vectors of sites, (n, 3), less their mean over each crystal: moving all atoms together changes nothing."""
    return vectors - segment_mean(vectors, batch.owner, batch.size)[batch.owner]


def expected_change(size_angstrom: Tensor, distance: Tensor, strain: float) -> Tensor:
    """How much noise changes a distance, as a standard deviation, (M,), angstrom.

    Args:
        size_angstrom: noise on the positions of each pair's crystal, (M,).
        distance: clean distances, (M,), angstrom.
        strain: standard deviation of the strain.
    """
    return (2.0 * size_angstrom**2 + (strain * distance) ** 2).sqrt()
