"""Errors of an answer, split by what kind of crystal they were made on: seen in the pretraining corpus or novel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.compare import DRAWS, LEVEL, compare
from matgl_infomax.leaderboard.fold_bootstrap import resample, two_sided_p
from matgl_infomax.leaderboard.kinds import Kinds
from matgl_infomax.leaderboard.paired_tests import ALPHA, holm

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
