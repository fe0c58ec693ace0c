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

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

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


# Reading the records of some crystals from the shards of a store.
#
# Records are read into memory of our own instead of being mapped: the pages of a map would count as memory of the
# process, and a run over a large store would seem to grow to the size of the store.

_OPEN_SHARDS = 64
"""Files kept open at the same time; opening one again costs microseconds, and systems allow a few hundred."""


class Records:
    """The index of a store, and its records by section and row."""

    def __init__(self, path: Path, n_crystals: int, index_checksum: int) -> None:
        """Read the index and look whether all shards are there.

        Raises:
            InputError: If a file is missing or has another length than was written.
        """
        self.path = path
        data = self._index_bytes(n_crystals, index_checksum)
        self.index: NDArray[Any] = np.frombuffer(data, INDEX)
        self._starts, sizes = record_starts(self.index)
        for number, size in enumerate(sizes.tolist()):
            file = path / shard_name(number)
            if not file.is_file() or file.stat().st_size != size:
                raise InputError(f"{file} is damaged: {size} bytes were written. Delete {path}; it is rebuilt.")
        self._file = lru_cache(_OPEN_SHARDS)(self._opened)

    def _index_bytes(self, n_crystals: int, expected: int) -> bytes:
        """The bytes of the index file, checked."""
        file = self.path / "index.bin"
        data = file.read_bytes() if file.is_file() else b""
        if len(data) != n_crystals * INDEX.itemsize or checksum(data) != expected:
            raise InputError(f"{file} is damaged. Delete {self.path}; it is rebuilt.")
        return data

    def _opened(self, number: int) -> _Descriptor:
        return _Descriptor(self.path / shard_name(number))

    def read(self, section: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], list[int]]:
        """The records of some crystals one after the other, as bytes, and the position of each, (B,).

        Args:
            section: which records, see ``layout``.
            rows: numbers of the crystals, (B,).

        Raises:
            InputError: If a shard is shorter than was written.
        """
        length = record_bytes(self.index[rows])[section]
        end = np.cumsum(length)
        place = end - length
        buffer = np.empty(int(end[-1]) if len(end) else 0, np.uint8)
        shard, start = shard_of(rows), self._starts[section][rows]
        # Records that follow each other in a file are read at once.
        joined = (shard[1:] == shard[:-1]) & (start[1:] == start[:-1] + length[:-1])
        first = np.flatnonzero(np.concatenate([[True], ~joined])) if len(rows) else rows
        places = np.append(place[first], len(buffer)).tolist()
        view = buffer.data
        for k, (number, position) in enumerate(zip(shard[first].tolist(), start[first].tolist(), strict=True)):
            piece = view[places[k] : places[k + 1]]
            if os.preadv(self._file(number).number, [piece], position) != len(piece):
                file = self.path / shard_name(number)
                raise InputError(f"{file} is damaged: it ends too early. Delete {self.path}; it is rebuilt.")
        return buffer, place.tolist()


class _Descriptor:
    """An open file that closes when nobody holds it any more: not while another thread still reads from it."""

    def __init__(self, path: Path) -> None:
        try:
            self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            self.number = -1
            raise InputError(f"Cannot read {path}: {error.strerror}. Delete its folder; it is rebuilt.") from error

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class Ids(Sequence[str]):
    """The names of all crystals of a store, read when they are asked for."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records.index)

    def __iter__(self) -> Iterator[str]:
        for rows in shard_rows(len(self)):
            yield from self._some(np.arange(rows.start, rows.stop))

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self._some(np.arange(len(self))[row])
        if not -len(self) <= row < len(self):
            raise IndexError(f"There are {len(self)} crystals. Received: row {row}.")
        return self._some(np.array([row % len(self)]))[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _some(self, rows: NDArray[np.int64]) -> list[str]:
        """Names of some crystals."""
        data, places = self._records.read("ids", rows)
        text = data.tobytes()
        ends = [*places[1:], len(text)]
        return [text[a:b].decode() for a, b in zip(places, ends, strict=True)]
