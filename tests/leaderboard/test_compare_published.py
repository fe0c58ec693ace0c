"""Our answers beside an invented leaderboard whose order is known: places, differences, ties, files, command."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.cli import main
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.compare_published import compare_with_published
from matgl_infomax.leaderboard.comparison import as_json
from matgl_infomax.leaderboard.results import read_answers
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.tasks.matbench import data
from matgl_infomax.tasks.matbench.task import load_task
from tests.helpers import invented
from tests.helpers.finished import finished, invented_truth
from tests.helpers.vouched import assert_vouched

TASK = invented.task()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two benchmarks with errors of about 28 (two models) and 40 (one), and the invented leaderboard."""
    place = tmp_path_factory.mktemp("compared")
    finished(place / "ours", invented.NAME, seeds=2)
    cards = [json.loads(line) for line in (place / "ours" / "cards.jsonl").read_text().splitlines()]
    for card in cards:  # the models of the two seeds differ a little
        card["metrics"]["mae"] += card["seed"] * (1 + 0.1 * card["fold"])
    (place / "ours" / "cards.jsonl").write_text("".join(f"{json.dumps(card)}\n" for card in cards))
    finished(place / "single", invented.NAME, seeds=[7])
    invented.write_tables(place / "tables")
    table = pd.DataFrame({"id": TASK.ids, "crystal_system": ["cubic", "trigonal"] * 318, "sites": np.arange(636) % 40})
    table.to_csv(place / "attributes.csv", index=False)
    return place


@pytest.fixture
def _invented(monkeypatch):
    invented.use_invented(monkeypatch)


@pytest.fixture(scope="module")
def result(folders):
    with pytest.MonkeyPatch.context() as patch:
        invented.use_invented(patch)
        return compare_with_published(
            run=[folders / "ours", folders / "single"], published=folders / "tables", draws=2000,
            attributes=str(folders / "attributes.csv"), out=folders / "out",
        )  # fmt: skip


def run_of(result, name):
    return next(run for run in result.tasks[0].runs if run.name == name)


def test_place_and_findings_are_the_known_ones(result):
    (task,) = result.tasks
    ours = run_of(result, "ours")
    found = {duel.other: duel for duel in ours.duels}
    assert list(found) == ["GOOD", "SILENT", "FAIR", "POOR"]  # the flagged one is left out
    assert (found["GOOD"].finding, found["FAIR"].finding, found["POOR"].finding) == ("worse", "better", "better")
    assert found["SILENT"].way == "per fold" and found["SILENT"].materials == 0 and math.isnan(found["SILENT"].p_sign)
    assert (ours.place.place, ours.place.of) == (2, 5) and ours.place.best == 2 and ours.place.worst <= 3
    assert task.runs[0] is ours and task.groups[0] == ("GOOD",)
    assert list(task.table.loc[task.table["ranked"], "entry"]) == ["GOOD", "SILENT", "FAIR", "POOR"]
    assert task.table.set_index("entry").loc["FLAGGED", "place"] == 0


def test_differences_are_those_of_the_means(result):
    ours, truth = run_of(result, "ours"), invented.truth()
    other = invented.predictions()["fair"]
    error = other["prediction"].to_numpy() - truth[other["id"]].to_numpy()
    by_fold = pd.Series(np.abs(error)).groupby(other["fold"]).mean()
    duel = next(duel for duel in ours.duels if duel.other == "FAIR")
    assert duel.other_score == pytest.approx(by_fold.mean()) and ours.score == pytest.approx(np.mean(ours.fold_scores))
    assert duel.difference == pytest.approx(ours.score - by_fold.mean())
    assert duel.low < duel.low_materials < duel.difference < duel.high_materials < duel.high
    assert duel.folds_won == 5 and duel.materials == 636 and duel.p_wilcoxon < 0.001
    mine = ours.predictions.set_index("id")["error"].loc[other["id"]].to_numpy()
    assert duel.closer == pytest.approx((mine < np.abs(error)).mean())


def test_one_seed_leaves_other_seeds_out(result):
    single = run_of(result, "single")
    for duel in single.duels:
        if duel.materials:
            assert (duel.low, duel.high) == (duel.low_materials, duel.high_materials)
    (own,) = result.tasks[0].own
    assert (own.ours, own.other) == ("ours", "single") and own.finding == "better"


def test_strata_largest_errors_and_uncertainty(result):
    ours, single = run_of(result, "ours"), run_of(result, "single")
    strata = ours.strata.set_index(["by", "kind"])
    assert ours.reference == "GOOD" and set(strata.index.get_level_values("by")) == {
        "all", "true value", "crystal system", "sites"}  # fmt: skip
    assert strata.loc[("crystal system", "cubic"), "materials"] == 318
    assert strata.loc[("all", "all"), "difference"] > 0 and strata.loc[("all", "all"), "finding"] == "worse"
    worst = ours.predictions.nlargest(10, "error")
    assert list(ours.worst["id"]) == list(worst["id"]) and "crystal_system" in ours.worst
    assert ours.calibration is not None and ours.calibration.materials == 636
    assert single.calibration is None  # one model has no spread


