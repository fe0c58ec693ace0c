"""The mlearn force-field data: six elements, energies, forces and stresses of DFT (Zuo et al., J. Phys. Chem. A 2020).

Stresses are in kBar, positive under compression. Their six numbers do not stand in the same order for all elements:
in the sheared cells of the group Elastic the third shear of Cu, Mo and Ni answers to yz and the second to xz, while
Li, Si and Ge have xx, yy, zz, xy, yz, zx as documented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgl_infomax.data.forces import ForceLabels, force_labels
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import LabelColumns

if TYPE_CHECKING:
    import pandas as pd

ELEMENTS = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")
STRESS_ORDER: dict[str, Any] = {
    "Ni": "xy_xz_yz",
    "Cu": "xy_xz_yz",
    "Mo": "xy_xz_yz",
    "Li": "xy_yz_xz",
    "Si": "xy_yz_xz",
    "Ge": "xy_yz_xz",
}
"""Order of the shears, judged by what the cells of the group Elastic say."""
NEEDED = ("id", "element", "split", "energy", "forces", "virial_stress", "lattice", "atomic_numbers", "frac_coords")


@dataclass(frozen=True)
class Frames:
    """Labelled frames of one element and one part."""

    crystals: Crystals
    labels: ForceLabels


def columns_of(element: str) -> LabelColumns:
    """What stands in the columns of an element.

    Args:
        element: symbol.
    """
    return LabelColumns(
        energy="energy",
        forces="forces",
        stress="virial_stress",
        stress_unit="kBar",
        compression="positive",
        stress_order=STRESS_ORDER[element],
    )


def load_table(path: Path) -> pd.DataFrame:
    """The whole table, one line per frame.

    Raises:
        InputError: If the file is missing or has other columns.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read the mlearn table {path}: {error}. Give a parquet file with --data.") from error
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}. It needs: {', '.join(NEEDED)}.")
    return table


def load_frames(table: pd.DataFrame, element: str, split: str) -> Frames:
    """The frames of one element.

    Args:
        table: from ``load_table``.
        element: symbol, one of ``ELEMENTS``.
        split: "train" or "test".

    Raises:
        InputError: For an unknown element, or one without frames.
    """
    check_known([element])
    part = table[(table["element"] == element) & (table["split"] == split)]
    if part.empty:
        raise InputError(f"The table holds no {split} frames of {element}. Leave the element out.")
    columns = columns_of(element)
    numbers, arrays = columns.names
    crystals = read_crystals(part, targets=numbers, arrays=arrays)
    return Frames(crystals, force_labels(crystals, columns))


def check_known(elements: Sequence[str]) -> None:
    """Refuse elements whose order of stresses is not known.

    Raises:
        InputError: For any element but the six.
    """
    unknown = [symbol for symbol in elements if symbol not in ELEMENTS]
    if unknown:
        raise InputError(f"mlearn has no {', '.join(unknown)}. Its elements: {', '.join(ELEMENTS)}.")
