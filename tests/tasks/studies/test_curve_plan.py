"""A study is checked before anything is computed, and its hashes move with everything that decides a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import data_hash
from matgl_infomax.tasks.studies.arms import named_arms
from matgl_infomax.tasks.studies.curve import CurveRun, file_stamp, plan_curve
from tests.helpers.build import many
from tests.helpers.small_curve import FAST, config, jdft2d, weights


def test_masks_come_from_labelled_training_rows_only(crystals, tmp_path):
    items = [replace(c, labels={} if k % 3 else c.labels) for k, c in enumerate(jdft2d(crystals))]
    study = plan_curve(Crystals(items, targets=["y"]), "y", config(tmp_path, task="jdft2d"))
    assert (study.task, study.unit) == ("matbench_jdft2d", None)  # the unit belongs to another column
    assert set(study.masks) == {(n, seed) for n in (6, 12) for seed in (0, 1)}
    for (n, _), rows in study.masks.items():
        assert len(rows) == n
        assert set(rows) <= set(study.parts.train)
        assert not np.isnan(study.labels[rows]).any()
    assert not np.isnan(study.labels[study.parts.test]).any()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"arms": ["scratch", "finetune"]}, "no such arm. Received: finetune. Known: scratch, finetuned"),
        ({"arms": ["scratch", "scratch"]}, "Received twice: scratch"),
        ({"arms": ["a=x", "a=y"]}, "Received twice: a"),
        ({"arms": ["scratch=folder"]}, "NAME=FOLDER"),
        ({"arms": ["../up=folder"]}, "NAME=FOLDER"),
        ({"arms": ["mine="]}, "NAME=FOLDER"),
        ({"labels": [1, 5]}, "at least 2 labels. Received: 1"),
        ({"labels": [500]}, "Only 64 crystals of the training part have a label. Received: 500"),
        ({"learning_rates": [0.1, -1]}, "above 0. Received: -1"),
        ({"task": "mp_gap"}, "Rows of matbench_mp_gap are found by ids"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(crystals, tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        plan_curve(Crystals(many(crystals, 80)), "y", config(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_an_unknown_target_is_said(crystals, tmp_path):
    with pytest.raises(InputError, match=r"Unknown target. Received: z. Known: y"):
        plan_curve(Crystals(crystals), "z", config(tmp_path))


def test_names_of_own_weights_are_kept():
    assert named_arms(["scratch", "mine-2=a=b"]) == {"scratch": (), "mine-2": (Path("a=b"),)}


def test_run_hash_moves_with_what_decides_the_result_and_with_nothing_else(crystals, tmp_path):
    items, run = Crystals(many(crystals, 80)), CurveRun("scratch", 6, 1)

    def hash_of(crystals=items, **changes):
        return plan_curve(crystals, "y", config(tmp_path, **changes)).run_hash(run)

    known = hash_of()
    same = [{"workers": 2}, {"labels": [6]}, {"seeds": 4}, {"arms": ["scratch"]}, {"cache": tmp_path}, {"data": "x"}]
    assert [hash_of(**change) for change in same] == [known] * len(same)
    other = [
        {"fold": 1},
        {"learning_rates": [0.1]},
        {"finetune": {**FAST, "steps": 5}},
        {"model": {"primitive": False}},
    ]
    hashes = [hash_of(**change) for change in other]
    moved = list(items)
    moved[70] = replace(moved[70], labels={"y": 5.0})
    hashes += [hash_of(Crystals(moved)), known]
    assert len(set(hashes)) == len(hashes)


def test_first_seed_is_the_one_of_the_fine_tuning_settings(crystals, tmp_path):
    items = Crystals(many(crystals, 80))
    later = plan_curve(items, "y", config(tmp_path, finetune={**FAST, "seed": 1}, seeds=1))
    both = plan_curve(items, "y", config(tmp_path))
    assert [run.seed for run in later.runs] == [1] * len(later.runs)
    assert later.run_hash(CurveRun("scratch", 6, 1)) == both.run_hash(CurveRun("scratch", 6, 1))


def test_no_path_of_this_machine_gets_into_a_card(crystals, tmp_path):
    study = plan_curve(Crystals(many(crystals, 80)), "y", config(tmp_path, labels_file=tmp_path / "l.csv"))
    assert str(tmp_path) not in str(study.settings) + str(study.claim())


def test_data_hash_sees_every_part_of_a_crystal(crystals):
    values = np.arange(len(crystals), dtype=float)
    first = crystals[0]
    changed = [
        replace(first, id="other"),
        replace(first, numbers=first.numbers + 1),
        replace(first, lattice=first.lattice * 1.0001),
        replace(first, frac=first.frac + 0.001),
    ]
    hashes = [data_hash(Crystals([one, *crystals[1:]]), values) for one in [first, *changed]]
    hashes.append(data_hash(Crystals(crystals), values + 1))
    assert len(set(hashes)) == len(hashes)
    with_missing = np.where(values == 3, np.nan, values)
    assert data_hash(Crystals(crystals), with_missing) == data_hash(Crystals(crystals), with_missing.copy())


def test_stamp_sees_changed_files(tmp_path):
    assert file_stamp(config(tmp_path, data="nowhere.cif")) == ()
    (tmp_path / "a.cif").write_text("x")
    settings = config(tmp_path, data=str(tmp_path))
    before = file_stamp(settings)
    (tmp_path / "b.cif").write_text("y")
    assert len(before) == 1 and len(file_stamp(settings)) == 2
    labels = config(tmp_path, data=str(tmp_path / "a.cif"), labels_file=tmp_path / "l.csv")
    without = file_stamp(labels)
    (tmp_path / "l.csv").write_text("id,y\n")
    assert file_stamp(labels) != without


def test_several_pretrainings_of_an_arm_are_crossed_with_the_seeds(crystals, tmp_path):
    weights(tmp_path, "first", "second")
    items, one, two = Crystals(many(crystals, 80)), tmp_path / "first", tmp_path / "second"
    study = plan_curve(items, "y", config(tmp_path, arms=["scratch", f"mine={one},{two}"], labels=[6]))
    assert study.arms == {"scratch": (), "mine": (one, two)}
    names = [
        f"{name}-n6-s{seed}{end}" for seed in (0, 1) for name, end in (("scratch", ""), ("mine", ""), ("mine", "-p1"))
    ]
    assert [run.name for run in study.runs] == names
    assert [study.starts[run.start].folder for run in study.runs if run.arm == "mine"] == [one, two, one, two]
    single = plan_curve(items, "y", config(tmp_path, arms=[f"mine={one}"], labels=[6]))
    assert {single.run_hash(run) for run in single.runs} < {study.run_hash(run) for run in study.runs}
    assert len({study.run_hash(run) for run in study.runs}) == len(study.runs)


def test_a_comma_in_the_name_of_a_folder_is_part_of_it(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert named_arms([f"mine={tmp_path}/a,b"]) == {"mine": (tmp_path / "a,b",)}


def test_pretrainings_that_are_one_or_of_another_network_are_refused(crystals, tmp_path):
    weights(tmp_path, "first", "second")
    weights(tmp_path, "other", options={"n_heads": 1})
    copytree(tmp_path / "first", tmp_path / "copy")
    items = Crystals(many(crystals, 80))
    for second, text in [("copy", "holds the same weights"), ("other", "holds another network"), ("first", "twice")]:
        arms = [f"mine={tmp_path / 'first'},{tmp_path / second}"]
        with pytest.raises(InputError, match=text):
            plan_curve(items, "y", config(tmp_path, arms=arms))
    with pytest.raises(InputError, match="NAME=FOLDER,FOLDER"):
        named_arms(["mine=a,,b"])
