"""Descriptors of whole structures by matminer, computed once per crystal and kept: orbital fields and powder patterns.

An orbital-field matrix takes up to a second, so what is finished stays on disk in blocks of a few crystals, found
again by the content of each crystal. A structure on which matminer fails has no numbers and a reason; it is never
dropped, for an error on fewer test crystals cannot be compared with any other.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import BadEntry, Crystal, UnreadableError, guarded
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, cached_array, open_array, sha256_of
from matgl_infomax.workers import at_once, run_jobs

STRUCTURE_CODE_VERSION = 1
"""Raise it whenever the same crystal would get other descriptors."""

WIDTHS = {"orbital_field": 1521, "xrd": 128}
"""Numbers per crystal: 39 x 39 orbitals with the period, and one intensity per degree from 0 to 127."""

_BLOCK = 16
_REASON = 200  # letters kept of why a structure failed


@dataclass(frozen=True)
class Described:
    """Descriptors of a list of crystals."""

    values: NDArray[np.float32]
    """One row per crystal, all NaN where there is none, (n, D)."""
    failures: dict[int, str]
    """Why there is none, by row."""


@dataclass(frozen=True)
class CrystalBlock:
    """Some crystals to describe; it travels to worker processes."""

    name: str
    keys: tuple[bytes, ...]
    crystals: tuple[Crystal, ...]
    file: Path


def structure_descriptors(
    name: str, crystals: Sequence[Crystal], cache_folder: Path, *, workers: int = 1, progress: bool = True
) -> Described:
    """Describe each crystal, or find that it was done; a computation that was stopped goes on where it was.

    Args:
        name: ``orbital_field`` (matminer's OrbitalFieldMatrix with the period, flattened) or ``xrd``
            (matminer's XRDPowderPattern, Cu K-alpha).
        crystals: crystals; ids do not matter.
        cache_folder: folder for the results, each under a hash of its crystal.
        workers: processes at the same time.
        progress: show a bar.

    Raises:
        InputError: If the folder cannot be written, or a file in it is damaged.
    """
    keys = [crystal_key(crystal) for crystal in crystals]
    folder = Path(cache_folder).expanduser() / f"{name}-{recipe(name)}"
    known = _read(folder, set(keys))
    missing = {key: crystal for key, crystal in zip(keys, crystals, strict=True) if key not in known}
    if missing:
        _describe(name, missing, folder, workers, progress, (len(set(keys)), len(known)))
        known = _read(folder, set(keys))
    values = np.full((len(keys), WIDTHS[name]), np.nan, dtype=np.float32)
    failures = {}
    for row, key in enumerate(keys):
        values[row], reason = known[key]
        if reason:
            failures[row] = reason
    return Described(values, failures)


def describe_block(block: CrystalBlock) -> CrystalBlock:
    """Compute and keep the descriptors of a few crystals; a structure that fails gets a reason instead of numbers."""
    values = np.full((len(block.crystals), WIDTHS[block.name]), np.nan, dtype=np.float32)
    reasons = []
    for row, crystal in enumerate(block.crystals):
        # Not matminer's own ignore_errors: it takes Ctrl-C for a failure of the structure too.
        found = guarded(crystal.source, crystal.id, partial(_numbers, block.name, crystal))
        reasons.append(found.reason[:_REASON] if isinstance(found, BadEntry) else "")
        if not isinstance(found, BadEntry):
            values[row] = found
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(block.keys), dtype=np.uint8).reshape(len(block.keys), -1)
    np.savez(buffer, keys=keys, values=values, reasons=np.array(reasons, dtype=f"<U{_REASON}"))
    atomic_write(block.file, buffer.getvalue())
    return block


def _describe(
    name: str,
    missing: dict[bytes, Crystal],
    folder: Path,
    workers: int,
    progress: bool,
    counts: tuple[int, int],
) -> None:
    """Describe what is not there yet, block by block."""
    todo = list(missing.items())
    blocks = []
    for start in range(0, len(todo), _BLOCK):
        keys, crystals = zip(*todo[start : start + _BLOCK], strict=True)
        blocks.append(CrystalBlock(name, keys, crystals, folder / f"{sha256_of(b''.join(keys))[:24]}.npz"))
    total, done = counts
    title = f"Descriptors ({name})"
    bar = progress_bar(total=total, initial=done, desc=title, unit="crystal", shown=progress)
    results = at_once(describe_block, blocks, workers=workers, launcher="local", folder=folder)
    with bar, closing(results):
        for block in results:
            bar.update(len(block.keys))


def _read(folder: Path, wanted: set[bytes]) -> dict[bytes, tuple[NDArray[np.float32], str]]:
    """What is kept of the wanted crystals: numbers and, where there are none, the reason."""
    found: dict[bytes, tuple[NDArray[np.float32], str]] = {}
    for file in sorted(folder.glob("[!.]*.npz")):
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                keys = [row.tobytes() for row in kept["keys"]]
                if wanted.isdisjoint(keys):
                    continue
                values, reasons = kept["values"], kept["reasons"]
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise InputError(f"{file} is damaged ({error}). Delete it; it is computed again.") from error
        for key, row, reason in zip(keys, values, reasons, strict=True):
            if key in wanted:
                found[key] = (row, str(reason))
    return found


def crystal_key(crystal: Crystal) -> bytes:
    """Short name of a structure: elements, lattice and positions."""
    digest = blake2b(digest_size=16)
    for array, kind in ((crystal.numbers, "<i8"), (crystal.lattice, "<f8"), (crystal.frac, "<f8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.digest()


def recipe(name: str) -> str:
    """Short name of everything beside the crystal that decides the numbers."""
    return sha256_of(f"{STRUCTURE_CODE_VERSION} {name} {version('matminer')} {version('pymatgen')}")[:12]


def _numbers(name: str, crystal: Crystal) -> NDArray[np.float32]:
    """Descriptors of one crystal, (D,)."""
    values = np.array(_structure_featurizer(name).featurize(crystal.to_structure()), dtype=np.float64).astype(
        np.float32
    )
    if not np.isfinite(values).all():
        raise UnreadableError("matminer gives no finite number")
    return values


@cache
def _structure_featurizer(name: str) -> Any:
    """Matminer's featurizer."""
    from matminer.featurizers.structure import OrbitalFieldMatrix, XRDPowderPattern

    return OrbitalFieldMatrix(period_tag=True, flatten=True) if name == "orbital_field" else XRDPowderPattern()


# What a chemist would use without a network: statistics of elemental properties, computed once per data set.

ELEMENT_CODE_VERSION = 1
"""Raise it whenever the same crystals would get other descriptors."""

_CHUNK = 64


def descriptors(crystals: Sequence[Crystal], cache_folder: Path, *, workers: int = 1, progress: bool = True) -> Path:
    """Compute matminer's Magpie statistics of each crystal's composition, once per data set.

    Args:
        crystals: crystals; only their compositions count.
        cache_folder: folder for the result, under a hash of all formulas.
        workers: processes at the same time.
        progress: show a bar.

    Returns:
        File of a float32 array, one row per crystal, (n, 132); to be opened with ``read_descriptors``.

    Raises:
        InputError: If the folder cannot be written.
    """
    formulas = [crystal.reduced_formula for crystal in crystals]
    key = sha256_of("\n".join([f"{ELEMENT_CODE_VERSION} {version('matminer')}", *formulas]))[:24]
    file = Path(cache_folder).expanduser() / f"descriptors-{key}.npy"
    unique = {formula: place for place, formula in enumerate(sorted(set(formulas)))}
    rows = [unique[formula] for formula in formulas]
    cached_array(file, lambda: _compute(list(unique), workers, progress)[rows])
    return file


def read_descriptors(file: Path) -> NDArray[np.float32]:
    """Open the array of a data set without loading it, (n, 132).

    Raises:
        InputError: If the file is missing or damaged.
    """
    return open_array(file)


def described(
    name: str, crystals: Sequence[Crystal], cache_folder: Path, *, workers: int = 1, progress: bool = True
) -> Path:
    """Compute one kind of descriptors of each crystal, or find that it was done.

    Args:
        name: ``magpie`` (statistics of the composition) or a key of ``structure_descriptors.WIDTHS``.
        crystals: crystals, in the order of the rows.
        cache_folder: folder for the result.
        workers: processes at the same time.
        progress: show a bar.

    Returns:
        File of a float32 array, one row per crystal, NaN where matminer failed, (n, K).

    Raises:
        InputError: If the folder cannot be written, or a file in it is damaged.
    """
    if name == "magpie":
        return descriptors(crystals, cache_folder, workers=workers, progress=progress)
    key = sha256_of(b"".join([recipe(name).encode(), *map(crystal_key, crystals)]))[:24]
    file = Path(cache_folder).expanduser() / f"{name}-{key}.npy"
    cached_array(
        file, lambda: structure_descriptors(name, crystals, cache_folder, workers=workers, progress=progress).values
    )
    return file


def _compute(formulas: list[str], workers: int, progress: bool) -> NDArray[np.float32]:
    """Descriptors of different formulas, (n, 132)."""
    chunks = [(start, formulas[start : start + _CHUNK]) for start in range(0, len(formulas), _CHUNK)]
    workers = min(workers, len(chunks))
    found = (
        run_jobs(_featurise, chunks, workers) if workers > 1 else (_featurise(start, part) for start, part in chunks)
    )
    parts = {}
    with progress_bar(total=len(formulas), desc="Descriptors", unit="formula", shown=progress) as bar, closing(found):
        for start, part in found:
            parts[start] = part
            bar.update(len(part))
    return np.concatenate([parts[start] for start, _ in chunks])


def _featurise(start: int, formulas: list[str]) -> tuple[int, NDArray[np.float32]]:
    """Descriptors of a few formulas, (n, 132), after the number of the first one."""
    from pymatgen.core import Composition

    featurizer = _magpie()
    rows = [featurizer.featurize(Composition(formula)) for formula in formulas]
    return start, np.array(rows, dtype=np.float32)


@cache
def _magpie() -> Any:
    """Matminer's featurizer; elements without a tabulated property get the mean over the others."""
    from matminer.featurizers.composition import ElementProperty

    return ElementProperty.from_preset("magpie", impute_nan=True)
