"""A study with pretended arms: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax import io, record
from matgl_infomax.data import store
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS
from matgl_infomax.leaderboard.kept import read_kept
from matgl_infomax.leaderboard.report.page import study_answer
from matgl_infomax.leaderboard.report.read import read_study
from matgl_infomax.leaderboard.verdict import Verdict, scope
from matgl_infomax.record import RunCard
from matgl_infomax.tasks.studies import curve, engine
from matgl_infomax.tasks.studies.arms import ARMS, scratch
from matgl_infomax.tasks.studies.curve import learning_curve, plan_curve
from tests.helpers.build import many
from tests.helpers.small_curve import FAST, Pretender, config, jdft2d, weights
from tests.helpers.vouched import assert_vouched

ARM_NAMES = ["scratch", "descriptors"]


@pytest.fixture
def pretend(monkeypatch):
    """Replace the arms by one that answers at once."""

    def install(**options):
        arm = Pretender(**options)
        for name in ARM_NAMES:
            monkeypatch.setitem(ARMS, name, arm)
        return arm

    return install


def study(items, folder, **changes):
    return learning_curve(items, "y", config(folder, **{"arms": ARM_NAMES, **changes}), progress=False)


def test_everything_is_written_and_says_the_same(crystals, tmp_path, pretend):
    pretend()
    result = study(many(crystals, 80), tmp_path)
    out = tmp_path / "out"
    names = {
        "curve.csv",
        "predictions.parquet",
        "kept.parquet",
        "curve.png",
        "curve.svg",
        "cards.jsonl",
        "verdict.json",
    }
    names |= {"summary.md"}
    assert {path.name for path in out.iterdir()} == {*names, SUMS, "run.json", "runs"}
    assert_vouched(out, {name for name in names if not name.startswith("curve.") or name == "curve.csv"})
    assert len(list((out / "runs").iterdir())) == 2 * 8
    pd.testing.assert_frame_equal(pd.read_csv(out / "curve.csv"), result.to_frame())
    pd.testing.assert_frame_equal(pd.read_parquet(out / "predictions.parquet"), result.predictions)
    cards = [RunCard.model_validate_json(line) for line in (out / "cards.jsonl").read_text().splitlines()]
    assert tuple(cards) == result.cards and len(cards) == len(result.frame) == 8
    assert Verdict.model_validate_json((out / "verdict.json").read_text()) == result.verdict
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert result.to_markdown() in (out / "summary.md").read_text()
    assert result.verdict.text in (out / "summary.md").read_text()


def test_the_table_holds_the_errors_of_the_predictions(crystals, tmp_path, pretend):
    pretend()
    result = study(many(crystals, 80), tmp_path)
    error = (result.predictions["prediction"] - result.predictions["target"]).abs()
    mae = error.groupby([result.predictions[name] for name in ("arm", "labels", "seed")]).mean()
    for line in result.frame.itertuples():
        assert line.mae == pytest.approx(mae[line.arm, line.labels_asked, line.seed])
        assert line.labels_asked == line.labels_used


def test_arms_see_the_mask_and_nothing_else(crystals, tmp_path, pretend):
    arm = pretend()
    items = many(crystals, 80)
    study(items, tmp_path)
    plan = plan_curve(Crystals(items), "y", config(tmp_path, arms=ARM_NAMES))
    assert plan.stored.tolist() == plan.asked.tolist()  # no arm is pretrained, so both kinds of arms count the same
    labels = {k: items[row].labels["y"] for k, row in enumerate(plan.stored)}
    assert sorted({len(task.rows) for task in arm.tasks}) == [6, 12]
    for task in arm.tasks:
        assert task.labels.tolist() == [labels[row] for row in task.rows]
        assert not set(task.rows) & set(task.test)
        hidden = [crystal.labels["y"] for crystal in items if crystal.labels["y"] not in set(task.labels)]
        kept = [value for value in vars(task).values() if isinstance(value, np.ndarray) and value.dtype == float]
        assert not np.isin(np.concatenate(kept), hidden).any()
    by_mask = {}
    for task in arm.tasks:
        by_mask.setdefault((len(task.rows), task.seed), set()).add(tuple(task.rows))
    assert all(len(masks) == 1 for masks in by_mask.values()), "all arms get the same labels"


def test_a_second_pretraining_is_added_to_a_finished_study(crystals, tmp_path, pretend, monkeypatch):
    """Its runs are the only new ones, and the interval holds the chance of the pretraining from then on."""
    items, arm = many(crystals, 80), pretend()
    weights(tmp_path, "first", "second")

    def finetuned(task):
        answer = arm(task)
        return replace(answer, prediction=answer.prediction + (0.1 if task.weights.name == "second" else 0.0))

    monkeypatch.setitem(ARMS, "finetuned", finetuned)
    one, two = tmp_path / "first", tmp_path / "second"
    first = study(items, tmp_path, arms=["scratch", f"mine={one}"])
    assert first.verdict.pretrainings == 1 and "pretraining" not in first.frame
    done = len(arm.tasks)
    both = study(items, tmp_path, arms=["scratch", f"mine={one},{two}"])
    assert len(arm.tasks) == done + 4, "two numbers of labels, two seeds"
    out = tmp_path / "out"
    assert both.verdict.pretrainings == 2 and scope(both.verdict) in (out / "summary.md").read_text()
    assert both.frame.groupby("arm")["pretraining"].agg(list).to_dict() == {"scratch": [0] * 4, "mine": [0, 1] * 4}
    pd.testing.assert_frame_equal(pd.read_csv(out / "curve.csv"), both.frame)
    assert [card.initial.pretraining for card in both.cards] == both.frame["pretraining"].tolist()
    mine = both.predictions.query("arm == 'mine'").groupby("pretraining")["prediction"].mean()
    assert mine[1] - mine[0] == pytest.approx(0.1)
    assert read_study(out, "study").verdict == both.verdict
    again = read_kept(out / "kept.parquet").verdict()
    assert again.points[0].ratio_high == pytest.approx(both.verdict.points[0].ratio_high, rel=1e-5)


@pytest.mark.parametrize("keep", ["errors", "nothing"])
def test_what_is_kept_for_others_is_chosen(crystals, tmp_path, pretend, keep):
    pretend()
    result = study(many(crystals, 80), tmp_path, keep=keep)
    file = tmp_path / "out" / "kept.parquet"
    if keep == "nothing":
        assert not file.exists()
        return
    assert "target" not in pd.read_parquet(file)
    again = read_kept(file).verdict()
    assert again.others[0].ratio_low == pytest.approx(result.verdict.others[0].ratio_low, rel=1e-5)


def test_a_stopped_study_goes_on_where_it_was(crystals, tmp_path, pretend):
    items = many(crystals, 80)
    first = pretend(fail_at=4)
    with pytest.raises(KeyboardInterrupt):
        study(items, tmp_path)
    out = tmp_path / "out"
    assert len(list((out / "runs").glob("*.json"))) == 3
    assert not (out / "curve.csv").exists() and not (out / "verdict.json").exists()
    second = pretend()
    resumed = study(items, tmp_path)
    assert len(first.tasks) == 4 and len(second.tasks) == 8 - 3
    third = pretend()
    again = study(items, tmp_path)
    assert not third.tasks
    assert again.cards == resumed.cards
    whole = study(items, tmp_path / "other")
    pd.testing.assert_frame_equal(whole.predictions, resumed.predictions)
    assert whole.verdict == resumed.verdict


@pytest.mark.parametrize("last", ["cards.jsonl", "curve.csv", "verdict.json"])
def test_a_study_killed_before_its_hashes_is_refused_until_it_goes_on(crystals, tmp_path, pretend, monkeypatch, last):
    """Results of the longer study lie beside hashes of the shorter one; the same command heals the folder."""
    items, out = many(crystals, 80), tmp_path / "out"
    pretend()
    study(items, tmp_path, seeds=1)

    def killed_behind(path, content):
        write(path, content)
        if Path(path) == out / last:
            raise KeyboardInterrupt

    write = io.atomic_write
    with monkeypatch.context() as patched:
        for module in (curve, engine, record):
            patched.setattr(module, "atomic_write", killed_behind)
        with pytest.raises(KeyboardInterrupt):
            study(items, tmp_path, seeds=2)
    with pytest.raises(InputError, match=r"is not the file that was written.*run the command that made it again"):
        read_study(out, "out")
    arm = pretend()
    study(items, tmp_path, seeds=2)
    assert not arm.tasks, "every run was finished"
    assert len(read_study(out, "out").cards) == 8


def test_a_study_can_be_extended(crystals, tmp_path, pretend):
    items = many(crystals, 80)
    pretend()
    study(items, tmp_path, labels=[6], seeds=1, arms=["scratch"])
    arm = pretend()
    wider = study(items, tmp_path, workers=1)
    assert len(arm.tasks) == len(wider.frame) - 1 == 7


def test_a_finished_study_is_found_whatever_the_number_of_processes(crystals, tmp_path, pretend):
    """How many processes share a training decides nothing: the folder is this study's, and no run is repeated."""
    items = many(crystals, 80)
    pretend()
    first = study(items, tmp_path)
    for changes in ({"finetune": {**FAST, "processes": 2}}, {"pretrain": {**FAST, "processes": 2, "probe_every": 1}}):
        arm = pretend()
        again = study(items, tmp_path, **changes)
        assert not arm.tasks and again.cards == first.cards


