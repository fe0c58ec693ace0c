"""Extended XYZ and ASE databases: ids, labels and arrays under their own names, and no layer taken for a crystal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.data.crystal import BadEntry, Crystal, UnreadableError
from matgl_infomax.data.formats import header_values, read_ase_database, read_frames
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.writers import to_atoms, to_frame

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
SALT = "Na 0 0 0\nCl 2 2 2\n"


def frame(header: str, atoms: str = SALT, columns: str = "species:S:1:pos:R:3") -> str:
    return f"2\n{LATTICE} Properties={columns} {header}\n{atoms}"


@pytest.mark.parametrize(
    "written", ["007", "1e5", "1.10", "1.1", "1_5", "0", "-0", "12345678901234567890", "T", "F", "true"]
)
@pytest.mark.parametrize("quote", ["{}", '"{}"', "'{}'"], ids=["bare", "double", "single"])
def test_ids_stay_as_written(written: str, quote: str, tmp_path: Path) -> None:
    (tmp_path / "set.extxyz").write_text(frame(f"id={quote.format(written)}"))
    assert read_crystals(tmp_path / "set.extxyz").ids == [written]


@pytest.mark.parametrize("written", ["1 2 3", "0 1", "{1 2}", "[1, 2, 3]", "T F", "None"])
def test_ids_that_look_like_lists_stay_as_written(written: str, tmp_path: Path) -> None:
    (tmp_path / "set.extxyz").write_text(frame(f'id="{written}"'))
    assert read_crystals(tmp_path / "set.extxyz").ids == [written]


@pytest.mark.parametrize("quote", ["{}", '"{}"'], ids=["bare", "double"])
def test_a_truth_value_is_a_label_or_a_name(quote: str, tmp_path: Path) -> None:
    """Columns that are ids only by the user's word hold truth values too."""
    words = ["T", "F"]
    text = "".join(frame(f"name={quote.format(word)} metal={word}") for word in words)
    (tmp_path / "set.extxyz").write_text(text)
    found = read_crystals(tmp_path / "set.extxyz", id_column="name", targets=["metal"])
    assert [(c.id, c.labels) for c in found] == [("T", {"metal": 1.0}), ("F", {"metal": 0.0})]


def test_ids_find_their_labels(tmp_path: Path) -> None:
    names = ["007", "7", "1e5", "100000"]
    (tmp_path / "set.extxyz").write_text("".join(frame(f"id={name}") for name in names))
    (tmp_path / "labels.csv").write_text("id,y\n" + "".join(f"{name},{k}\n" for k, name in enumerate(names)))
    found = read_crystals(tmp_path / "set.extxyz", labels_file=tmp_path / "labels.csv")
    assert {c.id: c.labels["y"] for c in found} == {"007": 0.0, "7": 1.0, "1e5": 2.0, "100000": 3.0}


def test_header_is_read_as_ase_writes_it() -> None:
    from ase.io.extxyz import key_val_dict_to_str

    values = {"id": "a b", "note": 'say "x=1"', "y": 0.5, "tag": "x=3"}
    found = header_values(key_val_dict_to_str(values))
    assert found == {"id": "a b", "note": 'say "x=1"', "y": "0.5", "tag": "x=3"}


def test_label_with_underscore_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.extxyz").write_text(frame("id=a y=1_5") + frame("id=b y=1.5"))
    found = read_crystals(tmp_path / "set.extxyz", targets=["y"], on_error="skip")
    assert [c.labels for c in found] == [{}, {"y": 1.5}]
    assert "'1_5' is no number" in found.bad[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (frame("y=1 y=2"), "two columns of one name. Received: y"),
        (frame("", columns="species:S:1:pos:R:3:f:R:1:f:R:1"), "two columns of one name. Received: f"),
        (frame("", "Na 0 0 0\nCl 2 2_5 2\n"), "'2_5' is no number"),
        (frame("").replace("4 0 0 0 4", "4 0 0 0 4_0"), "'4_0' is no number"),
        ("²\n" + frame(""), "begins with its number of atoms"),
        (frame('pbc="T T F"'), "periodic in 2 of 3 directions (pbc T T F)"),
        (frame('pbc="F T F"'), "periodic in 1 of 3 directions (pbc F T F)"),
        (frame('pbc="F F F"'), "not periodic"),
    ],
)
def test_refused_frames(text: str, reason: str) -> None:
    (entry,) = read_frames(text, "set.extxyz", "a", frozenset())
    assert isinstance(entry, BadEntry)
    assert reason in entry.reason


