"""What a probe asks of frozen vectors: facts that every crystal structure holds, and features that know no structure.

No measured value is among them. Shells of neighbours follow one stated rule: the first shell of a site is every
neighbour no further away than 1.2 times its nearest one, their number is the coordination number, and the second shell
begins at the next distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import PROPERTY_NAMES, elemental_properties, standardised_properties
from matgl_infomax.data.radius import radius_pairs

SHELL = 1.2
"""Neighbours within this multiple of the nearest distance are in the first shell; 14 in a body-centred cubic metal."""

SYMPREC_ANGSTROM = 0.1
"""How far atoms may be from a symmetric place for spglib, as in ``matgl-infomax overlap``."""

SYSTEMS = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (167, "trigonal"),
           (194, "hexagonal"), (230, "cubic"))  # fmt: skip
"""Last space group of each crystal system (International Tables for Crystallography A)."""

START_ANGSTROM = 4.0
GRAMS_PER_CM3 = 1.66053906660
"""Of one atomic mass unit per cubic angstrom (CODATA 2018)."""


@dataclass(frozen=True, eq=False)
class Target:
    """One question: its answer for every site or crystal."""

    name: str
    level: str
    """``site`` or ``crystal``."""
    kind: str
    """``number`` or ``class``."""
    values: NDArray[np.float64]
    """Numbers in their unit, or numbers of classes; NaN where there is no answer, (N,) or (B,)."""
    unit: str = ""

    def of(self, rows: NDArray[np.int64]) -> Target:
        """The same question for some sites or crystals.

        Args:
            rows: their positions, (n,).
        """
        return replace(self, values=self.values[rows])


def chosen_sites(n_sites: NDArray[np.int64], most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sites to ask, drawn at random from all where there are too many: their positions and their crystals, (n,) each.

    Args:
        n_sites: sites of each crystal, (B,).
        most: how many sites are wanted at most.
        seed: seed of the draw.
    """
    owner = np.repeat(np.arange(len(n_sites)), n_sites)  # (N,)
    rows = np.sort(np.random.default_rng(seed).permutation(len(owner))[:most])
    return rows, owner[rows]


def site_targets(crystals: Sequence[Crystal]) -> list[Target]:
    """Element, coordination number, nearest distance and second shell of every site, crystal after crystal, (N,) each.

    Args:
        crystals: B crystals with N sites together.

    Raises:
        InputError: If a lattice has no volume or a coordinate is no number.
    """
    shells = [neighbour_shells(crystal) for crystal in crystals]  # (3, sites) each
    found = np.concatenate(shells, axis=1) if shells else np.empty((3, 0))
    numbers = np.concatenate([crystal.numbers for crystal in crystals]) if shells else np.empty(0)
    return [
        Target("element", "site", "class", numbers.astype(np.float64)),
        Target("coordination_number", "site", "number", found[0]),
        Target("nearest_distance", "site", "number", found[1], "angstrom"),
        Target("second_shell", "site", "number", found[2], "angstrom"),
    ]


def crystal_targets(crystals: Sequence[Crystal]) -> list[Target]:
    """Crystal system, space group, density, volume per atom and number of elements of every crystal, (B,) each.

    Args:
        crystals: B crystals; symmetry is that of spglib within 0.1 angstrom, NaN where it finds none.
    """
    weight = elemental_properties().values[:, PROPERTY_NAMES.index("atomic_weight")]  # (119,) g/mol
    groups = np.array([space_group(crystal) for crystal in crystals], dtype=np.float64)
    lasts = np.array([last for last, _ in SYSTEMS])
    systems = np.where(np.isnan(groups), np.nan, np.searchsorted(lasts, np.nan_to_num(groups)))
    volume = np.array([abs(np.linalg.det(crystal.lattice)) for crystal in crystals])  # (B,) angstrom^3
    mass = np.array([weight[crystal.numbers].sum() for crystal in crystals])  # (B,) g/mol
    sites = np.array([crystal.n_sites for crystal in crystals])
    elements = np.array([len(np.unique(crystal.numbers)) for crystal in crystals], dtype=np.float64)
    return [
        Target("crystal_system", "crystal", "class", systems),
        Target("space_group", "crystal", "class", groups),
        Target("density", "crystal", "number", GRAMS_PER_CM3 * mass / volume, "g/cm^3"),
        Target("volume_per_atom", "crystal", "number", volume / sites, "angstrom^3"),
        Target("n_elements", "crystal", "number", elements),
    ]


def space_group(crystal: Crystal) -> float:
    """Number of the space group, 1 to 230; NaN where spglib finds none.

    Args:
        crystal: the structure as it is stored.
    """
    import spglib

    cell: Any = (crystal.lattice, crystal.frac, crystal.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_ANGSTROM)
    return float(found.number) if found is not None else float("nan")


def neighbour_shells(crystal: Crystal) -> NDArray[np.float64]:
    """Coordination number, nearest distance and second shell (angstrom) of every site, (3, N).

    The cut-off grows until every site has a second shell, which a periodic crystal always has.

    Args:
        crystal: N sites.

    Raises:
        InputError: If the lattice has no volume or a coordinate is no number.
    """
    n, cutoff = crystal.n_sites, START_ANGSTROM
    while True:
        pairs = radius_pairs(crystal.lattice, crystal.frac, cutoff)
        nearest, second = np.full(n, np.inf), np.full(n, np.inf)  # (N,), (N,)
        np.minimum.at(nearest, pairs.src, pairs.distance)
        outside = pairs.distance > SHELL * nearest[pairs.src]
        np.minimum.at(second, pairs.src[outside], pairs.distance[outside])
        if np.isfinite(second).all():
            count = np.bincount(pairs.src[~outside], minlength=n)
            return np.stack([count.astype(np.float64), nearest, second])
        cutoff *= 1.5


def composition_of_crystals(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Mean and spread of 21 elemental properties over the sites of each crystal, (B, 42): no structure at all.

    Args:
        crystals: B crystals.
    """
    table = standardised_properties()  # (119, 21)
    parts = [table[crystal.numbers] for crystal in crystals]
    return np.array([np.concatenate([part.mean(0), part.std(0)]) for part in parts]).reshape(-1, 2 * table.shape[1])


def composition_of_sites(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """21 elemental properties of each site and their mean over its crystal, (N, 42): no structure at all.

    Args:
        crystals: crystals with N sites together.
    """
    table = standardised_properties()  # (119, 21)
    parts = [table[crystal.numbers] for crystal in crystals]
    rows = [np.concatenate([part, np.broadcast_to(part.mean(0), part.shape)], axis=1) for part in parts]
    return np.concatenate(rows) if rows else np.empty((0, 2 * table.shape[1]))
