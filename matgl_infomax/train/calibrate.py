"""From the spread of an ensemble to an uncertainty that can be trusted: one factor, fitted on held-out labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FLOOR = 0.01
"""Members that agree more closely than this share of their usual error count as differing by that much: several
networks can give the very same wrong number, such as a band gap of zero."""


@dataclass(frozen=True)
class Calibration:
    """How the spread of the members becomes the uncertainty of one target."""

    method: str
    """"gaussian" or "conformal"."""
    factor: float
    """What the standard deviation over the members is multiplied with."""
    floor: float
    """Spread that is always added, in units of the target."""
    coverage: float
    """Share of labels that an interval was to hold: ``y`` plus or minus as many ``y_std`` as in a Gaussian."""
    observed: float
    """Share of held-out labels that were inside, each with a factor fitted without it."""
    unscaled: float
    """The same share without any factor."""
    n: int
    """Held-out labels."""

    def std(self, spread: Array) -> Array:
        """Calibrated standard deviation from that over the members, any shape, in units of the target."""
        return self.factor * np.hypot(spread, self.floor)


def combine(members: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over the members (first axis, M of them), with M - 1 degrees of freedom."""
    return members.mean(axis=0), members.std(axis=0, ddof=1)


def calibrate(truth: Array, members: Array, method: str, coverage: float) -> Calibration:
    """Fit the factor on labels that no member was trained on.

    Args:
        truth: labels, NaN where missing, (n,).
        members: predictions of the M members, (M, n).
        method: "gaussian" (maximum likelihood) or "conformal" (the quantile that gives the coverage).
        coverage: share of labels that an interval is to hold.
    """
    present = ~np.isnan(truth)
    mean, spread = combine(members[:, present])  # (n,) each
    error = np.abs(truth[present] - mean)
    floor = FLOOR * float(np.sqrt(np.mean(error**2)))
    width = np.hypot(spread, floor)
    ratio = np.divide(error, width, out=np.zeros_like(error), where=width > 0)
    z = interval_width(coverage)
    factor, without = FACTORS[method](ratio, coverage)
    return Calibration(
        method=method,
        factor=factor,
        floor=floor,
        coverage=coverage,
        observed=float(np.mean(ratio / z <= without)),
        unscaled=float(np.mean(error <= z * spread)),
        n=len(error),
    )


def interval_width(coverage: float) -> float:
    """Half the width of a Gaussian's central interval of some coverage, in standard deviations."""
    return NormalDist().inv_cdf(0.5 + coverage / 2)


def fewest_labels(method: str, coverage: float) -> int:
    """Held-out labels that the factor needs: two to have one left over, more for a quantile far out."""
    return 2 if method == "gaussian" else max(2, math.ceil(coverage / (1 - coverage) - 1e-9))


def _gaussian(ratio: Array, coverage: float) -> tuple[float, Array]:
    """The factor of highest likelihood under a Gaussian, and those without each one of the labels, (n,)."""
    square = ratio**2
    others = np.maximum(square.sum() - square, 0.0) / (len(ratio) - 1)
    return float(np.sqrt(square.mean())), np.sqrt(others)


def _conformal(ratio: Array, coverage: float) -> tuple[float, Array]:
    """The factor whose intervals hold a new label with the wanted probability, and what tells the same of each label.

    The second, (n,), decides as the factor fitted without that label would.
    """
    n, z = len(ratio), interval_width(coverage)
    ordered = np.sort(ratio)
    place, fewer = (math.ceil((count + 1) * coverage - 1e-9) for count in (n, n - 1))
    # Leaving out a label at or below this place moves the quantile up, and the label was inside before; leaving out
    # one above does not move it. So one bound tells for each label whether the others' intervals hold it.
    return float(ordered[place - 1] / z), np.full(n, ordered[fewer - 1] / z)


FACTORS: dict[str, Callable[[Array, float], tuple[float, Array]]] = {"gaussian": _gaussian, "conformal": _conformal}
