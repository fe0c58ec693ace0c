"""Logistic regression on vectors: probabilities that fit, whatever the number of labels."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies.arms import logistic


def test_probabilities_follow_the_classes():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 5)) * [1.0, 10.0, 1.0, 1.0, 1.0]
    chance = 1 / (1 + np.exp(-vectors[:, 0] - 0.2 * vectors[:, 1]))
    labels = (rng.random(300) < chance).astype(float)
    found = logistic(vectors[:200], labels[:200], vectors[200:])
    assert ((found > 0) & (found < 1)).all()
    assert np.abs(found - chance[200:]).mean() < 0.1
    again = logistic(vectors[:200], labels[:200], vectors[200:])
    np.testing.assert_array_equal(found, again)


def test_one_label_of_a_class_is_enough_and_none_is_not():
    vectors, labels = np.arange(12.0).reshape(6, 2), np.array([0.0, 0, 0, 0, 0, 1])
    found = logistic(vectors, labels, vectors)
    assert np.all(np.diff(found) > 0)
    with pytest.raises(InputError, match="All 5 labels are of class 0"):
        logistic(vectors[:5], labels[:5], vectors)


def test_separated_classes_give_finite_probabilities():
    vectors = np.linspace(-1, 1, 40)[:, None]
    found = logistic(vectors, (vectors[:, 0] > 0).astype(float), np.array([[-1.0], [1.0]]))
    assert 0 <= found[0] < 0.2 and 0.8 < found[1] <= 1
