"""Yes, no, cannot tell: each for its reason, and with an alternative where there is a better one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from matgl_infomax.leaderboard.resampled import best_to_use, compare_resampled
from matgl_infomax.leaderboard.verdict import Verdict, findings, judge, pooled_runs, scope

COUNTS = (50, 100, 250)


def study(factors, n_seeds=4, noise=0.05, **others):
    """Errors of a scratch arm that follow a power law, and arms that are a factor better or worse at each count."""
    rng = np.random.default_rng(0)
    arms = {"scratch": (1.0,) * len(COUNTS), "finetuned": factors, **others}
    return {
        (arm, n): factor * n**-0.5 * rng.gamma(2, 1, size=400) * (1 + noise * rng.normal(size=(n_seeds, 1)))
        for arm, each in arms.items()
        for n, factor in zip(COUNTS, each, strict=True)
    }


def verdict_of(errors, **options):
    return judge(errors, target="gap", draws=400, **options)


@pytest.mark.parametrize(
    ("factors", "answer", "text"),
    [
        ((0.6, 0.6, 0.6), "yes", "Yes, pretraining helps: it lowers the error at 3 of 3 label counts"),
        ((0.6, 0.6, 1.0), "yes", "at 2 of 3 label counts"),
        ((0.6, 0.6, 1.7), "cannot tell", "better at 2, worse at 1 and not clearly different at 0 of 3 label counts"),
        ((0.6, 1.0, 1.0), "cannot tell", "better at 1, worse at 0 and not clearly different at 2 of 3 label counts"),
        ((1.0, 1.0, 1.7), "no", "raises the error at 1 of 3 label counts, most at 250 labels"),
        ((1.0, 1.0, 1.0), "cannot tell", "no clear difference at any of 3 label counts"),
    ],
)
def test_the_rule(factors, answer, text):
    found = verdict_of(study(factors))
    assert found.answer == answer
    assert text in found.text
    assert [point.labels for point in found.points] == list(COUNTS)


def test_no_gain_worth_having_is_a_no():
    crystals = np.random.default_rng(1).gamma(2, 1, size=500)
    scratch = crystals * np.ones((3, 1))
    finetuned = crystals * np.array([[0.995], [1.0], [1.005]])
    found = verdict_of({(arm, n): e for n in (5, 9) for arm, e in (("scratch", scratch), ("finetuned", finetuned))})
    assert {point.finding for point in found.points} == {"open"}
    assert found.answer == "no"
    assert "a gain of 5% is ruled out" in found.text


def test_one_seed_cannot_tell():
    found = verdict_of(study((0.5, 0.5, 0.5), n_seeds=1))
    assert found.answer == "cannot tell"
    assert "one seed" in found.text


@pytest.mark.parametrize(
    ("arms", "text"),
    [
        (["scratch"], "lacks a pretrained arm"),
        (["finetuned"], "lacks the arm scratch"),
        (["descriptors"], "lacks a pre"),
    ],
)
def test_a_study_without_both_arms_cannot_tell(arms, text):
    errors = {(arm, 50): np.ones((3, 4)) for arm in arms}
    found = verdict_of(errors)
    assert found.answer == "cannot tell"
    assert text in found.text
    assert not found.points and not found.savings


def test_saving_is_told_for_every_count():
    found = verdict_of(study((0.8, 0.8, 0.3), noise=0.01), unit="eV")
    assert [saving.labels for saving in found.savings] == list(COUNTS)
    assert found.savings[0].equals == pytest.approx(50 / 0.8**2, rel=0.2)
    assert "finetuned at 50 labels equals scratch at about" in found.savings[0].sentence
    assert found.savings[2].equals is None and "equals > 250" in found.savings[2].sentence
    assert "eV; ratio" in found.points[0].sentence


@pytest.mark.parametrize(
    ("arm", "text"),
    [("descriptors", "Use the descriptors instead"), ("untrained", "untrained encoder"), ("frozen", "frozen encoder")],
)
def test_what_beats_both_is_advised(arm, text):
    found = verdict_of(study((0.8, 0.8, 0.8), **{arm: (0.4, 0.4, 1.0)}))
    assert text in found.advice[0] and found.advice[0].endswith("at 50, 100 labels.")
    assert found.text.endswith(found.advice[0])
    assert found.answer == "yes"  # the question was about pretraining, and its answer stays


def test_what_beats_one_of_them_is_not_advised():
    assert not verdict_of(study((0.5, 0.5, 0.5), descriptors=(0.75, 0.75, 0.75))).advice


def test_own_weights_are_judged_where_nothing_else_is():
    errors = study((0.6, 0.6, 0.6))
    renamed = {("mine" if arm == "finetuned" else arm, n): error for (arm, n), error in errors.items()}
    assert verdict_of(renamed).arm == "mine"
    assert verdict_of({**errors, **renamed}).arm == "finetuned"
    assert {pair.against for pair in verdict_of({**errors, **renamed}).others} == {"scratch", "finetuned"}


def test_json_comes_back_and_unknown_keys_are_refused():
    found = verdict_of(study((0.6, 0.6, 0.6)))
    assert Verdict.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValidationError):
        Verdict.model_validate({**json.loads(found.model_dump_json()), "extra": 1})


def test_nothing_to_judge_is_refused():
    with pytest.raises(ValueError, match="at least one arm"):
        judge({}, target="gap")


@pytest.mark.parametrize(
    ("better", "worse", "counts", "answer"),
    [(1, 0, 2, "cannot tell"), (2, 0, 4, "cannot tell"), (3, 0, 4, "yes"), (2, 0, 3, "yes"), (0, 1, 2, "no")],
)
def test_half_of_the_label_counts_is_not_more_than_half(better, worse, counts, answer):
    """The rule says "more than half": at exactly half the answer is not yes."""
    factors = [0.5] * better + [2.0] * worse + [1.0] * (counts - better - worse)
    rng = np.random.default_rng(3)
    errors = {}
    for k, factor in enumerate(factors):
        crystals = rng.gamma(2, 1, size=300)
        for arm, own in (("scratch", 1.0), ("finetuned", factor)):
            errors[arm, 10 * (k + 1)] = own * crystals * (1 + 0.2 * rng.normal(size=(6, 1)))
    found = verdict_of(errors)
    assert [point.finding for point in found.points].count("better") == better, "the made-up study is what it says"
    assert found.answer == answer


def test_the_verdict_says_how_many_pretrainings_its_intervals_cover():
    errors = study((0.6, 0.6, 0.6))
    one = verdict_of(errors)
    assert one.pretrainings == 1 and "hold for one pretraining of finetuned only" in scope(one)
    several = {key: np.stack([e, 1.02 * e, 0.98 * e]) if key[0] == "finetuned" else e for key, e in errors.items()}
    three = verdict_of(several)
    assert (three.answer, three.pretrainings, three.seeds, three.test_crystals) == ("yes", 3, 4, 400)
    assert "other pretrainings of finetuned (3 were made)" in scope(three)
    assert all(point.pretrainings == 3 for point in three.points)
    for wide, narrow in zip(three.points, one.points, strict=True):
        assert wide.ratio_high - wide.ratio_low > narrow.ratio_high - narrow.ratio_low
    assert any(scope(three) in line for line in findings(three))
    assert scope(verdict_of({key: e for key, e in errors.items() if key[0] == "scratch"})) == ""


def test_verdicts_of_before_are_of_one_pretraining():
    known = json.loads(verdict_of(study((0.6, 0.6, 0.6))).model_dump_json())
    for part in (known, *known["points"]):
        del part["pretrainings"]
    assert Verdict.model_validate(known).pretrainings == 1


def scattered(n_seeds, gain=0.65, spread=0.2):
    """Two arms whose ratio is far from 1 but differs from seed to seed, in a regular way: mean and spread stay."""
    crystals = np.random.default_rng(4).gamma(2, 1, size=400)
    z = np.linspace(-1, 1, n_seeds)
    factor = gain * (1 + spread * z / z.std(ddof=1))[:, None]
    return {("finetuned", 100): factor * crystals, ("scratch", 100): np.ones((n_seeds, 1)) * crystals}


def test_too_few_seeds_are_said_with_the_number_that_suffices():
    """Three seeds: t(2) = 4.30 on a spread of 20 % cannot see a gain of 35 %, four can (t(3) = 3.18)."""
    found = verdict_of(scattered(3))
    (point,) = found.points
    assert found.answer == "cannot tell" and point.finding == "open"
    assert point.seeds_needed == 4 and "too few seeds to tell; 4 should suffice" in point.sentence
    assert "Cannot tell yet: too few seeds. At 100 labels the error is 35% lower" in found.text
    assert "Add --seeds 4" in found.text and "the study goes on where it is" in found.text
    assert "no clear difference" not in found.text + point.sentence
    again = verdict_of(scattered(point.seeds_needed))
    assert again.answer == "yes" and again.points[0].seeds_needed is None


def test_a_ratio_near_one_asks_for_no_seeds():
    found = verdict_of(scattered(3, gain=0.98, spread=0.05))
    assert found.points[0].seeds_needed is None
    assert "no clear difference" in found.text


def test_dead_networks_are_no_error_to_compare():
    """Scratch collapsed in two of five seeds: with them pretraining seems to help a lot, without them it does not."""
    rng = np.random.default_rng(5)
    crystals = rng.gamma(2, 1, size=400)
    scratch, finetuned = (crystals * (1 + 0.02 * rng.normal(size=(5, 1))) for _ in range(2))
    scratch[[1, 3]] *= 8.0
    errors = {("scratch", 100): scratch, ("finetuned", 100): finetuned}
    dead = {("scratch", 100): np.array([False, True, False, True, False]), ("finetuned", 100): np.zeros(5, dtype=bool)}
    assert verdict_of(errors).points[0].ratio < 0.4
    found = verdict_of(errors, dead=dead)
    (point,) = found.points
    alive = [0, 2, 4]
    assert point.dead == 2
    assert point.mae == pytest.approx(finetuned[alive].mean()) and point.against_mae == pytest.approx(
        scratch[alive].mean()
    )
    assert "2 seeds with a dead network left out" in point.sentence
    assert found.failed == [
        "scratch at 100 labels: dead networks in 2 of 5 seeds. Such a run has failed and gives no error to compare; "
        "these seeds are left out."
    ]
    assert found.failed[0] in found.text
    changed = {**errors, ("scratch", 100): np.where(dead["scratch", 100][:, None], 1e6, scratch)}
    assert verdict_of(changed, dead=dead) == found, "whatever a dead network predicts changes nothing"


def test_too_few_living_pairs_cannot_tell():
    errors = {key: error for key, error in study((0.5, 0.5, 0.5)).items() if key[1] == 50}
    dead = {
        ("scratch", 50): np.array([True, True, False, False]),
        ("finetuned", 50): np.array([False, False, True, False]),
    }
    found = verdict_of(errors, dead=dead)
    assert found.answer == "cannot tell" and not found.points
    assert "too many networks of finetuned or scratch are dead" in found.text
    assert "Too few living pairs of finetuned and scratch at 50 labels" in found.text


def test_label_counts_without_living_pairs_are_undecided():
    """Better at one of three counts, the two others dead: not more than half."""
    all_dead = np.ones(4, dtype=bool)
    found = verdict_of(study((0.5, 0.5, 0.5)), dead={("scratch", 100): all_dead, ("scratch", 250): all_dead})
    assert [point.finding for point in found.points] == ["better"]
    assert found.answer == "cannot tell"


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.5, 2), st.floats(0, 0.5))
def test_no_two_intervals_of_a_verdict_contradict(seed, n_seeds, gain, spread):
    rng = np.random.default_rng(seed)
    errors = {
        (arm, n): factor * rng.pareto(2, size=30) * np.exp(spread * rng.normal(size=(n_seeds, 1)))
        for arm, factor in (("scratch", 1.0), ("finetuned", gain), ("descriptors", 1.2))
        for n in (10, 20)
    }
    found = judge(errors, target="gap", draws=200)
    for pair in [*found.points, *found.others]:
        signs = {(low > neutral) - (high < neutral) for low, high, neutral in (
            (pair.ratio_low, pair.ratio_high, 1.0), (pair.difference_low, pair.difference_high, 0.0))}  # fmt: skip
        assert signs == {{"better": -1, "worse": 1, "open": 0}[pair.finding]}


def paired(mine, theirs, labels):
    """The comparison of a study that tests every crystal."""
    return compare_resampled(mine, theirs, labels=labels, overlap=0.8)


def chosen(factors, n=60):
    """The choice between arms whose errors at 12 and 48 labels are multiples of common ones."""
    rng = np.random.default_rng(3)
    common = rng.exponential(size=(2, n))
    errors = {
        (arm, labels): factor * common * np.exp(0.5 * rng.standard_normal((2, n))) * (60 / labels) ** 0.3
        for arm, factor in factors.items()
        for labels in (12, 48)
    }
    verdict = judge(errors, target="y", pairing=paired)
    return best_to_use(verdict, errors, paired), errors


def test_the_best_arm_at_the_most_labels_is_named():
    verdict, errors = chosen({"scratch": 1.0, "finetuned": 0.8, "descriptors": 0.3})
    choice = verdict.choice
    assert (choice.arm, choice.labels) == ("descriptors", 48)
    assert choice.mae == pytest.approx(errors["descriptors", 48].mean())
    assert {pair.arm: pair.finding for pair in choice.rivals} == {"scratch": "worse", "finetuned": "worse"}
    assert choice.highest_loss == 0 and choice.expected_loss < 0.001
    assert choice.sentence == "Use descriptors: its error with 48 labels is the lowest of 3 arms, and clearly so."
    assert verdict.text.endswith(choice.sentence)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_the_price_of_being_wrong_is_the_mean_of_the_loss():
    """Against a simulation: the log ratio is normal about its value with the spread of its interval."""
    verdict, errors = chosen({"scratch": 1.0, "finetuned": 0.97})
    choice = verdict.choice
    other = choice.against
    found = paired(errors[choice.arm, 48], errors[other, 48], 48)
    spread = np.log(found.ratio_high / found.ratio_low) / (2 * 1.959964)
    drawn = np.exp(np.random.default_rng(0).normal(np.log(found.ratio), spread, 400_000))
    assert choice.expected_loss == pytest.approx(np.maximum(drawn - 1, 0).mean(), rel=0.02)
    assert choice.highest_loss == pytest.approx(found.ratio_high - 1)
    assert (
        f"not clearly below {other}" in choice.sentence and f"{choice.expected_loss:.1%} more error" in choice.sentence
    )


def test_a_single_arm_is_used_for_want_of_others():
    verdict, _ = chosen({"scratch": 1.0})
    assert (verdict.choice.against, verdict.choice.sentence) == (None, "Use scratch: there is no other arm.")


def test_folds_are_pooled_by_their_size():
    cards = [
        {"arm": "scratch", "mask": {"asked": 8}, "seed": seed, "n_test": n, "metrics": {"mae": mae}}
        for seed, n, mae in [(0, 10, 1.0), (0, 30, 2.0), (1, 20, 3.0), (1, 20, 4.0)]
    ]
    assert pooled_runs(cards)["mae"].tolist() == [1.75, 3.5]
