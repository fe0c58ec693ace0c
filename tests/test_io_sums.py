"""The hashes of a folder: written as sha256sum writes them, and one flipped bit anywhere is told."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS, check_results, check_sums, vouch_for, write_sums

CONTENT = {"model.json": b'{"a": 1}\n', "state.pt": bytes(range(40)), "run.json": b"{}"}
NEEDED = ("model.json", "state.pt")


@pytest.fixture
def folder(tmp_path):
    """Two files of a model and one beside them."""
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    write_sums(tmp_path, [tmp_path / name for name in CONTENT])
    return tmp_path


def test_the_file_is_that_of_sha256sum(folder):
    lines = (folder / SUMS).read_text().splitlines()
    assert lines == [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in CONTENT.items()]
    assert check_sums(folder, NEEDED)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs the program sha256sum")
def test_the_program_reads_ours_and_we_read_the_programs(folder):
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=True, capture_output=True)
    for option in ("--text", "--binary"):
        made = subprocess.run(["sha256sum", option, *NEEDED], cwd=folder, check=True, capture_output=True)
        (folder / SUMS).write_bytes(made.stdout)
        assert check_sums(folder, NEEDED)


@pytest.mark.parametrize("name", [*CONTENT, SUMS])
def test_every_flipped_bit_is_told(folder, name):
    whole = (folder / name).read_bytes()
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (folder / name).write_bytes(damaged)
        with pytest.raises(InputError, match=r"Copy .* again from where it is whole, or run the command"):
            check_sums(folder, NEEDED)


@pytest.mark.parametrize("name", [*CONTENT, SUMS])
def test_every_truncation_is_told(folder, name):
    whole = (folder / name).read_bytes()
    for size in range(len(whole)):
        (folder / name).write_bytes(whole[:size])
        ends = name == SUMS and size and whole[size - 1 : size] == b"\n"
        if ends and size > whole.index(b"state.pt"):
            continue  # whole lines that name all that is needed: a shorter list
        with pytest.raises(InputError):
            check_sums(folder, NEEDED)


def test_the_sentence_names_the_file_and_both_hashes(folder):
    (folder / "state.pt").write_bytes(b"other")
    was, now = (hashlib.sha256(content).hexdigest()[:12] for content in (CONTENT["state.pt"], b"other"))
    with pytest.raises(InputError, match=rf"state\.pt is not the file .* begins with {now}, and {SUMS} says {was}\."):
        check_sums(folder, NEEDED)


def test_files_may_be_left_out_but_not_those_of_the_model(folder):
    (folder / "run.json").unlink()
    assert check_sums(folder, NEEDED)
    with pytest.raises(InputError, match=r"run\.json is missing, and SHA256SUMS names it"):
        check_sums(folder, (*NEEDED, "run.json"))
    (folder / "state.pt").unlink()
    with pytest.raises(InputError, match=r"state\.pt is missing, and SHA256SUMS names it"):
        check_sums(folder, ("model.json",))


def test_what_is_read_has_to_be_vouched_for(folder):
    with pytest.raises(InputError, match=r"SHA256SUMS holds no hash of finetune\.json"):
        check_sums(folder, (*NEEDED, "finetune.json"))


def test_without_the_file_nothing_is_vouched_for(folder):
    (folder / SUMS).unlink()
    assert not check_sums(folder, NEEDED)


def test_a_file_still_to_be_written_is_hashed_by_its_content(folder):
    write_sums(folder, [folder / "state.pt"], coming={"ensemble.json": "{}"})
    said = (folder / SUMS).read_text().split()
    assert said[2:] == [hashlib.sha256(b"{}").hexdigest(), "ensemble.json"]
    with pytest.raises(InputError, match=r"ensemble\.json is missing"):
        check_sums(folder, ("ensemble.json",))


def test_what_cannot_be_read_is_said(folder):
    (folder / "state.pt").unlink()
    (folder / "state.pt").symlink_to(folder / "nowhere")
    with pytest.raises(InputError, match=r"state\.pt is missing"):
        check_sums(folder, NEEDED)
    (folder / SUMS).unlink()
    os.mkdir(folder / SUMS)
    with pytest.raises(InputError, match=r"Cannot read .*SHA256SUMS"):
        check_sums(folder, NEEDED)


@pytest.fixture
def results(tmp_path):
    """A table and a picture of results."""
    for name in ("curve.csv", "verdict.json", "curve.png"):
        (tmp_path / name).write_bytes(name.encode())
    vouch_for(tmp_path, ("curve.csv", "verdict.json", "kept.parquet"))
    return tmp_path


def test_results_vouch_for_the_files_that_are_there(results):
    assert [line.split("  ")[1] for line in (results / SUMS).read_text().splitlines()] == ["curve.csv", "verdict.json"]
    check_results(results, ("curve.csv", "kept.parquet"))


@pytest.mark.parametrize("name", ["curve.csv", "verdict.json"])
def test_a_changed_digit_of_a_result_is_refused_whichever_file_is_read(results, name):
    (results / name).write_bytes(b"0" + (results / name).read_bytes()[1:])
    with pytest.raises(InputError, match=rf"{name} is not the file that was written.*a study in the same folder"):
        check_results(results, ("curve.csv",))


def test_some_files_of_a_study_may_be_kept_without_the_others(results):
    (results / "verdict.json").unlink()
    check_results(results, ("curve.csv", "verdict.json"))


def test_a_file_put_into_a_finished_study_is_refused(results):
    (results / "kept.parquet").write_bytes(b"of another study")
    with pytest.raises(InputError, match=r"holds no hash of kept\.parquet"):
        check_results(results, ("curve.csv", "kept.parquet"))


def test_results_without_hashes_are_read_and_told_of_in_one_line(results, capsys):
    (results / SUMS).unlink()
    for _ in range(2):
        check_results(results, ("curve.csv",))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"{results} holds no {SUMS}: an earlier version wrote it" in said[0]


def test_hashes_of_other_files_stay_as_they_were_noted(results):
    (results / "curve.csv").write_bytes(b"damaged")
    vouch_for(results, ["verdict.json"], keep_others=True)
    with pytest.raises(InputError, match=r"curve\.csv is not the file that was written"):
        check_results(results, ("verdict.json",))
