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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.layout import (
    CODE_VERSION,
    HEADER_BYTES,
    INDEX,
    SECTIONS,
    checksum,
    narrow,
    record_starts,
    shard_name,
    shard_rows,
)
from matgl_infomax.data.radius import EdgeRule, RadiusRule, radius_pairs
from matgl_infomax.data.supercell import Pairs, SupercellRule, primitive_cell, supercell_pairs
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
    with tqdm(total=len(crystals), desc="Recognising crystals", unit="crystal", disable=not progress, delay=3) as bar:
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
    with tqdm(total=len(crystals), desc="Preparing crystals", unit="crystal", disable=not progress) as bar:
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


# From a few thousand crystals to one finished file of a store: computed, written as a draft, renamed when complete.

_IN_MEMORY, _PIECE = 16_000_000, 4_000_000
"""Bytes of a section that are held in memory, and bytes that are copied at a time."""

_NEARLY_NOTHING = 1e-3
"""A cut-off, angstrom, at which looking for pairs costs next to nothing."""


def shard_key(crystals: Sequence[Crystal], rule: EdgeRule) -> str:
    """Hash of everything that decides a shard: ids, lattices, elements, positions, edge rule, code version.

    Labels are left out on purpose: they never enter a store.
    """
    decides = {"code": CODE_VERSION, "rule": asdict(rule)}
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
    pairs = supercell_pairs(crystal.lattice, crystal.frac, rule.max_atoms)
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
