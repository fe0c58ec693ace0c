"""Tests of paired results against scipy, closed forms and hand-made examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from matgl_infomax.leaderboard.statistics import fold_test, holm, sign_test, signed_rank_test, tie_groups


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    found = holm([0.02, float("nan"), 0.03])
    assert found[::2] == pytest.approx([0.04, 0.04]) and math.isnan(found[1])


def test_sign_test_is_the_binomial_one_without_equal_pairs():
    errors, others = np.array([1, 1, 1, 1, 1, 5, 2]), np.array([2, 2, 2, 2, 2, 1, 2])
    p, closer = sign_test(errors, others)
    assert p == pytest.approx(2 * (1 + 6) / 2**6) and closer == pytest.approx(5 / 6)
    assert sign_test(others, others)[0] == 1 and math.isnan(sign_test(others, others)[1])


def test_sign_test_of_classes_is_mcnemar():
    rng = np.random.default_rng(0)
    one, other = rng.integers(2, size=(2, 300))
    b, c = int((one < other).sum()), int((one > other).sum())
    assert sign_test(one, other)[0] == pytest.approx(min(1, 2 * stats.binom.cdf(min(b, c), b + c, 0.5)))


def test_signed_ranks_are_scipys():
    one, other = np.random.default_rng(1).gamma(2, 1, (2, 200))
    assert signed_rank_test(one, other) == pytest.approx(float(stats.wilcoxon(one, other).pvalue))
    assert signed_rank_test(one, one) == 1


def test_folds_without_overlap_give_the_paired_t_test():
    one, other = np.random.default_rng(2).normal(10, 1, (2, 5))
    found, scipys = fold_test(one, other, test_share=0), stats.ttest_rel(one, other)
    assert found.p == pytest.approx(float(scipys.pvalue))
    interval = scipys.confidence_interval()
    assert (found.low, found.high) == pytest.approx((float(interval.low), float(interval.high)))


def test_shared_training_materials_widen_the_interval_by_one_and_a_half():
    """Five folds: variance (1/5 + 1/4) s² instead of s²/5."""
    one, other = np.random.default_rng(3).normal(10, 1, (2, 5))
    plain, found = (fold_test(one, other, test_share=share) for share in (0, 0.25))
    assert (found.high - found.low) / (plain.high - plain.low) == pytest.approx(1.5)
    assert found.p > plain.p


def test_a_single_fold_and_equal_folds():
    single = fold_test(np.array([2.0]), np.array([1.0]), test_share=0.25)
    assert single.difference == 1 and math.isnan(single.p) and math.isnan(single.low)
    same = np.array([1.0, 2.0])
    assert fold_test(same, same, test_share=0.25).p == 1
    assert fold_test(same + 1, same, test_share=0.25).p == 0


def test_tie_groups_start_with_the_best():
    p = np.ones((4, 4))
    p[0, 2] = p[2, 0] = p[0, 3] = p[3, 0] = 0.01
    assert tie_groups(p) == [[0, 1], [2, 3]]
    assert tie_groups(np.ones((0, 0))) == []
    p[0, 2] = p[2, 0] = 0.05
    assert tie_groups(p) == [[0, 1, 2], [3]], "only below 5 % are two told apart"
