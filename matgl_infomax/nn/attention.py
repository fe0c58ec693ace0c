"""Site-Net's local encoder: each site attends to every site of the supercell by an additive attention.

Moran et al., Digital Discovery 2023, 2, 1297 (Site-Net) and 2025, D4DD00202D (the compact form of Deep InfoMax).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.layers import BondLayer, Layer, segment_softmax, stack


@dataclass(frozen=True)
class AttentionShape:
    """Widths of an attention and what is around it."""

    site_width: int
    """Width D of a site vector."""
    pair_width: int
    """Width P of a pair vector."""
    n_heads: int
    logit_width: int
    """Hidden width of the logits."""
    value_widths: Sequence[int]
    """Widths of the value network; the last one is what a head gathers."""
    activation: str

    @property
    def gathered_width(self) -> int:
        """Width of what a site gathers, all heads side by side."""
        return self.n_heads * self.value_widths[-1]


class SiteAttention(nn.Module):
    """One attention over neighbours: logits and values are small networks of the bond vector.

    a_ij,k = softmax_j(w_k . f(B_ij)), o_i,k = sum_j a_ij,k v(B_ij); the values are shared by all heads.

    Shapes:
        sites (N, D), pairs (E, P) -> (N, n_heads * value_widths[-1]).
    """

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        first, *rest = shape.value_widths
        self.logit_hidden = BondLayer(shape.site_width, shape.pair_width, shape.logit_width, shape.activation)
        self.logit = nn.Linear(shape.logit_width, shape.n_heads)
        self.value_hidden = BondLayer(shape.site_width, shape.pair_width, first, shape.activation)
        self.value = stack(first, rest, shape.activation)
        self.width = shape.gathered_width

    def forward(self, site: Tensor, pair: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        """What each site gathers from its neighbours, heads side by side."""
        n = site.shape[0]
        logits = self.logit(self.logit_hidden(site, pair, src, dst))  # (E, H)
        weight = segment_softmax(logits, src, n)  # (E, H)
        value = self.value(self.value_hidden(site, pair, src, dst))  # (E, V)
        message = (weight.unsqueeze(2) * value.unsqueeze(1)).flatten(1)  # (E, H * V)
        return message.new_zeros(n, self.width).index_add(0, src, message)  # (N, H * V)


class LocalBlock(nn.Module):
    """Attention, a new site vector from it, and new pair vectors from the old bond vectors."""

    def __init__(self, shape: AttentionShape, update: bool) -> None:
        super().__init__()
        site, pair, activation = shape.site_width, shape.pair_width, shape.activation
        self.attention = SiteAttention(shape)
        self.site_update = Layer(shape.gathered_width, site, activation) if update else None
        # In the last block nobody reads the new pairs: published with its weights, never computed here.
        self.pair_update = BondLayer(site, pair, pair, activation) if update else None

    def forward(self, site: Tensor, pair: Tensor, batch: SiteBatch, last: bool) -> tuple[Tensor, Tensor]:
        """Site vectors (N, D) and, unless this is the last block, new pair vectors (E, P)."""
        new_site = self.attention(site, pair, batch.src, batch.dst)  # (N, H * V)
        if self.site_update is not None:
            new_site = self.site_update(new_site)  # (N, D)
        if self.pair_update is not None and not last:
            pair = self.pair_update(site, pair, batch.src, batch.dst)  # (E, P)
        return new_site, pair


class LocalEncoder(nn.Module):
    """From raw site and pair features to one vector per site.

    Shapes:
        raw sites (N, F), raw pairs (E, C) -> hidden (N, n_blocks * width of a block).
    """

    def __init__(self, features: int, channels: int, n_blocks: int, shape: AttentionShape, update: bool) -> None:
        super().__init__()
        self.site_in = Layer(features, shape.site_width, shape.activation)
        self.pair_in = Layer(channels, shape.pair_width, shape.activation)
        self.blocks = nn.ModuleList(LocalBlock(shape, update) for _ in range(n_blocks))
        self.width = n_blocks * (shape.site_width if update else shape.gathered_width)

    def forward(self, raw_site: Tensor, raw_pair: Tensor, batch: SiteBatch) -> Tensor:
        """Site vectors after every block, side by side."""
        site, pair = self.site_in(raw_site), self.pair_in(raw_pair)  # (N, D), (E, P)
        after_each = []
        for number, block in enumerate(self.blocks, start=1):
            site, pair = block(site, pair, batch, last=number == len(self.blocks))
            after_each.append(site)
        return torch.cat(after_each, dim=1)  # (N, n_blocks * D)
