"""Make the two corpora of the weights that are shipped by name, and the screening set that chose their steps.

Run once, on 1 December 2026, beside the code of commit c87d7d9. It needs numpy, pyarrow, pymatgen and spglib, which
each environment of the project has, and a folder with ``mp_unlabelled/``, ``mp_matched/`` and ``matbench/``. These data
are not part of the repository. Eight minutes, most of them for symmetries and matches.

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
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Composition, Element, Structure
from tqdm import tqdm

from matgl_infomax.data.corpus_index import structure_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import comparison_work, reduced_structure, same_structure

LARGEST = 100
"""Sites. Larger cells are a tenth of the crystals and would take half of all pairs."""
MOST_WORK = 1_000_000
"""Most steps of a comparison of two structures (see ``comparison_work``), about 20 ms."""
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
    rows: dict[str, list[int]] = {}
    for row, crystal in enumerate(tqdm(crystals, desc="keys")):
        rows.setdefault(structure_key(crystal), []).append(row)
    found: set[int] = set()
    for group in tqdm([group for group in rows.values() if len(group) > 1], desc="matches"):
        kept: list[Structure | None] = []
        for row in group:
            reduced = reduced_structure(crystals[row])
            if any(are_copies(earlier, reduced) for earlier in kept):
                found.add(row)
            else:
                kept.append(reduced)
    return found


def are_copies(one: Structure | None, other: Structure | None) -> bool:
    """Whether two structures with one key match; so do pairs that would take long, for a corpus can spare them."""
    if one is None or other is None or comparison_work(one, other) > MOST_WORK:
        return True
    return same_structure(one, other) is not False


def reduced_formula(composition: str) -> str:
    """The reduced formula of a composition."""
    return str(Composition(composition).reduced_formula)


def formulas_of(table: pa.Table) -> list[str]:
    """Reduced formula of each row, (n,)."""
    counts = (Counter(numbers) for numbers in table["atomic_numbers"].to_pylist())
    return [str(Composition({Element.from_Z(z): n for z, n in found.items()}).reduced_formula) for found in counts]


def tested_compositions(data: Path) -> set[str]:
    """Reduced formulas of the small tasks, and of the fold-0 test rows of the two big ones."""
    folds = np.load(data / "matbench" / "matbench_v0.1_folds.npz")
    found: set[str] = set()
    for file in sorted((data / "matbench" / "targets").glob("*.json.bz2")):
        task = file.name.removesuffix(".json.bz2")
        if task == IS_METAL:
            continue
        compositions = list(json.loads(bz2.decompress(file.read_bytes()))["composition"].values())
        rows = folds[f"{task}/test_0"] if task in BIG else range(len(compositions))
        found |= {reduced_formula(compositions[int(k)]) for k in rows}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--screen", type=Path, required=True, help="screen.parquet of ../recipe/corpus.py")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = everything(given.data)
    counts = [("structures", table.num_rows)]
    table = table.filter(pa.array([len(numbers) <= LARGEST for numbers in table["atomic_numbers"].to_pylist()]))
    counts.append((f"with up to {LARGEST} sites", table.num_rows))
    again = copies(crystals_of(table))
    table = table.filter(pa.array([row not in again for row in range(table.num_rows)]))
    counts.append(("each structure once: mp", table.num_rows))
    pq.write_table(table, given.out / "mp.parquet")
    write_untested(table, counts, given)


def write_untested(table: pa.Table, counts: list[tuple[str, int]], given: argparse.Namespace) -> None:
    """Write the corpus for benchmarks, and how many crystals each step left.

    Args:
        table: the corpus for own data.
        counts: steps so far, with the crystals they left.
        given: folders of the command line.
    """
    formulas = formulas_of(table)
    held_out = tested_compositions(given.data)
    untested = pa.array([formula not in held_out for formula in formulas])
    counts.append(("less tested compositions", table.filter(untested).num_rows))
    held_out |= set(formulas_of(pq.read_table(given.screen)))
    table = table.filter(pa.array([formula not in held_out for formula in formulas]))
    counts.append(("less those of the screening set: mp_matbench", table.num_rows))
    pq.write_table(table, given.out / "mp_matbench.parquet")
    with (given.out / "counts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "crystals"), *counts])


if __name__ == "__main__":
    main()
