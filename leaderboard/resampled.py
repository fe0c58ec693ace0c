"""Intervals for a study that tests every crystal: repeated K-fold on few labels, errors pooled over all folds.

Three things move the ratio of two arms' errors: which crystals there are, which of them each model learnt from, and
how its weights started. The first is seen in the errors. The second is hardly seen: models of different folds share
most of their training crystals, so luck that they share shows in no difference between folds, and the rest drowns in
the differences between crystals. The rule here takes it from studies with thousands of test crystals, where it was
measured. ``leaderboard/results/resampled_intervals`` holds the simulation that compares it with the corrected
resampled t-test (Nadeau, Bengio, Machine Learning 52, 239, 2003; Bouckaert, Frank, PAKDD 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.statistics import LEVEL, Comparison, fold_test
from matgl_infomax.leaderboard.verdict import Choice, Dead, Errors, Pairing, Verdict, paired

FOLDS, REPEATS = 5, 2
"""The study that was simulated: five folds, twice."""

LUCK = 0.045
"""Variance of the log ratio of two arms between training sets of c labels, times the square root of c, as far as models
with the same training set share it."""

POWER = 0.8
"""Share of studies in which a difference is to be found before it counts as one that a study can tell."""
DETECTABLE = {0.5: (2.35, 0.156), 0.8: (5.13, 0.31)}
"""By power, the constants a and b of the smallest log ratio that is told, sqrt(a / n + b / sqrt(n))."""


def compare_resampled(
    errors: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    labels: int,
    overlap: float,
    groups: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Compare two arms in repeated K-fold, with an interval that covers other crystals and other training sets.

    The log of the ratio has the variance s² / n + ``LUCK`` · overlap / sqrt(labels). s² is that of the
    crystals' shares in it: each crystal's mean error over the repeats in units of the arm's mean, minus the same of the
    baseline. Crystals of one group are added up first. The interval is that of Student's t with one degree of freedom
    less than there are groups.

    Args:
        errors: absolute errors of the arm, one row per repeat, (R, n).
        baseline: those of the baseline for the same crystals, models trained on the same labels, (R, n).
        labels: labels that each model learnt from.
        overlap: share of luck that all models have in common, from ``training_overlap``.
        groups: number of the group of each crystal, such as its formula, (n,); each its own when left out.
        level: share of intervals that shall cover the truth.

    Raises:
        ValueError: If the shapes differ, an error is missing or negative, or there are fewer than two groups.
    """
    if errors.shape != baseline.shape or errors.ndim != 2 or not errors.size:
        raise ValueError(f"both arms need errors of the same repeats and crystals: {errors.shape=}, {baseline.shape=}")
    if not (np.all(errors >= 0) and np.all(baseline >= 0)):
        raise ValueError("absolute errors must be numbers, none below zero")
    from scipy.special import stdtrit

    means = np.stack([errors.mean(0), baseline.mean(0)]) + _TINY  # (2, n)
    mae = means.mean(1)  # (2,)
    members = np.unique(np.arange(means.shape[1]) if groups is None else groups, return_inverse=True)[1]
    freedom = int(members.max())
    if not freedom:
        raise ValueError("an interval needs crystals of at least two groups")
    variance = _mean_variance(means[0] / mae[0] - means[1] / mae[1], members) + LUCK * overlap / np.sqrt(labels)
    half = float(stdtrit(freedom, (1 + level) / 2)) * float(np.sqrt(variance))
    return _comparison(float(mae[0]), float(mae[1]), half, errors.shape)


def _comparison(mae: float, baseline_mae: float, half: float, shape: tuple[int, ...]) -> Comparison:
    """A comparison of two errors whose log ratio has an interval of a half width; errors had the shape (R, n)."""
    log_ratio = float(np.log(mae / baseline_mae))
    logs = np.array([log_ratio, log_ratio - half, log_ratio + half])
    ratio, low, high = np.exp(np.clip(logs, -690, 690))
    # The difference is the log ratio times the logarithmic mean of both errors: one interval, in two units.
    unit = (mae - baseline_mae) / log_ratio if log_ratio else mae
    return Comparison(
        mae=mae,
        baseline_mae=baseline_mae,
        difference=mae - baseline_mae,
        difference_low=float(unit * logs[1]),
        difference_high=float(unit * logs[2]),
        ratio=float(ratio),
        ratio_low=float(low),
        ratio_high=float(high),
        n_seeds=shape[0],
        n_crystals=shape[1],
    )


