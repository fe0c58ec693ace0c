"""Site-Net's local encoder: each site attends to every site of the supercell by an additive attention.

Moran et al., Digital Discovery 2023, 2, 1297 (Site-Net) and 2025, D4DD00202D (the compact form of Deep InfoMax).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.layers import BondLayer, Layer, segment_softmax, stack


class SiteAttention(nn.Module):
    """One attention over neighbours: logits and values are small networks of the bond vector.

    a_ij,k = softmax_j(w_k . f(B_ij)), o_i,k = sum_j a_ij,k v(B_ij); the values are shared by all heads.

    Shapes:
        sites (N, D), pairs (E, P) -> (N, n_heads * value_widths[-1]).
    """

    def __init__(
        self,
        site_width: int,
        pair_width: int,
        n_heads: int,
        logit_width: int,
        value_widths: Sequence[int],
        activation: str,
    ) -> None:
        super().__init__()
        self.logit_hidden = BondLayer(site_width, pair_width, logit_width, activation)
        self.logit = nn.Linear(logit_width, n_heads)
        self.value_hidden = BondLayer(site_width, pair_width, value_widths[0], activation)
        self.value = stack(value_widths[0], value_widths[1:], activation)
        self.width = n_heads * value_widths[-1]

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

    def __init__(
        self,
        site_width: int,
        pair_width: int,
        n_heads: int,
        logit_width: int,
        value_widths: Sequence[int],
        activation: str,
        update: bool,
    ) -> None:
        super().__init__()
        self.attention = SiteAttention(site_width, pair_width, n_heads, logit_width, value_widths, activation)
        self.site_update = Layer(self.attention.width, site_width, activation) if update else None
        # In the last block nobody reads the new pairs: published with its weights, never computed here.
        self.pair_update = BondLayer(site_width, pair_width, pair_width, activation) if update else None

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

    def __init__(
        self,
        features: int,
        channels: int,
        site_width: int,
        pair_width: int,
        n_heads: int,
        n_blocks: int,
        logit_width: int,
        value_widths: Sequence[int],
        activation: str,
        update: bool,
    ) -> None:
        super().__init__()
        self.site_in = Layer(features, site_width, activation)
        self.pair_in = Layer(channels, pair_width, activation)
        block = (site_width, pair_width, n_heads, logit_width, value_widths, activation, update)
        self.blocks = nn.ModuleList(LocalBlock(*block) for _ in range(n_blocks))
        self.width = n_blocks * (site_width if update else n_heads * value_widths[-1])

    def forward(self, raw_site: Tensor, raw_pair: Tensor, batch: SiteBatch) -> Tensor:
        """Site vectors after every block, side by side."""
        site, pair = self.site_in(raw_site), self.pair_in(raw_pair)  # (N, D), (E, P)
        after_each = []
        for number, block in enumerate(self.blocks, start=1):
            site, pair = block(site, pair, batch, last=number == len(self.blocks))
            after_each.append(site)
        return torch.cat(after_each, dim=1)  # (N, n_blocks * D)
