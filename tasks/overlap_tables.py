"""Tables of an overlap: one line per crystal of the task, and one per test fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matgl_infomax.tasks.matbench.task import N_FOLDS, Task
from matgl_infomax.tasks.overlap import LEVELS, Overlap

SHARED = LEVELS[1:]
"""Levels at which something is shared."""


def crystal_table(ids: Sequence[str], task: Task, overlap: Overlap) -> pd.DataFrame:
    """One line per crystal of the task, in official order.

    Args:
        ids: names of the crystals, in official order, (n,).
        task: the task; its folds say in which test part a crystal is.
        overlap: its crystals against a corpus.

    Returns:
        Columns id, fold, level, closest (the first corpus crystal at this level; empty for novel ones), and for each
        level the number of corpus crystals that are just this close.
    """
    fold = np.empty(len(ids), dtype=np.int64)
    for k in range(N_FOLDS):
        fold[task.fold(k).test] = k
    table = pd.DataFrame({"id": ids, "fold": fold, "level": np.array(LEVELS, dtype=object)[overlap.level]})
    first = overlap.pairs.drop_duplicates(["id", "level"]).set_index(["id", "level"])["corpus_id"]
    table["closest"] = [first.get(place, "") for place in zip(table["id"], table["level"], strict=True)]
    for level in SHARED:
        count = overlap.pairs.loc[overlap.pairs["level"] == level, "id"].value_counts()
        table[level] = table["id"].map(count).fillna(0).astype(np.int64)
    return table


def fold_table(crystals: pd.DataFrame, overlap: Overlap) -> pd.DataFrame:
    """One line per test fold, and a last one for all of them.

    Args:
        crystals: what ``crystal_table`` gave.
        overlap: the same overlap.

    Returns:
        Columns fold (a number, or 'all'), crystals, by level the number of crystals whose closest corpus crystal is
        that close, undecided (pairs), and by level (corpus_formula, ...) the number of corpus crystals whose closest
        crystal of this fold is that close: so many would have to go.
    """
    number = {level: k for k, level in enumerate(LEVELS)}
    pairs = overlap.pairs.assign(
        fold=overlap.pairs["id"].map(crystals.set_index("id")["fold"]), number=overlap.pairs["level"].map(number)
    )
    parts = [(str(k), crystals["fold"] == k, pairs["fold"] == k) for k in range(N_FOLDS)]
    parts.append(("all", crystals["fold"] >= 0, pairs["fold"] >= 0))
    lines = []
    for name, rows, some in parts:
        here, shared = crystals[rows], pairs[some]
        closest = shared.groupby("corpus_id")["number"].max()
        line: dict[str, object] = {"fold": name, "crystals": len(here)}
        line |= {level: int((here["level"] == level).sum()) for level in LEVELS}
        line["undecided"] = int((~shared["decided"]).sum())
        line |= {f"corpus_{level}": int((closest == number[level]).sum()) for level in SHARED}
        lines.append(line)
    return pd.DataFrame(lines)


def strata(level: NDArray[np.int8]) -> dict[str, NDArray[np.bool_]]:
    """Kinds of crystals by which errors are split: each level, all that are not novel, and all.

    Args:
        level: index into ``LEVELS`` of each crystal, (n,).
    """
    kinds = {name: level == k for k, name in enumerate(LEVELS)}
    return {**kinds, "seen": level > 0, "all": np.ones(len(level), dtype=np.bool_)}
