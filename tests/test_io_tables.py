"""Tables and documents of results: every value of the kind that it has to be, or a sentence with its place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import parse_results, read_table

KINDS = {"id": "text", "fold": "whole", "mae": "number"}


def csv_file(folder, *lines, **encoding):
    file = folder / "scores.csv"
    file.write_bytes(("\n".join(("id,fold,mae,more", *lines)) + "\n").encode(**encoding))
    return file


def test_values_are_read_as_they_are_written(tmp_path):
    lines = ["007,0,0.1,1", '"a, b",12,1e-3,2', "1e5,3,,3"]
    table = read_table(csv_file(tmp_path, *lines), KINDS)
    assert table["id"].tolist() == ["007", "a, b", "1e5"] and table["fold"].tolist() == [0, 12, 3]
    np.testing.assert_array_equal(table["mae"], [0.1, 0.001, np.nan])
    assert table["more"].tolist() == [1, 2, 3] and table["more"].dtype == np.int64
    table.to_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "scores.parquet", KINDS), table)


def test_a_number_is_read_to_the_last_bit(tmp_path):
    value = 0.1 + 0.2  # 0.30000000000000004
    table = read_table(csv_file(tmp_path, f"a,0,{value!r},0"), KINDS)
    assert table["mae"].iloc[0] == value


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a,0,word,0", r"scores\.csv has no number for a in the column mae, line 3\. Received: 'word'"),
        ("a,0,inf,0", "no number for a in the column mae"),
        ("a,0,1e31,0", "no number for a in the column mae"),
        ("a,0,1_5,0", "no number for a in the column mae"),
        ("a,0,٣,0", "no number for a in the column mae"),
        ("a,0.5,1,0", "no whole number for a in the column fold"),
        ("a,,1,0", "no whole number for a in the column fold"),
        ("a,1e3,1,0", "no whole number for a in the column fold"),
        ("a,9999999999999999999,1,0", "no whole number for a in the column fold"),
        ("a\x00b,0,1,0", r"has no text in the column id, line 3"),
        ("a,0,1", "line 3, has 3 values, and the first line 4"),
        ("a,0,1,0,0", "line 3, has 5 values, and the first line 4"),
        ('a,0,1,"0', "is no table of values with commas"),
    ],
)
def test_other_values_are_refused_with_their_place(tmp_path, line, text):
    with pytest.raises(InputError, match=text):
        read_table(csv_file(tmp_path, "x,0,1,0", line), KINDS)


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*none\.csv: No such file"):
        read_table(tmp_path / "none.csv", KINDS)
    for name, text in (("a.csv", "is no table of values"), ("a.parquet", "is no parquet table, or damaged")):
        (tmp_path / name).write_bytes(b"id,fold\n\xff\xfe")
        with pytest.raises(InputError, match=text):
            read_table(tmp_path / name, KINDS)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_table(tmp_path / "empty.csv", KINDS)
    with pytest.raises(InputError, match=r"lacks the column std\. It has: 'id', 'fold', 'mae', 'more'"):
        read_table(csv_file(tmp_path), {**KINDS, "std": "number"})
    (tmp_path / "twice.csv").write_text("id,id\na,b\n")
    with pytest.raises(InputError, match="has the column id twice"):
        read_table(tmp_path / "twice.csv", {})


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("mae", ["1.0", "2.0"], r"no number for a in the column mae, row 1\. Received: '1\.0'"),
        ("mae", [[1.0], [2.0]], r"Received: \[1\.0\]"),
        ("mae", [True, False], "Received: True"),
        ("mae", [1.0, float("-inf")], "no number for b in the column mae, row 2"),
        ("fold", [0.0, 0.5], "no whole number for b"),
        ("fold", [True, False], "no whole number for a"),
        ("id", [1, 2], r"has no text in the column id, row 1\. Received: 1"),
        ("id", ["a", None], "has no text in the column id, row 2"),
    ],
)
def test_other_values_in_parquet_are_refused(tmp_path, name, values, text):
    table = pd.DataFrame({"id": ["a", "b"], "fold": [0, 1], "mae": [1.0, 2.0]}).assign(**{name: values})
    table.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InputError, match=text):
        read_table(tmp_path / "table.parquet", KINDS)


def test_a_document_is_read_as_json():
    assert parse_results(b'{"a": [1, 2.5, null, "\\u00e4"], "seed": 18446744073709551615}', "file") == {
        "a": [1, 2.5, None, "ä"],
        "seed": 2**64 - 1,
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"a": NaN}', "'NaN' is no number of a result"),
        (b'{"a": -Infinity}', "no number of a result"),
        (b'{"a": 1e999}', "'1e999' is no number of a result"),
        (b'{"a": 1' + b"0" * 400 + b"}", "no number of a result"),
        (b'{"a": 1, "a": 2}', "'a' comes twice"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1', "delimiter"),
        (b"[" * 100_000, "recursion"),
        (b"", "Expecting value"),
    ],
)
def test_other_documents_are_refused_in_one_line(content, text):
    with pytest.raises(InputError, match=rf"^file is damaged: .*{text}") as found:
        parse_results(content, "file")
    assert "\n" not in str(found.value) and len(str(found.value)) < 300
