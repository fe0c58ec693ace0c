"""Makes ``tasks/cards/official.npz`` from the official targets, and prints the fingerprints that the cards state.

Run it from the root of the repository: ``python -m tests.helpers.make_official FOLDER``, where FOLDER holds
``targets/matbench_NAME.json.bz2`` (columns mbid, composition, target) and ``matbench_v0.1_folds.npz``.
``test_official.py`` checks that the file and the cards are what this makes.
"""

from __future__ import annotations

import bz2
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from matgl_infomax.io import atomic_write
from matgl_infomax.tasks.matbench.task import (
    N_FOLDS,
    SAME_CRYSTALS,
    STEP,
    Split,
    composition_text,
    content_sha256,
    fold_sha256,
    two_byte_hash,
)

TARGETS = {
    "matbench_dielectric": "n",
    "matbench_expt_gap": "gap expt",
    "matbench_expt_is_metal": "is_metal",
    "matbench_glass": "gfa",
    "matbench_jdft2d": "exfoliation_en",
    "matbench_log_gvrh": "log10(G_VRH)",
    "matbench_log_kvrh": "log10(K_VRH)",
    "matbench_mp_e_form": "e_form",
    "matbench_mp_gap": "gap pbe",
    "matbench_mp_is_metal": "is_metal",
    "matbench_perovskites": "e_form",
    "matbench_phonons": "last phdos peak",
    "matbench_steels": "yield strength",
}


def official_rows(folder: Path, task: str) -> dict[str, list[Any]]:
    """Columns of the official list of a task, in official order."""
    table = json.loads(bz2.decompress((folder / "targets" / f"{task}.json.bz2").read_bytes()))
    return {name: [column[str(row)] for row in range(len(column))] for name, column in table.items()}


def cell_text(formula: str) -> str:
    """The cell content 'Hf2 Si2 Te2' in the one spelling of the fingerprints."""
    from pymatgen.core import Element

    counts: dict[int, int] = {}
    for part in formula.split():
        symbol, count = re.fullmatch(r"([A-Z][a-z]?)(\d+)", part).groups()  # type: ignore[union-attr]
        counts[Element(symbol).Z] = counts.get(Element(symbol).Z, 0) + int(count)
    return composition_text(counts)


def fingerprints(rows: dict[str, list[Any]], target: str) -> tuple[dict[str, np.ndarray], str | None]:
    """Arrays of one task for ``official.npz``, and its ``content_sha256`` if it has structures."""
    values = rows[target]
    arrays: dict[str, np.ndarray] = {}
    if isinstance(values[0], bool):
        arrays["classes"] = np.packbits(np.array(values))
    if "spg_num" not in rows:
        return arrays, None
    compositions = [cell_text(formula) for formula in rows["composition"]]
    numbers = [round(float(value) / STEP) for value in values]
    arrays["compositions"] = np.array([two_byte_hash(text) for text in compositions], dtype=np.uint16)
    arrays["targets"] = np.array([two_byte_hash(str(number)) for number in numbers], dtype=np.uint16)
    return arrays, content_sha256(compositions, numbers)


def official_folds(folder: Path, task: str) -> list[Split]:
    """The official folds of a task, from Matbench's own list."""
    with np.load(folder / "matbench_v0.1_folds.npz", allow_pickle=False) as folds:
        tests = [np.sort(folds[f"{task}/test_{k}"]).astype(np.int64) for k in range(N_FOLDS)]
        every = np.arange(int(folds[f"{task}/n"]))
    return [Split(np.setdiff1d(every, test), test) for test in tests]


def main(folder: Path) -> None:
    """Write the file and print the fingerprints."""
    arrays = {}
    for task, target in TARGETS.items():
        own, content = fingerprints(official_rows(folder, task), target)
        if task in SAME_CRYSTALS:
            np.testing.assert_array_equal(own.pop("compositions"), arrays[f"{SAME_CRYSTALS[task]}/compositions"])
        arrays |= {f"{task}/{name}": array for name, array in own.items()}
        print(f"{task}\n  fold_sha256: {fold_sha256(official_folds(folder, task))}\n  content_sha256: {content}")
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    atomic_write(Path(__file__).parents[2] / "tasks" / "matbench" / "cards" / "official.npz", packed.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
