"""What the official rows of each task hold, as fingerprints: enough to check data, too little to be data.

``cards/official.npz`` keeps, for every task with structures, two bytes for the composition and two for the target of
each row, so that a difference has a row; ``content_sha256`` of the card is the SHA-256 over all rows, so that none is
missed. It keeps the classes of the classification tasks themselves (one bit per row), because they decide the folds.
The file is made by ``tests/tasks/make_official.py`` from the official targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.tasks.card import Card

STEP = 1e-8
"""Targets are compared as whole multiples of this."""
ROUNDING = 1e-10
"""The official list is rounded to ten decimals, the files are not: that far they may be apart."""
_LARGEST = 1e9
"""No target comes near; larger ones would not fit into whole multiples of ``STEP``."""
SAME_CRYSTALS = {"matbench_log_kvrh": "matbench_log_gvrh", "matbench_mp_is_metal": "matbench_mp_gap"}
"""Tasks with the crystals of another task, row by row."""


def read_official(task: str, what: Literal["compositions", "targets"]) -> NDArray[np.uint16]:
    """Fingerprints of the rows of a task with structures, (n,).

    Args:
        task: full name.
        what: fingerprints of the cell contents or of the targets.
    """
    return _stored(f"{SAME_CRYSTALS.get(task, task) if what == 'compositions' else task}/{what}")


def official_classes(card: Card) -> NDArray[np.bool_]:
    """The class of each row of a classification task, (n,)."""
    return np.unpackbits(_stored(f"{card.name}/classes"), count=card.n_rows).astype(bool)


def _stored(key: str) -> NDArray[Any]:
    """One array of ``official.npz``."""
    with as_file(files(__package__) / "cards" / "official.npz") as path, np.load(path, allow_pickle=False) as table:
        return np.asarray(table[key])


def composition_text(counts: Mapping[int, int]) -> str:
    """One spelling for every cell content: atomic numbers with their counts, ascending ('8:2 72:1')."""
    return " ".join(f"{z}:{n}" for z, n in sorted(counts.items()))


def steps(values: Sequence[float] | NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Targets as whole multiples of ``STEP``: the nearest one, and the next one where rounding could have led there.

    Args:
        values: targets, (n,); none is NaN.

    Returns:
        Two arrays (n,), equal except where a value lies half-way between two steps.
    """
    exact = np.clip(np.asarray(values, dtype=np.float64), -_LARGEST, _LARGEST)
    low, nearest, high = (np.rint((exact + shift) / STEP).astype(np.int64) for shift in (-ROUNDING, 0, ROUNDING))
    return nearest, np.where(nearest == low, high, low)


def digest(text: str) -> int:
    """Two bytes of a hash of a text, as a number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=2).digest(), "big")


def content_sha256(compositions: Sequence[str], targets: Sequence[int]) -> str:
    """SHA-256 of all rows in their order: composition and target, the target in steps."""
    whole = hashlib.sha256()
    for composition, target in zip(compositions, targets, strict=True):
        whole.update(f"{composition}|{target}\n".encode())
    return whole.hexdigest()
