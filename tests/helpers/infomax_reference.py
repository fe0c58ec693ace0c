"""Deep InfoMax written from the formulas B.3 to B.5 of the specification, one site and one pair at a time.

Nothing here knows an encoder: site vectors, crystal vectors and corrupted site vectors are given, and so is
the partner of each site. A critic is a pair of functions into one space, and T is their dot product.

A site's neighbourhood is a list of tuples [features of j ; d_ij], in the order of the supercell; two
neighbourhoods of different length meet column by column, the way padded matrices do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Projection = Callable[[Tensor], Tensor]
Shown = tuple[Tensor, Tensor, Tensor]  # features (K, F), distances (K,), weights (K,) of the tuples a critic sees
Masks = Literal["common", "published"]

LOCAL_NEGATIVES = ("foreign", "structure", "composition")


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    return torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)


def half_roll(n_sites: int) -> Tensor:
    """Published partner of each site: the one half the batch, rounded down, before it; (N,)."""
    return (torch.arange(n_sites) - n_sites // 2) % n_sites


def neighbourhoods(feature: Tensor, src: Tensor, dst: Tensor, distance: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each site the features (n_s, F) and distances (n_s,) of its supercell, from the flat pairs.

    Args:
        feature: raw site features, (N, F).
        src, dst, distance: receiver, neighbour's unique site and distance of each pair, (E,).
    """
    return [(feature[dst[src == i]], distance[src == i]) for i in range(len(feature))]


def closeness(distance: Tensor) -> Tensor:
    """(d + 1)^-2, not normalised."""
    return 1.0 / (distance + 1.0) ** 2


def normalised(weight: Tensor) -> Tensor:
    """Weights that sum to one."""
    return weight / weight.sum()


def shown_truth(hood: tuple[Tensor, Tensor]) -> Shown:
    """A neighbourhood as it is: the positives of its own site, N1 for a foreign one."""
    feature, distance = hood
    return feature, distance, normalised(closeness(distance))


def shown_mixture(species: tuple[Tensor, Tensor], structure: tuple[Tensor, Tensor], masks: Masks, valid: int) -> Shown:
    """Species of one neighbourhood at the distances of another, column by column.

    "common" (recommended): columns that exist in both, weights from the distances shown, summing to one.
    "published": the first ``valid`` columns, those of the neighbourhood whose padding mask was used. Columns
    past the end of either are padding: features zero, distance zero, and so (0 + 1)^-2 = 1 before the
    normaliser, which runs over the real columns of the distances alone.

    Args:
        species, structure: neighbourhoods that give the features and the distances.
        masks: which columns count.
        valid: columns of the published mask.
    """
    feature, distance = species[0], structure[1]
    if masks == "common":
        k = min(len(feature), len(distance))
        return feature[:k], distance[:k], normalised(closeness(distance[:k]))
    longest = max(len(feature), len(distance))
    padded_feature = torch.cat([feature, feature.new_zeros(longest - len(feature), feature.shape[1])])
    padded_distance = torch.cat([distance, distance.new_zeros(longest - len(distance))])
    weight = closeness(padded_distance) / closeness(distance).sum()
    return padded_feature[:valid], padded_distance[:valid], weight[:valid]


def shown_negative(name: str, own: tuple[Tensor, Tensor], foreign: tuple[Tensor, Tensor], masks: Masks) -> Shown:
    """Tuples of one negative type: N1 "foreign", N2 "structure" (wrong distances), N3 "composition" (wrong species)."""
    if name == "foreign":
        return shown_truth(foreign)
    if name == "structure":
        return shown_mixture(own, foreign, masks, valid=len(own[1]))
    if name == "composition":
        return shown_mixture(foreign, own, masks, valid=len(foreign[1]))
    raise KeyError(name)


