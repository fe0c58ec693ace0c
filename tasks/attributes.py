"""Facts about the crystals of a task by which errors are split: formula, elements, size, symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import space_group

if TYPE_CHECKING:
    import pandas as pd

SYSTEMS = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (167, "trigonal"),
           (194, "hexagonal"), (230, "cubic"))  # fmt: skip
"""Crystal systems by the last of their space groups."""


def attribute_table(crystals: Sequence[Crystal], *, progress: bool = False) -> pd.DataFrame:
    """One line per crystal: id, formula (reduced), elements, sites, crystal_system, space_group.

    Args:
        crystals: crystals with structures.
        progress: show a bar; finding symmetry takes about a millisecond per crystal.
    """
    import pandas as pd
    from pymatgen.core import Composition
    from tqdm import tqdm

    lines = []
    for crystal in tqdm(crystals, desc="Symmetry", unit="crystal", disable=not progress):
        composition = Composition.from_dict(_counts(crystal))
        group = space_group(crystal)
        lines.append({
            "id": crystal.id, "formula": composition.reduced_formula, "elements": len(composition),
            "sites": len(crystal.numbers), "crystal_system": crystal_system(group), "space_group": group,
        })  # fmt: skip
    return pd.DataFrame(lines)


def crystal_system(group: int) -> str:
    """Crystal system of a space group; 'unknown' for 0, where none was found.

    Args:
        group: number of the space group, 1 to 230.
    """
    return next(name for last, name in SYSTEMS if group <= last) if group > 0 else "unknown"


def _counts(crystal: Crystal) -> dict[str, int]:
    """How often each element occurs."""
    from pymatgen.core import Element

    numbers = crystal.numbers.tolist()
    return {Element.from_Z(z).symbol: numbers.count(z) for z in sorted(set(numbers))}
