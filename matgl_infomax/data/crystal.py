"""One crystal as plain arrays, independent of the library that read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """An ordered crystal: lattice, elements, positions and whatever was measured on it."""

    id: str
    """Name under which predictions are reported; unique within a data set."""
    numbers: NDArray[np.int64]
    """Atomic number of each site, (N,)."""
    lattice: NDArray[np.float64]
    """Lattice vectors as rows, (3, 3), angstrom."""
    frac: NDArray[np.float64]
    """Fractional coordinates, (N, 3)."""
    labels: dict[str, float] = field(default_factory=dict)
    """Measured values by target name; a missing label is absent, never NaN."""
    source: str = ""
    """File (and row) it was read from, for messages."""
    arrays: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Measured values that are no single number, such as forces, by column name; a missing one is absent."""

    @property
    def n_sites(self) -> int:
        """Number of sites N in the cell."""
        return len(self.numbers)

    @property
    def reduced_formula(self) -> str:
        """Composition divided by its greatest common divisor, elements in order of atomic number."""
        from pymatgen.core import Element

        counts = Counter(int(z) for z in self.numbers)
        divisor = reduce(gcd, counts.values())
        return "".join(
            f"{Element.from_Z(z).symbol}{n // divisor if n > divisor else ''}" for z, n in sorted(counts.items())
        )

    def to_structure(self) -> Structure:
        """The same crystal as a pymatgen ``Structure``."""
        from pymatgen.core import Element, Lattice, Structure

        return Structure(Lattice(self.lattice), [Element.from_Z(int(z)) for z in self.numbers], self.frac)

    @classmethod
    def from_structure(
        cls, structure: Structure, *, id: str, labels: dict[str, float] | None = None, source: str = ""
    ) -> Crystal:
        """Take an ordered pymatgen ``Structure`` apart into arrays.

        Oxidation states are dropped: no model here reads them.
        """
        return cls(
            id=id,
            numbers=np.array([site.specie.Z for site in structure], dtype=np.int64),
            lattice=np.array(structure.lattice.matrix, dtype=np.float64),
            frac=np.array(structure.frac_coords, dtype=np.float64),
            labels=dict(labels or {}),
            source=source,
        )