@dataclass(frozen=True)
class FoldPairing:
    """How two arms of one study are compared; it is kept beside predictions, so that others get the same intervals."""

    overlap: dict[int, float]
    """Share of training luck that models have in common, by number of labels."""
    groups: list[int]
    """Group of each tested crystal, in the order of their ids."""

    def __call__(self, errors: NDArray[np.float64], others: NDArray[np.float64], labels: int) -> Comparison:
        """Compare two arms at a number of labels.

        Args:
            errors: absolute errors of one arm, a row per repeat and a column per tested crystal by its id, (R, m).
            others: those of the other arm, (R, m).
            labels: number of labels.
        """
        groups = np.array(self.groups)
        return compare_resampled(errors, others, labels=labels, overlap=self.overlap[labels], groups=groups)


_TINY = 1e-300


def _mean_variance(values: NDArray[np.float64], members: NDArray[np.int64]) -> float:
    """Variance of the mean of values (n,) whose groups are drawn anew; for groups of one it is s² / n."""
    sums = np.bincount(members, weights=values - values.mean())  # (G,)
    g = len(sums)
    return float(g / (g - 1) * np.sum(sums**2) / len(values) ** 2)


def training_overlap(trained: NDArray[np.bool_], tested: NDArray[np.int64]) -> float:
    """Share of the luck of a training set that is left in the mean over all models: 1 if all learnt from the same.

    Where each crystal adds its own to a model's luck, the mean over models has the variance of one model's luck times
    this. In K-fold with all labels it is 1 - 1 / K; with fewer labels, drawn anew for each fold, about labels / n.

    Args:
        trained: which crystals each model learnt from, the same number for all, (J, n).
        tested: crystals that each model was tested on, (J,).
    """
    weights = tested / tested.sum()  # (J,)
    return float(np.sum((weights @ trained) ** 2) / trained[0].sum())


def detectable_difference(n_crystals: int, *, power: float = POWER) -> float:
    """Smallest share by which one arm's error must lie below another's so that such a study tells it.

    It is meant for two networks on the same crystals, whose errors go together as in the simulation. Arms that err
    on the same crystals are told apart sooner, others later.

    Args:
        n_crystals: labelled crystals, all of them tested.
        power: share of studies that tell it: 0.5 or 0.8.

    Returns:
        A share between 0 and 1, such as 0.3 for an error that is 30 % smaller.
    """
    a, b = DETECTABLE[power]
    return float(1 - np.exp(-np.sqrt(a / n_crystals + b / np.sqrt(n_crystals))))


# Made studies, in which both arms are equally good: how often does a rule say otherwise?

TRAINING_LUCK, RUN_LUCK = 0.04, 0.01
"""Variance of the log ratio between training sets of c labels and between initial weights, times the square root of c.
Together they give the spread between seeds that the kept learning curves show: about 0.08 at 50 labels, 0.06 at 250."""
HARDNESS = 0.66
"""Spread of the log scale of errors over crystals: the errors of one arm then have a standard deviation of 1.2 times
their mean. The kept answers to Matbench tasks have 0.8 to 2.6."""
SHARED, KEPT = 0.75, 0.9
"""Correlation of signed errors between arms, and between the repeats of one arm. Kept answers of two networks have 0.4
to 0.98 between them."""


@dataclass(frozen=True)
class MadeStudy:
    """Errors of two equally good arms in one made study."""

    errors: NDArray[np.float64]
    """Absolute errors of both arms, (2, R, n)."""
    fold: NDArray[np.int64]
    """Fold in which each crystal was tested in each repeat, (R, n)."""
    groups: NDArray[np.int64]
    """Group of each crystal, (n,)."""
    labels: int
    """Labels that each model learnt from."""
    overlap: float
    """As ``training_overlap`` gives it."""


@dataclass(frozen=True)
class Making:
    """How studies are made."""

    n: int
    """Labelled crystals."""
    share: float = 1.0
    """Share of each training part whose labels are used."""
    luck: float = 1.0
    """Training luck, in units of the usual one (of its variance)."""
    twins: int = 1
    """Crystals per group; twins are equally hard and are never parted by a fold."""
    folds: int = FOLDS
    repeats: int = REPEATS


