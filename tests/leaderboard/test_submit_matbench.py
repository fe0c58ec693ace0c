"""The real Matbench 0.6 accepts what is written, finds the same scores and would have written the same."""

from __future__ import annotations

import gzip
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.matbench_format import document_hash
from matgl_infomax.leaderboard.submit import submit
from tests.helpers.finished import finished
from tests.leaderboard.test_submit import settings


def load_matbench():
    """The package, whose age shows in warnings of others while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("matbench", reason="needs `pip install --no-deps matbench==0.6`")
        from matbench import bench, task, util
    return {"bench": bench.MatbenchBenchmark, "task": task.MatbenchTask, "hash": util.hash_dictionary}


matbench = pytest.fixture(scope="module")(load_matbench)


@pytest.fixture(scope="module")
def submission(tmp_path_factory):
    """Three models of a regression task and two of a classification task, in one folder."""
    folder = tmp_path_factory.mktemp("submission")
    runs = [finished(folder / "a", "matbench_steels", seeds=3), finished(folder / "b", "matbench_glass", seeds=2)]
    return submit(settings(folder, *runs)), dict(zip(["matbench_steels", "matbench_glass"], runs, strict=True))


def document(submission):
    return json.loads(gzip.decompress((submission.path / "results.json.gz").read_bytes()))


def test_matbench_finds_it_valid_with_our_scores(matbench, submission):
    made, runs = submission
    found = matbench["bench"].from_dict(document(made))
    assert found.is_valid and found.is_recorded
    for row in made.scores.itertuples():
        folds = pd.read_csv(runs[row.task] / "scores.csv")
        theirs = found.scores[row.task]
        assert theirs[row.metric]["mean"] == pytest.approx(row.mean, abs=1e-9)
        assert theirs[row.metric]["std"] == pytest.approx(row.std, abs=1e-9)
        for metric in theirs:
            assert theirs[metric]["mean"] == pytest.approx(folds[metric].mean(), abs=1e-9)
            assert theirs[metric]["max"] == pytest.approx(folds[metric].max(), abs=1e-9)


@pytest.mark.parametrize("name", ["matbench_steels", "matbench_glass"])
def test_matbench_itself_would_have_recorded_the_same(matbench, submission, name):
    """Every prediction handed to Matbench's own ``record`` gives the entry that stands in our file."""
    made, runs = submission
    ours = document(made)["tasks"][name]
    task = matbench["task"](name, autoload=False)
    table = pd.read_parquet(runs[name] / "predictions.parquet").set_index("id")
    truth = table["target"] if name == "matbench_steels" else table["target"].astype(bool)
    task.df = pd.DataFrame({task.metadata.input_type: None, task.metadata.target: truth})
    for k in range(5):
        rows = table.loc[task.validation[f"fold_{k}"].test]
        std = rows["std"].tolist() if name == "matbench_steels" else None
        task.record(k, rows["prediction"].tolist(), std=std)
        theirs = task.results[f"fold_{k}"]
        mine = ours["results"][f"fold_{k}"]
        assert mine["data"] == dict(theirs["data"])
        assert mine["scores"] == pytest.approx(dict(theirs["scores"]), abs=1e-9)
        assert ("uncertainty" in mine) == (std is not None)
        for id, interval in mine.get("uncertainty", {}).items():
            assert interval == pytest.approx(dict(theirs["uncertainty"][id]), rel=1e-12)
    head = {key: value for key, value in task.as_dict().items() if key != "results"}
    assert head == {key: value for key, value in ours.items() if key != "results"}


def test_what_was_read_can_be_written_and_read_again(matbench, submission):
    """Matbench's validation leaves traces in the uncertainties; the file stays valid."""
    found = matbench["bench"].from_dict(document(submission[0]))
    again = matbench["bench"].from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.is_valid and again.scores == found.scores


def test_a_changed_number_is_noticed_by_matbench(matbench, submission):
    changed = document(submission[0])
    changed["tasks"]["matbench_steels"]["results"]["fold_0"]["scores"]["mae"] /= 2
    with pytest.raises(ValueError, match="Hash of dictionary does not match"):
        matbench["bench"].from_dict(changed)


@pytest.mark.parametrize(
    "content",
    [
        {"b": 1, "a": [1, 2.5, None, "x"], "c": {"z": {"y": True, "x": 1e-300}, "a": "µ"}},
        {"b": [{"z": 1, "a": 2}, [3, {"y": 1, "b": 2}]], "a": {}},
        {},
    ],
)
def test_hash_is_the_one_of_matbench(matbench, content):
    assert document_hash({**content, "hash": "not counted"}) == matbench["hash"](content)


def test_requirements_of_the_check_of_submissions(submission):
    """What the script in Matbench's repository looks at, besides validity: files, fields, sizes."""
    folder = submission[0].path
    info = json.loads((folder / "info.json").read_text())
    assert set(info) == {"authors", "algorithm", "algorithm_long", "bibtex_refs", "notes", "requirements"}
    assert all(info[key] for key in info)
    assert list(folder.glob("*.py")) and all(file.stat().st_size < 1e7 for file in folder.iterdir())


def test_uncertainty_of_an_ensemble_is_the_normal_interval(submission):
    made, runs = submission
    table = pd.read_parquet(runs["matbench_steels"] / "predictions.parquet").set_index("id")
    fold = document(made)["tasks"]["matbench_steels"]["results"]["fold_3"]
    for id, interval in fold["uncertainty"].items():
        middle, std = table.loc[id, ["prediction", "std"]].to_numpy(dtype=float)
        ends = [interval["ci_lower"], interval["ci_upper"]]
        np.testing.assert_allclose(ends, [middle - 1.959964 * std, middle + 1.959964 * std], rtol=1e-6)
        assert interval["std"] == std
