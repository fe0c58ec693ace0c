"""Hard questions for Deep InfoMax: the network reads a damaged crystal, and must recognise the sound one.

A site that sees its neighbourhood has only to copy it. Here atoms are moved, cells strained and elements hidden before
the network looks, and what it must tell apart is close to the truth: the same atoms at the distances it was shown
(the same composition, another structure), and neighbours of chemically close elements in the same places. Contrasting
a damaged view with the sound parts follows augmented Deep InfoMax (Bachman et al., NeurIPS 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.data.elements import MORE_NAMES, PROPERTY_NAMES, standardised_properties
from matgl_infomax.data.share import Share, pick
from matgl_infomax.objectives import perturb
from matgl_infomax.objectives.base import TwoLevelEncoder, site_vectors
from matgl_infomax.objectives.infomax_critic import Shown, near_first
from matgl_infomax.objectives.perturb import displacements, moved, some_sites, strains, strengths, with_hidden

AKIN = 3
"""An element is exchanged for one of so many closest ones, by Mendeleev number, among those of the batch."""
WEAKEST = 15.0
"""The strongest noise over the weakest; 0.3 angstrom goes down to 0.02, as in denoising."""


def damaged(
    batch: SiteBatch, noise_angstrom: float, strain: float, hidden_share: float, generator: torch.Generator
) -> SiteBatch:
    """The crystals with atoms moved, cells strained and some elements hidden; they keep their pairs, (E,).

    Args:
        batch: B crystals, with geometry if anything is to move.
        noise_angstrom: strongest noise on the positions; each crystal draws its own; 0 moves no atom.
        strain: standard deviation of the strain of the cells; 0 leaves them alone.
        hidden_share: share of each crystal's sites whose element is hidden; 0 hides none.
        generator: source of randomness.
    """
    view = batch
    if noise_angstrom or strain:
        shift = batch.distance.new_zeros(batch.n_sites, 3)
        if noise_angstrom:
            size = strengths(batch, noise_angstrom / WEAKEST, noise_angstrom, generator)  # (B,)
            shift = displacements(batch, size, generator)  # (N, 3)
        view = moved(batch, shift, strains(batch, strain, generator) if strain else None)
    if hidden_share:
        view = with_hidden(view, some_sites(batch, hidden_share, generator))
    return view


def akin_sites(number: Tensor, generator: torch.Generator) -> Tensor:
    """For each site one of the batch with another, chemically close element, (N,); itself if all have one element.

    Close are elements with close Mendeleev numbers, an order of the elements by chemical likeness (Pettifor 1984).

    Args:
        number: atomic numbers, (N,).
        generator: source of randomness.
    """
    elements, kind = number.unique(return_inverse=True)  # (K,), (N,)
    turn = torch.rand(len(number), generator=generator, dtype=torch.float64).to(number.device)  # (N,)
    here = torch.arange(len(number), device=number.device)  # (N,)
    if len(elements) < 2:
        return here
    first = torch.full_like(elements, len(number)).scatter_reduce(0, kind, here, "amin")  # (K,) a site of each element
    place = _mendeleev().to(number.device)[elements]  # (K,)
    apart = (place.unsqueeze(0) - place.unsqueeze(1)).abs()  # (K, K)
    apart.fill_diagonal_(torch.inf)
    close = apart.sort(dim=1, stable=True).indices[:, : min(AKIN, len(elements) - 1)]  # (K, A)
    return first[close[kind, (turn * close.shape[1]).long()]]


@cache
def _mendeleev() -> Tensor:
    """Mendeleev number of every element by atomic number, on the scale of the site features, (119,)."""
    return torch.from_numpy(standardised_properties()[:, len(PROPERTY_NAMES) + MORE_NAMES.index("mendeleev_number")])


def stale(batch: SiteBatch, seen: SiteBatch) -> Shown:
    """The same atoms at the distances of the damaged view, (E,) pairs: what copying would give.

    Args:
        batch: the sound crystals.
        seen: the damaged ones, with the same pairs.
    """
    distance = seen.distance.detach()
    return Shown(batch.src, batch.dst, distance, near_first(distance, batch.src, batch.n_sites))


def recast(shown: Shown, akin: Tensor) -> Shown:
    """The same pairs with the neighbours' elements exchanged for close ones.

    Args:
        shown: the true pairs.
        akin: a site with a close element for each site, (N,).
    """
    return replace(shown, neighbour=akin[shown.neighbour])


# Wrong versions of crystals for networks that read positions: real crystals, and no more of them than one can pay.
#
# A network of MatGL reads a wrong crystal at the price of a right one. So at each step only some crystals get a wrong
# version, and only one; weights make up for it, so that the loss is on average that of all versions of all crystals.


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
    return {"composition": perturb.recoloured(batch, partner), "permuted": perturb.exchanged(batch, generator)}


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
    able = torch.stack([perturb.recoloured_crystals(batch, view.number) for view in (composition, permuted)])  # (2, B)
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


# How many "negatives" are no negatives: corrupted crystals that look exactly like the true ones.

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
