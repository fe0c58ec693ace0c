"""Label masks: which few labels a model may see, the smaller set always within the larger; and hashes of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import sha256_of
from matgl_infomax.tasks.folds import Split

if TYPE_CHECKING:
    from matgl_infomax.data.read import Crystals


def nested_masks(
    ids: Sequence[str], available: Sequence[int] | NDArray[np.int64], counts: Sequence[int], seed: int
) -> dict[int, NDArray[np.int64]]:
    """Draw exactly as many labelled rows as asked for, each smaller mask being the beginning of the larger.

    Rows are ranked by a hash of seed and id. So a mask depends neither on the order of the data, nor on the other
    counts, nor on labels outside it: taking unmasked crystals away never moves the others.

    Args:
        ids: names of all crystals.
        available: rows that may be drawn: training part, label present.
        counts: numbers of labels.
        seed: another seed, another draw.

    Returns:
        Rows by count, in the order of the draw.

    Raises:
        InputError: If more labels are asked for than there are, or fewer than one.
    """
    rows = np.asarray(available, dtype=np.int64)
    if min(counts) < 1:
        raise InputError(f"A mask needs at least one label. Received: {min(counts)}.")
    if max(counts) > len(rows):
        raise InputError(
            f"Only {len(rows)} crystals of the training part have a label. Received: {max(counts)} labels asked for. "
            "Ask for fewer, or add labelled crystals."
        )
    ranked = sorted(rows.tolist(), key=lambda row: (_rank(seed, ids[row]), ids[row]))
    return {count: np.array(ranked[:count], dtype=np.int64) for count in counts}


def mask_hash(ids: Sequence[str], rows: NDArray[np.int64]) -> str:
    """SHA-256 of the sorted ids of a mask, one per line."""
    return sha256_of("\n".join(sorted(ids[int(row)] for row in rows)))


def split_hash(ids: Sequence[str], parts: Split) -> str:
    """Hash of the ids of the training part and of the test part."""
    return sha256_of(f"{mask_hash(ids, parts.train)} {mask_hash(ids, parts.test)}")


def data_hash(crystals: Crystals, values: NDArray[np.float64]) -> str:
    """Hash of ids, structures and labels, in their order."""
    digest = hashlib.sha256()
    for crystal, value in zip(crystals, values, strict=True):
        digest.update(f"{crystal.id}\0{crystal.n_sites}\0{float(value).hex()}\0".encode())
        for array, kind in ((crystal.lattice, "<f8"), (crystal.numbers, "<i8"), (crystal.frac, "<f8")):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def _rank(seed: int, id: str) -> bytes:
    """Place of a crystal in the draw of a seed."""
    return blake2b(f"{seed}\0{id}".encode(), digest_size=16, person=b"label mask").digest()
