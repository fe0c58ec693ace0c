"""The folder of a benchmark is believed only where its files agree with each other."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import sha256_of
from matgl_infomax.leaderboard.results import BenchmarkSpec, read_benchmark, score_table
from matgl_infomax.record import new_card

SETTINGS = {"steps": 3}


def table_bytes(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def write(folder: Path, kind="regression", seeds=(0, 1), folds=(0, 1)) -> Path:
    """A small folder as ``benchmark`` writes it."""
    (folder / "folds").mkdir(parents=True)
    rng, tables, cards = np.random.default_rng(0), [], []
    classes = kind == "classification"
    about = {"task": "matbench_small", "target": "y", "unit": None, "arm": "scratch", "settings": SETTINGS}
    asked = BenchmarkSpec(
        **about, kind=kind, model={"name": "megnet"}, folds=list(folds), seeds=list(seeds), labels=None
    )
    for fold in folds:
        ids = [f"mb-small-{fold}-{k}" for k in range(6)]
        target = np.array([0.0, 1.0] * 3) if classes else rng.standard_normal(6)
        members = []
        for seed in seeds:
            members.append(rng.random(6))
            known = {"id": ids, "fold": fold, "seed": seed, "target": target, "prediction": members[-1]}
            content = table_bytes(pd.DataFrame(known))
            (folder / "folds" / f"fold_{fold}-seed_{seed}.parquet").write_bytes(content)
            metrics = {"mae": 0.1, "rmse": 0.2, "r2": None}
            names = ("accuracy", "balanced_accuracy", "f1", "rocauc", "probability_rocauc", "log_loss")
            hashes = {**dict.fromkeys(("run", "data", "folds"), "0" * 64), "predictions": sha256_of(content)}
            cards.append(
                new_card(
                    **about, fold=fold, seed=seed, n_test=6, mask={"asked": 5, "used": 5, "sha256": "a" * 64},
                    initial={"name": "scratch", "sha256": None}, tried=[], hashes={**hashes, "store": None},
                    metrics=dict.fromkeys(names, 0.5) if classes else metrics,
                    cost={"seconds": 1.0, "pretraining_seconds": None, "peak_memory_mb": None},
                )
            )  # fmt: skip
        mean, std = np.mean(members, axis=0), np.std(members, axis=0)
        tables.append(pd.DataFrame({"id": ids, "fold": fold, "target": target, "prediction": mean, "std": std}))
    predictions = pd.concat(tables, ignore_index=True)
    (folder / "benchmark.json").write_text(asked.model_dump_json())
    (folder / "predictions.parquet").write_bytes(table_bytes(predictions))
    (folder / "cards.jsonl").write_text("".join(card.model_dump_json() + "\n" for card in cards))
    (folder / "scores.csv").write_text(score_table(predictions, kind).to_csv(index=False))
    return folder


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_whole_folder_is_read(tmp_path, kind):
    result = read_benchmark(write(tmp_path / "a", kind))
    assert (result.folds, result.complete, len(result.cards)) == ([0, 1], False, 4)
    assert len(result.predictions) == 12
    assert "still to be done: 2, 3, 4" in result.to_text()
    assert ("Matbench computes rocauc" in result.to_text()) == (kind == "classification")
    table = result.to_frame()
    table.iloc[:, 1:] = 0.0
    assert not result.scores.iloc[:, 1:].eq(0.0).all(axis=None), "a copy may be changed"


def test_all_five_folds_are_complete(tmp_path):
    result = read_benchmark(write(tmp_path / "a", folds=range(5), seeds=(7,)))
    assert result.complete and "still to be done" not in result.to_text()
    mean = result.scores["mae"].mean(), result.scores["mae"].std(ddof=0)
    assert f"{mean[0]:.4f} ± {mean[1]:.4f}" in result.to_text()


def test_tables_alone_are_enough(tmp_path):
    shutil.rmtree(write(tmp_path / "a") / "folds")
    assert read_benchmark(tmp_path / "a").folds == [0, 1]


@pytest.mark.parametrize("name", ["benchmark.json", "predictions.parquet", "cards.jsonl", "scores.csv"])
def test_missing_and_damaged_files_are_said(tmp_path, name):
    folder = write(tmp_path / "a")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_benchmark(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"no finished benchmark: cannot read {name}"):
        read_benchmark(folder)


def change(folder, function):
    """Change the table of predictions."""
    file = folder / "predictions.parquet"
    table = pd.read_parquet(file)
    changed = function(table)
    file.write_bytes(table_bytes(table if changed is None else changed))


def put(column, value, row=3):
    def function(table):
        table.loc[row, column] = value

    return function


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (put("prediction", np.nan), "has no number for mb-small-0-3"),
        (put("target", np.inf), "has no number for mb-small-0-3"),
        (put("id", "mb-small-0-1"), "predicts mb-small-0-1 more than once"),
        (put("fold", 4), "has fold 4, and benchmark.json does not ask for it"),
        (put("prediction", 0.123), "other scores than those of predictions.parquet"),
        (lambda table: table.drop(columns="std"), "Needed: id, fold, target, prediction, std"),
        (lambda table: table.iloc[:0], "holds no prediction"),
        (lambda table: table.iloc[:-1], "other scores"),
    ],
    ids=["NaN", "infinite", "twice", "fold", "changed", "column", "empty", "row gone"],
)
def test_wrong_predictions_are_refused(tmp_path, function, text):
    folder = write(tmp_path / "a")
    change(folder, function)
    with pytest.raises(InputError, match=text):
        read_benchmark(folder)


def test_classes_need_probabilities(tmp_path):
    folder = write(tmp_path / "a", "classification")
    change(folder, put("prediction", 1.5))
    with pytest.raises(InputError, match="no probability of a class for mb-small-0-3"):
        read_benchmark(folder)


def test_predictions_that_are_not_those_of_the_runs_are_refused(tmp_path):
    """Also where the scores were changed with them."""
    folder = write(tmp_path / "a")
    change(folder, put("prediction", 0.123))
    scores = score_table(pd.read_parquet(folder / "predictions.parquet"), "regression")
    (folder / "scores.csv").write_text(scores.to_csv(index=False))
    with pytest.raises(InputError, match="not the mean of the runs"):
        read_benchmark(folder)
    file = folder / "folds" / "fold_0-seed_0.parquet"
    file.write_bytes(file.with_name("fold_0-seed_1.parquet").read_bytes())
    with pytest.raises(InputError, match="not the file that its card was written for"):
        read_benchmark(folder)


def one_less(cards):
    return cards[1:]


def other(**fields):
    return lambda cards: [{**cards[0], **fields}, *cards[1:]]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (one_less, "has cards of the folds and seeds"),
        (other(task="matbench_other"), "fold 0 belongs to another benchmark"),
        (other(settings={"steps": 4}), "fold 0 belongs to another benchmark"),
        (other(n_test=5), "fold 0 was tested on 5 crystals"),
        (other(surprise=1), "line 1, is no run card"),
    ],
    ids=["one gone", "task", "settings", "size", "unknown key"],
)
def test_cards_that_do_not_belong_are_refused(tmp_path, function, text):
    folder = write(tmp_path / "a")
    cards = [json.loads(line) for line in (folder / "cards.jsonl").read_text().splitlines()]
    (folder / "cards.jsonl").write_text("".join(json.dumps(card) + "\n" for card in function(cards)))
    with pytest.raises(InputError, match=text):
        read_benchmark(folder)