def test_a_study_of_an_earlier_version_counts_though_it_noted_its_processes(crystals, tmp_path, pretend):
    """Folders and cards written when the number of processes was hashed as it was given."""
    items = many(crystals, 80)
    pretend()
    study(items, tmp_path)
    claim = json.loads((tmp_path / "out" / "run.json").read_text())
    claim["finetune"]["processes"] = 2
    (tmp_path / "out" / "run.json").write_text(json.dumps(claim))
    plan = plan_curve(Crystals(items), "y", config(tmp_path, arms=ARM_NAMES))
    for run in plan.runs:
        file = plan.files(run).card
        card = json.loads(file.read_text())
        card["settings"]["finetune"]["processes"] = 2
        card["hashes"]["run"] = plan.run_hash(run, card["settings"])
        assert card["hashes"]["run"] != plan.run_hash(run)
        file.write_text(json.dumps(card))
    for processes in (1, 2, 3):
        arm = pretend()
        study(items, tmp_path, finetune={**FAST, "processes": processes})
        assert not arm.tasks
    card["settings"]["finetune"]["steps"] = 5
    file.write_text(json.dumps(card))
    arm = pretend()
    study(items, tmp_path)
    assert len(arm.tasks) == 1, "a card of other settings does not count, whatever its hash says"


