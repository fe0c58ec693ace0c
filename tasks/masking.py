"""Label masks: which few labels a model may see, the smaller set always within the larger."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.files import sha256_of


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


def _rank(seed: int, id: str) -> bytes:
    """Place of a crystal in the draw of a seed."""
    return blake2b(f"{seed}\0{id}".encode(), digest_size=16, person=b"label mask").digest()
