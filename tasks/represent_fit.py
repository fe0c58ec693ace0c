"""One fit of a representation study: frozen vectors, a simple model on top, a few labels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

LIMIT = 10.0
"""Scaled numbers are cut off here. A feature that hardly moves over the unmasked crystals, such as the far tail of a
diffraction peak, has a spread near zero; on a test crystal it would become any number, and so would the prediction."""

HIDDEN = 64
"""Width of the hidden layer, as in the Deep InfoMax paper."""


@dataclass(frozen=True)
class HeadFit:
    """Which vectors, which model on top, how many labels, which draw of them."""

    arm: str
    head: str
    scaling: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the fit's files."""
        unscaled = "" if self.scaling == "standard" else "-unscaled"
        return f"{self.arm}-{self.head}{unscaled}-n{self.labels}-s{self.seed}"


@dataclass(frozen=True)
class HeadJob:
    """All that a fit gets to see."""

    fit: HeadFit
    features: Path
    """Array of vectors, one line per crystal, NaN where a descriptor failed, (L, D)."""
    lines: NDArray[np.int64]
    """Lines of the unmasked crystals, (n,)."""
    labels: NDArray[np.float64]
    """Their labels, (n,)."""
    test: NDArray[np.int64]
    """Lines to predict, (m,)."""


@dataclass(frozen=True)
class HeadAnswer:
    """What comes back."""

    fit: HeadFit
    prediction: NDArray[np.float64]
    """In units of the target, (m,)."""
    seconds: float
    """Time of the fit."""


def fit_head(job: HeadJob) -> HeadAnswer:
    """HeadFit one head and predict the test crystals.

    Raises:
        InputError: If the file of vectors cannot be read.
    """
    from threadpoolctl import threadpool_limits

    try:
        vectors = np.load(job.features, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{job.features} is damaged ({error}). Delete it; it is computed again.") from error
    known, wanted = (np.asarray(vectors[lines], dtype=np.float64) for lines in (job.lines, job.test))
    model = new_head(job.fit.head, job.fit.scaling, job.fit.seed)
    started = time.perf_counter()
    # One thread: sums of several come out differently in the last digits.
    with threadpool_limits(1):
        prediction = np.asarray(model.fit(known, job.labels).predict(wanted), dtype=np.float64)
    return HeadAnswer(job.fit, prediction, time.perf_counter() - started)


def new_head(head: str, scaling: str, seed: int) -> Any:
    """A model for frozen vectors, the same for every arm.

    Vectors that are not there (a descriptor failed) become the mean over the unmasked crystals, so that the test part
    is the same for all arms. Labels are learnt with zero mean and unit spread: the network's step size is for such.

    Args:
        head: ``linear`` (least squares, the shortest solution where there are several), ``ridge`` (its penalty chosen
            by leaving one label out), ``mlp`` (one hidden layer of 64) or ``forest`` (100 trees).
        scaling: ``standard`` or ``none``.
        seed: seed of ``mlp`` and ``forest``.

    Returns:
        A scikit-learn regressor.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regressor = make_pipeline(*prepared(scaled=scaling == "standard"), _regressor(head, seed))
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


def prepared(*, scaled: bool) -> list[Any]:
    """First steps of a pipeline: missing numbers become means; if asked, all are scaled and cut off at ``LIMIT``."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    steps: list[Any] = [SimpleImputer(keep_empty_features=True)]
    if scaled:
        steps += [StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -LIMIT, "a_max": LIMIT})]
    return steps


def _regressor(head: str, seed: int) -> Any:
    """The model itself."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.neural_network import MLPRegressor

    from matgl_infomax.tasks.arms import ALPHAS

    if head == "linear":
        return LinearRegression()
    if head == "ridge":
        return RidgeCV(ALPHAS)
    if head == "mlp":
        return MLPRegressor(hidden_layer_sizes=(HIDDEN,), max_iter=5000, random_state=seed)
    return RandomForestRegressor(random_state=seed, n_jobs=1)
