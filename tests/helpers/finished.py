"""Folders of finished benchmarks, as the benchmark command leaves them, with invented predictions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from matgl_infomax.io import sha256_of
from matgl_infomax.leaderboard.results import score_table
from matgl_infomax.record import new_card
from matgl_infomax.settings.commands import BenchmarkConfig
from matgl_infomax.tasks.matbench.task import N_FOLDS, Task, load_task, mask_hash, official_classes

PLACES = {"task", "folds", "arm", "init", "labels", "seeds", "data_dir", "cache", "corpus", "source", "workers", "out"}


def invented_truth(task: Task, seed: int = 7) -> np.ndarray:
    """The official classes, or invented numbers for a task whose targets nobody checks."""
    if task.card.kind == "classification":
        return official_classes(task.card).astype(np.float64)
    return np.random.default_rng(seed).normal(1000, 300, task.card.n_rows)


def finished(
    folder: Path,
    name: str,
    *,
    seeds: int | list[int] = 1,
    truth: np.ndarray | None = None,
    ids: list[str] | None = None,
    without: int | None = None,
    **changes: Any,
) -> Path:
    """Write a benchmark of all rows of a task, every file consistent with the others.

    Args:
        folder: where to; made.
        name: task.
        seeds: models per fold, or the seeds themselves.
        truth: targets of all rows.
        ids: names of all rows, if they are to be other than the official ones.
        without: a row that is left out.
        changes: entries of ``benchmark.json`` that are to be other.
    """
    seeds = list(range(seeds)) if isinstance(seeds, int) else seeds
    task = load_task(name)
    card, ids = task.card, ids or task.ids
    values = invented_truth(task) if truth is None else truth
    settings = BenchmarkConfig(task=name, out=folder).model_dump(mode="json", exclude=PLACES)
    asked: dict[str, Any] = {
        "task": card.name, "target": card.target, "unit": card.unit, "kind": card.kind, "arm": "scratch",
        "model": settings["model"], "folds": list(range(N_FOLDS)), "seeds": seeds, "labels": None,
        "settings": settings, **changes,
    }  # fmt: skip
    (folder / "folds").mkdir(parents=True)
    (folder / "benchmark.json").write_text(json.dumps(asked))
    tables, cards = [], []
    for k in range(N_FOLDS):
        test = task.fold(k).test
        test = test[test != without]
        models = [_model(card.kind, values[test], 10 * k + seed) for seed in seeds]
        for seed, prediction in zip(seeds, models, strict=True):
            part = {"id": [ids[row] for row in test], "fold": k, "seed": seed}
            content = parquet(pd.DataFrame({**part, "target": values[test], "prediction": prediction}))
            (folder / "folds" / f"fold_{k}-seed_{seed}.parquet").write_bytes(content)
            cards.append(_card(asked, task, k, seed, len(test), content))
        std = np.std(models, axis=0) if len(seeds) > 1 and card.kind == "regression" else np.nan
        mean = {"target": values[test], "prediction": np.mean(models, axis=0), "std": std}
        tables.append(pd.DataFrame({"id": [ids[row] for row in test], "fold": k, **mean}))
    (folder / "cards.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in cards))
    write_predictions(folder, pd.concat(tables, ignore_index=True))
    return folder


def write_predictions(folder: Path, table: pd.DataFrame) -> None:
    """The table of predictions, and the scores that belong to it where there are any."""
    (folder / "predictions.parquet").write_bytes(parquet(table))
    kind = json.loads((folder / "benchmark.json").read_text())["kind"]
    try:
        scores = score_table(table, kind)
    except (TypeError, ValueError):
        return  # a table that is wrong on purpose
    (folder / "scores.csv").write_text(scores.to_csv(index=False))


def parquet(table: pd.DataFrame) -> bytes:
    """The bytes of a parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _model(kind: str, truth: np.ndarray, seed: int) -> np.ndarray:
    """Predictions that are roughly right."""
    generator = np.random.default_rng([seed, 5])
    if kind == "regression":
        return truth + generator.normal(0, 50, len(truth))
    return np.clip(0.3 + 0.4 * truth + generator.normal(0, 0.2, len(truth)), 0, 1)


def _card(asked: dict[str, Any], task: Task, fold: int, seed: int, n_test: int, table: bytes) -> Any:
    """A run card of the benchmark."""
    parts, start = task.fold(fold), "init" if asked["arm"] == "frozen" else "scratch"
    train, test = (mask_hash(task.ids, rows) for rows in (parts.train, parts.test))
    labels = asked["labels"] or len(parts.train)
    chances = {"accuracy": 0.8, "balanced_accuracy": 0.8, "f1": 0.8, "rocauc": 0.8, "probability_rocauc": 0.9}
    scores = {"mae": 40.0, "rmse": 50.0, "r2": 0.9} if asked["kind"] == "regression" else {**chances, "log_loss": 0.4}
    tried = "mae" if asked["kind"] == "regression" else "log_loss"
    return new_card(
        task=asked["task"], target=asked["target"], unit=asked["unit"], arm=asked["arm"], fold=fold, seed=seed,
        mask={"asked": labels, "used": labels, "sha256": train}, n_test=n_test,
        initial={"name": start, "sha256": None}, settings=asked["settings"],
        tried=[{"learning_rate": 0.001, tried: 41.0}, {"learning_rate": 0.003, tried: 45.0}],
        hashes={"run": "b" * 64, "data": "c" * 64, "folds": sha256_of(f"{train} {test}"), "store": None,
                "predictions": sha256_of(table)},
        cost={"seconds": 1.5, "pretraining_seconds": None, "peak_memory_mb": None}, metrics=scores,
    )  # fmt: skip
