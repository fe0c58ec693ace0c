"""How good predictions are, for one target; missing labels are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Metrics = dict[str, float | None]
"""Numbers by name; None where the labels do not define one, such as R² of a constant."""


def regression_metrics(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Metrics:
    """Mean absolute error, root mean square error and R², in units of the target.

    Args:
        truth: labels, NaN where missing, (n,).
        prediction: predicted values, (n,).
    """
    from sklearn import metrics

    truth, prediction = _known(truth, prediction)
    if not len(truth):
        return {"mae": None, "rmse": None, "r2": None}
    varies = len(np.unique(truth)) > 1
    return {
        "mae": float(metrics.mean_absolute_error(truth, prediction)),
        "rmse": float(metrics.root_mean_squared_error(truth, prediction)),
        "r2": float(metrics.r2_score(truth, prediction)) if varies else None,
    }


def classification_metrics(truth: NDArray[np.float64], probability: NDArray[np.float64]) -> Metrics:
    """Balanced accuracy at probability one half, area under the ROC curve of the probabilities, and log loss.

    Args:
        truth: labels 0 and 1, NaN where missing, (n,).
        probability: predicted probability of 1, (n,).
    """
    from sklearn import metrics

    truth, probability = _known(truth, probability)
    loss = float(metrics.log_loss(truth, probability, labels=[0, 1])) if len(truth) else None
    return {**score_metrics(truth, probability, 0.5), "log_loss": loss}


def score_metrics(truth: NDArray[np.float64], score: NDArray[np.float64], threshold: float) -> Metrics:
    """Balanced accuracy of ``score > threshold``, and area under the ROC curve of the scores themselves.

    Args:
        truth: labels 0 and 1, NaN where missing, (n,).
        score: the higher, the likelier is 1, (n,).
        threshold: where the decision changes.

    Returns:
        None for both where only one class is there: neither is defined then.
    """
    from sklearn import metrics

    truth, score = _known(truth, score)
    if len(np.unique(truth)) < 2:
        return {"balanced_accuracy": None, "roc_auc": None}
    return {
        "balanced_accuracy": float(metrics.balanced_accuracy_score(truth, score > threshold)),
        "roc_auc": float(metrics.roc_auc_score(truth, score)),
    }


def _known(truth: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The entries that have a label."""
    present = ~np.isnan(truth)
    return truth[present], other[present]
