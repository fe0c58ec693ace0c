"""The label normaliser: fitted on the unmasked training labels only, stored in the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError


def fit_scale(labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each target over the labels that are there.

    Args:
        labels: NaN where missing, (n, T).

    Returns:
        Mean (T,) and standard deviation (T,); a target with one distinct value gets 1.
    """
    mean, std = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    return mean, np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0)


def refuse_empty(labels: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse a target without any label in the training part.

    Args:
        labels: of the training part, NaN where missing, (n, T).
        names: of the targets.

    Raises:
        InputError: With the target's name.
    """
    empty = np.isnan(labels).all(axis=0)
    if empty.any():
        name = names[int(np.argmax(empty))]
        what = f"Target {name} has no label among the {len(labels)} crystals that train"
        raise InputError(f"{what} (others are held out for validation). Leave it out, or give more labels.")
