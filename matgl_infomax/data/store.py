"""Prepared crystals on disk: arrays under a hash of their content, memory-mapped, safe for many processes.

A store is written into a folder of its own and renamed when complete. So a half-written store is never
read, two processes may build the same one at once (the first to finish wins), and other crystals, another
edge rule or another version of this code give another store: a stale one is impossible.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import SupercellRule, primitive_cell, supercell_pairs
from matgl_infomax.errors import InputError

CODE_VERSION = 1
"""Raise it whenever the arrays of the same crystals would come out differently."""

_ARRAYS = {  # name: (type, columns)
    "number": (np.int16, 1),
    "frac": (np.float64, 3),
    "lattice": (np.float64, 9),
    "dst": (np.int32, 1),
    "offset": (np.int16, 3),
    "distance": (np.float32, 1),
    "n_sites": (np.int32, 1),
    "n_pairs": (np.int64, 1),
}


def content_key(crystals: Sequence[Crystal], rule: SupercellRule) -> str:
    """Hash of everything that decides the arrays: ids, lattices, elements, positions, edge rule, code version.

    Labels are left out on purpose: they never enter a store.
    """
    digest = hashlib.sha256(json.dumps({"code": CODE_VERSION, "rule": asdict(rule)}, sort_keys=True).encode())
    for crystal in crystals:
        digest.update(f"{crystal.id}\0{crystal.n_sites}\0".encode())
        digest.update(np.ascontiguousarray(crystal.lattice, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(crystal.numbers, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(crystal.frac, dtype="<f8").tobytes())
    return digest.hexdigest()[:24]


@dataclass(frozen=True)
class Store:
    """Crystals ready for training, read straight from disk; rows are numbered as the crystals were given."""

    path: Path
    key: str
    ids: list[str]
    rule: SupercellRule

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a finished store.

        Raises:
            InputError: If a file is missing or has another length than was written.
        """
        try:
            meta = json.loads((path / "store.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(f"{path} is no readable store ({error}). Delete that folder; it is rebuilt.") from error
        for name, size in meta["bytes"].items():
            file = path / f"{name}.npy"
            if not file.is_file() or file.stat().st_size != size:
                raise InputError(f"{file} is damaged: {size} bytes were written. Delete {path}; it is rebuilt.")
        return cls(path, meta["key"], meta["ids"], SupercellRule(**meta["rule"]))

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        # Maps are opened again by the receiving process instead of being copied into its memory.
        return {"path": self.path, "key": self.key, "ids": self.ids, "rule": self.rule}

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Memory-mapped arrays by name."""
        return {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}

    @cached_property
    def n_sites(self) -> NDArray[np.int64]:
        """Sites of each crystal, (n,)."""
        return np.asarray(self.arrays["n_sites"], dtype=np.int64)

    @cached_property
    def first_site(self) -> NDArray[np.int64]:
        """Position of each crystal's first site, (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_sites)])

    @cached_property
    def first_pair(self) -> NDArray[np.int64]:
        """Position of each crystal's first pair, (n + 1,)."""
        return np.concatenate([[0], np.cumsum(np.asarray(self.arrays["n_pairs"]))])

    def numbers(self, row: int) -> NDArray[np.int64]:
        """Atomic numbers of one crystal, (N,)."""
        return np.asarray(self.arrays["number"][self.first_site[row] : self.first_site[row + 1]], dtype=np.int64)

    def crystal(self, row: int) -> Crystal:
        """One prepared crystal (its primitive cell, where the rule says so), without labels."""
        sites = slice(self.first_site[row], self.first_site[row + 1])
        lattice = np.array(self.arrays["lattice"][row]).reshape(3, 3)
        return Crystal(self.ids[row], self.numbers(row), lattice, np.array(self.arrays["frac"][sites]))

    def batch(self, rows: Sequence[int] | NDArray[np.int64], *, geometry: bool = False) -> SiteBatch:
        """The flat tensors of some crystals, in the order of ``rows``.

        Args:
            rows: numbers of the crystals.
            geometry: also give positions, lattices and image offsets.
        """
        rows = np.asarray(rows, dtype=np.int64)
        sites, n_sites = _ranges(self.first_site, rows)
        pairs, n_pairs = _ranges(self.first_pair, rows)
        start = np.cumsum(n_sites) - n_sites  # (B,)
        per_site = np.repeat(n_pairs // np.maximum(n_sites, 1), n_sites)  # (N,)
        dst = np.concatenate([self.arrays["dst"][p] for p in pairs]) + np.repeat(start, n_pairs)
        extra: dict[str, torch.Tensor] = {}
        if geometry:
            frac = np.concatenate([self.arrays["frac"][s] for s in sites])
            offset = np.concatenate([self.arrays["offset"][p] for p in pairs])
            extra = {
                "frac": torch.from_numpy(frac).float(),
                "lattice": torch.from_numpy(self.arrays["lattice"][rows].reshape(-1, 3, 3)).float(),
                "offset": torch.from_numpy(offset).float(),
            }
        return SiteBatch(
            number=torch.from_numpy(np.concatenate([self.arrays["number"][s] for s in sites]).astype(np.int64)),
            owner=torch.from_numpy(np.repeat(np.arange(len(rows)), n_sites)),
            src=torch.from_numpy(np.repeat(np.arange(len(per_site)), per_site)),
            dst=torch.from_numpy(dst.astype(np.int64)),
            distance=torch.from_numpy(np.concatenate([self.arrays["distance"][p] for p in pairs])),
            n_crystals=len(rows),
            **extra,
        )


def _ranges(first: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[list[slice], NDArray[np.int64]]:
    """Slices of the rows in a concatenated array, and their lengths."""
    return [slice(first[row], first[row + 1]) for row in rows], first[rows + 1] - first[rows]


def build_store(
    crystals: Sequence[Crystal], rule: SupercellRule, folder: Path, *, progress: bool = True, workers: int = 1
) -> Store:
    """Prepare crystals once and open them from then on.

    Args:
        crystals: what was read; labels are not stored.
        rule: how a crystal becomes pairs.
        folder: cache folder; the store gets a folder of its own in it, named by its content.
        progress: show a bar.
        workers: processes that compute pairs at the same time.

    Raises:
        InputError: If there are no crystals, the disk is full, or the folder cannot be written.
    """
    if not len(crystals):
        raise InputError("There are no crystals to store. Received: an empty list.")
    folder = Path(folder).expanduser()
    key = content_key(crystals, rule)
    final = folder / f"store-{key}"
    if final.is_dir():
        return Store.open(final)
    draft = folder / f".draft-{key}-{uuid.uuid4().hex[:8]}"
    try:
        draft.mkdir(parents=True)
        _sweep(folder)
        _write(crystals, rule, key, draft, progress, workers)
        _publish(draft, final)
    except OSError as error:
        reason = f"Cannot write the store of prepared crystals in {folder}: {error.strerror or error}."
        raise InputError(f"{reason} Free some space or choose another folder with --cache.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Store.open(final)


def _sweep(folder: Path) -> None:
    """Remove drafts of builds that were killed days ago; a running build is younger."""
    for draft in folder.glob(".draft-*"):
        if time.time() - draft.stat().st_mtime > 3 * 24 * 3600:
            shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, final: Path) -> None:
    """Rename the finished draft; another process may have been quicker, with the same content."""
    try:
        os.rename(draft, final)
    except OSError:
        if not (final / "store.json").is_file():
            raise


def _prepare(task: tuple[Crystal, SupercellRule]) -> dict[str, NDArray[Any]]:
    """All arrays of one crystal."""
    crystal, rule = task
    if rule.primitive:
        crystal = primitive_cell(crystal)
    pairs = supercell_pairs(crystal.lattice, crystal.frac, rule.max_atoms)
    return {
        "number": crystal.numbers,
        "frac": crystal.frac,
        "lattice": crystal.lattice.reshape(1, 9),
        "dst": pairs.dst,
        "offset": pairs.offset,
        "distance": pairs.distance,
        "n_sites": np.array([crystal.n_sites]),
        "n_pairs": np.array([len(pairs.dst)]),
    }


def _write(
    crystals: Sequence[Crystal], rule: SupercellRule, key: str, draft: Path, progress: bool, workers: int
) -> None:
    """Stream the arrays of all crystals to disk, then give each file its header."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    tasks = ((crystal, rule) for crystal in crystals)
    bar = tqdm(total=len(crystals), desc="Preparing crystals", unit="crystal", disable=not progress)
    raw = {name: (draft / f"{name}.raw").open("wb") for name in _ARRAYS}
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
    try:
        prepared = pool.map(_prepare, tasks, chunksize=256) if pool else map(_prepare, tasks)
        for arrays in prepared:
            for name, (dtype, _) in _ARRAYS.items():
                raw[name].write(np.ascontiguousarray(arrays[name], dtype=dtype).tobytes())
            bar.update()
    finally:
        bar.close()
        for file in raw.values():
            file.close()
        if pool:
            pool.shutdown(cancel_futures=True)
    sizes = {name: _give_header(draft, name) for name in _ARRAYS}
    meta = {"key": key, "rule": asdict(rule), "ids": [c.id for c in crystals], "bytes": sizes}
    (draft / "store.json").write_text(json.dumps(meta))


def _give_header(draft: Path, name: str) -> int:
    """Turn raw bytes into a .npy file without loading them; its size in bytes."""
    dtype, columns = _ARRAYS[name]
    raw, final = draft / f"{name}.raw", draft / f"{name}.npy"
    length = raw.stat().st_size // np.dtype(dtype).itemsize
    shape = (length,) if columns == 1 else (length // columns, columns)
    with final.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        with raw.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 24)
    raw.unlink()
    return final.stat().st_size
