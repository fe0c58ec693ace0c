"""Two views of the same crystals should have the same vector, and other crystals another one: five ways to say so.

Every function takes two sets of vectors whose rows belong together, (B, P) each, of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, mish, normalize, relu, softplus

from matgl_infomax.errors import InputError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "softplus": softplus, "mish": mish}
NORM_EPS = 1e-5


class Projector(nn.Module):
    """From crystal vectors to those that are compared; thrown away after pretraining.

    Batch norm, where it is wanted, always takes the numbers of the batch at hand, so that a loss depends on no batch
    before it, and every process has to be given the whole batch.

    Args:
        widths: of the input and of every layer after it; the identity for one width.
        activation: between layers, a key of ``ACTIVATIONS``.
        batch_norm: normalise every column over the batch before each activation.
        shifted: whether the last layer has a bias; one whose columns are standardised next would forget it.
    """

    def __init__(self, widths: Sequence[int], activation: str, *, batch_norm: bool, shifted: bool = True) -> None:
        super().__init__()
        last = len(widths) - 2
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=shifted if k == last else not batch_norm) for k, (a, b) in enumerate(pairwise(widths))
        )
        inner = list(widths[1:-1]) if batch_norm else []
        self.norms = nn.ModuleList(nn.BatchNorm1d(n, eps=NORM_EPS, track_running_stats=False) for n in inner)
        self.activation = ACTIVATIONS[activation]

    def forward(self, vectors: Tensor) -> Tensor:
        """Compared vectors, (B, P)."""
        for k, layer in enumerate(self.layers):
            vectors = layer(vectors)  # (B, H)
            if k < len(self.norms):
                vectors = self.norms[k](vectors)
            if k < len(self.layers) - 1:
                vectors = self.activation(vectors)
        return vectors


def at_least_two(n_crystals: int, what: str) -> None:
    """Refuse a batch in which a crystal has no other one to differ from.

    Raises:
        InputError: If the batch holds one crystal.
    """
    if n_crystals < 2:
        raise InputError(
            f"{what} needs at least 2 crystals per batch, since a crystal is compared with others. "
            f"Received: {n_crystals}. Raise batch_sites or give more crystals."
        )


def barlow_twins(one: Tensor, other: Tensor, redundancy: float) -> Tensor:
    """Every dimension should say the same of both views, and no two dimensions the same.

    C = (standardised one)^T (standardised other) / B, loss = [sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2] / P.
    Zbontar et al., ICML 2021, eq. 1, as a mean over the P dimensions instead of a sum.

    Args:
        one: vectors of the first views, (B, P).
        other: vectors of the second views, (B, P).
        redundancy: weight of what two dimensions say both.
    """
    correlation = _product(standardised(one).T, standardised(other)) / len(one)  # (P, P)
    same = (1.0 - correlation.diagonal()).square().sum()
    square = correlation.square()
    return (same + redundancy * (square.sum() - square.diagonal().sum())) / len(correlation)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """A view should find its sister among all other views of the batch: mean cross-entropy over the 2 B views.

    L_i = -log [exp(u_i . u_i' / t) / sum_{k != i} exp(u_i . u_k / t)], u of unit length. Chen et al., ICML 2020, eq. 1.

    Args:
        one: vectors of the first views, (B, P).
        other: vectors of the second views, (B, P).
        temperature: t.
    """
    unit = normalize(torch.cat([one, other]), dim=1)  # (2 B, P)
    n = len(unit)
    row = torch.arange(n, device=unit.device)
    itself = torch.eye(n, dtype=torch.bool, device=unit.device)
    logits = (_product(unit, unit.T) / temperature).masked_fill(itself, -torch.inf)  # (2 B, 2 B)
    return cross_entropy(logits, (row + n // 2) % n)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Mean of 1 - cos: no other crystal is asked, so one vector for everything is the best answer. As DSSL published.

    Args:
        one: vectors of the first views, (B, P).
        other: vectors of the second views, (B, P).
    """
    return (1.0 - cosine_similarity(one, other, dim=1)).mean()


def simsiam(one: Tensor, other: Tensor, predicted_one: Tensor, predicted_other: Tensor) -> Tensor:
    """Each view should tell its sister's vector, which stands still: -(cos(p1, z2) + cos(p2, z1)) / 2.

    Chen and He, CVPR 2021, eq. 2.

    Args:
        one: vectors of the first views, (B, P); no gradient passes.
        other: vectors of the second views, (B, P); no gradient passes.
        told_one: what the predictor makes of the first, (B, P).
        told_other: what it makes of the second, (B, P).
    """
    first = cosine_similarity(predicted_one, other.detach(), dim=1)  # (B,)
    second = cosine_similarity(predicted_other, one.detach(), dim=1)  # (B,)
    return -0.5 * (first + second).mean()


def standardised(vectors: Tensor) -> Tensor:
    """Every column with mean zero and variance one over the batch, (B, P)."""
    centred = vectors - vectors.mean(0)
    return centred / (centred.square().mean(0) + NORM_EPS).sqrt()


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Matrix product in the precision of its factors, also where layers are to calculate in half precision."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other
