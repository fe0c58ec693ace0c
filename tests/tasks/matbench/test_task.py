"""Tasks know their official folds and ids, and rows are found by their ids."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench import task as matbench
from matgl_infomax.tasks.matbench.task import (
    N_FOLDS,
    Task,
    find_task,
    kfolds,
    load_card,
    load_task,
    name_and_unit,
    official_fold,
    positions,
    split,
)


def test_a_task_has_folds_and_ids():
    task = load_task("jdft2d")
    assert task == load_task("matbench_jdft2d") == Task(load_card("jdft2d"))
    assert (task.ids[0], task.ids[-1], len(task.ids)) == ("mb-jdft2d-001", "mb-jdft2d-636", 636)
    assert task.fold(0).test[:4].tolist() == [11, 13, 26, 30]
    np.testing.assert_array_equal(positions(task.ids, "jdft2d"), np.arange(636))
    with pytest.raises(InputError, match=r"Folds are numbered 0 to 4\. Received: -1"):
        task.fold(-1)


def test_folds_that_another_shuffle_made_are_refused(monkeypatch):
    monkeypatch.setattr(matbench, "kfolds", lambda n_rows: kfolds(n_rows)[::-1])
    with pytest.raises(InputError, match=r"scikit-learn .* makes for matbench_jdft2d are not the official ones"):
        Task(load_card("jdft2d")).fold(0)


@pytest.mark.parametrize(("file", "task"), [("mp_e_form", "mp_e_form"), ("mp_gap", "matbench_mp_gap")])
def test_rows_that_are_present_are_found_by_their_ids(shared, file, task):
    path = shared / "data" / "mp_matched" / f"{file}.parquet"
    table = pd.read_parquet(path, columns=["mbid", "index"])
    np.testing.assert_array_equal(positions(table["mbid"].tolist(), task), table["index"])


def test_split_restricts_the_official_fold_to_the_rows_present():
    rows = np.arange(0, 636, 3)
    ids = [f"mb-jdft2d-{row + 1:03d}" for row in rows]
    labelled = np.arange(len(ids)) % 5 > 0
    official = official_fold(636, 2)
    found = split(ids, labelled, "jdft2d", 2)
    assert set(rows[found.test]) == {row for row, has in zip(rows, labelled, strict=True) if has} & set(official.test)
    assert set(rows[found.train]) == set(rows) & set(official.train)


def test_own_data_tests_a_fifth_of_the_labelled_and_trains_on_all_else():
    labelled = np.arange(100) % 2 == 0
    parts = [split([str(k) for k in range(100)], labelled, None, fold) for fold in range(N_FOLDS)]
    assert [len(part.test) for part in parts] == [10] * N_FOLDS
    np.testing.assert_array_equal(np.sort(np.concatenate([part.test for part in parts])), np.flatnonzero(labelled))
    for part in parts:
        np.testing.assert_array_equal(np.union1d(part.train, part.test), np.arange(100))
        assert not np.intersect1d(part.train, part.test).size


def test_own_data_fully_labelled_is_split_as_matbench_would():
    found, wanted = split([str(k) for k in range(57)], np.ones(57, bool), None, 3), official_fold(57, 3)
    np.testing.assert_array_equal(found.test, wanted.test)
    np.testing.assert_array_equal(found.train, wanted.train)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (lambda: find_task("mp_is_metal"), "regression only at present"),
        (lambda: find_task("mp_egap"), "no such Matbench task. Received: mp_egap. Known: matbench_dielectric"),
        (lambda: official_fold(100, 5), "Folds are numbered 0 to 4. Received: 5"),
        (lambda: official_fold(4, 0), "at least 5 labelled crystals. Received: 4"),
        (lambda: positions(["mp-149"], "mp_gap"), "mb-mp-gap-000001 to 106113. Received 1 other ids, such as mp-149"),
        (lambda: positions(["mb-mp-gap-106114"], "mp_gap"), "such as mb-mp-gap-106114"),
        (lambda: positions(["mb-mp-gap-000000"], "mp_gap"), "such as mb-mp-gap-000000"),
        (lambda: split(["mb-jdft2d-001"], np.ones(1, bool), "jdft2d", 0), "Both are needed"),
    ],
)
def test_mistakes_are_said(action, text):
    with pytest.raises(InputError, match=text):
        action()


def test_a_unit_is_that_of_the_task_or_of_the_user():
    assert name_and_unit(None, "y") == ("own data", None)
    assert name_and_unit(None, "y", "GPa") == ("own data", "GPa")
    name, unit = name_and_unit("mp_gap", "gap pbe")
    assert (name, unit) == ("matbench_mp_gap", "eV") == name_and_unit("mp_gap", "gap pbe", "eV")
    assert name_and_unit("mp_gap", "another column", "K") == ("matbench_mp_gap", "K")
    with pytest.raises(InputError, match=r"matbench_mp_gap are in eV. Received: --unit meV. Leave it out"):
        name_and_unit("mp_gap", "gap pbe", "meV")
