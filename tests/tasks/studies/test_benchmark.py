"""A benchmark with pretended arms: what it writes, what arms get to see, how it goes on, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS, vouch_for
from matgl_infomax.leaderboard import results
from matgl_infomax.leaderboard.results import read_benchmark
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.tasks.matbench.task import mask_hash
from matgl_infomax.tasks.studies import benchmark_grid
from matgl_infomax.tasks.studies.arms import ARMS
from matgl_infomax.tasks.studies.benchmark import benchmark
from matgl_infomax.tasks.studies.starts import Start
from tests.helpers.small_benchmark import ROWS, Pretender, classes, config, numbers, run
from tests.helpers.small_curve import FAST
from tests.helpers.vouched import assert_vouched


@pytest.fixture
def pretend(monkeypatch):
    """Replace all arms by one that answers at once, and what they start from by nothing but a name."""

    def start(arm, request):
        n = len(request.train)
        return Start(request.folder, f"{n:064d}", 2.0, {"crystals": n}) if arm in STARTS else None

    monkeypatch.setattr(benchmark_grid, "start_weights", start)
    monkeypatch.setattr(benchmark_grid, "check_starts", lambda *_: None)

    def install(**options):
        arm = Pretender(**options)
        for name in ARMS:
            monkeypatch.setitem(ARMS, name, arm)
        return arm

    return install


def test_everything_is_written_and_says_the_same(crystals, tmp_path, pretend):
    pretend()
    task, items = asked = numbers(crystals)
    result = run(asked, tmp_path)
    out = tmp_path / "out"
    tables = {"benchmark.json", "predictions.parquet", "cards.jsonl", "scores.csv", "summary.md"}
    assert {path.name for path in out.iterdir()} == {*tables, SUMS, "run.json", "folds", "rates", "held_out"}
    assert_vouched(out, tables)
    assert {path.name for path in (out / "folds").iterdir()} == {
        f"fold_{k}-seed_0.{kind}" for k in range(5) for kind in ("json", "parquet")
    }
    again = read_benchmark(out)
    assert again.spec == result.spec and again.cards == result.cards and again.complete
    pd.testing.assert_frame_equal(again.predictions, result.predictions)
    pd.testing.assert_frame_equal(pd.read_csv(out / "scores.csv"), result.to_frame())
    assert result.to_text() in (out / "summary.md").read_text()
    for k, part in result.predictions.groupby("fold"):
        assert part["id"].tolist() == [items.ids[row] for row in task.fold(k).test]
        assert part["target"].tolist() == items.labels(["y"])[task.fold(k).test, 0].tolist()
        scores = fold_scores("regression", part["target"].to_numpy(), part["prediction"].to_numpy())
        assert result.scores.set_index("fold").loc[k].to_dict() == pytest.approx(scores)
        assert result.cards[k].metrics.mae == pytest.approx(scores["mae"])
    assert result.predictions["std"].isna().all(), "one model has no spread"


def test_arms_see_the_labels_of_their_mask_and_no_others(crystals, tmp_path, pretend):
    arm = pretend()
    task, items = asked = numbers(crystals)
    run(asked, tmp_path, labels=60)
    values = items.labels(["y"])[:, 0]
    for given in arm.tasks:
        assert given.labels.tolist() == values[given.rows].tolist()
        kept = np.concatenate([v for v in vars(given).values() if isinstance(v, np.ndarray) and v.dtype == float])
        assert not np.isin(kept, np.delete(values, given.rows)).any()
    trials, finals = arm.tasks[:10], arm.tasks[10:]
    assert len(finals) == 5
    for number, given in enumerate(trials):
        mask = finals[number // 2].rows.tolist()
        assert (given.rows.tolist(), given.test.tolist()) == (mask[:48], mask[48:]), "a trial stays within the mask"
    plan = benchmark_grid.plan_benchmark(task, items, config(tmp_path, labels=60))
    for k, given in enumerate(finals):
        test, rows = task.fold(k).test.tolist(), given.rows
        assert len(rows) == 60 and set(rows) <= set(task.fold(k).train)
        assert given.test.tolist() == test + rows[plan.held_out(k)].tolist(), "the test part, and what is held out"


@pytest.mark.parametrize("arm", ["scratch", "descriptors"])
def test_labels_of_the_test_fold_and_outside_the_mask_change_no_bit(crystals, tmp_path, arm):
    """With the real arms: whatever is written there, predictions and the choice of the learning rate stay the same."""
    task, items = numbers(crystals)
    settings = {"arm": arm, "folds": [0], "labels": 20, "seeds": 1, "model": {"name": "megnet"}}
    clean = run((task, items), tmp_path / "clean", cache=tmp_path, **settings)
    rows = set(benchmark_grid.plan_benchmark(task, items, config(tmp_path, **settings)).masks[0].tolist())
    wrong = [c if row in rows else replace(c, labels={"y": 1e6}) for row, c in enumerate(items)]
    dirty = run((task, Crystals(wrong)), tmp_path / "dirty", cache=tmp_path, **settings)
    assert (dirty.predictions["target"] == 1e6).all()
    assert dirty.predictions["prediction"].tolist() == clean.predictions["prediction"].tolist()
    assert dirty.cards[0].tried == clean.cards[0].tried
    assert dirty.cards[0].hashes.data != clean.cards[0].hashes.data


def test_every_arm_gets_the_same(crystals, tmp_path, pretend):
    """The same labels, seeds, budget, validation part, and the same search for the learning rate."""
    asked, seen = numbers(crystals), {}
    settings = {"cache": tmp_path, "folds": [0, 3], "labels": 60, "model": {"name": "megnet"}}
    for name in ARMS:
        arm = pretend()
        extra = {"source": "a", "source_target": "b"} if name == "transferred" else {}
        extra = {"corpus": "c"} if STARTS.get(name) == "corpus" else extra
        result = run(asked, tmp_path / name, arm=name, **settings, **extra)
        trained = name in benchmark_grid.TRAINED
        assert bool(arm.trials) == trained, "only networks that are trained have a learning rate"
        seen[name] = [
            (g.rows.tolist(), g.labels.tolist(), g.seed, g.learning_rates, g.split_seed, g.finetune, g.model)
            for g in arm.tasks
        ]
        masks = {(card.fold, card.mask.sha256, card.hashes.folds, card.hashes.data) for card in result.cards}
        assert masks == seen.setdefault("masks", masks)
        assert all((card.initial.facts != {}) == (name in STARTS) for card in result.cards)
        if not trained:
            assert [g.rows.tolist() for g in arm.tasks] == [rows for rows, *_ in seen["scratch"][-2:]]
    assert all(seen[name] == seen["scratch"] for name in benchmark_grid.TRAINED)


def test_masks_hold_as_many_labels_as_asked_for_and_grow(crystals, tmp_path, pretend):
    pretend()
    task, items = asked = numbers(crystals)
    small, large, whole = (run(asked, tmp_path / str(n), cache=tmp_path, labels=n) for n in (10, 30, None))
    assert [card.mask.used for card in (*small.cards, *large.cards, *whole.cards)] == [10] * 5 + [30] * 5 + [64] * 5
    for k in range(5):
        plans = [benchmark_grid.plan_benchmark(task, items, config(tmp_path, labels=n)) for n in (10, 30, None)]
        masks = [plan.masks[k].tolist() for plan in plans]
        assert masks[1][:10] == masks[0] and masks[2][:30] == masks[1]
        assert sorted(masks[2]) == task.fold(k).train.tolist()
        assert small.cards[k].mask.sha256 == mask_hash(items.ids, np.array(masks[0]))


def test_a_stopped_benchmark_goes_on_where_it_was(crystals, tmp_path, pretend):
    asked = numbers(crystals)
    whole = run(asked, tmp_path / "whole") if pretend() else None
    first = pretend(fail_at=13)  # five folds with two learning rates each, then the third of five models
    with pytest.raises(KeyboardInterrupt):
        run(asked, tmp_path)
    out = tmp_path / "out"
    assert len(first.trials) == 10 and len(list((out / "rates").iterdir())) == 10
    assert len(list((out / "folds").glob("*.json"))) == 2
    assert not (out / "predictions.parquet").exists()
    with pytest.raises(InputError, match="no finished benchmark"):
        read_benchmark(out)
    second = pretend()
    resumed = run(asked, tmp_path)
    assert len(second.tasks) == 3 and not second.trials
    pd.testing.assert_frame_equal(resumed.predictions, whole.predictions)
    third = pretend()
    assert run(asked, tmp_path).cards == resumed.cards and not third.tasks


def test_folds_and_seeds_can_be_added(crystals, tmp_path, pretend):
    asked = numbers(crystals)
    pretend()
    part = run(asked, tmp_path, folds=[3, 1])
    assert part.folds == [1, 3] and not part.complete and "still to be done: 0, 2, 4" in part.to_text()
    arm = pretend()
    more = run(asked, tmp_path, folds=[3, 1], seeds=2)
    assert [given.seed for given in arm.tasks] == [1, 1], "first models and learning rates are there already"
    assert more.cards[0] == part.cards[0]
    arm = pretend()
    assert run(asked, tmp_path, seeds=2).complete
    assert len(arm.tasks) == 3 * (2 + 2)
    assert read_benchmark(tmp_path / "out").spec.folds == [0, 1, 2, 3, 4]


def test_finished_folds_can_be_read_while_others_are_added(crystals, tmp_path, pretend):
    asked = numbers(crystals)
    pretend()
    run(asked, tmp_path, folds=[1])
    pretend(fail_at=8)  # after some learning rates of the other folds
    with pytest.raises(KeyboardInterrupt):
        run(asked, tmp_path)
    assert read_benchmark(tmp_path / "out").folds == [1]
    pretend()
    assert run(asked, tmp_path).complete and read_benchmark(tmp_path / "out").complete


@pytest.mark.parametrize("damage", ["predictions gone", "predictions of another", "card gone", "held out gone"])
def test_runs_with_damaged_files_are_repeated(crystals, tmp_path, pretend, damage):
    asked = numbers(crystals)
    pretend()
    before = run(asked, tmp_path, seeds=2)
    name = tmp_path / "out" / "folds" / "fold_2-seed_1"
    if damage == "predictions of another":
        name.with_suffix(".parquet").write_bytes(name.with_name("fold_2-seed_0.parquet").read_bytes())
    elif damage == "held out gone":
        (tmp_path / "out" / "held_out" / "fold_2-seed_1.parquet").unlink()
    else:
        name.with_suffix(".json" if damage == "card gone" else ".parquet").unlink()
    arm = pretend()
    after = run(asked, tmp_path, seeds=2)
    assert [given.seed for given in arm.tasks] == [1]
    pd.testing.assert_frame_equal(after.predictions, before.predictions)


def test_another_benchmark_in_the_same_folder_is_refused(crystals, tmp_path, pretend):
    pretend()
    task, items = asked = numbers(crystals)
    run(asked, tmp_path)
    changes = [{"labels": 20}, {"arm": "descriptors"}, {"finetune": {**FAST, "steps": 5}}, {"learning_rates": [0.1]}]
    for change in changes:
        with pytest.raises(InputError, match="holds another run: its"):
            run(asked, tmp_path, **change)
    moved = Crystals([replace(items[0], labels={"y": 7.0}), *list(items)[1:]])
    with pytest.raises(InputError, match="its crystals and labels is"):
        run((task, moved), tmp_path)


def test_pretraining_on_a_fold_sees_its_training_part_only(crystals, tmp_path, monkeypatch):
    seen = []

    def spy(store, rows, out, settings, model, *, progress):
        seen.append(([store.ids[row] for row in rows], Path(out)))
        raise KeyboardInterrupt

    monkeypatch.setattr("matgl_infomax.train.pretrain.pretrain_encoder", spy)
    task, items = asked = numbers(crystals)
    for k in (0, 4):
        with pytest.raises(KeyboardInterrupt):
            run(asked, tmp_path, arm="frozen", folds=[k])
    for k, (ids, folder) in zip((0, 4), seen, strict=True):
        assert ids == [items.ids[row] for row in task.fold(k).train]
        assert folder == tmp_path / "out" / "starts" / f"fold_{k}" / "pretrained"


def test_a_corpus_is_learnt_from_once_for_all_folds(crystals, tmp_path, pretend, monkeypatch):
    pretend()
    seen = []

    def start(arm, request):
        seen.append(request.folder)
        return Start(request.folder, "c" * 64, 2.0, {"crystals": 70, "removed": 5})

    monkeypatch.setattr(benchmark_grid, "start_weights", start)
    result = run(numbers(crystals), tmp_path, arm="corpus", corpus="somewhere")
    assert seen == [tmp_path / "out" / "starts"]
    assert "fold 0, 1, 2, 3, 4 started from: crystals 70, removed 5" in result.to_text()
    assert {(card.initial.name, card.cost.pretraining_seconds) for card in result.cards} == {("corpus", 2.0)}
    assert "somewhere" not in (tmp_path / "out" / "cards.jsonl").read_text()


def test_no_path_of_this_machine_gets_into_a_card(crystals, tmp_path, pretend):
    pretend()
    run(numbers(crystals), tmp_path, data_dir=tmp_path)
    for name in ("cards.jsonl", "benchmark.json", "run.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()


def test_the_command_reads_the_official_data_first(crystals, tmp_path, pretend, monkeypatch):
    pretend()
    task, items = numbers(crystals)
    given = []
    monkeypatch.setattr("matgl_infomax.tasks.studies.benchmark.load_task", lambda name: given.append(name) or task)
    monkeypatch.setattr(
        "matgl_infomax.tasks.studies.benchmark.task_crystals",
        lambda *places, progress: given.append((places[1:], progress)) or items,
    )
    settings = config(tmp_path, data_dir=tmp_path / "data")
    result = benchmark(settings, progress=False)
    assert result.complete and given == ["jdft2d", ((tmp_path / "data", tmp_path / "cache"), False)]
    plain = {
        name: getattr(settings, name)
        for name in ("task", "out", "cache", "model", "pretrain", "finetune", "learning_rates")
    }
    assert benchmark(progress=False, **plain).complete
    with pytest.raises(InputError, match="not both"):
        benchmark(settings, task="jdft2d")


def test_a_task_of_compositions_is_refused(tmp_path):
    with pytest.raises(InputError, match="no structures"):
        benchmark(task="steels", out=tmp_path / "out", data_dir=tmp_path, progress=False)
    assert not (tmp_path / "out").exists()


def test_classes_are_predicted_as_probabilities(crystals, tmp_path, pretend):
    arm = pretend()
    result = run(classes(crystals), tmp_path, task="mp_is_metal", seeds=3)
    assert {given.finetune.task for given in arm.tasks} == {"classification"}
    assert list(result.scores) == ["fold", "accuracy", "balanced_accuracy", "f1", "rocauc"]
    assert result.predictions["prediction"].between(0, 1).all() and result.predictions["std"].gt(0).all()
    for card in result.cards:
        assert [tried.log_loss for tried in card.tried] == sorted(tried.log_loss for tried in card.tried)
        assert card.tried[0].mae is None and card.metrics.log_loss > 0 and card.hashes.held_out is None
    assert "Matbench computes rocauc from classes" in result.to_text() and "plain spread" in result.to_text()
    assert read_benchmark(tmp_path / "out").cards == result.cards
    assert len(result.predictions) == ROWS


def failing(arm, dead):
    """An arm whose networks are dead for some seeds and test parts: they say 99 for everything."""

    def answer(task):
        found = arm(task)
        how = {"learning_rate": 0.001, "retries": 3, "dead": True}
        if not dead(task):
            return replace(found, training={**how, "retries": 0, "dead": False})
        return replace(found, prediction=np.full(len(task.test), 99.0), training=how)

    return answer


def test_dead_networks_are_left_out_of_a_benchmark_and_said(crystals, tmp_path, pretend, monkeypatch):
    arm = pretend()
    monkeypatch.setitem(ARMS, "scratch", failing(arm, lambda task: task.seed == 1))
    result = run(numbers(crystals), tmp_path, seeds=3, learning_rates=[0.001])
    assert [card.dead for card in result.cards if card.seed == 1] == [True] * 5
    assert (result.predictions["prediction"] < 90).all() and result.predictions["std"].notna().all()
    note = "Dead networks are left out of the predictions: fold 0 seed 1, fold 1 seed 1"
    assert note in (tmp_path / "out" / "summary.md").read_text()
    assert read_benchmark(tmp_path / "out").notes() == result.notes()
    other = result.predictions.assign(prediction=result.predictions["prediction"] + 33)
    other.to_parquet(tmp_path / "out" / "predictions.parquet", index=False)
    results.score_table(other, "regression").to_csv(tmp_path / "out" / "scores.csv", index=False)
    with pytest.raises(InputError, match="is not the file that was written"):
        read_benchmark(tmp_path / "out")
    vouch_for(tmp_path / "out", results.VOUCHED)
    with pytest.raises(InputError, match="not the mean of the runs"):
        read_benchmark(tmp_path / "out")


def test_a_fold_of_dead_networks_has_failed(crystals, tmp_path, pretend, monkeypatch):
    arm = pretend()
    asked = numbers(crystals)
    first = asked[0].fold(2).test[0]
    monkeypatch.setitem(ARMS, "scratch", failing(arm, lambda task: first in task.test))
    result = run(asked, tmp_path, learning_rates=[0.001])
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "Failed: all networks of fold 2 are dead" in text and "| 2 | failed |" in text
    living = result.scores[result.scores["fold"] != 2]["mae"]
    assert f"| mean ± std | {living.mean():.4f} ± {living.std(ddof=0):.4f} |" in text
    assert results.failed_folds(read_benchmark(tmp_path / "out").cards) == [2]


def test_a_learning_rate_at_which_networks_die_just_loses(crystals, tmp_path, pretend, monkeypatch):
    arm = pretend()
    monkeypatch.setitem(ARMS, "scratch", failing(arm, lambda task: task.learning_rates == (0.003,)))
    result = run(numbers(crystals), tmp_path, folds=[0], learning_rates=[0.001, 0.003])
    (card,) = result.cards
    assert [tried.mae is None for tried in card.tried] == [False, True] and not card.dead
