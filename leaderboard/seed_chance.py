"""How far an answer's error would move with other seeds: weights, batches and label masks drawn again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def seed_standard_error(errors: NDArray[np.float64]) -> tuple[float, int]:
    """Standard error of the mean over seeds and folds, and its degrees of freedom.

    Where seeds only make single trainings better or worse, the spread within the folds says most: K (S - 1) degrees of
    freedom. A seed may also be lucky in all folds, for it starts all of them from the same weights; then only the
    means of the seeds tell, with S - 1 degrees of freedom. The larger of both standard errors is taken, with the
    degrees of freedom of the first. In simulations with five folds where a tenth of the variance belongs to the seed
    as a whole (about what the results kept in this repository show), intervals of this width leave out the truth in
    5 to 6 % of cases; where half of it does and nothing else is left to chance, in 10 to 15 %.

    Args:
        errors: error of the model of each seed and fold, or the difference of two, (S, K).

    Returns:
        Standard error in the unit of the errors (0 for one seed), degrees of freedom (at least 1).
    """
    s, k = errors.shape
    if s < 2:
        return 0.0, 1
    between = float(errors.mean(axis=1).std(ddof=1) / np.sqrt(s))
    within = float(np.sqrt((errors.var(axis=0, ddof=1) / s).sum()) / k)
    return max(between, within), k * (s - 1)


def seed_deviations(
    errors: NDArray[np.float64], draws: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Deviations for other seeds from Student's t, (draws,); zero where there is one seed or none.

    Args:
        errors: error of the model of each seed and fold, or the difference of two, (S, K).
        draws: how many.
        generator: where the chance comes from.
    """
    if len(errors) < 2:
        return np.zeros(draws)
    error, freedom = seed_standard_error(errors)
    return error * generator.standard_t(freedom, draws)
