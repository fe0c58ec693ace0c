"""The scores of one fold, by the formulas of the Matbench package; numbers in, numbers out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["regression", "classification"]

SCORES: dict[Kind, tuple[str, ...]] = {
    "regression": ("mae", "rmse", "mape", "max_error"),
    "classification": ("accuracy", "balanced_accuracy", "f1", "rocauc"),
}
"""Scores of a fold by kind of task, in the order of Matbench."""

MAPE_THRESHOLD = 1e-5
"""Matbench leaves values closer to zero than this out of the mean absolute percentage error."""

CLASS_THRESHOLD = 0.5
"""A probability above this counts as class 1."""


def fold_scores(kind: Kind, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float]:
    """The scores that Matbench 0.6 gives to the predictions of one fold.

    Matbench turns probabilities into classes at one half before it computes the first score and never turns them
    back, so its "rocauc" is that of the classes (equal to the balanced accuracy), not of the probabilities.
    ``probability_rocauc`` gives the latter.

    Args:
        kind: kind of the task.
        truth: true values, or 0 and 1 for classes, (n,).
        prediction: predicted values in units of the target, or probabilities of class 1, (n,).

    Returns:
        Scores by name. ``mape`` is a fraction, not per cent, and NaN where every true value is nearly zero.

    Raises:
        ValueError: If there is no value, a value is missing, the lengths differ, or only one class occurs.
    """
    truth, prediction = _checked(truth, prediction)
    if kind == "regression":
        error = np.abs(prediction - truth)
        large = np.abs(truth) > MAPE_THRESHOLD
        return {
            "mae": float(error.mean()),
            "rmse": float(np.sqrt(np.mean(error**2))),
            "mape": float(np.mean(error[large] / np.abs(truth[large]))) if large.any() else float("nan"),
            "max_error": float(error.max()),
        }
    from sklearn import metrics

    _refuse_one_class(truth)
    true, found = truth > CLASS_THRESHOLD, prediction > CLASS_THRESHOLD
    return {
        "accuracy": float(metrics.accuracy_score(true, found)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(true, found)),
        "f1": float(metrics.f1_score(true, found)),
        "rocauc": float(metrics.roc_auc_score(true, found)),
    }


def probability_rocauc(truth: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    """Area under the ROC curve of the probabilities themselves: how well they put class 1 above class 0.

    Args:
        truth: 0 and 1, (n,).
        probability: predicted probability of class 1, (n,).

    Raises:
        ValueError: If there is no value, a value is missing, the lengths differ, or only one class occurs.
    """
    from sklearn import metrics

    truth, probability = _checked(truth, probability)
    _refuse_one_class(truth)
    return float(metrics.roc_auc_score(truth > CLASS_THRESHOLD, probability))


def _checked(
    truth: NDArray[np.float64], prediction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as one-dimensional arrays of numbers of the same length."""
    truth, prediction = (np.asarray(values, dtype=np.float64) for values in (truth, prediction))
    if truth.shape != prediction.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(f"scores need one prediction for each true value: {truth.shape=}, {prediction.shape=}")
    if not (np.isfinite(truth).all() and np.isfinite(prediction).all()):
        raise ValueError("scores need numbers: a true value or a prediction is missing or infinite")
    return truth, prediction


def _refuse_one_class(truth: NDArray[np.float64]) -> None:
    """Without both classes half of the scores are not defined."""
    if len(np.unique(truth > CLASS_THRESHOLD)) < 2:
        raise ValueError("scores of classes need both classes among the true values")
