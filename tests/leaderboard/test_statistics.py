"""The interval of a paired comparison: closed forms, and how often it is wrong when nothing is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from matgl_infomax.leaderboard.statistics import MOST_SEEDS, Comparison, compare, sufficient_seeds


def two_arms(rng, n_seeds, n_crystals, seed_effect=0.1, gain=1.0):
    """Errors of two arms that differ by a factor on average, with chance from crystals, seeds and both together."""
    hard = rng.gamma(2, 1, size=n_crystals)  # crystals that are hard for both

    def arm():
        own = np.exp(0.3 * rng.normal(size=n_crystals) + seed_effect * rng.normal(size=(n_seeds, 1)))
        return np.abs(hard + 0.5 * rng.normal(size=(n_seeds, n_crystals))) * own

    return gain * arm(), arm()


def test_a_constant_ratio_is_found_exactly():
    baseline = np.random.default_rng(0).gamma(2, 1, size=(4, 50))
    found = compare(0.9 * baseline, baseline)
    assert found.ratio == pytest.approx(0.9)
    assert (found.ratio_low, found.ratio_high) == pytest.approx((0.9, 0.9))
    assert found.better and not found.worse
    assert found.difference == pytest.approx(-0.1 * baseline.mean())
    assert found.mae == pytest.approx(0.9 * found.baseline_mae)


def test_one_seed_gives_the_standard_error_over_crystals():
    rng = np.random.default_rng(1)
    errors, baseline = rng.gamma(2, 1, size=(2, 1, 2000))
    found = compare(errors, baseline, draws=8000)
    difference = (errors - baseline)[0]
    half = 1.96 * difference.std(ddof=1) / np.sqrt(2000)
    assert found.n_seeds == 1
    assert found.difference_high - found.difference == pytest.approx(half, rel=0.06)
    assert found.difference - found.difference_low == pytest.approx(half, rel=0.06)


@pytest.mark.parametrize("n_seeds", [2, 3, 8])
def test_alike_crystals_give_student_t_over_seeds(n_seeds):
    by_seed = 1 + 0.1 * np.random.default_rng(2).normal(size=n_seeds)
    errors, baseline = np.repeat(by_seed[:, None], 5, axis=1), np.ones((n_seeds, 5))
    found = compare(errors, baseline, draws=20000)
    half = stats.t.ppf(0.975, n_seeds - 1) * by_seed.std(ddof=1) / np.sqrt(n_seeds)
    assert found.difference_high - found.difference == pytest.approx(half, rel=0.12)
    assert np.log(found.ratio_high / found.ratio) == pytest.approx(half / by_seed.mean(), rel=0.12)


# One seed cannot speak of other seeds, so there is nothing to promise where those differ.
@pytest.mark.parametrize(("n_seeds", "seed_effect"), [(1, 0.0), (2, 0.1), (3, 0.0), (3, 0.1), (6, 0.0), (6, 0.1)])
def test_arms_that_do_not_differ_are_seldom_told_apart(n_seeds, seed_effect):
    repeats = 200
    wrong = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([3, repeat])
        found = compare(*two_arms(rng, n_seeds, 100, seed_effect), draws=400, seed=repeat)
        wrong += found.better or found.worse
    # 5 % are promised; more than this would come up once in ten thousand times
    assert wrong <= stats.binom.ppf(0.9999, repeats, 0.05)


def test_a_real_gain_is_found_and_the_truth_is_covered():
    covered = better = 0
    for repeat in range(60):
        rng = np.random.default_rng([4, repeat])
        found = compare(*two_arms(rng, 5, 400, 0.03, gain=0.8), draws=400)
        better += found.better
        covered += found.ratio_low < 0.8 < found.ratio_high
    assert better >= 57
    assert covered >= stats.binom.ppf(0.0001, 60, 0.95)


def test_the_other_way_round_is_the_inverse():
    errors, baseline = two_arms(np.random.default_rng(5), 4, 200)
    one, other = compare(errors, baseline, draws=20000), compare(baseline, errors, draws=20000)
    assert one.ratio * other.ratio == pytest.approx(1)
    assert one.ratio_low * other.ratio_high == pytest.approx(1, rel=0.02)
    assert one.difference_low + other.difference_high == pytest.approx(0, abs=0.02)


def test_the_same_seed_gives_the_same_interval():
    arms = two_arms(np.random.default_rng(6), 3, 50)
    assert compare(*arms, seed=1) == compare(*arms, seed=1) != compare(*arms, seed=2)


def test_blocks_of_draws_change_nothing(monkeypatch):
    arms = two_arms(np.random.default_rng(7), 3, 50)
    whole = compare(*arms)
    monkeypatch.setattr("matgl_infomax.leaderboard.statistics._NUMBERS_AT_ONCE", 170)
    assert compare(*arms) == whole


@pytest.mark.parametrize(("errors", "baseline"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_perfect_arms_give_finite_numbers(errors, baseline):
    found = compare(np.full((2, 3), errors), np.full((2, 3), baseline))
    assert np.isfinite([found.ratio, found.ratio_low, found.ratio_high, found.difference]).all()
    assert (found.better, found.worse) == (errors < baseline, errors > baseline)


@pytest.mark.parametrize(
    ("errors", "baseline"),
    [
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones((2, 0)), np.ones((2, 0))),
        (np.full((2, 3), np.nan), np.ones((2, 3))),
        (np.ones((2, 3)), -np.ones((2, 3))),
    ],
    ids=["other seeds", "no crystals", "missing", "negative"],
)
def test_unpaired_or_missing_errors_are_refused(errors, baseline):
    with pytest.raises(ValueError, match="errors"):
        compare(errors, baseline)


@pytest.mark.parametrize("pretrainings", [2, 3, 6])
def test_alike_seeds_and_crystals_give_student_t_over_pretrainings(pretrainings):
    by_pretraining = 1 + 0.05 * np.random.default_rng(8).normal(size=pretrainings)
    errors = np.broadcast_to(by_pretraining[:, None, None], (pretrainings, 4, 5))
    found = compare(errors, np.ones((4, 5)), draws=20000)
    half = stats.t.ppf(0.975, pretrainings - 1) * by_pretraining.std(ddof=1) / np.sqrt(pretrainings)
    assert found.pretrainings == pretrainings and found.n_seeds == 4
    assert found.mae == pytest.approx(by_pretraining.mean())
    assert found.difference_high - found.difference == pytest.approx(half, rel=0.15)


def test_one_pretraining_given_as_several_of_one_changes_nothing():
    errors, baseline = two_arms(np.random.default_rng(9), 4, 50)
    assert compare(errors[None], baseline) == compare(errors, baseline)
    with pytest.raises(ValueError, match="same seeds and crystals"):
        compare(np.stack([errors, errors])[:, :3], baseline)


def study_of_pretrainings(rng, pretrainings, n_seeds, spread):
    """Errors of an arm and its baseline that do not differ on average; ``spread`` is that between pretrainings."""
    hard = rng.gamma(2, 1, size=60)
    own = 0.03 * rng.normal(size=60)

    def seeds(size):
        return 0.02 * rng.normal(size=(n_seeds, size))

    both = 0.015 * rng.normal(size=(pretrainings, n_seeds, 1))
    arm = spread * rng.normal(size=(pretrainings, 1, 1)) + seeds(1) + both + own
    return hard * np.exp(arm), hard * np.exp(seeds(1) - own)


def false_findings(pretrainings, n_seeds, spread, repeats=400):
    """How often one of the arms of ``study_of_pretrainings`` is called better or worse."""
    wrong = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([10, repeat])
        found = compare(*study_of_pretrainings(rng, pretrainings, n_seeds, spread), draws=400, seed=repeat)
        wrong += found.better or found.worse
    return wrong


@pytest.mark.parametrize("n_seeds", [3, 5, 8])
@pytest.mark.parametrize("pretrainings", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_chance_of_the_pretraining_finds_nothing_where_nothing_is(pretrainings, n_seeds, spread):
    # 5 % are promised; more than this would come up once in ten thousand times
    assert false_findings(pretrainings, n_seeds, spread) <= stats.binom.ppf(0.9999, 400, 0.05)


def test_with_one_pretraining_its_chance_is_not_in_the_interval():
    """Why reports have to say so: at a spread of 2 % between pretrainings far more than 5 % are found."""
    assert false_findings(1, 5, 0.02) > stats.binom.ppf(0.9999, 400, 0.05)


def test_a_real_gain_is_found_with_three_pretrainings():
    better = 0
    for repeat in range(60):
        errors, baseline = study_of_pretrainings(np.random.default_rng([11, repeat]), 3, 5, 0.02)
        better += compare(0.8 * errors, baseline, draws=400).better
    assert better >= 57


def test_pretrainings_of_the_baseline_count_too():
    errors, baseline = study_of_pretrainings(np.random.default_rng(12), 3, 5, 0.02)
    one, other = compare(errors, baseline, draws=20000), compare(baseline, errors, draws=20000)
    assert one.ratio_low * other.ratio_high == pytest.approx(1, rel=0.03)
    assert (one.pretrainings, other.pretrainings) == (3, 1)


@given(
    st.integers(1, 6), st.integers(1, 40), st.floats(0, 1), st.floats(0.3, 3), st.integers(0, 10**6),
    st.sampled_from([0.5, 0.95]),
)  # fmt: skip
def test_the_interval_of_the_ratio_and_that_of_the_difference_never_contradict(n_seeds, n, spread, gain, seed, level):
    rng = np.random.default_rng(seed)
    # Heavy tails: a crystal that is hard for one arm alone moves the difference far more than the ratio.
    errors, baseline = np.exp(spread * rng.standard_t(2, size=(2, n_seeds, 1))) * rng.pareto(1.5, size=(2, n_seeds, n))
    found = compare(gain * errors, baseline, draws=200, level=level, seed=seed)
    assert (found.ratio_low > 1, found.ratio_high < 1) == (found.difference_low > 0, found.difference_high < 0)
    assert np.isfinite([found.ratio_low, found.ratio_high, found.difference_low, found.difference_high]).all()


def test_a_found_pair_of_intervals_that_contradicted():
    """Three seeds, ratio worse beyond doubt, difference anything: one seed is bad for both arms alike."""
    baseline = np.array([[1.0], [1.1], [9.0]]) * np.random.default_rng(8).gamma(2, 1, size=(1, 300))
    found = compare(baseline * np.array([[1.25], [1.24], [1.26]]), baseline)
    assert found.worse and found.difference_low > 0


def example(ratio, crystal_error, seed_error, n_seeds):
    """A comparison of which only these numbers matter, its interval by the same formula."""
    t = stats.t.ppf(0.975, n_seeds - 1) if n_seeds > 1 else 0.0
    half = np.hypot(1.959964 * crystal_error, t * seed_error)
    low, high = ratio * np.exp(-half), ratio * np.exp(half)
    errors = {"crystal_error": crystal_error, "seed_error": seed_error}
    return Comparison(ratio, 1.0, ratio - 1, low - 1, high - 1, ratio, low, high, n_seeds, 100, **errors)


@pytest.mark.parametrize(
    ("ratio", "crystal_error", "seed_error", "n_seeds", "wanted"),
    [
        # ln(1 / 0.65) = 0.431; three seeds: 4.303 x 0.12 = 0.516, five: 2.776 x 0.12 x sqrt(3 / 5) = 0.258,
        # four: 3.182 x 0.12 x sqrt(3 / 4) = 0.331
        (0.65, 0.0, 0.12, 3, 4),
        # with crystals: four: hypot(1.96 x 0.15, 0.331) = 0.443 > 0.431, five: hypot(0.294, 0.258) = 0.391
        (0.65, 0.15, 0.12, 3, 5),
        (1 / 0.65, 0.15, 0.12, 3, 5),
        (0.97, 0.0, 0.02, 3, None),  # so near to 1 that it does not matter
        (0.65, 0.3, 0.12, 3, None),  # 1.96 x 0.3 = 0.588: the crystals alone leave it open
        (0.65, 0.0, 0.33, 3, 10),  # nine: 2.306 x 0.33 x sqrt(3 / 9) = 0.439, ten: 2.262 x 0.33 x sqrt(3 / 10) = 0.409
        (0.65, 0.0, 0.35, 3, None),  # ten: 0.434; eleven, 2.228 x 0.35 x sqrt(3 / 11) = 0.407, are not asked for
        (0.65, 0.0, 0.5, 3, None),  # ten seeds: 2.262 x 0.5 x sqrt(3 / 10) = 0.62
        (0.65, 0.0, 0.05, 3, None),  # 4.303 x 0.05 = 0.215: told apart already
        (0.65, 0.3, 0.0, 1, None),  # one seed has no spread to go by
        (0.65, 0.3, 0.0, 3, None),  # nor has a study of folds, whose interval is not made of a spread over seeds
    ],
)
def test_how_many_seeds_would_suffice(ratio, crystal_error, seed_error, n_seeds, wanted):
    assert sufficient_seeds(example(ratio, crystal_error, seed_error, n_seeds), 0.05) == wanted


def test_seeds_without_a_spread_need_no_more_of_them():
    """Crystals that leave it just open, 1.96 x 0.21 = 0.412 < 0.431, with an interval that was drawn a little wider."""
    found = replace(example(0.65, 0.21, 0.0, 3), ratio_high=1.001)
    assert not found.better and sufficient_seeds(found, 0.05) is None
    assert sufficient_seeds(replace(found, seed_error=0.01), 0.05) == 4


def test_seeds_do_not_help_where_the_pretrainings_leave_it_open():
    """t(1) = 12.71 on a spread of 5 % between two pretrainings is 0.64, more than ln(1 / 0.65) = 0.43."""
    seeds = np.array([[0.9], [1.0], [1.1]])  # (S, 1)
    errors = 0.65 * np.array([0.95, 1.05])[:, None, None] * seeds * np.ones(20)  # (P, S, M)
    found = compare(errors, np.ones((3, 20)))
    assert found.pretraining_half == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert not found.better and sufficient_seeds(found, 0.05) is None
    alike = compare(0.65 * np.array([1.0, 1.0])[:, None, None] * (seeds * 2 - 1) * np.ones(20), np.ones((3, 20)))
    assert alike.pretraining_half == 0 and sufficient_seeds(alike, 0.05) is not None


def test_the_forecast_holds_when_ratio_and_spread_stay():
    """Seeds of the same mean and spread: with as many as forecast the interval leaves 1 out, with fewer it does not."""
    ratios, crystals = np.array([0.95, 0.65, 0.5]), np.ones((1, 50))
    found = compare(ratios[:, None] * crystals, np.ones((3, 50)), draws=20000)
    wanted = sufficient_seeds(found, 0.05)
    assert found.ratio_high > 1 and 3 < wanted <= MOST_SEEDS
    for n, better in ((wanted - 1, False), (wanted, True)):
        regular = stats.zscore(np.linspace(-1, 1, n), ddof=1) * ratios.std(ddof=1) + ratios.mean()
        again = compare(regular[:, None] * crystals, np.ones((n, 50)), draws=20000)
        assert again.better is better


def test_sources_of_chance_that_are_not_given_are_none():
    """t(3) x 0.12 x sqrt(3/4) = 0.331 lies below ln(1 / 0.65) = 0.431, so a fourth seed is enough."""
    plain = Comparison(0.65, 1.0, -0.35, -0.7, 0.1, 0.65, 0.4, 1.1, 3, 100, seed_error=0.12)
    assert plain.pretrainings == 1 and plain.crystal_error == plain.pretraining_half == 0
    assert sufficient_seeds(plain, 0.05) == 4
    assert Comparison(0.65, 1.0, -0.35, -0.7, 0.1, 0.65, 0.4, 1.1, 3, 100).seed_error == 0
