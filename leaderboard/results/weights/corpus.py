"""Make the two corpora of the weights that are shipped by name, and the screening set that chose their steps.

Run it as ``python leaderboard/results/weights/corpus.py DATA OUT``, where DATA holds ``mp_unlabelled/``,
``mp_matched/`` and ``matbench/`` as described in the records. These data are not part of the repository.

Written into the output folder:
    mp.parquet: each Materials Project structure with up to 100 sites, once.
    mp_matbench.parquet: the same without each composition of the small Matbench tasks, of the fold-0 test parts of
        matbench_mp_e_form and matbench_mp_gap, and of the screening set. A composition is a reduced formula, so
        polymorphs of test crystals are left out too.
    counts.csv: how many crystals each step left out.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Composition

from matgl_infomax.data.corpus_index import structure_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import reduced_structure, same_structure

LARGEST = 100
"""Sites. Larger cells are a tenth of the crystals and would take half of all pairs."""
LABELLED = ("mp_e_form", "mp_gap", "dielectric", "log_kvrh", "log_gvrh")
"""Tables whose structures are added where their Materials Project id is new."""
BIG = ("matbench_mp_e_form", "matbench_mp_gap")
"""Tasks of which only the test rows of fold 0 are left out; of each other task, everything is."""
IS_METAL = "matbench_mp_is_metal"
"""The rows of matbench_mp_gap once more, in other folds."""
STRUCTURE = ["material_id", "lattice", "atomic_numbers", "frac_coords"]


def everything(data: Path) -> pa.Table:
    """All structures, those of the labelled tables only where their id is new."""
    tables = [pq.read_table(data / "mp_unlabelled" / "mp_2025.parquet", columns=STRUCTURE)]
    known = set(tables[0]["material_id"].to_pylist())
    for name in LABELLED:
        table = pq.read_table(data / "mp_matched" / f"{name}.parquet")
        table = table.rename_columns(["material_id" if c == "mp_id" else c for c in table.column_names])
        new = [mp_id not in known for mp_id in table["material_id"].to_pylist()]
        tables.append(table.filter(pa.array(new)).select(STRUCTURE))
        known |= set(tables[-1]["material_id"].to_pylist())
    return pa.concat_tables(tables, promote_options="permissive")


def crystals_of(table: pa.Table) -> list[Crystal]:
    """The rows as crystals."""
    rows = (table[name].to_pylist() for name in STRUCTURE)
    return [
        Crystal(mp_id, np.array(numbers), np.reshape(lattice, (3, 3)), np.reshape(frac, (-1, 3)))
        for mp_id, lattice, numbers, frac in zip(*rows, strict=True)
    ]


def copies(crystals: list[Crystal]) -> set[int]:
    """Rows that an earlier row holds already: the same structure key, and a match by StructureMatcher."""
    first: dict[str, list[int]] = {}
    found: set[int] = set()
    for row, crystal in enumerate(crystals):
        earlier = first.setdefault(structure_key(crystal), [])
        # A pair that cannot be decided counts as a copy: one crystal less in a corpus costs little.
        if any(
            same_structure(reduced_structure(crystals[k]), reduced_structure(crystal)) is not False for k in earlier
        ):
            found.add(row)
        else:
            earlier.append(row)
    return found


def reduced(composition: str) -> str:
    """The reduced formula of a composition."""
    return str(Composition(composition).reduced_formula)


def tested_compositions(data: Path) -> set[str]:
    """Reduced formulas of the small tasks, and of the fold-0 test rows of the two big ones."""
    folds = np.load(data / "matbench" / "matbench_v0.1_folds.npz")
    found: set[str] = set()
    for file in sorted((data / "matbench" / "targets").glob("*.json.bz2")):
        task = file.name.removesuffix(".json.bz2")
        if task == IS_METAL:
            continue
        compositions = json.loads(bz2.decompress(file.read_bytes()))["composition"]
        rows = folds[f"{task}/test_0"] if task in BIG else range(len(compositions))
        found |= {reduced(compositions[int(k)]) for k in rows}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--screen", type=Path, required=True, help="screen.parquet of ../recipe/corpus.py")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = everything(given.data)
    counts = [("structures", table.num_rows)]
    table = table.filter(pa.array([len(numbers) <= LARGEST for numbers in table["atomic_numbers"].to_pylist()]))
    counts.append((f"with up to {LARGEST} sites", table.num_rows))
    crystals = crystals_of(table)
    again = copies(crystals)
    keep = [row not in again for row in range(table.num_rows)]
    table = table.filter(pa.array(keep))
    formulas = [crystal.reduced_formula for crystal, kept in zip(crystals, keep, strict=True) if kept]
    counts.append(("each structure once: mp", table.num_rows))
    pq.write_table(table, given.out / "mp.parquet")
    held_out = tested_compositions(given.data)
    untested = pa.array([formula not in held_out for formula in formulas])
    counts.append(("less tested compositions", table.filter(untested).num_rows))
    held_out |= {reduced(composition) for composition in pq.read_table(given.screen)["composition"].to_pylist()}
    untested = pa.array([formula not in held_out for formula in formulas])
    counts.append(("less those of the screening set: mp_matbench", table.filter(untested).num_rows))
    pq.write_table(table.filter(untested), given.out / "mp_matbench.parquet")
    with (given.out / "counts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "crystals"), *counts])


if __name__ == "__main__":
    main()
