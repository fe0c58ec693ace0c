"""Resampling within folds: closed forms, p-values, and how often equal answers are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from matgl_infomax.leaderboard import statistics
from matgl_infomax.leaderboard.statistics import ALPHA, holm, resample, tie_groups, two_sided_p

TABLES, PER_FOLD, FOLDS = 500, 60, 5
CELLS = np.repeat(np.arange(FOLDS), PER_FOLD)


def test_means_weigh_folds_alike_and_the_spread_is_the_closed_form():
    rng = np.random.default_rng(0)
    cells = np.repeat([0, 1, 2], [40, 400, 90])
    errors = rng.gamma(2, 1, (2, 530)) * (1 + cells)
    found = resample(errors, cells, draws=20000, generator=rng)
    by_cell = [errors[:, cells == k] for k in range(3)]
    assert found.means == pytest.approx(np.mean([part.mean(1) for part in by_cell], axis=0))
    variance = sum(part.var(axis=1, ddof=1) / part.shape[1] for part in by_cell) / 9
    assert found.deviations.mean(0) == pytest.approx(0, abs=4 * np.sqrt(variance.max() / 20000))
    assert found.deviations.std(0) == pytest.approx(np.sqrt(variance), rel=0.02)


def test_all_answers_meet_the_same_materials():
    errors = np.random.default_rng(1).gamma(2, 1, 100)
    both, rng = np.stack([errors, 2 * errors + 3]), np.random.default_rng(2)
    found = resample(both, np.arange(100) % 5, draws=200, generator=rng)
    assert found.deviations[:, 1] == pytest.approx(2 * found.deviations[:, 0], rel=1e-4, abs=1e-6)


def test_it_is_the_bootstrap_that_draws_materials_again():
    """The same draws as rows of materials, taken one by one."""
    errors = np.random.default_rng(3).gamma(2, 1, (2, 30))
    found = resample(errors, np.zeros(30, dtype=int), draws=50, generator=np.random.default_rng(4))
    drawn = np.random.default_rng(4).integers(30, size=(50, 30), dtype=np.uint32)
    plain = errors[:, drawn].mean(2).T - errors.mean(1)
    assert found.deviations == pytest.approx(plain * np.sqrt(30 / 29), rel=1e-4, abs=1e-6)


def test_blocks_of_draws_change_nothing(monkeypatch):
    errors = np.random.default_rng(5).gamma(2, 1, (3, 100))
    whole = resample(errors, np.arange(100) % 2, draws=64, generator=np.random.default_rng(6))
    monkeypatch.setattr(statistics, "_MATERIALS_AT_ONCE", 500)
    small = resample(errors, np.arange(100) % 2, draws=64, generator=np.random.default_rng(6))
    assert small.deviations == pytest.approx(whole.deviations, rel=1e-4, abs=1e-6)


def test_p_is_small_just_where_the_interval_leaves_zero_out():
    deviations = np.random.default_rng(7).normal(size=(4000, 1))
    low, high = np.quantile(deviations, [0.025, 0.975])
    for difference, small in ((-low + 0.05, True), (-low - 0.05, False), (-high - 0.05, True), (-high + 0.05, False)):
        assert (two_sided_p(np.array([difference]), deviations)[0] < ALPHA) == small


def test_p_is_that_of_a_normal_distribution_also_beyond_the_draws():
    deviations = np.random.default_rng(8).normal(size=(20000, 3))
    p = two_sided_p(np.array([1.0, -2.0, 6.0]), deviations)
    assert p[:2] == pytest.approx(2 * stats.norm.sf([1.0, 2.0]), rel=0.1)
    assert 1e-10 < p[2] < 1e-7
    assert two_sided_p(np.zeros(1), np.zeros((100, 1)))[0] == 1


@pytest.mark.parametrize(
    ("errors", "cells"),
    [(np.ones(3), np.zeros(3)), (np.ones((1, 3)), np.zeros(2)), (np.ones((1, 0)), np.zeros(0)),
     (np.array([[1.0, np.nan]]), np.zeros(2))],
    ids=["one row", "cells", "none", "missing"],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(errors, cells):
    with pytest.raises(ValueError, match=r"cell|errors"):
        resample(errors, cells, draws=10, generator=np.random.default_rng(0))


def tables(scale: list[float]) -> np.ndarray:
    """Corrected p-values of all pairs in 500 simulated leaderboards of answers with these mean errors, (T, P)."""
    rng = np.random.default_rng(9)
    n = len(scale)
    hard = rng.gamma(2, 1, (TABLES, 1, len(CELLS)))  # materials that are hard for all
    errors = hard * rng.gamma(4, 0.25, (TABLES, n, len(CELLS))) * np.array(scale)[:, None]
    found = resample(errors.reshape(TABLES * n, -1), CELLS, draws=2000, generator=rng)
    means, deviations = found.means.reshape(TABLES, n), found.deviations.reshape(2000, TABLES, n)
    one, other = np.triu_indices(n, 1)
    difference, moved = means[:, one] - means[:, other], deviations[:, :, one] - deviations[:, :, other]
    return two_sided_p(difference.ravel(), moved.reshape(2000, -1)).reshape(TABLES, -1)


def test_equal_answers_are_told_apart_in_five_per_cent_of_tables():
    p = tables([1.0, 1.0, 1.0, 1.0])
    low, high = stats.binom.ppf([0.005, 0.995], TABLES, ALPHA)
    for pair in (0, 5):  # two pairs without a common answer
        assert low <= (p[:, pair] < ALPHA).sum() <= high
    corrected = np.array([holm(row.tolist()) for row in p])
    assert (corrected < ALPHA).any(axis=1).sum() <= high  # any false finding at all among six comparisons
    assert (p < ALPHA).any(axis=1).sum() > high  # which would not hold without the correction


def test_known_order_and_known_ties_are_recovered():
    """Two equal leaders, a third that is 25 % worse and a last one that is 60 % worse."""
    p = tables([1.0, 1.0, 1.25, 1.6])
    one, other = np.triu_indices(4, 1)
    right = false = 0
    for row in p:
        pairs = np.ones((4, 4))
        pairs[one, other] = pairs[other, one] = holm(row.tolist())
        right += tie_groups(pairs) == [[0, 1], [2], [3]]
        false += bool(pairs[0, 1] < ALPHA)
    assert false <= stats.binom.ppf(0.995, TABLES, ALPHA)
    assert right > 0.9 * TABLES
