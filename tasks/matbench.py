"""Matbench v0.1: its tasks, and its official folds computed from the number of rows alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

N_FOLDS = 5
FOLD_SEED = 18012019
"""Seed of the official folds of matbench v0.1."""


@dataclass(frozen=True)
class Task:
    """One task of the benchmark."""

    n_rows: int
    target: str
    unit: str | None
    kind: Literal["regression", "classification"] = "regression"


TASKS = {
    "matbench_dielectric": Task(4764, "n", None),
    "matbench_expt_gap": Task(4604, "gap expt", "eV"),
    "matbench_expt_is_metal": Task(4921, "is_metal", None, "classification"),
    "matbench_glass": Task(5680, "gfa", None, "classification"),
    "matbench_jdft2d": Task(636, "exfoliation_en", "meV/atom"),
    "matbench_log_gvrh": Task(10987, "log10(G_VRH)", "log10(GPa)"),
    "matbench_log_kvrh": Task(10987, "log10(K_VRH)", "log10(GPa)"),
    "matbench_mp_e_form": Task(132752, "e_form", "eV/atom"),
    "matbench_mp_gap": Task(106113, "gap pbe", "eV"),
    "matbench_mp_is_metal": Task(106113, "is_metal", None, "classification"),
    "matbench_perovskites": Task(18928, "e_form", "eV/unit cell"),
    "matbench_phonons": Task(1265, "last phdos peak", "cm^-1"),
    "matbench_steels": Task(312, "yield strength", "MPa"),
}


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be tested on; none is in both."""

    train: NDArray[np.int64]
    """Structures of these may be pretrained on; labels of a few of them are unmasked."""
    test: NDArray[np.int64]
    """Neither structure nor label of these is ever learnt from."""


def find_task(name: str) -> tuple[str, Task]:
    """A regression task by its name, with or without 'matbench_'.

    Raises:
        InputError: For an unknown name (the known ones are listed) or a classification task.
    """
    full = name if name.startswith("matbench_") else f"matbench_{name}"
    if full not in TASKS:
        known = ", ".join(task for task in TASKS if TASKS[task].kind == "regression")
        raise InputError(f"There is no such Matbench task. Received: {name}. Known: {known}.")
    if TASKS[full].kind != "regression":
        raise InputError(f"{full} is a classification task; learning curves are for regression only at present.")
    return full, TASKS[full]


def official_fold(n_rows: int, fold: int) -> Split:
    """The official fold of a regression task, as row positions.

    Args:
        n_rows: rows of the whole task; they alone decide the folds.
        fold: number of the fold, from 0.

    Raises:
        InputError: For a fold that does not exist, or fewer rows than folds.
    """
    from sklearn.model_selection import KFold

    if not 0 <= fold < N_FOLDS:
        raise InputError(f"Folds are numbered 0 to {N_FOLDS - 1}. Received: {fold}.")
    if n_rows < N_FOLDS:
        raise InputError(f"{N_FOLDS} folds need at least {N_FOLDS} labelled crystals. Received: {n_rows}.")
    folds = KFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED).split(np.arange(n_rows))
    train, test = list(folds)[fold]
    return Split(train.astype(np.int64), np.sort(test).astype(np.int64))


def positions(ids: Sequence[str], name: str) -> NDArray[np.int64]:
    """Rows of the official task that these ids stand for ('mb-mp-e-form-000001' is row 0), (n,).

    Raises:
        InputError: If an id belongs to no row of the task.
    """
    full, task = find_task(name)
    pattern = re.compile(rf"mb-{re.escape(full.removeprefix('matbench_').replace('_', '-'))}-(\d+)")
    found = [int(match.group(1)) - 1 if (match := pattern.fullmatch(id)) else -1 for id in ids]
    wrong = [id for id, row in zip(ids, found, strict=True) if not 0 <= row < task.n_rows]
    if wrong:
        example = f"mb-{full.removeprefix('matbench_').replace('_', '-')}-{1:0{len(str(task.n_rows))}d}"
        raise InputError(
            f"Rows of {full} are found by ids from {example} to {task.n_rows}. Received {len(wrong)} other ids, "
            f"such as {wrong[0]}. Name the right column with --id-column, or leave out --task for data of your own."
        )
    return np.array(found, dtype=np.int64)


def split(ids: Sequence[str], labelled: NDArray[np.bool_], task: str | None, fold: int) -> Split:
    """Training and test rows of a data set.

    With a task, each row goes where the official fold puts it; rows of the task that are absent stay absent.
    Without one, the labelled rows are split in the same way and every unlabelled row belongs to the training part.
    A test row always has a label.

    Args:
        ids: names of the crystals, in order.
        labelled: which of them have a label, (n,).
        task: Matbench task, or None for data of one's own.
        fold: number of the fold, from 0.

    Raises:
        InputError: If ids do not fit the task, or a part is empty.
    """
    rows = np.arange(len(ids))
    if task is None:
        own = official_fold(int(labelled.sum()), fold)
        test = np.flatnonzero(labelled)[own.test]
        return Split(np.setdiff1d(rows, test), test)
    official = official_fold(find_task(task)[1].n_rows, fold)
    in_test = np.isin(positions(ids, task), official.test)
    found = Split(rows[~in_test], rows[in_test & labelled])
    if not len(found.train) or not len(found.test):
        raise InputError(
            f"Fold {fold} of {task} has {len(found.train)} training rows and {len(found.test)} labelled test rows "
            "among these crystals. Both are needed: give more rows of the task."
        )
    return found
