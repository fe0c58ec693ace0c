"""The files of a comparison: JSON, Markdown and tables; none of them holds a true value or a prediction."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.standing import Duel, LeaderboardComparison, RunStanding, TaskComparison

JSON_FILE, TEXT_FILE, DUELS_FILE, STRATA_FILE = "comparison.json", "comparison.md", "comparison.csv", "strata.csv"


def write_comparison(result: LeaderboardComparison, out: Path) -> None:
    """Write a comparison.

    Args:
        result: what to write.
        out: folder; gets comparison.json (all numbers), comparison.md (to read), comparison.csv (one line per
            comparison) and strata.csv (one line per answer and kind of material).

    Raises:
        OSError: If nothing can be written.
    """
    strata = [run.strata.assign(task=task.task, answer=run.name, reference=run.reference)
              for task in result.tasks for run in task.runs if len(run.strata)]  # fmt: skip
    atomic_write(out / JSON_FILE, json.dumps(as_json(result), indent=1, allow_nan=False) + "\n")
    atomic_write(out / TEXT_FILE, result.to_markdown() + "\n")
    atomic_write(out / DUELS_FILE, result.to_frame().to_csv(index=False, float_format="%.8g"))
    if strata:
        table = pd.concat(strata, ignore_index=True)
        first = ["task", "answer", "reference"]
        table = table[[*first, *(name for name in table if name not in first)]]
        atomic_write(out / STRATA_FILE, table.to_csv(index=False, float_format="%.6g"))
    else:
        (out / STRATA_FILE).unlink(missing_ok=True)  # of an earlier comparison


def as_json(result: LeaderboardComparison) -> dict[str, Any]:
    """All numbers of a comparison as plain values; what is not known is None.

    Args:
        result: the comparison.
    """
    return _plain({
        "format": 1,
        "draws": result.draws,
        "published": result.published,
        "ranked": result.ranked,
        "notes": list(result.notes),
        "tasks": [_task(task) for task in result.tasks],
    })  # fmt: skip


def _task(task: TaskComparison) -> dict[str, Any]:
    """One task."""
    return {
        "task": task.task, "target": task.target, "unit": task.unit, "kind": task.kind, "metric": task.metric,
        "folds": list(task.folds), "materials": task.materials, "groups": [list(group) for group in task.groups],
        "notes": list(task.notes), "runs": [_run(run) for run in task.runs],
        "own": [_duel(duel) for duel in task.own], "table": task.table.to_dict("records"),
    }  # fmt: skip


def _run(run: RunStanding) -> dict[str, Any]:
    """One answer."""
    worst = run.worst.drop(columns=["error", "reference_error"])  # with a prediction they give the true value
    return {
        "name": run.name, "source": run.source, "arm": run.arm, "network": run.network, "labels": run.labels,
        "seeds": run.seeds, "score": run.score, "std": run.std, "fold_scores": list(run.fold_scores),
        "place": asdict(run.place), "reference": run.reference, "notes": list(run.notes),
        "duels": [_duel(duel) for duel in run.duels], "strata": run.strata.to_dict("records"),
        "worst": worst.round({"times_mean": 1}).to_dict("records"),
        "calibration": asdict(run.calibration) if run.calibration is not None else None,
    }  # fmt: skip


def _duel(duel: Duel) -> dict[str, Any]:
    """One comparison with its finding."""
    return {**asdict(duel), "finding": duel.finding}


def _plain(value: Any) -> Any:
    """Plain Python values without NaN, at every depth; numbers with ten digits, which all machines agree on."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value