def test_everything_can_be_shown(result):
    text = result.to_markdown()
    for said in ("| jdft2d | ours |", "2 of 5", "POOR", "per fold", "Largest errors", "95 % intervals hold"):
        assert said in text
    assert "Largest errors" not in result.to_markdown(details=False)
    frame = result.to_frame()
    assert len(frame) == 9 and list(frame.columns[:3]) == ["task", "ours", "other"]
    assert len(run_of(result, "ours").to_frame()) == 4 and len(result.tasks[0].to_frame()) == 9
    for thing in (result, result.tasks[0], run_of(result, "ours")):
        assert thing.plot().axes[0].get_xlabel().startswith("error of ours")


def test_files_hold_the_numbers_and_no_true_value(result, folders):
    assert_vouched(folders / "out", {"comparison.json", "comparison.md", "comparison.csv", "strata.csv"})
    content = json.loads((folders / "out" / "comparison.json").read_text())
    assert content == as_json(result)
    (task,) = content["tasks"]
    assert task["runs"][0]["place"] == {"place": 2, "of": 5, "best": 2, "worst": run_of(result, "ours").place.worst}
    assert "error" not in task["runs"][0]["worst"][0] and "predictions" not in task["runs"][0]
    assert (folders / "out" / "comparison.md").read_text() == result.to_markdown() + "\n"
    assert len(pd.read_csv(folders / "out" / "comparison.csv")) == 9
    assert set(pd.read_csv(folders / "out" / "strata.csv")["answer"]) == {"ours", "single"}
    text = "".join(file.read_text() for file in (folders / "out").iterdir())
    assert not [value for value in invented.truth() if f"{value:.9g}" in text or f"{value:.7g}" in text]


@pytest.mark.usefixtures("_invented")
def test_the_same_call_gives_the_same_numbers(folders, result):
    again = compare_with_published(
        run=[folders / "ours", folders / "single"], published=folders / "tables", draws=2000,
        attributes=str(folders / "attributes.csv"),
    )  # fmt: skip
    assert as_json(again) == as_json(result)


@pytest.mark.usefixtures("_invented")
def test_without_predictions_only_folds_are_compared(folders):
    found = compare_with_published(run=[folders / "ours"], draws=500)
    ours = found.tasks[0].runs[0]
    assert {duel.way for duel in ours.duels} == {"per fold"} and found.published == "none"
    assert ours.reference == "" and not len(ours.strata) and len(ours.worst) == 10


@pytest.mark.usefixtures("_invented")
def test_entries_are_chosen_by_name_also_flagged_ones(folders):
    found = compare_with_published(run=[folders / "ours"], published=folders / "tables", entries=["flagged"], draws=500)
    ours = found.tasks[0].runs[0]
    assert [duel.other for duel in ours.duels] == ["FLAGGED"]
    assert (ours.place.place, ours.place.of, ours.place.best, ours.place.worst) == (2, 5, 1, 5)
    everything = compare_with_published(run=[folders / "ours"], published=folders / "tables", ranked="all", draws=500)
    assert everything.tasks[0].runs[0].place.of == 6
    with pytest.raises(InputError, match="No published entry is called 'nobody'"):
        compare_with_published(run=[folders / "ours"], entries=["nobody"])


@pytest.mark.usefixtures("_invented")
def test_a_damaged_entry_is_left_out_and_named(folders, tmp_path):
    table = invented.predictions()["fair"]
    invented.write_tables(tmp_path, fair=table.iloc[1:])
    found = compare_with_published(run=[folders / "ours"], published=tmp_path, draws=500)
    (task,) = found.tasks
    assert any("Predictions of FAIR were left out" in note and "missing" in note for note in task.notes)
    assert next(duel for duel in task.runs[0].duels if duel.other == "FAIR").way == "per fold"


@pytest.mark.usefixtures("_invented")
def test_fold_0_alone_is_compared_apart_and_a_single_fold_is_not_tested(folders, tmp_path):
    part = tmp_path / "first"
    shutil.copytree(folders / "ours", part)
    asked = json.loads((part / "benchmark.json").read_text())
    (part / "benchmark.json").write_text(json.dumps({**asked, "folds": [0]}))
    lines = [line for line in (part / "cards.jsonl").read_text().splitlines() if json.loads(line)["fold"] == 0]
    (part / "cards.jsonl").write_text("".join(f"{line}\n" for line in lines))
    table = pd.read_parquet(part / "predictions.parquet")
    table[table["fold"] == 0].to_parquet(part / "predictions.parquet", index=False)
    scores = pd.read_csv(part / "scores.csv")
    scores[scores["fold"] == 0].to_csv(part / "scores.csv", index=False)
    found = compare_with_published(run=[folders / "single", part], published=folders / "tables", draws=500)
    whole, first = found.tasks
    assert whole.folds == (0, 1, 2, 3, 4) and first.folds == (0,) and first.materials == 128
    assert any("Only fold 0" in note for note in first.notes)
    silent = next(duel for duel in first.runs[0].duels if duel.other == "SILENT")
    assert silent.finding == "untested" and "untested" in found.to_markdown()


