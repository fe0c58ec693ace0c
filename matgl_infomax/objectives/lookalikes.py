"""How many "negatives" are no negatives: corrupted crystals that look exactly like the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch, segment_mean

LENGTHS_ANGSTROM = (1.0, 2.0, 4.0)
TOLERANCE = 1e-3


def environment(number: Tensor, receiver: Tensor, neighbour: Tensor, distance: Tensor) -> Tensor:
    """A fingerprint of what each site is and sees: equal for equal sets of (element, distance), (N, 16).

    Args:
        number: atomic number of each receiver, (N,).
        receiver: receiver of each shown pair, (E,).
        neighbour: atomic number of the neighbour shown, (E,).
        distance: distance shown, (E,), angstrom.
    """
    # Fixed pseudo-random numbers per element: sums of different elements do not cancel by chance.
    code = torch.rand(120, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(distance.device)
    decay = torch.stack([(-distance.double() / length).exp() for length in LENGTHS_ANGSTROM], dim=1)  # (E, 3)
    shown = (code[neighbour].unsqueeze(2) * decay.unsqueeze(1)).flatten(1)  # (E, 12)
    total = shown.new_zeros(len(number), 12).index_add(0, receiver, shown)  # (N, 12)
    return torch.cat([total, code[number]], dim=1)


def batch_environment(batch: SiteBatch) -> Tensor:
    """Fingerprint of every site of a batch, (N, 16)."""
    return environment(batch.number, batch.src, batch.number[batch.dst], batch.distance)


def crystal_fingerprint(site: Tensor, batch: SiteBatch) -> Tensor:
    """Mean of the site fingerprints of each crystal and of their squares, (B, 32)."""
    both = torch.cat([site, site * site], dim=1)
    return segment_mean(both, batch.owner, batch.size)


def twin_share(true: Tensor, shown: Tensor) -> float:
    """Share of rows that look the same, to one part in a thousand; zero of no rows.

    Args:
        true: fingerprints of the originals, (N, K).
        shown: fingerprints of what is shown as a negative, (N, K).
    """
    if not len(true):
        return 0.0
    difference = (true - shown).abs().amax(dim=1)
    return float((difference <= TOLERANCE * true.abs().amax(dim=1).clamp(min=1e-9)).double().mean())
