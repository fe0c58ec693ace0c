"""Each kind of bad input is found, named with its reason, and never a traceback or a silent loss."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError


def cif(crystal: Crystal) -> str:
    from pymatgen.io.cif import CifWriter

    return str(CifWriter(crystal.to_structure()))


def poscar(crystal: Crystal) -> str:
    from pymatgen.io.vasp import Poscar

    return str(Poscar(crystal.to_structure()).get_str())


def structure_json(crystal: Crystal, old: str = "", new: str = "") -> str:
    return json.dumps(crystal.to_structure().as_dict()).replace(old, new)


def xyz(symbol: str = "Na", cell: str = 'Lattice="4 0 0 0 4 0 0 0 4"', place: str = "2 2 2") -> str:
    return f"2\n{cell} Properties=species:S:1:pos:R:3\nCl 0 0 0\n{symbol} {place}\n"


SECOND = "0.50000000  0.50000000  0.50000000"
FILES: dict[str, tuple[str, Callable[[Crystal], str | bytes], str]] = {
    "empty-cif": ("a.cif", lambda c: "", "empty file"),
    "blank-cif": ("a.cif", lambda c: " \n\n", "empty file"),
    "cif-cut-in-a-line": ("a.cif", lambda c: cif(c)[:-30], "truncated"),
    "cif-cut-between-lines": ("a.cif", lambda c: "\n".join(cif(c).splitlines()[:-1]), "truncated"),
    "cif-cut-in-the-head": ("a.cif", lambda c: cif(c)[:300], "truncated"),
    "cif-disordered": ("a.cif", lambda c: cif(c).replace(f"{SECOND}  1", f"{SECOND}  0.5"), "disordered"),
    "cif-unknown-element": ("a.cif", lambda c: cif(c).replace(" Cl  Cl1", " X  X1"), "unknown element X"),
    "cif-nan": ("a.cif", lambda c: cif(c).replace(SECOND, "nan 0.5 0.5"), "not finite"),
    "cif-question-mark": ("a.cif", lambda c: cif(c).replace(SECOND, "? 0.5 0.5"), "'?'"),
    "cif-same-place": ("a.cif", lambda c: cif(c).replace(SECOND, "0.0 0.0 0.0"), "overlapping"),
    "cif-near-place": ("a.cif", lambda c: cif(c).replace(SECOND, "0.01 0.0 0.0"), "overlapping atoms"),
    "cif-zero-edge": ("a.cif", lambda c: cif(c).replace("_length_a   ", "_length_a   0.0 #"), "no volume"),
    "cif-negative-edge": ("a.cif", lambda c: cif(c).replace("_length_a   ", "_length_a   -"), "no volume"),
    "cif-zero-angle": ("a.cif", lambda c: cif(c).replace("_alpha   ", "_alpha   0.0 #"), "no volume"),
    "binary-cif": ("a.cif", lambda c: b"\x00\x01\xff" * 50, "binary"),
    "not-a-cif": ("a.cif", lambda c: "<html>404</html>", "lists no atoms"),
    "poscar-cut": ("POSCAR", lambda c: "\n".join(poscar(c).splitlines()[:-1]), "truncated"),
    "poscar-cut-in-the-head": ("POSCAR", lambda c: "\n".join(poscar(c).splitlines()[:4]), "truncated"),
    "poscar-cut-in-a-line": ("POSCAR", lambda c: poscar(c)[:-40], "truncated"),
    "poscar-without-elements": ("a.vasp", lambda c: re.sub("Na Cl\n|Na|Cl", "", poscar(c)), "unknown elements"),
    "poscar-unknown-element": ("a.vasp", lambda c: poscar(c).replace("Cl", "Qq"), "unknown element Qq"),
    "poscar-nan": ("a.vasp", lambda c: poscar(c).replace("0.5000000000000000", "nan", 1), "not finite"),
    "poscar-empty": ("CONTCAR", lambda c: "", "empty file"),
    "json-cut": ("a.json", lambda c: structure_json(c)[:-40], "truncated or no JSON"),
    "json-disordered": ("a.json", lambda c: structure_json(c, '"occu": 1', '"occu": 0.5'), "disordered"),
    "json-dummy": ("a.json", lambda c: structure_json(c, '"Cl"', '"X"'), "unknown element X"),
    "json-nan": ("a.json", lambda c: structure_json(c, '"abc": [0.5', '"abc": [NaN'), "not finite"),
    "json-of-another-kind": ("a.json", lambda c: '{"steps": 3}', "no pymatgen Structure"),
    "json-list-of-numbers": ("a.json", lambda c: "[1]", "Structure dict is needed. Received: int"),
    "json-gz-cut": ("a.json.gz", lambda c: gzip.compress(structure_json(c).encode())[:-20], "truncated"),
    "json-gz-not-packed": ("a.json.gz", lambda c: "{}", "not packed as .gz says"),
    "xyz-cut": ("a.extxyz", lambda c: xyz()[:-7], "truncated"),
    "xyz-cut-between-lines": ("a.extxyz", lambda c: xyz()[:-9], "truncated: 2 atoms announced, 1"),
    "xyz-unknown-element": ("a.extxyz", lambda c: xyz("Qq"), "unknown element"),
    "xyz-dummy": ("a.extxyz", lambda c: xyz("X"), "unknown element"),
    "xyz-molecule": ("a.xyz", lambda c: xyz(cell=""), "no lattice"),
    "xyz-box": ("a.xyz", lambda c: xyz(cell='Lattice="9 0 0 0 9 0 0 0 9" pbc="F F F"'), "not periodic"),
    "xyz-flat": ("a.xyz", lambda c: xyz(cell='Lattice="4 0 0 0 4 0 0 0 0"'), "no volume"),
    "xyz-nan": ("a.xyz", lambda c: xyz(place="2 nan 2"), "not finite"),
    "xyz-no-count": ("a.xyz", lambda c: "hello\n" + xyz(), "begins with its number of atoms"),
    "db-no-database": ("a.db", lambda c: "hello", "no ASE database"),
    "db-empty": ("a.db", lambda c: "", "empty file"),
    "parquet-cut": ("a.parquet", lambda c: b"PAR1" + b"x" * 60, "truncated or no parquet"),
    "json-long-vector": (
        "a.json",
        lambda c: structure_json(c, '"matrix": [[0.0', '"matrix": [[1e10'),
        "1e+10 angstrom long",
    ),
    "json-overflowing-vector": (
        "a.json",
        lambda c: structure_json(c, '"matrix": [[0.0', '"matrix": [[1e214'),
        "angstrom",
    ),
    "json-underscore": ("a.json", lambda c: structure_json(c, '"abc": [0.5', '"abc": ["0_5"'), "underscore"),
    "json-deep": ("a.json", lambda c: "[" * 100_000, "RecursionError"),
    "poscar-long-vector": ("POSCAR", lambda c: poscar(c).replace("\n1.0\n", "\n1e150\n"), "angstrom long"),
    "xyz-long-vector": ("a.xyz", lambda c: xyz(cell='Lattice="4e214 0 0 0 4 0 0 0 4"'), "angstrom long"),
    "gz-of-nothing": ("a.json.gz", lambda c: gzip.compress(b" " * (2**28 + 1)), "unpacks to more than 256 MB"),
    "parquet-empty": ("a.parquet", lambda c: "", "empty file"),
}


def put(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", FILES)
def test_bad_file_is_named(kind: str, crystals: list[Crystal], tmp_path: Path) -> None:
    name, make, reason = FILES[kind]
    put(tmp_path / name, make(crystals[2]))
    put(tmp_path / "good.cif", cif(crystals[3]))
    found = read_crystals(tmp_path, on_error="skip")
    assert found.ids == ["good"]
    assert len(found.bad) == 1
    assert reason in found.bad[0].reason
    assert "\n" not in found.bad[0].reason
    assert found.bad[0].source == str(tmp_path / name) or kind.startswith(("xyz", "json-list"))
    assert name in found.bad_report()
    with pytest.raises(InputError, match=r"No crystal is left\."):
        read_crystals(tmp_path / name, on_error="skip")


def test_stop_lists_all_bad_files_at_once(crystals: list[Crystal], tmp_path: Path) -> None:
    for k, kind in enumerate(FILES):
        (tmp_path / f"{k:02d}").mkdir()
        name, make, _ = FILES[kind]
        put(tmp_path / f"{k:02d}" / name, make(crystals[2]))
    put(tmp_path / "good.cif", cif(crystals[3]))
    with pytest.raises(InputError) as caught:
        read_crystals(tmp_path)
    text = str(caught.value)
    for k, (name, _, reason) in enumerate(FILES.values()):
        line = next(line for line in text.splitlines() if f"/{k:02d}/{name}" in line)
        assert reason in line
    assert text.endswith("--on-error skip (in Python on_error='skip').")
    assert f"{len(FILES)} bad entries, 1 good crystals" in text


def test_one_bad_frame_harms_no_other(tmp_path: Path) -> None:
    put(tmp_path / "set.extxyz", xyz() + xyz("Qq") + xyz("K") + "2\n\nNa 0 0 0\n")
    found = read_crystals(tmp_path / "set.extxyz", on_error="skip")
    assert found.ids == ["set:0", "set:2"]
    assert [entry.id for entry in found.bad] == ["set:1", "set:3"]
    assert found.bad[0].source.endswith("frame 1")


def table(crystals: list[Crystal]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mbid": [c.id for c in crystals],
            "lattice": [c.lattice.ravel().tolist() for c in crystals],
            "atomic_numbers": [c.numbers.tolist() for c in crystals],
            "frac_coords": [c.frac.ravel().tolist() for c in crystals],
            "y": [c.labels["y"] for c in crystals],
        }
    )


@pytest.mark.parametrize("parquet", [False, True], ids=["pandas", "parquet"])
def test_bad_rows_of_a_table(parquet: bool, crystals: list[Crystal], tmp_path: Path) -> None:
    frame = table(crystals)
    frame.at[0, "lattice"] = [1.0] * 8
    frame.at[1, "atomic_numbers"] = None
    frame.at[2, "frac_coords"] = [0.0, 0.0, 0.0, 0.5, 0.5, None]
    frame.at[3, "mbid"] = "NaCl"
    frame.at[4, "mbid"] = None
    frame.at[5, "y"] = np.inf
    frame.at[6, "atomic_numbers"] = [30, 0]
    source: pd.DataFrame | Path = frame
    if parquet:
        source = tmp_path / "set.parquet"
        frame.to_parquet(source)
    found = read_crystals(source, targets=["y"], on_error="skip")
    reasons = {entry.source.rpartition(" ")[2]: entry.reason for entry in found.bad}
    expected = {
        "0": "3 vectors of 3 numbers",
        "1": "no atoms",
        "2": "coordinate of site 1 is not finite",
        "3": "duplicate id: NaCl is already at",
        "4": "no id in column 'mbid'",
        "5": "label 'y': inf is not finite",
        "6": "unknown element: atomic number 0",
    }
    assert set(reasons) == set(expected)
    for row, reason in expected.items():
        assert reason in reasons[row]
    assert len(found) == len(crystals) - 6
    assert found[0].id == "CsCl"
    assert "y" not in found[0].labels


def test_table_with_other_columns(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", pd.DataFrame({"a": [1]})):
        with pytest.raises(InputError, match=r"needs the columns lattice, .* Received: a"):
            read_crystals(source)


def test_structure_column_with_other_things(crystals: list[Crystal]) -> None:
    mixed = crystals[2].to_structure()
    mixed[0] = {"Na": 0.5, "K": 0.5}
    cells = [crystals[0].to_structure(), mixed, None, 7, "{broken"]
    found = read_crystals(pd.DataFrame({"structure": cells}), on_error="skip")
    assert found.ids == ["0"]
    reasons = [entry.reason for entry in found.bad]
    for reason, part in zip(reasons, ["disordered", "no structure", "received: int", "JSON"], strict=True):
        assert part in reason


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder\. Received: .*nowhere"):
        read_crystals(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no crystals\. Received: nothing"):
        read_crystals(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no crystals\. Received: 1 other files"):
        read_crystals(str(tmp_path / "*"))
    with pytest.raises(InputError, match=r"notes\.txt: unknown ending\. Known: \.cif"):
        read_crystals(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"Crystals are given as a list .*Received: int"):
        read_crystals(1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'stop' or 'skip'"):
        read_crystals(tmp_path, on_error="ignore")  # type: ignore[arg-type]


def test_unreadable_disk(crystals: list[Crystal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.cif", cif(crystals[3]))

    def fail(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(InputError, match=r"a\.cif: cannot be opened: Input/output error"):
        read_crystals(tmp_path / "a.cif")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(crystals: list[Crystal], tmp_path: Path) -> None:
    put(tmp_path / "good.cif", cif(crystals[3]))
    put(tmp_path / "a.cif", cif(crystals[3]))
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "a.cif").chmod(0)
    reasons = [entry.reason for entry in read_crystals(tmp_path, on_error="skip").bad]
    assert sorted(reasons) == ["folder cannot be opened: Permission denied", "no permission to read it"]


def test_long_lists_are_cut_in_the_message_only(crystals: list[Crystal]) -> None:
    frame = pd.concat([table(crystals)] * 30, ignore_index=True)
    with pytest.raises(InputError, match=f"and {29 * 12 - 200} more"):
        read_crystals(frame)
    assert len(read_crystals(frame, on_error="skip").bad) == 29 * 12


def test_subset_keeps_the_list(tmp_path: Path) -> None:
    put(tmp_path / "set.extxyz", xyz() + xyz("Qq"))
    found = read_crystals(tmp_path, on_error="skip")
    assert found.subset([0]).bad == found.bad


def test_real_overlaps_are_found(shared: Path) -> None:
    chosen = [("material_id", "in", ["mp-729544", "mp-795950", "mp-149"])]
    frame = pd.read_parquet(shared / "data" / "mp_unlabelled" / "mp_2025.parquet", filters=chosen)
    crystals = read_crystals(frame, on_error="skip")
    assert crystals.ids == ["mp-149"]
    assert sorted(entry.id for entry in crystals.bad) == ["mp-729544", "mp-795950"]


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may unpack to 1 MB, so that tests need no gigabytes."""
    from matgl_infomax.data import formats

    monkeypatch.setattr(formats, "UNPACKED_BYTES", 2**20)


