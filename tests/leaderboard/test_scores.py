"""The scores of a fold are those of the Matbench package, bit for bit where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.leaderboard.scores import SCORES, fold_scores, probability_rocauc


@pytest.fixture(scope="module")
def matbench():
    """Matbench's own scoring; skipped where the package is absent."""
    return pytest.importorskip("matbench.data_ops", reason="needs the matbench package").score_array


def test_numbers_are_scored_as_matbench_does(matbench):
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.standard_normal(200), [0.0, 1e-6, -1e-6]])
    prediction = truth + rng.standard_normal(len(truth))
    found, theirs = fold_scores("regression", truth, prediction), matbench(truth, prediction.tolist(), "regression")
    assert list(found) == list(SCORES["regression"]) == list(theirs)
    assert found == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("sharp", [0.3, 3.0])
def test_classes_are_scored_as_matbench_does(matbench, sharp):
    rng = np.random.default_rng(1)
    truth = rng.random(300) > 0.6
    probability = 1 / (1 + np.exp(-sharp * (truth - 0.5) - rng.standard_normal(300)))
    found = fold_scores("classification", truth.astype(float), probability)
    theirs = matbench(truth.tolist(), probability.tolist(), "classification")
    assert list(found) == list(SCORES["classification"]) == list(theirs)
    assert found == pytest.approx(theirs, rel=1e-12)
    assert found["rocauc"] == pytest.approx(found["balanced_accuracy"])


def test_the_area_of_probabilities_counts_pairs_in_the_right_order():
    truth, probability = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.7, 0.6, 0.9])
    assert probability_rocauc(truth, probability) == pytest.approx(3 / 4)
    assert fold_scores("classification", truth, probability)["rocauc"] == pytest.approx(3 / 4)
    sharper = np.array([0.51, 0.52, 0.53, 0.9])
    assert probability_rocauc(truth, sharper) == 1.0
    assert fold_scores("classification", truth, sharper)["rocauc"] == 0.5, "all are of class 1 at one half"


def test_a_percentage_of_nothing_is_no_number():
    found = fold_scores("regression", np.zeros(3), np.ones(3))
    assert np.isnan(found["mape"]) and found["mae"] == 1.0


@pytest.mark.parametrize(
    ("kind", "truth", "prediction", "text"),
    [
        ("regression", [1.0, 2.0], [1.0], "one prediction for each"),
        ("regression", [], [], "one prediction for each"),
        ("regression", [1.0, np.nan], [1.0, 2.0], "missing or infinite"),
        ("classification", [1.0, 1.0], [0.2, 0.3], "both classes"),
    ],
)
def test_what_cannot_be_scored_is_refused(kind, truth, prediction, text):
    with pytest.raises(ValueError, match=text):
        fold_scores(kind, np.array(truth), np.array(prediction))
