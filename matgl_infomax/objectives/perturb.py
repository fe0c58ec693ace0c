"""Other views of the same crystals: hidden elements, moved atoms, strained cells, missing pairs.

Every function returns a choice or a changed batch; nothing here knows a network. Wrong crystals, to tell the right
ones from, are made in ``corrupt``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError
from matgl_infomax.graphs import length, rows_times

Rounding = Literal["nearest", "down", "up"]
"""How a share of a crystal's sites becomes a whole number; "up" is down and one more."""
ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": torch.round,
    "down": torch.floor,
    "up": lambda count: count.floor() + 1,
}


def some_sites(
    batch: SiteBatch,
    share: float,
    generator: torch.Generator,
    *,
    single: bool = False,
    rounding: Rounding = "nearest",
) -> Tensor:
    """A share of the sites of each crystal, at least one, drawn at random, (N,) bool.

    Args:
        batch: B crystals.
        share: share of each crystal's sites; max(1, share * sites as a whole number) are chosen.
        generator: source of randomness.
        single: also choose the only site of a crystal; its element cannot be told from any other.
        rounding: how the share becomes a whole number.
    """
    key = torch.rand(batch.n_sites, generator=generator, dtype=torch.float64).to(batch.owner.device)
    order = order_within(batch.owner, key)  # (N,)
    first = batch.size.cumsum(0) - batch.size  # (B,)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(batch.n_sites, device=order.device) - first[batch.owner]
    # In double precision and rounded first, so that a tenth of 30 is three.
    share_of = (share * batch.size.double()).mul(1e9).round().div(1e9)  # (B,)
    count = ROUNDINGS[rounding](share_of).clamp(min=1)  # (B,)
    if not single:
        count = count.masked_fill(batch.size == 1, 0)
    return rank < count[batch.owner]


def with_hidden(batch: SiteBatch, hidden: Tensor) -> SiteBatch:
    """The crystals with the elements of some sites untold; equal sites are no longer equal.

    Args:
        batch: crystals.
        hidden: sites whose element is not told, (N,) bool.
    """
    hidden = hidden if batch.hidden is None else hidden | batch.hidden
    return replace(batch, hidden=hidden, merged=None, kind=None)


def strengths(batch: SiteBatch, least_angstrom: float, most_angstrom: float, generator: torch.Generator) -> Tensor:
    """Strength of the noise of each crystal, even in the logarithm between two limits, (B,), angstrom.

    Args:
        batch: B crystals.
        least_angstrom: weakest noise.
        most_angstrom: strongest noise.
        generator: source of randomness.
    """
    low, high = math.log(least_angstrom), math.log(most_angstrom)
    drawn = torch.rand(batch.n_crystals, generator=generator, dtype=batch.distance.dtype)
    return (low + (high - low) * drawn).exp().to(batch.distance.device)


