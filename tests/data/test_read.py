"""Folders, globs, ids and columns mean what a chemist expects."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.writers import to_frame, write_cif, write_poscar, write_records


def test_left_handed_lattice_is_no_mistake(crystals: list[Crystal]) -> None:
    frame = to_frame(crystals)
    frame["lattice"] = [(-c.lattice).ravel() for c in crystals]
    assert len(read_crystals(frame)) == len(crystals)


def test_folder_is_searched_in_order_and_same_stems_differ(crystals: list[Crystal], tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
        write_cif(crystals[2], tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("nothing")
    found = read_crystals(tmp_path)
    assert found.ids == ["a/NaCl", "b/NaCl"]
    assert [Path(name).name for name in found.ignored] == ["notes.txt"]
    assert "1 files ignored" in found.bad_report()
    assert "notes.txt" in found.bad_report()


def test_glob(crystals: list[Crystal], tmp_path: Path) -> None:
    for crystal in crystals:
        write_poscar(crystal, tmp_path)
    assert read_crystals(str(tmp_path / "Ga*.vasp")).ids == ["GaAs", "GaN"]


def test_rows_of_several_tables_are_told_apart(crystals: list[Crystal], tmp_path: Path) -> None:
    for name, part in (("a", crystals[:2]), ("b", crystals[2:3])):
        to_frame(part).drop(columns="id").to_parquet(tmp_path / f"{name}.parquet")
    assert read_crystals(tmp_path).ids == ["a:0", "a:1", "b:0"]
    assert read_crystals(tmp_path / "a.parquet").ids == ["0", "1"]


def test_id_column(crystals: list[Crystal]) -> None:
    frame = to_frame(crystals, code=[f"c{k}" for k in range(len(crystals))])
    assert read_crystals(frame, id_column="code").ids[0] == "c0"
    with pytest.raises(InputError, match=r"Received: kode\. Columns found: code, id, y"):
        read_crystals(frame, id_column="kode")


def test_several_targets_and_missing_labels(crystals: list[Crystal], tmp_path: Path) -> None:
    gap = [None, 1.5, *[float("nan")] * (len(crystals) - 2)]
    to_frame(crystals, gap=gap).to_parquet(tmp_path / "set.parquet")
    found = read_crystals(tmp_path / "set.parquet", targets=["gap", "y"])
    values = found.labels(["y", "gap"])
    assert values.shape == (len(crystals), 2)
    assert not np.isnan(values[:, 0]).any()
    assert np.flatnonzero(~np.isnan(values[:, 1])).tolist() == [1]
    assert "gap" not in found[0].labels


def test_unknown_target_lists_the_columns(crystals: list[Crystal]) -> None:
    with pytest.raises(InputError, match=r"Received: gap\. Columns found: id, y"):
        read_crystals(to_frame(crystals), targets=["gap"])


def test_crystals_is_an_unchangeable_list(crystals: list[Crystal]) -> None:
    held = Crystals(crystals)
    assert held[2].id == "NaCl"
    assert held[-1].id == crystals[-1].id
    assert held[1:3].ids == ["Po", "NaCl"]
    assert held.subset(np.array([3, 0])).ids == ["MgO", "Cu"]
    assert held.subset(held.labels(["y"])[:, 0] > 0).ids == ["Po", "KXeO"]
    assert held.targets == ["y"]
    with pytest.raises(InputError, match=r"Unknown target\. Received: z\. Known: y"):
        held.labels(["z"])
    with pytest.raises(InputError, match="Received twice: Cu"):
        Crystals([*crystals, crystals[0]])
    with pytest.raises(TypeError):
        held[0] = crystals[1]  # type: ignore[index]


@pytest.mark.filterwarnings("error")
def test_progress_bar_changes_nothing(
    crystals: list[Crystal], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    write_records(crystals, tmp_path)
    quiet = read_crystals(tmp_path)
    assert not capsys.readouterr().err
    assert read_crystals(tmp_path, progress=True).ids == quiet.ids
    assert "Reading crystals" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "target", "rows"),
    [
        ("matbench/matbench_jdft2d.parquet", "exfoliation_en", 636),
        ("matbench/matbench_jdft2d.rebuilt.json.gz", "exfoliation_en", 636),
        ("mlearn_ff/mlearn_ff.parquet", "energy", 1566),
        ("mp_matched/dielectric.parquet", "n", 4318),
        ("wbm_10k/wbm_10k.parquet", "band_gap", 10000),
    ],
)
def test_shared_tables_are_read_whole(name: str, target: str, rows: int, shared: Path) -> None:
    found = read_crystals(shared / "data" / name, targets=[target])
    assert len(found) == rows
    assert not np.isnan(found.labels([target])).any()


def test_matbench_file_has_the_official_ids(shared: Path) -> None:
    folder = shared / "data" / "matbench"
    packed = read_crystals(folder / "matbench_jdft2d.rebuilt.json.gz", targets=["exfoliation_en"])
    table = read_crystals(folder / "matbench_jdft2d.parquet", targets=["exfoliation_en"])
    assert packed.ids == table.ids
    np.testing.assert_array_equal(packed.labels(["exfoliation_en"]), table.labels(["exfoliation_en"]))
    np.testing.assert_allclose(packed[7].frac, table[7].frac, atol=1e-8)