@pytest.mark.parametrize("damage", ["predictions gone", "predictions changed", "card gone"])
def test_runs_with_damaged_files_are_repeated(crystals, tmp_path, pretend, damage):
    items = many(crystals, 80)
    pretend()
    before = study(items, tmp_path)
    name = tmp_path / "out" / "runs" / "scratch-n6-s0"
    if damage == "predictions gone":
        name.with_suffix(".parquet").unlink()
    elif damage == "card gone":
        name.with_suffix(".json").unlink()
    else:
        other = name.with_name("scratch-n6-s1").with_suffix(".parquet")
        name.with_suffix(".parquet").write_bytes(other.read_bytes())
    arm = pretend()
    after = study(items, tmp_path)
    assert len(arm.tasks) == 1
    pd.testing.assert_frame_equal(after.predictions, before.predictions)


def test_a_broken_card_is_said(crystals, tmp_path, pretend):
    items = many(crystals, 80)
    pretend()
    study(items, tmp_path)
    (tmp_path / "out" / "runs" / "scratch-n6-s0.json").write_text("{")
    with pytest.raises(InputError, match="no valid run card"):
        study(items, tmp_path)


def other_label(items):
    return [replace(items[0], labels={"y": 1e3}), *items[1:]]


@pytest.mark.parametrize(
    ("change", "settings", "text"),
    [
        (other_label, {}, "holds another run: its crystals and labels is"),
        (lambda items: items[:-1], {}, "its crystals and labels is"),
        (list, {"finetune": {**FAST, "steps": 5}}, "its finetune.steps is 4, this one's is 5"),
        (list, {"fold": 1}, "its fold is 0, this one's is 1"),
    ],
    ids=["label", "crystals", "steps", "fold"],
)
def test_another_study_in_the_same_folder_is_refused(crystals, tmp_path, pretend, change, settings, text):
    items = many(crystals, 80)
    pretend()
    study(items, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=text):
        study(change(items), tmp_path, **settings)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_data_that_change_meanwhile_stop_the_study(crystals, tmp_path, monkeypatch):
    data = tmp_path / "data.csv.cif"
    data.write_text("as it was")

    class Meddler(Pretender):
        def __call__(self, task):
            if len(self.tasks) == 2:
                data.write_text("as it is now")
            return super().__call__(task)

    meddler = Meddler()
    monkeypatch.setitem(ARMS, "scratch", meddler)
    with pytest.raises(InputError, match=r"data\.csv\.cif changed while the study was running"):
        study(many(crystals, 80), tmp_path, arms=["scratch"], data=str(data))
    assert len(meddler.tasks) == 3
    assert not (tmp_path / "out" / "curve.csv").exists()


