"""Has the representation collapsed? Two numbers that say so without a label."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

COLLAPSED_SPREAD = 0.02
"""Below this all crystals have one vector, up to its length; untrained networks have 0.2 and more."""
COLLAPSED_RANK = 1.5
"""Below this all crystals lie on a line."""
FEWEST_FOR_RANK = 4
"""Two or three crystals hardly span more than a line."""


def collapsed(vectors: Tensor) -> bool:
    """Whether vectors of different crystals are as good as one: spread or effective rank below their limits.

    Args:
        vectors: (N, D).
    """
    few = len(vectors) < FEWEST_FOR_RANK
    return spread(vectors) < COLLAPSED_SPREAD or (not few and effective_rank(vectors) < COLLAPSED_RANK)


def spread(vectors: Tensor) -> float:
    """How widely unit vectors spread per dimension: about 1 when they point everywhere, 0 when they are one vector.

    Args:
        vectors: (N, D).
    """
    return float(spread_of(vectors))


def spread_of(vectors: Tensor) -> Tensor:
    """The same as a tensor, (), without a gradient; reading a number in every step would make a GPU wait."""
    vectors = vectors.detach()
    return normalize(vectors, dim=1).std(dim=0, correction=0).mean() * vectors.shape[1] ** 0.5


def effective_rank(vectors: Tensor) -> float:
    """Number of directions the centred vectors really use: exp of the entropy of their singular values.

    Between 1 (collapsed to a line, or to a point) and D. Roy and Vetterli, EUSIPCO 2007.

    Args:
        vectors: (N, D).
    """
    singular = torch.linalg.svdvals((vectors - vectors.mean(0)).double())  # (min(N, D),)
    total = singular.sum()
    if total <= 1e-12:
        return 1.0
    share = (singular / total).clamp(min=1e-300)
    return float((-(share * share.log()).sum()).exp())
