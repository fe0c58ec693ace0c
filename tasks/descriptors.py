"""What a chemist would use without a network: statistics of elemental properties, computed once per data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.io import cached_array, open_array, sha256_of

CODE_VERSION = 1
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
    key = sha256_of("\n".join([f"{CODE_VERSION} {version('matminer')}", *formulas]))[:24]
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
    from matgl_infomax.tasks.structure_descriptors import crystal_key, recipe, structure_descriptors

    key = sha256_of(b"".join([recipe(name).encode(), *map(crystal_key, crystals)]))[:24]
    file = Path(cache_folder).expanduser() / f"{name}-{key}.npy"
    cached_array(
        file, lambda: structure_descriptors(name, crystals, cache_folder, workers=workers, progress=progress).values
    )
    return file


def _compute(formulas: list[str], workers: int, progress: bool) -> NDArray[np.float32]:
    """Descriptors of different formulas, (n, 132)."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    chunks = [formulas[start : start + _CHUNK] for start in range(0, len(formulas), _CHUNK)]
    workers = min(workers, len(chunks))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
    parts = []
    try:
        with tqdm(total=len(formulas), desc="Descriptors", unit="formula", disable=not progress) as bar:
            for part in pool.map(_featurise, chunks) if pool else map(_featurise, chunks):
                parts.append(part)
                bar.update(len(part))
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return np.concatenate(parts)


def _featurise(formulas: list[str]) -> NDArray[np.float32]:
    """Descriptors of a few formulas, (n, 132)."""
    from pymatgen.core import Composition

    featurizer = _featurizer()
    return np.array([featurizer.featurize(Composition(formula)) for formula in formulas], dtype=np.float32)


@cache
def _featurizer() -> Any:
    """Matminer's featurizer; elements without a tabulated property get the mean over the others."""
    from matminer.featurizers.composition import ElementProperty

    return ElementProperty.from_preset("magpie", impute_nan=True)