def test_a_full_disk_is_said_and_leaves_no_half_run(crystals, tmp_path, pretend, monkeypatch):
    pretend()
    real = os.replace

    def full(source, target):
        if str(target).endswith("scratch-n6-s1.parquet"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"scratch-n6-s1.parquet: No space left on device"):
        study(many(crystals, 80), tmp_path)
    assert not list((tmp_path / "out").rglob(".*"))
    assert not list((tmp_path / "out" / "runs").glob("scratch-n6-s1*"))


def test_a_folder_that_cannot_be_made_is_said(crystals, tmp_path, pretend):
    pretend()
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="Choose another one"):
        study(many(crystals, 80), tmp_path)


def test_predictions_that_are_no_numbers_are_said(crystals, tmp_path, monkeypatch):
    class Diverged(Pretender):
        def __call__(self, task):
            return replace(super().__call__(task), prediction=np.full(len(task.test), np.nan))

    monkeypatch.setitem(ARMS, "scratch", Diverged())
    with pytest.raises(InputError, match=r"scratch-n6-s0 predicts no finite number .* diverged"):
        study(many(crystals, 80), tmp_path, arms=["scratch"])
    assert not list((tmp_path / "out" / "runs").glob("*"))


def test_a_matbench_task_brings_its_unit_and_its_fold(crystals, tmp_path, pretend):
    pretend()
    items = [replace(c, labels={"exfoliation_en": c.labels["y"]}) for c in jdft2d(crystals)]
    settings = config(tmp_path, arms=ARM_NAMES, task="jdft2d")
    result = learning_curve(items, "exfoliation_en", settings, progress=False)
    assert set(result.frame["task"]) == {"matbench_jdft2d"}
    assert result.verdict.unit == "meV/atom" and "(meV/atom)" in result.to_markdown()


