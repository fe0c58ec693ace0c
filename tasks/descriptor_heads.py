"""Models without a network on descriptors: extremely randomised trees, a random forest, a Gaussian process."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.represent_fit import prepared

Head = Literal["trees", "forest", "gaussian"]

N_TREES = 500
"""More trees change the error by less than the seed does."""

MOST_FOR_GAUSSIAN = 5000
"""Time grows with the third power of the labels and memory with the second: beyond this it is hours."""


def predict_from(
    head: Head, known: NDArray[np.float32], labels: NDArray[np.float64], wanted: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """Fit a model to the unmasked crystals and predict others, (m,).

    Descriptors that are not there, because matminer failed, become the mean over the unmasked crystals.

    Args:
        head: ``trees`` (extremely randomised, 500), ``forest`` (random, 500) or ``gaussian`` (a Gaussian process with
            one Matérn length, amplitude and noise, fitted by marginal likelihood, on standardised descriptors).
        known: descriptors of the unmasked crystals, (n, K), NaN where they are missing.
        labels: their labels, (n,).
        wanted: descriptors of the crystals to predict, (m, K).
        seed: seed of the trees; a Gaussian process needs none.

    Raises:
        InputError: For a Gaussian process on more than 5,000 labels.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if head == "gaussian" and len(labels) > MOST_FOR_GAUSSIAN:
        raise InputError(
            f"A Gaussian process takes hours beyond {MOST_FOR_GAUSSIAN} labels. Received: {len(labels)}. "
            "Leave the arm descriptors_gaussian out."
        )
    model = _model(head, seed)
    # One thread: sums of several come out differently in the last digits.
    with threadpool_limits(1), warnings.catch_warnings():
        # A length or a noise at the end of its range is an answer too: labels without noise, a descriptor without use.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(known, labels).predict(wanted), dtype=np.float64)


def _model(head: Head, seed: int) -> Any:
    """A scikit-learn regressor that stands missing numbers."""
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    if head == "gaussian":
        return make_pipeline(*prepared(scaled=True), _gaussian_process())
    trees = ExtraTreesRegressor if head == "trees" else RandomForestRegressor
    return make_pipeline(*prepared(scaled=False), trees(N_TREES, random_state=seed, n_jobs=1))


def _gaussian_process() -> Any:
    """A Gaussian process on standardised numbers; the length starts near their usual distance."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(10.0, (1e-1, 1e4), nu=1.5) + WhiteKernel(0.1, (1e-6, 1e2))
    return GaussianProcessRegressor(kernel, normalize_y=True)
