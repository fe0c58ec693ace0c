"""Building a store: shard after shard by many processes, resumed where a build was stopped, published in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.layout import checksum, shard_name, shard_rows
from matgl_infomax.data.radius import EdgeRule
from matgl_infomax.data.shard import read_finished, shard_key, write_shard, write_whole
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


def build(crystals: Sequence[Crystal], rule: EdgeRule, folder: Path, *, progress: bool, workers: int | None) -> Path:
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
