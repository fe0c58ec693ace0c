"""Small folders of every kind that a report reads, each consistent with its cards, named to do harm where they can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from matgl_infomax.leaderboard.comparison import (
    LeaderboardComparison,
    PairedDifference,
    Place,
    RunStanding,
    TaskComparison,
    as_json,
)
from matgl_infomax.leaderboard.results import BenchmarkSpec, score_table
from matgl_infomax.leaderboard.statistics import calibration_quality
from matgl_infomax.leaderboard.verdict import absolute_errors, curve_frame, judge
from matgl_infomax.record import new_card
from tests.helpers.finished import parquet

EVIL = "<script>document.title='owned_'</script>"
UNIT = "eV"
N = 40
"""Test crystals per fold."""


def card(task: str, arm: str, *, labels: int, seed: int, mae: float, fold: int = 0, **more: Any) -> Any:
    """A run card."""
    about: dict[str, Any] = {
        "task": task, "target": "gap", "unit": UNIT, "arm": arm, "fold": fold, "seed": seed, "n_test": N,
        "mask": {"asked": labels, "used": labels, "sha256": "a" * 64}, "initial": {"name": arm, "sha256": None},
        "settings": {"steps": 3, "finetune": {"steps": 5}}, "tried": [{"learning_rate": 0.001, "mae": 0.5}],
        "hashes": {**dict.fromkeys(("run", "data", "folds", "predictions"), "b" * 64), "store": None},
        "cost": {"seconds": 1.5 + seed, "choosing_seconds": None, "pretraining_seconds": 90.0 if arm != "scratch" else
                 None, "peak_memory_mb": 812.4},
        "metrics": {"mae": mae, "rmse": 1.2 * mae, "r2": 0.5},
    }  # fmt: skip
    return new_card(**{**about, **more})


def write_cards(folder: Path, cards: list[Any]) -> None:
    """One card per line."""
    (folder / "cards.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in cards))


def write_study(folder: Path, task: str = "matbench_small") -> Path:
    """A learning curve of three arms at two numbers of labels with three seeds, predictions kept."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    truth, parts, cards = generator.normal(2, 1, N), [], []
    for arm, skill in (("scratch", 0.6), ("finetuned", 0.4), ("mine", 0.7)):
        for labels in (50, 100):
            for seed in range(3):
                answer = truth + generator.normal(0, skill * (50 / labels) ** 0.3, N)
                part = {"task": task, "arm": arm, "labels": labels, "seed": seed, "fold": 0}
                ids = [f"c{k}" for k in range(N)]
                parts.append(pd.DataFrame({**part, "id": ids, "target": truth, "prediction": answer}))
                mae = float(np.abs(parts[-1]["prediction"] - parts[-1]["target"]).mean())
                cards.append(card(task, arm, labels=labels, seed=seed, mae=mae))
    predictions = pd.concat(parts, ignore_index=True)
    verdict = judge(absolute_errors(predictions), target="gap", unit=UNIT, draws=200)
    write_cards(folder, cards)
    curve_frame(one.model_dump() for one in cards).to_csv(folder / "curve.csv", index=False)
    (folder / "predictions.parquet").write_bytes(parquet(predictions))
    (folder / "verdict.json").write_text(verdict.model_dump_json())
    return folder


def write_benchmark(folder: Path, task: str = "matbench_small", *, arm: str = "scratch", folds: int = 5,
                    truth: bool = True, target: str = "gap") -> Path:  # fmt: skip
    """An answer to all folds by one seed."""
    folder.mkdir(parents=True)
    generator, tables, cards = np.random.default_rng(1), [], []
    for fold in range(folds):
        values = generator.normal(2, 1, N)
        table = pd.DataFrame({"id": [f"{fold}-{k}{EVIL}" for k in range(N)], "fold": fold, "target": values,
                              "prediction": values + generator.normal(0, 0.5, N), "std": np.nan})  # fmt: skip
        mae = float(np.abs(table["prediction"] - table["target"]).mean())
        cards.append(card(task, arm, labels=160, seed=0, fold=fold, mae=mae, target=target))
        tables.append(table)
    predictions = pd.concat(tables, ignore_index=True)
    asked = BenchmarkSpec(task=task, target=target, unit=UNIT, kind="regression", arm=arm, model={"name": "sitenet"},
                  folds=list(range(folds)), seeds=[0], labels=None, settings=cards[0].settings,
                  notes=[f"Note with {EVIL}."])  # fmt: skip
    (folder / "benchmark.json").write_text(asked.model_dump_json())
    write_cards(folder, cards)
    score_table(predictions, "regression").to_csv(folder / "scores.csv", index=False)
    (folder / "predictions.parquet").write_bytes(parquet(predictions if truth else predictions.drop(columns="target")))
    if not truth:
        predictions[["id", "target"]].to_csv(folder / "truth.csv", index=False)
    return folder


