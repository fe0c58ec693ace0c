"""What pretraining is worth in labels: how many of them the baseline would need for the same error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Saving:
    """One number of labels with pretraining, and what it equals without."""

    labels: int
    equals: float | None
    """Labels the baseline needs for the same error; None where its measured curve does not reach it."""
    bound: str
    """'= 178', or '> 1000' and '< 50' where the curve ends."""


def label_saving(labels: int, mae: float, baseline: Mapping[int, float]) -> Saving:
    """Read off the baseline's learning curve where it has this error; a point estimate without an interval.

    Between two measured numbers of labels the curve is a straight line in logarithms of both. Where more labels came
    out worse by chance, the best error so far counts, so that there is one answer.

    Args:
        labels: number of labels of the pretrained arm.
        mae: its mean absolute error.
        baseline: mean absolute error of the baseline by number of labels.
    """
    counts = np.array(sorted(baseline), dtype=float)  # (K,)
    curve = np.minimum.accumulate([baseline[int(n)] for n in counts])  # (K,)
    if mae > curve[0]:
        return Saving(labels, None, f"< {counts[0]:.0f}")
    if mae < curve[-1]:
        return Saving(labels, None, f"> {counts[-1]:.0f}")
    k = int(np.argmax(curve <= mae))
    if k == 0 or mae <= 0:
        return Saving(labels, float(counts[k]), f"= {counts[k]:.0f}")
    share = np.log(curve[k - 1] / mae) / np.log(curve[k - 1] / max(curve[k], 1e-300))
    equals = float(np.exp(np.log(counts[k - 1]) + share * np.log(counts[k] / counts[k - 1])))
    return Saving(labels, equals, f"= {equals:.0f}")
