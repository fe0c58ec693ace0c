"""Writes crystals in every format that is read; used by the tests of reading."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd

from matgl_infomax.data.crystal import Crystal


def to_frame(crystals: list[Crystal], **columns: Any) -> pd.DataFrame:
    """The encoding of one crystal per row."""
    return pd.DataFrame(
        {
            "id": [c.id for c in crystals],
            "lattice": [c.lattice.ravel() for c in crystals],
            "atomic_numbers": [c.numbers for c in crystals],
            "frac_coords": [c.frac.ravel() for c in crystals],
            "y": [c.labels.get("y") for c in crystals],
            **columns,
        }
    )


def to_atoms(crystal: Crystal) -> Any:
    from ase import Atoms

    return Atoms(crystal.numbers, scaled_positions=crystal.frac, cell=crystal.lattice, pbc=True)


def write_parquet(crystals: list[Crystal], folder: Path) -> Path:
    to_frame(crystals).to_parquet(folder / "set.parquet")
    return folder / "set.parquet"


def write_extxyz(crystals: list[Crystal], folder: Path) -> Path:
    from ase.io import write

    frames = [to_atoms(c) for c in crystals]
    for atoms, c in zip(frames, crystals, strict=True):
        atoms.info = {"id": c.id, "y": c.labels["y"]}
    write(folder / "set.extxyz", frames)
    return folder / "set.extxyz"


def write_db(crystals: list[Crystal], folder: Path) -> Path:
    from ase.db import connect

    with connect(folder / "set.db") as database:
        for c in crystals:
            database.write(to_atoms(c), mbid=c.id, y=c.labels["y"])
    return folder / "set.db"


def write_records(crystals: list[Crystal], folder: Path) -> Path:
    records = [{"structure": c.to_structure().as_dict(), "id": c.id, "y": c.labels["y"]} for c in crystals]
    (folder / "set.json").write_text(json.dumps(records))
    return folder / "set.json"


def write_split(crystals: list[Crystal], folder: Path) -> Path:
    rows = [[c.to_structure().as_dict(), c.labels["y"]] for c in crystals]
    data = {"columns": ["structure", "y"], "index": [c.id for c in crystals], "data": rows}
    (folder / "set.json.gz").write_bytes(gzip.compress(json.dumps(data).encode()))
    return folder / "set.json.gz"


def write_frame(crystals: list[Crystal], folder: Path) -> pd.DataFrame:
    return to_frame(crystals)


def write_structures(crystals: list[Crystal], folder: Path) -> pd.DataFrame:
    columns = {"structure": [c.to_structure() for c in crystals], "y": [c.labels["y"] for c in crystals]}
    return pd.DataFrame(columns, index=[c.id for c in crystals])


TABLES = [write_parquet, write_extxyz, write_db, write_records, write_split, write_frame, write_structures]


def write_cif(crystal: Crystal, folder: Path) -> None:
    from pymatgen.io.cif import CifWriter

    CifWriter(crystal.to_structure(), significant_figures=10).write_file(folder / f"{crystal.id}.cif")


def write_poscar(crystal: Crystal, folder: Path) -> None:
    crystal.to_structure().to(filename=str(folder / f"{crystal.id}.vasp"), fmt="poscar")


def write_contcar(crystal: Crystal, folder: Path) -> None:
    (folder / crystal.id).mkdir()
    crystal.to_structure().to(filename=str(folder / crystal.id / "CONTCAR"), fmt="poscar")


def write_json(crystal: Crystal, folder: Path) -> None:
    (folder / f"{crystal.id}.json").write_text(json.dumps(crystal.to_structure().as_dict()))


def write_packed_cif(crystal: Crystal, folder: Path) -> None:
    write_cif(crystal, folder)
    plain = folder / f"{crystal.id}.cif"
    (folder / f"{crystal.id}.cif.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def write_xyz(crystal: Crystal, folder: Path) -> None:
    to_atoms(crystal).write(folder / f"{crystal.id}.xyz", format="extxyz")


SINGLES = [write_cif, write_poscar, write_contcar, write_json, write_packed_cif, write_xyz]
