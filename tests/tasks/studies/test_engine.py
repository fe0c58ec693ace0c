"""A grid of runs is worked off once: what is finished stays, what stopped goes on, and half a run does not count."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import sha256_of
from matgl_infomax.record import RunCard
from matgl_infomax.settings.commands import ProbeConfig
from matgl_infomax.tasks.studies.engine import (
    CardGrid,
    Grid,
    Outcome,
    carry_out_all,
    error_metrics,
    hash_of,
    settings_of,
    take_folder,
    write_table,
)


@dataclass(frozen=True)
class Settings:
    """Settings of a grid that only counts."""

    out: Path
    factor: float = 2.0
    workers: int = 1
    launcher: str = "local"


@dataclass(frozen=True)
class Step:
    """A run."""

    number: int

    @property
    def name(self) -> str:
        return f"step-{self.number}"


@dataclass(frozen=True)
class Counting(CardGrid[Step]):
    """Predicts a multiple of the run's number for three crystals, and notes what it was asked for."""

    kind: ClassVar[str] = "counting"

    config: Settings
    steps: int = 3
    held: bool = False
    fails: int = -1
    seen: list[int] = field(default_factory=list)

    @property
    def runs(self) -> list[Step]:
        return [Step(k) for k in range(self.steps)]

    @property
    def calibrated(self) -> bool:
        return self.held

    def claim(self) -> dict[str, Any]:
        return {"factor": self.config.factor}

    def run_hash(self, run: Step) -> str:
        return hash_of(self.claim(), run.number)

    def carry_out(self, run: Step) -> Outcome:
        self.seen.append(run.number)
        if run.number == self.fails:
            raise KeyboardInterrupt
        truth, found = np.arange(3.0), np.full(3, self.config.factor * run.number)
        table = pd.DataFrame({"target": truth, "prediction": found})
        card = {
            "task": "t", "target": "y", "unit": None, "arm": "a", "fold": 0, "seed": 0, "n_test": 3, "tried": [],
            "mask": {"asked": 1, "used": 1, "sha256": 64 * "0"}, "initial": {"name": "a", "sha256": None},
            "settings": self.claim(), "hashes": {"data": 64 * "1", "folds": 64 * "2", "store": None},
            "cost": {"seconds": 0.0, "pretraining_seconds": None}, "metrics": error_metrics(truth, found),
        }  # fmt: skip
        return Outcome(table, card, table if self.held else None)


def work(grid: Counting) -> tuple[RunCard, ...]:
    take_folder(grid)
    carry_out_all(grid, progress=False)
    return grid.collect_cards()


def test_each_run_leaves_table_and_card_and_is_never_repeated(tmp_path):
    grid = Counting(Settings(out=tmp_path))
    cards = work(grid)
    assert grid.seen == [0, 1, 2]
    for run, card in zip(grid.runs, cards, strict=True):
        files = grid.files(run)
        assert files.predictions == tmp_path / "runs" / f"step-{run.number}.parquet"
        assert card.hashes.predictions == sha256_of(files.predictions.read_bytes())
        assert card.hashes.run == grid.run_hash(run) and card.cost.peak_memory_mb > 0
        assert card.metrics.mae == pytest.approx(np.abs(2 * run.number - np.arange(3)).mean())
    lines = (tmp_path / "cards.jsonl").read_text().splitlines()
    assert tuple(RunCard.model_validate_json(line) for line in lines) == cards
    again = Counting(Settings(out=tmp_path), steps=4)
    assert work(again)[:3] == cards and again.seen == [3]
    assert [table["prediction"][0] for table in again.tables(["prediction"])] == [0, 2, 4, 6]


def test_what_was_stopped_goes_on(tmp_path):
    first = Counting(Settings(out=tmp_path), fails=1)
    with pytest.raises(KeyboardInterrupt):
        work(first)
    second = Counting(Settings(out=tmp_path))
    work(second)
    assert (first.seen, second.seen) == ([0, 1], [1, 2])