def test_options_may_be_given_one_by_one(crystals, tmp_path, pretend):
    pretend()
    options = {"out": tmp_path / "out", "cache": tmp_path, "labels": [6], "seeds": 1, "folds": 1,
               "arms": ["descriptors"]}  # fmt: skip
    result = learning_curve(many(crystals, 80), "y", progress=False, **options)
    assert len(result.frame) == 1
    assert result.verdict.answer == "cannot tell"
    with pytest.raises(InputError, match="Unknown option 'lables'"):
        learning_curve(crystals, "y", out=tmp_path, lables=[6])
    with pytest.raises(InputError, match="not both"):
        learning_curve(crystals, "y", config(tmp_path), labels=[6])


def die(study, run):
    """A run whose process is killed, as by the system when memory runs out."""
    os._exit(1)


def test_a_killed_worker_is_said(crystals, tmp_path, pretend, monkeypatch):
    pretend()
    monkeypatch.setattr(engine, "complete", die)
    with pytest.raises(InputError, match=r"worker process ended abruptly.*fewer --workers. Received: 2"):
        study(many(crystals, 80), tmp_path, workers=2)


def linger(study, run):
    """The first run is quick, all others take longer than any test may."""
    if run.labels > 6:
        time.sleep(500)
    return run


def test_stopping_ends_the_workers_and_their_drafts(crystals, tmp_path, monkeypatch):
    settings = config(tmp_path, arms=["descriptors"], seeds=1, workers=2)
    asked = plan_curve(Crystals(many(crystals, 80)), "y", settings)
    draft = tmp_path / "out" / "runs" / ".descriptors-n12-s0.json.0123abcd"
    draft.parent.mkdir(parents=True)
    draft.write_text("half")

    calls = []

    def stop():
        calls.append(len(multiprocessing.active_children()))
        if len(calls) == 2:  # after the first run
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "complete", linger)
    with pytest.raises(KeyboardInterrupt):
        engine.carry_out_all(asked, check=stop, progress=False)
    assert calls == [0, 2] and not multiprocessing.active_children()
    assert not draft.exists()


def test_workers_give_the_same_results(crystals, tmp_path):
    items = many(crystals, 80)
    alone = study(items, tmp_path, arms=["descriptors"], seeds=1)
    together = study(items, tmp_path / "other", arms=["descriptors"], seeds=1, workers=2)
    pd.testing.assert_frame_equal(alone.predictions, together.predictions)
    assert json.loads((tmp_path / "other" / "out" / "run.json").read_text())["kind"] == "curve"


@pytest.mark.parametrize("kind", ["series", "table", "mapping", "folder"])
def test_a_study_takes_what_users_hold(kind, crystals, tmp_path, pretend):
    """Another container with the same crystals and labels makes the same study: same errors and same hash of data."""
    pretend()
    items = many(crystals, 80)
    labels = {item.id: item.labels["y"] for item in items}
    structures = pd.Series([item.to_structure() for item in items], index=list(labels))
    if kind == "folder":
        (tmp_path / "data").mkdir()
        for name, structure in structures.items():
            (tmp_path / "data" / f"{name}.json").write_text(structure.to_json())
    source, target = {
        "series": lambda: (structures, pd.Series(labels, name="y").iloc[::-1]),
        "table": lambda: (pd.DataFrame({"relaxed": structures, "y": labels}), "y"),
        "mapping": lambda: (dict(structures), {"y": list(labels.values())}),
        "folder": lambda: (tmp_path / "data", {"y": labels}),
    }[kind]()
    given = {"labels": [6, 12], "seeds": 2, "folds": 1, "arms": ARM_NAMES, "cache": tmp_path / "cache"}
    found = learning_curve(source, target, given, out=tmp_path / "there", model={"supercell_atoms": 12}, progress=False)
    in_order = sorted(items, key=lambda item: item.id) if kind == "folder" else items
    wanted = study(in_order, tmp_path, pretrain={}, finetune={})
    pd.testing.assert_frame_equal(found.frame.drop(columns="seconds"), wanted.frame.drop(columns="seconds"))
    assert {card.hashes.data for card in found.cards} == {card.hashes.data for card in wanted.cards}


