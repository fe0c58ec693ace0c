"""Wrong crystals to tell the right one from: foreign sites, wrong or exchanged elements, wrong distances, and more.

Every function returns indices or a changed batch; nothing here knows a network. "Position" is a pair's place in
its receiver's list; for supercells it names the supercell's site.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError


def foreign_sites(batch: SiteBatch, generator: torch.Generator) -> Tensor:
    """For each site a site of another crystal, (N,): the crystals are deranged at random.

    Raises:
        InputError: If the batch holds one crystal, since it has no foreign sites.
    """
    if batch.n_crystals < 2:
        raise InputError(
            f"InfoMax needs at least 2 crystals per batch for its negatives. Received: {batch.n_crystals}. "
            "Raise batch_sites or give more crystals."
        )
    # Everyone takes the next one in a random circle: uniform over cycles, and nobody meets itself.
    circle = torch.randperm(batch.n_crystals, generator=generator)  # (B,)
    other = torch.empty_like(circle)
    other[circle] = circle.roll(-1)
    other = other.to(batch.owner.device)[batch.owner]  # (N,)
    first = batch.size.cumsum(0) - batch.size  # (B,)
    place = torch.arange(batch.n_sites, device=first.device) - first[batch.owner]  # (N,)
    turn = torch.randint(0, 1 << 30, (batch.n_crystals,), generator=generator).to(first.device)  # (B,)
    return first[other] + (place + turn[batch.owner]) % batch.size[other]


def rolled_sites(batch: SiteBatch) -> Tensor:
    """For each site the one half a batch further on, (N,), as published: it may belong to the same crystal.

    Raises:
        InputError: If the batch holds one crystal.
    """
    if batch.n_crystals < 2:
        raise InputError(f"InfoMax needs at least 2 crystals per batch. Received: {batch.n_crystals}.")
    return torch.arange(batch.n_sites, device=batch.owner.device).roll(-(batch.n_sites // 2))


def position(batch: SiteBatch) -> Tensor:
    """Place of each pair in its receiver's list, (E,)."""
    return torch.arange(batch.n_pairs, device=batch.src.device) - batch.first_pair[batch.src]


def partner_pairs(batch: SiteBatch, partner: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of each site's partner, as if they were its own.

    Args:
        batch: crystals.
        partner: partner of each site, (N,).

    Returns:
        The site shown the pair, and the pair, both (sum of the partners' degrees,).
    """
    degree = batch.degree[partner]  # (N,)
    receiver = torch.repeat_interleave(torch.arange(batch.n_sites, device=partner.device), degree)
    place = torch.arange(len(receiver), device=partner.device) - (degree.cumsum(0) - degree)[receiver]
    return receiver, batch.first_pair[partner][receiver] + place


def common_pairs(batch: SiteBatch, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Each site's pairs beside its partner's at the same position, as far as both have one.

    Args:
        batch: crystals.
        partner: partner of each site, (N,).

    Returns:
        The site's own pair and the partner's, both (M,), sorted by receiver.
    """
    place = position(batch)  # (E,)
    own = torch.nonzero(place < batch.degree[partner][batch.src]).squeeze(1)  # (M,)
    return own, batch.first_pair[partner][batch.src[own]] + place[own]


def recoloured(batch: SiteBatch, partner: Tensor) -> SiteBatch:
    """Wrong composition: the same structure with the partners' elements, the same element at every image of a site."""
    return replace(batch, number=batch.number[partner], merged=None, kind=None)


def recoloured_rows(batch: SiteBatch, partner: Tensor) -> SiteBatch:
    """Wrong composition as published: each site sees itself and its neighbours as the partner's, distances kept.

    Args:
        batch: crystals.
        partner: partner of each site, a permutation, (N,).
    """
    own, other = common_pairs(batch, partner)  # (M,), (M,)
    inverse = torch.empty_like(partner)
    inverse[partner] = torch.arange(len(partner), device=partner.device)
    return SiteBatch(
        number=batch.number[partner],
        owner=batch.owner,
        src=batch.src[own],
        dst=inverse[batch.dst[other]],
        distance=batch.distance[own],
        n_crystals=batch.n_crystals,
    )


def restructured(batch: SiteBatch, partner: Tensor) -> SiteBatch:
    """Wrong structure: the same neighbours at the partner's distances."""
    own, other = common_pairs(batch, partner)
    return SiteBatch(
        number=batch.number,
        owner=batch.owner,
        src=batch.src[own],
        dst=batch.dst[own],
        distance=batch.distance[other],
        n_crystals=batch.n_crystals,
    )


def permuted(batch: SiteBatch, generator: torch.Generator, *, whole_batch: bool = False) -> SiteBatch:
    """Shuffled neighbours: the same distances and the same elements, put together wrongly.

    The order is drawn once per crystal, for all its receivers, and is never the one it was.

    Args:
        batch: crystals.
        generator: source of randomness.
        whole_batch: one order for all crystals, as published; it may be the one it was.
    """
    if not batch.n_pairs:
        return batch
    place = position(batch)  # (E,)
    longest = int(batch.degree.max())
    rows = 1 if whole_batch else batch.n_crystals
    key = torch.rand(rows, longest, generator=generator, dtype=torch.float64).to(place.device)
    crystal = batch.owner[batch.src]  # (E,)
    pair_key = key[torch.zeros_like(crystal) if whole_batch else crystal, place]  # (E,)
    order = order_within(batch.src, pair_key)  # (E,)
    if not whole_batch:
        moved = (order != torch.arange(batch.n_pairs, device=place.device)).long()
        same = torch.zeros_like(batch.size).index_add(0, crystal, moved) == 0  # (B,)
        # Turning the list by one is the smallest change that is not the old order.
        turned = (place + 1) % batch.degree[batch.src]
        order = torch.where(same[crystal], batch.first_pair[batch.src] + turned, order)
    return replace(batch, dst=batch.dst[order], merged=None, kind=None)


def exchanged(batch: SiteBatch, generator: torch.Generator) -> SiteBatch:
    """Exchanged elements: the same places and the same composition, put together wrongly; a real crystal still.

    The exchange is drawn once per crystal, and always gives some site another element; only a crystal of one element
    stays as it is.

    Args:
        batch: crystals, their sites in any order.
        generator: source of randomness.
    """
    key = torch.rand(batch.n_sites, generator=generator, dtype=torch.float64).to(batch.owner.device)
    order = order_within(batch.owner, key)  # (N,)
    changed = recoloured_crystals(batch, batch.number[order])  # (B,)
    # Turning the list by one is the smallest change, and none only where all elements are the same.
    first = batch.size.cumsum(0) - batch.size  # (B,)
    start = first[batch.owner]  # (N,)
    turned = start + (torch.arange(batch.n_sites, device=start.device) - start + 1) % batch.size[batch.owner]
    number = batch.number[torch.where(changed[batch.owner], order, turned)]
    return replace(batch, number=number, merged=None, kind=None)


def recoloured_crystals(batch: SiteBatch, number: Tensor) -> Tensor:
    """Crystals in which some site has another element than before, (B,).

    Args:
        batch: crystals as they are.
        number: atomic numbers of a changed view of them, (N,).
    """
    moved = (number != batch.number).long()
    return torch.zeros_like(batch.size).index_add(0, batch.owner, moved) > 0


def order_within(segment: Tensor, key: Tensor) -> Tensor:
    """Indices that sort by key inside each segment of sorted rows, (E,)."""
    by_key = torch.argsort(key, stable=True)
    return by_key[torch.argsort(segment[by_key], stable=True)]
