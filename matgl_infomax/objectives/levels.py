"""Both levels of a crystal network for an objective, whichever way the network makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import at_least_single
from matgl_infomax.objectives.base import LevelLike, SeparableEncoder, TwoLevelEncoder


@dataclass(frozen=True)
class _Level:
    """The level of no rows."""

    hidden: Tensor  # (0, H)
    vector: Tensor  # (0, D)


def levels(encoder: TwoLevelEncoder, batch: SiteBatch, greedy: bool) -> tuple[LevelLike, LevelLike, Tensor]:
    """Sites and crystals, and the site vectors that the global level compares, (N, D).

    Args:
        encoder: the network to be trained.
        batch: N sites, B crystals; possibly none, where another process has them all.
        greedy: make the crystals from site vectors that pass no gradient on; only of a separable network.
    """
    if not encoder.separable:
        site, crystal = encoder.encode_levels(batch) if batch.n_crystals else _of_nothing(encoder, batch)
        return site, crystal, at_least_single(site.vector)
    site = encoder.encode_sites(batch)
    vector = at_least_single(site.vector)
    vector = vector.detach() if greedy else vector
    return site, cast(SeparableEncoder, encoder).encode_crystals(vector, batch), vector


def site_vectors(encoder: TwoLevelEncoder, batch: SiteBatch) -> Tensor:
    """Vectors of the sites alone, (N, D)."""
    empty = not encoder.separable and not batch.n_crystals
    return (_of_nothing(encoder, batch)[0] if empty else encoder.encode_sites(batch)).vector


def _of_nothing(encoder: TwoLevelEncoder, batch: SiteBatch) -> tuple[_Level, _Level]:
    """What a process without crystals has: MatGL's networks do not run on none.

    Its rows want a gradient, so that it takes part where all processes hand back theirs.
    """
    wants = torch.is_grad_enabled()

    def rows(width: int) -> Tensor:
        return batch.distance.new_zeros(0, width).requires_grad_(wants)

    site = _Level(rows(encoder.site_hidden_width), rows(encoder.site_vector_width))
    return site, _Level(rows(encoder.crystal_hidden_width), rows(encoder.crystal_vector_width))
