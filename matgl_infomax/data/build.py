"""Building a store: shard after shard by many processes, resumed where a build was stopped, published in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import EdgeRule, RadiusRule, radius_pairs
from matgl_infomax.data.supercell import Pairs, SupercellRule, crystal_pairs, primitive_cell
from matgl_infomax.data.symmetry import Merged, merge_equal, same_where_equal
from matgl_infomax.errors import InputError
from matgl_infomax.workers import cores, run_jobs

_DAY = 24 * 3600.0


def content_key(crystals: Sequence[Crystal], rule: EdgeRule) -> str:
    """Hash of everything that decides a store: ids, lattices, elements, positions, edge rule, code version.

    Labels are left out on purpose: they never enter a store.
    """
    return _joined_key(_shard_keys(crystals, rule, progress=False))


def _shard_keys(crystals: Sequence[Crystal], rule: EdgeRule, progress: bool) -> list[str]:
    """Hash of the content of each shard."""
    shards = shard_rows(len(crystals))
    # Seen only where it takes time: a million crystals are hashed in less than a minute.
    with progress_bar(total=len(crystals), desc="Recognising crystals", unit="crystal", shown=progress, delay=3) as bar:
        keys = []
        for rows in shards:
            keys.append(shard_key(_some(crystals, rows), rule))
            bar.update(len(rows))
    return keys


def _joined_key(keys: list[str]) -> str:
    """Hash of a store out of those of its shards."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]


def _some(crystals: Sequence[Crystal], rows: range) -> list[Crystal]:
    """Some of the crystals, one by one: they may be made when asked for."""
    return [crystals[row] for row in rows]


def build_folder(
    crystals: Sequence[Crystal], rule: EdgeRule, folder: Path, *, progress: bool, workers: int | None
) -> Path:
    """Build a store unless it is there, and say in which folder it is.

    Args:
        crystals: what was read.
        rule: how a crystal becomes pairs.
        folder: cache folder.
        progress: show a bar.
        workers: processes; none means one per core.

    Raises:
        InputError: If there are no crystals, the disk is full, or the folder cannot be written.
    """
    if not len(crystals):
        raise InputError("There are no crystals to store. Received: an empty list.")
    keys = _shard_keys(crystals, rule, progress)
    key = _joined_key(keys)
    final, draft = folder / f"store-{key}", folder / f".draft-{key}"
    if final.is_dir():
        return final
    try:
        draft.mkdir(parents=True, exist_ok=True)
        _sweep(folder, draft)
        _write_shards(crystals, rule, keys, draft, progress, workers or cores())
        _describe(rule, key, keys, draft)
        _publish(draft, final)
    except OSError as error:
        # Whoever was quicker with the same content has renamed the folder we were writing into.
        if _is_store(final):
            return final
        raise InputError(_complaint(folder, draft, error)) from error
    return final


def _is_store(folder: Path) -> bool:
    return (folder / "store.json").is_file()


def _complaint(folder: Path, draft: Path, error: OSError) -> str:
    """What went wrong and what is kept; an empty folder is not."""
    finished = len(list(draft.glob("shard-*"))) if draft.is_dir() else 0
    with contextlib.suppress(OSError):
        draft.rmdir()
    kept = f" The same command goes on after the {finished} shards in {draft}; delete that folder to give up."
    reason = f"Cannot write the store of prepared crystals in {folder}: {error.strerror or error}."
    remedy = "Free some space or choose another folder with --cache."
    return f"{reason} {remedy}{kept if finished else ''}"


def _sweep(folder: Path, own: Path) -> None:
    """Remove what builds left that were killed long ago; what a running build writes to is younger."""
    limits = {".draft-*": 3 * _DAY, ".part-*": _DAY / 24}
    for pattern, age in limits.items():
        for left in folder.glob(pattern):
            try:
                old = left != own and time.time() - left.stat().st_mtime > age
            except FileNotFoundError:
                continue  # another build has just finished with it
            if old and left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif old:
                left.unlink(missing_ok=True)


