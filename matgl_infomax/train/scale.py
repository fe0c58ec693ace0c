"""The label normaliser: fitted on the unmasked training labels only, stored in the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError


def fit_scale(labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each target over the labels that are there.

    Args:
        labels: NaN where missing, (n, T).

    Returns:
        Mean (T,) and standard deviation (T,); a target with one distinct value gets 1.

    Raises:
        InputError: If a target has no label at all.
    """
    empty = np.isnan(labels).all(axis=0)
    if empty.any():
        number = int(np.argmax(empty)) + 1
        raise InputError(f"Target number {number} has no label among {len(labels)} training crystals.")
    mean, std = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    return mean, np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0)
