"""Small crystals of our own as files in every format that is read: what ``tests/data/test_fuzz.py`` mutates.

Values are those of textbooks or invented. Positions in the cell come from gemmi's operations, not from the reader.
"""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ase.db
import ase.io
import gemmi
import numpy as np
import pandas as pd
from ase import Atoms
from pymatgen.core import Element, Lattice, Structure

Cell = tuple[float, float, float, float, float, float]
Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Atomic numbers (N,), lattice (3, 3) in angstrom, fractional coordinates (N, 3)."""


@dataclass(frozen=True)
class Known:
    """A crystal by its group.

    Attributes:
        group: symbol that gemmi knows, with its setting.
        cell: lengths in angstrom and angles in degrees.
        sites: element and position of each site.
    """

    group: str
    cell: Cell
    sites: tuple[tuple[str, tuple[float, float, float]], ...]

    @property
    def operations(self) -> list[gemmi.Op]:
        return list(gemmi.SpaceGroup(self.group).operations())

    @property
    def lattice(self) -> np.ndarray:
        return np.array(gemmi.UnitCell(*self.cell).orth.mat.tolist()).T

    def images(self, position: tuple[float, float, float]) -> list[np.ndarray]:
        """All positions of a site in the cell."""
        kept: list[np.ndarray] = []
        for operation in self.operations:
            image = np.array(operation.apply_to_xyz(list(position))) % 1.0
            off = [image - other - np.rint(image - other) for other in kept]
            if not any((np.abs(d) < 1e-4).all() for d in off):
                kept.append(image)
        return kept

    def arrays(self) -> Found:
        """The whole cell."""
        placed = [(gemmi.Element(kind).atomic_number, image) for kind, at in self.sites for image in self.images(at)]
        numbers = np.array([number for number, _ in placed])
        return numbers, self.lattice, np.array([image for _, image in placed])


KNOWN = {
    "rock salt": Known("F m -3 m", (5.64, 5.64, 5.64, 90, 90, 90), (("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5)))),
    "rutile": Known("P 42/m n m", (4.594, 4.594, 2.959, 90, 90, 90), (("Ti", (0, 0, 0)), ("O", (0.305, 0.305, 0)))),
    "bismuth, hexagonal": Known("R -3 m:H", (4.546, 4.546, 11.862, 90, 90, 120), (("Bi", (0, 0, 0.2339)),)),
    "bismuth, rhombohedral": Known(
        "R -3 m:R", (4.746, 4.746, 4.746, 57.23, 57.23, 57.23), (("Bi", (0.2339, 0.2339, 0.2339)),)
    ),
    "silicon, origin 1": Known("F d -3 m:1", (5.431, 5.431, 5.431, 90, 90, 90), (("Si", (0, 0, 0)),)),
    "silicon, origin 2": Known("F d -3 m:2", (5.431, 5.431, 5.431, 90, 90, 90), (("Si", (0.125, 0.125, 0.125)),)),
    "wurtzite": Known(
        "P 63 m c", (3.25, 3.25, 5.207, 90, 90, 120), (("Zn", (1 / 3, 2 / 3, 0)), ("O", (1 / 3, 2 / 3, 0.382)))
    ),
    "brucite": Known(
        "P -3 m 1",
        (3.142, 3.142, 4.766, 90, 90, 120),
        (("Mg", (0, 0, 0)), ("O", (1 / 3, 2 / 3, 0.2203)), ("H", (1 / 3, 2 / 3, 0.4303))),
    ),
    "perovskite": Known(
        "P m -3 m",
        (3.905, 3.905, 3.905, 90, 90, 90),
        (("Sr", (0, 0, 0)), ("Ti", (0.5, 0.5, 0.5)), ("O", (0.5, 0.5, 0))),
    ),
    "GeS": Known(
        "P n m a", (10.47, 3.641, 4.303, 90, 90, 90), (("Ge", (0.1217, 0.25, 0.1269)), ("S", (0.8495, 0.25, 0.5026)))
    ),
    "zirconia": Known(
        "P 1 21/c 1",
        (5.145, 5.208, 5.311, 90, 99.23, 90),
        (("Zr", (0.2758, 0.0404, 0.2089)), ("O", (0.0703, 0.3367, 0.3406)), ("O", (0.4423, 0.7549, 0.4789))),
    ),
    "invented, P 21/n": Known(
        "P 1 21/n 1", (6.31, 7.12, 8.05, 90, 95.4, 90), (("Cd", (0.12, 0.23, 0.31)), ("Se", (0.41, 0.06, 0.19)))
    ),
    "invented, I 2/a": Known(
        "I 1 2/a 1", (7.9, 6.4, 8.8, 90, 101.2, 90), (("Ca", (0.25, 0.1, 0)), ("F", (0.05, 0.35, 0.15)))
    ),
    "invented, water": Known(
        "P -1",
        (5.41, 6.22, 6.87, 83.1, 97.3, 104.6),
        (("Li", (0.1, 0.2, 0.3)), ("O", (0.4, 0.6, 0.2)), ("H", (0.45, 0.72, 0.13)), ("H", (0.5, 0.48, 0.2))),
    ),
}
"""Crystals by name."""


def _number(value: float) -> str:
    return f"{value:.5f}".rstrip("0").rstrip(".")


def _formula(numbers: np.ndarray) -> tuple[str, int]:
    kinds, counts = np.unique(numbers, return_counts=True)
    units = int(np.gcd.reduce(counts))
    pairs = zip(kinds, counts, strict=True)
    return " ".join(f"{gemmi.Element(int(z)).name}{n // units}" for z, n in pairs), units


STYLES = ("named", "listed", "hall", "full", "short", "expanded")
"""How a CIF states its symmetry, and how much it says twice."""


def cif_text(known: Known, style: str) -> str:
    """A CIF of a crystal.

    Args:
        known: the crystal.
        style: one of ``STYLES``; ``full`` says everything, ``short`` only the listed operations, without types.
    """
    numbers, _, frac = known.arrays()
    group = gemmi.SpaceGroup(known.group)
    formula, units = _formula(numbers)
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["# written for a test", "data_one"]
    if style != "short":
        lines += [f"_chemical_formula_sum '{formula}'", f"_cell_formula_units_Z {units}"]
    if style == "full":
        lines.append(f"_cell_volume {gemmi.UnitCell(*known.cell).volume:.3f}")
    lines += [f"_cell_{name} {_number(value)}" for name, value in zip(names, known.cell, strict=True)]
    if style in ("named", "full"):
        lines += [f"_symmetry_space_group_name_H-M '{group.xhm()}'", f"_symmetry_Int_Tables_number {group.number}"]
    if style in ("hall", "full"):
        lines.append(f"_space_group_name_Hall '{group.hall}'")
    if style in ("listed", "full", "short"):
        tag = "_symmetry_equiv_pos_as_xyz" if style == "listed" else "_space_group_symop_operation_xyz"
        lines += ["loop_", tag, *(f"'{op.triplet()}'" for op in known.operations)]
    sites = [(kind, at, len(known.images(at))) for kind, at in known.sites]
    if style == "expanded":
        sites = [(gemmi.Element(int(z)).name, tuple(at), 1) for z, at in zip(numbers, frac, strict=True)]
    columns = ["label", *([] if style == "short" else ["type_symbol"]), "fract_x", "fract_y", "fract_z"]
    columns += ["symmetry_multiplicity", "occupancy"] if style == "full" else []
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns)]
    for k, (kind, at, count) in enumerate(sites):
        words = [f"{kind}{k + 1}", *([] if style == "short" else [kind]), *(_number(x) for x in at)]
        lines.append(" ".join([*words, *([str(count), "1"] if style == "full" else [])]))
    return "\n".join([*lines, ""])


DISORDERED = cif_text(KNOWN["rock salt"], "full").replace("0 0 0 4 1\n", "0 0 0 4 0.5\nK9 K 0 0 0 4 0.5\n")
"""Refused as it is: half potassium on the sodium site."""


def structure(name: str) -> Structure:
    """A crystal as pymatgen has it."""
    numbers, lattice, frac = KNOWN[name].arrays()
    return Structure(Lattice(lattice), [Element.from_Z(int(z)) for z in numbers], frac)


def atoms(name: str) -> Atoms:
    """A crystal as ASE has it."""
    numbers, lattice, frac = KNOWN[name].arrays()
    return Atoms(numbers, scaled_positions=frac, cell=lattice, pbc=True)


def poscar_text(name: str, style: str) -> str:
    """A POSCAR: ``direct``, ``cartesian``, ``selective``, ``volume`` (negative scale) or ``three`` (scales)."""
    numbers, lattice, frac = KNOWN[name].arrays()
    order = np.argsort(numbers, kind="stable")
    kinds, counts = np.unique(numbers, return_counts=True)
    direct = style in ("direct", "selective", "three")
    scale = {"volume": f"-{abs(np.linalg.det(lattice)):.8f}", "three": "2.0 2.0 2.0"}.get(style, "1.0")
    shown = lattice / 2 if style == "three" else lattice
    lines = [name, scale, *(" ".join(f"{x:.8f}" for x in row) for row in shown)]
    lines += [" ".join(gemmi.Element(int(z)).name for z in kinds), " ".join(str(n) for n in counts)]
    lines += ["Selective dynamics"] if style == "selective" else []
    lines.append("Direct" if direct else "Cartesian")
    for row in (frac if direct else frac @ lattice)[order]:
        lines.append(" ".join(f"{x:.8f}" for x in row) + (" T T F" if style == "selective" else ""))
    return "\n".join([*lines, ""])


POSCAR_STYLES = ("direct", "cartesian", "selective", "volume", "three")


def extxyz_text(name: str) -> str:
    """One frame with an id, an energy and forces."""
    frame = atoms(name)
    frame.info = {"id": "007", "energy_of_file": -1.25}
    frame.arrays["ref_forces"] = np.linspace(-1, 1, 3 * len(frame)).reshape(-1, 3)
    out = io.StringIO()
    ase.io.write(out, frame, format="extxyz")
    return out.getvalue()


def json_text(name: str, style: str) -> str:
    """A ``Structure``, a list of ``records`` or a ``split`` table, of one crystal."""
    one = structure(name).as_dict()
    whole = {
        "structure": one,
        "records": [{"structure": one, "id": "a1", "y": 1.5}],
        "split": {"columns": ["structure", "y"], "index": ["a1"], "data": [[one, 1.5]]},
    }
    return json.dumps(whole[style], indent=1)


JSON_STYLES = ("structure", "records", "split")


def _made(write: Callable[[Path], None]) -> bytes:
    """The bytes of a file that a library writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


@cache
def parquet_bytes(name: str) -> bytes:
    """A table of one row, with checksums of its pages."""
    numbers, lattice, frac = KNOWN[name].arrays()
    row = {"id": ["a1"], "lattice": [lattice.ravel()], "atomic_numbers": [numbers], "frac_coords": [frac.ravel()]}
    return _made(lambda path: pd.DataFrame(row).to_parquet(path, write_page_checksum=True))


@cache
def database_bytes(name: str) -> bytes:
    """An ASE database of one row."""

    def write(path: Path) -> None:
        with ase.db.connect(path, type="db") as database:
            database.write(atoms(name), mbid="a1")
        base = sqlite3.connect(path)  # times and a random name would make other bytes every day
        base.execute("update systems set ctime = 0, mtime = 0, unique_id = 'a'")
        base.commit()
        base.execute("vacuum")
        base.close()

    return _made(write)
