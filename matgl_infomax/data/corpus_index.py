"""Which formulas and structures does a corpus hold? A key of each, the same however a cell is written down."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import SYMPREC_ANGSTROM


def structure_key(crystal: Crystal) -> str:
    """A text that names the structure: formula, space group, sites of the primitive cell and its orbits.

    It is the same for every choice of cell, origin and order of the sites, and after small relaxations. Two crystals
    that share it may still differ in free parameters, such as a layer distance.

    Returns:
        The key; the reduced formula with a ``?`` where spglib finds no symmetry at 0.1 angstrom.
    """
    import spglib

    cell: Any = (crystal.lattice, crystal.frac, crystal.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_ANGSTROM)
    if found is None:
        return f"{crystal.reduced_formula} ?"
    n_primitive = len(np.unique(found.mapping_to_primitive))
    copies = crystal.n_sites // n_primitive
    sizes = Counter(found.crystallographic_orbits.tolist())  # sites per orbit, in the cell as it is written
    orbits = Counter((int(crystal.numbers[site]), size // copies) for site, size in sizes.items())
    listed = " ".join(f"{z}:{size}x{times}" for (z, size), times in sorted(orbits.items()))
    return f"{crystal.reduced_formula} {found.number} {n_primitive} {listed}"