def expected_softplus(z: Tensor, shown: Shown, sign: int, phi_site: Projection, phi_tuple: Projection) -> Tensor:
    """sum_j w_j softplus(sign * T(z, q_j)) with q_j = [features of j ; d_j], a scalar."""
    feature, distance, weight = shown
    total = z.new_zeros(())
    for f, d, w in zip(feature, distance, weight, strict=True):
        q = torch.cat([f, d[None]])
        score = phi_site(z) @ phi_tuple(q)
        total = total + w * softplus(sign * score)
    return total


def local_objective(
    z: Tensor,
    hoods: Sequence[tuple[Tensor, Tensor]],
    owner: Tensor,
    partner: Tensor,
    phi_site: Projection,
    phi_tuple: Projection,
    *,
    negatives: Sequence[str] = LOCAL_NEGATIVES,
    masks: Masks = "common",
) -> Tensor:
    """Local level: a site vector should recognise the atoms around its site, a scalar.

    Args:
        z: site vectors as the critic sees them (sampled or not), (N, D).
        hoods: neighbourhood of each site, from ``neighbourhoods``.
        owner: crystal of each site, (N,).
        partner: site whose neighbourhood is the wrong one for each site, (N,).
        phi_site, phi_tuple: projections of a site vector (D,) and of a tuple (F + 1,).
        negatives: negative types, averaged.
        masks: which columns of N2 and N3 count.
    """
    per_site = []
    for i, hood in enumerate(hoods):
        positive = expected_softplus(z[i], shown_truth(hood), -1, phi_site, phi_tuple)
        wrong = [
            expected_softplus(z[i], shown_negative(n, hood, hoods[int(partner[i])], masks), +1, phi_site, phi_tuple)
            for n in negatives
        ]
        per_site.append(positive + sum(wrong) / len(wrong))
    return mean_of_crystals(torch.stack(per_site), owner)


def global_objective(
    crystal: Tensor,
    site: Tensor,
    owner: Tensor,
    partner_crystal: Tensor,
    corrupted: Sequence[Tensor],
    psi_site: Projection,
    psi_crystal: Projection,
) -> Tensor:
    """Global level: a crystal vector should recognise the sites of its crystal, a scalar.

    Args:
        crystal: crystal vectors as the critic sees them, (B, C).
        site: site vectors, (N, D).
        owner: crystal of each site, (N,).
        partner_crystal: for each site the foreign crystal of G1, (N,).
        corrupted: site vectors of the wrong crystals G2, G3, G4 that are in use, each (N, D).
        psi_site, psi_crystal: projections of a site vector (D,) and of a crystal vector (C,).
    """
    per_site = []
    for i in range(len(site)):
        own, foreign = psi_crystal(crystal[owner[i]]), psi_crystal(crystal[partner_crystal[i]])
        positive = softplus(-(own @ psi_site(site[i])))
        wrong = [softplus(foreign @ psi_site(site[i]))]
        wrong += [softplus(own @ psi_site(other[i])) for other in corrupted]
        per_site.append(positive + sum(wrong) / len(wrong))
    return mean_of_crystals(torch.stack(per_site), owner)


def mean_of_crystals(per_site: Tensor, owner: Tensor) -> Tensor:
    """Mean over the sites of each crystal, then over the crystals: (N,) -> scalar."""
    means = [per_site[owner == c].mean() for c in range(int(owner.max()) + 1)]
    return torch.stack(means).mean()


def kl_term(mean: Tensor, log_variance: Tensor, *, form: Literal["textbook", "published"] = "textbook") -> Tensor:
    """Divergence from the unit Gaussian, mean over the elements of (N, D); published: variance part twice."""
    total = mean.new_zeros(())
    for mu, lv in zip(mean.flatten(), log_variance.flatten(), strict=True):
        if form == "textbook":
            total = total + 0.5 * (mu**2 + torch.exp(lv) - lv - 1)
        else:
            total = total + 0.5 * mu**2 + torch.exp(lv) - lv
    return total / mean.numel()


def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """mu + exp(lv / 2) * noise, what the critics see while the KL term is on."""
    return mean + torch.exp(log_variance / 2) * noise


UNINFORMED = 2 * math.log(2)
"""Either objective when every score is zero."""