def _write_shards(
    crystals: Sequence[Crystal], rule: EdgeRule, keys: list[str], draft: Path, progress: bool, processes: int
) -> None:
    """Write every shard that is not there yet."""
    shards = shard_rows(len(crystals))
    with progress_bar(total=len(crystals), desc="Preparing crystals", unit="crystal", shown=progress) as bar:
        missing = []
        for number, rows in enumerate(shards):
            if read_finished(draft / shard_name(number), keys[number]) is None:
                missing.append(number)
            else:
                bar.update(len(rows))
        bar.initial = bar.n  # the rate is that of this build
        if processes == 1 or len(missing) == 1:
            for number in missing:
                _write_one(_some(crystals, shards[number]), rule, keys[number], draft / shard_name(number), bar.update)
            return
        jobs = _jobs(crystals, rule, keys, draft, missing, bar.update)
        for done in run_jobs(_write_one, jobs, min(processes, len(missing))):
            bar.update(done)


def _jobs(
    crystals: Sequence[Crystal],
    rule: EdgeRule,
    keys: list[str],
    draft: Path,
    missing: list[int],
    found: Callable[[int], object],
) -> Iterator[tuple[list[Crystal], EdgeRule, str, Path]]:
    """What the processes have to do; a shard that another build has finished meanwhile is left out.

    Each build takes the shards in another order, so two builds of one store share the work.
    """
    shards = shard_rows(len(crystals))
    for number in np.random.default_rng(os.getpid()).permutation(missing).tolist():
        path = draft / shard_name(number)
        if read_finished(path, keys[number]) is not None:
            found(len(shards[number]))
            continue
        yield _some(crystals, shards[number]), rule, keys[number], path


def _write_one(
    crystals: list[Crystal], rule: EdgeRule, key: str, path: Path, tick: Callable[[], object] | None = None
) -> int:
    """Write one shard; how many crystals it holds."""
    write_shard(crystals, rule, key, path, tick)
    return len(crystals)


def _describe(rule: EdgeRule, key: str, keys: list[str], draft: Path) -> None:
    """Write the index of all shards and, last, the record that makes the folder a store."""
    indices: list[NDArray[Any]] = []
    for number, shard in enumerate(keys):
        index = read_finished(draft / shard_name(number), shard)
        if index is None:
            raise FileNotFoundError(f"shard {number} has gone")
        indices.append(index)
    data = np.concatenate(indices).tobytes()
    n_crystals = sum(map(len, indices))
    meta = {"key": key, "rule_class": type(rule).__name__, "rule": asdict(rule), "crystals": n_crystals}
    meta["index_checksum"] = checksum(data)
    write_whole(draft / "index.bin", [data])
    write_whole(draft / "store.json", [json.dumps(meta).encode()])


def _publish(draft: Path, final: Path) -> None:
    """Rename the finished draft; another process may have been quicker, with the same content."""
    try:
        os.rename(draft, final)
    except OSError:
        if not _is_store(final):
            raise
        shutil.rmtree(draft, ignore_errors=True)


_IN_MEMORY, _PIECE = 16_000_000, 4_000_000
"""Bytes of a section that are held in memory, and bytes that are copied at a time."""

_NEARLY_NOTHING = 1e-3
"""A cut-off, angstrom, at which looking for pairs costs next to nothing."""


