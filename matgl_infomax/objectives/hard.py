"""Hard questions for Deep InfoMax: the network reads a damaged crystal, and must recognise the sound one.

A site that sees its neighbourhood has only to copy it. Here atoms are moved, cells strained and elements hidden before
the network looks, and what it must tell apart is close to the truth: the same atoms at the distances it was shown
(the same composition, another structure), and neighbours of chemically close elements in the same places. Contrasting
a damaged view with the sound parts follows augmented Deep InfoMax (Bachman et al., NeurIPS 2019).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import MORE_NAMES, PROPERTY_NAMES, standardised_properties
from matgl_infomax.objectives.recognise import Shown, near_first
from matgl_infomax.objectives.views import displacements, moved, some_sites, strains, strengths, with_hidden

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
