"""Intervals of resampled studies: formulas by hand, simulated error rates, and the kept simulation they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, ttest_rel
from scipy.stats import t as student

from matgl_infomax.leaderboard.resampled import (
    FOLDS,
    HARDNESS,
    LUCK,
    REPEATS,
    RULES,
    RUN_LUCK,
    TRAINING_LUCK,
    Making,
    compare_resampled,
    detectable_difference,
    made_study,
    smallest_told,
    told_share,
    training_overlap,
    trials,
    wrong_share,
)
from tests.helpers.kept_results import RESULTS

KEPT = RESULTS / "resampled_intervals"
SIZES = (30, 60, 120, 250)


def some_errors(seed=0, n=40, repeats=2):
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(2, repeats, n))


def test_the_interval_is_the_formula():
    arm, baseline = some_errors()
    found = compare_resampled(arm, baseline, labels=32, overlap=0.8)
    share = arm.mean(0) / arm.mean() - baseline.mean(0) / baseline.mean()
    variance = share.var(ddof=1) / 40 + LUCK * 0.8 / np.sqrt(32)
    half = student.ppf(0.975, 39) * np.sqrt(variance)
    assert found.ratio == pytest.approx(arm.mean() / baseline.mean())
    assert found.ratio_low == pytest.approx(found.ratio * np.exp(-half))
    assert found.ratio_high == pytest.approx(found.ratio * np.exp(half))
    assert (found.mae, found.baseline_mae) == pytest.approx((arm.mean(), baseline.mean()))
    assert (found.n_seeds, found.n_crystals) == (2, 40)


def test_without_luck_and_with_like_errors_it_is_a_paired_t_test():
    """Errors with a mean of 1 in both arms: the log ratio is 0 and its variance that of the paired difference."""
    arm, baseline = some_errors(repeats=1)
    arm, baseline = arm / arm.mean(), baseline / baseline.mean()
    found = compare_resampled(arm, baseline, labels=32, overlap=0.0)
    low, high = ttest_rel(arm[0], baseline[0]).confidence_interval(0.95)
    assert (np.log(found.ratio_low), np.log(found.ratio_high)) == pytest.approx((low, high))
    assert (found.difference_low, found.difference_high) == pytest.approx((low, high))


def test_ratio_and_difference_never_contradict_each_other():
    for seed in range(200):
        arm, baseline = some_errors(seed, n=12) * [[[0.6]], [[1.0]]]
        found = compare_resampled(arm, baseline, labels=9, overlap=0.8)
        assert (found.difference_high < 0) == found.better and (found.difference_low > 0) == found.worse
        assert found.difference_low <= found.difference <= found.difference_high


def test_units_and_the_order_of_crystals_change_nothing():
    arm, baseline = some_errors()
    known = compare_resampled(arm, baseline, labels=32, overlap=0.8)
    order = np.random.default_rng(1).permutation(40)
    other = compare_resampled(1000 * arm[:, order], 1000 * baseline[:, order], labels=32, overlap=0.8)
    assert other.ratio_low == pytest.approx(known.ratio_low)
    assert other.difference_low == pytest.approx(1000 * known.difference_low)
    turned = compare_resampled(baseline, arm, labels=32, overlap=0.8)
    assert turned.ratio_low == pytest.approx(1 / known.ratio_high)


def test_twins_count_as_one():
    """Every crystal twice: as groups the interval is that of the crystals once, with the same freedom."""
    arm, baseline = some_errors()
    once = compare_resampled(arm, baseline, labels=32, overlap=0.8)
    groups = np.repeat(np.arange(40), 2)
    twice = compare_resampled(arm[:, groups], baseline[:, groups], labels=32, overlap=0.8, groups=groups)
    assert (twice.ratio_low, twice.ratio_high) == pytest.approx((once.ratio_low, once.ratio_high))
    blind = compare_resampled(arm[:, groups], baseline[:, groups], labels=32, overlap=0.8)
    assert blind.ratio_high < twice.ratio_high


def test_arms_that_are_always_right_get_no_interval_of_nothing():
    nothing = np.zeros((2, 10))
    found = compare_resampled(nothing, nothing, labels=8, overlap=0.8)
    assert found.ratio == pytest.approx(1) and not found.better and not found.worse


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda e: (e[0], e[1][:, :3]), "same repeats and crystals"),
        (lambda e: (e[0][0], e[1][0]), "same repeats and crystals"),
        (lambda e: (-e[0], e[1]), "none below zero"),
        (lambda e: (e[0] * np.nan, e[1]), "none below zero"),
        (lambda e: (e[0][:, :1], e[1][:, :1]), "two groups"),
    ],
)
def test_errors_that_make_no_pairs_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        compare_resampled(*change(some_errors()), labels=5, overlap=0.5)


def test_overlap_of_training_sets():
    """All models from one set share all luck; J sets without a common crystal share 1 / J; K-fold 1 - 1 / K."""
    rows = np.arange(60)
    assert training_overlap(np.tile(rows < 20, (4, 1)), np.full(4, 15)) == pytest.approx(1)
    assert training_overlap(np.stack([rows % 4 == k for k in range(4)]), np.full(4, 15)) == pytest.approx(1 / 4)
    assert training_overlap(np.stack([rows % 5 != k for k in range(5)]), np.full(5, 12)) == pytest.approx(0.8)


def test_made_studies_are_as_described():
    """Spread of errors, and the luck of a fold: measured in many made studies, against the constants."""
    rng = np.random.default_rng(0)
    large = made_study(Making(20000, luck=0), rng).errors[0, 0]
    # |z| s with s lognormal: 1 + cv² = (pi / 2) exp(tau²)
    assert (1 + (large.std() / large.mean()) ** 2) == pytest.approx(np.pi / 2 * np.exp(HARDNESS**2), rel=0.1)
    studies = [made_study(Making(60), rng) for _ in range(5)]
    for study in studies:
        assert study.labels == 48 and study.overlap == pytest.approx(0.8)
        assert np.array_equal(np.sort(study.fold, axis=1), np.tile(np.sort(np.arange(60) % 5), (2, 1)))
        assert not np.array_equal(study.fold[0], study.fold[1])
    pairs = made_study(Making(60, twins=2), rng)
    assert np.array_equal(pairs.fold[:, ::2], pairs.fold[:, 1::2])


def test_training_luck_is_that_of_the_kept_studies():
    """The spread between seeds of the log ratio to scratch, over thousands of test crystals."""
    variances: dict[int, list[float]] = {}
    for file in sorted(RESULTS.glob("*/*/curve.csv")):
        for n, part in pd.read_csv(file).groupby("labels_asked"):
            errors = part.pivot_table(index="seed", columns="arm", values="mae")
            if "scratch" in errors and len(errors) >= 3:
                logs = np.log(errors.drop(columns="scratch").div(errors["scratch"], axis=0))
                variances.setdefault(int(n), []).extend(logs.var(ddof=1))
    for n in (50, 100, 250, 1000):
        assumed = np.sqrt((TRAINING_LUCK + RUN_LUCK) / np.sqrt(n))
        assert assumed == pytest.approx(np.sqrt(np.median(variances[n])), rel=0.25)


@pytest.mark.parametrize("n", SIZES)
def test_a_part_of_the_simulation_again(n):
    """250 of the kept studies of each size: the rule holds its level, and leaving luck out does not."""
    found = trials(Making(n), 250, seed=11)
    low, high = binom.interval(0.99, 250, 0.05)
    assert low / 250 <= wrong_share(found["calibrated"]) <= high / 250
    assert wrong_share(found["crystals alone"]) > wrong_share(found["calibrated"])
    told = smallest_told(found["calibrated"], 0.8)
    assert told == pytest.approx(detectable_difference(n), abs=0.05)
    assert told_share(found["calibrated"], told) == pytest.approx(0.8, abs=0.01)


def test_the_kept_simulation_says_what_the_rule_claims():
    table = pd.read_csv(KEPT / "levels.csv")
    low, high = (edge / 500 for edge in binom.interval(0.95, 500, 0.05))
    usual = table[(table["rule"] == "calibrated") & (table["kind"] == "usual")]
    assert tuple(usual["crystals"]) == SIZES
    assert usual["wrong"].between(low, high).all() and usual["in_band"].all()
    corrected = table[(table["rule"] == "corrected resampled t") & (table["kind"] == "usual")]
    assert (corrected["wrong_of_all"] < usual["wrong_of_all"].to_numpy()).all()
    power = pd.read_csv(KEPT / "power.csv")
    for row in power[power["rule"] == "calibrated"].itertuples():
        assert row.told_by_80 == pytest.approx(detectable_difference(row.crystals), abs=0.01)
        assert row.told_by_50 == pytest.approx(detectable_difference(row.crystals, power=0.5), abs=0.01)


def test_the_kept_numbers_are_made_again():
    """The first line of the kept table, with the studies and the seed that its command used."""
    kept = pd.read_csv(KEPT / "levels.csv").iloc[0]
    found = trials(Making(int(kept["crystals"])), 500, seed=0)
    assert next(iter(RULES)) == kept["rule"]
    assert wrong_share(found["calibrated"]) == pytest.approx(kept["wrong"])


def test_more_crystals_tell_smaller_differences():
    told = [detectable_difference(n) for n in SIZES]
    assert told == sorted(told, reverse=True) and 0 < told[-1] < told[0] < 1
    assert detectable_difference(60, power=0.5) < detectable_difference(60)


def test_a_study_has_five_folds_twice():
    assert (FOLDS, REPEATS) == (5, 2)
    assert replace(Making(30), folds=3).repeats == REPEATS
