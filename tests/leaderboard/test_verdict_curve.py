"""Tables hold the numbers of the runs, and errors are paired by seed and crystal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.verdict import absolute_errors, curve_frame, markdown_table, summarise


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