@pytest.mark.parametrize("damage", ["card gone", "table gone", "table changed", "held-out table gone", "other run"])
def test_a_run_that_is_not_whole_is_repeated(tmp_path, damage):
    grid = Counting(Settings(out=tmp_path), held=True)
    before = work(grid)
    files, other = grid.files(Step(1)), grid.files(Step(2))
    if damage == "card gone":
        files.card.unlink()
    elif damage == "table gone":
        files.predictions.unlink()
    elif damage == "table changed":
        files.predictions.write_bytes(other.predictions.read_bytes())
    elif damage == "held-out table gone":
        files.held_out.unlink()
    else:
        card = json.loads(files.card.read_text())
        card["hashes"]["run"] = grid.run_hash(Step(2))
        files.card.write_text(json.dumps(card))
    again = Counting(Settings(out=tmp_path), held=True)
    after = work(again)
    assert again.seen == [1]
    assert [card.metrics for card in after] == [card.metrics for card in before]


def test_another_study_is_refused_and_a_broken_card_is_said(tmp_path):
    grid = Counting(Settings(out=tmp_path))
    work(grid)
    with pytest.raises(InputError, match=r"its factor is 2\.0, this one's is 3\.0"):
        work(Counting(Settings(out=tmp_path, factor=3.0)))
    grid.files(Step(0)).card.write_text("{")
    with pytest.raises(InputError, match="no valid run card"):
        work(grid)


def test_a_check_is_made_before_the_first_run_and_after_each(tmp_path):
    grid, calls = Counting(Settings(out=tmp_path)), []
    take_folder(grid)
    carry_out_all(grid, check=lambda: calls.append(len(grid.seen)), progress=False)
    assert calls == [0, 1, 2, 3]


def test_several_workers_leave_the_same_files(tmp_path):
    alone = work(Counting(Settings(out=tmp_path / "one")))
    together = work(Counting(Settings(out=tmp_path / "two", workers=2)))
    assert [card.hashes for card in together] == [card.hashes for card in alone]


def test_a_grid_says_all_that_the_engine_needs():
    missing = {"runs", "claim", "is_finished", "complete"}
    assert missing == set(Grid.__abstractmethods__)
    assert set(CardGrid.__abstractmethods__) == {"runs", "claim", "run_hash", "carry_out"}


def test_hashes_do_not_depend_on_the_order_of_names():
    assert hash_of({"a": 1, "b": [2, None]}, "x") == hash_of({"b": [2, None], "a": 1}, "x")
    assert hash_of({"a": 1}) == sha256_of('[{"a": 1}]')
    assert len({hash_of(), hash_of(None), hash_of("None"), hash_of(1), hash_of("1")}) == 5


def test_settings_come_from_a_config_or_from_options():
    known = ProbeConfig(data="d", checkpoint="c", out="o")
    assert settings_of(ProbeConfig, known, {}) is known
    assert settings_of(ProbeConfig, None, {"data": "d", "checkpoint": "c", "out": "o"}) == known
    with pytest.raises(InputError, match=r"not both\. Received both: seed"):
        settings_of(ProbeConfig, known, {"seed": 1})


def test_a_table_is_whole_or_absent(tmp_path):
    table = pd.DataFrame({"a": [1.0, 2.0]})
    content = write_table(tmp_path / "deep" / "t.parquet", table)
    assert (tmp_path / "deep" / "t.parquet").read_bytes() == content
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "deep" / "t.parquet"), table)


def test_metrics_are_the_textbook_ones():
    truth, prediction = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    found = error_metrics(truth, prediction)
    assert found["mae"] == pytest.approx(0.5)
    assert found["rmse"] == pytest.approx(np.sqrt(1.25 / 3))
    assert found["r2"] == pytest.approx(1 - 1.25 / (14 / 3))
    assert error_metrics(np.ones(3), prediction)["r2"] is None
