"""Damaged files that compare and submit read: a result, or one sentence and exit code 2; never a traceback."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.compare_published import compare_with_published
from matgl_infomax.leaderboard.submit import submit
from matgl_infomax.settings.commands import SubmitConfig
from tests.helpers.finished import finished, parquet
from tests.helpers.invented import NAME, predictions, result_file, task, use_invented, write_tables
from tests.helpers.mutate import ends_well

INFO = {"authors": "A. Chemist", "algorithm": "Invented", "algorithm_long": "Noise.", "bibtex_refs": "@article{a}"}


def without_truth(folder: Path) -> Path:
    """A benchmark as it is kept: no true values, no single runs."""
    finished(folder, NAME, seeds=2)
    shutil.rmtree(folder / "folds")
    table = pd.read_parquet(folder / "predictions.parquet").drop(columns="target")
    (folder / "predictions.parquet").write_bytes(parquet(table))
    return folder


def submission(folder: Path) -> Path:
    """A result file with uncertainties."""
    folder.mkdir()
    document = result_file(predictions()["good"])
    for fold in document["tasks"][NAME]["results"].values():
        fold["uncertainty"] = {id: {"std": 1.0 + 0.01 * k} for k, id in enumerate(fold["data"])}
    (folder / "results.json.gz").write_bytes(gzip.compress(json.dumps(document).encode()))
    return folder


def facts(folder: Path) -> Path:
    """Tables about materials: attributes, and an overlap report."""
    folder.mkdir()
    ids, rng = task().ids, np.random.default_rng(0)
    numbers = {"space_group": rng.integers(0, 20, len(ids)), "volume": rng.normal(5, 1, len(ids))}
    formulas = [f"Si{k % 50}" for k in range(len(ids))]
    pd.DataFrame({"id": ids, "formula": formulas, **numbers}).to_csv(folder / "attributes.csv", index=False)
    levels = rng.choice(["novel", "match"], len(ids))
    pd.DataFrame({"id": ids, "fold": 0, "level": levels}).to_csv(folder / "crystals.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Predictions of invented entries, whose scores the package then reads as the published ones."""
    use_invented(monkeypatch)
    return write_tables(tmp_path / "published")


def compared(folder: Path, **more: Any) -> str:
    """What compare says of a folder."""
    config = {"run": [folder], "published": folder.parent / "published", "draws": 100}
    return compare_with_published(**config, **more).to_markdown()


@pytest.mark.parametrize("make", [lambda folder: finished(folder, NAME, seeds=2), without_truth, submission],
                         ids=["benchmark", "without truth", "submission"])  # fmt: skip
def test_damaged_answers_give_a_sentence_or_a_comparison(make, tmp_path):
    folder = make(tmp_path / "answer")
    assert "answer" in compared(folder)
    done, refused = ends_well(folder, 10, lambda: compared(folder))
    assert refused > 2 * done


def test_damaged_tables_beside_give_a_sentence_or_a_comparison(tmp_path, published):
    """Facts about materials, published predictions (left out with a word where they are damaged) and true values."""
    answer, about = submission(tmp_path / "answer"), facts(tmp_path / "facts")
    more = {"attributes": str(about / "attributes.csv"), "overlap": [about / "crystals.csv"]}
    assert "formula in the training part" in compared(answer, **more)
    ends_well(about, 6, lambda: compared(answer, **more))
    for name in ("predictions", "targets"):
        ends_well(published / name, 3, lambda: compared(answer))


def test_damaged_benchmarks_give_a_sentence_or_a_submission(tmp_path):
    folder = finished(tmp_path / "steels", "matbench_steels", seeds=2)
    (tmp_path / "info.yaml").write_text(yaml.safe_dump(INFO))
    out = tmp_path / "matbench_v0.1_invented"

    def handed_in() -> str:
        shutil.rmtree(out, ignore_errors=True)
        return submit(SubmitConfig(run=[folder], info=tmp_path / "info.yaml", out=out)).to_text()

    assert "matbench_steels" in handed_in()
    done, refused = ends_well(folder, 8, handed_in)
    assert refused > 2 * done


@pytest.mark.slow
def test_much_damage_of_a_benchmark(tmp_path):
    folder = finished(tmp_path / "answer", NAME, seeds=2)
    done, refused = ends_well(folder, 100, lambda: compared(folder))
    assert refused > 2 * done


def test_a_deviation_below_zero_is_refused(tmp_path):
    folder = without_truth(tmp_path / "answer")
    table = pd.read_parquet(folder / "predictions.parquet")
    (folder / "predictions.parquet").write_bytes(parquet(table.assign(std=-1.0)))
    with pytest.raises(InputError, match=r"the standard deviation of mb-jdft2d-\d+ is below zero"):
        compared(folder)
