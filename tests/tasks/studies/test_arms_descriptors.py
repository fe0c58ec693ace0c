"""Models on descriptors: they learn, they repeat, and they stand missing numbers."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.settings.arms import WITHOUT_NETWORK
from matgl_infomax.settings.commands import BenchmarkSettings
from matgl_infomax.tasks.studies.arms import ARMS, DESCRIBED, MOST_FOR_GAUSSIAN, predict_from

HEADS = ["trees", "forest", "gaussian"]


def problem(n=60, m=40):
    """A smooth function of three of five descriptors."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + m, 5)).astype(np.float32) * [1, 10, 0.1, 1, 1]
    y = x[:, 0] + np.sin(0.1 * x[:, 1]) + 10 * x[:, 2]
    return x[:n], y[:n], x[n:], y[n:]


@pytest.mark.parametrize("head", HEADS)
def test_each_beats_the_median_by_far(head):
    known, labels, wanted, truth = problem()
    error = np.abs(predict_from(head, known, labels, wanted, 0) - truth).mean()
    assert error < 0.75 * np.abs(np.median(labels) - truth).mean()


def test_a_gaussian_process_finds_a_smooth_function_best():
    known, labels, wanted, truth = problem()
    errors = {head: np.abs(predict_from(head, known, labels, wanted, 0) - truth).mean() for head in HEADS}
    assert errors["gaussian"] < 0.5 * min(errors["trees"], errors["forest"])


@pytest.mark.parametrize("head", HEADS)
def test_the_seed_is_the_only_chance(head):
    known, labels, wanted, _ = problem()
    one, same, other = (predict_from(head, known, labels, wanted, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.array_equal(one, other) == (head == "gaussian")


@pytest.mark.parametrize("head", HEADS)
def test_missing_descriptors_become_the_mean_over_the_unmasked(head):
    known, labels, wanted, _ = problem()
    known, wanted = known.copy(), wanted.copy()
    known[3, 1] = np.nan
    filled = wanted.copy()
    wanted[5] = np.nan
    filled[5] = np.nanmean(known, axis=0)
    found = predict_from(head, known, labels, wanted, 0)
    np.testing.assert_allclose(found, predict_from(head, known, labels, filled, 0), rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_number_that_never_moved_predicts_nothing_wild(head):
    known, labels, wanted, _ = problem()
    known, wanted = known.copy(), wanted.copy()
    known[:, 4] = 1 + 1e-6 * known[:, 4]
    wanted[:, 4] = 1e6
    assert np.abs(predict_from(head, known, labels, wanted, 0)).max() < 3 * np.abs(labels).max()


def test_too_many_labels_for_a_gaussian_process_are_refused():
    n = MOST_FOR_GAUSSIAN + 1
    with pytest.raises(InputError, match=f"Received: {n}. Leave the arm descriptors_gaussian out"):
        predict_from("gaussian", np.zeros((n, 1), np.float32), np.zeros(n), np.zeros((1, 1), np.float32), 0)


def test_settings_and_arms_name_the_same():
    assert tuple(DESCRIBED) == WITHOUT_NETWORK and set(DESCRIBED) <= set(ARMS)
    for arm in DESCRIBED:
        assert BenchmarkSettings(task="jdft2d", arm=arm).arm == arm
