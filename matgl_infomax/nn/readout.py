"""From site vectors to the crystal's vector: layers, mean over the unique sites, layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.errors import InputError
from matgl_infomax.nn.layers import stack

POOLINGS = {"mean": 1, "mean_spread": 2}
"""What is taken over the sites, and how many numbers it makes of one."""
LEAST_VARIANCE = 1e-4
"""Keeps the slope of the square root finite where all sites are equal."""


class GlobalEncoder(nn.Module):
    """Mean pooling, with or without the spread, between two stacks of layers.

    The mean over unique sites equals the mean over the supercell, so the vector does not depend on the cell chosen.

    Shapes:
        sites (N, D) -> crystals (B, width).
    """

    def __init__(
        self,
        site_width: int,
        before_widths: Sequence[int],
        after_widths: Sequence[int],
        activation: str,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InputError(f"Unknown pooling {pooling!r}. Choose one of: {', '.join(POOLINGS)}.")
        self.pooling = pooling
        pooled = POOLINGS[pooling] * (before_widths[-1] if before_widths else site_width)
        self.before = stack(site_width, before_widths, activation)
        self.after = stack(pooled, after_widths, activation)
        self.width = after_widths[-1] if after_widths else pooled

    def forward(self, site: Tensor, batch: SiteBatch) -> Tensor:
        """Crystal vectors, (B, width).

        Args:
            site: site vectors, (N, D).
            batch: the crystals they belong to.
        """
        before = self.before(site)  # (N, pooled)
        mean = segment_mean(before, batch.owner, batch.atoms, batch.weight)  # (B, P)
        if self.pooling == "mean":
            return self.after(mean)  # (B, width)
        away = (before - mean.index_select(0, batch.owner)) ** 2  # (N, P)
        variance = segment_mean(away, batch.owner, batch.atoms, batch.weight)  # (B, P)
        return self.after(torch.cat([mean, (variance + LEAST_VARIANCE).sqrt()], dim=1))  # (B, width)
