"""Matbench v0.1: its tasks with their official folds, and the rows of a task found by their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.card import Card, load_card
from matgl_infomax.tasks.folds import (
    FOLD_SEED,
    N_FOLDS,
    Split,
    check_fold,
    fold_sha256,
    kfolds,
    stratified_folds,
)

__all__ = ["FOLD_SEED", "N_FOLDS", "OWN_DATA", "Split", "Task", "find_task", "load_task", "name_and_unit",
           "official_fold", "positions", "split"]  # fmt: skip


OWN_DATA = "own data"
"""Name of the task where none of Matbench's was named."""


@dataclass(frozen=True)
class Task:
    """One task of the benchmark: its card, its folds and the names of its rows."""

    card: Card

    def fold(self, k: int) -> Split:
        """Training and test part of an official fold, as ascending row positions.

        Args:
            k: number of the fold, 0 to 4.

        Raises:
            InputError: For a fold that does not exist, or if scikit-learn shuffles differently than Matbench's did.
        """
        check_fold(k)
        return self._folds[k]

    @property
    def ids(self) -> list[str]:
        """Matbench's own name of every row, in official order."""
        return [self.card.mbid(row) for row in range(self.card.n_rows)]

    @cached_property
    def _folds(self) -> list[Split]:
        """All folds, compared with the fingerprint of the official ones."""
        from matgl_infomax.tasks.official import official_classes

        card = self.card
        folds = kfolds(card.n_rows) if card.kind == "regression" else stratified_folds(official_classes(card))
        if fold_sha256(folds) != card.fold_sha256:
            import sklearn

            raise InputError(
                f"The folds that scikit-learn {sklearn.__version__} makes for {card.name} are not the official ones. "
                "Install another version of scikit-learn: 1.9 makes them."
            )
        return folds


def load_task(name: str) -> Task:
    """A task by its name, with or without 'matbench_'.

    Raises:
        InputError: For an unknown name; all tasks are listed.
    """
    return Task(load_card(name))


def find_task(name: str) -> tuple[str, Card]:
    """A regression task by its name, with or without 'matbench_': its full name and its card.

    Raises:
        InputError: For an unknown name (the known ones are listed) or a classification task.
    """
    card = load_card(name)
    if card.kind != "regression":
        raise InputError(f"{card.name} is a classification task; learning curves are for regression only at present.")
    return card.name, card


def name_and_unit(task: str | None, target: str) -> tuple[str, str | None]:
    """Name of a regression task, and the unit of a column; without a task the data are one's own and have no unit.

    Args:
        task: with or without 'matbench_', or none.
        target: column that is learnt; of another column than the task's the unit is not known.

    Raises:
        InputError: For an unknown name, or a classification task.
    """
    if task is None:
        return OWN_DATA, None
    name, card = find_task(task)
    return name, card.unit if card.target == target else None


def official_fold(n_rows: int, fold: int) -> Split:
    """The official fold of a regression task, as row positions.

    Args:
        n_rows: rows of the whole task; they alone decide the folds.
        fold: number of the fold, from 0.

    Raises:
        InputError: For a fold that does not exist, or fewer rows than folds.
    """
    check_fold(fold)
    return kfolds(n_rows)[fold]


def positions(ids: Sequence[str], name: str) -> NDArray[np.int64]:
    """Rows of the official task that these ids stand for ('mb-mp-e-form-000001' is row 0), (n,).

    Raises:
        InputError: If an id belongs to no row of the task.
    """
    full, task = find_task(name)
    pattern = re.compile(rf"mb-{re.escape(task.short_name.replace('_', '-'))}-(\d+)")
    found = [int(match.group(1)) - 1 if (match := pattern.fullmatch(id)) else -1 for id in ids]
    wrong = [id for id, row in zip(ids, found, strict=True) if not 0 <= row < task.n_rows]
    if wrong:
        raise InputError(
            f"Rows of {full} are found by ids from {task.mbid(0)} to {task.n_rows}. Received {len(wrong)} other ids, "
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