def made_study(making: Making, generator: np.random.Generator) -> MadeStudy:
    """Draw one study: crystals, folds, training sets, and the errors of both arms.

    Signed errors are normal with a scale of their own for each crystal, which gives absolute errors a heavy tail. A
    model's luck multiplies all errors that it makes. It is a sum over its training crystals, each of which helps one
    arm more than the other, so that models with common training crystals have common luck.

    Args:
        making: sizes and strengths.
        generator: source of all chance.
    """
    n, repeats, folds = making.n, making.repeats, making.folds
    groups = np.arange(n) // making.twins
    g = int(groups[-1]) + 1
    fold = np.stack([(np.arange(g) % folds)[generator.permutation(g)] for _ in range(repeats)])[:, groups]  # (R, n)
    parts = np.stack([fold == k for k in range(folds)], axis=1).reshape(repeats * folds, n)  # (J, n)
    labels = max(2, round(making.share * int(n - parts.sum(1).max())))
    ranks = np.where(parts, np.inf, generator.random(parts.shape))
    trained = np.zeros(parts.shape, dtype=bool)
    np.put_along_axis(trained, np.argsort(ranks, axis=1)[:, :labels], True, axis=1)
    # The difference of two arms has the variance that was measured; each arm has half of it.
    helps = generator.normal(size=(2, n)) * np.sqrt(making.luck * TRAINING_LUCK / 2)
    runs = generator.normal(size=(2, len(parts))) * np.sqrt(making.luck * RUN_LUCK / 2)
    luck = (helps @ trained.T / np.sqrt(labels) + runs) / labels**0.25  # (2, J)
    place = fold + folds * np.arange(repeats)[:, None]  # (R, n) model that tested each crystal
    scale = np.exp(HARDNESS * generator.normal(size=g))[groups]
    shared = generator.normal(size=g)[groups]
    kept = generator.normal(size=(2, 1, g))[:, :, groups]
    new = generator.normal(size=(2, repeats, n))
    signed = np.sqrt(SHARED) * shared + np.sqrt(KEPT - SHARED) * kept + np.sqrt(1 - KEPT) * new
    errors = np.abs(signed) * scale * np.exp(luck[:, place])
    return MadeStudy(errors, fold, groups, labels, training_overlap(trained, parts.sum(1)))


def _calibrated(study: MadeStudy) -> tuple[float, float]:
    """The rule of ``compare_resampled``."""
    found = compare_resampled(
        study.errors[0], study.errors[1], labels=study.labels, overlap=study.overlap, groups=study.groups
    )
    return float(np.log(found.ratio)), float(np.log(found.ratio_high / found.ratio))


def _crystals(study: MadeStudy) -> tuple[float, float]:
    """The same without training luck, as if folds shared nothing but crystals."""
    found = compare_resampled(study.errors[0], study.errors[1], labels=study.labels, overlap=0.0, groups=study.groups)
    return float(np.log(found.ratio)), float(np.log(found.ratio_high / found.ratio))


def _corrected_t(study: MadeStudy) -> tuple[float, float]:
    """The corrected resampled t-test on the folds' shares in the log ratio."""
    mae = study.errors.mean((1, 2))
    scaled = study.errors / mae[:, None, None]  # (2, R, n)
    repeats, folds = len(study.fold), int(study.fold.max()) + 1
    means = [[scaled[:, r, study.fold[r] == k].mean(1) for k in range(folds)] for r in range(repeats)]  # [R][K](2,)
    arms = np.array(means).reshape(-1, 2)
    test = fold_test(arms[:, 0], arms[:, 1], test_share=1 / (folds - 1))
    return float(np.log(mae[0] / mae[1])), (test.high - test.low) / 2


RULES = {"calibrated": _calibrated, "corrected resampled t": _corrected_t, "crystals alone": _crystals}
"""Ways to an interval: each gives the log ratio and half the width of its 95 % interval."""