def write_overlap(folder: Path, benchmark: Path, task: str = "matbench_small") -> Path:
    """A report on a corpus and the five folds, with the errors of one benchmark."""
    folder.mkdir(parents=True)
    counts = {"novel": 10, "formula": 20, "twin": 8, "match": 2}
    folds = [{"fold": str(fold), "crystals": N, **counts} for fold in range(5)]
    folds.append({"fold": "all", "crystals": 5 * N, **{name: 5 * n for name, n in counts.items()}})
    pd.DataFrame(folds).to_csv(folder / "folds.csv", index=False)
    mae = pd.read_csv(benchmark / "scores.csv")["mae"].mean()
    line = {"benchmark": benchmark.name, "arm": "scratch", "guess": 0.9, "low": 0.9 * mae, "high": 1.1 * mae,
            "ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan}  # fmt: skip
    kinds = {**{name: 5 * n for name, n in counts.items()}, "all": 5 * N}
    lines = [{**line, "level": name, "crystals": n, "error": mae} for name, n in kinds.items()]
    pd.DataFrame(lines).to_csv(folder / "scores.csv", index=False)
    facts = {"task": task, "corpus": f"corpus{EVIL}", "corpus_crystals": 1234, "benchmarks": [benchmark.name],
             "levels": {name: 5 * n for name, n in counts.items()}}  # fmt: skip
    (folder / "overlap.json").write_text(json.dumps(facts))
    return folder


def write_map(folder: Path) -> Path:
    """A representation study: two arms, a map of forty crystals."""
    folder.mkdir(parents=True)
    generator, cards, fits, parts = np.random.default_rng(2), [], [], []
    for arm in ("pretrained", "untrained-0"):
        settings = {"head": "ridge", "scaling": "standard", "dimensions": 8}
        cards.append(card("own data", arm, labels=50, seed=0, mae=0.3, settings=settings))
        fits.append({"arm": arm, "head": "ridge", "scaling": "standard", "labels": 50, "seed": 0, "mae": 0.3})
        facts = {"arm": arm, "id": [f"c{k}" for k in range(N)], "target": generator.normal(0, 1, N)}
        systems = generator.choice(["cubic", "hexagonal", EVIL], N)
        points = {f"{name}_{k}": generator.normal(0, 1, N) for name in ("pca", "tsne") for k in (1, 2)}
        parts.append(pd.DataFrame({**facts, "crystal_system": systems, "element": "O", **points}))
    write_cards(folder, cards)
    pd.DataFrame(fits).to_csv(folder / "fits.csv", index=False)
    pd.concat(parts).to_csv(folder / "map.csv", index=False)
    return folder


def duel(ours: str, other: str, score: float, difference: float, half: float, p: float) -> PairedDifference:
    """One comparison."""
    return PairedDifference(
        ours=ours, other=other, way="per material", score=score, other_score=score - difference, difference=difference,
        low=difference - half, high=difference + half, low_materials=difference - half,
        high_materials=difference + half, p=p / 2, p_holm=p, p_sign=p, p_wilcoxon=float("nan"),
        closer=0.4, folds_won=1, folds=5, materials=5 * N,
    )  # fmt: skip


def write_comparison(folder: Path, benchmark: Path, task: str = "matbench_small") -> Path:
    """An answer beside three published entries."""
    folder.mkdir(parents=True)
    scores = pd.read_csv(benchmark / "scores.csv")["mae"]
    mean, std, name = float(scores.mean()), float(scores.std(ddof=0)), benchmark.name
    others = {"coNGN": (0.1, 0.02, 0.001), f"alignn{EVIL}": (0.01, 0.05, 0.6), "dummy": (-0.5, 0.1, 0.001)}
    duels = tuple(duel(name, other, mean, *numbers) for other, numbers in others.items())
    strata = [{"by": "value", "kind": "low", "materials": 100, "error": 0.3, "reference_error": 0.2, "guess": 0.9,
               "difference": 0.1, "low": 0.05, "high": 0.15, "p_holm": 0.01, "finding": "worse"},
              {"by": "value", "kind": "rare", "materials": 1, "error": 0.3, "reference_error": 0.2, "guess": 0.9,
               "difference": np.nan, "low": np.nan, "high": np.nan, "p_holm": np.nan, "finding": "tie"}]  # fmt: skip
    worst = {"id": [f"w{EVIL}"], "fold": [0], "error": [3.0], "times_mean": [7.5], "reference_error": [1.0]}
    generator = np.random.default_rng(4)
    truth, std_of = generator.normal(size=200), np.full(200, 0.5)
    run = RunStanding(
        name=name, folder=benchmark, source="benchmark", arm="scratch", network="sitenet", labels=None, seeds=1,
        score=mean, std=std, fold_scores=tuple(scores), place=Place(3, 4, 2, 3), duels=duels,
        predictions=pd.DataFrame(), strata=pd.DataFrame(strata), reference="coNGN", worst=pd.DataFrame(worst),
        calibration=calibration_quality(truth, truth + generator.normal(0, 0.5, 200), std_of),
    )  # fmt: skip
    table = [{"entry": entry, "own": entry == name, "score": mean - gap, "std": 0.01, "ranked": True, "place": place,
              "group": place, "predictions": True, "status": "merged", "flag": "", "reason": "", "source": "x",
              "date": "2024"} for place, (entry, gap) in
             enumerate([("coNGN", 0.1), (f"alignn{EVIL}", 0.01), (name, 0.0), ("dummy", -0.5)], 1)]  # fmt: skip
    own = TaskComparison(
        task=task, target="gap", unit=UNIT, kind="regression", metric="mae", folds=(0, 1, 2, 3, 4), materials=5 * N,
        runs=(run,), own=(), table=pd.DataFrame(table), groups=(("coNGN",), (f"alignn{EVIL}", name), ("dummy",)),
    )  # fmt: skip
    content = as_json(LeaderboardComparison((own,), 1000, "folder", "merged"))
    (folder / "comparison.json").write_text(json.dumps(content))
    return folder


def write_all(folder: Path) -> Path:
    """One of each kind below one folder."""
    write_study(folder / "study")
    benchmark = write_benchmark(folder / "answer")
    write_overlap(folder / "overlap", benchmark)
    write_map(folder / "vectors")
    write_comparison(folder / "comparison", benchmark)
    return folder
