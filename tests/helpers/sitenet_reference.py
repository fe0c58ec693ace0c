"""Site-Net written from the formulas: one crystal at a time, full matrices of sites against supercell sites.

Weights are a plain dict of tensors under the names of the formulas, so that nothing here knows how the package
arranges its modules. One layer "L-A-N" called ``x`` owns ``x.weight``, ``x.bias``, ``x.norm.weight``,
``x.norm.bias``; a plain linear layer owns the first two.

| published (A.3)                             | compact (B.2)                         |
|---------------------------------------------|---------------------------------------|
| embedding                                   |                                       |
| site_in, pair_in                            | site_in, pair_in                      |
| block0.logits.0 (L-A-N), block0.logits.1    | block0.logits.0, block0.logits.1      |
| block0.value.0                              | block0.value.0, block0.value.1        |
| block0.site, block0.pair, block1...         | local_mean                            |
| prepool.0                                   | prepool.0, prepool.1                  |
| postpool.0, postpool.1, postpool.2          | postpool.0, global_mean               |
| decoder                                     | head.0, head.1                        |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch import Tensor

Weights = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor]

ANGSTROM_PER_BOHR = 0.529177210903


@dataclass(frozen=True)
class DenseCrystal:
    """What Site-Net reads of one crystal: n_p unique sites against n_s supercell sites."""

    number: Tensor
    """Atomic number of each unique site, (n_p,)."""
    unique: Tensor
    """Unique site that each supercell site is an image of, (n_s,)."""
    distance: Tensor
    """Nearest-image distance within the supercell, (n_p, n_s), angstrom."""


def dense_crystal(structure: Structure, matrix: NDArray[np.int64]) -> DenseCrystal:
    """Sites and distances of a pymatgen structure in the supercell ``matrix``."""
    n_p = len(structure)
    supercell = structure.make_supercell(matrix, in_place=False)
    m = len(supercell) // n_p
    return DenseCrystal(
        number=torch.tensor([site.specie.Z for site in structure]),
        unique=torch.arange(n_p).repeat_interleave(m),
        distance=torch.tensor(supercell.distance_matrix[::m], dtype=torch.float64),
    )


def mish(x: Tensor) -> Tensor:
    """x tanh(log(1 + e^x))."""
    softplus = torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)
    return x * torch.tanh(softplus)


def relu(x: Tensor) -> Tensor:
    """max(0, x)."""
    return torch.where(x > 0, x, torch.zeros_like(x))


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b over the last axis."""
    return torch.einsum("...i,oi->...o", x, w[f"{name}.weight"]) + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Zero mean, unit variance over the last axis, then scale and shift."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def lan(w: Weights, name: str, x: Tensor, activation: Activation) -> Tensor:
    """Linear, activation, LayerNorm, in this order."""
    return layer_norm(w, f"{name}.norm", activation(linear(w, name, x)))


def renormalised(table: Tensor) -> Tensor:
    """Rows longer than 1 shortened to length 1 on access: the shorter row is the parameter, and gets its gradient."""
    length = torch.sqrt((table**2).sum(-1, keepdim=True))
    shortened = torch.where(length > 1, table / length, table)
    return table + (shortened - table).detach()


def transparent_relu(y: Tensor) -> Tensor:
    """max(0, y) forward, the identity backward."""
    return y + (y.clamp(min=0) - y).detach()


def log_coulomb(crystal: DenseCrystal) -> Tensor:
    """log(C + 1e-8) clipped to [-10, 10]: Z_i Z_j / d with d in bohr, 0.5 Z^2.4 for a site with itself; (n_p, n_s)."""
    z = crystal.number.to(crystal.distance.dtype)
    out = torch.empty_like(crystal.distance)
    for i, row in enumerate(crystal.distance):
        for j, d in enumerate(row):
            itself = bool(d < 1e-9)
            c = 0.5 * z[i] ** 2.4 if itself else z[i] * z[crystal.unique[j]] / (d / ANGSTROM_PER_BOHR)
            out[i, j] = torch.log(c + 1e-8).clamp(-10, 10)
    return out


