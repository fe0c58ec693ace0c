"""The published Deep InfoMax on dense padded tensors: both levels, all seven negatives, built from crystals alone.

Written from B.1 to B.5 of the specification and from what is known of the published code's tables; no code of this
package is used. One table holds the whole batch:

- R rows, one for each unique site of each crystal, crystals one after the other;
- L columns, the sites of the largest supercell; row r has n_s valid columns, those of its own supercell;
- past them the distance is 0, the mask is off, and the neighbour table names the row's own neighbours once more from
  the first, in turn (column k is neighbour k mod n_s).

"Rolled" is a cyclic shift of the R rows by R // 2: row r shows what row r - R // 2 was.

Weights are a dict of tensors. Those of the encoder have the names of ``sitenet_reference``, those of the critics are
phi_d, phi_q (local: site, tuple), psi_l, psi_g (global: site, crystal) with layers .0 and .1, and those of the
log-variances are local_variance and global_variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.helpers.sitenet_reference import Activation, DenseCrystal, Weights, lan, linear, mish, relu

LOCAL_NEGATIVES = ("foreign", "structure", "composition")
"""N1, N2, N3."""
GLOBAL_NEGATIVES = ("foreign", "composition", "structure", "permuted")
"""G1 to G4."""
KL_WEIGHT = 0.1


@dataclass(frozen=True)
class PaddedBatch:
    """Crystals in one table."""

    feature: Tensor
    """Raw features of each site, (R, F)."""
    owner: list[int]
    """Crystal of each site, R of them."""
    neighbour: Tensor
    """Row of the site that each column is an image of, (R, L)."""
    distance: Tensor
    """Distance to it, zero where there is none, (R, L), angstrom."""
    mask: Tensor
    """Columns that exist, (R, L)."""


def padded_batch(crystals: Sequence[DenseCrystal], features: Tensor) -> PaddedBatch:
    """The table of some crystals.

    Args:
        crystals: what is read of each.
        features: raw features of the elements by atomic number, (119, F).
    """
    longest = max(len(c.unique) for c in crystals)
    number = [int(z) for c in crystals for z in c.number]
    owner = [k for k, c in enumerate(crystals) for _ in c.number]
    neighbour = torch.zeros(len(number), longest, dtype=torch.int64)
    distance = torch.zeros(len(number), longest, dtype=torch.float64)
    mask = torch.zeros(len(number), longest, dtype=torch.bool)
    row = first = 0
    for crystal in crystals:
        columns = len(crystal.unique)
        for i in range(len(crystal.number)):
            for k in range(longest):
                neighbour[row, k] = first + int(crystal.unique[k % columns])
                mask[row, k] = k < columns
                distance[row, k] = crystal.distance[i, k] if k < columns else 0.0
            row += 1
        first += len(crystal.number)
    return PaddedBatch(features[number], owner, neighbour, distance, mask)


def rolled(x: Tensor) -> Tensor:
    """Row r shows row r - R // 2 of R."""
    rows = len(x)
    return x[[(r - rows // 2) % rows for r in range(rows)]]


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    return torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)


def mean_of_crystals(per_site: Tensor, owner: list[int]) -> Tensor:
    """Mean over a crystal's sites, then over crystals."""
    means = [per_site[[r for r, c in enumerate(owner) if c == k]].mean() for k in sorted(set(owner))]
    return torch.stack(means).mean()


# The encoders, B.2.


def site_hidden(w: Weights, batch: PaddedBatch) -> Tensor:
    """What each site gathers by attention, o_i, (R, 64); the local vector is a linear map of it."""
    x = lan(w, "site_in", batch.feature, relu)  # (R, D)
    e = lan(w, "pair_in", batch.distance[:, :, None], relu)  # (R, L, P)
    x_i = x[:, None, :].expand(-1, e.shape[1], -1)
    bond = torch.cat([x_i, x[batch.neighbour], e], dim=2)  # (R, L, 2 D + P)
    logit = linear(w, "block0.logits.1", lan(w, "block0.logits.0", bond, relu))[:, :, 0]  # (R, L)
    attention = torch.softmax(logit.masked_fill(~batch.mask, -torch.inf), dim=1)  # (R, L)
    value = lan(w, "block0.value.1", lan(w, "block0.value.0", bond, relu), relu)  # (R, L, 64)
    return (attention[:, :, None] * value).sum(1)


def site_vectors(w: Weights, batch: PaddedBatch) -> Tensor:
    """Local vectors mu_i, (R, 32)."""
    return linear(w, "local_mean", site_hidden(w, batch))


def crystal_hidden(w: Weights, site: Tensor, owner: list[int]) -> Tensor:
    """Pooled sites before the last linear maps, (B, 64)."""
    before = lan(w, "prepool.1", lan(w, "prepool.0", site, mish), mish)  # (R, 128)
    pooled = [before[[r for r, c in enumerate(owner) if c == k]].mean(0) for k in sorted(set(owner))]
    return lan(w, "postpool.0", torch.stack(pooled), mish)


# The negatives, B.4.


def wrong_composition(batch: PaddedBatch) -> PaddedBatch:
    """G2: rolled site features under the true neighbour table, true distances."""
    return replace(batch, feature=rolled(batch.feature))


def wrong_structure(batch: PaddedBatch) -> PaddedBatch:
    """G3: true sites and neighbour table, rolled distances and rolled mask."""
    return replace(batch, distance=rolled(batch.distance), mask=rolled(batch.mask))


def permuted(batch: PaddedBatch, order: Tensor) -> PaddedBatch:
    """G4: the columns of the neighbour table in another order, one for the whole batch; distances and mask stay."""
    return replace(batch, neighbour=batch.neighbour[:, order])


def closeness(distance: Tensor) -> Tensor:
    """(d + 1)^-2; one at padded columns."""
    return 1.0 / (distance + 1.0) ** 2


def shown(name: str, batch: PaddedBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (R, L, F), distances, weights and mask (R, L) of the tuples that the local critic is shown.

    Weights are normalised over the valid columns of the distances shown, before the mask in use is applied; where
    that one is of the other crystal, they do not sum to one (B.4, masking inconsistency).
    """
    species = batch.feature[batch.neighbour]  # (R, L, F)
    weight = closeness(batch.distance) / (closeness(batch.distance) * batch.mask).sum(1, keepdim=True)  # (R, L)
    if name == "truth":
        return species, batch.distance, weight, batch.mask
    if name == "foreign":  # N1
        return rolled(species), rolled(batch.distance), rolled(weight), rolled(batch.mask)
    if name == "structure":  # N2: rolled distances under the original mask
        return species, rolled(batch.distance), rolled(weight), batch.mask
    if name == "composition":  # N3: original distances under the rolled mask
        return rolled(species), batch.distance, weight, rolled(batch.mask)
    raise KeyError(name)


# The two levels, B.3, and what is added to them, B.5.


def project(w: Weights, name: str, x: Tensor, activation: Activation) -> Tensor:
    """A critic's half: one hidden layer, then a plain one."""
    return linear(w, f"{name}.1", activation(linear(w, f"{name}.0", x)))


def local_score(w: Weights, z: Tensor, name: str, batch: PaddedBatch, sign: int) -> Tensor:
    """sum_j w_ij softplus(sign * T(z_i, [features of j ; d_ij])) of each site, (R,)."""
    species, distance, weight, mask = shown(name, batch)
    query = project(w, "phi_d", z, relu)  # (R, 128)
    answer = project(w, "phi_q", torch.cat([species, distance[:, :, None]], dim=2), relu)  # (R, L, 128)
    score = (query[:, None, :] * answer).sum(2)  # (R, L)
    return (weight * softplus(sign * score) * mask).sum(1)


def local_loss(w: Weights, z: Tensor, batch: PaddedBatch, negatives: Sequence[str] = LOCAL_NEGATIVES) -> Tensor:
    """The local level from site vectors as the critic sees them, (R, 32)."""
    wrong = torch.stack([local_score(w, z, name, batch, +1) for name in negatives]).mean(0)
    return mean_of_crystals(local_score(w, z, "truth", batch, -1) + wrong, batch.owner)


def global_loss(
    w: Weights,
    crystal: Tensor,
    site: Tensor,
    wrong: dict[str, Tensor],
    owner: list[int],
    negatives: Sequence[str] = GLOBAL_NEGATIVES,
) -> Tensor:
    """The global level.

    Args:
        w: weights.
        crystal: crystal vectors as the critic sees them, (B, 64).
        site: local vectors, (R, 32).
        wrong: local vectors of G2, G3 and G4 by name, (R, 32) each.
        owner: crystal of each site.
        negatives: kinds that count.
    """
    whole = project(w, "psi_g", crystal, mish)[owner]  # (R, 128): each site beside its own crystal

    def score(site: Tensor, whole: Tensor) -> Tensor:
        return (project(w, "psi_l", site, mish) * whole).sum(1)

    false = {"foreign": softplus(score(site, rolled(whole)))}  # G1
    false |= {name: softplus(score(vector, whole)) for name, vector in wrong.items()}
    per_site = softplus(-score(site, whole)) + torch.stack([false[name] for name in negatives]).mean(0)
    return mean_of_crystals(per_site, owner)


def kl_term(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over the elements of 0.5 mu^2 + exp(lv) - lv."""
    return (0.5 * mean**2 + torch.exp(log_variance) - log_variance).mean()


def wrong_sites(w: Weights, batch: PaddedBatch, order: Tensor) -> dict[str, Tensor]:
    """Local vectors of G2, G3 and G4, without gradient."""
    with torch.no_grad():
        return {
            "composition": site_vectors(w, wrong_composition(batch)),
            "structure": site_vectors(w, wrong_structure(batch)),
            "permuted": site_vectors(w, permuted(batch, order)),
        }


def loss(
    w: Weights, batch: PaddedBatch, noise: tuple[Tensor, Tensor], order: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss and its parts.

    Args:
        w: weights.
        batch: crystals.
        noise: standard Gaussian numbers for the samples of sites (R, 32) and of crystals (B, 64).
        order: order of the columns for G4, (L,).
    """
    hidden = site_hidden(w, batch)
    site, site_variance = linear(w, "local_mean", hidden), linear(w, "local_variance", hidden)
    local = local_loss(w, site + torch.exp(site_variance / 2) * noise[0], batch)
    hidden = crystal_hidden(w, site.detach(), batch.owner)
    crystal, crystal_variance = linear(w, "global_mean", hidden), linear(w, "global_variance", hidden)
    seen = crystal + torch.exp(crystal_variance / 2) * noise[1]
    global_ = global_loss(w, seen, site.detach(), wrong_sites(w, batch, order), batch.owner)
    parts = {"local": local, "global": global_}
    parts |= {"local_kl": kl_term(site, site_variance), "global_kl": kl_term(crystal, crystal_variance)}
    return local + global_ + KL_WEIGHT * (parts["local_kl"] + parts["global_kl"]), parts
