"""Masked elements: hide the elements of some sites, and tell them from what surrounds them.

The node masking of DSSL (Fu et al. 2024, arXiv 2401.05223), on networks that see the structure and the other elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.nn.layers import Head
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder, site_vectors
from matgl_infomax.objectives.perturb import some_sites, with_hidden
from matgl_infomax.settings.base import Settings, chosen

ELEMENT_CLASSES = 119
"""One class per atomic number; number 0 is no element."""


class MaskedSettings(Settings):
    """How much is hidden, and who guesses it."""

    share: float = Field(
        default=0.15, gt=0, le=1, description="Share of each crystal's sites whose element is hidden, at least one."
    )
    single: bool = Field(
        default=False,
        description="Also hide the only site of a one-atom cell, as published; nothing but its distances is left to guess from.",
    )
    hidden_width: int = Field(default=64, ge=0, description="Hidden width of the guessing head; 0 for a linear one.")


MASKED_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {"single": True, "hidden_width": 0},
}


class Masked(Objective):
    """Guess hidden elements from the vectors of their sites: mean cross-entropy, ln 118 for a blind guess.

    Args:
        encoder: the network to be trained; only its width is read here.
        settings: how much is hidden.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"hidden elements"})

    def __init__(self, encoder: TwoLevelEncoder, settings: MaskedSettings) -> None:
        super().__init__()
        self.settings = settings
        self.guess = element_head(encoder, settings.hidden_width)

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Masked:
        """Masked elements with a head as wide as this encoder's site vectors.

        Raises:
            InputError: For an unknown preset or option.
        """
        return cls(encoder, chosen("masked", MaskedSettings, MASKED_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the hidden elements, and the share that is guessed right; zero if nothing is hidden."""
        share = share or Share.of(batch)
        hidden = some_sites(batch, self.settings.share, generator, single=self.settings.single)  # (N,)
        vectors = site_vectors(encoder, share.cut(with_hidden(batch, hidden)))  # (n, D)
        loss, right = guessed(self.guess, vectors, hidden, share)
        return loss, {"element": loss.detach(), "right": right}

    def diagnose(self, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:
        """Share of hidden elements that are the commonest of the rest of their crystal: what needs no network."""
        hidden = some_sites(batch, self.settings.share, generator)  # (N,)
        seen = torch.zeros(batch.n_crystals, ELEMENT_CLASSES, device=batch.number.device)
        seen.index_put_((batch.owner, batch.number), (~hidden).float(), accumulate=True)  # (B, K)
        commonest = seen.argmax(1)[batch.owner]  # (N,)
        share = Share.of(batch)
        return {"commonest": float(share.mean_of_chosen((commonest == batch.number)[hidden].float(), hidden))}


def element_head(encoder: TwoLevelEncoder, hidden_width: int) -> Head:
    """From site vectors (N, D) to one score per element, (N, 119)."""
    return Head(encoder.site_vector_width, [hidden_width] if hidden_width else [], ELEMENT_CLASSES, "mish")


def guessed(head: Head, vectors: Tensor, hidden: Tensor, share: Share) -> tuple[Tensor, Tensor]:
    """Cross-entropy of hidden elements and the share guessed right: mean over a crystal's hidden sites, then crystals.

    Args:
        head: scores of the elements.
        vectors: vectors of the own sites, (n, D).
        hidden: hidden sites of the whole batch, (N,) bool.
        share: which crystals are this process's own.
    """
    own = hidden[share.sites]  # (n,)
    score = at_least_single(head(vectors[own]))  # (M, K)
    number = share.own.number[own]  # (M,)
    loss = share.mean_of_chosen(cross_entropy(score, number, reduction="none"), hidden)
    right = (score.argmax(1) == number).to(score.dtype)  # (M,)
    return loss, share.mean_of_chosen(right, hidden).detach()
