"""Tests of paired results, and the correction for making many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
"""A difference counts when its p-value, corrected for the number of comparisons, is below this."""


class FoldTest(NamedTuple):
    """A comparison of the scores of the same folds."""

    difference: float
    low: float
    high: float
    p: float


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6, 65, 1979); missing ones (NaN) do not count.

    Rejecting what is below 5 % after it, a whole family of comparisons holds a false rejection in at most 5 % of
    cases, however the comparisons depend on each other.

    Args:
        p: p-values of one family, (P,).

    Returns:
        Corrected p-values in the same order.
    """
    values = np.array(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in values]


def sign_test(errors: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Exact sign test on which of two answers is closer, and the share of materials on which the first one is.

    For classes (errors of 0 and 1) this is McNemar's exact test. Materials with equal errors do not count.

    Args:
        errors: errors of the first answer, (M,).
        others: errors of the second one, (M,).

    Returns:
        Two-sided p-value, and the share; 1 and NaN where no error differs.
    """
    from scipy.stats import binomtest

    closer, farther = int((errors < others).sum()), int((errors > others).sum())
    if not closer + farther:
        return 1.0, float("nan")
    return float(binomtest(closer, closer + farther).pvalue), closer / (closer + farther)


def signed_rank_test(errors: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; materials with equal errors do not count.

    Args:
        errors: errors of the first answer, (M,).
        others: errors of the second one, (M,).
    """
    from scipy.stats import wilcoxon

    differences = errors - others
    differences = differences[differences != 0]
    return float(wilcoxon(differences).pvalue) if len(differences) else 1.0


def fold_test(
    scores: NDArray[np.float64], others: NDArray[np.float64], *, test_share: float, level: float = 1 - ALPHA
) -> FoldTest:
    """Compare the errors of the same folds, where nothing else is known of the other answer.

    Folds share most of their training materials, so their results vary together and an ordinary t-test finds too
    much. The variance is therefore (1 / K + n_test / n_train) s² (Nadeau, Bengio, Machine Learning 52, 239, 2003).

    Args:
        scores: error of the first answer on each fold, (K,).
        others: error of the second one, (K,).
        test_share: materials in the test part over materials in the training part of a fold.
        level: share of intervals that shall cover the truth.

    Returns:
        Mean difference, its interval and its two-sided p-value; the last three NaN with a single fold.
    """
    from scipy.stats import t

    d = scores - others
    k, mean = len(d), float(d.mean())
    if k < 2:
        return FoldTest(mean, float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt((1 / k + test_share) * d.var(ddof=1)))
    half = float(t.ppf((1 + level) / 2, k - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, k - 1)) if error > 0 else float(mean == 0)
    return FoldTest(mean, mean - half, mean + half, p)


def tie_groups(p_holm: NDArray[np.float64]) -> list[list[int]]:
    """Groups of answers that cannot be told from the best one of each group.

    The best answer and all that are not worse than it beyond doubt form the first group; the best of the rest starts
    the next one. "Cannot be told apart" does not carry over from pair to pair, so two members of a group may differ.

    Args:
        p_holm: corrected p-values of all pairs, best answer first, (A, A), symmetric.

    Returns:
        Positions by group.
    """
    rest, groups = list(range(len(p_holm))), []
    while rest:
        groups.append([k for k in rest if k == rest[0] or not p_holm[rest[0], k] < ALPHA])
        rest = [k for k in rest if k not in groups[-1]]
    return groups