def test_classes_are_compared_at_one_half(tmp_path):
    """Matbench's 'rocauc' is the balanced accuracy of classes: probabilities make no difference."""
    finished(tmp_path / "soft", "matbench_expt_is_metal")
    task = load_task("matbench_expt_is_metal")
    (run,) = compare_with_published(run=[tmp_path / "soft"], draws=200).tasks[0].runs
    truth = invented_truth(task)
    table = run.predictions
    assert table["target"].tolist() == pd.Series(truth, index=task.ids)[table["id"]].tolist()
    scores = [fold_scores("classification", part["target"].to_numpy(), part["prediction"].to_numpy())
              for _, part in table.groupby("fold")]  # fmt: skip
    assert run.score == pytest.approx(np.mean([one["balanced_accuracy"] for one in scores]))
    assert run.place.of == 1 and run.duels == () and not len(run.worst)


@pytest.mark.usefixtures("_invented")
def test_true_values_and_attributes_come_from_the_official_structures(folders, tmp_path, monkeypatch):
    """Where no folder of targets is named: the reading of the data itself is tested elsewhere."""
    kept = tmp_path / "kept"
    shutil.copytree(folders / "single", kept, ignore=shutil.ignore_patterns("folds"))
    table = pd.read_parquet(kept / "predictions.parquet")
    table.drop(columns="target").to_parquet(kept / "predictions.parquet", index=False)
    cell = np.eye(3) * 4
    crystals = [Crystal(id, np.array([29]), cell, np.zeros((1, 3)), {"exfoliation_en": value})
                for id, value in invented.truth().items()]  # fmt: skip
    monkeypatch.setattr(data, "task_crystals", lambda *_, **__: Crystals(crystals))
    monkeypatch.setattr(data, "space_group", lambda _: 221)
    (run,) = compare_with_published(
        run=[kept], data_dir=tmp_path, published=published_only(folders, tmp_path), attributes="structures", draws=200
    ).tasks[0].runs  # fmt: skip
    assert run.predictions["target"].tolist() == invented.truth().tolist()
    assert ("crystal system", "cubic") in set(zip(run.strata["by"], run.strata["kind"], strict=True))
    assert set(run.worst["formula"]) == {"Cu"}
    (again,) = compare_with_published(run=[kept], draws=200).tasks[0].runs  # no folder named: found or downloaded
    assert again.fold_scores == run.fold_scores


def published_only(folders, place):
    """The folder of predictions without its targets."""
    shutil.copytree(folders / "tables" / "predictions", place / "published" / "predictions")
    return place / "published"


@pytest.mark.usefixtures("_invented")
def test_the_command_prints_the_table(folders, tmp_path, capsys):
    words = ["compare", str(folders / "ours"), "--published", str(folders / "tables"), "--draws", "300"]
    assert main([*words, "--entries", "good", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| GOOD |" in printed and "comparison.md" in printed and (tmp_path / "out" / "comparison.json").is_file()
    (tmp_path / "nothing").mkdir()
    assert main(["compare", str(tmp_path / "nothing")]) == 2
    assert "neither a finished benchmark" in capsys.readouterr().err


@pytest.mark.usefixtures("_invented")
@pytest.mark.parametrize("failed", [False, True], ids=["one seed", "a whole fold"])
def test_dead_networks_are_no_errors_to_compare(folders, tmp_path, failed):
    """A fold without a living network is refused; where one seed is dead, the chance of seeds is that of the others."""
    shutil.copytree(folders / "ours", tmp_path / "ours", ignore=shutil.ignore_patterns("folds"))
    file = tmp_path / "ours" / "cards.jsonl"
    cards = [json.loads(line) for line in file.read_text().splitlines()]
    for card in cards:
        dead = card["fold"] == 3 and (failed or card["seed"] == 1)
        card["training"] = {"learning_rate": 0.001, "retries": 3 if dead else 0, "dead": dead}
    file.write_text("".join(f"{json.dumps(card)}\n" for card in cards))
    if failed:
        with pytest.raises(InputError, match="all networks of fold 3 are dead, so there is no error to compare"):
            compare_with_published(run=[tmp_path / "ours"], draws=500)
    else:
        (answer,) = read_answers([tmp_path / "ours"])
        assert answer.seeds == (0,) and answer.seed_errors.shape == (1, 5)
        assert compare_with_published(run=[tmp_path / "ours"], draws=500).tasks
