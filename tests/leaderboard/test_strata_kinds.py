"""Kinds of materials: by value, attributes, formulas seen in training, overlap; and errors split by them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.strata import (
    attribute_kinds,
    overlap_kinds,
    read_attributes,
    seen_before,
    split_differences,
    value_kinds,
)


def test_values_are_cut_into_five_parts_without_naming_one():
    values = np.random.default_rng(0).gamma(2, 10.123456, 500)
    kinds = value_kinds(values)
    assert [rows.sum() for rows in kinds.values()] == [100] * 5
    assert sum(rows.astype(int) for rows in kinds.values()).tolist() == [1] * 500
    names = [name for _, name in kinds]
    assert names[0].startswith("1: below ") and names[-1].endswith(" and above")
    first, second, *_ = kinds.values()
    assert values[first].max() < values[second].min()


def test_values_that_are_mostly_the_same_give_fewer_parts():
    gaps = np.concatenate([np.zeros(70), np.linspace(1, 5, 30)])
    kinds = value_kinds(gaps)
    assert 1 < len(kinds) < 5 and sum(rows.sum() for rows in kinds.values()) == 100
    assert [rows.sum() for rows in value_kinds(np.ones(4)).values() if rows.any()] == [4]


def test_formulas_and_twins_of_other_folds_are_seen():
    table = pd.DataFrame({
        "formula": ["NaCl", "NaCl", "MgO", "MgO", "SiO2", "ZnS", "ZnS"],
        "space_group": [225, 225, 225, 221, 152, 0, 0],
    })  # fmt: skip
    fold = np.array([0, 1, 0, 1, 0, 2, 3])
    assert seen_before(table, fold) == ["twin", "twin", "formula", "formula", "novel", "formula", "formula"]
    assert seen_before(table, np.zeros(7, dtype=int)) == ["novel"] * 7  # the same fold is no training material
    assert seen_before(table[["formula"]], fold)[0] == "formula"


def test_attributes_become_kinds():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({
        "formula": [f"X{k}" for k in range(200)],
        "sites": rng.integers(1, 100, 200), "elements": rng.integers(1, 4, 200),
        "crystal_system": rng.choice(["cubic", "trigonal"], 200), "group": [f"g{k % 20:02d}" for k in range(200)],
    })  # fmt: skip
    kinds = attribute_kinds(table, np.arange(200) % 5)
    by = {name: [kind for one, kind in kinds if one == name] for name, _ in kinds}
    assert by["elements"] == ["1", "2", "3"] and by["crystal system"] == ["cubic", "trigonal"]
    assert len(by["sites"]) == 5 and len(by["group"]) == 12 and by["group"][-1] == "other"
    assert by["formula in the training part"] == ["novel"]
    assert kinds["elements", "2"].tolist() == (table["elements"] == 2).tolist()


def test_tables_are_read_in_the_order_that_is_asked_for(tmp_path):
    table = pd.DataFrame({"id": ["a", "b", "c"], "level": ["novel", "twin", "novel"]})
    table.to_csv(tmp_path / "crystals.csv", index=False)
    table.to_parquet(tmp_path / "facts.parquet")
    for file in (tmp_path / "crystals.csv", tmp_path / "facts.parquet"):
        assert list(read_attributes(file, ["c", "b"])["level"]) == ["novel", "twin"]
    kinds = overlap_kinds([tmp_path], ["a", "b", "c"])
    assert {kind: rows.tolist() for (_, kind), rows in kinds.items()} == {
        "novel": [True, False, True], "twin": [False, True, False]}  # fmt: skip
    assert all(by == f"overlap {tmp_path.name}" for by, _ in kinds)
    assert overlap_kinds([tmp_path], ["x"]) == {}  # the report of another task
    with pytest.raises(InputError, match="lacks 1 materials, such as x"):
        overlap_kinds([tmp_path], ["a", "x"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name\na\n", "no column 'id'"),
        ("id\na\na\n", "a more than once"),
        ("id\na\n", "lacks 1 materials, such as b"),
        (None, "Cannot read"),
    ],
)
def test_tables_that_do_not_fit_are_refused(content, said, tmp_path):
    if content is not None:
        (tmp_path / "facts.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        read_attributes(tmp_path / "facts.csv", ["a", "b"])


def test_a_table_without_levels_is_no_overlap_report(tmp_path):
    (tmp_path / "crystals.csv").write_text("id\na\n")
    with pytest.raises(InputError, match="no column 'level'"):
        overlap_kinds([tmp_path / "crystals.csv"], ["a"])


def test_differences_on_kinds_are_means_with_the_closed_form_interval():
    rng = np.random.default_rng(2)
    reference, half = rng.gamma(2, 1, 600), np.arange(600) < 300
    errors = np.stack([reference * np.where(half, 0.7, 1.0) + rng.normal(0, 0.2, 600) ** 2, reference])
    kinds = {("part", "first"): half, ("part", "second"): ~half, ("part", "few"): np.arange(600) < 4,
             ("part", "none"): np.zeros(600, bool)}  # fmt: skip
    mine, same = split_differences(errors, reference, reference * 3, kinds, draws=8000)
    assert list(mine["kind"]) == ["first", "second"] and list(mine["materials"]) == [300, 300]
    first = mine.iloc[0]
    d = errors[0, :300] - reference[:300]
    spread = stats.norm.ppf(0.975) * d.std(ddof=1) / np.sqrt(300)
    assert first["difference"] == pytest.approx(d.mean())
    assert first["guess"] == pytest.approx(3 * reference[:300].mean())
    assert first["high"] - first["low"] == pytest.approx(2 * spread, rel=0.05)
    assert list(mine["finding"]) == ["better", "worse"]
    assert list(same["finding"]) == ["tie"] * 2 and same["difference"].tolist() == [0, 0]
