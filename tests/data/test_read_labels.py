"""Labels from a CSV find their crystals, and every cell that cannot be a label is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals, read_crystals, to_label
from matgl_infomax.errors import InputError
from matgl_infomax.io import csv_text


def write_vasp(crystal: Crystal, path: Path) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    crystal.to_structure().to(filename=str(path), fmt="poscar")


@pytest.fixture
def folder(crystals: list[Crystal], tmp_path: Path) -> Path:
    """Cu and Po in a/, NaCl in b/, and a second Cu in b/."""
    for k, place in ((0, "a/Cu"), (1, "a/Po"), (2, "b/NaCl"), (0, "b/Cu")):
        write_vasp(crystals[k], tmp_path / "set" / f"{place}.vasp")
    return tmp_path / "set"


def read(folder: Path, text: str, **options: object) -> Crystals:
    table = folder.parent / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return read_crystals(folder, labels_file=table, **options)  # type: ignore[arg-type]


def test_all_columns_are_targets_by_default(folder: Path) -> None:
    found = read(folder, "id,gap,energy\na/Cu,0.5,\nPo,,-1e-3\nb/NaCl.vasp,5,nan\n")
    assert found.targets == ["gap", "energy"]
    assert [c.labels for c in found] == [{"gap": 0.5}, {"energy": -0.001}, {}, {"gap": 5.0}]
    assert found.ids == ["a/Cu", "a/Po", "b/Cu", "b/NaCl"]


@pytest.mark.parametrize("separator", [";", "\t", ","], ids=["semicolon", "tab", "comma"])
def test_separators_byte_order_mark_and_blank_lines(separator: str, folder: Path) -> None:
    text = "\ufeffid,gap\r\n\r\na/Po,1\r\n".replace(",", separator)
    assert read(folder, text).labels(["gap"])[1, 0] == 1.0


def test_only_the_wanted_targets(folder: Path) -> None:
    found = read(folder, "material_id,gap,remark\na/Po,1,good\n", targets=["gap"])
    assert found.targets == ["gap"]
    assert np.nansum(found.labels(["gap"])) == 1.0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a/Fe,1", "label without a crystal: none has this id"),
        ("Cu,1", r"label without a crystal: fits 2 crystals \(a/Cu, b/Cu\)"),
        ("a/Po,high", "label 'gap': 'high' is no number"),
        ("a/Po,inf", "label 'gap': inf is not finite"),
        ("a/Po,1\na/Po,2", "duplicate id: it has labels on an earlier line"),
        ("a/Po,1\nPo,2", "duplicate id: a/Po has labels on an earlier line"),
        (",1", "a label without an id"),
        ("a/Po,1,2", "3 cells under 2 column names"),
    ],
    ids=["no-crystal", "ambiguous", "text", "infinite", "twice", "twice-by-short-name", "no-id", "too-many-cells"],
)
def test_bad_lines_are_named(line: str, reason: str, folder: Path) -> None:
    text = f"id,gap\nb/NaCl,5\n{line}\n"
    with pytest.raises(InputError, match=rf"labels\.csv line \d.*{reason}"):
        read(folder, text)
    found = read(folder, text, on_error="skip")
    assert len(found) == 4
    assert len(found.bad) == 1
    assert found[3].labels == {"gap": 5.0}


def test_label_of_a_bad_crystal_is_no_second_mistake(folder: Path) -> None:
    (folder / "b" / "KBr.vasp").write_text("")
    found = read(folder, "id,gap\nb/KBr,1\na/Po,2\n", on_error="skip")
    assert [(entry.id, entry.reason) for entry in found.bad] == [("b/KBr", "empty file")]


def test_poscar_is_also_called_by_its_folder(crystals: list[Crystal], tmp_path: Path) -> None:
    for crystal in crystals[:2]:
        write_vasp(crystal, tmp_path / "runs" / crystal.id / "POSCAR")
    found = read(tmp_path / "runs", "id,gap\nCu,1\nPo,2\n")
    assert found.ids == ["Cu/POSCAR", "Po/POSCAR"]
    assert found.labels(["gap"]).ravel().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("name,gap\nCu,1\n", "no column 'id'.*Received: name, gap"),
        ("id\nCu\n", "no column of labels"),
        ("id,gap,gap\nCu,1,2\n", "two columns of one name"),
        ("id,other\na/Po,2\n", "Received: gap. Columns found: other"),
    ],
    ids=["empty", "no-ids", "no-labels", "two-columns", "no-such-target"],
)
def test_unusable_table(text: str, reason: str, folder: Path) -> None:
    targets = ["gap"] if "other" in text else []
    with pytest.raises(InputError, match=reason):
        read(folder, text, targets=targets)


def test_id_column_of_the_table(folder: Path) -> None:
    text = "sample,id,gap\na/Po,17,1\n"
    assert read(folder, text, id_column="sample", targets=["gap"])[1].labels == {"gap": 1.0}
    with pytest.raises(InputError, match=r"No column of that name holds ids\. Received: smaple"):
        read(folder, text, id_column="smaple", targets=["gap"])


def test_missing_table(folder: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist\. Received: .*nowhere\.csv"):
        read_crystals(folder, labels_file=folder / "nowhere.csv")


def test_table_wins_over_columns(crystals: list[Crystal], tmp_path: Path) -> None:
    columns = {"structure": [c.to_structure() for c in crystals], "y": 1.0, "z": 2.0}
    frame = pd.DataFrame(columns, index=[c.id for c in crystals])
    (tmp_path / "labels.csv").write_text("id,y\nCu,7\n")
    found = read_crystals(frame, targets=["y", "z"], labels_file=tmp_path / "labels.csv")
    assert found[0].labels == {"y": 7.0, "z": 2.0}
    assert found[1].labels == {"z": 2.0}


def test_ids_that_a_spreadsheet_would_run(crystals: list[Crystal], tmp_path: Path) -> None:
    # The last two differ by an apostrophe only, so that a reading without the rule would exchange them.
    names = ["@sum", "+x", "-a", "-1", "=1+1", "'=1+1"]
    structures = [c.to_structure() for c in crystals[: len(names)]]
    text = csv_text(pd.DataFrame({"id": names, "=y": np.arange(6.0)}))
    assert text.split() == ["id,'=y", "'@sum,0.0", "'+x,1.0", "'-a,2.0", "-1,3.0", "'=1+1,4.0", "''=1+1,5.0"]
    (tmp_path / "labels.csv").write_text(text)
    found = read_crystals(pd.DataFrame({"structure": structures}, index=names), labels_file=tmp_path / "labels.csv")
    assert {c.id: c.labels["=y"] for c in found} == dict(zip(names, np.arange(6.0).tolist(), strict=True))


def test_an_id_with_an_apostrophe_of_its_own(crystals: list[Crystal], tmp_path: Path) -> None:
    """A table that somebody else wrote, without the rule, still finds its crystal where no other is meant."""
    (tmp_path / "labels.csv").write_text("id,y\n'=a,7\n")
    frame = pd.DataFrame({"structure": [crystals[0].to_structure()]}, index=["'=a"])
    assert read_crystals(frame, labels_file=tmp_path / "labels.csv")[0].labels == {"y": 7.0}


def test_an_empty_name_of_the_labels_is_named(crystals: list[Crystal]) -> None:
    frame = pd.DataFrame({"structure": [crystals[0].to_structure()]})
    with pytest.raises(InputError, match="Option labels_file is empty"):
        read_crystals(frame, labels_file="")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [None, "", " ", "NaN", "n/a", float("nan"), np.float32("nan"), pd.NA, pd.NaT], ids=str
)
def test_missing_values(value: object) -> None:
    assert to_label(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1e-3", 0.001),
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (" 3 ", 3.0),
        ("+.5E+1", 5.0),
        ("7.", 7.0),
        (b"2", 2.0),
    ],
    ids=str,
)
def test_numbers(value: object, number: float) -> None:
    assert to_label(value) == number


@pytest.mark.parametrize(
    "value",
    ["1,5", "1_5", b"1_5", "1e1_0", "\u0661", "0x1A", 10**400, "x", float("inf"), "-inf", [1.0, 2.0], {"a": 1}],
    ids=str,
)
def test_no_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no number|is not finite"):
        to_label(value)