def test_a_study_tells_of_itself_in_a_notebook(crystals, tmp_path, pretend):
    pretend()
    result = study(many(crystals, 80), tmp_path)
    text, page = repr(result), result._repr_html_()
    mae = result.frame[result.frame["labels_asked"] == 6].groupby("arm")["mae"].mean()["scratch"]
    for part in (result.verdict.text, "Error with 6 labels", f"scratch {mae:.4g}", "result.summary()"):
        assert part in text
    assert "<table>" in page and "Learning curve of y" in page


def test_unknown_fields_of_a_study_get_a_sentence(crystals, tmp_path):
    for given, options in (({"labls": [6]}, {}), (None, {"labls": [6]})):
        with pytest.raises(InputError, match=r"Unknown option 'labls'.*Did you mean 'labels'"):
            learning_curve(many(crystals, 80), "y", given, out=tmp_path / "out", **options)
    with pytest.raises(InputError, match=r"^Option out is required\.$"):
        learning_curve(many(crystals, 80), "y")
    with pytest.raises(InputError, match=r"config takes CurveConfig or a dictionary of its fields\. Received: int"):
        learning_curve(many(crystals, 80), "y", 5)


def test_a_dead_network_is_a_failed_run_in_card_table_summary_and_verdict(crystals, tmp_path, pretend, monkeypatch):
    """One element; at this rate the network from scratch collapses in every seed, and so it does at half of it."""
    pretend()
    monkeypatch.setitem(ARMS, "scratch", scratch)
    tuned = {"steps": 100, "batch_sites": 40, "learning_rate": 3.0}
    result = study(many(crystals[:1], 40), tmp_path, arms=["scratch", "descriptors"], labels=[12], finetune=tuned)
    cards = {card.arm: card for card in result.cards}
    assert cards["scratch"].training.model_dump() == {"learning_rate": 3.0 / 2**3, "retries": 3, "dead": True}
    assert cards["descriptors"].training is None and not cards["descriptors"].dead
    errors = result.frame.set_index("arm")["mae"]
    assert errors["scratch"].isna().all() and errors["descriptors"].notna().all()
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "| failed |" in summary and "Runs with a dead network have failed and are left out" in summary
    assert "scratch at 12 labels: dead networks in 2 of 2 seeds" in summary
    assert not result.verdict.others and result.verdict.failed
    assert read_kept(tmp_path / "out" / "kept.parquet").verdict() == result.verdict
    report = read_study(tmp_path / "out", "one element")
    assert report.verdict == result.verdict
    assert "dead networks in 2 of 2 seeds" in study_answer(report).text + " ".join(study_answer(report).lines)


def test_a_network_that_lives_at_half_the_rate_counts_and_is_said(crystals, tmp_path, monkeypatch):
    how = {"learning_rate": 0.5e-3, "retries": 1, "dead": False}

    class Revived(Pretender):
        def __call__(self, task):
            return replace(super().__call__(task), training=how)

    monkeypatch.setitem(ARMS, "scratch", Revived())
    result = study(many(crystals, 80), tmp_path, arms=["scratch"], labels=[6], seeds=1)
    assert result.frame["mae"].notna().all()
    said = "Dead at first, trained again at a lower learning rate: scratch at 6 labels, seed 0, at 0.0005."
    assert said in (tmp_path / "out" / "summary.md").read_text()


