"""What the network is told: elemental properties of a site, distance and Coulomb repulsion of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import INFOMAX_SCALE, elemental_properties
from matgl_infomax.errors import InputError

BOHR_ANGSTROM = 0.529177210903
EMBEDDING_ROWS = 200
"""Rows of the learned element table, as published; row Z belongs to the element of atomic number Z."""


class SiteInput(nn.Module):
    """Raw features of a site: learned element vector, elemental properties, a column for the oxidation state.

    The oxidation state is zero for every undecorated crystal; its column exists for parity with the papers.

    Args:
        embedding_width: width of the learned element vector; 0 for none.
        property_scale: "raw" values, or the fixed factors of Deep InfoMax ("infomax").

    Shapes:
        atomic numbers (N,) -> (N, embedding_width + 9).
    """

    def __init__(self, embedding_width: int, property_scale: str) -> None:
        super().__init__()
        if property_scale not in ("raw", "infomax"):
            raise InputError(f"Unknown property_scale {property_scale!r}. Choose one of: raw, infomax.")
        values = torch.from_numpy(elemental_properties().values).clone()  # (119, 8)
        if property_scale == "infomax":
            values = values * torch.tensor(INFOMAX_SCALE, dtype=values.dtype)
        oxidation = values.new_zeros(len(values), 1)
        self.register_buffer("table", torch.cat([values, oxidation], dim=1).float(), persistent=False)
        self.embedding = nn.Embedding(EMBEDDING_ROWS, embedding_width, max_norm=1.0) if embedding_width else None
        self.width = embedding_width + self.properties_width

    table: Tensor

    @property
    def properties_width(self) -> int:
        """Number of fixed features per site."""
        return self.table.shape[1]

    def properties(self, number: Tensor) -> Tensor:
        """Fixed features alone, (N, 9)."""
        return self.table.index_select(0, number)

    def forward(self, number: Tensor) -> Tensor:
        """All features, (N, width)."""
        fixed = self.properties(number)  # (N, 9)
        if self.embedding is None:
            return fixed
        return torch.cat([self.embedding(number).to(fixed.dtype), fixed], dim=1)


def distance_channel(batch: SiteBatch) -> Tensor:
    """Distance of the pair, (E,), angstrom."""
    return batch.distance


def log_coulomb_channel(batch: SiteBatch) -> Tensor:
    """Logarithm of the Coulomb matrix, (E,): Z_i Z_j / d with d in bohr, 0.5 Z^2.4 for a site with itself."""
    charge = batch.number.to(batch.distance.dtype)  # (N,)
    charge = charge if batch.hidden is None else charge.masked_fill(batch.hidden, 0.0)
    product = charge.index_select(0, batch.src) * charge.index_select(0, batch.dst)  # (E,)
    itself = batch.distance == 0
    repulsion = product / (batch.distance / BOHR_ANGSTROM).masked_fill(itself, 1.0)  # (E,)
    own = 0.5 * charge.index_select(0, batch.src) ** 2.4  # (E,)
    return (torch.where(itself, own, repulsion) + 1e-8).log().clamp(-10.0, 10.0)


CHANNELS: dict[str, Callable[[SiteBatch], Tensor]] = {
    "distance": distance_channel,
    "log_coulomb": log_coulomb_channel,
}


def pair_features(batch: SiteBatch, channels: Sequence[str]) -> Tensor:
    """The chosen channels of each pair side by side, (E, C).

    Raises:
        InputError: For a channel that is not in ``CHANNELS``.
    """
    for name in channels:
        if name not in CHANNELS:
            raise InputError(f"Unknown pair channel {name!r}. Choose from: {', '.join(CHANNELS)}.")
    return torch.stack([CHANNELS[name](batch) for name in channels], dim=1)
