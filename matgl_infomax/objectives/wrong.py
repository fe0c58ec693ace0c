"""Wrong versions of crystals for networks that read positions: real crystals, and no more of them than one can pay.

A network of MatGL reads a wrong crystal at the price of a right one. So at each step only some crystals get a wrong
version, and only one; weights make up for it, so that the loss is on average that of all versions of all crystals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share, pick
from matgl_infomax.objectives import corrupt
from matgl_infomax.objectives.base import TwoLevelEncoder
from matgl_infomax.objectives.levels import site_vectors


@dataclass(frozen=True)
class Wrong:
    """Some crystals with wrong elements, and what each kind of negative counts for each crystal."""

    batch: SiteBatch
    """All crystals in their places: the chosen ones with wrong elements, the others as they are."""
    chosen: Tensor
    """Crystals that have wrong elements, (B,)."""
    weight: dict[str, Tensor]
    """Weights of the negatives "foreign" and "wrong", (B,) each; on average they sum to one."""


def real_views(batch: SiteBatch, partner: Tensor, generator: torch.Generator) -> dict[str, SiteBatch]:
    """Both kinds of wrong version, of all crystals.

    Args:
        batch: crystals with geometry.
        partner: foreign site of each site, (N,).
        generator: source of randomness.
    """
    return {"composition": corrupt.recoloured(batch, partner), "permuted": corrupt.exchanged(batch, generator)}


def wrong_versions(batch: SiteBatch, partner: Tensor, share: float, generator: torch.Generator) -> Wrong:
    """A wrong version for some crystals: with the elements of other crystals, or with their own exchanged.

    A version that leaves every site its element is no negative: a crystal of one element is never exchanged.

    Args:
        batch: crystals with geometry.
        partner: foreign site of each site, (N,).
        share: share of the crystals that get a wrong version.
        generator: source of randomness.
    """
    composition, permuted = real_views(batch, partner, generator).values()
    able = torch.stack([corrupt.recoloured_crystals(batch, view.number) for view in (composition, permuted)])  # (2, B)
    count = able.sum(0)  # (B,)
    n = max(1, round(share * batch.n_crystals))
    chosen = torch.zeros(batch.n_crystals, dtype=torch.bool)
    chosen[torch.randperm(batch.n_crystals, generator=generator)[:n]] = True
    coin = torch.rand(batch.n_crystals, generator=generator, dtype=torch.float64) < 0.5
    chosen = chosen.to(able.device) & (count > 0)
    foreign_elements = able[0] & (coin.to(able.device) | ~able[1])  # (B,)
    number = torch.where(foreign_elements[batch.owner], composition.number, permuted.number)
    number = torch.where(chosen[batch.owner], number, batch.number)
    kinds = 1.0 + count.double()  # the foreign crystal is always there
    weight = {"foreign": 1.0 / kinds, "wrong": chosen * (kinds - 1.0) * (batch.n_crystals / n) / kinds}
    return Wrong(replace(batch, number=number, merged=None, kind=None), chosen, weight)


def encode_wrong(encoder: TwoLevelEncoder, wrong: Wrong, share: Share) -> Tensor:
    """Vectors of the own sites in the wrong versions, (n, D); zeros where there is none.

    Args:
        encoder: the network.
        wrong: wrong versions of the whole batch.
        share: which crystals are this process's own.
    """
    own = share.cut(wrong.batch)
    chosen = wrong.chosen[share.crystals]  # (b,)
    found = site_vectors(encoder, pick(own, chosen))
    vectors = found.new_zeros(own.n_sites, found.shape[1])
    vectors[chosen[own.owner]] = found
    return vectors