def test_a_limited_test_part_is_said_and_is_another_study(crystals, tmp_path, pretend):
    items = many(crystals, 80)
    arm = pretend()
    result = study(items, tmp_path, test_limit=5)
    assert {len(task.test) for task in arm.tasks} == {5}
    assert result.verdict.test_crystals == 5 and {card.n_test for card in result.cards} == {5}
    assert {card.settings["test_limit"] for card in result.cards} == {5}
    assert (
        "--test-limit 5: tested on 5 of 16 crystals of the test part" in (tmp_path / "out" / "summary.md").read_text()
    )
    with pytest.raises(InputError, match="test_limit is 5, this one's is 6"):
        study(items, tmp_path, test_limit=6)
    whole = study(items, tmp_path / "whole")
    assert set(result.predictions["id"]) < set(whole.predictions["id"])
    assert "test_limit" not in whole.cards[0].settings, "hashes of studies without a limit stay as they were"


def test_only_crystals_that_are_used_are_prepared(crystals, tmp_path, pretend, monkeypatch):
    """Twelve labels and sixteen test crystals of eighty: neither networks nor descriptors see the others."""
    arm, stores, tables = pretend(), [], []
    real_store, real_table = store.build_store, curve.described
    monkeypatch.setattr(store, "build_store", lambda c, *a, **k: stores.append(c.ids) or real_store(c, *a, **k))
    monkeypatch.setattr(curve, "described", lambda n, c, *a, **k: tables.append(c.ids) or real_table(n, c, *a, **k))
    items = many(crystals, 80)
    result = study(items, tmp_path, seeds=1)
    plan = plan_curve(Crystals(items), "y", config(tmp_path, arms=ARM_NAMES, seeds=1))
    used = sorted({*plan.masks[12, 0].tolist(), *plan.parts.test.tolist()})
    assert len(used) == 12 + 16
    assert stores == tables == [[items[row].id for row in used]]
    assert {len(task.store) for task in arm.tasks if task.store is not None} == {28}
    for task in arm.tasks:
        rows = [used[row] for row in task.test]
        assert [items[row].id for row in rows] == list(dict.fromkeys(result.predictions["id"]))
    learning = plan_curve(Crystals(items), "y", config(tmp_path, arms=["scratch", "finetuned"], seeds=1))
    assert learning.stored.tolist() == list(range(80)), "pretraining reads the whole training part"
    assert len(replace(learning, parts=replace(learning.parts, test=learning.parts.test[:3])).stored) == 64 + 3


def resampled(items, folder, **changes):
    settings = {"folds": 4, "labels": [6, 12], "group": "none", "arms": ARM_NAMES, **changes}
    return learning_curve(items, "y", config(folder, **settings), progress=False)


def test_every_crystal_is_tested_and_errors_are_pooled(crystals, tmp_path, pretend):
    pretend()
    items = many(crystals, 50)
    result = resampled(items, tmp_path)
    assert len(result.frame) == len(result.cards) == 2 * 2 * 2 * 4
    tested = result.predictions.groupby(["arm", "labels", "seed"])["id"].agg(["count", "nunique"])
    assert (tested == 50).all(axis=None)
    assert (result.verdict.test_crystals, result.verdict.seeds) == (50, 2)
    error = (result.predictions["prediction"] - result.predictions["target"]).abs()
    keys = [result.predictions[name] for name in ("arm", "labels", "seed")]
    pooled = result.pooled.set_index(["arm", "labels_asked", "seed"])["mae"]
    for key, mae in error.groupby(keys).mean().items():
        assert pooled[key] == pytest.approx(mae)
    assert any("can tell differences in error above" in note for note in result.notes)
    assert (tmp_path / "out" / "runs" / "scratch-n6-s1-f3.json").is_file()
    again = read_kept(tmp_path / "out" / "kept.parquet").verdict()
    for mine, kept in zip(result.verdict.choice.rivals, again.choice.rivals, strict=True):
        assert (kept.ratio_low, kept.ratio_high) == pytest.approx((mine.ratio_low, mine.ratio_high), rel=1e-5)
    read_study(tmp_path / "out", "small")  # refuses a number that its cards do not say