def displacements(batch: SiteBatch, size_angstrom: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian displacements of all sites, (N, 3), angstrom.

    Args:
        batch: B crystals.
        size_angstrom: standard deviation along each axis, (B,) per crystal.
        generator: source of randomness.
    """
    drawn = torch.randn((batch.n_sites, 3), generator=generator, dtype=batch.distance.dtype)
    return drawn.to(batch.distance.device) * size_angstrom[batch.owner].unsqueeze(1)


def nudges(batch: SiteBatch, least: float, most: float, generator: torch.Generator) -> Tensor:
    """Displacements of all sites in random directions, their lengths even between two limits, (N, 3), angstrom.

    Args:
        batch: N sites.
        least: shortest displacement, angstrom.
        most: longest displacement, angstrom.
        generator: source of randomness.
    """
    kind: dict[str, Any] = {"generator": generator, "dtype": batch.distance.dtype}
    direction = normalize(torch.randn((batch.n_sites, 3), **kind), dim=1)
    size = least + (most - least) * torch.rand((batch.n_sites, 1), **kind)
    return (direction * size).to(batch.distance.device)


def strains(batch: SiteBatch, size: float, generator: torch.Generator) -> Tensor:
    """Gaussian symmetric strains of all cells, (B, 3, 3).

    Args:
        batch: B crystals.
        size: standard deviation of each component.
        generator: source of randomness.
    """
    drawn = torch.randn((batch.n_crystals, 3, 3), generator=generator, dtype=batch.distance.dtype)
    symmetric = torch.triu(drawn) + torch.triu(drawn, 1).transpose(1, 2)  # every component has the same spread
    return size * symmetric.to(batch.distance.device)


def pair_vectors(batch: SiteBatch) -> Tensor:
    """Vector from each receiver to its neighbour's image, (E, 3), angstrom.

    Raises:
        InputError: For a batch without geometry.
    """
    frac, lattice, offset = _geometry(batch)
    step = frac.index_select(0, batch.dst) + offset - frac.index_select(0, batch.src)  # (E, 3)
    return rows_times(step, lattice[batch.owner[batch.src]])


def moved(batch: SiteBatch, shift: Tensor, strain: Tensor | None = None) -> SiteBatch:
    """The crystals with their atoms displaced and their cells strained; the pairs stay those of the clean crystals.

    Distances are differentiable with respect to shift and strain.

    Args:
        batch: B crystals with geometry.
        shift: displacement of each site, in the strained cell, (N, 3), angstrom.
        strain: relative change of each cell, (B, 3, 3); none leaves the cells as they are.

    Raises:
        InputError: For a batch without geometry.
    """
    frac, lattice, _ = _geometry(batch)
    if strain is not None:
        lattice = lattice + lattice @ strain  # (B, 3, 3)
    inverse = torch.linalg.inv(lattice)  # (B, 3, 3)
    view = replace(batch, lattice=lattice, frac=frac + rows_times(shift, inverse[batch.owner]), merged=None, kind=None)
    return replace(view, distance=length(pair_vectors(view)))


def within(batch: SiteBatch, reach_angstrom: float | None) -> SiteBatch:
    """The crystals as a network may be shown them: without the pairs that became longer than its cut-off.

    Args:
        batch: crystals.
        reach_angstrom: longest pair; none keeps all.
    """
    if reach_angstrom is None:
        return batch
    short = batch.distance <= reach_angstrom  # (E,)
    # Rounding may tell a pair from its way back, but networks that look at triples need both.
    return keep_pairs(batch, short if bool(short.all()) else short & short[ways_back(batch)])


def keep_pairs(batch: SiteBatch, kept: Tensor) -> SiteBatch:
    """The crystals with some of their pairs only; equal sites are no longer equal.

    Args:
        batch: crystals.
        kept: which pairs stay, (E,) bool.
    """
    if bool(kept.all()):
        return replace(batch, merged=None, kind=None)
    fields = {name: getattr(batch, name) for name in ("src", "dst", "distance", "offset", "copies")}
    cut: dict[str, Any] = {name: None if value is None else value[kept] for name, value in fields.items()}
    return replace(batch, **cut, merged=None, kind=None)


def some_pairs(batch: SiteBatch, share: float, generator: torch.Generator) -> Tensor:
    """All pairs but a share of each site's, drawn at random, (E,) bool; of n pairs ceil((1 - share) n) are kept.

    Args:
        batch: N sites.
        share: share of each site's pairs that is left out.
        generator: source of randomness.
    """
    key = torch.rand(batch.n_pairs, generator=generator, dtype=torch.float64).to(batch.src.device)
    order = order_within(batch.src, key)  # (E,)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(batch.n_pairs, device=order.device) - batch.first_pair[batch.src]
    # Rounded first, so that 0.9 * 10 keeps nine and not ten.
    count = ((1.0 - share) * batch.degree.double()).mul(1e9).round().div(1e9).ceil()  # (N,)
    return rank < count[batch.src]


def some_bonds(batch: SiteBatch, share: float, generator: torch.Generator) -> Tensor:
    """All pairs but a share of each crystal's bonds, drawn at random, (E,) bool; a pair goes with its way back.

    Args:
        batch: B crystals with geometry.
        share: share of each crystal's bonds that is left out, rounded down.
        generator: source of randomness.
    """
    key = torch.rand(batch.n_pairs, generator=generator, dtype=torch.float64).to(batch.src.device)
    back = ways_back(batch)  # (E,)
    first = torch.nonzero(torch.arange(batch.n_pairs, device=back.device) <= back).squeeze(1)  # (M,)
    owner = batch.owner[batch.src[first]]  # (M,) ascending
    bonds = torch.bincount(owner, minlength=batch.n_crystals)  # (B,)
    order = order_within(owner, key[first])  # (M,)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - (bonds.cumsum(0) - bonds)[owner]
    count = (share * bonds.double()).mul(1e9).round().div(1e9).floor()  # (B,)
    gone = first[rank < count[owner]]
    kept = torch.ones(batch.n_pairs, dtype=torch.bool, device=back.device)
    kept[gone], kept[back[gone]] = False, False
    return kept


def ways_back(batch: SiteBatch) -> Tensor:
    """For each pair the one from its neighbour back to its receiver, (E,); the pair itself where there is none.

    Raises:
        InputError: For a batch without geometry.
    """
    offset = _geometry(batch)[2].round().long()  # (E, 3)
    reach = int(offset.abs().max()) if len(offset) else 0
    span = 2 * reach + 1
    cell, back = (((o[:, 0] * span + o[:, 1]) * span + o[:, 2]) for o in (offset + reach, reach - offset))  # (E,) each
    there = (batch.src * batch.n_sites + batch.dst) * span**3 + cell  # (E,)
    here = (batch.dst * batch.n_sites + batch.src) * span**3 + back  # (E,)
    names, order = there.sort()
    place = torch.searchsorted(names, here).clamp(max=max(0, batch.n_pairs - 1))
    return torch.where(names[place] == here, order[place], torch.arange(batch.n_pairs, device=order.device))


def _geometry(batch: SiteBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Fractional coordinates (N, 3), lattices (B, 3, 3) and image offsets (E, 3)."""
    if batch.frac is None or batch.lattice is None or batch.offset is None:
        raise InputError("Atoms can only be moved where positions are known. Make the batch with geometry=True.")
    return batch.frac, batch.lattice, batch.offset


# Wrong crystals to tell the right one from: foreign sites, wrong or exchanged elements, wrong distances, and more.
#
# Every function returns indices or a changed batch; nothing here knows a network. "Position" is a pair's place in
# its receiver's list; for supercells it names the supercell's site.


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
    """For each site the one half a batch before it, (N,), as published: it may belong to the same crystal.

    The published code turns the list of sites by N // 2, so site r meets site r - N // 2, counted around the end.

    Raises:
        InputError: If the batch holds one crystal.
    """
    if batch.n_crystals < 2:
        raise InputError(f"InfoMax needs at least 2 crystals per batch. Received: {batch.n_crystals}.")
    return torch.arange(batch.n_sites, device=batch.owner.device).roll(batch.n_sites // 2)


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
    """Wrong composition: the same structure with the partners' elements, the same element at every image of a site.

    With the partners of ``rolled_sites`` this is the published form: site features change, the neighbour table stays.
    """
    return replace(batch, number=batch.number[partner], merged=None, kind=None)


def recoloured_rows(batch: SiteBatch, partner: Tensor) -> SiteBatch:
    """Wrong composition row by row: each site sees itself and its neighbours as the partner's, distances kept.

    An image of a site may then have another element than the site itself. No paper has this form.

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
        whole_batch: one order for all crystals; it may be the one it was.
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


# As published, neighbours stand in one table for the whole batch, whose rows are as long as the longest. Past its last
# pair a shorter row shows its own neighbours again from the first. Two of the published negatives read such places.


def _padded_neighbour(batch: SiteBatch, receiver: Tensor, place: Tensor) -> Tensor:
    """Neighbour at a place of a receiver's padded row, (M,): the row starts again after its last pair.

    Args:
        batch: crystals.
        receiver: sites that have pairs, (M,).
        place: place in the row, from 0 to any, (M,).
    """
    return batch.dst[batch.first_pair[receiver] + place % batch.degree[receiver]]


def restructured_padded(batch: SiteBatch, partner: Tensor) -> SiteBatch:
    """Wrong structure as published: as many pairs as the partner has, at its distances.

    Where the partner has more, the neighbours start again from the first; where it has fewer, the rest is not seen.

    Args:
        batch: crystals.
        partner: partner of each site, (N,).
    """
    receiver, other = partner_pairs(batch, partner)  # (M,), (M,)
    known = batch.degree[receiver] > 0  # a site without neighbours has none to start again with
    receiver, other = receiver[known], other[known]
    return SiteBatch(
        number=batch.number,
        owner=batch.owner,
        src=receiver,
        dst=_padded_neighbour(batch, receiver, position(batch)[other]),
        distance=batch.distance[other],
        n_crystals=batch.n_crystals,
    )


def permuted_padded(batch: SiteBatch, generator: torch.Generator) -> SiteBatch:
    """Shuffled neighbours as published: one order of the padded table's columns for the whole batch.

    A site with fewer neighbours than the longest row may see one of them twice and another never.

    Args:
        batch: crystals.
        generator: source of randomness.
    """
    if not batch.n_pairs:
        return batch
    order = torch.randperm(int(batch.degree.max()), generator=generator).to(batch.dst.device)  # (L,)
    shown = _padded_neighbour(batch, batch.src, order[position(batch)])  # (E,)
    return replace(batch, dst=shown, merged=None, kind=None)


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
