"""Where everything lies in a shard: one file with the records of a few thousand crystals, section after section.

A record is what one crystal needs for one purpose, in one piece: a batch costs one read per crystal. Reading merged
pairs never touches the full ones. Lengths of records follow from the index, so no positions are stored.

    header    JSON, padded to 256 bytes
    index     one INDEX row per crystal
    ids       names of the crystals in UTF-8
    sites     lattice (9) float64, frac (3N) float64, number (N) int16
    merged    distance (M) float32, copies (M), dst (M), degree (K), number (K), weight (K), kind (N) int16
    pairs     distance (E) float32, dst of one receiver (E / N), number (N) int16
    images    offset (3E) int8, or int16 or int32 where int8 does not hold it

Of a radius rule only names and sites are stored: its pairs are found in less time than they could be read.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

CODE_VERSION = 2
"""Raise it whenever the arrays of the same crystals would come out differently."""

CRYSTALS_PER_SHARD = 2048
"""Crystals per shard; an interrupted build loses at most one shard per process."""

HEADER_BYTES = 256
SECTIONS = ("ids", "sites", "merged", "pairs", "images")

INDEX = np.dtype(
    [
        ("id_bytes", "<i4"),  # length of the name
        ("n_sites", "<i4"),  # N
        ("per_site", "<i4"),  # E / N: every receiver has as many pairs
        ("n_kinds", "<i4"),  # K
        ("n_merged", "<i4"),  # M
        ("offset_bytes", "<i4"),  # 1, 2 or 4
    ]
)


def record_bytes(index: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    """Bytes of each crystal's record by section, (n,); all but names begin at a multiple of eight.

    Args:
        index: rows of type ``INDEX``, (n,).
    """
    sites, per_site, kinds, merged = (
        index[name].astype(np.int64) for name in ("n_sites", "per_site", "n_kinds", "n_merged")
    )
    pairs = sites * per_site
    paired = kinds > 0  # every crystal of a rule whose pairs are stored has a class of sites, and others have none
    return {
        "ids": index["id_bytes"].astype(np.int64),
        "sites": _padded(72 + 26 * sites),
        "merged": paired * _padded(8 * merged + 6 * kinds + 2 * sites),
        "pairs": paired * _padded(4 * pairs + 2 * per_site + 2 * sites),
        "images": _padded(3 * pairs * index["offset_bytes"]),
    }


def _padded(length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths rounded up to a multiple of eight, so that the numbers in a record can be read in place."""
    return (length + 7) & ~np.int64(7)


def record_starts(index: NDArray[Any]) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """First byte of each crystal's record within its shard, (n,) by section, and the bytes of each shard, (S,).

    Args:
        index: rows of type ``INDEX`` of all crystals of a store, (n,), or of one shard.
    """
    lengths = record_bytes(index)
    starts = {name: np.empty(len(index), np.int64) for name in SECTIONS}
    sizes = []
    for shard in shard_rows(len(index)):
        rows = slice(shard.start, shard.stop)
        position = HEADER_BYTES + INDEX.itemsize * len(shard)
        for name in SECTIONS:
            position += -position % 8
            end = position + np.cumsum(lengths[name][rows])
            starts[name][rows] = end - lengths[name][rows]
            position = int(end[-1])
        sizes.append(position)
    return starts, np.array(sizes, dtype=np.int64)


def shard_name(number: int) -> str:
    """File of a shard within the folder of its store."""
    return f"shard-{number:06d}.bin"


def shard_rows(n_crystals: int) -> list[range]:
    """The crystals of each shard."""
    starts = range(0, n_crystals, CRYSTALS_PER_SHARD)
    return [range(start, min(start + CRYSTALS_PER_SHARD, n_crystals)) for start in starts]


def shard_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The shard that each of these crystals is in."""
    return rows // CRYSTALS_PER_SHARD


def narrow(values: NDArray[Any], dtype: str, what: str) -> NDArray[Any]:
    """The same numbers in a smaller type.

    Raises:
        InputError: If one of them does not fit.
    """
    small = values.astype(dtype)
    if not np.array_equal(small, values):
        largest = int(np.abs(values).max())
        raise InputError(f"A crystal is too large for the store. Received: {what} up to {largest}. Leave it out.")
    return small


def checksum(data: bytes | memoryview) -> int:
    """A number that changes when a bit of the data does."""
    return zlib.crc32(data)
