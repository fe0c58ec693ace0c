"""A benchmark is checked before anything is computed; learning rates are chosen within the mask."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import load_card
from matgl_infomax.tasks.studies.arms import ARMS
from matgl_infomax.tasks.studies.benchmark_grid import BenchmarkRun, TriedRate, plan_benchmark, settle_benchmark
from tests.helpers.small_benchmark import Pretender, classes, config, numbers, run
from tests.helpers.small_curve import FAST


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"folds": [0, 5]}, "numbered 0 to 4. Received: 5"),
        ({"folds": [1, 1]}, "asked for once. Received: 1 1"),
        ({"learning_rates": [0.1, -1]}, "above 0 and differ. Received: 0.1 -1"),
        ({"learning_rates": [0.1, 0.1]}, "above 0 and differ"),
        ({"init": "x", "arm": "scratch"}, "--init gives the weights of the arms finetuned and frozen"),
        ({"arm": "corpus"}, "give --corpus"),
        ({"arm": "transferred"}, "give --source"),
        ({"corpus": "x"}, "--corpus is for the arm corpus or corpus_frozen. Received: --arm scratch"),
        ({"corpus_size": 10, "arm": "frozen"}, "--corpus-size is for the arm corpus"),
        ({"source": "x", "arm": "finetuned"}, "--source is for the arm transferred"),
        ({"source_target": "x"}, "--source-target is for the arm transferred"),
        ({"arm": "frozen", "seeds": 2}, "every seed gives the same answer.*Received: --seeds 2"),
        ({"finetune": {"task": "classification"}}, "matbench_jdft2d asks for numbers"),
        ({"finetune": {"loss": "bce"}}, "no loss for regression"),
    ],
)
def test_mistakes_are_said_before_data_are_read(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        settle_benchmark(config(tmp_path, **changes), load_card("jdft2d"))


@pytest.mark.parametrize(
    ("changes", "arm"),
    [
        ({}, "scratch"),
        ({"init": "x"}, "finetuned"),
        ({"init": "x", "arm": "frozen"}, "frozen"),
        ({"arm": "untrained"}, "untrained"),
    ],
)
def test_the_arm_is_filled_in(tmp_path, changes, arm):
    settings = settle_benchmark(config(tmp_path, **changes), load_card("mp_is_metal"))
    assert (settings.arm, settings.task, settings.finetune.task) == (arm, "matbench_mp_is_metal", "classification")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("asked", "share"), [(None, 0.1), (0.2, 0.2), (0.0, 0.0)])
def test_labels_are_held_out_whatever_the_seeds_for_more_can_follow(tmp_path, seeds, asked, share):
    settings = settle_benchmark(
        config(tmp_path, seeds=seeds, finetune={**FAST, "validation_fraction": asked}), load_card("jdft2d")
    )
    assert settings.finetune.validation_fraction == share


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": 65}, "Only 64 crystals of the training part have a label. Received: 65"),
        ({"labels": 2}, "2 are too few to hold any out"),
        ({"labels": 40, "seeds": 2}, "at least 10; 0.2 of 40 labels is less. Raise --finetune.validation-fraction"),
    ],
)
def test_too_few_labels_are_said_before_anything_is_written(crystals, tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        run(numbers(crystals), tmp_path, **changes)
    assert not (tmp_path / "out").exists()


def test_hashes_move_with_what_decides_a_result_and_with_nothing_else(crystals, tmp_path):
    task, items = numbers(crystals)

    def hash_of(**changes):
        settings = settle_benchmark(config(tmp_path, **changes), task.card)
        return plan_benchmark(task, items, settings).run_hash(BenchmarkRun(1, settings.finetune.seed))

    known = hash_of()
    same = [
        {"workers": 2},
        {"folds": [1]},
        {"seeds": 3},
        {"cache": tmp_path},
        {"data_dir": tmp_path},
        {"out": tmp_path},
    ]
    same += [{"finetune": {**config(tmp_path).finetune.model_dump(), "processes": 2}}, {"task": "matbench_jdft2d"}]
    same += [{"pretrain": {**config(tmp_path).pretrain.model_dump(), "probe_every": 1}}]
    assert [hash_of(**change) for change in same] == [known] * len(same)
    other = [{"labels": 30}, {"arm": "untrained"}, {"model": {"primitive": False}}, {"learning_rates": [0.1]}]
    other += [{"finetune": {**FAST, "steps": 5}}, {"finetune": {**FAST, "seed": 1}}]
    hashes = [known, *(hash_of(**change) for change in other)]
    assert len(set(hashes)) == len(hashes)


@pytest.fixture
def scratch(monkeypatch):
    """Replace the arm by one that pretends."""

    def install(**options):
        arm = Pretender(**options)
        monkeypatch.setitem(ARMS, "scratch", arm)
        return arm

    return install


def test_each_fold_takes_its_best_learning_rate(crystals, tmp_path, scratch):
    arm = scratch(diverges=(1.0,))
    result = run(numbers(crystals), tmp_path, learning_rates=[0.1, 0.001, 1.0], seeds=2)
    assert len(arm.trials) == 15 and len(arm.tasks) == 25
    assert {given.learning_rates for given in arm.tasks[15:]} == {(0.001,)}, "each rate moves the answer further away"
    for card in result.cards:
        errors = {tried.learning_rate: tried.mae for tried in card.tried}
        assert errors[1.0] is None, "the training diverged, and the others went on"
        assert min((e, rate) for rate, e in errors.items() if e is not None)[1] == 0.001
        assert card.cost.choosing_seconds > 0
    assert "Learning rates chosen on held-out labels: 0.001 (fold 0)" in result.to_text()


def test_without_a_choice_nothing_is_searched(crystals, tmp_path, scratch):
    for rates, used in (([], 0.0), ([0.5], 0.5)):  # 0: the fit takes the one of its start
        arm = scratch()
        result = run(numbers(crystals), tmp_path / str(used), learning_rates=rates, folds=[2])
        assert [given.learning_rates for given in arm.tasks] == [(used,)]
        assert result.cards[0].tried == [] and result.cards[0].cost.choosing_seconds is None


def test_a_training_that_always_diverges_is_said(crystals, tmp_path, scratch):
    scratch(diverges=(0.1, 0.2))
    with pytest.raises(InputError, match="Fold 0: the training diverged with every learning rate"):
        run(numbers(crystals), tmp_path, learning_rates=[0.1, 0.2], folds=[0])
    with pytest.raises(InputError, match=r"fold_0-seed_0 predicts no finite number .* diverged"):
        run(numbers(crystals), tmp_path / "one", learning_rates=[0.1], folds=[0])
    assert not list((tmp_path / "one" / "out" / "folds").glob("*"))


def test_a_damaged_trial_is_said(crystals, tmp_path, scratch):
    scratch(fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        run(numbers(crystals), tmp_path, folds=[0])
    file = tmp_path / "out" / "rates" / "fold_0-rate_0.001.json"
    assert TriedRate.model_validate_json(file.read_bytes()).error > 0
    file.write_text("{")
    with pytest.raises(InputError, match=r"fold_0-rate_0.001.json is damaged. Delete it"):
        run(numbers(crystals), tmp_path, folds=[0])


def test_an_arm_that_gives_no_probabilities_is_a_bug(crystals, tmp_path, scratch, monkeypatch):
    arm = scratch()
    monkeypatch.setitem(ARMS, "scratch", lambda task: type(arm(task))(np.full(len(task.test), 1.5)))
    with pytest.raises(ValueError, match="gave no probabilities"):
        run(classes(crystals), tmp_path, task="mp_is_metal", learning_rates=[0.1], folds=[0])
