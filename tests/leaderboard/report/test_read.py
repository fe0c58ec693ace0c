"""No number without a card: whatever does not go back to a run card stops the report, named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report.page import report
from matgl_infomax.leaderboard.results import score_table
from tests.helpers.finished import parquet
from tests.helpers.report_folders import write_all, write_benchmark
from tests.leaderboard.test_results import write as write_classes


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("results"))


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "results")


def lines_of(file):
    return file.read_text().splitlines(keepends=True)


def change_json(file, function):
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


def change_table(file, function):
    table = pd.read_csv(file)
    changed = function(table)
    (table if changed is None else changed).to_csv(file, index=False)


def change_first_card(file, function):
    first, *rest = lines_of(file)
    card = json.loads(first)
    function(card)
    file.write_text("".join([json.dumps(card) + "\n", *rest]))


def put(column, value, row=0):
    def function(table):
        table.loc[row, column] = value

    return function


def one_less(file):
    file.write_text("".join(lines_of(file)[1:]))


STUDY = [
    (lambda f: one_less(f / "cards.jsonl"), "arm scratch, 50 labels, seed 0, fold 0 has no run card"),
    (lambda f: (f / "cards.jsonl").unlink(), "cannot read cards.jsonl"),
    (lambda f: (f / "cards.jsonl").write_text("{}\n"), "line 1, is no run card"),
    (lambda f: (f / "cards.jsonl").write_text(""), "holds no run card"),
    (lambda f: (f / "cards.jsonl").write_text("".join(2 * lines_of(f / "cards.jsonl"))), "two cards of arm scratch"),
    (lambda f: change_first_card(f / "cards.jsonl", lambda c: c["metrics"].update(mae=9.0)), "mae of arm scratch, 50"),
    (lambda f: change_first_card(f / "cards.jsonl", lambda c: c.update(target="x")), "belongs to another study"),
    (lambda f: change_table(f / "curve.csv", put("mae", 0.1)), "mae of arm scratch, 50 labels, seed 0, fold 0 is 0.1"),
    (lambda f: change_table(f / "curve.csv", put("seconds", 7.0)), "seconds of arm scratch"),
    (lambda f: change_table(f / "curve.csv", put("seed", 9)), "seed 9, fold 0 has no run card"),
    (lambda f: change_table(f / "curve.csv", lambda t: t.iloc[1:]), "lacks arm scratch, 50 labels, seed 0"),
    (lambda f: change_table(f / "curve.csv", lambda t: pd.concat([t, t.iloc[:1]])), "two lines of arm scratch"),
    (lambda f: change_table(f / "curve.csv", lambda t: t.drop(columns="mae")), "Needed: task, arm"),
    (lambda f: change_json(f / "verdict.json", lambda v: v["points"][0].update(mae=0.01)), "error of finetuned at 50"),
    (lambda f: change_json(f / "verdict.json", lambda v: v["points"][0].update(ratio=0.5)), "the ratio at 50 labels"),
    (lambda f: change_json(f / "verdict.json", lambda v: v["others"][0].update(arm="x")), "x at 50 labels has no run"),
    (lambda f: change_json(f / "verdict.json", lambda v: v.update(target="x")), "its run cards are of something else"),
    (lambda f: change_json(f / "verdict.json", lambda v: v.update(more=1)), "is no verdict .more"),
    (lambda f: (f / "verdict.json").unlink(), "Cannot read the verdict"),
    (lambda f: (f / "predictions.parquet").write_bytes(b"x"), "predictions.parquet is no parquet table"),
]


@pytest.mark.parametrize(("function", "text"), STUDY, ids=[text for _, text in STUDY])
def test_a_study_that_contradicts_its_cards_is_refused(folder, function, text):
    function(folder / "study")
    with pytest.raises(InputError, match=text):
        report([folder / "study"])


def test_predictions_of_a_study_have_the_errors_of_its_cards(folder):
    file = folder / "study" / "predictions.parquet"
    table = pd.read_parquet(file)
    table.loc[0, "prediction"] += 1
    file.write_bytes(parquet(table))
    with pytest.raises(InputError, match="the error of arm scratch, 50 labels, seed 0, fold 0 is"):
        report([folder / "study"])


KEPT = [
    (lambda f: one_less(f / "cards.jsonl"), "cards of the folds and seeds"),
    (lambda f: change_table(f / "scores.csv", put("mae", 0.01)), "does not follow from its 1 run card"),
    (lambda f: change_table(f / "scores.csv", lambda t: t.iloc[1:]), "has other folds than predictions.parquet"),
    (lambda f: change_first_card(f / "cards.jsonl", lambda c: c["metrics"].update(mae=9.0)), "which does not follow"),
    (lambda f: change_first_card(f / "cards.jsonl", lambda c: c.update(n_test=3)), "was tested on 3 crystals"),
    (lambda f: (f / "scores.csv").unlink(), "Cannot read .*scores.csv: No such file"),
]


@pytest.mark.parametrize(("function", "text"), KEPT, ids=[text for _, text in KEPT])
def test_a_benchmark_kept_without_true_values_has_to_fit_its_cards(tmp_path, function, text):
    folder = write_benchmark(tmp_path / "kept", truth=False)
    function(folder)
    with pytest.raises(InputError, match=text):
        report([folder])


def test_a_whole_benchmark_has_to_fit_its_cards(folder):
    """Scores and predictions agree, and the card says another error."""
    file = folder / "answer" / "predictions.parquet"
    table = pd.read_parquet(file)
    table.loc[0, "prediction"] += 1
    file.write_bytes(parquet(table))
    score_table(table, "regression").to_csv(folder / "answer" / "scores.csv", index=False)
    with pytest.raises(InputError, match=r"the error of fold 0 is .* which does not follow from its 1 run card"):
        report([folder / "answer"])


def test_true_values_have_to_be_those_of_the_scores(tmp_path):
    folder = write_benchmark(tmp_path / "kept", truth=False)
    change_table(folder / "truth.csv", lambda t: t.assign(target=t["target"] * 1000))  # eV against meV
    with pytest.raises(InputError, match="mae is not that of the predictions and the true values"):
        report([folder], truth=[folder / "truth.csv"])
    change_table(folder / "truth.csv", lambda t: t.rename(columns={"target": "other"}))
    with pytest.raises(InputError, match="a column gap or target"):
        report([folder], truth=[folder / "truth.csv"])
    with pytest.raises(InputError, match=r"Cannot read .*missing\.csv: No such file"):
        report([folder], truth=[tmp_path / "missing.csv"])


def test_one_missing_true_value_draws_nothing(tmp_path):
    folder = write_benchmark(tmp_path / "kept", truth=False)
    change_table(folder / "truth.csv", lambda t: t.iloc[1:])
    assert not report([folder], truth=[folder / "truth.csv"]).benchmarks[0].with_truth


OTHERS = [
    ("overlap", "folds.csv", lambda f: change_table(f, put("twin", 7)), "the number of twin crystals"),
    ("overlap", "scores.csv", lambda f: change_table(f, put("error", 0.01, 4)), "the error of answer on all crystals"),
    ("overlap", "scores.csv", lambda f: change_table(f, put("benchmark", "x")), "x is not named in overlap.json"),
    ("overlap", "overlap.json", lambda f: f.write_text("{"), "overlap.json is damaged"),
    ("overlap", "overlap.json", lambda f: f.write_text("{}"), "is no overlap report .task: Field required"),
    ("vectors", "cards.jsonl", one_less, "arm pretrained, head ridge, 50 labels, draw 0 has no run card"),
    ("vectors", "fits.csv", lambda f: change_table(f, put("mae", 0.1)), "its card says another"),
    ("vectors", "fits.csv", lambda f: f.unlink(), "Cannot read .*fits.csv: No such file"),
    ("vectors", "map.csv", lambda f: change_table(f, lambda t: t[["arm", "id"]]), "map.csv lacks the column target"),
    ("comparison", "comparison.json", lambda f: f.write_text("[]"), "is no comparison"),
    (
        "comparison",
        "comparison.json",
        lambda f: change_json(f, lambda c: c.update(format=9)),
        "is no comparison .format",
    ),
    (
        "comparison",
        "comparison.json",
        lambda f: change_json(f, lambda c: c["tasks"][0].pop("own")),
        "is no comparison .tasks.0.own",
    ),
    ("comparison", "comparison.json", lambda f: change_run(f, score=0.1), "the scores of answer are not those"),
    ("comparison", "comparison.json", lambda f: change_run(f, fold_scores=[0.1] * 5), "the scores of answer are not"),
    ("comparison", "comparison.json", lambda f: change_run(f, name="x"), "x has no run cards among the folders"),
    ("comparison", "comparison.json", lambda f: change_duel(f, score=0.1), "against coNGN has another score"),
]


def change_run(file, **values):
    change_json(file, lambda content: content["tasks"][0]["runs"][0].update(values))


def change_duel(file, **values):
    change_json(file, lambda content: content["tasks"][0]["runs"][0]["duels"][0].update(values))


@pytest.mark.parametrize(("name", "file", "function", "text"), OTHERS, ids=[text for *_, text in OTHERS])
def test_the_other_kinds_are_refused_as_well(folder, name, file, function, text):
    function(folder / name / file)
    with pytest.raises(InputError, match=text):
        report([folder])


def test_classes_have_scores_of_their_card_where_there_is_one_model(tmp_path):
    several, one = (write_classes(tmp_path / str(n), "classification", seeds=range(n)) for n in (2, 1))
    made = report([several])
    assert "parity plots" in made.to_markdown() and f"{made.benchmarks[0].mean:.4f}" in made.to_markdown()
    with pytest.raises(InputError, match=r"of fold 0 is .*, its run card says 0\.5"):
        report([one])


def test_a_comparison_needs_the_cards_of_its_answers(folder):
    with pytest.raises(InputError, match="answer has no run cards among the folders of the report"):
        report([folder / "comparison"])
    assert report([folder / "comparison", folder / "answer"]).comparisons


def test_errors_by_overlap_need_cards_and_are_left_out_without(folder):
    made = report([folder / "overlap"])
    assert made.overlaps[0].left_out == ("answer",) and not len(made.overlaps[0].scores)
    assert "errors by overlap of answer (their run cards are not at hand)" in made.to_html()


def test_numbers_of_a_comparison_survive_the_file(folder):
    task = report([folder]).comparisons[0].tasks[0]
    duel = task.runs[0].duels[0]
    assert (duel.other, duel.finding, duel.difference) == ("coNGN", "worse", 0.1) and np.isnan(duel.p_wilcoxon)
    assert task.groups[0] == ("coNGN",) and task.runs[0].calibration.materials == 200
