"""From a crystal's vector to its properties."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from matgl_infomax.nn.activations import activation_named


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