def shard_key(crystals: Sequence[Crystal], rule: EdgeRule) -> str:
    """Hash of everything that decides a shard: ids, lattices, elements, positions, edge rule, code version.

    Labels are left out on purpose: they never enter a store.
    """
    decides: dict[str, Any] = {"code": CODE_VERSION, "rule": asdict(rule)}
    if isinstance(rule, SupercellRule) and not rule.standard:  # as all were once: stores of those days are found again
        del decides["rule"]["standard"]
    if not isinstance(rule, SupercellRule):  # which was the only one once: its stores of those days are found again
        decides["kind"] = type(rule).__name__
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    for crystal in crystals:
        digest.update(f"{crystal.id}\0{crystal.n_sites}\0".encode())
        digest.update(np.ascontiguousarray(crystal.lattice, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(crystal.numbers, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(crystal.frac, dtype="<f8").tobytes())
    return digest.hexdigest()[:32]


def write_shard(
    crystals: Sequence[Crystal],
    rule: EdgeRule,
    key: str,
    path: Path,
    tick: Callable[[], object] | None = None,
) -> None:
    """Prepare crystals and write them into one file, which appears when it is complete.

    Args:
        crystals: crystals of this shard, at most ``CRYSTALS_PER_SHARD``.
        rule: how a crystal becomes pairs.
        key: hash of these crystals, as ``shard_key`` gave it before.
        path: file to write; its folder must exist.
        tick: called after each crystal.

    Raises:
        InputError: If the crystals are not those of the key any more, or one of them is too large.
    """
    if shard_key(crystals, rule) != key:
        raise InputError("The crystals changed while they were prepared, or this program did. Start again.")
    index = np.zeros(len(crystals), INDEX)
    with contextlib.ExitStack() as stack:
        # Large crystals come in clusters, a shard of them has hundreds of megabytes: beyond a limit it goes to disk.
        # These files have no names, so nothing stays of them when the process is killed.
        parts: dict[str, tempfile.SpooledTemporaryFile[bytes]] = {
            name: stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(path.parent.parent)))
            for name in SECTIONS
        }
        for row, crystal in enumerate(crystals):
            index[row], records = _records(crystal, rule)
            for name in SECTIONS:
                parts[name].write(records[name])
            if tick is not None:
                tick()
        write_whole(path, _content(key, index, parts))


def _content(key: str, index: NDArray[Any], parts: Mapping[str, IO[bytes]]) -> Iterator[bytes]:
    """The bytes of a shard, in its order."""
    header = json.dumps({"key": key, "crystals": len(index)}).encode().ljust(HEADER_BYTES)
    yield header + index.tobytes()
    starts, _ = record_starts(index)
    position = len(header) + index.nbytes
    for name in SECTIONS:
        yield bytes(int(starts[name][0]) - position)
        position = int(starts[name][0]) + parts[name].tell()
        parts[name].seek(0)
        while piece := parts[name].read(_PIECE):
            yield piece


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file of a store in one step.

    The draft lies beside the folder of the store: that one is renamed by whoever finishes first.

    Args:
        path: file to write; its folder must exist.
        pieces: content, one after the other.
    """
    draft = path.parent.with_name(f".part-{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_finished(path: Path, key: str) -> NDArray[Any] | None:
    """The index of a shard, (n,); nothing where the file is absent, cut short, or another one's.

    Args:
        path: file of the shard.
        key: hash of the crystals that it should hold.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = json.loads(file.read(HEADER_BYTES))
            index = np.frombuffer(file.read(INDEX.itemsize * header["crystals"]), INDEX)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = len(index) == header["crystals"] > 0 and header.get("key") == key
    return index if whole and record_starts(index)[1].tolist() == [size] else None


def _records(crystal: Crystal, rule: EdgeRule) -> tuple[tuple[int, ...], dict[str, bytes]]:
    """The row of the index and the records of one crystal."""
    if rule.primitive:
        crystal = primitive_cell(crystal)
    if isinstance(rule, RadiusRule):
        return _crystal_alone(crystal)
    pairs = crystal_pairs(crystal, rule)
    pairs = replace(pairs, distance=same_where_equal(pairs.distance))
    merged = merge_equal(crystal.numbers, pairs, rule.merge_angstrom)
    n, name = crystal.n_sites, crystal.id.encode()
    number = narrow(crystal.numbers, "<i2", "atomic number")
    dst = _one_receiver(pairs, n)
    offset = _smallest(pairs.offset)
    records = {
        "sites": _sites(crystal),
        "merged": _merged_arrays(merged, number),
        "pairs": [pairs.distance.astype("<f4"), narrow(dst, "<i2", "sites"), number],
        "images": [offset],
    }
    row = (len(name), n, len(dst), len(merged.degree), len(merged.dst), offset.itemsize)
    return row, {"ids": name, **{key: _joined(arrays) for key, arrays in records.items()}}


