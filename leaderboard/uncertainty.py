"""Are uncertainties honest? Coverage, sharpness and the calibration curve of predictions that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.matbench_format import COVERAGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""Shares of the materials that normal intervals are meant to hold, for the calibration curve."""


@dataclass(frozen=True)
class Calibration:
    """Promised against observed shares of materials inside their intervals (Kuleshov, Fenner, Ermon, ICML 2018)."""

    materials: int
    sharpness: float
    """Root mean square of the standard deviations, unit of the target: how much the answer dares to say."""
    coverage_95: float
    """Share of true values inside Matbench's normal 95 % interval."""
    miscalibration: float
    """Mean absolute distance of the curve from the diagonal; 0 is honest, 0.5 the worst."""
    ranking: float
    """Spearman correlation of standard deviation and absolute error; above 0 the answer knows where it is bad.
    NaN where either is the same everywhere."""
    levels: tuple[float, ...]
    """Promised shares, ascending."""
    observed: tuple[float, ...]
    """Shares of true values inside the intervals of these levels."""

    def to_frame(self) -> pd.DataFrame:
        """The calibration curve: promised, observed."""
        import pandas as pd

        return pd.DataFrame({"promised": self.levels, "observed": self.observed})

    def to_markdown(self) -> str:
        """One sentence, and the curve as a table."""
        rows = [f"| {p:.0%} | {o:.1%} |" for p, o in zip(self.levels, self.observed, strict=True)]
        return "\n".join([self.to_text(), "", "| intervals meant to hold | hold |", "| ---: | ---: |", *rows])

    def to_text(self) -> str:
        """Coverage, sharpness and ranking in one sentence."""
        ranking = "" if np.isnan(self.ranking) else f"; rank correlation of std and error {self.ranking:.2f}"
        return (
            f"95 % intervals hold {self.coverage_95:.1%} of {self.materials} materials, sharpness "
            f"{self.sharpness:.4g}, mean miscalibration {self.miscalibration:.1%}{ranking}."
        )

    def plot(self) -> Figure:
        """The calibration curve beside the diagonal of an honest answer."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 4), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="honest")
        axes.plot([0, *self.levels, 1], [0, *self.observed, 1], marker="o", markersize=3, label="observed")
        axes.set(xlabel="share that intervals are meant to hold", ylabel="share that they hold", aspect="equal")
        axes.legend(frameon=False)
        return figure


def calibrate(truth: NDArray[np.float64], prediction: NDArray[np.float64], std: NDArray[np.float64]) -> Calibration:
    """How honest standard deviations are, read as those of a normal distribution.

    Args:
        truth: true values, (M,).
        prediction: predictions in the same unit, (M,).
        std: standard deviation of each prediction, none below zero, (M,).

    Raises:
        ValueError: If shapes differ, there is no material, or a number is missing or a deviation negative.
    """
    from scipy.special import ndtri
    from scipy.stats import spearmanr

    if not (truth.shape == prediction.shape == std.shape and truth.ndim == 1 and len(truth)):
        raise ValueError(f"one std per prediction is needed: {truth.shape=}, {prediction.shape=}, {std.shape=}")
    if not (np.isfinite([truth, prediction, std]).all() and (std >= 0).all()):
        raise ValueError("true values, predictions and deviations must be numbers, deviations none below zero")
    error = np.abs(prediction - truth)  # (M,)
    halves = ndtri(0.5 + np.array(LEVELS) / 2)  # (levels,)  half widths in units of std
    observed = [float(np.mean(error <= half * std)) for half in halves]
    constant = np.ptp(error) == 0 or np.ptp(std) == 0
    return Calibration(
        materials=len(truth),
        sharpness=float(np.sqrt(np.mean(std**2))),
        coverage_95=float(np.mean(error <= ndtri(COVERAGE[1]) * std)),
        miscalibration=float(np.mean(np.abs(np.array(observed) - LEVELS))),
        ranking=float("nan") if constant else float(spearmanr(std, error).statistic),
        levels=LEVELS,
        observed=tuple(observed),
    )
