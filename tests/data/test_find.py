"""From a folder or a pattern to its files: links, loops, pipes, odd names and our own output."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.find import find_files, own_output
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.writers import write_cif, write_poscar


@pytest.fixture
def folder(crystals: list[Crystal], tmp_path: Path) -> Path:
    """``set`` holds Cu, ``real`` beside it NaCl and MgO."""
    for name, chosen in (("set", [0]), ("real", [2, 3])):
        (tmp_path / name).mkdir()
        for k in chosen:
            write_poscar(crystals[k], tmp_path / name)
    return tmp_path / "set"


def test_linked_folder_is_read_once(folder: Path) -> None:
    (folder / "linked").symlink_to("../real")
    (folder / "again").symlink_to("../real")
    (folder / "loop").symlink_to(".")
    found = read_crystals(folder)
    assert found.ids == ["Cu", "again/MgO", "again/NaCl"]
    assert not found.bad


def test_folder_that_is_there_itself_is_not_read_by_its_link(folder: Path) -> None:
    (folder / "z").mkdir()
    os.rename(folder.parent / "real" / "NaCl.vasp", folder / "z" / "NaCl.vasp")
    (folder / "a").symlink_to("z")
    assert read_crystals(folder).ids == ["Cu", "z/NaCl"]


def test_links_in_a_circle_and_upwards_end(folder: Path) -> None:
    (folder.parent / "real" / "back").symlink_to("../set")
    (folder / "on").symlink_to("../real")
    assert read_crystals(folder).ids == ["Cu", "on/MgO", "on/NaCl"]
    (folder / "up").symlink_to("..")
    found = read_crystals(folder, on_error="skip")
    assert found.ids == ["Cu", "on/MgO", "on/NaCl"]
    assert [entry.reason for entry in found.bad] == ["a link to a folder above the data; it is not followed"]


def test_pattern_through_a_loop_takes_each_file_once(folder: Path) -> None:
    (folder / "loop").symlink_to(".")
    assert read_crystals(str(folder / "**" / "*.vasp")).ids == ["Cu"]


@pytest.mark.parametrize("pattern", ["", "*", "*.cif"], ids=["folder", "star", "ending"])
def test_broken_link_is_named(pattern: str, crystals: list[Crystal], tmp_path: Path) -> None:
    write_cif(crystals[2], tmp_path)
    (tmp_path / "gone.cif").symlink_to("../fetched/later.cif")
    found = read_crystals(str(tmp_path / pattern), on_error="skip")
    assert found.ids == ["NaCl"]
    assert [(entry.id, entry.reason) for entry in found.bad] == [("gone", "a broken link to ../fetched/later.cif")]


@pytest.mark.parametrize("pattern", ["", "*"], ids=["folder", "pattern"])
def test_pipe_does_not_hang(pattern: str, folder: Path) -> None:
    os.mkfifo(folder / "a.cif")
    (folder / "b.cif").symlink_to("/dev/zero")
    found = read_crystals(str(folder / pattern), on_error="skip")
    assert found.ids == ["Cu"]
    reasons = ["no regular file, but a pipe", "no regular file, but a device"]
    assert [entry.reason for entry in found.bad] == reasons
    with pytest.raises(InputError, match=r"a\.cif \(no regular file, but a pipe\)"):
        find_files(folder / "a.cif")


def test_name_that_is_no_text(folder: Path) -> None:
    os.rename(bytes(folder / "Cu.vasp"), bytes(folder) + b"/Cu\xff.vasp")
    (folder.parent / "real" / "link").symlink_to(folder)
    found = read_crystals(folder.parent / "real", on_error="skip")
    assert found.ids == ["MgO", "NaCl"]
    assert [entry.reason for entry in found.bad] == ["the name of the file is not UTF-8 text; rename it"]
    found.bad_report().encode()
    with pytest.raises(InputError, match=r"not UTF-8 text\. Received: .*Cu\\udcff"):
        find_files(os.fsdecode(bytes(folder) + b"/Cu\xff.vasp"))


def test_saved_model_is_no_crystal(folder: Path) -> None:
    (folder / "ft").mkdir()
    for name in ("model.json", "model.pt", "state.pt"):
        (folder / "ft" / name).write_text('{"@module": "matgl", "steps": 3}')
    found = read_crystals(folder)
    assert found.ids == ["Cu"]
    assert [Path(name).name for name in found.ignored] == ["model.pt", "state.pt", "model.json"]
    (folder / "ft" / "state.pt").unlink()
    with pytest.raises(InputError, match=r"model\.json.*holds no pymatgen Structure"):
        read_crystals(folder)


def test_broken_crystal_beside_a_run_is_still_named(folder: Path) -> None:
    (folder / "run.json").write_text('{"settings": {}}')
    (folder / "card.json").write_text('{"mae": 1.0}')
    (folder / "crystal.json").write_text('{"sites": [')
    found = read_crystals(folder, on_error="skip")
    assert [entry.id for entry in found.bad] == ["crystal"]
    assert own_output(folder / "card.json")
    assert not own_output(folder.parent / "real" / "NaCl.vasp")


@pytest.mark.parametrize("call", [find_files, read_crystals], ids=["files", "crystals"])
@pytest.mark.parametrize("source", ["", "  "], ids=["empty", "blank"])
def test_empty_name_is_not_the_working_folder(
    call: Callable[[str], object], source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="name of the data is empty"):
        call(source)
