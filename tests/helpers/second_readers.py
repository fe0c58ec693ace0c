"""Second readers of crystals that share no code with ours where it matters, and the comparison of two readings.

For CIFs ASE reads the text and gemmi places the atoms, or gemmi does both; ours reads by gemmi, places by pymatgen. The
other formats are so plain that a few lines read them.
"""

from __future__ import annotations

import io
import json
import re
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import ase.io
import gemmi
import numpy as np
import pyarrow.parquet as pq
from ase.io.cif import parse_cif
from pymatgen.core import Structure

from tests.helpers.fuzz_bases import Found

CLOSE_ANGSTROM = 0.02
"""Two readings of one site may differ so much: pymatgen makes 1/3 of 0.3333, others do not."""


def why_other(ours: Found, other: Found) -> str | None:
    """How two cells differ, up to the orientation of the lattice, the order of sites and periodicity; None if not."""
    edges = [np.linalg.norm(lattice, axis=1) for _, lattice, _ in (ours, other)]
    metric = [lattice @ lattice.T for _, lattice, _ in (ours, other)]
    if not np.allclose(edges[0], edges[1], rtol=1e-4) or not np.allclose(
        metric[0], metric[1], atol=1e-3 * float(np.max(metric[0]))
    ):
        return f"lattice {np.round(edges[0], 4)} and {np.round(edges[1], 4)}"
    counts = [dict(zip(*np.unique(found[0], return_counts=True), strict=True)) for found in (ours, other)]
    if counts[0] != counts[1]:
        return f"atoms {counts[0]} and {counts[1]}"
    left = list(range(len(other[0])))
    for number, place in zip(ours[0], ours[2], strict=True):
        off = other[2][left] - place
        far = np.linalg.norm((off - np.rint(off)) @ ours[1], axis=1) + 1e6 * (other[0][left] != number)
        k = int(far.argmin())
        if not far[k] < CLOSE_ANGSTROM:
            return f"atom {number} at {np.round(place, 4)} is not there"
        del left[k]
    return None


def cif_by_ase(text: str, number: int = 0) -> Found:
    """A block with atoms, by its number: ASE reads the text, gemmi's operations place the atoms.

    Raises:
        Exception: Of any kind, where ASE or gemmi cannot read it; ValueError for disorder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = [block for block in parse_cif(io.BytesIO(text.encode())) if "_atom_site_fract_x" in block][number]
        symbols = tags.get_symbols()
    if any(share not in (1, "?", ".") for share in tags.get("_atom_site_occupancy", ())):
        raise ValueError("disordered")
    places = np.array([tags[f"_atom_site_fract_{x}"] for x in "xyz"], dtype=float).T
    operations = _operations(tags)
    numbers, kept = [], []
    for symbol, place in zip(symbols, places, strict=True):
        images: list[np.ndarray] = []
        for operation in operations:
            image = np.array(operation.apply_to_xyz(place.tolist()))
            if not any((np.abs(image - other - np.rint(image - other)) < 2e-3).all() for other in images):
                images.append(image)
        numbers += [gemmi.Element(symbol).atomic_number] * len(images)
        kept += images
    return np.array(numbers), _lattice(*(float(length) for length in tags.get_cellpar())), np.array(kept)


def _lattice(*cell: float) -> np.ndarray:
    """Lattice vectors of lengths and angles."""
    return np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T


def _operations(tags: Any) -> list[gemmi.Op]:
    """Symmetry operations: listed, or those of the Hall symbol, the Hermann-Mauguin symbol or the number."""

    def first(*names: str) -> Any:
        return next((tags[name] for name in names if tags.get(name) not in (None, "?", ".")), None)

    listed = first("_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz", "_symmetry_equiv_pos_as_xyz")
    if listed:
        return [gemmi.Op(str(text)) for text in ([listed] if isinstance(listed, str) else listed)]
    hall = first("_space_group_name_hall", "_symmetry_space_group_name_hall")
    if hall:
        return list(gemmi.symops_from_hall(str(hall)))
    name = first("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt", "_space_group.name_h-m_alt")
    number = first("_symmetry_int_tables_number", "_space_group_it_number", "_space_group.it_number")
    if name:
        angles = [float(angle) for angle in tags.get_cellpar()[3:]]
        group = gemmi.find_spacegroup_by_name(str(name), angles[0], angles[2])
        if group is None:
            raise ValueError(f"unknown group {name}")
        return list(group.operations())
    return list(gemmi.find_spacegroup_by_number(int(number) if number else 1).operations())


def cif_by_gemmi(text: str, number: int = 0) -> Found:
    """A block with atoms, by its number; gemmi reads the symmetry and places the atoms."""
    document = gemmi.cif.read_string(text)
    block = [block for block in document if block.find_values("_atom_site_fract_x")][number]
    small = gemmi.make_small_structure_from_block(block)
    sites = small.get_all_unit_cell_sites()
    if any(site.occ != 1 for site in sites):
        raise ValueError("disordered")
    numbers = np.array([site.element.atomic_number for site in sites])
    return numbers, np.array(small.cell.orth.mat.tolist()).T, np.array([site.fract.tolist() for site in sites])


def poscar_by_ase(text: str, number: int = 0) -> Found:
    """A POSCAR."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ase.io.read(io.StringIO(text), format="vasp")
    return found.numbers, found.cell.array, found.get_scaled_positions()


def extxyz_by_hand(text: str, number: int = 0) -> Found:
    """The one frame of a file whose columns begin with the symbol and the position."""
    lines = text.split("\n")
    count = int(lines[0])
    lattice = np.array(re.search(r'Lattice="([^"]*)"', lines[1])[1].split(), dtype=float).reshape(3, 3)
    rows = [line.split() for line in lines[2 : 2 + count]]
    numbers = np.array([gemmi.Element(row[0]).atomic_number for row in rows])
    places = np.array([[float(word) for word in row[1:4]] for row in rows])
    return numbers, lattice, places @ np.linalg.inv(lattice)


def json_by_pymatgen(text: str, number: int = 0) -> Found:
    """The one structure of a file."""
    whole = json.loads(text)
    if isinstance(whole, list):
        whole = whole[0]["structure"]
    elif "data" in whole:
        whole = whole["data"][0][whole["columns"].index("structure")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Structure.from_dict(whole)
    return np.array(found.atomic_numbers), found.lattice.matrix, found.frac_coords


def parquet_by_rows(path: Path) -> Found:
    """The first row."""
    row = pq.read_table(path).slice(0, 1).to_pylist()[0]
    lattice, frac = np.array(row["lattice"]).reshape(3, 3), np.array(row["frac_coords"]).reshape(-1, 3)
    return np.array(row["atomic_numbers"]), lattice, frac


def database_by_sqlite(path: Path) -> Found:
    """The first row, by SQL alone."""
    with sqlite3.connect(path) as base:
        numbers, places, cell = base.execute("select numbers, positions, cell from systems").fetchone()
    base.close()
    lattice = np.frombuffer(cell, dtype="<f8").reshape(3, 3)
    return np.frombuffer(numbers, "<i4"), lattice, np.frombuffer(places, "<f8").reshape(-1, 3) @ np.linalg.inv(lattice)
