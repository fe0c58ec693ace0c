"""Building pairs of supercells, and radius graphs beside MatGL's own converter."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from matgl_infomax.data.supercell import supercell_pairs
from matgl_infomax.nn.sitenet import ELEMENTS
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import crystals

CUTOFF_ANGSTROM = 5.0


@pytest.mark.parametrize("atoms", [50, 100, 200, 500])
def test_supercell_pairs(atoms: int, measure: Callable[..., None]) -> None:
    """Pairs of one crystal after the other."""
    cells = [(c.lattice, c.frac) for c in crystals(60 if QUICK else 400)]
    pairs = sum(len(supercell_pairs(lattice, frac, atoms).src) for lattice, frac in cells)

    def build() -> None:
        for lattice, frac in cells:
            supercell_pairs(lattice, frac, atoms)

    measure(build, units=len(cells), rounds=7, pairs=pairs)


@pytest.mark.parametrize("whose", ["matgl", "ours"])
def test_radius_graphs(whose: str, measure: Callable[..., None]) -> None:
    """Structures to graphs of a 5 angstrom cut-off, through the same method of either converter."""
    converter = radius_converter(whose)
    structures = [c.to_structure() for c in crystals(60 if QUICK else 400)]

    def convert() -> None:
        for structure in structures:
            converter.get_graph(structure)

    measure(convert, units=len(structures), rounds=7)


def radius_converter(whose: str) -> Any:
    """MatGL's converter on the chosen stack, or ours."""
    host = importlib.import_module("matgl_infomax.host")
    if whose == "ours":
        return host.RadiusConverter(ELEMENTS, CUTOFF_ANGSTROM)
    from matgl.ext.pymatgen import Structure2Graph

    return Structure2Graph(ELEMENTS, CUTOFF_ANGSTROM)