def test_arms_of_a_fold_see_its_mask_and_nothing_else(crystals, tmp_path, pretend):
    arm = pretend()
    items = many(crystals, 50)
    resampled(items, tmp_path)
    labels = {k: crystal.labels["y"] for k, crystal in enumerate(items)}
    for task in arm.tasks:
        assert task.labels.tolist() == [labels[row] for row in task.rows]
        assert not set(task.rows) & set(task.test)
    assert len({task.seed for task in arm.tasks}) == 8, "each fold of each repeat has initial weights of its own"


def test_no_label_of_a_test_part_reaches_its_predictions(crystals, tmp_path):
    """Labels of one fold are replaced; what real arms predict for that fold stays the same, bit for bit."""
    items = many(crystals, 30)
    arms = ["scratch", "finetuned", "untrained", "descriptors"]
    before = resampled(items, tmp_path, arms=arms, labels=[8], seeds=1, folds=2)
    plan = plan_curve(Crystals(items), "y", config(tmp_path, folds=2, labels=[8], seeds=1, group="none", arms=arms))
    test = set(plan.resampling.parts[0, 0].test.tolist())
    changed = [replace(c, labels={"y": -99.0 - k}) if k in test else c for k, c in enumerate(items)]
    after = resampled(changed, tmp_path / "other", arms=arms, labels=[8], seeds=1, folds=2)
    one, other = (
        result.predictions.query("fold == 0").set_index(["arm", "id"])["prediction"] for result in (before, after)
    )
    assert len(one) == len(arms) * len(test)
    pd.testing.assert_series_equal(one, other)
    two, another = (
        result.predictions.query("fold == 1").set_index(["arm", "id"])["prediction"] for result in (before, after)
    )
    assert not np.allclose(two, another), "the other fold has learnt from them"


def test_a_resampled_study_goes_on_where_it_was_and_can_be_extended(crystals, tmp_path, pretend):
    items = many(crystals, 50)
    pretend(fail_at=6)
    with pytest.raises(KeyboardInterrupt):
        resampled(items, tmp_path)
    second = pretend()
    result = resampled(items, tmp_path)
    assert len(second.tasks) == 32 - 5
    third = pretend()
    wider = resampled(items, tmp_path, seeds=3)
    assert len(third.tasks) == 16 and len(wider.frame) == 48
    pd.testing.assert_frame_equal(
        wider.predictions[wider.predictions["seed"] < 2].reset_index(drop=True), result.predictions
    )
    with pytest.raises(InputError, match=r"its resampling.folds is 4, this one's is 5"):
        resampled(items, tmp_path, folds=5)
    with pytest.raises(InputError, match=r"its resampling.group is none, this one's is formula"):
        resampled(items, tmp_path, group="formula")


def test_before_anything_is_computed_the_power_is_said(crystals, tmp_path, pretend, capsys):
    pretend(fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        learning_curve(
            many(crystals, 50), "y", config(tmp_path, folds=None, labels=[], arms=["scratch"]), progress=True
        )
    said = capsys.readouterr().err
    assert "With 50 labels (12 independent tests) this study can tell differences in error above about" in said
    assert "share their formula" in said and "Numbers of labels: " in said


def test_a_unit_labels_the_results_and_changes_none(crystals, tmp_path, pretend):
    arm = pretend()
    items = many(crystals, 80)
    without = study(items, tmp_path)
    done = len(arm.tasks)
    given = study(items, tmp_path, unit="eV")
    assert len(arm.tasks) == done, "no run may be made again for a unit"
    pd.testing.assert_frame_equal(without.predictions, given.predictions)
    assert [card.hashes for card in given.cards] == [card.hashes for card in without.cards]
    # Runs that were made before have the unit too: a report refuses cards of two units.
    assert {card.unit for card in without.cards} == {None} and {card.unit for card in given.cards} == {"eV"}
    assert read_study(tmp_path / "out", "study").verdict.unit == "eV"
    assert "Mean absolute error (eV)" in (tmp_path / "out" / "summary.md").read_text()
