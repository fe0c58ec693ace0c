"""A comparison as numbers, text, files and pictures: findings from p-values, nothing that gives a true value away."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.comparison import (
    COLOURS,
    DIFFERENCES_FILE,
    JSON_FILE,
    STRATA_FILE,
    TEXT_FILE,
    LeaderboardComparison,
    PairedDifference,
    Place,
    RunStanding,
    TaskComparison,
    as_json,
    difference_frame,
    forest,
    table_lines,
    write_comparison,
)

NAN = math.nan


def duel(other="theirs", difference=-1.0, half=0.5, p_holm=0.01, **changes):
    """Ours against another: an interval of one half to both sides, five folds, 500 materials."""
    given = {
        "ours": "ours", "other": other, "way": "per material", "score": 30.0, "other_score": 30.0 - difference,
        "difference": difference, "low": difference - half, "high": difference + half,
        "low_materials": difference - half, "high_materials": difference + half, "p": p_holm / 2, "p_holm": p_holm,
        "p_sign": 0.2, "p_wilcoxon": 0.0004, "closer": 0.61, "folds_won": 4, "folds": 5, "materials": 500,
    }  # fmt: skip
    return PairedDifference(**{**given, **changes})


PER_FOLD = {"way": "per fold", "materials": 0, "low_materials": NAN, "high_materials": NAN, "p_sign": NAN,
            "p_wilcoxon": NAN, "closer": NAN}  # fmt: skip
UNTESTED = {**PER_FOLD, "p": NAN, "p_holm": NAN, "low": NAN, "high": NAN, "folds": 1, "folds_won": 1}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"difference": -1.0, "p_holm": 0.049}, "better"),
        ({"difference": 1.0, "p_holm": 0.049}, "worse"),
        ({"difference": -1.0, "p_holm": 0.05}, "tie"),
        ({"difference": -1.0, "p": 0.01, "p_holm": 0.2}, "tie"),
        ({"p": NAN, "p_holm": NAN}, "untested"),
        ({"p": 0.01, "p_holm": NAN}, "tie"),
    ],
)
def test_findings_follow_the_corrected_p_value(changes, finding):
    assert duel(**changes).finding == finding


@pytest.mark.parametrize(
    ("low", "high", "low_materials", "high_materials", "decide"),
    [(-2, 0.1, -1.5, -0.5, True), (-0.1, 2, 0.5, 1.5, True), (-2, -0.1, -1.5, -0.5, False),
     (-2, 1, -1, 0.5, False), (-2, 0, -1, -0.5, True), (-2, 1, NAN, NAN, False)],
)  # fmt: skip
def test_seeds_decide_where_only_they_make_it_a_tie(low, high, low_materials, high_materials, decide):
    found = duel(low=low, high=high, low_materials=low_materials, high_materials=high_materials)
    assert found.seeds_decide == decide


def test_a_place_is_read_aloud():
    assert Place(8, 17, 5, 12).to_text() == "8 of 17 (5 to 12)"


DUELS = (duel(), duel("PER FOLD", 1.0, p_holm=0.4, **PER_FOLD), duel("LONELY", **UNTESTED))


def run(name="ours", duels=None, strata=True, **changes):
    """An answer with three materials, the second of which is the worst."""
    predictions = pd.DataFrame({
        "id": ["a", "b", "c"], "fold": [0, 0, 1], "target": [123.456, 2.0, 3.0], "prediction": [122.456, 7.0, 3.0],
        "std": NAN, "error": [1.0, 5.0, 0.0],
    })  # fmt: skip
    worst = pd.DataFrame({"id": ["b"], "fold": [0], "error": [5.0], "times_mean": [2.4999], "reference_error": [4.0],
                          "formula": ["Na|Cl"]})  # fmt: skip
    kinds = {"by": "sites", "kind": ["few", "many"], "materials": [2, 1], "error": [1.0, 0.5],
             "reference_error": [2.0, 1.0],
             "guess": 9.0, "difference": [-1.0, -0.5], "low": [-2.0, NAN], "high": [0.5, NAN], "p_holm": [0.3, NAN],
             "finding": "tie"}  # fmt: skip
    given = {
        "name": name, "folder": Path("x"), "source": "benchmark", "arm": "scratch", "network": "sitenet",
        "labels": None,
        "seeds": 1, "score": 30.0, "std": 1.5, "fold_scores": (29.0, 31.0), "place": Place(2, 4, 1, 3),
        "duels": DUELS if duels is None else duels,
        "predictions": predictions, "strata": pd.DataFrame(kinds) if strata else pd.DataFrame(), "reference": "theirs",
        "worst": worst, "calibration": None,
    }  # fmt: skip
    return RunStanding(**{**given, **changes})


def task(*runs, name="matbench_jdft2d", **changes):
    lines = [
        {"entry": "theirs", "own": False, "score": 29.0, "place": 1, "flag": "", "ranked": True},
        {"entry": "ours", "own": True, "score": 30.0, "place": 2, "flag": "", "ranked": False},
        {"entry": "cheat", "own": False, "score": 5.0, "place": 0, "flag": "suspect", "ranked": False},
    ]
    table = pd.DataFrame([{**line, "std": 0.25, "group": line["place"]} for line in lines])
    given = {
        "task": name, "target": "exfoliation energy", "unit": "meV/atom", "kind": "regression", "metric": "mae",
        "folds": (0, 1), "materials": 1234, "runs": runs or (run(),), "own": (), "table": table,
        "groups": (("theirs", "ours"), ("poor",)),
    }  # fmt: skip
    return TaskComparison(**{**given, **changes})


def whole(*tasks, **changes):
    given = {"tasks": tasks or (task(),), "draws": 1500, "published": "tables", "ranked": "merged"}
    return LeaderboardComparison(**{**given, **changes})


def line_with(text, *words):
    (found,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_summary_names_what_was_found_with_every_entry():
    text = whole().to_markdown()
    assert text.startswith("# Beside the published leaderboard\n") and "from 1,500 resamplings" in text
    assert line_with(text, "jdft2d |") == [
        "jdft2d", "ours", "30 ± 1.5", "2 of 4 (1 to 3)", "theirs", "PER FOLD", "", "LONELY"]  # fmt: skip
    tested = whole(task(run(duels=(duel(),)))).to_markdown()
    assert "untested" not in tested.partition("## ")[0].partition("\n\nDifferences")[0], "no empty column"
    assert "Ranked entries: merged" in text and "Ranked entries" not in whole(ranked="all").to_markdown()


def test_each_difference_is_a_line():
    text = run().to_markdown()
    assert line_with(text, "| theirs | 31") == [
        "theirs", "31", "per material", "-1 [-1.5, -0.5]", "[-1.5, -0.5]", "0.010", "0.200", "< 0.001", "61%", "4 of 5",
        "better"]  # fmt: skip
    assert line_with(text, "| PER FOLD |")[2:] == [
        "per fold",
        "+1 [+0.5, +1.5]",
        "",
        "0.400",
        "",
        "",
        "",
        "4 of 5",
        "tie",
    ]
    assert line_with(text, "| LONELY |")[3] == "-1 [?, ?]"
    starred = run(duels=(duel(p_holm=0.3, low=-2.0, high=0.2),)).to_markdown()
    assert line_with(starred, "| theirs | 31")[-1] == "tie*", "more seeds would settle it"
    assert "Nothing to compare with." in run(duels=()).to_markdown()


@pytest.mark.parametrize(
    ("seeds", "said"), [(0, "seeds not known: other"), (1, "one seed: other"), (3, "sitenet, 3 seeds.")]
)
def test_how_many_seeds_is_said(seeds, said):
    assert said in run(seeds=seeds).to_markdown()


def test_kinds_and_largest_errors_are_shown_on_demand():
    text = run().to_markdown()
    assert line_with(text, "| few |") == ["sites", "few", "2", "1", "2", "9", "-1 [-2, +0.5]", "tie"]
    assert line_with(text, "| many |")[-2] == "-0.5 [?, ?]"
    # Errors in units of the mean error, 2: true values are not ours to pass on.
    assert line_with(text, "| b |") == ["b", "2.5", "2.0", "Na/Cl"]
    brief = whole().to_markdown(details=False)
    assert "Largest errors" not in brief and "win and lose" not in brief and "| theirs |" in brief


def test_the_table_of_a_task_counts_who_is_left_out():
    text = task().to_markdown()
    assert line_with(text, "**ours**") == ["2", "**ours**", "30 ± 0.25", "2"]
    assert "1 published entries are not ranked here: " in text and "cheat" not in text
    assert "exfoliation energy, meV/atom; mae, fold 0, 1; 1,234 materials." in text
    assert "1: theirs, ours." in text and "poor" not in text, "a group of one is no tie"
    assert "): none." in task(groups=(("a",),)).to_markdown()
    assert "differences are those of 1 - rocauc" in task(metric="rocauc", unit=None).to_markdown()


def test_our_answers_are_compared_with_each_other():
    both = task(run(), run("second"), own=(duel("second"),))
    text = both.to_markdown()
    assert line_with(text.partition("Our answers against each other")[2], "| second |")[:2] == ["ours", "second"]
    assert len(both.to_frame()) == 7 and list(both.to_frame()["other"])[-1] == "second"


def test_frames_hold_one_line_per_comparison():
    frame = whole(task(), task(name="matbench_other")).to_frame()
    assert list(frame.columns[:3]) == ["task", "ours", "other"] and len(frame) == 6
    assert set(frame["task"]) == {"matbench_jdft2d", "matbench_other"}
    assert list(run().to_frame()["finding"]) == ["better", "tie", "untested"]
    assert list(difference_frame([]).columns) == [*PairedDifference.__dataclass_fields__, "finding"]


def test_markdown_tables_keep_their_columns():
    assert table_lines(["a", "b"], [["x|y", 1]]) == ["| a | b |", "| --- | --- |", "| x/y | 1 |"]


def test_json_has_no_nan_and_nothing_that_gives_a_true_value_away():
    content = as_json(whole())
    text = json.dumps(content, allow_nan=False)
    (one,) = content["tasks"][0]["runs"]
    assert one["worst"] == [{"id": "b", "fold": 0, "times_mean": 2.5, "formula": "Na|Cl"}]
    assert "predictions" not in one and "123.456" not in text and "122.456" not in text
    assert one["duels"][1]["p_sign"] is None and one["duels"][0]["finding"] == "better"
    assert one["place"] == {"place": 2, "of": 4, "best": 1, "worst": 3} and one["calibration"] is None
    assert content["format"] == 1 and content["tasks"][0]["folds"] == [0, 1]


def test_json_values_are_plain_and_rounded_to_what_machines_agree_on():
    odd = run(score=np.float64(1 / 3), seeds=np.int64(2), fold_scores=(math.inf, 1.0))
    (one,) = as_json(whole(task(odd)))["tasks"][0]["runs"]
    assert one["score"] == 0.3333333333 and type(one["seeds"]) is int and one["fold_scores"] == [None, 1.0]


def test_files_say_the_same_as_the_object(tmp_path):
    result = whole()
    write_comparison(result, tmp_path)
    assert json.loads((tmp_path / JSON_FILE).read_text()) == as_json(result)
    assert (tmp_path / TEXT_FILE).read_text() == result.to_markdown() + "\n"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / DIFFERENCES_FILE), result.to_frame(), check_dtype=False)
    strata = pd.read_csv(tmp_path / STRATA_FILE)
    assert list(strata.columns[:4]) == ["task", "answer", "reference", "by"] and list(strata["kind"]) == ["few", "many"]
    text = "".join(file.read_text() for file in tmp_path.iterdir())
    assert "123.456" not in text and "122.456" not in text


def test_strata_of_an_earlier_comparison_do_not_stay(tmp_path):
    write_comparison(whole(), tmp_path)
    write_comparison(whole(task(run(strata=False))), tmp_path)
    assert not (tmp_path / STRATA_FILE).exists()
    write_comparison(whole(task(run(strata=False))), tmp_path)  # and where there is none


def test_a_forest_shows_difference_interval_and_finding():
    (axes,) = forest(DUELS, "heading").axes
    intervals = [line for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.get_color() != "0.4"]
    points = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert [list(line.get_xdata()) for line in intervals] == [[-1.5, -0.5], [0.5, 1.5]], "none where it is not known"
    assert [line.get_xdata()[0] for line in points] == [-1.0, 1.0, -1.0]
    assert [line.get_color() for line in points] == [COLOURS[word] for word in ("better", "tie", "untested")]
    assert [line.get_marker() for line in points] == ["o", "s", "s"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["theirs", "PER FOLD", "LONELY"]
    assert axes.get_title() == "heading" and axes.yaxis_inverted()


def test_forests_of_several_answers_say_whose_difference_it_is():
    both = replace(task(), own=(duel("second", ours="third"),))
    figure = whole(both, task(name="matbench_other")).plot()
    assert [axes.get_title() for axes in figure.axes] == ["matbench_jdft2d", "matbench_other"]
    first, second = ([label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes)
    assert first[-1] == "third - second" and second == ["theirs", "PER FOLD", "LONELY"]
    assert both.plot().axes[0].get_title() == "matbench_jdft2d" and run().plot().axes[0].get_title() == "ours"
    assert len(forest([], "nothing").axes[0].get_yticklabels()) == 0
