"""From a few thousand crystals to one finished file of a store: computed, written as a draft, renamed when complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.layout import CODE_VERSION, HEADER_BYTES, INDEX, SECTIONS, narrow, record_starts
from matgl_infomax.data.radius import EdgeRule, RadiusRule, radius_pairs
from matgl_infomax.data.supercell import Pairs, SupercellRule, primitive_cell, supercell_pairs
from matgl_infomax.data.symmetry import Merged, merge_equal, same_where_equal
from matgl_infomax.errors import InputError

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