def trials(making: Making, studies: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Make studies and let every rule judge them.

    Args:
        making: sizes and strengths.
        studies: how many.
        seed: decides all of them.

    Returns:
        By rule, log ratio and half the width of its interval in each study, (studies, 2). Were the arm's error lower by
        a share d, its log ratio would be lower by -log(1 - d) and the width the same.
    """
    generator = np.random.default_rng(seed)
    made = [made_study(making, generator) for _ in range(studies)]
    return {name: np.array([rule(study) for study in made]) for name, rule in RULES.items()}


def wrong_share(found: NDArray[np.float64]) -> float:
    """Share of studies of equally good arms whose interval leaves a ratio of 1 out: the type-1 error.

    Args:
        found: of one rule, from ``trials``.
    """
    return float(np.mean(np.abs(found[:, 0]) > found[:, 1]))


def told_share(found: NDArray[np.float64], difference: float) -> float:
    """Share of studies whose interval lies below 1 where one arm's error is lower by ``difference``: the power.

    Args:
        found: of one rule, from ``trials``.
        difference: between 0 and 1.
    """
    return float(np.mean(found.sum(axis=1) + np.log1p(-difference) < 0))


def smallest_told(found: NDArray[np.float64], power: float) -> float:
    """Smallest difference that is told in a share ``power`` of the studies.

    Args:
        found: of one rule, from ``trials``.
        power: share of studies.
    """
    return float(-np.expm1(-np.quantile(found.sum(axis=1), power)))


def best_to_use(verdict: Verdict, errors: Errors, pairing: Pairing, dead: Dead | None = None) -> Verdict:
    """The verdict with the arm to use: the one with the lowest error at the most labels, and the price of being wrong.

    Args:
        verdict: of the same errors.
        errors: absolute errors of all arms.
        pairing: how errors of two arms are compared at a number of labels.
        dead: networks whose errors are those of failed runs; repeats with one are left out for all arms. Without a
            whole repeat there is no choice.
    """
    n = max(labels for _, labels in errors)
    failed = [rows for (_, labels), rows in (dead or {}).items() if labels == n]
    dropped = np.any(failed, axis=0) if failed else np.zeros(len(next(iter(errors.values()))), dtype=np.bool_)
    lost = int(dropped.sum())
    errors = {(arm, labels): found[~dropped] for (arm, labels), found in errors.items() if labels == n}
    if not all(len(found) for found in errors.values()):
        return verdict
    arms = {arm: float(found.mean()) for (arm, _), found in errors.items()}
    best = min(arms, key=lambda arm: arms[arm])
    losses: dict[str, tuple[float, float]] = {}
    rivals = []
    for arm in arms:
        if arm == best:
            continue
        losses[arm] = _loss(pairing(errors[best, n], errors[arm, n], n))
        rivals.append(paired(arm, best, n, pairing(errors[arm, n], errors[best, n], n), verdict.unit, lost))
    against = max(losses, key=lambda arm: losses[arm], default=None)
    expected, highest = losses[against] if against else (0.0, 0.0)
    sentence = f"Use {best}: its error with {n} labels is the lowest of {len(arms)} arms"
    clear = [pair.arm for pair in rivals if pair.finding == "worse"]
    if against is None:
        sentence = f"Use {best}: there is no other arm."
    elif highest == 0:
        sentence += ", and clearly so."
    else:
        open_ = [pair.arm for pair in rivals if pair.arm not in clear]
        sentence += (
            f", not clearly below {_listed(open_)}. If that is wrong, it costs most against {against}: {expected:.1%} "
            f"more error on average, {highest:.0%} at the end of the interval."
        )
    choice = Choice(
        arm=best, labels=n, mae=arms[best], rivals=rivals, against=against,
        expected_loss=expected, highest_loss=highest, sentence=sentence,
    )  # fmt: skip
    return verdict.model_copy(update={"choice": choice, "text": f"{verdict.text} {sentence}"})


def _loss(found: Comparison) -> tuple[float, float]:
    """Expected loss of using the first arm of a comparison, and the loss at the end of its interval, as shares.

    The logarithm of the ratio x of the two errors is taken as normal about its value m with the spread s that its
    95 % interval has. The expected loss is then the mean of max(x - 1, 0), which is
    exp(m + s² / 2) Φ((m + s²) / s) - Φ(m / s).
    """
    from scipy.stats import norm

    m, s = np.log(found.ratio), np.log(found.ratio_high / found.ratio_low) / (2 * norm.ppf(0.975))
    mean = np.exp(m + s**2 / 2) * norm.cdf((m + s**2) / s) - norm.cdf(m / s)
    return float(mean), max(0.0, found.ratio_high - 1)


def _listed(names: list[str]) -> str:
    """'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
