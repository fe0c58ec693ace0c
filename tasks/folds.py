"""The official folds of Matbench v0.1, computed: of a regression task from its number of rows alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

N_FOLDS = 5
FOLD_SEED = 18012019
"""Seed of the official folds of matbench v0.1."""


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be tested on; none is in both."""

    train: NDArray[np.int64]
    """Structures of these may be pretrained on; labels of a few of them are unmasked."""
    test: NDArray[np.int64]
    """Neither structure nor label of these is ever learnt from."""


def kfolds(n_rows: int) -> list[Split]:
    """The five folds of a regression task, as ascending row positions.

    Args:
        n_rows: rows of the whole task; they alone decide the folds.

    Raises:
        InputError: For fewer rows than folds.
    """
    from sklearn.model_selection import KFold

    if n_rows < N_FOLDS:
        raise InputError(f"{N_FOLDS} folds need at least {N_FOLDS} labelled crystals. Received: {n_rows}.")
    return _ascending(KFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED).split(np.arange(n_rows)))


def stratified_folds(classes: NDArray[np.bool_] | Sequence[bool]) -> list[Split]:
    """The five folds of a classification task, as ascending row positions; each has its share of both classes.

    Args:
        classes: class of every row of the whole task, (n,); the order matters.

    Raises:
        InputError: If a class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    known = np.asarray(classes, dtype=bool)
    fewest = int(min(known.sum(), (~known).sum()))
    if fewest < N_FOLDS:
        raise InputError(f"{N_FOLDS} folds need at least {N_FOLDS} rows of each class. Received: {fewest}.")
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED)
    return _ascending(folds.split(np.arange(len(known)), known))


def fold_sha256(folds: Iterable[Split]) -> str:
    """Fingerprint of a fold assignment: SHA-256 of one byte per row, the number of the fold that tests it.

    Raises:
        ValueError: If the test parts are not every row exactly once.
    """
    tests = [fold.test for fold in folds]
    rows = np.concatenate(tests)
    if not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise ValueError("test parts must hold every row exactly once")
    number = np.empty(len(rows), dtype=np.uint8)
    for k, test in enumerate(tests):
        number[test] = k
    return hashlib.sha256(number.tobytes()).hexdigest()


def check_fold(fold: int) -> None:
    """Refuse the number of a fold that does not exist.

    Raises:
        InputError: For anything but 0 to 4.
    """
    if not 0 <= fold < N_FOLDS:
        raise InputError(f"Folds are numbered 0 to {N_FOLDS - 1}. Received: {fold}.")


def _ascending(parts: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> list[Split]:
    """Folds as scikit-learn gives them, in ascending order of rows."""
    return [Split(np.sort(train).astype(np.int64), np.sort(test).astype(np.int64)) for train, test in parts]
