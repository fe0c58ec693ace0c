"""The chance of the seeds: closed forms, and how often it fools us."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from matgl_infomax.leaderboard.statistics import seed_deviations, seed_standard_error


def test_one_seed_says_nothing():
    assert seed_standard_error(np.ones((1, 5))) == (0, 1)
    assert not seed_deviations(np.empty((0, 5)), 10, np.random.default_rng(0)).any()


def test_luck_of_single_trainings_and_of_a_seed_as_a_whole():
    apart = np.array([[1.0, 3.0], [3.0, 1.0]])  # seeds differ in each fold, not on average
    assert seed_standard_error(apart) == (pytest.approx(np.sqrt(2 / 2 + 2 / 2) / 2), 2)
    together = np.array([[1.0, 1.0], [3.0, 3.0]])  # one seed is better everywhere
    assert seed_standard_error(together) == (pytest.approx(np.sqrt(2) / np.sqrt(2)), 2)


def test_deviations_are_students():
    errors = np.random.default_rng(1).normal(size=(3, 5))
    error, freedom = seed_standard_error(errors)
    found = seed_deviations(errors, 40000, np.random.default_rng(2))
    assert np.quantile(found, 0.975) == pytest.approx(stats.t.ppf(0.975, freedom) * error, rel=0.05)


@pytest.mark.parametrize(("share", "most"), [(0.0, 0.055), (0.1, 0.075), (0.5, 0.17)])
@pytest.mark.parametrize("seeds", [2, 3])
def test_how_often_intervals_leave_out_the_truth(seeds, share, most):
    """As the docstring says: about 5 % unless much of the chance belongs to the seed as a whole."""
    rng = np.random.default_rng(3)
    wrong, repeats = 0, 3000
    for _ in range(repeats):
        whole, single = np.sqrt(share) * rng.normal(size=(seeds, 1)), np.sqrt(1 - share) * rng.normal(size=(seeds, 5))
        error, freedom = seed_standard_error(whole + single)
        wrong += abs((whole + single).mean()) > stats.t.ppf(0.975, freedom) * error
    assert wrong / repeats < most
