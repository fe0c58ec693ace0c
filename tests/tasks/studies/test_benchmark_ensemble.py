"""Several models per fold: their mean, and an uncertainty fitted on labels that none of them was trained on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.results import read_benchmark
from matgl_infomax.tasks.studies.arms import ARMS
from matgl_infomax.tasks.studies.benchmark_grid import plan_benchmark
from matgl_infomax.train.ensemble import calibrate
from tests.helpers.small_benchmark import Pretender, classes, config, numbers, run


@pytest.mark.parametrize("arm", ["scratch", "untrained"])
def test_mean_and_calibrated_spread(crystals, tmp_path, monkeypatch, arm):
    pretender = Pretender()
    monkeypatch.setitem(ARMS, arm, pretender)
    task, items = asked = numbers(crystals)
    result = run(asked, tmp_path, arm=arm, seeds=3, folds=[0, 1])
    out = tmp_path / "out"
    for fold, part in result.predictions.groupby("fold"):
        test, held_out = (
            [pd.read_parquet(out / where / f"fold_{fold}-seed_{seed}.parquet") for seed in range(3)]
            for where in ("folds", "held_out")
        )
        members = np.stack([table["prediction"] for table in test])
        assert part["prediction"].to_numpy() == pytest.approx(members.mean(axis=0))
        aside = np.stack([table["prediction"] for table in held_out])
        known = calibrate(held_out[0]["target"].to_numpy(), aside, "gaussian", 0.9)
        assert part["std"].to_numpy() == pytest.approx(known.std(members.std(axis=0, ddof=1)))
        assert set(held_out[0]["id"]) <= {items.ids[row] for row in task.fold(int(fold)).train}
    table = pd.read_csv(out / "calibration.csv")
    assert table["fold"].tolist() == [0, 1] and table["held_out_labels"].eq(13).all() and table["factor"].gt(1).all()
    error = (result.predictions["prediction"] - result.predictions["target"]).abs()
    inside = error <= 1.6448536 * result.predictions["std"]
    assert table["coverage_test"].mean() == pytest.approx(inside.mean())
    assert f"hold {inside.mean():.1%}" in result.to_text()
    if arm == "untrained":  # nothing is held out by a regression itself: a second one has not seen these labels
        second, final = pretender.tasks[::2], pretender.tasks[1::2]
        for given, whole in zip(second, final, strict=True):
            assert not set(given.rows) & set(given.test)
            assert sorted([*given.rows, *given.test]) == sorted(whole.rows)


def test_what_calibrates_gave_no_gradient_to_any_model(crystals, tmp_path, monkeypatch):
    """The real training holds out the very labels that the benchmark takes as held out, whatever the seed."""
    from matgl_infomax.train import finetune

    fit, seen = finetune.fit, []

    def spy(model, data, *args, **options):
        fitted = fit(model, data, *args, **options)
        seen.append([int(data.rows[k]) for k in fitted.held_out])
        return fitted

    monkeypatch.setattr(finetune, "fit", spy)
    task, items = asked = numbers(crystals)
    settings = {"folds": [3], "seeds": 2, "learning_rates": [], "model": {"name": "megnet"}}
    result = run(asked, tmp_path, **settings)
    bench = plan_benchmark(task, items, config(tmp_path, **settings))
    assert seen == [bench.masks[3][bench.held_out(3)].tolist()] * 2
    assert result.cards[0].initial.sha256 != result.cards[1].initial.sha256
    aside = pd.read_parquet(tmp_path / "out" / "held_out" / "fold_3-seed_0.parquet")
    assert aside["id"].tolist() == [items.ids[row] for row in seen[0]]


def test_real_networks_and_vectors_classify(crystals, tmp_path):
    """Trained and frozen arms give probabilities; pretrained weights are those of the fold."""
    asked = classes(crystals)
    settings = {"task": "mp_is_metal", "folds": [1], "cache": tmp_path, "model": {"name": "megnet"}}
    for arm in ("finetuned", "untrained", "descriptors"):
        result = run(asked, tmp_path / arm, arm=arm, **settings)
        assert result.predictions["prediction"].between(0, 1).all()
        assert result.cards[0].metrics.balanced_accuracy == pytest.approx(result.scores["balanced_accuracy"].item())
        assert result.predictions["prediction"].nunique() > 3
    encoder = tmp_path / "finetuned" / "out" / "starts" / "fold_1" / "pretrained"
    given = run(asked, tmp_path / "init", init=encoder, arm="frozen", **settings)
    assert given.cards[0].initial.facts == {"objective": "denoise"}, "run.json of the pretraining says it"
    assert given.cards[0].initial.name == "init" and "Nobody checked" in given.to_text()
    assert str(tmp_path) not in (tmp_path / "init" / "out" / "cards.jsonl").read_text()


LATE = """
import sys, time
from pathlib import Path
import numpy as np
from matgl_infomax.tasks.studies.arms import ARMS
from tests.helpers.small_benchmark import Pretender, numbers, run
from tests.conftest import _crystal, CUBE
class Slow(Pretender):
    def __call__(self, task):
        time.sleep(0.3)
        return super().__call__(task)
ARMS["descriptors"] = Slow()
items = [_crystal(f"c{k}", [29 + k], (3 + 0.1 * k) * CUBE, [[0.0, 0.0, 0.0]], 0.1 * k) for k in range(4)]
run(numbers(items), Path(sys.argv[1]), arm="descriptors", seeds=2)
"""


@pytest.mark.slow
def test_a_killed_benchmark_goes_on(tmp_path):
    """SIGKILL in the middle: every file that is there is whole, and the second process does only the rest."""
    command = [sys.executable, "-c", LATE, str(tmp_path)]
    folder, root = tmp_path / "out" / "folds", Path(__file__).resolve().parents[3]
    first = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*.json"))) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = {file.name: file.read_bytes() for file in folder.glob("fold_*.json")}
    assert 3 <= len(before) < 10
    assert subprocess.run(command, cwd=root, timeout=300).returncode == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert read_benchmark(tmp_path / "out").complete


@pytest.mark.slow
def test_workers_give_the_same_results(crystals, tmp_path):
    asked = numbers(crystals)
    alone = run(asked, tmp_path, arm="descriptors", folds=[0, 1])
    together = run(asked, tmp_path / "other", arm="descriptors", folds=[0, 1], workers=2)
    pd.testing.assert_frame_equal(alone.predictions, together.predictions)
