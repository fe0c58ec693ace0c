"""An invented leaderboard of the exfoliation energies: a table of scores, and folders with predictions that fit it."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from matgl_infomax.leaderboard import published
from matgl_infomax.leaderboard.published import official_folds
from matgl_infomax.tasks.matbench.task import Task, load_task
from tests.helpers.finished import invented_truth

NAME = "matbench_jdft2d"
SCALES = {"good": 30.0, "fair": 60.0, "poor": 120.0, "flagged": 5.0, "silent": 55.0}
"""Entries and the size of their errors; 'silent' has no predictions, 'flagged' may not be compared."""


def task() -> Task:
    return load_task(NAME)


def truth() -> pd.Series:
    return pd.Series(invented_truth(task()), index=task().ids, name="target")


def predictions() -> dict[str, pd.DataFrame]:
    """id, fold, prediction of every entry."""
    fold, values = official_folds(task()), truth()
    tables = {}
    for number, (name, scale) in enumerate(SCALES.items()):
        noise = np.random.default_rng([11, number]).normal(0, scale, len(fold))
        columns = {"id": fold.index, "fold": fold.to_numpy(), "prediction": values.to_numpy() + noise}
        tables[name] = pd.DataFrame(columns)
    return tables


def scores() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables that come with the package, about the invented entries."""
    lines, folds, values = [], [], truth()
    for name, table in predictions().items():
        error = (table["prediction"] - values[table["id"]].to_numpy()).abs().groupby(table["fold"]).mean()
        flag = "suspect" if name == "flagged" else ""
        lines.append({
            "task": NAME, "algorithm": name.upper(), "folder": name, "status": "merged", "metric": "mae",
            "mean": error.mean(), "std": error.std(ddof=0), "folds": 5, "flag": flag, "reason": flag,
            "pretraining": "no", "date": "2024-01-20", "source": "invented",
        })  # fmt: skip
        folds += [{"task": NAME, "algorithm": name.upper(), "fold": k, "score": v} for k, v in error.items()]
    return pd.DataFrame(lines), pd.DataFrame(folds)


def use_invented(monkeypatch: Any) -> None:
    """Let the package read the invented tables."""
    tables = dict(zip(("published.csv", "published_folds.csv"), scores(), strict=True))
    monkeypatch.setattr(published, "_table", tables.__getitem__)


def write_tables(folder: Path, **changed: pd.DataFrame) -> Path:
    """A folder of parquet tables with targets; ``changed`` replaces the predictions of an entry."""
    for place in ("predictions", "targets"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name, table in {**predictions(), **changed}.items():
        if name != "silent":
            table.to_parquet(folder / "predictions" / f"jdft2d__{name}.parquet")
    values = truth().rename_axis("id").reset_index().assign(fold=official_folds(task()).to_numpy())
    values.to_parquet(folder / "targets" / "jdft2d.parquet")
    return folder


def result_file(table: pd.DataFrame, **entries: Any) -> dict[str, Any]:
    """The content of a result file with these predictions; ``entries`` go into every fold."""
    folds = {
        f"fold_{k}": {"data": dict(zip(part["id"], part["prediction"], strict=True)), **entries}
        for k, part in table.groupby("fold")
    }
    return {"tasks": {NAME: {"results": folds}}}


def write_checkout(folder: Path) -> Path:
    """A checkout of Matbench's repository: result files, every second one plain JSON, and the artifacts."""
    for number, (name, table) in enumerate(predictions().items()):
        if name == "silent":
            continue
        place = folder / "benchmarks" / f"matbench_v0.1_{name}"
        place.mkdir(parents=True)
        content = json.dumps(result_file(table)).encode()
        (place / "results.json.gz").write_bytes(content if number % 2 else gzip.compress(content))
    (folder / "scripts" / "artifacts").mkdir(parents=True)
    values = {"mbid": task().ids, "target": truth().tolist()}
    (folder / "scripts" / "artifacts" / f"{NAME}.json.bz2").write_bytes(bz2.compress(json.dumps(values).encode()))
    return folder
