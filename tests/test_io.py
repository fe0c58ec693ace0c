"""A file is whole or absent, whatever goes wrong while it is written."""

from __future__ import annotations

import csv
import errno
import io
import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgl_infomax.errors import InputError
from matgl_infomax.io import (
    atomic_write,
    csv_text,
    given_path,
    plain_cell,
    quoted_cell,
    read_table,
    read_tensors,
    sha256_of,
)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_and_bytes_arrive_in_new_folders(tmp_path):
    atomic_write(tmp_path / "a" / "b.txt", "Å")
    atomic_write(tmp_path / "a" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Å".encode()
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    assert len(list((tmp_path / "a").iterdir())) == 2


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch, step):
    file = tmp_path / "card.json"
    atomic_write(file, "old")
    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(InputError, match=r"Cannot write .*card.json: No space left on device\. Free some space"):
        atomic_write(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]
    assert file.read_text() == "old"


def test_ctrl_c_leaves_no_half_file(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "x", "text")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        atomic_write(tmp_path / "file" / "card.json", "text")


def test_a_read_only_folder_is_said(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.open", refused)
    with pytest.raises(InputError, match="Permission denied"):
        atomic_write(tmp_path / "card.json", "text")


def test_no_advice_to_run_what_is_in_a_file(tmp_path):
    """PyTorch's own message says how to open such a file all the same."""
    import torch

    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="not safe to open") as found:
        read_tensors(tmp_path / "state.pt")
    assert "weights_only" not in str(found.value)


def test_hash_is_sha256():
    assert sha256_of("abc") == sha256_of(b"abc")
    assert sha256_of("abc").startswith("ba7816bf8f01cfea414140de5dae2223")


RUN = ["=1+1", "+x", "-a", "@sum", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "'=1", "''-a", "\r0", "\t-1"]
KEPT = ["-1", "+1.5e3", "-inf", "a=b", "'a", "", "007", "\u2212x"]


@pytest.mark.parametrize("text", RUN)
def test_what_a_spreadsheet_would_run_is_quoted(text):
    assert quoted_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", KEPT)
def test_other_texts_stay(text):
    assert quoted_cell(text) == text


@given(st.one_of(st.text(), st.text("'=+-@\t\r\n1a")))
def test_every_text_comes_back(text):
    assert plain_cell(quoted_cell(text)) == text
    assert quoted_cell(text)[:1] not in "=@\t\r\n" or not text


def test_a_table_comes_back_as_it_was(tmp_path):
    table = pd.DataFrame(
        {"id": [*RUN[:4], "007", "1e5", "NA", "T"], "arm": "1", "=text": ["@x", "", "a,b", "-1"] * 2, "y": -0.5}
    )
    raw = csv_text(table)
    rows = list(csv.reader(io.StringIO(raw)))
    assert rows[0] == ["id", "arm", "'=text", "y"]
    assert rows[1] == ["'=1+1", "1", "'@x", "-0.5"], "numbers are no formulas"
    (tmp_path / "t.csv").write_text(raw)
    found = read_table(tmp_path / "t.csv", {"id": "text", "arm": "text", "=text": "text", "y": "number"})
    pd.testing.assert_frame_equal(found, table)
    assert csv_text(table, float_format="%.3f").splitlines()[1].endswith("-0.500")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_path_is_no_path(value):
    with pytest.raises(InputError, match=r"Option out is empty\. Received: "):
        given_path(value, "out")
