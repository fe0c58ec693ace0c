"""The flat tensors of several crystals: every network and objective here reads these fields and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import radius_pairs

View = Literal["full", "merged", "both"]
"""All sites and pairs, equal ones merged and counted, or both in one batch."""


@dataclass(frozen=True, eq=False)
class SiteBatch:
    """B crystals as flat arrays: N sites, E directed pairs sorted by receiver, no padding.

    The pairs of one receiver keep the order of the edge rule; for supercells that is the order of
    the supercell's sites, the same for every receiver of a crystal.
    """

    number: Tensor  # (N,)     int64   atomic number of each site
    owner: Tensor  # (N,)     int64   crystal each site belongs to, ascending
    src: Tensor  # (E,)     int64   receiver i of a pair, ascending
    dst: Tensor  # (E,)     int64   neighbour j of a pair, as the unique site it is an image of
    distance: Tensor  # (E,)     float   distance of i to the image of j, angstrom
    n_crystals: int  # B
    frac: Tensor | None = None  # (N, 3)   float   fractional coordinates, only when geometry is asked for
    lattice: Tensor | None = None  # (B, 3, 3) float  lattice vectors as rows, angstrom, likewise
    offset: Tensor | None = None  # (E, 3)   float   lattice translation of j's image, in cells, likewise
    weight: Tensor | None = None  # (N,)     float   equal sites that each row stands for; none means one
    copies: Tensor | None = None  # (E,)     float   equal pairs that each row stands for; none means one
    merged: SiteBatch | None = None  # the same crystals with equal sites and pairs as one row each
    kind: Tensor | None = None  # (N,)     int64   row of ``merged`` that each site is equal to, with ``merged``
    site_property: Tensor | None = (
        None  # (N,)     float   a number of each site that an objective asks for; NaN where missing
    )
    hidden: Tensor | None = None  # (N,)     bool    sites whose element no network is told; none means none
    energy: Tensor | None = None  # (B,)     float   label: energy per atom; NaN where missing, as in the next two
    forces: Tensor | None = None  # (N, 3)   float   label: force on each site
    stress: Tensor | None = None  # (B, 3, 3) float  label: stress times volume per atom, negative under compression

    @property
    def n_sites(self) -> int:
        """Number of sites N over all crystals."""
        return int(self.number.shape[0])

    @property
    def n_pairs(self) -> int:
        """Number of directed pairs E over all crystals."""
        return int(self.src.shape[0])

    @cached_property
    def degree(self) -> Tensor:
        """Pairs per receiver, (N,)."""
        return torch.bincount(self.src, minlength=self.n_sites)

    @cached_property
    def first_pair(self) -> Tensor:
        """Index of each receiver's first pair, (N,)."""
        return self.degree.cumsum(0) - self.degree

    @cached_property
    def atoms(self) -> Tensor:
        """Sites per crystal that the rows stand for, (B,), float."""
        if self.weight is None:
            return self.size.to(self.distance.dtype)
        return self.weight.new_zeros(self.n_crystals).index_add(0, self.owner, self.weight)

    @cached_property
    def size(self) -> Tensor:
        """Rows per crystal, (B,)."""
        return torch.bincount(self.owner, minlength=self.n_crystals)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> SiteBatch:
        """The same batch elsewhere; ``dtype`` applies to the floating-point fields."""
        moved: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor) and name in self.__dataclass_fields__:
                moved[name] = value.to(device, dtype) if value.is_floating_point() else value.to(device)
        if self.merged is not None:
            moved["merged"] = self.merged.to(device, dtype)
        return replace(self, **moved)


def radius_batch(crystals: Sequence[Crystal], cutoff_angstrom: float = 5.0) -> SiteBatch:
    """All crystals in one batch with geometry, in double precision; pairs are neighbours within the cut-off."""
    pairs = [radius_pairs(c.lattice, c.frac, cutoff_angstrom) for c in crystals]
    sizes = np.array([c.n_sites for c in crystals])
    start = sizes.cumsum() - sizes
    src = np.concatenate([p.src + s for p, s in zip(pairs, start, strict=True)])
    dst = np.concatenate([p.dst + s for p, s in zip(pairs, start, strict=True)])
    return SiteBatch(
        number=torch.from_numpy(np.concatenate([c.numbers for c in crystals])),
        owner=torch.from_numpy(np.repeat(np.arange(len(crystals)), sizes)),
        src=torch.from_numpy(src).long(),
        dst=torch.from_numpy(dst).long(),
        distance=torch.from_numpy(np.concatenate([p.distance for p in pairs])),
        n_crystals=len(crystals),
        frac=torch.from_numpy(np.concatenate([c.frac for c in crystals])),
        lattice=torch.from_numpy(np.stack([c.lattice for c in crystals])),
        offset=torch.from_numpy(np.concatenate([p.offset for p in pairs])).double(),
    )


def segment_mean(values: Tensor, owner: Tensor, count: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of the rows of each segment.

    Args:
        values: rows, (N, D) or (N,).
        owner: segment of each row, (N,).
        count: rows per segment, or the sum of their weights, (B,).
        weight: how often each row counts, (N,); none means once.

    Returns:
        (B, D) or (B,); an empty segment gives zero.
    """
    trailing = [1] * (values.dim() - 1)
    if weight is not None:
        values = values * weight.view(-1, *trailing)
    total = values.new_zeros(len(count), *values.shape[1:]).index_add(0, owner, values)
    return total / count.clamp(min=1).to(values.dtype).view(-1, *trailing)
