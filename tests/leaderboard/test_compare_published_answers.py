"""Answers brought together: classes cut at one half, seeds of ours in the interval, pairs with the same seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from matgl_infomax.leaderboard.compare_published import gather_answers
from matgl_infomax.leaderboard.published import checked_entry, find_predictions, official_folds, read_targets
from matgl_infomax.leaderboard.results import OwnAnswer
from matgl_infomax.tasks.matbench.task import load_task
from tests.helpers import invented
from tests.helpers.finished import invented_truth

CLASSES = load_task("matbench_expt_is_metal")
NUMBERS = invented.task()


def own(task, truth, prediction, name="ours", seeds=(), seed_errors=None):
    fold = official_folds(task)
    columns = {"id": fold.index, "fold": fold.to_numpy(), "target": truth, "prediction": np.asarray(prediction)}
    table = pd.DataFrame(columns).assign(std=np.nan)
    errors = np.empty((0, 5)) if seed_errors is None else np.asarray(seed_errors, dtype=float)
    return OwnAnswer(name, Path("."), "benchmark", task, "scratch", "megnet", None, table, tuple(seeds), errors,
                     None, ())  # fmt: skip


@pytest.fixture(scope="module")
def classes():
    """Probabilities, the same cut at one half, and a poorer answer."""
    rng, truth = np.random.default_rng(0), invented_truth(CLASSES)
    soft = np.clip(0.25 + 0.5 * truth + rng.normal(0, 0.3, len(truth)), 0, 1)
    poor = np.clip(0.4 + 0.2 * truth + rng.normal(0, 0.3, len(truth)), 0, 1)
    entries = {"hard": (soft > 0.5).astype(float), "poor": poor}
    return gather_answers([own(CLASSES, truth, soft)], entries, draws=1000), truth, poor


def test_classes_are_compared_by_balanced_accuracy_of_both_folds_and_classes(classes):
    answers, truth, poor = classes
    fold = official_folds(CLASSES).to_numpy()
    wanted = [balanced_accuracy_score(truth[fold == k] > 0.5, poor[fold == k] > 0.5) for k in range(5)]
    assert answers.scores[2] == pytest.approx(wanted)
    assert 1 - answers.resampled.means[2] == pytest.approx(np.mean(wanted))
    assert answers.fold_errors(2) == pytest.approx(1 - np.array(wanted))


def test_probabilities_win_nothing_over_their_own_classes(classes):
    answers, *_ = classes
    same, better = answers.difference(0, 1), answers.difference(0, 2)
    assert same.difference == 0 and same.p == 1 and same.p_sign == 1 and np.isnan(same.closer)
    assert better.difference < 0 and better.p < 0.001 and better.p_sign < 0.001 and np.isnan(better.p_wilcoxon)


def test_seeds_widen_the_interval_by_students_t():
    truth = invented_truth(NUMBERS)
    prediction = truth + np.random.default_rng(1).normal(0, 30, len(truth))
    seed_errors = 24 + np.array([[0.0], [1.0], [2.5]]) + np.zeros((3, 5))
    answer = own(NUMBERS, truth, prediction, seeds=(0, 1, 2), seed_errors=seed_errors)
    answers = gather_answers([answer], {"exact": truth, "same": prediction}, draws=20000)
    pair = answers.difference(0, 2)  # the same predictions: only the seeds are left to chance
    half = stats.t.ppf(0.975, 10) * np.std([0, 1, 2.5], ddof=1) / np.sqrt(3)
    assert pair.difference == 0 and pair.low_materials == pair.high_materials == 0
    assert (pair.low, pair.high) == pytest.approx((-half, half), rel=0.05)
    assert answers.difference(0, 1).low < answers.difference(0, 1).low_materials


def test_answers_with_the_same_seeds_are_compared_seed_by_seed():
    """Seeds that are alike hard for both arms do not widen the interval of their difference."""
    truth, rng = invented_truth(NUMBERS), np.random.default_rng(2)
    luck = 24 + rng.normal(0, 3, (3, 5))
    one, other = (
        own(NUMBERS, truth, truth + rng.normal(0, scale, len(truth)), name, (0, 1, 2), luck + shift)
        for name, scale, shift in (("one", 30, 0.0), ("other", 31, 0.7))
    )
    paired = gather_answers([one, other], {}, draws=2000).difference(0, 1)
    assert (paired.low, paired.high) == pytest.approx((paired.low_materials, paired.high_materials))
    stranger = own(NUMBERS, truth, other.table["prediction"], "other", (3, 4, 5), luck)
    apart = gather_answers([one, stranger], {}, draws=2000).difference(0, 1)
    assert apart.high - apart.low > 1.2 * (paired.high - paired.low)


def test_fold_scores_alone_give_the_weaker_test():
    truth = invented_truth(NUMBERS)
    answers = gather_answers([own(NUMBERS, truth, truth + 10)], {}, draws=100)
    pair = answers.fold_difference(0, "silent", np.array([11.0, 12.0, 11.5, 10.5, 12.5]))
    assert pair.way == "per fold" and pair.difference == pytest.approx(-1.5) and pair.folds_won == 5
    t = -1.5 / np.sqrt((1 / 5 + 1 / 4) * np.var([1, 2, 1.5, 0.5, 2.5], ddof=1))
    assert pair.p == pytest.approx(2 * stats.t.cdf(t, 4))


@pytest.mark.parametrize(
    ("name", "other", "low", "high", "closer"),
    [("jdft2d", "automatminer_expressv2020", -7.7, 0.54, 0.55), ("phonons", "alignn", -3.02, 1.58, 0.54),
     ("dielectric", "automatminer_expressv2020", -0.030, 0.033, 0.70)],
)  # fmt: skip
def test_the_leader_among_published_files_is_tied_as_an_independent_count_found(shared, name, other, low, high, closer):
    """coNGN against the next one; the intervals were found before with other code, over materials without folds."""
    task, folder = load_task(f"matbench_{name}"), shared / "leaderboard"
    files, truth = find_predictions(folder, task), read_targets(folder, task)
    leader, next_one = (checked_entry(files[entry], entry, task, truth)["prediction"] for entry in ("coNGN", other))
    pair = gather_answers([own(task, truth.to_numpy(), leader)], {"next": next_one.to_numpy()}, draws=2000).difference(
        0, 1
    )
    width = high - low
    assert (pair.low, pair.high) == pytest.approx((low, high), abs=0.08 * width)
    assert pair.p > 0.05 and pair.closer == pytest.approx(closer, abs=0.01)
