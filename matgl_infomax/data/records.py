"""Reading the records of some crystals from the shards of a store.

Records are read into memory of our own instead of being mapped: the pages of a map would count as memory of the
process, and a run over a large store would seem to grow to the size of the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.layout import INDEX, checksum, record_bytes, record_starts, shard_name, shard_of, shard_rows
from matgl_infomax.errors import InputError

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
