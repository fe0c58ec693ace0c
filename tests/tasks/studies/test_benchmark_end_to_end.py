"""From the official data of a task to a folder that Matbench accepts, with the two commands of the README."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from matgl_infomax.cli import main

INFO = {
    "authors": "A. Chemist",
    "algorithm": "Site-Net of a test",
    "algorithm_long": "Four steps of training: a test of the way, not of the network.",
    "bibtex_refs": "@misc{none}",
    "notes": "Not for the leaderboard.",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the matbench package
def test_jdft2d_answered_and_handed_in(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "matbench"
    answer, folder, info = tmp_path / "answer", tmp_path / "matbench_v0.1_test", tmp_path / "info.yaml"
    info.write_text(yaml.safe_dump(INFO))
    benchmark = ["benchmark", "--task", "matbench_jdft2d", "--data-dir", str(data), "--cache", str(tmp_path / "cache")]
    benchmark += ["--finetune.steps", "4", "--finetune.validate-every", "4", "--learning-rates", "0.001"]
    assert main([*benchmark, "--out", str(answer)]) == 0
    assert main(["submit", str(answer), "--info", str(info), "--out", str(folder)]) == 0

    matbench = pytest.importorskip("matbench.bench")
    with gzip.open(folder / "results.json.gz", "rt") as file:
        bench = matbench.MatbenchBenchmark.from_dict(json.load(file))
    assert bench.is_valid
    scores = pd.read_csv(answer / "scores.csv").set_index("fold")["mae"]
    theirs = bench.matbench_jdft2d.results
    assert [theirs[f"fold_{k}"].scores.mae for k in range(5)] == pytest.approx(
        scores[list(range(5))].tolist(), abs=1e-9
    )
