"""Tables hold the numbers of the runs, and errors are paired by seed and crystal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from matgl_infomax.leaderboard.verdict import (
    CURVE_COLUMNS,
    absolute_errors,
    compare_runs,
    curve_frame,
    markdown_table,
    summarise,
)


def predictions():
    lines = [
        ("own data", arm, n, seed, 0, id, 1.0, 1.0 + seed + 0.1 * k + (arm == "b"))
        for arm in ("a", "b")
        for n in (5, 10)
        for seed in (3, 4)
        for k, id in enumerate("xyz")
    ]
    columns = ["task", "arm", "labels", "seed", "fold", "id", "target", "prediction"]
    return pd.DataFrame(lines, columns=columns)


def curve():
    lines = [("t", arm, n, n, seed, 0, mae + 0.1 * seed, 1.0, None, 2.0)
             for arm, mae in (("a", 0.5), ("b", 20.0)) for n in (5, 10) for seed in (0, 1)]  # fmt: skip
    columns = ["task", "arm", "labels_asked", "labels_used", "seed", "fold", "mae", "rmse", "r2", "seconds"]
    return pd.DataFrame(lines, columns=columns)


def test_errors_are_paired_whatever_the_order_of_the_lines():
    table = predictions()
    errors = absolute_errors(table.sample(frac=1, random_state=0))
    assert set(errors) == {("a", 5), ("a", 10), ("b", 5), ("b", 10)}
    np.testing.assert_allclose(errors["a", 5], [[3.0, 3.1, 3.2], [4.0, 4.1, 4.2]])
    np.testing.assert_allclose(errors["b", 10] - errors["a", 10], 1)


@pytest.mark.parametrize("drop", [("seed", 3), ("id", "y")])
def test_unpaired_runs_are_refused(drop):
    table = predictions()
    column, value = drop
    with pytest.raises(ValueError, match="other seeds or crystals"):
        absolute_errors(table[~((table["arm"] == "b") & (table[column] == value))])


def test_one_line_per_card():
    card = {
        "task": "t", "arm": "a", "seed": 1, "fold": 0, "mask": {"asked": 5, "used": 5, "sha256": ""},
        "metrics": {"mae": 0.5, "rmse": 0.6, "r2": None}, "cost": {"seconds": 2.0},
    }  # fmt: skip
    frame = curve_frame([card])
    assert list(frame) == ["task", "arm", "labels_asked", "labels_used", "seed", "fold", "mae", "rmse", "r2", "seconds"]
    assert frame.loc[0, "mae"] == 0.5 and np.isnan(frame.loc[0, "r2"])
    assert frame.to_csv(index=False).splitlines()[1] == "t,a,5,5,1,0,0.5,0.6,,2.0"


def test_summary_and_markdown():
    summary = summarise(curve())
    assert summary[["arm", "labels", "seeds"]].values.tolist() == [["a", 5, 2], ["a", 10, 2], ["b", 5, 2], ["b", 10, 2]]
    np.testing.assert_allclose(summary["mean"], [0.55, 0.55, 20.05, 20.05])
    np.testing.assert_allclose(summary["sd"], 0.1 / np.sqrt(2))
    text = markdown_table(curve(), {5: "0.9 (0.8–1.1)"}, "a / b", "eV").splitlines()
    assert text[0] == "| labels | a | b | a / b |"
    assert text[2] == "| 5 | 0.5500 ± 0.0707 | 20.05 ± 0.07 | 0.9 (0.8–1.1) |"
    assert text[3].endswith("|  |")
    assert text[-1].startswith("Mean absolute error (eV)")


def test_one_seed_has_no_spread():
    one = curve()
    assert "±" not in markdown_table(one[one["seed"] == 0], {}, "", None).splitlines()[2]


def runs_of(arm, factor, seeds=(0, 1, 2, 3)):
    lines = [("t", name, 5, 5, seed, 0, size * (1 + 0.1 * seed), 1.0, None, 2.0)
             for name, size in (("scratch", 1.0), (arm, factor)) for seed in seeds]  # fmt: skip
    return pd.DataFrame(lines, columns=CURVE_COLUMNS)


def test_two_pretrainings_are_compared_from_their_tables_of_runs():
    """The arms differ from scratch by 0.8 and 0.84 at every seed: the ratio is 0.82, its chance that of two numbers."""
    found = compare_runs([(runs_of("a", 0.8), "a"), (runs_of("b", 0.84), "b")], 5, draws=40000)
    assert found.ratio == pytest.approx(0.82) and found.pretrainings == 2
    half = stats.t.ppf(0.975, 1) * np.std([0.8, 0.84], ddof=1) / np.sqrt(2) / 0.82
    assert np.log(found.ratio_high / found.ratio) == pytest.approx(half, rel=0.15)


def test_tables_of_other_runs_are_refused():
    first = runs_of("a", 0.8)
    with pytest.raises(ValueError, match="other runs of scratch at 5 labels"):
        compare_runs([(first, "a"), (first.assign(mae=first["mae"] * 2), "a")], 5)
    with pytest.raises(ValueError, match="or none"):
        compare_runs([(first, "a")], 6)
    with pytest.raises(ValueError, match="same seeds"):
        compare_runs([(first, "a"), (first[(first["arm"] == "scratch") | (first["seed"] < 3)], "a")], 5)


def test_several_pretrainings_have_a_column_and_one_error_per_seed():
    card = {
        "task": "t", "arm": "a", "seed": 1, "fold": 0, "mask": {"asked": 5, "used": 5, "sha256": ""},
        "metrics": {"mae": 0.5, "rmse": 0.6, "r2": None}, "cost": {"seconds": 2.0}, "initial": {"pretraining": 0},
    }  # fmt: skip
    other = {**card, "initial": {"pretraining": 1}, "metrics": {"mae": 0.7, "rmse": 0.6, "r2": None}}
    frame = curve_frame([card, other])
    assert list(frame) == [*CURVE_COLUMNS, "pretraining"] and frame["pretraining"].tolist() == [0, 1]
    (line,) = summarise(frame).to_dict("records")
    assert (line["mean"], line["seeds"]) == (pytest.approx(0.6), 1)


def test_errors_of_several_pretrainings_are_stacked():
    table = predictions()
    second = table[table["arm"] == "b"].assign(pretraining=1, prediction=lambda t: t["prediction"] + 1)
    errors = absolute_errors(pd.concat([table.assign(pretraining=0), second]).sample(frac=1, random_state=0))
    assert errors["a", 5].shape == (2, 3) and errors["b", 5].shape == (2, 2, 3)
    np.testing.assert_allclose(errors["b", 5][1] - errors["b", 5][0], 1)
