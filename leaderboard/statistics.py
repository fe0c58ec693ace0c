"""Is one arm really better than another? Paired comparison of errors on the same crystals with the same label masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.matbench_format import COVERAGE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


DRAWS = 2000
LEVEL = 0.95

_TINY = 1e-300
MOST_LOG = 690.0
"""Largest logarithm of a ratio that a double holds."""
_NUMBERS_AT_ONCE = 2_000_000  # numbers gathered at once: keeps memory at tens of megabytes


@dataclass(frozen=True)
class Comparison:
    """Mean absolute errors of an arm and a baseline, and how far their difference and ratio can be trusted."""

    mae: float
    baseline_mae: float
    difference: float
    """Error of the arm minus error of the baseline; below 0 the arm is better."""
    difference_low: float
    difference_high: float
    ratio: float
    """Error of the arm over error of the baseline; below 1 the arm is better."""
    ratio_low: float
    ratio_high: float
    n_seeds: int
    n_crystals: int
    pretrainings: int = 1
    """Pretrainings of the arm; with one, the intervals hold for this very pretraining only."""
    crystal_error: float = 0.0
    """Standard error of the logarithm of the ratio over test crystals."""
    seed_error: float = 0.0
    """Standard error of the logarithm of the ratio over seeds; 0 with one seed."""
    pretraining_half: float = 0.0
    """Half width of the interval of the logarithm of the ratio that is due to pretrainings; 0 with one."""

    @property
    def better(self) -> bool:
        """Whether the whole interval of the ratio is on the arm's side."""
        return self.ratio_high < 1

    @property
    def worse(self) -> bool:
        """Whether the whole interval of the ratio is on the baseline's side."""
        return self.ratio_low > 1


