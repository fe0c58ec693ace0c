"""The folds are those of Matbench for all thirteen tasks, by two lists: the shared one and the package's own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import (
    N_FOLDS,
    Split,
    card_names,
    fold_sha256,
    kfolds,
    load_task,
    stratified_folds,
)
from tests.helpers.make_official import official_folds

TASKS = card_names()


@pytest.mark.parametrize("name", TASKS)
def test_folds_are_those_of_matbench(shared, name):
    task = load_task(name)
    wanted = official_folds(shared / "data" / "matbench", name)
    assert fold_sha256(wanted) == task.card.fold_sha256
    for k, want in enumerate(wanted):
        found = task.fold(k)
        assert found.test.dtype == found.train.dtype == np.int64
        np.testing.assert_array_equal(found.test, want.test)
        np.testing.assert_array_equal(found.train, want.train)


@pytest.fixture(scope="module")
def matbench_splits():
    """Matbench's own list, read as a file: importing the package would cost 340 MB and is not needed."""
    found = importlib.util.find_spec("matbench")
    if found is None or found.origin is None:
        pytest.skip("matbench is not installed")
    file = Path(found.origin).parent / "matbench_v0.1_validation.json"
    return json.loads(file.read_text())["splits"]


def test_the_package_knows_no_other_task(matbench_splits):
    assert sorted(matbench_splits) == TASKS


@pytest.mark.parametrize("name", TASKS)
def test_folds_and_ids_are_those_of_the_package(matbench_splits, name):
    task, ids = load_task(name), np.array(load_task(name).ids)
    for k in range(N_FOLDS):
        wanted = matbench_splits[name][f"fold_{k}"]
        assert ids[task.fold(k).test].tolist() == sorted(wanted["test"])
        assert ids[task.fold(k).train].tolist() == sorted(wanted["train"])


@pytest.mark.parametrize("folds", [kfolds(57), stratified_folds(np.arange(57) % 3 == 0)], ids=["plain", "stratified"])
def test_every_row_is_tested_once_and_never_learnt_from_then(folds):
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(57))
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.test])), np.arange(57))
        assert (np.diff(fold.train) > 0).all() and (np.diff(fold.test) > 0).all()


def test_stratified_folds_share_out_both_classes():
    classes = np.arange(50) < 10
    assert [int(classes[fold.test].sum()) for fold in stratified_folds(classes)] == [2] * N_FOLDS


def test_the_fingerprint_sees_two_exchanged_rows_and_two_exchanged_folds():
    first, second, *rest = kfolds(20)
    rows = np.sort(np.r_[first.test[1:], second.test[0]]), np.sort(np.r_[second.test[1:], first.test[0]])
    exchanged = [Split(np.setdiff1d(np.arange(20), test), test) for test in rows]
    hashes = {
        fold_sha256([first, second, *rest]),
        fold_sha256([*exchanged, *rest]),
        fold_sha256([second, first, *rest]),
    }
    assert len(hashes) == 3
    with pytest.raises(ValueError, match="every row exactly once"):
        fold_sha256([first, first, *rest])


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (lambda: kfolds(4), "at least 5 labelled crystals. Received: 4"),
        (lambda: stratified_folds([True] * 4 + [False] * 90), "at least 5 rows of each class. Received: 4"),
        (lambda: stratified_folds([True] * 90), "each class. Received: 0"),
    ],
)
def test_too_few_rows_are_said(action, text):
    with pytest.raises(InputError, match=text):
        action()
