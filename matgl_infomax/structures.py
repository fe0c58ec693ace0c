"""From a pymatgen structure to plain arrays: what the graph converters accept, and what they say about the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure


def atomic_numbers(element_types: Sequence[str]) -> list[int]:
    """Atomic number of each element symbol, in the order given.

    Raises:
        InputError: For something that is no element symbol.
    """
    from pymatgen.core import Element

    wrong = [symbol for symbol in element_types if not Element.is_valid_symbol(symbol)]
    if wrong:
        raise InputError(f"element_types must be element symbols. Received: {', '.join(map(repr, wrong))}.")
    return [Element(symbol).Z for symbol in element_types]


def checked_crystal(structure: Structure, known: frozenset[int]) -> Crystal:
    """Take an ordered crystal apart that holds known elements only; oxidation states are dropped.

    Args:
        structure: pymatgen ``Structure``.
        known: atomic numbers that may occur.

    Raises:
        InputError: For a molecule, partial occupancies, an unknown element, no volume or positions that are no numbers.
    """
    from pymatgen.core import IStructure

    if not isinstance(structure, IStructure) or len(structure) == 0:
        raise InputError(f"A crystal graph needs a pymatgen Structure with atoms, not {type(structure).__name__}.")
    # Element by element in C where it can be: this runs for every crystal of a data set.
    occupants = [site.species for site in structure]
    species = list(chain.from_iterable(occupants))
    if len(species) != len(occupants) or set(map(attrgetter("num_atoms"), occupants)) != {1}:
        raise InputError(f"Received a disordered crystal: {structure.formula}. Order its sites first.")
    numbers = [specie.Z for specie in species]
    if not known.issuperset(numbers):
        strange = sorted({specie.symbol for specie in species if specie.Z not in known})
        raise InputError(f"Unknown element {', '.join(strange)} in {structure.formula}. Leave this crystal out.")
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)  # (3, 3)
    frac = np.array(structure.frac_coords, dtype=np.float64)  # (N, 3)
    if not np.isfinite(frac).all() or not _has_volume(*lattice.tolist()):
        raise InputError(f"Received {structure.formula} with zero volume or coordinates that are no numbers.")
    return Crystal("structure", np.array(numbers), lattice, frac)


def _has_volume(a: list[float], b: list[float], c: list[float]) -> bool:
    """Whether three vectors span any volume; numpy's cross product takes ten times longer."""
    x, y, z = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
    return 0 < abs(a[0] * x + a[1] * y + a[2] * z) < math.inf