def compare(
    errors: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compare two arms, with an interval that covers other test crystals, other seeds and other pretrainings.

    Two sources of chance are always there: which labels were unmasked and how the weights started (the seed), and which
    crystals happen to be in the test set. Each draw resamples the test crystals with replacement, the same ones for
    both arms and all seeds, and adds a deviation for the seeds. Resampling two or three seeds as well gives intervals
    that are far too narrow (in simulations of arms that do not differ, up to 14 to 21 % of them excluded zero instead
    of 5 %); so this deviation is drawn from Student's t with S - 1 degrees of freedom, scaled by the spread of the
    paired results between seeds (then it is 5 %, or less). It acts on the logarithm of the ratio and leaves the
    geometric mean of both errors as it is. Other folds are not covered.

    Each draw is a pair of errors, a of the arm and b of the baseline. The interval of the ratio holds values of a / b,
    that of the difference values of a - b, both from the same draws and at the same ranks. As a / b lies above 1 just
    where a - b lies above 0, the two intervals always agree on which arm is better.

    The third source is the pretraining, where an arm has several, crossed with all seeds: ``_deviations`` has the
    formula. Two pretrainings give one degree of freedom and so wide intervals; each one more narrows them much.

    With one seed there is no deviation for seeds: the interval then speaks of this one mask alone. With one pretraining
    there is none for pretrainings: it speaks of this one pretraining alone. Only arms that start from one need it.

    Args:
        errors: absolute errors of the arm, one row per seed, (S, M), or (P, S, M) for several pretrainings.
        baseline: the same of the baseline, for the same seeds and crystals, with pretrainings of its own if any.
        draws: resamplings.
        level: share of intervals that shall cover the truth.
        seed: seed of the resampling.

    Raises:
        ValueError: If the shapes differ, or an error is missing or negative.
    """
    arms = [one[None] if one.ndim == 2 else one for one in (errors, baseline)]  # (P, S, M) each
    if any(one.ndim != 3 or not one.size for one in arms) or arms[0].shape[1:] != arms[1].shape[1:]:
        raise ValueError(f"both arms need errors of the same seeds and crystals: {errors.shape=}, {baseline.shape=}")
    if not (np.all(errors >= 0) and np.all(baseline >= 0)):
        raise ValueError("absolute errors must be numbers, none below zero")
    generator = np.random.default_rng(seed)
    drawn = _crystal_draws(np.stack([one.mean((0, 1)) for one in arms]), draws, generator) + _TINY  # (2, draws)
    per_run = [one.mean(2) + _TINY for one in arms]  # (P, S) each
    t = [_seed_draws(per_run[0].shape[1], draws, generator)]
    t += [_pretraining_draws(len(one), draws, generator) for one in per_run]
    return _comparison(per_run, drawn, t, level, errors.shape[-1])


def _comparison(
    per_run: Sequence[NDArray[np.float64]],
    drawn: NDArray[np.float64],
    t: Sequence[NDArray[np.float64]],
    level: float,
    n_crystals: int,
) -> Comparison:
    """Means and intervals.

    Args:
        per_run: errors of the arm and of the baseline by pretraining and seed, (P, S) each.
        drawn: errors of both over resampled crystals, (2, draws).
        t: deviations for seeds, pretrainings of the arm and those of the baseline, in standard errors, (draws,) each.
        level: share of intervals that shall cover the truth.
        n_crystals: number of test crystals.
    """
    mae = [one.mean() for one in per_run]
    # Errors in units of their mean: the log ratio, linear about its value.
    scaled = [one / mean for one, mean in zip(per_run, mae, strict=True)]
    log_ratio = np.log(drawn[0] / drawn[1]) + _deviations(scaled, t)  # (draws,)
    root = np.exp(np.clip(log_ratio / 2, -MOST_LOG / 2, MOST_LOG / 2))  # (draws,)
    middle = np.sqrt(drawn[0]) * np.sqrt(drawn[1])  # (draws,)
    tails = [(1 - level) / 2, (1 + level) / 2]
    # Ends are drawn values, not values between two draws: so both intervals end at draws of the same sign.
    low, high = np.quantile(middle * root - middle / root, tails, method="nearest")
    ratio_low, ratio_high = np.quantile(root**2, tails, method="nearest")
    return Comparison(
        mae=float(mae[0]),
        baseline_mae=float(mae[1]),
        difference=float(mae[0] - mae[1]),
        difference_low=float(low),
        difference_high=float(high),
        ratio=float(np.exp(np.clip(np.log(mae[0] / mae[1]), -MOST_LOG, MOST_LOG))),
        ratio_low=float(ratio_low),
        ratio_high=float(ratio_high),
        n_seeds=per_run[0].shape[1],
        n_crystals=n_crystals,
        pretrainings=len(per_run[0]),
        crystal_error=float(np.std(np.log(drawn[0] / drawn[1]))),
        seed_error=_spread(scaled[0].mean(0) - scaled[1].mean(0)),
        pretraining_half=float(np.linalg.norm([_half_width(one.mean(1), level) for one in scaled])),
    )


def _deviations(errors: Sequence[NDArray[np.float64]], t: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Deviations of the difference of two arms for other seeds and other pretrainings, (draws,).

    The paired result of pretraining p and seed s is taken as y_ps = mu + a_p + b_s + e_ps, with chance in all three
    terms (two-way crossed random effects, Searle, Casella, McCulloch, Variance Components, Wiley 1992, ch. 4). Then

        Var(mean of y) = var(a) / P + var(b) / S + var(e) / (P S).

    The squared standard errors of the P means over seeds and of the S means over pretrainings have the expected values
    var(a) / P + var(e) / (P S) and var(b) / S + var(e) / (P S): their sum is never too small on average. Each has a
    deviation of its own from Student's t, with P - 1 and S - 1 degrees of freedom, and both are added (the fiducial
    solution of Behrens and Fisher, Ann. Eugenics 6, 391, 1935; in no known case it finds too much, Robinson, Ann. Stat.
    4, 963, 1976). A single t with the degrees of freedom of Welch and Satterthwaite would be narrower, but with two
    pretrainings it finds too much: in simulations up to 9 % instead of 5 % at a spread of 2 % between them.

    Args:
        errors: errors of the arm and of the baseline by pretraining and seed, (P, S) each.
        t: deviations for seeds, pretrainings of the arm and those of the baseline, in standard errors, (draws,) each.
    """
    by_seed = errors[0].mean(0) - errors[1].mean(0)  # (S,)
    spreads = [_spread(by_seed), *(_spread(one.mean(1)) for one in errors)]
    return np.sum([one * spread for one, spread in zip(t, spreads, strict=True)], axis=0)


MOST_SEEDS = 10
"""More seeds than this are never asked for: then the two arms are too alike for the study to tell them apart."""


def sufficient_seeds(found: Comparison, worth: float, level: float = LEVEL) -> int | None:
    """Seeds that would tell two arms apart whose ratio is far from 1, if it and its spread stay as they are.

    With S seeds the half width of the interval of the logarithm of the ratio is about
    sqrt((z c)^2 + (t_{S-1} s)^2 + p^2), with the standard errors c over test crystals and s over seeds, the half width
    p over pretrainings, the quantile z of the normal distribution and t_{S-1} of Student's distribution with S - 1
    degrees of freedom. With S' seeds s becomes s sqrt(S / S'). The smallest S' up to ``MOST_SEEDS`` with a half width
    below |log ratio| is the answer. It is a forecast: the true ratio may be nearer to 1 than the measured one.

    Args:
        found: a comparison of S >= 2 seeds.
        worth: share by which one error has to be smaller than the other, so that the question matters.
        level: share of intervals that shall cover the truth.

    Returns:
        More seeds than there are; None where the arms are told apart already, their ratio is near 1, there is one
        seed, or test crystals and pretrainings alone leave it open.
    """
    from scipy.stats import norm, t

    distance, tail = abs(np.log(found.ratio)), (1 + level) / 2
    if found.better or found.worse or found.n_seeds < 2 or not found.seed_error or distance < -np.log(1 - worth):
        return None
    others = np.hypot(norm.ppf(tail) * found.crystal_error, found.pretraining_half)
    for seeds in range(found.n_seeds + 1, MOST_SEEDS + 1):
        seed_error = found.seed_error * np.sqrt(found.n_seeds / seeds)
        if np.hypot(others, t.ppf(tail, seeds - 1) * seed_error) < distance:
            return seeds
    return None


def _crystal_draws(errors: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Mean errors of both arms over resampled crystals, (2, draws), from errors averaged over seeds, (2, M)."""
    m = errors.shape[1]
    block = max(1, _NUMBERS_AT_ONCE // m)
    means = []
    for start in range(0, draws, block):
        chosen = generator.integers(m, size=(min(block, draws - start), m))  # (block, M)
        means.append(np.stack([errors[0][chosen].mean(1), errors[1][chosen].mean(1)]))  # (2, block)
    return np.concatenate(means, axis=1)


def _seed_draws(n_seeds: int, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Deviations for other seeds in units of the standard error, (draws,); none where there is one seed."""
    return generator.standard_t(n_seeds - 1, draws) if n_seeds > 1 else np.zeros(draws)


def _pretraining_draws(n: int, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """The same for other pretrainings: evenly spaced quantiles in random order, for draws of so wide a tail wobble."""
    from scipy.stats import t

    return generator.permutation(t.ppf((np.arange(draws) + 0.5) / draws, n - 1)) if n > 1 else np.zeros(draws)


def _half_width(values: NDArray[np.float64], level: float) -> float:
    """Half of Student's interval of the mean over pretrainings; zero for a single one."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, len(values) - 1)) * _spread(values) if len(values) > 1 else 0.0


def _spread(values: NDArray[np.float64]) -> float:
    """Standard error of the mean over seeds or pretrainings; zero for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


# Tests of paired results, and the correction for making many of them.

ALPHA = 0.05
"""A difference counts when its p-value, corrected for the number of comparisons, is below this."""


class FoldTest(NamedTuple):
    """A comparison of the scores of the same folds."""

    difference: float
    low: float
    high: float
    p: float


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6, 65, 1979); missing ones (NaN) do not count.

    Rejecting what is below 5 % after it, a whole family of comparisons holds a false rejection in at most 5 % of
    cases, however the comparisons depend on each other.

    Args:
        p: p-values of one family, (P,).

    Returns:
        Corrected p-values in the same order.
    """
    values = np.array(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in values]


def sign_test(errors: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Exact sign test on which of two answers is closer, and the share of materials on which the first one is.

    For classes (errors of 0 and 1) this is McNemar's exact test. Materials with equal errors do not count.

    Args:
        errors: errors of the first answer, (M,).
        others: errors of the second one, (M,).

    Returns:
        Two-sided p-value, and the share; 1 and NaN where no error differs.
    """
    from scipy.stats import binomtest

    closer, farther = int((errors < others).sum()), int((errors > others).sum())
    if not closer + farther:
        return 1.0, float("nan")
    return float(binomtest(closer, closer + farther).pvalue), closer / (closer + farther)


def signed_rank_test(errors: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; materials with equal errors do not count.

    Args:
        errors: errors of the first answer, (M,).
        others: errors of the second one, (M,).
    """
    from scipy.stats import wilcoxon

    differences = errors - others
    differences = differences[differences != 0]
    return float(wilcoxon(differences).pvalue) if len(differences) else 1.0


def fold_test(
    scores: NDArray[np.float64], others: NDArray[np.float64], *, test_share: float, level: float = 1 - ALPHA
) -> FoldTest:
    """Compare the errors of the same folds, where nothing else is known of the other answer.

    Folds share most of their training materials, so their results vary together and an ordinary t-test finds too
    much. The variance is therefore (1 / K + n_test / n_train) s² (Nadeau, Bengio, Machine Learning 52, 239, 2003).

    Args:
        scores: error of the first answer on each fold, (K,).
        others: error of the second one, (K,).
        test_share: materials in the test part over materials in the training part of a fold.
        level: share of intervals that shall cover the truth.

    Returns:
        Mean difference, its interval and its two-sided p-value; the last three NaN with a single fold.
    """
    from scipy.stats import t

    d = scores - others
    k, mean = len(d), float(d.mean())
    if k < 2:
        return FoldTest(mean, float("nan"), float("nan"), float("nan"))
    error = float(np.sqrt((1 / k + test_share) * d.var(ddof=1)))
    half = float(t.ppf((1 + level) / 2, k - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, k - 1)) if error > 0 else float(mean == 0)
    return FoldTest(mean, mean - half, mean + half, p)


def tie_groups(p_holm: NDArray[np.float64]) -> list[list[int]]:
    """Groups of answers that cannot be told from the best one of each group.

    The best answer and all that are not worse than it beyond doubt form the first group; the best of the rest starts
    the next one. "Cannot be told apart" does not carry over from pair to pair, so two members of a group may differ.

    Args:
        p_holm: corrected p-values of all pairs, best answer first, (A, A), symmetric.

    Returns:
        Positions by group.
    """
    rest, groups = list(range(len(p_holm))), []
    while rest:
        groups.append([k for k in rest if k == rest[0] or not p_holm[rest[0], k] < ALPHA])
        rest = [k for k in rest if k not in groups[-1]]
    return groups


# Resampling of the materials inside each test fold: how far mean errors of many answers would move with others.

_MATERIALS_AT_ONCE = 1_000_000  # materials drawn at once: keeps memory at tens of megabytes


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
        block = max(1, _MATERIALS_AT_ONCE // n)
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


# How far an answer's error would move with other seeds: weights, batches and label masks drawn again.


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


def seed_deviations(errors: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
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


# Are uncertainties honest? Coverage, sharpness and the calibration curve of predictions that have them.

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""Shares of the materials that normal intervals are meant to hold, for the calibration curve."""


@dataclass(frozen=True)
class CalibrationQuality:
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


def calibration_quality(
    truth: NDArray[np.float64], prediction: NDArray[np.float64], std: NDArray[np.float64]
) -> CalibrationQuality:
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
    return CalibrationQuality(
        materials=len(truth),
        sharpness=float(np.sqrt(np.mean(std**2))),
        coverage_95=float(np.mean(error <= ndtri(COVERAGE[1]) * std)),
        miscalibration=float(np.mean(np.abs(np.array(observed) - LEVELS))),
        ranking=float("nan") if constant else float(spearmanr(std, error).statistic),
        levels=LEVELS,
        observed=tuple(observed),
    )
