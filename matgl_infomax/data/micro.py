"""Physical numbers of an element that a network may be asked for: valence electrons, and stiffness of its solid.

Neither holds anything measured on a compound, so neither can leak a label of one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.elements import N_ELEMENTS

VALENCE_CLASSES = 17
"""From one valence electron (class 0) to seventeen (lutetium, lawrencium)."""
NOBLE = (0, 2, 10, 18, 36, 54, 86)
"""Atomic numbers at which a shell is closed."""
GPA_ANGSTROM3_PER_EV = 160.2177
AVOGADRO_PER_ANGSTROM3 = 0.602214076
"""Atoms per cubic angstrom in one mole per cubic centimetre."""
ROOM_KELVIN = 298.15


def valence_class() -> NDArray[np.int64]:
    """Valence electrons less one of every element, (119,); -1 for number 0, which is none.

    Counted are the electrons outside the noble-gas core, without a filled f shell (from hafnium and rutherfordium on)
    and without a filled d shell (p-block elements): zinc has 12, gallium 3, lutetium 17.
    """
    found = np.full(N_ELEMENTS + 1, -1, dtype=np.int64)
    for z in range(1, N_ELEMENTS + 1):
        core = max(n for n in NOBLE if n < z)
        electrons = z - core
        if core >= 54 and electrons > 17:
            electrons -= 14
        if core >= 18 and electrons > 12 and not (core >= 54 and z - core <= 17):
            electrons -= 10
        found[z] = electrons - 1
    return found


def element_stiffness() -> NDArray[np.float64]:
    """Bulk modulus times volume per atom of every element's solid, K_Z V_Z, (119,), eV; NaN where there is no number.

    Bulk moduli and molar volumes are those of the pure elements, as pymatgen's table of elements holds them. Only
    metals that are solid at room temperature have a number: elsewhere bulk modulus and volume are those of another
    thing than the element's bonds, such as graphite's layers, molecules or a liquid.
    """
    from pymatgen.core import Element

    found = np.full(N_ELEMENTS + 1, np.nan)
    for z in range(1, N_ELEMENTS + 1):
        element = Element.from_Z(z)
        data = element.data
        modulus, volume, melts = (data.get(name) for name in ("Bulk modulus", "Molar volume", "Melting point"))
        if element.is_metal and modulus and volume and melts and melts > ROOM_KELVIN:
            found[z] = modulus * (volume / AVOGADRO_PER_ANGSTROM3) / GPA_ANGSTROM3_PER_EV
    return found
