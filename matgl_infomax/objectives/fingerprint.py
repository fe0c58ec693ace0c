"""Structural fingerprints: tell what surrounds a site, as a few sums over its neighbours say it. A cheap control.

Weighted radial symmetry functions (Gastegger et al., J. Chem. Phys. 148, 241709, 2018) as the answer, which is the
simplest form of Jia et al. (2025, arXiv 2503.01227): does any structural target do what the learnt ones do?
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.elements import PROPERTY_NAMES, elemental_properties
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.nn.layers import Head
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder, site_vectors
from matgl_infomax.objectives.perturb import some_sites, with_hidden
from matgl_infomax.settings.base import Settings, chosen

LEAST_SPREAD = 1e-2
"""Numbers that hardly differ within a batch, such as those of a single site, are not blown up."""


class FingerprintSettings(Settings):
    """What is asked of the surroundings, and what is shown of the crystal."""

    share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of each crystal's sites whose element is hidden from the network; 0 shows the clean crystal.",
    )
    reach_angstrom: float = Field(
        default=5.0,
        gt=0,
        description="Neighbours up to this distance count, the farther the less; never beyond the network's own cut-off.",
    )
    gaussians: int = Field(
        default=8, ge=2, description="Shells of neighbours that are told apart, Gaussians along the distance."
    )
    hidden_width: int = Field(default=64, ge=0, description="Hidden width of the answering head; 0 for a linear one.")


FINGERPRINT_PRESETS: dict[str, dict[str, Any]] = {"default": {}, "hidden": {"share": 0.15}}


class Fingerprint(Objective):
    """Tell the fingerprint of each site from its vector; the error of an answer of zero is reported beside.

    Args:
        encoder: the network to be trained; its width, its cut-off and what it reads decide the head and the neighbours.
        settings: which fingerprint.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"structural fingerprints"})

    def __init__(self, encoder: TwoLevelEncoder, settings: FingerprintSettings) -> None:
        super().__init__()
        self.settings = settings
        merges = encoder.reads == "distances" and not settings.share
        self.view: View = "both" if merges else "full"  # hidden sites are no longer equal to others
        self.reach = min(settings.reach_angstrom, encoder.reach_angstrom or math.inf)
        self.register_buffer("weights", element_weights().float(), persistent=False)
        width, answers = settings.hidden_width, settings.gaussians * self.weights.shape[1]
        self.tell = Head(encoder.site_vector_width, [width] if width else [], answers, "mish")

    weights: Tensor

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Fingerprint:
        """Fingerprints with a head as wide as this encoder's site vectors.

        Raises:
            InputError: For an unknown preset or option.
        """
        return cls(encoder, chosen("fingerprint", FingerprintSettings, FINGERPRINT_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean smooth absolute error of the standardised fingerprint, and the same for an answer of zero."""
        share = share or Share.of(batch)
        shown = share.own
        if self.settings.share:
            hidden = some_sites(batch, self.settings.share, generator, single=True)  # (N,)
            shown = share.cut(with_hidden(batch, hidden))
        predicted = at_least_single(self.tell(site_vectors(encoder, shown)))  # (n, F)
        # Standardised over the batch of all processes: what is asked depends on no state and on no rank.
        wanted = self.wanted(batch)[share.sites].to(predicted.dtype)  # (n, F)
        zero = torch.zeros_like(wanted)
        loss, blind = (share.mean_of_sites(_error(answer, wanted)) for answer in (predicted, zero))
        return loss, {"fingerprint": loss.detach(), "blind": blind.detach()}

    @torch.no_grad()
    def wanted(self, batch: SiteBatch) -> Tensor:
        """The fingerprints of all sites in units of their spread over the batch, (N, F)."""
        found = fingerprints(batch, self.weights, self.reach, self.settings.gaussians).log1p()  # (N, F)
        centred = found - found.mean(0)
        return centred / centred.square().mean(0).sqrt().clamp(min=LEAST_SPREAD)


def element_weights() -> Tensor:
    """How much a neighbour counts, (119, 3): as one, by its atomic number, by its electronegativity (both over 10)."""
    values = torch.from_numpy(elemental_properties().values)  # (119, 8)
    charge, pull = (values[:, PROPERTY_NAMES.index(name)] for name in ("atomic_number", "electronegativity"))
    return torch.stack([torch.ones_like(charge), charge / 10.0, pull / 10.0], dim=1)


def fingerprints(batch: SiteBatch, weights: Tensor, reach_angstrom: float, gaussians: int) -> Tensor:
    """Weighted radial symmetry functions of all sites: sum over neighbours of w_j exp(-(d - c)^2 / 2 s^2) f(d).

    The centres c lie evenly up to the reach, the width s is their distance, and f falls from 1 to 0 as half a cosine.

    Args:
        batch: N sites; a site without neighbours gets zeros.
        weights: of each element, (119, W).
        reach_angstrom: farther neighbours do not count.
        gaussians: number of centres G.

    Returns:
        (N, G * W), all numbers of one centre side by side.
    """
    counted = (batch.distance > 0) & (batch.distance < reach_angstrom)  # a site is no neighbour of itself
    distance = batch.distance[counted]
    src = batch.src[counted]
    dst = batch.dst[counted]
    step = reach_angstrom / gaussians
    centre = step * torch.arange(1, gaussians + 1, dtype=distance.dtype, device=distance.device)  # (G,)
    fall = 0.5 * (1.0 + (math.pi * distance / reach_angstrom).cos())  # (M,)
    shell = (-0.5 * ((distance.unsqueeze(1) - centre) / step) ** 2).exp() * fall.unsqueeze(1)  # (M, G)
    weight = weights.to(distance.dtype)[batch.number[dst]]  # (M, W)
    each = (shell.unsqueeze(2) * weight.unsqueeze(1)).flatten(1)  # (M, G * W)
    return each.new_zeros(batch.n_sites, each.shape[1]).index_add(0, src, each)


def _error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean smooth absolute error over the numbers of each site, (n,)."""
    return smooth_l1_loss(predicted, wanted, reduction="none").mean(1)
