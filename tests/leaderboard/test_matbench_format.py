"""What our reader and checks refuse is what Matbench's own refuse, and a file that is wrong never stays."""

from __future__ import annotations

import copy
import gzip
import json
from functools import cache

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard import submit as module
from matgl_infomax.leaderboard.matbench_format import (
    check_ids,
    check_task,
    document_hash,
    fold_entry,
    make_document,
    pack,
    read_results,
)
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.leaderboard.submit import check_answer
from matgl_infomax.tasks.matbench.task import load_task
from tests.helpers.finished import finished
from tests.leaderboard.test_submit import settings

TIME = module.datetime(2026, 1, 2, 3, 4, 5)


@cache
def entry_of(name):
    """A task answered with invented numbers, and the ids of its folds."""
    task, generator = load_task(name), np.random.default_rng(3)
    names = task.ids
    tests = [[names[row] for row in task.fold(k).test] for k in range(5)]
    folds = {}
    for k, ids in enumerate(tests):
        truth, prediction = generator.integers(0, 2, len(ids)).astype(float), generator.random(len(ids))
        folds[k] = fold_entry(ids, prediction, fold_scores(task.card.kind, truth, prediction), {"k": k})
    return make_document({name: folds}, {"who": "a test"}, TIME), tests, task.card.kind


def mutations(kind):
    """Ways to break an entry: what is done to it, and what is said."""
    first = "fold_0"

    def value(new):
        def change(task):
            task["results"][first]["data"][next(iter(task["results"][first]["data"]))] = new

        return change

    said = "must be a number" if kind == "regression" else "must be a probability"
    wrong_value = 2.5 if kind == "classification" else True
    return {
        "integer": (value(1), said),
        "text": (value("1.0"), said),
        "nothing": (value(None), said),
        "other-kind": (value(wrong_value), said),
        "missing-fold": (lambda task: task["results"].pop("fold_3"), "needs the folds 0 to 4"),
        "extra-fold": (lambda task: task["results"].update(fold_5={}), "needs the folds 0 to 4"),
        "missing-id": (lambda task: task["results"][first]["data"].popitem(), "1 of the ids are missing"),
        "foreign-id": (lambda task: task["results"][first]["data"].update(mine=0.5), "outside the official test part"),
        "extra-part": (lambda task: task["results"][first].update(plot="x"), "wrong or missing parts"),
        "no-parameters": (lambda task: task["results"][first].pop("parameters"), "wrong or missing parts"),
        "no-score": (lambda task: task["results"][first]["scores"].popitem(), "the scores must be"),
        "integer-score": (lambda task: task["results"][first]["scores"].update(mae=1, f1=1), "the scores must be"),
        "head": (lambda task: task.update(dataset_name="matbench_x"), "another head"),
    }


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        *(("matbench_steels", mistake) for mistake in mutations("regression")),
        *(("matbench_expt_is_metal", mistake) for mistake in ("integer", "text", "other-kind", "no-score")),
    ],
)
def test_what_matbench_refuses_is_refused(name, mistake):
    from tests.leaderboard.test_submit_matbench import load_matbench

    document, tests, kind = entry_of(name)
    check_task(name, document["tasks"][name], kind, tests)
    change, sentence = mutations(kind)[mistake]
    broken = copy.deepcopy(document)
    change(broken["tasks"][name])
    with pytest.raises(InputError, match=sentence):
        check_task(name, broken["tasks"][name], kind, tests)
    broken["hash"] = document_hash(broken)
    with pytest.raises((ValueError, KeyError, TypeError)):
        load_matbench()["bench"].from_dict(broken)


def test_not_a_number_is_refused_although_matbench_takes_it():
    document, tests, kind = copy.deepcopy(entry_of("matbench_steels"))
    data = document["tasks"]["matbench_steels"]["results"]["fold_0"]["data"]
    data[next(iter(data))] = float("nan")
    with pytest.raises(InputError, match=r"must be a number\. Received: nan"):
        check_task("matbench_steels", document["tasks"]["matbench_steels"], kind, tests)
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack(document)


def test_ids_have_to_be_the_official_ones():
    check_ids("here", ["b", "a"], ["a", "b"])
    with pytest.raises(InputError, match="here: 1 of the ids are more than once, such as a"):
        check_ids("here", ["a", "b", "a"], ["a", "b"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{}", "not compressed by gzip"),
        (gzip.compress(b'{"a": 1}')[:-9], "not compressed by gzip, or cut off"),
        (gzip.compress(b'{"a": '), "holds no JSON"),
        (gzip.compress(b"[1]"), "no result file of Matbench"),
        (gzip.compress(b'{"a": 1}'), r"wrong or missing parts .*'a'"),
    ],
    ids=["plain", "cut", "no-json", "list", "keys"],
)
def test_files_that_are_none_are_refused(tmp_path, content, sentence):
    file = tmp_path / "results.json.gz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_results(file)


def test_missing_changed_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="Cannot read"):
        read_results(tmp_path / "absent.gz")
    document, _, _ = entry_of("matbench_steels")
    file = tmp_path / "results.json.gz"
    file.write_bytes(pack(document))
    assert read_results(file) == document
    file.write_bytes(pack({**document, "datestamp": "2020.01.01 00:00.00"}))
    with pytest.raises(InputError, match="changed after it was written"):
        read_results(file)
    file.write_bytes(pack({**document, "benchmark_name": "matbench_v0.2"}))
    with pytest.raises(InputError, match=r"its benchmark_name is 'matbench_v0\.2'"):
        read_results(file)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda task: task["results"]["fold_2"]["scores"].update(mae=1.0),
            "mae of matbench_steels, fold 2, is not that",
        ),
        (lambda task: task["results"].pop("fold_2"), "needs the folds"),
    ],
)
def test_a_submission_that_fails_its_own_check_does_not_stay(tmp_path, monkeypatch, spoil, sentence):
    """As if the writing had a defect: the hash fits, the content does not."""

    def spoilt(document):
        broken = json.loads(json.dumps(document))
        spoil(broken["tasks"]["matbench_steels"])
        return pack({**broken, "hash": document_hash(broken)})

    monkeypatch.setattr(module, "pack", spoilt)
    asked = settings(tmp_path, finished(tmp_path / "run", "matbench_steels"))
    with pytest.raises(InputError, match=sentence):
        module.submit(asked)
    assert not (asked.out / "results.json.gz").exists()


def test_the_check_notices_other_tasks(tmp_path):
    run = finished(tmp_path / "run", "matbench_steels")
    out = module.submit(settings(tmp_path, run)).path
    assert list(module.check_submission(out, [check_answer(run)])["task"]) == ["matbench_steels"]
    with pytest.raises(InputError, match="holds other tasks: matbench_steels"):
        module.check_submission(out, [])
