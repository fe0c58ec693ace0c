"""Calibration of uncertainties: an honest normal answer, and answers that say too little or too much."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from matgl_infomax.leaderboard.statistics import LEVELS, calibration_quality


def answer(factor, n=20000):
    """True values whose deviations are normal with std, of which ``factor`` times as much is said."""
    rng = np.random.default_rng(0)
    std = rng.gamma(3, 1, n)
    prediction = rng.normal(0, 5, n)
    return prediction + std * rng.normal(size=n), prediction, factor * std


def test_an_honest_answer_lies_on_the_diagonal():
    found = calibration_quality(*answer(1))
    assert found.observed == pytest.approx(LEVELS, abs=0.015) and found.miscalibration < 0.01
    assert found.coverage_95 == pytest.approx(0.95, abs=0.005) and found.materials == 20000
    assert found.ranking > 0.3


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_coverage_of_a_wrong_std_is_the_closed_form(factor):
    found = calibration_quality(*answer(factor))
    wanted = 2 * stats.norm.cdf(factor * stats.norm.ppf(0.5 + np.array(LEVELS) / 2)) - 1
    assert found.observed == pytest.approx(wanted, abs=0.015)
    assert found.miscalibration == pytest.approx(np.mean(np.abs(wanted - LEVELS)), abs=0.01)
    assert found.sharpness == pytest.approx(factor * calibration_quality(*answer(1)).sharpness)


def test_ranking_is_missing_where_nothing_varies():
    truth, prediction, _ = answer(1, 100)
    assert math.isnan(calibration_quality(truth, prediction, np.ones(100)).ranking)
    assert "rank correlation" not in calibration_quality(truth, prediction, np.ones(100)).to_text()


def test_it_can_be_shown():
    found = calibration_quality(*answer(1, 500))
    assert list(found.to_frame().columns) == ["promised", "observed"] and len(found.to_frame()) == len(LEVELS)
    assert "95 % intervals hold" in found.to_markdown() and "| 50% |" in found.to_markdown()
    diagonal, curve = (line.get_xydata() for line in found.plot().axes[0].lines)
    assert diagonal.tolist() == [[0, 0], [1, 1]]
    # No interval holds nothing, and an endless one everything.
    assert curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1]
    assert curve[1:-1].tolist() == [[p, o] for p, o in zip(LEVELS, found.observed, strict=True)]


def test_levels_are_each_fifth_per_cent():
    assert [round(100 * level) for level in LEVELS] == list(range(5, 100, 5))
    assert pytest.approx(np.arange(0.05, 0.99, 0.05), abs=1e-12) == LEVELS


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t, p, s: (t, p, -s),
        lambda t, p, s: (t[1:], p, s),
        lambda t, p, s: (t, p, s * np.nan),
        lambda t, p, s: (t[:0], p[:0], s[:0]),
    ],
    ids=["negative", "shape", "missing", "none"],
)
def test_numbers_that_do_not_fit_are_refused(spoil):
    with pytest.raises(ValueError, match=r"std|deviations"):
        calibration_quality(*spoil(*answer(1, 10)))
