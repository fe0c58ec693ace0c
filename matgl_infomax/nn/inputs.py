"""What the network is told: elemental properties of a site, distance and Coulomb repulsion of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import INFOMAX_SCALE, elemental_properties, standardised_properties
from matgl_infomax.errors import InputError

BOHR_ANGSTROM = 0.529177210903
EMBEDDING_ROWS = 200
"""Rows of the learned element table, as published; row Z belongs to the element of atomic number Z."""


def _with_oxidation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The properties and the published column for the oxidation state, which is zero, (119, 9)."""
    return np.concatenate([values, np.zeros((len(values), 1))], axis=1)


SCALES: dict[str, Callable[[], NDArray[np.float64]]] = {
    "raw": lambda: _with_oxidation(elemental_properties().values),
    "infomax": lambda: _with_oxidation(elemental_properties().values * np.array(INFOMAX_SCALE)),
    "standard": standardised_properties,
}
"""Fixed features of the elements by the name of their scale, (119, F) each."""


class SiteInput(nn.Module):
    """Raw features of a site: learned element vector, elemental properties, a column for the oxidation state.

    The oxidation state is zero for every undecorated crystal; its column exists for parity with the papers.

    Args:
        embedding_width: width of the learned element vector; 0 for none.
        property_scale: "raw" values, the fixed factors of Deep InfoMax ("infomax"), or 21 properties instead of eight,
            each with mean 0 and standard deviation 1 over the elements ("standard").

    Shapes:
        atomic numbers (N,) -> (N, embedding_width + 9), or + 21 with "standard".
    """

    def __init__(self, embedding_width: int, property_scale: str) -> None:
        super().__init__()
        if property_scale not in SCALES:
            raise InputError(f"Unknown property_scale {property_scale!r}. Choose one of: {', '.join(SCALES)}.")
        table = torch.from_numpy(SCALES[property_scale]()).float()
        self.register_buffer("table", table, persistent=False)
        self.embedding = nn.Embedding(EMBEDDING_ROWS, embedding_width, max_norm=1.0) if embedding_width else None
        self.width = embedding_width + self.properties_width

    table: Tensor

    @property
    def properties_width(self) -> int:
        """Number of fixed features per site."""
        return self.table.shape[1]

    def properties(self, number: Tensor) -> Tensor:
        """Fixed features alone, (N, 9), or (N, 21)."""
        return self.table.index_select(0, number)

    def forward(self, number: Tensor) -> Tensor:
        """All features, (N, width)."""
        fixed = self.properties(number)  # (N, F)
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


GAUSSIANS = 16
GAUSSIAN_REACH_ANGSTROM = 8.0


def gaussian_channels(batch: SiteBatch) -> Tensor:
    """Gaussians of the distance, (E, 16): centres from 0 to 8 angstrom, as wide as they are apart."""
    like: dict[str, Any] = {"device": batch.distance.device, "dtype": batch.distance.dtype}
    centre = torch.linspace(0.0, GAUSSIAN_REACH_ANGSTROM, GAUSSIANS, **like)  # (16,)
    width = GAUSSIAN_REACH_ANGSTROM / (GAUSSIANS - 1)
    return (-0.5 * ((batch.distance.unsqueeze(1) - centre) / width) ** 2).exp()


CHANNELS: dict[str, tuple[int, Callable[[SiteBatch], Tensor]]] = {
    "distance": (1, distance_channel),
    "log_coulomb": (1, log_coulomb_channel),
    "gaussians": (GAUSSIANS, gaussian_channels),
}
"""Features of a pair by name: how many numbers, and how they are made."""


def channels_width(channels: Sequence[str]) -> int:
    """How many numbers the chosen channels give for a pair.

    Raises:
        InputError: For a channel that is not in ``CHANNELS``.
    """
    for name in channels:
        if name not in CHANNELS:
            raise InputError(f"Unknown pair channel {name!r}. Choose from: {', '.join(CHANNELS)}.")
    return sum(CHANNELS[name][0] for name in channels)


def pair_features(batch: SiteBatch, channels: Sequence[str]) -> Tensor:
    """The chosen channels of each pair side by side, (E, C)."""
    # A process without crystals has no pairs, of which torch could not tell the width by itself.
    made = [CHANNELS[name][1](batch).reshape(batch.n_pairs, CHANNELS[name][0]) for name in channels]
    return torch.cat(made, dim=1)
