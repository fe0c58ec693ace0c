"""Published predictions: both forms of folders, and every fault found and named."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.published import (
    checked_entry,
    find_predictions,
    official_folds,
    published_scores,
    read_predictions,
    read_result_file,
    read_targets,
)
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.tasks.matbench.task import load_task
from tests.helpers import invented

TASK = invented.task()


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return invented.write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return invented.write_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(autouse=True)
def _invented(monkeypatch):
    invented.use_invented(monkeypatch)


def test_both_forms_hold_the_same(tables, checkout):
    wanted = invented.predictions()
    for folder in (tables, checkout):
        files = find_predictions(folder, TASK)
        assert set(files) == set(wanted) - {"silent"}
        pd.testing.assert_series_equal(read_targets(folder, TASK), invented.truth(), check_names=False)
        for name, file in files.items():
            table = checked_entry(file, name, TASK, invented.truth())
            assert list(table["id"]) == TASK.ids
            assert np.allclose(table["prediction"], wanted[name]["prediction"], rtol=1e-12)


def test_a_result_file_of_other_tasks_answers_nothing(checkout):
    file = find_predictions(checkout, TASK)["good"]
    assert read_predictions(file, load_task("matbench_phonons")) is None


def test_uncertainties_are_read_where_they_are(tmp_path):
    table = invented.predictions()["good"]
    spread = {id: {"ci_lower": 0.0, "ci_upper": 1.0, "std": 2.5} for id in table["id"]}
    (tmp_path / "results.json.gz").write_text(json.dumps(invented.result_file(table, uncertainty=spread)))
    assert (read_predictions(tmp_path / "results.json.gz", TASK)["std"] == 2.5).all()


def missing(table):
    return table.iloc[1:]


def foreign(table):
    return pd.concat([table, table.iloc[:1].assign(id="mb-jdft2d-999")])


def twice(table):
    return pd.concat([table, table.iloc[:1]])


def no_number(table):
    return table.assign(prediction=table["prediction"].where(table["id"] != TASK.ids[5]))


def wrong_fold(table):
    return table.assign(fold=(table["fold"] + (table["id"] == TASK.ids[7])) % 5)


def small_unit(table):
    return table.assign(prediction=table["prediction"] / 1000)


def large_unit(table):
    return table.assign(prediction=table["prediction"] * 1000)


def two_folds(table):
    return table[table["fold"] < 2]


def other_scores(table):
    return table.assign(prediction=table["prediction"] + 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, f"1 of the ids are missing, such as {TASK.ids[0]}"),
        (foreign, "outside the official test part, such as mb-jdft2d-999"),
        (twice, f"more than once, such as {TASK.ids[0]}"),
        (no_number, f"1 predictions are no number, such as {TASK.ids[5]}"),
        (wrong_fold, f"1 predictions are in a wrong fold, such as {TASK.ids[7]}"),
        (small_unit, "another unit (eV instead of meV, or the like). The unit of the task is meV/atom"),
        (large_unit, "another unit (meV instead of eV, or the like)"),
        (two_folds, "2 of 5 folds are there"),
        (other_scores, "is printed"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_faults_are_found_and_named(spoil, said, tmp_path):
    file = tmp_path / "jdft2d__good.parquet"
    spoil(invented.predictions()["good"]).to_parquet(file)
    with pytest.raises(InputError) as caught:
        checked_entry(file, "good", TASK, invented.truth())
    assert said in str(caught.value)


def test_an_id_twice_in_a_result_file_is_seen(tmp_path):
    """The reader of JSON would keep the second value without a word."""
    text = json.dumps(invented.result_file(invented.predictions()["good"]))
    first = TASK.ids[int(np.flatnonzero(official_folds(TASK) == 0)[0])]
    (tmp_path / "results.json.gz").write_text(text.replace(f'"{first}"', f'"{first}": 1.0, "{first}"', 1))
    with pytest.raises(InputError, match=f"more than once there, such as {first}"):
        read_result_file(tmp_path / "results.json.gz")


@pytest.mark.parametrize("content", [b"no json", gzip.compress(b"{}")[:-9], b"{}", b"[]"])
def test_damaged_result_files_are_refused(content, tmp_path):
    (tmp_path / "results.json.gz").write_bytes(content)
    with pytest.raises(InputError, match="result file of Matbench"):
        read_result_file(tmp_path / "results.json.gz")


def word(data):
    data[next(iter(data))] = "n/a"


def text_number(data):
    data[next(iter(data))] = "1.5"


def nested(data):
    data.update({id: [value] for id, value in data.items()})


def whole_and_huge(data):
    data[next(iter(data))] = 10**400


@pytest.mark.parametrize("spoil", [word, text_number, nested, whole_and_huge], ids=lambda f: f.__name__)
def test_predictions_that_are_no_numbers_are_named(spoil, tmp_path):
    document = invented.result_file(invented.predictions()["good"])
    data = document["tasks"][TASK.card.name]["results"]["fold_2"]["data"]
    first = next(iter(data))
    spoil(data)
    file = tmp_path / "results.json.gz"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"{file}: {TASK.card.name}, fold_2: the prediction of {first} is no number"):
        read_predictions(file, TASK)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "it has no tasks"),
        ({"results": None}, f"{TASK.card.name} has no results"),
        ({"results": []}, f"{TASK.card.name} has no results"),
        (None, f"{TASK.card.name} has no results"),
        ({"results": {}}, f"{TASK.card.name} has no fold"),
        ({"results": {"fold_0": None}}, "fold_0, holds no predictions"),
        ({"results": {"fold_\u00b2": {"data": {"a": 1.0}}}}, "holds no predictions"),
        ({"results": {"fold_0": {"data": {"a": 1.0}, "uncertainty": [1]}}}, "must be a dictionary"),
        ({"results": {"fold_0": {"data": {"a": 1.0}, "uncertainty": {"a": {"std": "x"}}}}}, "of a is no number: x"),
    ],
)
def test_results_of_another_form_are_named(content, said, tmp_path):
    file = tmp_path / "results.json.gz"
    file.write_text(json.dumps({"tasks": {TASK.card.name: content} if content != {} else {}}))
    with pytest.raises(InputError, match=said):
        read_predictions(file, TASK)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"tasks": ' * 100_000], ids=["lists", "objects"])
def test_nesting_without_end_is_refused(content, tmp_path):
    (tmp_path / "results.json.gz").write_text(content)
    with pytest.raises(InputError, match="as a result file of Matbench"):
        read_result_file(tmp_path / "results.json.gz")


def test_packed_bytes_that_changed_are_refused(tmp_path):
    packed = bytearray(gzip.compress(json.dumps(invented.result_file(invented.predictions()["good"])).encode()))
    for place in range(12, len(packed), 97):
        spoilt = packed.copy()
        spoilt[place] ^= 0xFF
        (tmp_path / "results.json.gz").write_bytes(spoilt)
        with pytest.raises(InputError, match="result file of Matbench"):
            read_result_file(tmp_path / "results.json.gz")


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("prediction", ["n/a"], "is no number: n/a"),
        ("prediction", [[1.0]], r"is no number: \[1\.0\]\. Record an array of shape \(n,\)"),
        ("fold", ["first"], "the fold of .* is no whole number: first"),
        ("fold", [0.5], "the fold of .* is no whole number: 0.5"),
        ("id", [7], "the id in row 0 is no text: 7"),
    ],
)
def test_tables_of_other_types_are_named(column, values, said, tmp_path):
    table = invented.predictions()["good"]
    table[column] = values * len(table)
    table.to_parquet(tmp_path / "jdft2d__good.parquet")
    with pytest.raises(InputError, match=said):
        read_predictions(tmp_path / "jdft2d__good.parquet", TASK)


def test_folders_without_predictions_or_targets(tmp_path):
    with pytest.raises(InputError, match="holds no published predictions"):
        find_predictions(tmp_path, TASK)
    assert read_targets(tmp_path, TASK) is None
    (tmp_path / "targets").mkdir()
    invented.truth().rename_axis("id").reset_index()[1:].to_parquet(tmp_path / "targets" / "jdft2d.parquet")
    with pytest.raises(InputError, match="one true value for each material"):
        read_targets(tmp_path, TASK)


def test_weak_answers_in_the_right_unit_pass():
    """A dummy, and one whose predictions are all nearly zero, are poor and no mistake of the unit."""
    from matgl_infomax.leaderboard.published import check_unit

    values = invented.truth().to_numpy()
    nothing = np.zeros(len(values))
    for answer in (nothing + values.mean(), values * 0.3, values - values.mean() + 30, nothing):
        check_unit("answer", answer, values, "meV/atom")


@pytest.mark.slow
def test_all_published_predictions_give_the_printed_scores(shared, monkeypatch):
    monkeypatch.undo()
    folder, files = shared / "leaderboard", 0
    assert len(published_scores()) > 200
    for place in sorted((folder / "targets").glob("*.parquet")):
        task = load_task(place.stem)
        truth = read_targets(folder, task)
        for name, file in find_predictions(folder, task).items():
            table = checked_entry(file, name, task, truth)  # raises beyond 1e-4
            folder_names = published_scores(task.card.name)
            mean = folder_names.loc[folder_names["folder"] == name, "mean"]
            again = [
                fold_scores(task.card.kind, truth[part["id"]].to_numpy(), part["prediction"].to_numpy(dtype=np.float64))
                for _, part in table.groupby("fold")
            ]
            assert np.mean([one[task.card.metric] for one in again]) == pytest.approx(mean.iloc[0], rel=1e-4), name
            files += 1
    assert files == 128
