"""Our own answers: benchmarks with and without true values, submissions, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.results import read_answers
from tests.helpers import invented
from tests.helpers.finished import finished, parquet

TASK = invented.task()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("own") / "whole", invented.NAME, seeds=2)


@pytest.fixture
def kept(whole, tmp_path):
    """The same without true values and single models, as results are kept in the repository."""
    shutil.copytree(whole, tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept" / "folds")
    change(tmp_path / "kept", lambda table: table.drop(columns="target"))
    return tmp_path / "kept"


def change(folder, spoil):
    file = folder / "predictions.parquet"
    file.write_bytes(parquet(spoil(pd.read_parquet(file))))


def test_a_benchmark_is_read_with_and_without_true_values(whole, kept):
    one, other = (read_answers([folder])[0].with_truth(invented.truth()) for folder in (whole, kept))
    assert one.name == "whole" and one.seeds == (0, 1) and one.folds == (0, 1, 2, 3, 4)
    assert one.seed_errors.shape == (2, 5) and one.arm == "scratch"
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.table["target"].tolist() == invented.truth().tolist()
    assert read_answers([whole])[0].with_truth(None).table["target"].tolist() == invented.truth().tolist()


def test_a_submission_is_read_with_its_uncertainties(tmp_path):
    table = invented.predictions()["good"]
    spread = {id: {"std": 2.0} for id in table["id"]}
    folder = tmp_path / "matbench_v0.1_ours"
    folder.mkdir()
    content = json.dumps(invented.result_file(table, uncertainty=spread)).encode()
    (folder / "results.json.gz").write_bytes(gzip.compress(content))
    for place in (folder, folder / "results.json.gz"):
        (found,) = read_answers([place])
        assert (found.name, found.source, found.seeds) == ("ours", "submission", ())
        assert (found.table["std"] == 2).all() and found.with_truth(invented.truth()).table["target"].notna().all()


def test_what_is_wrong_is_named(kept, whole, tmp_path):
    with pytest.raises(InputError, match="neither a finished benchmark"):
        read_answers([tmp_path])
    with pytest.raises(InputError, match=r"Two answers to matbench_jdft2d are called whole"):
        read_answers([whole, whole])
    with pytest.raises(InputError, match="kept without true values"):
        read_answers([kept])[0].with_truth(None)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.iloc[1:], "missing"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "more than once"),
        (lambda t: t.assign(id=["mb-x", *t["id"][1:]]), "outside the official test part, such as mb-x"),
        (lambda t: t.assign(prediction=[np.nan, *t["prediction"][1:]]), "1 predictions are no number"),
        (lambda t: t.assign(fold=[(t["fold"].iloc[0] + 1) % 5, *t["fold"][1:]]), "in a wrong fold"),
        (lambda t: t.drop(columns="prediction"), "has no prediction"),
    ],
    ids=["missing", "twice", "foreign", "nan", "fold", "column"],
)
def test_faults_of_predictions_are_named(kept, spoil, said):
    change(kept, spoil)
    with pytest.raises(InputError, match=said):
        read_answers([kept])


def test_another_unit_and_other_scores_are_found(kept, whole, tmp_path):
    change(kept, lambda table: table.assign(prediction=table["prediction"] / 1000))
    with pytest.raises(InputError, match="another unit"):
        read_answers([kept])[0].with_truth(invented.truth())
    change(kept, lambda table: table.assign(prediction=table["prediction"] * 1000 + 1))
    with pytest.raises(InputError, match="holds other scores"):
        read_answers([kept])[0].with_truth(invented.truth())
    with pytest.raises(InputError, match=r"636 true values are not the official ones.*another unit"):
        read_answers([whole])[0].with_truth(invented.truth() / 1000)


def test_a_benchmark_in_another_unit_is_refused(kept):
    asked = json.loads((kept / "benchmark.json").read_text())
    (kept / "benchmark.json").write_text(json.dumps({**asked, "unit": "eV/atom"}))
    with pytest.raises(InputError, match="regression in eV/atom; matbench_jdft2d is regression in meV/atom"):
        read_answers([kept])
