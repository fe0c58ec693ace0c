"""Eight tabulated properties of every element: what Site-Net is told about an atom.

The numbers in ``elements.csv`` are those of Magpie (Ward et al., npj Comput. Mater. 2, 16028, 2016) as
matminer 0.10.1 ships them, with an empty cell where Magpie has none. Magpie ends at copernicium: from
nihonium on, number, row and column are the place in the periodic table and the weight is the mass
number of a long-lived isotope. Magpie puts all lanthanides and actinides into column 3.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

PROPERTY_NAMES: tuple[str, ...] = (
    "atomic_number",
    "atomic_weight",
    "row",
    "column",
    "first_ionisation_energy",
    "electronegativity",
    "atomic_radius",
    "density",
)
PROPERTY_UNITS: tuple[str, ...] = ("", "g/mol", "", "", "eV", "Pauling", "angstrom", "g/L")
MORE_NAMES: tuple[str, ...] = (
    "mendeleev_number",
    "covalent_radius",
    "melting_point",
    *(f"{shell}_{kind}" for kind in ("valence", "unfilled") for shell in "spdf"),
    "ground_state_volume",
    "polarisability",
)
INFOMAX_SCALE: tuple[float, ...] = (0.1, 0.1, 1.0, 1.0, 1.0, 10.0, 10.0, 0.001)
"""Factors of the Deep InfoMax paper that bring the eight properties to similar size, in the same order."""

N_ELEMENTS = 118
ROW, COLUMN = PROPERTY_NAMES.index("row"), PROPERTY_NAMES.index("column")


@dataclass(frozen=True, eq=False)
class ElementTable:
    """Properties of the elements, without gaps: row Z is the element with atomic number Z, row 0 is zero."""

    values: NDArray[np.float64]
    """Properties in their units, unscaled, (119, 8)."""
    imputed: NDArray[np.bool_]
    """Where the value is an average over similar elements instead of a tabulated one, (119, 8)."""
    symbols: tuple[str, ...]
    """Element symbols by atomic number, 119 entries, the first empty."""
    names: tuple[str, ...] = PROPERTY_NAMES
    """Name of each column."""
    units: tuple[str, ...] = PROPERTY_UNITS
    """Unit of each column; empty for a pure number."""


def elemental_properties() -> ElementTable:
    """The eight properties of all 118 elements, gaps filled with the mean over similar elements.

    A missing value is the mean of the tabulated values in the same column of the periodic table; where
    that has none, of the same row; else of all elements. No element is ever dropped.
    """
    symbols, raw = _read_table()  # (119,), (119, 8) with NaN
    missing = np.isnan(raw)
    values = raw.copy()
    for z, k in np.argwhere(missing):
        values[z, k] = _mean_of_similar(raw, z, k)
    return ElementTable(values, missing, symbols)


def imputed_elements(numbers: Iterable[int]) -> dict[str, list[str]]:
    """Which of these elements lack which tabulated properties, for the log.

    Args:
        numbers: atomic numbers, in any order, repeats allowed.

    Returns:
        Symbol to property names, in order of atomic number; elements without gaps are left out.

    Raises:
        InputError: If a number is not that of an element.
    """
    wanted = sorted({int(z) for z in numbers})
    unknown = [z for z in wanted if not 1 <= z <= N_ELEMENTS]
    if unknown:
        raise InputError(f"Atomic numbers go from 1 to {N_ELEMENTS}. Received: {unknown}. Check the input crystals.")
    table = elemental_properties()
    gaps = {z: [table.names[k] for k in np.flatnonzero(table.imputed[z])] for z in wanted}
    return {table.symbols[z]: names for z, names in gaps.items() if names}


def standardised_properties() -> NDArray[np.float64]:
    """The eight properties and thirteen more (``elements_more.csv``, Magpie's too) on one scale, (119, 21).

    Each has mean 0 and standard deviation 1 over hydrogen to lawrencium; a missing value becomes 0, the mean.
    Of the further ones volume is that of the elemental ground state in angstrom^3 per atom, the melting point is in K,
    the covalent radius in pm, the polarisability in angstrom^3; the others are numbers of electrons and places.
    """
    more = _read_table("elements_more.csv", MORE_NAMES)[1]  # (119, 13) with NaN
    raw = np.concatenate([elemental_properties().values, more], axis=1)  # (119, 21)
    usual = raw[1:104]
    scaled = np.nan_to_num((raw - np.nanmean(usual, axis=0)) / np.nanstd(usual, axis=0))
    scaled[0] = 0.0
    return scaled


def _read_table(
    file: str = "elements.csv", names: Sequence[str] = PROPERTY_NAMES
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    text = files("matgl_infomax.data").joinpath(file).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    raw = np.zeros((N_ELEMENTS + 1, len(names)))
    for z, row in enumerate(rows, start=1):
        raw[z] = [float(row[name] or "nan") for name in names]
    return ("", *(row["symbol"] for row in rows)), raw


def _mean_of_similar(raw: NDArray[np.float64], z: int, k: int) -> float:
    known = ~np.isnan(raw[:, k])
    known[0] = False
    for place in (COLUMN, ROW):
        similar = known & (raw[:, place] == raw[z, place])
        if similar.any():
            return float(raw[similar, k].mean())
    return float(raw[known, k].mean())