@pytest.mark.usefixtures("small_limit")
def test_repeated_rows_of_a_parquet_file_are_counted(tmp_path: Path) -> None:
    """Some kilobytes that unpack to 50 MB: 5,000 rows of one lattice and 300 sites, repeated."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, sites = 5_000, 300
    one = {"lattice": np.zeros(9), "atomic_numbers": np.ones(sites, np.int64), "frac_coords": np.zeros(3 * sites)}
    columns = {}
    for name, values in one.items():
        part = pa.array([values.tolist()])
        columns[name] = pa.chunked_array([pa.concat_arrays([part] * 1000)] * (rows // 1000))
    pq.write_table(pa.table(columns), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**16
    with pytest.raises(InputError, match=r"unpacks to more than \d+ MB"):
        read_crystals(tmp_path / "bomb.parquet")


@pytest.mark.usefixtures("small_limit")
def test_repeated_long_texts_are_counted(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = "x" * 2**16
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array([text])).cast(pa.string())
    pq.write_table(pa.table({"structure": column}), tmp_path / "bomb.parquet")
    with pytest.raises(InputError, match=r"unpacks to more than \d+ MB"):
        read_crystals(tmp_path / "bomb.parquet")


def test_too_little_memory_is_a_bad_entry(
    crystals: list[Crystal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matgl_infomax.data import formats

    for name in ("a", "b"):
        put(tmp_path / f"{name}.cif", cif(crystals[3]))
    real = formats.read_text

    def greedy(path: Path) -> str:
        if path.name == "a.cif":
            raise MemoryError
        return real(path)

    monkeypatch.setattr(formats, "read_text", greedy)
    found = read_crystals(tmp_path, on_error="skip")
    assert found.ids == ["b"]
    assert [entry.reason for entry in found.bad] == ["needs more memory than there is"]


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("a\0b", r"control characters: a\x00b"),
        ("a\nb", r"control characters: a\nb"),
        ("a\x1b[31mb", r"control characters: a\x1b"),
        ("a\u2028b", r"control characters: a\u2028b"),
        ("a\udcffb", r"control characters: a\udcffb"),
        ("x" * 5000, "id of 5000 characters"),
    ],
)
def test_ids_that_cannot_be_written_down(id: str, reason: str, crystals: list[Crystal]) -> None:
    frame = table(crystals)
    frame.at[1, "mbid"] = id
    found = read_crystals(frame, on_error="skip")
    assert len(found) == len(crystals) - 1
    assert reason in found.bad[0].reason
    lines = found.bad_report().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 400 for line in lines)
