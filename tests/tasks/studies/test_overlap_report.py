"""The report on an overlap: tables per fold, scores by kind of crystal, files, picture, command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.cli import main
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS
from matgl_infomax.leaderboard.results import read_benchmark
from matgl_infomax.tasks.matbench import data
from matgl_infomax.tasks.matbench.task import N_FOLDS, load_task
from matgl_infomax.tasks.studies import overlap as overlap_jobs
from matgl_infomax.tasks.studies import overlap_report
from matgl_infomax.tasks.studies.overlap import LEVELS, Overlap
from matgl_infomax.tasks.studies.overlap_report import Scored, make_report, overlap_score_table, read_scored
from matgl_infomax.tasks.studies.plots import plot_overlap
from tests.helpers.finished import finished
from tests.helpers.polymorphs import named, perovskite, rotated, zinc_sulfide
from tests.helpers.vouched import assert_vouched

TASK = load_task("matbench_jdft2d")
KINDS = 24
"""Crystals of the task that are not novel, or were meant to be."""


@pytest.fixture
def official(crystals, monkeypatch):
    """All rows of the task: the first ones novel, formula, twin, match, novel ...; the rest novel."""
    salt, copper = (next(c for c in crystals if c.id == name) for name in ("NaCl", "Cu"))
    turns = [copper, zinc_sulfide("zincblende"), perovskite(38, 22), salt]
    rows = [named(turns[k % 4] if k < KINDS else copper, id) for k, id in enumerate(TASK.ids)]
    found = Crystals(rows)
    monkeypatch.setattr(data, "task_crystals", lambda *_, **__: found)
    return found


@pytest.fixture
def corpus(crystals, tmp_path):
    """A table of three crystals, and one without volume."""
    salt = next(c for c in crystals if c.id == "NaCl")
    wanted = [rotated(named(salt, "salt"), 0.4), zinc_sulfide("wurtzite"), perovskite(22, 38, "swapped")]
    wanted.append(replace(salt, id="flat", lattice=np.zeros((3, 3))))
    columns = {
        "material_id": [c.id for c in wanted],
        "lattice": [c.lattice.ravel() for c in wanted],
        "atomic_numbers": [c.numbers for c in wanted],
        "frac_coords": [c.frac.ravel() for c in wanted],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def fold_of_rows() -> np.ndarray:
    fold = np.empty(TASK.card.n_rows, dtype=int)
    for k in range(N_FOLDS):
        fold[TASK.fold(k).test] = k
    return fold


def command(corpus, out, *more):
    words = ["overlap", "--data", str(corpus), "--on-error", "skip", "--task", "jdft2d", "--out", str(out)]
    return main([*words, "--cache", str(out.parent / "cache"), *map(str, more)])


def test_the_command_writes_the_whole_report(official, corpus, tmp_path, capsys, monkeypatch):
    out, runs = tmp_path / "out", [finished(tmp_path / name, "jdft2d") for name in ("scratch", "pretrained")]
    assert command(corpus, out, "--scores", *runs) == 0
    text = capsys.readouterr().out
    assert text.strip() == (out / "summary.md").read_text().strip()
    assert "| all | 636 | 618 (97.2%) | 6 (0.9%) | 6 (0.9%) | 6 (0.9%) |" in text
    assert "### pretrained (arm scratch)" in text and "Kinds with fewer than 30 crystals say little" in text

    rows, fold = pd.read_csv(out / "crystals.csv", keep_default_na=False), fold_of_rows()
    assert list(rows["id"]) == TASK.ids and (rows["fold"] == fold).all()
    assert list(rows["level"][:KINDS]) == list(LEVELS) * (KINDS // 4) and set(rows["level"][KINDS:]) == {"novel"}
    assert list(rows["closest"][:4]) == ["", "wurtzite", "swapped", "salt"]
    assert list(rows["match"][:4]) == [0, 0, 0, 1]

    folds = pd.read_csv(out / "folds.csv", dtype={"fold": str})
    assert list(folds["fold"]) == ["0", "1", "2", "3", "4", "all"]
    for k, level in enumerate(LEVELS):
        wanted = np.bincount(fold[:KINDS][k::4], minlength=N_FOLDS) if k else folds["novel"][:N_FOLDS]
        assert (folds[level][:N_FOLDS] == wanted).all()
    assert (folds[list(LEVELS)].sum(axis=1) == folds["crystals"]).all()
    assert (folds.iloc[-1][["corpus_formula", "corpus_twin", "corpus_match"]] == 1).all()

    tables = {"pairs.parquet", "crystals.csv", "folds.csv", "scores.csv"}
    assert_vouched(out, {*tables, "overlap.json", "summary.md"})
    facts = json.loads((out / "overlap.json").read_text())
    assert facts["corpus_crystals"] == 3 and facts["corpus_left_out"] == 1 and facts["pairs"] == 18
    assert len({facts["task_structures_sha256"], facts["corpus_structures_sha256"]}) == 2
    assert facts["levels"] == {"novel": 618, "formula": 6, "twin": 6, "match": 6} and facts["undecided"] == 0
    assert facts["corpus_levels"] == {"novel": 0, "formula": 1, "twin": 1, "match": 1}
    assert len(pd.read_parquet(out / "pairs.parquet")) == 18
    assert len(pd.read_csv(out / "scores.csv")) == 2 * (len(LEVELS) + 2)
    assert (out / "overlap.png").read_bytes().startswith(b"\x89PNG") and (out / "overlap.svg").is_file()

    monkeypatch.setattr(overlap_jobs, "compare_block", None)  # everything is in the cache
    assert command(corpus, out, "--scores", *runs) == 0
    assert capsys.readouterr().out == text


def test_a_report_without_scores_has_none(official, corpus, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.csv").write_text("of an earlier report")
    assert command(corpus, tmp_path / "out") == 0
    assert "Scores" not in capsys.readouterr().out
    assert "scores.csv" not in (tmp_path / "out" / SUMS).read_text()
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_a_benchmark_of_another_task_is_refused_before_anything_is_read(tmp_path, capsys):
    run = finished(tmp_path / "steels", "steels")
    (tmp_path / "broken.parquet").write_text("never read")
    assert command(tmp_path / "broken.parquet", tmp_path / "out", "--scores", run) == 2
    assert "answers matbench_steels; the report is about matbench_jdft2d" in capsys.readouterr().err


def test_a_benchmark_of_unknown_crystals_is_refused(tmp_path, monkeypatch):
    run = finished(tmp_path / "run", "jdft2d")
    result = read_benchmark(run)
    result.predictions.loc[0, "id"] = "mb-jdft2d-999"
    monkeypatch.setattr(overlap_report, "read_benchmark", lambda _: result)
    with pytest.raises(InputError, match="mb-jdft2d-999, which is no crystal of matbench_jdft2d"):
        read_scored(run, TASK)


def scored(name: str, error: np.ndarray, rows: np.ndarray | None = None) -> Scored:
    """A benchmark with these errors."""
    truth = np.random.default_rng(0).normal(100, 30, len(error))
    table = pd.DataFrame({"id": TASK.ids, "target": truth, "prediction": truth + error})
    return Scored(name, name, table if rows is None else table.iloc[rows])


def test_errors_are_split_by_level():
    generator = np.random.default_rng(1)
    level = generator.integers(0, 4, TASK.card.n_rows).astype(np.int8)
    first = np.where(generator.random(len(level)) < 0.5, -1, 1) * (4.0 + generator.random(len(level)))
    # Pretraining halves the error on matches and changes nothing elsewhere.
    second = np.where(level == 3, 0.5, 1.0) * first
    table = overlap_score_table([scored("scratch", first), scored("corpus", second)], TASK, level)
    found = table.set_index(["benchmark", "level"])
    for k, name in enumerate(LEVELS):
        assert found.loc[("scratch", name), "crystals"] == (level == k).sum()
        assert found.loc[("corpus", name), "error"] == pytest.approx(np.abs(second[level == k]).mean())
        assert found.loc[("corpus", name), "ratio"] == pytest.approx(0.5 if name == "match" else 1.0)
    assert found.loc[("scratch", "seen"), "error"] == pytest.approx(np.abs(first[level > 0]).mean())
    assert found.loc[("scratch", "all"), "low"] < np.abs(first).mean() < found.loc[("scratch", "all"), "high"]
    truth = scored("scratch", first).predictions["target"]
    assert found.loc[("scratch", "all"), "guess"] == pytest.approx((truth - truth.median()).abs().mean())
    assert found.loc["scratch", "ratio"].isna().all()


def test_benchmarks_of_other_folds_are_not_compared():
    level, error = np.zeros(TASK.card.n_rows, np.int8), np.ones(TASK.card.n_rows)
    part, other = scored("part", error, TASK.fold(0).test), scored("other", error)
    assert overlap_score_table([part, other], TASK, level)["ratio"].isna().all()
    table = overlap_score_table([other, part], TASK, level).set_index(["benchmark", "level"])
    assert table.loc[("part", "all"), "ratio"] == 1 and table.loc[("part", "all"), "crystals"] == 128


def test_classes_are_counted_wrong_or_right(tmp_path):
    task = load_task("expt_is_metal")
    run = read_scored(finished(tmp_path / "metal", "expt_is_metal"), task)
    level = np.zeros(task.card.n_rows, np.int8)
    found = overlap_score_table([run], task, level).set_index("level").loc["novel"]
    table = run.predictions
    assert found["error"] == pytest.approx(((table["prediction"] > 0.5) != (table["target"] > 0.5)).mean())
    assert found["guess"] == pytest.approx(min(table["target"].mean(), 1 - table["target"].mean()))
    overlap = Overlap(level, np.zeros(1, np.int8), no_pairs(), 0)
    assert "share of wrong classes" in make_report(task, task.ids, overlap, [run], "corpus").to_text()


def no_pairs() -> pd.DataFrame:
    return pd.DataFrame({"id": [], "corpus_id": [], "level": [], "decided": np.zeros(0, bool)})


def test_what_could_not_be_decided_is_said():
    level = np.zeros(TASK.card.n_rows, np.int8)
    level[5] = 3
    pairs = pd.DataFrame({"id": [TASK.ids[5]], "corpus_id": ["a"], "level": ["match"], "decided": [False]})
    report = make_report(TASK, TASK.ids, Overlap(level, np.array([3, 0], np.int8), pairs, 2), [], "corpus")
    assert "1 pairs could not be compared within the bound" in report.to_text()
    assert "2 crystals have no space group" in report.to_text()
    folds = report.folds.set_index("fold")
    assert folds.loc["all", "undecided"] == folds.loc[str(fold_of_rows()[5]), "undecided"] == 1


@pytest.mark.parametrize("size", [2.0, 0.0], ids=["logarithmic", "an answer without error"])
def test_the_picture_shows_every_benchmark(tmp_path, size):
    from matplotlib.image import imread

    level = np.repeat(np.arange(4, dtype=np.int8), TASK.card.n_rows // 4)
    runs = [scored(name, np.full(TASK.card.n_rows, error)) for name, error in (("one", 3.0), ("two", size))]
    report = make_report(TASK, TASK.ids, Overlap(level, level, no_pairs(), 0), runs, "corpus")
    widths = []
    for scores in (report.scores, report.scores[:0]):
        plot_overlap(report.folds, scores, tmp_path / "overlap.png", task=TASK, corpus="corpus")
        picture = imread(tmp_path / "overlap.png")  # (height, width, 4)
        assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 100  # not a blank sheet
        widths.append(picture.shape[1])
    assert widths[0] > 1.5 * widths[1]  # with scores there is a second panel
