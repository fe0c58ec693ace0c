"""Make the corpus and the screening set of the recipe from Matbench rows whose structures are at hand.

Run once, on 29 November 2026, beside the code of commit 534ef1f. It needs numpy, pyarrow and pymatgen, which each
environment of the project has, the official folds (``matbench/matbench_v0.1_folds.npz``, ``matbench_jdft2d.parquet``)
and the tables of ``mp_matched/`` (e_form, gap, log_kvrh, dielectric) in one folder. These data are not part of the
repository. The file was first kept as text; names and functions are new since then, the selection is the same.

Written into the output folder:
    corpus.parquet: rows of e_form and gap, less every crystal of the fold-0 test part of either task, less every
        composition of the fold-0 test parts of log K, dielectric and jdft2d.
    screen.parquet: 2,500 crystals of the corpus that lie in fold 1's test part of e_form, with both labels.
    corpus2.parquet: the corpus without them; what the recipe pretrains on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pymatgen.core import Composition

STRUCTURE = ["mp_id", "composition", "nsites", "lattice", "atomic_numbers", "frac_coords"]
SHOWN = ["lattice", "atomic_numbers", "frac_coords"]
OTHERS = {
    "matbench_log_kvrh": "mp_matched/log_kvrh.parquet",
    "matbench_dielectric": "mp_matched/dielectric.parquet",
    "matbench_jdft2d": "matbench/matbench_jdft2d.parquet",
}
"""Tasks whose test compositions are left out of the corpus, and where their rows are."""
N_SCREEN, SCREEN_SEED = 2500, 8


def reduced(composition: str) -> str:
    """The reduced formula of a composition."""
    return str(Composition(composition).reduced_formula)


def tested(table: pa.Table, folds: Mapping[str, NDArray[Any]], part: str) -> NDArray[np.bool_]:
    """Which rows of a table lie in a part of the official folds such as ``matbench_mp_gap/test_0``, (n,)."""
    return np.isin(np.array(table["index"].to_pylist()), folds[part])


def test_compositions(data: Path, folds: Mapping[str, NDArray[Any]]) -> set[str]:
    """Reduced formulas of the fold-0 test parts of the other three tasks."""
    found: set[str] = set()
    for task, file in OTHERS.items():
        table = pq.read_table(data / file)
        name = "composition" if "composition" in table.column_names else "formula"
        rows = table.filter(pa.array(tested(table, folds, f"{task}/test_0")))[name].to_pylist()
        found |= {reduced(composition) for composition in rows}
    return found


def corpus(data: Path, folds: Mapping[str, NDArray[Any]], e_form: pa.Table, gap: pa.Table) -> pa.Table:
    """All crystals of both tables, each once, that no fold-0 test part holds."""
    ids_e, ids_gap = np.array(e_form["mp_id"].to_pylist()), np.array(gap["mp_id"].to_pylist())
    held_out = set(ids_e[tested(e_form, folds, "matbench_mp_e_form/test_0")])
    held_out |= set(ids_gap[tested(gap, folds, "matbench_mp_gap/test_0")])
    formulas = test_compositions(data, folds)
    only_gap = gap.filter(pa.array(~np.isin(ids_gap, ids_e)))
    together = pa.concat_tables([e_form.select(STRUCTURE), only_gap.select(STRUCTURE)], promote_options="permissive")
    pairs = zip(together["mp_id"].to_pylist(), together["composition"].to_pylist(), strict=True)
    keep = [mp_id not in held_out and reduced(composition) not in formulas for mp_id, composition in pairs]
    return together.filter(pa.array(keep))


def screening_set(ids: NDArray[Any], folds: Mapping[str, NDArray[Any]], e_form: pa.Table, gap: pa.Table) -> pa.Table:
    """Crystals of the corpus (by their ids) that lie in fold 1's test part of e_form, drawn at random, with labels."""
    mp_ids = np.array(e_form["mp_id"].to_pylist())
    candidates = np.flatnonzero(tested(e_form, folds, "matbench_mp_e_form/test_1") & np.isin(mp_ids, ids))
    drawn = np.sort(np.random.default_rng(SCREEN_SEED).choice(candidates, N_SCREEN, replace=False))
    known = dict(zip(gap["mp_id"].to_pylist(), gap["gap pbe"].to_pylist(), strict=True))
    chosen = e_form.take(pa.array(drawn))
    gaps = pa.array([known.get(mp_id) for mp_id in chosen["mp_id"].to_pylist()], pa.float64())
    return chosen.append_column("gap", gaps).select(["mp_id", "e_form", "gap", *SHOWN])


def main() -> None:
    """Read the data, write the three files and say how many crystals they hold."""
    parser = argparse.ArgumentParser(description="Make the corpus and the screening set of the recipe.")
    parser.add_argument("data", type=Path, help="folder that holds matbench/ and mp_matched/")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the three files")
    given = parser.parse_args()
    with np.load(given.data / "matbench" / "matbench_v0.1_folds.npz") as stored:
        folds = dict(stored)
    e_form = pq.read_table(given.data / "mp_matched" / "mp_e_form.parquet")
    gap = pq.read_table(given.data / "mp_matched" / "mp_gap.parquet")
    whole = corpus(given.data, folds, e_form, gap)
    ids = np.array(whole["mp_id"].to_pylist())
    screen = screening_set(ids, folds, e_form, gap)
    rest = whole.filter(pa.array(~np.isin(ids, np.array(screen["mp_id"].to_pylist()))))
    given.out.mkdir(parents=True, exist_ok=True)
    columns = ["mp_id", *SHOWN]
    pq.write_table(whole.select(columns), given.out / "corpus.parquet")
    pq.write_table(screen, given.out / "screen.parquet")
    pq.write_table(rest.select(columns), given.out / "corpus2.parquet")
    for name, table in (("corpus", whole), ("screen", screen), ("corpus2", rest)):
        print(f"{name}.parquet: {len(table)} crystals")


if __name__ == "__main__":
    main()