def test_forces_under_their_own_name(tmp_path: Path) -> None:
    columns = "species:S:1:pos:R:3:REF_forces:R:3:charge:R:1"
    (tmp_path / "set.extxyz").write_text(frame("id=a", "Na 0 0 0 1 2 3 0.5\nCl 2 2 2 4 5 6 -0.5\n", columns))
    found = read_crystals(tmp_path / "set.extxyz", arrays=["REF_forces", "charge"])
    assert found[0].arrays["REF_forces"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found[0].arrays["charge"].tolist() == [0.5, -0.5]
    with pytest.raises(
        InputError, match=r"Received: forces\. Columns of arrays found: REF_forces, charge, charges, pos"
    ):
        read_crystals(tmp_path / "set.extxyz", arrays=["forces"])


def test_forces_of_a_database_and_of_a_structure(crystals: list[Crystal], tmp_path: Path) -> None:
    from ase.db import connect

    forces = np.arange(6.0).reshape(2, 3)
    with connect(tmp_path / "set.db") as database:
        database.write(to_atoms(crystals[2]), mbid="salt", data={"REF_forces": forces})
    structure = crystals[2].to_structure()
    structure.add_site_property("REF_forces", forces.tolist())
    (tmp_path / "salt.json").write_text(json.dumps(structure.as_dict()))
    for source in (tmp_path / "set.db", tmp_path / "salt.json"):
        assert read_crystals(source, arrays=["REF_forces"])[0].arrays["REF_forces"].tolist() == forces.ravel().tolist()


def test_layers_of_other_formats_are_named(crystals: list[Crystal], tmp_path: Path) -> None:
    from ase.db import connect
    from pymatgen.core import Lattice, Structure

    atoms = to_atoms(crystals[2])
    atoms.pbc = (True, True, False)
    with connect(tmp_path / "set.db") as database:
        database.write(atoms)
    layer = Structure(Lattice(4 * np.eye(3), pbc=(True, True, False)), ["Na"], [[0, 0, 0]])
    (tmp_path / "layer.json").write_text(json.dumps(layer.as_dict()))
    sources = [tmp_path / "set.db", tmp_path / "layer.json", pd.DataFrame({"structure": [layer]})]
    for source in [*sources, pd.DataFrame({"structure": [atoms]})]:
        with pytest.raises(InputError, match=r"periodic in 2 of 3 directions \(pbc T T F\)"):
            read_crystals(source, on_error="skip")


def test_empty_database(tmp_path: Path) -> None:
    (tmp_path / "set.db").write_bytes(b"")
    with pytest.raises(UnreadableError, match="empty file"):
        read_ase_database(tmp_path / "set.db", "set", frozenset(), alone=True)


def test_columns_of_one_name_are_refused_in_json_and_parquet(crystals: list[Crystal], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    salt = json.dumps(crystals[2].to_structure().as_dict())
    texts = {
        "record": f'[{{"structure": {salt}, "y": 1, "y": 2}}]',
        "mapping": f'{{"mp-1": {salt}, "mp-1": {salt}}}',
        "split": f'{{"columns": ["structure", "y", "y"], "index": ["a"], "data": [[{salt}, 1, 2]]}}',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_text(text)
    table = pa.Table.from_pandas(to_frame(crystals))
    pq.write_table(table.append_column("y", table["y"]), tmp_path / "twice.parquet")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError, match=r"two columns of one name\. Received: (y|mp-1)"):
            read_crystals(file, targets=["y"])
