"""Building blocks shared by the encoders: activation before normalisation, as in the Site-Net papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from matgl_infomax.nn.kernels import Standardise, activation_named, compiled_for


class Layer(nn.Module):
    """Linear, then activation, then layer norm: the order of the published networks.

    Shapes:
        input (..., D_in), output (..., D_out).
    """

    def __init__(self, width_in: int, width_out: int, activation: str) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out)
        self.norm = nn.LayerNorm(width_out)
        self.activation = activation_named(activation)
        self.activation_name = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to the last axis."""
        hidden = self.linear(x)  # (..., D_out)
        if hidden.dim() == 2 and compiled_for(hidden):
            return torch.addcmul(self.norm.bias, Standardise.apply(hidden, self.activation_name), self.norm.weight)
        return self.norm(self.activation(hidden))  # (..., D_out)


class BondLayer(nn.Module):
    """A ``Layer`` on the bond vector [x_i; x_j; e_ij], without ever building that vector.

    W [x_i; x_j; e_ij] = W_1 x_i + W_2 x_j + W_3 e_ij, the first two once per site instead of once per pair.
    """

    def __init__(self, site_width: int, pair_width: int, width_out: int, activation: str) -> None:
        super().__init__()
        self.widths = [site_width, site_width, pair_width]
        self.linear = nn.Linear(2 * site_width + pair_width, width_out)
        self.norm = nn.LayerNorm(width_out)
        self.activation = activation_named(activation)
        self.activation_name = activation

    def forward(self, site: Tensor, pair: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        """Hidden vector of each pair.

        Args:
            site: site vectors, (N, D).
            pair: pair vectors, (E, P).
            src: receiver of each pair, (E,).
            dst: neighbour of each pair, (E,).
        """
        own_weight, other_weight, pair_weight = self.linear.weight.split(self.widths, dim=1)
        own = functional.linear(site, own_weight, self.linear.bias)  # (N, H)
        other = functional.linear(site, other_weight)  # (N, H)
        hidden = functional.linear(pair, pair_weight)  # (E, H)
        hidden = hidden + own.index_select(0, src) + other.index_select(0, dst)  # (E, H)
        return self.norm(self.activation(hidden))  # (E, H)


def stack(width_in: int, widths: Sequence[int], activation: str) -> nn.Sequential:
    """Layers of the given widths, one after the other; the identity for no widths."""
    edges = [width_in, *widths]
    return nn.Sequential(*(Layer(a, b, activation) for a, b in pairwise(edges)))


def segment_softmax(logits: Tensor, segment: Tensor, n_segments: int, copies: Tensor | None = None) -> Tensor:
    """Softmax over the rows of each segment, column by column, in float32 at least.

    Args:
        logits: one column per head, (E, H).
        segment: segment of each row, (E,).
        n_segments: number of segments N.
        copies: how many equal rows each row stands for, (E,); none means one.

    Returns:
        Weights that sum to one in each segment, (E, H).
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    index = segment.unsqueeze(1).expand_as(logits)
    top = logits.new_full((n_segments, logits.shape[1]), -torch.inf)
    # The largest logit only keeps exp() from overflowing; it cancels, so it needs no gradient.
    top = top.scatter_reduce(0, index, logits.detach(), "amax", include_self=True)  # (N, H)
    weight = (logits - top.index_select(0, segment)).exp()  # (E, H)
    if copies is not None:
        weight = weight * copies.to(weight.dtype).unsqueeze(1)
    total = weight.new_zeros(n_segments, logits.shape[1]).index_add(0, segment, weight)  # (N, H)
    return weight / total.index_select(0, segment)


# From a crystal's vector to its properties.


class TransparentReLU(torch.autograd.Function):
    """max(0, y) whose gradient is one everywhere, so that a negative band gap can still be corrected."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:  # noqa: ARG004 - the signature is PyTorch's
        """The value itself where positive, else zero."""
        return y.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 - the signature is PyTorch's
        """The gradient as it comes."""
        return gradient


OUTPUTS = ("identity", "transparent_relu", "probability")
"""What a network may give: a number, one that is never negative, or the probability of a class."""


def physical(scaled: Tensor, mean: Tensor, std: Tensor, output: str) -> Tensor:
    """From units of the label normaliser, (B, T), to those of the property; to probabilities for a classifier."""
    value = scaled * std + mean  # (B, T)
    return torch.sigmoid(value) if output == "probability" else value


class Head(nn.Module):
    """Hidden layers without normalisation, then one number per target.

    Shapes:
        crystals (B, C) -> (B, T).
    """

    def __init__(self, width: int, hidden_widths: Sequence[int], n_targets: int, activation: str) -> None:
        super().__init__()
        edges = [width, *hidden_widths]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(edges))
        self.out = nn.Linear(edges[-1], n_targets)
        self.activation = activation_named(activation)

    def forward(self, crystal: Tensor) -> Tensor:
        """Predictions in normalised units."""
        for layer in self.hidden:
            crystal = self.activation(layer(crystal))  # (B, H)
        return self.out(crystal)  # (B, T)
