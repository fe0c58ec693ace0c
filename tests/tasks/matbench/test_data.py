"""Official data are found and pass; files with anything else are refused, and the first such row is named."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench import data
from matgl_infomax.tasks.matbench.data import task_crystals
from matgl_infomax.tasks.matbench.task import Task, load_card, load_task
from tests.helpers.make_official import cell_text, fingerprints

VALUES = [0.5, -1.25, 3.0, 1 / 3, 0.5, 2.0, 7.25, -0.75, 100.0, 0.0, 2.5, 1.75]


@pytest.fixture(autouse=True)
def no_folder_of_ones_own(monkeypatch):
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)


@pytest.fixture
def official(crystals, monkeypatch):
    """The twelve small crystals as a task of Matbench: data frame, and the task that asks for exactly them."""
    return small_task(crystals, VALUES, monkeypatch)


def small_task(crystals: list[Crystal], values: list, monkeypatch) -> tuple[pd.DataFrame, Task]:
    formulas = [c.to_structure().composition.formula for c in crystals]
    rows = {"composition": formulas, "y": [round(v, 10) for v in values], "spg_num": [1] * len(values)}
    arrays, content = fingerprints(rows, "y")
    facts = {"name": "matbench_small", "n_rows": len(values), "target": "y", "content_sha256": content}
    card = load_card("jdft2d").model_copy(update=facts)
    monkeypatch.setattr(data, "read_official", lambda task, what: arrays[what])
    frame = pd.DataFrame({
        "mbid": [card.mbid(k) for k in range(len(values))],
        "y": values,
        "lattice": [c.lattice.ravel() for c in crystals],
        "atomic_numbers": [c.numbers for c in crystals],
        "frac_coords": [c.frac.ravel() for c in crystals],
    })  # fmt: skip
    return frame, Task(card)


def read(frame: pd.DataFrame, task: Task, folder: Path):
    frame.to_parquet(folder / f"{task.card.name}.parquet")
    return task_crystals(task, folder, folder / "cache", progress=False)


def write_json(frame: pd.DataFrame, path: Path, target: str = "y", pack=gzip.compress) -> bytes:
    """The rows as matminer stores them."""
    found = read_crystals(frame, targets=[target])
    rows = [[crystal.to_structure().as_dict(), crystal.labels[target]] for crystal in found]
    table = {"columns": ["structure", target], "index": list(range(len(rows))), "data": rows}
    content = pack(json.dumps(table).encode())
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("name", ["jdft2d", pytest.param("perovskites", marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", [".parquet", ".rebuilt.json.gz"])
def test_the_real_files_pass(shared, tmp_path, name, ending):
    task = load_task(name)
    file = shared / "data" / "matbench" / f"{task.card.name}{ending}"
    (tmp_path / file.name).symlink_to(file)
    found = task_crystals(task, tmp_path, tmp_path / "cache", progress=False)
    wanted = read_crystals(file, targets=[task.card.target])
    assert (found.ids, found.targets, found.bad) == (task.ids, [task.card.target], ())
    np.testing.assert_array_equal(found.labels([task.card.target]), wanted.labels([task.card.target]))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_array_equal(one.frac, other.frac)


@pytest.mark.parametrize("row", [0, 317, 635])
def test_a_changed_target_of_the_real_file_is_named(shared, tmp_path, row):
    task = load_task("jdft2d")
    frame = pd.read_parquet(shared / "data" / "matbench" / "matbench_jdft2d.parquet")
    frame.loc[row, "exfoliation_en"] += 1e-6
    with pytest.raises(InputError, match=rf"in row {row} \({task.card.mbid(row)}\): its exfoliation_en \(.*\) differs"):
        read(frame, task, tmp_path)


def test_official_rows_pass_in_every_layout(official, tmp_path):
    frame, task = official
    found = [read(frame, task, tmp_path), read(frame.drop(columns="mbid"), task, tmp_path)]
    for name, pack in [(".json", bytes), (".rebuilt.json.gz", gzip.compress), (".json.gz", gzip.compress)]:
        (tmp_path / f"json{name}").mkdir()
        write_json(frame, tmp_path / f"json{name}" / f"matbench_small{name}", pack=pack)
        found.append(task_crystals(task, tmp_path / f"json{name}", tmp_path, progress=False))
    for crystals in found:
        assert crystals.ids == task.ids
        assert crystals.labels(["y"])[:, 0].tolist() == VALUES


def changed(frame: pd.DataFrame, row: int, column: str, value) -> pd.DataFrame:
    frame = frame.copy()
    frame[column] = frame[column].astype(object)
    frame.at[row, column] = value
    return frame.astype({"y": float}) if column == "y" and not isinstance(value, str) else frame


def swapped(frame: pd.DataFrame, *, ids: bool) -> pd.DataFrame:
    """Rows 3 and 7 exchanged, with their ids or under the ids of the other."""
    order = np.arange(len(frame))
    order[[3, 7]] = [7, 3]
    other = frame.iloc[order].reset_index(drop=True)
    return other if ids else other.assign(mbid=frame["mbid"])


WRONG = {
    "target": (lambda f: changed(f, 4, "y", 0.50001), r"row 4 \(mb-small-05\): its y \(0.50001\) differs\. Get"),
    "rounded target": (lambda f: changed(f, 3, "y", 0.3333333), r"row 3 .*its y \(0.3333333\) differs\."),
    "target missing": (lambda f: changed(f, 4, "y", np.nan), r"row 4 \(mb-small-05\): it has no y"),
    "no number": (lambda f: changed(f.astype({"y": str}), 4, "y", "high"), r"row 4 .*label 'y': 'high' is no number"),
    "element": (
        lambda f: changed(f, 5, "atomic_numbers", [55, 35]),
        r"row 5 \(mb-small-06\): its composition \(BrCs, 2 atoms\) differs\.",
    ),
    "both": (
        lambda f: changed(changed(f, 5, "atomic_numbers", [55, 35]), 5, "y", 9.0),
        r"row 5 .*its composition \(BrCs, 2 atoms\) and its y \(9.0\) differ\.",
    ),
    "supercell": (
        lambda f: changed(changed(f, 0, "atomic_numbers", [29, 29]), 0, "frac_coords", [0, 0, 0, 0.5, 0.5, 0.5]),
        r"row 0 .*its composition \(Cu, 2 atoms\) differs\.",
    ),
    "no position": (lambda f: changed(f, 6, "frac_coords", [0, 0, 0, np.nan, 0, 0]), r"row 6 .*site 1 is not finite"),
    "swapped": (lambda f: swapped(f, ids=True), r"row 3 \(mb-small-04\): the file calls it mb-small-08: rows are"),
    "swapped below ids": (
        lambda f: swapped(f, ids=False),
        r"row 3 \(mb-small-04\): its composition .* and its y .* differ; row 7 would fit, so is the order",
    ),
    "one left out": (lambda f: f.drop(index=2), r"row 2 \(mb-small-03\): the file calls it mb-small-04: rows are miss"),
    "left out, no ids": (lambda f: f.drop(index=2, columns="mbid"), r"row 2 .*row 3 would fit"),
    "end missing": (lambda f: f[:9], r"row 9 \(mb-small-10\): it is missing. Received 9 rows, official are 12\."),
    "too many": (
        lambda f: pd.concat([f, f[:1].assign(mbid="extra")], ignore_index=True),
        r"row 12: it is one too many. Received 13 rows, official are 12\.",
    ),
    "two faults": (lambda f: changed(changed(f, 8, "y", 1.0), 2, "y", np.nan), r"row 2 .*it has no y"),
    "two faults, other way": (lambda f: changed(changed(f, 8, "y", np.nan), 2, "y", 1.0), r"row 2 .*its y \(1.0\)"),
    "column": (lambda f: f.rename(columns={"y": "z"}), r"has no column y. Columns found: mbid, z\. Get"),
    "no crystals": (lambda f: f[["mbid", "y"]], r"cannot be read as the data of matbench_small: a table needs the col"),
}


@pytest.mark.parametrize(("change", "text"), WRONG.values(), ids=list(WRONG))
def test_a_file_with_other_rows_is_refused(official, tmp_path, change, text):
    frame, task = official
    with pytest.raises(InputError, match=text) as caught:
        read(change(frame), task, tmp_path)
    assert f"Get the original from {task.card.url} (SHA-256 {task.card.sha256})" in str(caught.value)


@pytest.mark.parametrize("ending", [".parquet", ".json.gz", ".json"])
@pytest.mark.parametrize("kept", [0, 100, -100])
def test_a_truncated_file_is_refused(official, tmp_path, ending, kept):
    frame, task = official
    path = tmp_path / f"matbench_small{ending}"
    if ending == ".parquet":
        frame.to_parquet(path)
    else:
        write_json(frame, path, pack=bytes if ending == ".json" else gzip.compress)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cannot be read as the data of matbench_small: (truncated|damaged|empty)"):
        task_crystals(task, tmp_path, tmp_path, progress=False)


def test_a_change_that_two_bytes_miss_is_seen_all_the_same(official, tmp_path, monkeypatch):
    frame, task = official
    monkeypatch.setattr(data, "two_byte_hash", lambda text: 0)
    monkeypatch.setattr(data, "read_official", lambda task, what: np.zeros(12, dtype=np.uint16))
    assert len(read(frame, task, tmp_path)) == 12
    with pytest.raises(InputError, match="A composition or target differs in a row that cannot be named"):
        read(changed(frame, 4, "y", 0.6), task, tmp_path)


def test_atoms_that_nearly_touch_are_official_too(crystals, monkeypatch, tmp_path):
    """Three crystals of the Materials Project have atoms closer than 0.5 angstrom; nobody is scored without them."""
    close = Crystal("H2", np.array([1, 1]), 4 * np.eye(3), np.array([[0, 0, 0], [0.12, 0, 0]]), {})
    frame, task = small_task([*crystals[:11], close], VALUES, monkeypatch)
    assert read(frame, task, tmp_path)[11].n_sites == 2


def test_classes_become_zero_and_one(crystals, monkeypatch, tmp_path):
    classes = [k % 3 == 0 for k in range(12)]
    frame, task = small_task(crystals, classes, monkeypatch)
    assert frame["y"].dtype == bool
    assert read(frame, task, tmp_path).labels(["y"])[:, 0].tolist() == [float(k % 3 == 0) for k in range(12)]


@pytest.mark.parametrize("name", ["expt_gap", "expt_is_metal", "glass", "steels"])
def test_a_task_without_structures_says_so(name, tmp_path):
    with pytest.raises(InputError, match=rf"matbench_{name} has no structures: it asks for .* from the composition"):
        task_crystals(load_task(name), tmp_path, tmp_path)


def test_the_folder_is_the_one_that_is_named(official, tmp_path, monkeypatch):
    frame, task = official
    named, other = tmp_path / "named", tmp_path / "other" / "matbench"
    named.mkdir()
    other.mkdir(parents=True)
    frame.to_parquet(other / "matbench_small.parquet")
    monkeypatch.setenv(data.DATA_VARIABLE, str(other.parent))
    assert len(task_crystals(task, None, tmp_path, progress=False)) == 12
    with pytest.raises(InputError, match=r"No data of matbench_small in .*named, which --data-dir names. Looked for"):
        task_crystals(task, named, tmp_path)
    monkeypatch.setenv(data.DATA_VARIABLE, str(named))
    with pytest.raises(InputError, match=r"in .*named, which MATGL_INFOMAX_DATA names"):
        task_crystals(task, None, tmp_path)


def test_the_original_comes_before_rebuilt_files(official, tmp_path):
    frame, task = official
    write_json(frame, tmp_path / "matbench_small.json.gz")
    (tmp_path / "matbench_small.parquet").write_bytes(b"damaged")
    assert len(task_crystals(task, tmp_path, tmp_path, progress=False)) == 12


def test_without_a_folder_the_original_is_downloaded_into_the_cache(official, tmp_path, monkeypatch):
    """The download itself is tested in test_download.py; here it must be asked for by the card's facts."""
    frame, task = official
    content = write_json(frame, tmp_path / "served.json.gz")
    card = task.card.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    asked = []

    def fetch(url: str, sha256: str, path: Path, *, progress: bool) -> Path:
        asked.append((url, sha256, path, progress))
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return path

    monkeypatch.setattr(data, "download", fetch)
    assert task_crystals(Task(card), None, tmp_path / "cache", progress=False).ids == task.ids
    assert asked == [(card.url, card.sha256, tmp_path / "cache" / "matbench" / "matbench_small.json.gz", False)]


def test_cell_contents_have_one_spelling():
    assert cell_text("Si1 O2") == cell_text("O2 Si1") == "8:2 14:1"
