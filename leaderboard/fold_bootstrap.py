"""Resampling of the materials inside each test fold: how far mean errors of many answers would move with others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1_000_000  # materials drawn at once: keeps memory at tens of megabytes


@dataclass(frozen=True, eq=False)
class Resampled:
    """Mean errors of answers, and how resampled ones deviate from them; the same materials are drawn for all."""

    means: NDArray[np.float64]
    """Mean over cells of the mean error in each cell, (A,)."""
    deviations: NDArray[np.float64]
    """The same of resampled materials, minus ``means``, (draws, A)."""


def resample(
    errors: NDArray[np.float64], cells: NDArray[np.int64], *, draws: int, generator: np.random.Generator
) -> Resampled:
    """Draw the materials of each cell again with replacement, for all answers at once.

    A cell is a test fold, or for classes one class of a fold: there the mean over both classes of the share of wrong
    materials is 1 - balanced accuracy. All cells weigh the same, as folds do on Matbench's website. How often each
    material is drawn is counted (a multinomial draw), and counts times errors is a product of matrices.
    Deviations are stretched by sqrt(n / (n - 1)), for a resampled mean varies by that factor too little.

    Args:
        errors: error of each answer on each material, (A, M).
        cells: cell of each material, any integers, (M,).
        draws: resamplings.
        generator: where the chance comes from.

    Raises:
        ValueError: If shapes do not fit, there is no material, or an error is missing.
    """
    if errors.ndim != 2 or cells.shape != errors.shape[1:] or not errors.size:
        raise ValueError(f"one cell per material is needed: {errors.shape=}, {cells.shape=}")
    if not np.isfinite(errors).all():
        raise ValueError("errors must be numbers, none missing or infinite")
    names = np.unique(cells)
    means = np.zeros(len(errors))
    deviations = np.zeros((draws, len(errors)))
    for name in names:
        here = errors[:, cells == name]  # (A, n)
        n, mean = here.shape[1], here.mean(axis=1)  # (A,)
        means += mean / len(names)
        scale = np.sqrt(n / max(n - 1, 1)) / (n * len(names))
        centred = ((here - mean[:, None]) * scale).T.astype(np.float32)  # (n, A)
        block = max(1, _BLOCK // n)
        for start in range(0, draws, block):
            rows = slice(start, min(start + block, draws))
            deviations[rows] += _counts(n, rows.stop - rows.start, generator) @ centred
    return Resampled(means, deviations)


def _counts(n: int, draws: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """How often each of n materials is drawn in each of some draws, (draws, n)."""
    drawn = generator.integers(n, size=(draws, n), dtype=np.uint32)
    counts = np.empty((draws, n), dtype=np.float32)
    for row, materials in zip(counts, drawn, strict=True):  # one draw at a time stays in the processor's cache
        row[:] = np.bincount(materials, minlength=n)
    return counts


def two_sided_p(difference: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values of differences: how much of their resampled distribution lies on the other side of zero, doubled.

    It is below 5 % just where the 95 % percentile interval leaves zero out. Where no draw crosses zero, the tail of a
    normal distribution of the same spread says how far away it is.

    Args:
        difference: measured differences, (P,).
        deviations: their resampled deviations, (draws, P).

    Returns:
        P-values, (P,).
    """
    from scipy.stats import norm

    draws = len(deviations)
    below = (deviations <= -difference).sum(axis=0)
    above = (deviations >= -difference).sum(axis=0)
    crossing = np.minimum(below, above)
    p = np.minimum(2 * (1 + crossing) / (draws + 1), 1)
    spread = deviations.std(axis=0)
    tail = 2 * norm.sf(np.divide(np.abs(difference), spread, out=np.full(len(p), np.inf), where=spread > 0))
    return np.where(crossing > 0, p, np.minimum(p, tail))
