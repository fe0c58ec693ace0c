"""Errors by kind of crystal: means, intervals and ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matgl_infomax.leaderboard import strata
from matgl_infomax.leaderboard.strata import split_errors


@pytest.fixture
def errors():
    return np.abs(np.random.default_rng(3).normal(2, 0.5, 400))


def halves(n):
    first = np.arange(n) < n // 2
    return {"first": first, "second": ~first, "all": np.ones(n, bool)}


def test_means_are_those_of_the_kinds(errors):
    guess = 2 * errors
    found = {one.name: one for one in split_errors(errors, guess, halves(400))}
    assert found["first"].crystals == 200 and found["all"].crystals == 400
    assert found["first"].error == errors[:200].mean() and found["second"].error == errors[200:].mean()
    assert found["second"].guess == pytest.approx(2 * found["second"].error)
    assert math.isnan(found["all"].ratio)


def test_the_interval_is_that_of_a_mean(errors):
    found = split_errors(errors, errors, halves(400))[2]
    half = 1.96 * errors.std(ddof=1) / 20
    assert found.low == pytest.approx(found.error - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.error + half, abs=0.15 * half)


def test_a_constant_ratio_is_found_exactly(errors):
    found = split_errors(0.8 * errors, errors, halves(400), baseline=errors)[0]
    assert (found.ratio, found.ratio_low, found.ratio_high) == pytest.approx((0.8, 0.8, 0.8))


def test_few_crystals_have_no_interval(errors):
    none, one = np.zeros(400, bool), np.arange(400) == 7
    empty, single = split_errors(errors, errors, {"none": none, "one": one}, baseline=errors)
    assert empty.crystals == 0 and math.isnan(empty.error) and math.isnan(empty.guess)
    assert single.error == errors[7] and math.isnan(single.low) and math.isnan(single.ratio)


def test_blocks_of_draws_change_nothing(errors, monkeypatch):
    whole = split_errors(errors, errors, halves(400))
    monkeypatch.setattr(strata, "_BLOCK", 4000)
    assert [(one.low, one.high) for one in split_errors(errors, errors, halves(400))] == [
        (one.low, one.high) for one in whole
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"errors": np.array([-1.0, 1.0])},
        {"guess": np.array([np.nan, 1.0])},
        {"strata": {"all": np.ones(3, bool)}},
        {"baseline": np.ones(3)},
    ],
    ids=["negative", "missing", "kinds", "baseline"],
)
def test_arrays_that_do_not_fit_are_refused(wrong):
    right = {"errors": np.ones(2), "guess": np.ones(2), "strata": {"all": np.ones(2, bool)}, "baseline": np.ones(2)}
    given = {**right, **wrong}
    with pytest.raises(ValueError, match="errors"):
        split_errors(given["errors"], given["guess"], given["strata"], baseline=given["baseline"])
