"""Errors of an answer, split by what kind of crystal they were made on: seen in the pretraining corpus or novel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import read_csv
from matgl_infomax.leaderboard.statistics import ALPHA, DRAWS, LEVEL, compare, holm, resample, two_sided_p

if TYPE_CHECKING:
    import pandas as pd


_BLOCK = 2_000_000  # numbers gathered at once: keeps memory at tens of megabytes

STRATA_COLUMNS = ("by", "kind", "materials", "error", "reference_error", "guess", "difference", "low", "high", "p_holm",
                  "finding")  # fmt: skip
"""Columns of a table that says where an answer wins and loses."""

FEWEST = 5
"""Materials that a kind needs for a mean that says anything, and that gives away no single true value."""


@dataclass(frozen=True)
class Stratum:
    """Mean error on some of the crystals, with intervals over other crystals of this kind."""

    name: str
    crystals: int
    error: float
    """Mean error; NaN where there is no crystal."""
    low: float
    """Lower end of the interval; NaN for fewer than two crystals."""
    high: float
    guess: float
    """Mean error of an answer that knows nothing: whether this kind of crystal is easy."""
    ratio: float
    """Error over that of the baseline; NaN for fewer than two crystals, or without a baseline."""
    ratio_low: float
    ratio_high: float


def split_errors(
    errors: NDArray[np.float64],
    guess: NDArray[np.float64],
    strata: Mapping[str, NDArray[np.bool_]],
    *,
    baseline: NDArray[np.float64] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Stratum]:
    """Mean errors on kinds of crystals.

    The intervals come from drawing the crystals of each kind again with replacement. They cover other crystals of the
    kind, not other trainings of the model.

    Args:
        errors: error on each crystal, none below zero, (n,).
        guess: error on each crystal of an answer that knows nothing, (n,).
        strata: which crystals belong to each kind, (n,) each; kinds may overlap.
        baseline: error of another answer on the same crystals, (n,), to be compared with.
        draws: resamplings.
        level: share of intervals that shall cover the truth.
        seed: seed of the resampling.

    Raises:
        ValueError: If the shapes differ, or an error is missing or negative.
    """
    arrays = [errors, guess, *strata.values(), *([baseline] if baseline is not None else [])]
    if errors.ndim != 1 or any(array.shape != errors.shape for array in arrays):
        raise ValueError(f"errors and kinds need one entry per crystal: {[array.shape for array in arrays]}")
    if not (np.all(errors >= 0) and np.all(guess >= 0)):
        raise ValueError("errors must be numbers, none below zero")
    found = []
    for name, rows in strata.items():
        n = int(rows.sum())
        nothing = float("nan")
        low = high = ratio = ratio_low = ratio_high = nothing
        if n > 1:
            low, high = _interval(errors[rows], draws, level, seed)
        if n > 1 and baseline is not None:
            both = compare(errors[None, rows], baseline[None, rows], draws=draws, level=level, seed=seed)
            ratio, ratio_low, ratio_high = both.ratio, both.ratio_low, both.ratio_high
        mean, easy = (float(values[rows].mean()) if n else nothing for values in (errors, guess))
        found.append(Stratum(name, n, mean, low, high, easy, ratio, ratio_low, ratio_high))
    return found


def _interval(errors: NDArray[np.float64], draws: int, level: float, seed: int) -> tuple[float, float]:
    """Interval of the mean error over other crystals."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(errors))
    means = [
        errors[generator.integers(len(errors), size=(min(block, draws - start), len(errors)))].mean(1)
        for start in range(0, draws, block)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def split_differences(
    errors: NDArray[np.float64],
    reference: NDArray[np.float64],
    guess: NDArray[np.float64],
    kinds: Kinds,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[pd.DataFrame]:
    """Where answers win and lose against a reference: mean errors and their differences on kinds of materials.

    The intervals come from drawing the materials of each kind again; they do not cover other seeds. The finding is
    better or worse where the p-value, corrected by Holm for all kinds of the table, is below 5 %.

    Args:
        errors: error of each answer on each material, (A, M).
        reference: error of the answer to compare with, (M,).
        guess: error of an answer that knows nothing, (M,).
        kinds: which materials belong to each kind.
        draws: resamplings.
        seed: seed of the resampling.

    Returns:
        One table per answer with the columns ``STRATA_COLUMNS``; kinds of fewer than ``FEWEST`` materials are left out.
    """
    import pandas as pd

    generator = np.random.default_rng(seed)
    lines: list[list[dict[str, object]]] = [[] for _ in errors]
    for (by, kind), rows in kinds.items():
        n = int(rows.sum())
        if n < FEWEST:
            continue
        differences = errors[:, rows] - reference[rows]  # (A, n)
        found = resample(differences, np.zeros(n, dtype=np.int64), draws=draws, generator=generator)
        ends = np.quantile(found.deviations, [ALPHA / 2, 1 - ALPHA / 2], axis=0) + found.means  # (2, A)
        p = two_sided_p(found.means, found.deviations)
        for a, line in enumerate(lines):
            means = (errors[a, rows].mean(), reference[rows].mean(), guess[rows].mean(), found.means[a])
            numbers = (n, *means, *ends[:, a])
            line.append(dict(zip(STRATA_COLUMNS, (by, kind, *numbers, p[a]), strict=False)))
    return [_with_findings(pd.DataFrame(line, columns=list(STRATA_COLUMNS))) for line in lines]


def _with_findings(table: pd.DataFrame) -> pd.DataFrame:
    """The p-values corrected for their number, and what follows."""
    corrected = np.array(holm(table["p_holm"].tolist()))
    difference = table["difference"].to_numpy(dtype=np.float64)
    words = np.where(corrected < ALPHA, np.where(difference < 0, "better", "worse"), "tie")
    return table.assign(p_holm=corrected, finding=words)


# Kinds of materials by which errors are split: size of the true value, attributes, and whether a twin was seen.

Kinds = dict[tuple[str, str], NDArray[np.bool_]]
"""Which materials belong to a kind, by what they are split by and the name of the kind, (M,) each."""

PARTS = 5
"""Parts of equal size into which numbers are cut."""
MOST = 12
"""Kinds of one column; rarer ones are put together."""
FORMULA, SPACE_GROUP = "formula", "space_group"
"""Columns that say whether a material's formula, or formula and space group, is among the training materials."""


def read_attributes(file: Path, ids: Sequence[str]) -> pd.DataFrame:
    """A table of facts about materials, CSV or parquet with a column ``id``, in the order of some ids.

    Args:
        file: the table; ``tasks.attributes`` makes one from structures.
        ids: the materials that are needed.

    Returns:
        One line per id, the id as index.

    Raises:
        InputError: If it cannot be read, lacks the column or a material, or has one twice.
    """
    table = _read_table(file)
    missing = sorted(set(ids) - set(table.index))
    if missing:
        raise InputError(f"{file} lacks {len(missing)} materials, such as {missing[0]}.")
    return table.loc[list(ids)]


def _read_table(file: Path) -> pd.DataFrame:
    """A table of facts about materials with their ids as index."""
    import pandas as pd

    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else read_csv(file)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {file} as a table of materials: {error}.") from error
    if "id" not in table:
        raise InputError(f"{file} has no column 'id' with Matbench's names. Columns: {', '.join(map(str, table))}.")
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise InputError(f"{file} has {twice.iloc[0]} more than once.")
    return table.set_index("id")


def value_kinds(truth: NDArray[np.float64]) -> Kinds:
    """Five parts of equal size by the true value, as far as values differ; their names hold no single value.

    Args:
        truth: true values, (M,).
    """
    return _ranges("true value", truth)


def attribute_kinds(table: pd.DataFrame, fold: NDArray[np.int64]) -> Kinds:
    """Kinds of materials by every column of a table.

    Numbers with many values are cut into five parts, everything else is taken as it is. The columns ``formula`` and
    ``space_group`` become one split: is the same reduced formula (or also the space group: a twin) among the other
    folds, which are the training materials of this one, or is the material novel?

    Args:
        table: facts about the materials, M lines.
        fold: test fold of each, (M,).
    """
    import pandas as pd

    found: Kinds = {}
    if FORMULA in table:
        found |= _categories("formula in the training part", pd.Series(seen_before(table, fold)))
    for name in (column for column in table if column not in (FORMULA, SPACE_GROUP)):
        column = table[name]
        label = str(name).replace("_", " ")
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > MOST:
            found |= _ranges(label, column.to_numpy(dtype=np.float64))
        else:
            found |= _categories(label, column.reset_index(drop=True))
    return found


def seen_before(table: pd.DataFrame, fold: NDArray[np.int64]) -> list[str]:
    """Whether each material is novel, or its formula, or a twin (formula and space group), is in another fold.

    Args:
        table: with the column formula, and space_group for twins; M lines.
        fold: test fold of each, (M,).
    """
    known = [(FORMULA, "formula")] + ([(SPACE_GROUP, "twin")] if SPACE_GROUP in table else [])
    level = np.full(len(table), "novel", dtype=object)
    key = np.full(len(table), "", dtype=object)
    for column, word in known:
        key = key + table[column].astype(str).to_numpy(dtype=object) + "|"
        folds: dict[str, set[int]] = {}
        for name, k in zip(key, fold, strict=True):
            folds.setdefault(name, set()).add(int(k))
        seen = np.array([len(folds[name]) > 1 for name in key])
        if column == SPACE_GROUP:
            seen &= ~table[column].isin([0, "0"]).to_numpy() & table[column].notna().to_numpy()  # 0: none was found
        level[seen] = word
    return [str(word) for word in level]


def overlap_kinds(files: Sequence[Path], ids: Sequence[str]) -> Kinds:
    """Kinds by what a pretraining corpus shares with each material, from ``crystals.csv`` of overlap reports.

    Args:
        files: these tables, or the folders of the reports; those of other tasks are passed over.
        ids: the materials, (M,).

    Raises:
        InputError: If a table cannot be read, has no column ``level`` or lacks a material.
    """
    found: Kinds = {}
    for place in files:
        file = place / "crystals.csv" if place.is_dir() else place
        if not _read_table(file).index.isin(ids).any():
            continue
        table = read_attributes(file, ids)
        if "level" not in table:
            raise InputError(f"{file} is no table of an overlap report: it has no column 'level'.")
        found |= _categories(f"overlap {file.resolve().parent.name}", table["level"].reset_index(drop=True))
    return found


def _ranges(name: str, values: NDArray[np.float64]) -> Kinds:
    """Parts of about equal size; fewer where many values are the same."""
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, PARTS + 1)))[1:-1]
    part = np.searchsorted(edges, values, side="right")
    said = [f"{float(f'{edge:.2g}'):g}" for edge in edges]
    inner = [f"{low} to {high}" for low, high in pairwise(said)]
    names = [f"below {said[0]}", *inner, f"{said[-1]} and above"] if said else ["any"]
    return {(name, f"{k + 1}: {words}"): part == k for k, words in enumerate(names)}


def _categories(name: str, values: pd.Series) -> Kinds:
    """One kind per value, the most frequent ones; the rest together."""
    words = values.astype(str)
    order = list(words.value_counts().index)
    kept = order if len(order) <= MOST else order[: MOST - 1]
    found = {(name, word): (words == word).to_numpy() for word in sorted(kept, key=_number)}
    return found if len(kept) == len(order) else {**found, (name, "other"): (~words.isin(kept)).to_numpy()}


def _number(word: str) -> tuple[bool, float, str]:
    """Numbers by size, then words by letter."""
    try:
        return (False, float(word), "")
    except ValueError:
        return (True, 0.0, word)
