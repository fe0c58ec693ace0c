"""Site-Net's local encoder: each site attends to every site of the supercell by an additive attention.

Moran et al., Digital Discovery 2023, 2, 1297 (Site-Net) and 2025, D4DD00202D (the compact form of Deep InfoMax).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError
from matgl_infomax.nn.fused import PairAttention, PairPlan, PairShape
from matgl_infomax.nn.kernels import Standardise, compiled_for, distinct_rows, rows
from matgl_infomax.nn.layers import BondLayer, Layer, segment_softmax, stack

_OWN_ROWS = np.empty(0, np.int64)
"""Says that each pair has a row of its own."""


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

    def forward(self, site: Tensor, pair: Tensor, batch: SiteBatch) -> Tensor:
        """What each site gathers from its neighbours, heads side by side."""
        n = site.shape[0]
        src = batch.src
        dst = batch.dst
        logits = self.logit(self.logit_hidden(site, pair, src, dst))  # (E, H)
        weight = segment_softmax(logits, src, n, batch.copies)  # (E, H)
        value = self.value(self.value_hidden(site, pair, src, dst))  # (E, V)
        message = (weight.unsqueeze(2) * value.unsqueeze(1)).flatten(1)  # (E, H * V)
        return message.new_zeros(n, self.width).index_add(0, src, message)  # (N, H * V)


class LocalBlock(nn.Module):
    """Attention, a new site vector from it, and new pair vectors from the old bond vectors."""

    def __init__(self, shape: AttentionShape, update: bool) -> None:
        super().__init__()
        site = shape.site_width
        pair = shape.pair_width
        activation = shape.activation
        self.attention = SiteAttention(shape)
        self.site_update = Layer(shape.gathered_width, site, activation) if update else None
        # In the last block nobody reads the new pairs: published with its weights, never computed here.
        self.pair_update = BondLayer(site, pair, pair, activation) if update else None

    def forward(self, site: Tensor, pair: Tensor, batch: SiteBatch, last: bool) -> tuple[Tensor, Tensor]:
        """Site vectors (N, D) and, unless this is the last block, new pair vectors (E, P)."""
        new_site = self.attention(site, pair, batch)  # (N, H * V)
        if self.pair_update is not None and not last:
            pair = self.pair_update(site, pair, batch.src, batch.dst)  # (E, P)
        return self._updated(new_site), pair

    def compiled(
        self, site: Tensor, pair: Tensor, norm: nn.LayerNorm, pairs: tuple[PairPlan, NDArray[np.int64]], last: bool
    ) -> tuple[Tensor, Tensor]:
        """The same through the compiled kernels, layer norms' affine parts moved into the next layer's weights.

        Args:
            site: site vectors, (N, D).
            pair: normalised pair vectors, before the affine part of ``norm``, (U, P).
            norm: layer norm whose affine part the pairs still lack.
            pairs: pairs of the batch, and the row of ``pair`` of each, (E,); without entries each has its own.
            last: whether nobody reads the new pairs.

        Returns:
            Site vectors (N, D), and new pair vectors (E, P) that lack the affine part of ``pair_update.norm``.
        """
        attention, (plan, index) = self.attention, pairs
        bonds = [attention.logit_hidden, attention.value_hidden]
        if self.pair_update is not None and not last:
            bonds.append(self.pair_update)
        bias = torch.cat([bond.linear.bias for bond in bonds])  # (W,)
        weight = torch.cat([bond.linear.weight for bond in bonds])  # (W, 2 D + P)
        own, other, to_pair = weight.split(bonds[0].widths, dim=1)
        to_pair, bias = _after_norm(to_pair, bias, norm)
        weights = [to_pair, *_after_norm(attention.logit.weight, attention.logit.bias, bonds[0].norm)]
        norm = bonds[1].norm
        for layer in cast("Iterable[Layer]", attention.value):
            weights += _after_norm(layer.linear.weight, layer.linear.bias, norm)
            norm = layer.norm
        widths = [bond.linear.weight.shape[0] for bond in bonds] + [0]
        shape = PairShape(widths[0], widths[1], widths[2], bonds[0].activation_name)
        gathered, new_pair = PairAttention.apply(
            plan, shape, index, pair, linear(site, own, bias), linear(site, other), *weights
        )  # (N, H * V), (E, P)
        heads = attention.logit.weight.shape[0]
        # Weights sum to one, so the last affine part may follow the sum; a site without neighbours gathers zero.
        lonely = torch.from_numpy(plan.first[1:] == plan.first[:-1]).unsqueeze(1)  # (N, 1)
        gathered = gathered * norm.weight.repeat(heads) + norm.bias.repeat(heads).masked_fill(lonely, 0.0)
        return self._updated(gathered), new_pair

    def _updated(self, gathered: Tensor) -> Tensor:
        """New site vectors (N, D) from what the sites gathered (N, H * V)."""
        return gathered if self.site_update is None else self.site_update(gathered)


class LocalEncoder(nn.Module):
    """From raw site and pair features to one vector per site.

    Shapes:
        raw sites (N, F), raw pairs (E, C) -> hidden (N, n_blocks * width of a block); with ``residual`` the input's
        site vectors come first.
    """

    def __init__(
        self, features: int, channels: int, n_blocks: int, shape: AttentionShape, update: bool, residual: bool = False
    ) -> None:
        super().__init__()
        if residual and not update:
            raise InputError("residual=True needs update=True: only then are new site vectors as wide as the old ones.")
        self.residual = residual
        self.site_in = Layer(features, shape.site_width, shape.activation)
        self.pair_in = Layer(channels, shape.pair_width, shape.activation)
        self.blocks = nn.ModuleList(LocalBlock(shape, update) for _ in range(n_blocks))
        self.width = (n_blocks + residual) * (shape.site_width if update else shape.gathered_width)

    def forward(self, raw_site: Tensor, raw_pair: Tensor, batch: SiteBatch) -> Tensor:
        """Site vectors after every block, side by side."""
        if compiled_for(raw_pair, raw_pair):
            return self._compiled(raw_site, raw_pair, batch)
        site, pair = self.site_in(raw_site), self.pair_in(raw_pair)  # (N, D), (E, P)
        after_each = [site] if self.residual else []
        for number, block in enumerate(self.blocks, start=1):
            new_site, pair = block(site, pair, batch, last=number == len(self.blocks))
            site = site + new_site if self.residual else new_site  # (N, D)
            after_each.append(site)
        return torch.cat(after_each, dim=1)  # (N, n_blocks * D)

    def _compiled(self, raw_site: Tensor, raw_pair: Tensor, batch: SiteBatch) -> Tensor:
        """The same through the compiled kernels."""
        plan = PairPlan.of(batch)
        site = self.site_in(raw_site)  # (N, D)
        raw_pair, index = _shared_rows(raw_pair)  # (U, C), (E,)
        pair = Standardise.apply(self.pair_in.linear(raw_pair), self.pair_in.activation_name)  # (U, P)
        norm = self.pair_in.norm
        after_each = [site] if self.residual else []
        for number, block in enumerate(cast("Iterable[LocalBlock]", self.blocks), start=1):
            last = number == len(self.blocks)
            new_site, new_pair = block.compiled(site, pair, norm, (plan, index), last)
            site = site + new_site if self.residual else new_site  # (N, D)
            after_each.append(site)
            if block.pair_update is not None and not last:
                pair = new_pair
                norm = block.pair_update.norm
                index = _OWN_ROWS
        return torch.cat(after_each, dim=1)  # (N, n_blocks * D)


def _shared_rows(raw_pair: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
    """Distinct raw pairs (U, C) and which of them each pair is (E,); the pairs themselves if that saves little."""
    first, index = distinct_rows(rows(raw_pair))
    if 2 * len(first) > len(raw_pair):
        return raw_pair, _OWN_ROWS
    return raw_pair[torch.from_numpy(first)], index


def _after_norm(weight: Tensor, bias: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer that does the affine part of a layer norm before it as well."""
    return weight * norm.weight, bias + weight @ norm.bias