def attend(w: Weights, block: str, bond: Tensor, activation: Activation, *, value_layers: int) -> Tensor:
    """Additive attention over the supercell: bond (n_p, n_s, F) -> (n_p, heads * d_s), heads one after the other."""
    logit = linear(w, f"{block}.logits.1", lan(w, f"{block}.logits.0", bond, activation))  # (n_p, n_s, h)
    weight = torch.exp(logit - logit.max(1, keepdim=True).values.detach())
    weight = weight / weight.sum(1, keepdim=True)
    value = bond
    for k in range(value_layers):
        value = lan(w, f"{block}.value.{k}", value, activation)  # (n_p, n_s, d_s)
    heads = [(weight[:, :, k, None] * value).sum(1) for k in range(weight.shape[2])]
    return torch.cat(heads, dim=1)


def bonds(x: Tensor, e: Tensor, unique: Tensor) -> Tensor:
    """[x_i ; x_j ; e_ij], (n_p, n_s, 2D + P)."""
    n_p, n_s = e.shape[:2]
    x_i = x[:, None, :].expand(n_p, n_s, -1)
    x_j = x[unique][None, :, :].expand(n_p, n_s, -1)
    return torch.cat([x_i, x_j, e], dim=2)


def published_sites(w: Weights, crystal: DenseCrystal, properties: Tensor) -> Tensor:
    """Site summary m_i of A.3, (n_p, 180). ``properties``: raw elemental properties by atomic number, (119, 8)."""
    vector = renormalised(w["embedding"])[crystal.number]  # (n_p, 92)
    oxidation = torch.zeros(len(crystal.number), 1, dtype=vector.dtype)
    s = torch.cat([vector, properties[crystal.number], oxidation], dim=1)  # (n_p, 101)
    p = torch.stack([crystal.distance, log_coulomb(crystal)], dim=2)  # (n_p, n_s, 2)
    x, e = lan(w, "site_in", s, mish), lan(w, "pair_in", p, mish)
    summary = []
    for block in ("block0", "block1"):
        bond = bonds(x, e, crystal.unique)
        o = attend(w, block, bond, mish, value_layers=1)
        x, e = lan(w, f"{block}.site", o, mish), lan(w, f"{block}.pair", bond, mish)
        summary.append(x)
    return torch.cat(summary, dim=1)


def published_crystal(w: Weights, sites: Tensor) -> Tensor:
    """Pre-pool, mean over the unique sites, post-pool: (n_p, 180) -> (200,)."""
    g = lan(w, "prepool.0", sites, mish).mean(0, keepdim=True)
    for k in range(3):
        g = lan(w, f"postpool.{k}", g, mish)
    return g[0]


def published_output(w: Weights, crystal_vector: Tensor, *, gap: bool = False) -> Tensor:
    """Decoder of A.3, (T,); ``gap`` cuts negative values and lets their gradient pass."""
    y = linear(w, "decoder", crystal_vector)
    return transparent_relu(y) if gap else y


def compact_sites(w: Weights, crystal: DenseCrystal, scaled_properties: Tensor, activation: Activation) -> Tensor:
    """Local vector mu_i of B.2, (n_p, 32). ``scaled_properties``: by atomic number, times the factors of B.1."""
    oxidation = torch.zeros(len(crystal.number), 1, dtype=scaled_properties.dtype)
    s = torch.cat([scaled_properties[crystal.number], oxidation], dim=1)  # (n_p, 9)
    x = lan(w, "site_in", s, activation)
    e = lan(w, "pair_in", crystal.distance[:, :, None], activation)
    o = attend(w, "block0", bonds(x, e, crystal.unique), activation, value_layers=2)
    return linear(w, "local_mean", o)


def compact_crystal(w: Weights, sites: Tensor) -> Tensor:
    """Global representation mu_g of B.2: (n_p, 32) -> (64,)."""
    g = lan(w, "prepool.1", lan(w, "prepool.0", sites, mish), mish).mean(0, keepdim=True)
    return linear(w, "global_mean", lan(w, "postpool.0", g, mish))[0]


def compact_output(w: Weights, crystal_vector: Tensor) -> Tensor:
    """Property head of B.7, (T,)."""
    return linear(w, "head.1", mish(linear(w, "head.0", crystal_vector)))