def _crystal_alone(crystal: Crystal) -> tuple[tuple[int, ...], dict[str, bytes]]:
    """The row of the index and the records of a crystal whose pairs are found when they are needed.

    Raises:
        InputError: If no pairs can be found: the lattice has no volume, or a coordinate is no number.
    """
    radius_pairs(crystal.lattice, crystal.frac, _NEARLY_NOTHING)  # complains now instead of in the middle of a run
    name = crystal.id.encode()
    empty = dict.fromkeys(SECTIONS, b"")
    return (len(name), crystal.n_sites, 0, 0, 0, 0), {**empty, "ids": name, "sites": _joined(_sites(crystal))}


def _sites(crystal: Crystal) -> list[NDArray[Any]]:
    """What the record of sites holds, in its order."""
    number = narrow(crystal.numbers, "<i2", "atomic number")
    return [crystal.lattice.astype("<f8"), crystal.frac.astype("<f8"), number]


def _merged_arrays(merged: Merged, number: NDArray[np.int16]) -> list[NDArray[Any]]:
    """What the record of merged pairs holds, in its order."""
    first = np.unique(merged.kind, return_index=True)[1]  # (K,) first site of each class
    return [
        merged.distance.astype("<f4"),
        narrow(merged.copies, "<i2", "equal pairs"),
        narrow(merged.dst, "<i2", "sites"),
        narrow(merged.degree, "<i2", "pairs per site"),
        number[first],
        narrow(np.bincount(merged.kind), "<i2", "sites"),
        narrow(merged.kind, "<i2", "sites"),
    ]


def _one_receiver(pairs: Pairs, n_sites: int) -> NDArray[np.int32]:
    """The neighbours of a receiver, (E / N,): they are the same ones for all, so they are stored once."""
    dst = pairs.dst.reshape(n_sites, -1)
    if (dst != dst[0]).any():
        raise ValueError("The store needs an edge rule that lists the same neighbours for every receiver.")
    return dst[0]


def _smallest(values: NDArray[np.int32]) -> NDArray[Any]:
    """The same numbers in the smallest of three integer types that holds them."""
    reach = int(np.abs(values).max(initial=0))
    return values.astype("<i1" if reach <= 127 else "<i2" if reach <= 32767 else "<i4")


def _joined(arrays: list[NDArray[Any]]) -> bytes:
    """The bytes of several arrays, padded to a multiple of eight."""
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return data + bytes(-len(data) % 8)


# Where everything lies in a shard: one file with the records of a few thousand crystals, section after section.
#
# A record is what one crystal needs for one purpose, in one piece: a batch costs one read per crystal. Reading merged
# pairs never touches the full ones. Lengths of records follow from the index, so no positions are stored.
#
#     header    JSON, padded to 256 bytes
#     index     one INDEX row per crystal
#     ids       names of the crystals in UTF-8
#     sites     lattice (9) float64, frac (3N) float64, number (N) int16
#     merged    distance (M) float32, copies (M), dst (M), degree (K), number (K), weight (K), kind (N) int16
#     pairs     distance (E) float32, dst of one receiver (E / N), number (N) int16
#     images    offset (3E) int8, or int16 or int32 where int8 does not hold it
#
# Of a radius rule only names and sites are stored: its pairs are found in less time than they could be read.

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
