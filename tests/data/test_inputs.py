"""Crystals and labels from memory: every kind of input gives the crystals that were put in, or one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Molecule, Species, Structure
from pymatgen.io.cif import CifWriter

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.inputs import split_targets, structure_column
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.errors import InputError
from tests.helpers.writers import to_atoms


def structures(crystals):
    return [crystal.to_structure() for crystal in crystals]


def atoms(crystals):
    return [to_atoms(crystal) for crystal in crystals]


def cif(crystal):
    return str(CifWriter(crystal.to_structure()))


def files(crystals, folder):
    paths = [folder / f"{crystal.id}.cif" for crystal in crystals]
    for path, crystal in zip(paths, crystals, strict=True):
        path.write_text(cif(crystal))
    return paths


IN_ORDER = {
    "structures": lambda c, _: structures(c),
    "atoms": lambda c, _: atoms(c),
    "crystals": lambda c, _: list(c),
    "tuple": lambda c, _: tuple(structures(c)),
    "generator": lambda c, _: (s for s in structures(c)),
    "object array": lambda c, _: pd.Series(structures(c)).to_numpy(),
    "dicts": lambda c, _: [s.as_dict() for s in structures(c)],
    "json texts": lambda c, _: [s.to_json() for s in structures(c)],
    "cif texts": lambda c, _: [cif(x) for x in c],
    "paths": lambda c, folder: files(c, folder),
    "names of files": lambda c, folder: [str(path) for path in files(c, folder)],
    "mixed": lambda c, folder: [c[0], structures(c)[1], atoms(c)[2], *files(c[3:], folder)],
    "series": lambda c, _: pd.Series(structures(c)),
    "mapping": lambda c, _: {x.id: s for x, s in zip(c, structures(c), strict=True)},
    "table of structures": lambda c, _: pd.DataFrame({"structure": structures(c), "note": "x"}),
    "table of atoms": lambda c, _: pd.DataFrame({"note": "x", "atoms": atoms(c)}),
    "table of cif texts": lambda c, _: pd.DataFrame({"formula": "x", "cif": [cif(x) for x in c]}),
    "table of crystals": lambda c, _: pd.DataFrame({"found": list(c)}),
    "table of files": lambda c, folder: pd.DataFrame({"file": [str(p) for p in files(c, folder)]}),
    "table of lists": lambda c, _: pd.DataFrame(
        {
            "lattice": [x.lattice for x in c],
            "atomic_numbers": [x.numbers for x in c],
            "frac_coords": [x.frac for x in c],
        }
    ),
}


def same(found, wanted):
    """The same cells: volume and elements tell the crystals apart, whatever text they went through."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert sorted(one.numbers) == sorted(other.numbers)
        assert abs(np.linalg.det(one.lattice)) == pytest.approx(abs(np.linalg.det(other.lattice)), rel=1e-5)


@pytest.mark.parametrize("kind", IN_ORDER)
def test_every_kind_of_input_gives_the_crystals_in_order_with_their_labels(kind, crystals, tmp_path):
    some, values = crystals[:6], [0.5, -1.0, np.nan, 3.0, 4.0, 5.0]
    found = read_crystals(IN_ORDER[kind](some, tmp_path), targets={"gap": values})
    same(found, some)
    assert found.targets == ["gap"]
    np.testing.assert_array_equal(found.labels(["gap"])[:, 0], values)
    assert "gap" not in found[2].labels, "a missing label is absent"
    assert len(set(found.ids)) == 6


@pytest.mark.parametrize("kind", ["structure", "atoms", "crystal", "dict", "cif"])
def test_a_single_structure_is_a_list_of_one(kind, crystals):
    nacl = crystals[2]
    (structure,), (one,) = structures([nacl]), atoms([nacl])
    made = {"structure": structure, "atoms": one, "crystal": nacl, "dict": structure.as_dict(), "cif": cif(nacl)}[kind]
    same(read_crystals(made), [nacl])


def test_ids_are_those_of_the_source(crystals, tmp_path):
    some = crystals[:3]
    assert read_crystals(some).ids == ["Cu", "Po", "NaCl"]
    assert read_crystals(structures(some)).ids == ["0", "1", "2"]
    assert read_crystals(pd.Series(structures(some), index=["a", "b", "c"])).ids == ["a", "b", "c"]
    assert read_crystals({"a": structures(some)[0]}).ids == ["a"]
    assert read_crystals(files(some, tmp_path)).ids == ["Cu", "Po", "NaCl"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    twins = [files(some[:1], tmp_path / "one")[0], files(some[:1], tmp_path / "two")[0]]
    assert read_crystals(twins).ids == ["one/Cu", "two/Cu"]


def test_crystals_stay_what_they_are(crystals):
    kept = read_crystals(crystals)
    assert all(one is other for one, other in zip(kept, crystals, strict=True))
    held = Crystals(crystals)
    assert list(read_crystals(held)) == list(held) and read_crystals(held, targets="y").targets == ["y"]
    mixed = read_crystals([crystals[0], structures(crystals)[1]])
    assert mixed[0].labels == crystals[0].labels and mixed[1].labels == {}
    with pytest.raises(InputError, match=r"No crystal carries the target\. Received: gap\. Found: y"):
        read_crystals(crystals, targets="gap")


def test_given_labels_win_over_those_of_a_column(crystals):
    relabelled = read_crystals(crystals[:2], targets={"y": [7.0, np.nan]})
    assert relabelled[0].labels == {"y": 7.0} and relabelled[1].labels == {}


def test_columns_beside_structures_and_atoms_are_read_as_from_files(crystals):
    structure, one = structures(crystals[2:3])[0], atoms(crystals[2:3])[0]
    structure.properties["gap"] = one.info["gap"] = 1.5
    structure.add_site_property("forces", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    one.arrays["forces"] = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    for source in (structure, one):
        (found,) = read_crystals([source], targets="gap", arrays=["forces"])
        assert found.labels == {"gap": 1.5} and found.arrays["forces"].tolist() == [0, 0, 1, 0, 0, -1]


# Which structures count: the rules of files.

CUBE = Lattice.cubic(4.0)
REFUSED = {
    "disordered": (Structure(CUBE, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]), "disordered sites: K:0.5, Na:0.5"),
    "overlap": (Structure(CUBE, ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]]), "overlapping atoms"),
    "layer": (Structure(Lattice(CUBE.matrix, pbc=(True, True, False)), ["Na"], [[0, 0, 0]]), "periodic in 2 of 3"),
    "dummy": (Structure(CUBE, [DummySpecies("X")], [[0, 0, 0]]), "unknown element"),
    "molecule": (Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.74]]), "this is a molecule, not a crystal"),
    "no cell": (Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), "this is a molecule, not a crystal"),
    "box": (Atoms("Na", cell=[4, 4, 4]), "this is a molecule in a box"),
    "slab": (Atoms("Na", cell=[4, 4, 4], pbc=[True, True, False]), "periodic in 2 of 3"),
    "flat": (Atoms("Na", cell=[4, 4, 0.001], pbc=True), "no volume"),
    "empty": (Atoms(cell=[4, 4, 4], pbc=True), "no atoms"),
    "missing": (None, "no structure in this row"),
    "number": (5, "a pymatgen Structure or its dict, ASE Atoms or the text of a CIF is needed, received: int"),
    "no file": ("nowhere.cif", "no such file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_crystal_is_refused_with_its_reason_and_can_be_left_out(kind, crystals):
    wrong, reason = REFUSED[kind]
    source = [structures(crystals)[2], wrong, structures(crystals)[3]]
    with pytest.raises(InputError, match=f"1 bad entry, 2 good crystals(.|\n)*{reason}"):
        read_crystals(source)
    found = read_crystals(source, on_error="skip", targets={"y": [1.0, 2.0, 3.0]})
    assert found.labels(["y"])[:, 0].tolist() == [1.0, 3.0], "labels stay with their crystals"
    assert len(found.bad) == 1 and found.bad[0].id in ("1", "nowhere")
    if kind not in ("missing", "number", "no file"):
        with pytest.raises(InputError, match=reason):
            Crystal.from_structure(wrong, id="x")


def test_oxidation_states_and_deuterium_count_as_their_elements():
    salt = Structure(CUBE, [Species("Na", 1), Species("Cl", -1)], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert (
        read_crystals([salt])[0].numbers.tolist() == Crystal.from_structure(salt, id="a").numbers.tolist() == [11, 17]
    )
    assert read_crystals([Structure(CUBE, ["D"], [[0, 0, 0]])])[0].numbers.tolist() == [1]


def test_crystals_in_a_list_are_looked_at_like_all_others(crystals):
    odd = Crystal("odd", np.array([11, 17]), 4 * np.eye(3), np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"overlapping atoms: sites 0 and 1"):
        read_crystals([crystals[0], odd])
    with pytest.raises(InputError, match="duplicate id"):
        read_crystals([crystals[0], crystals[0]])


@pytest.mark.parametrize("wrong", [5, None, 1.5, b"a.cif", {1, 2}, object()], ids=lambda w: type(w).__name__)
def test_what_holds_no_crystals_gets_a_sentence(wrong):
    with pytest.raises(InputError, match=rf"Crystals are given as a list(.|\n)*Received: {type(wrong).__name__}"):
        read_crystals(wrong)


@pytest.mark.parametrize("empty", [[], (), {}, pd.Series(dtype=object)], ids=lambda w: type(w).__name__)
def test_an_empty_source_gets_a_sentence(empty):
    with pytest.raises(InputError, match="what was given is empty"):
        read_crystals(empty)


# Tables: the column of structures.


def test_the_column_of_structures_is_found_or_named(crystals):
    some = crystals[:2]
    table = pd.DataFrame({"before": structures(some), "after": structures(crystals[2:4]), "gap": [1.0, 2.0]})
    with pytest.raises(InputError, match=r"Several columns hold structures: before, after\. Name one"):
        read_crystals(table)
    same(read_crystals(table, structure_column="after"), crystals[2:4])
    with pytest.raises(InputError, match=r"no column 'aftr'\. Columns: before, after, gap\. Did you mean 'after'"):
        read_crystals(table, structure_column="aftr")
    assert structure_column(table[["gap", "after"]], None) == "after"
    assert structure_column(table.rename(columns={"before": "structure"}), None) == "structure"
    with pytest.raises(InputError, match="a table needs the columns"):
        read_crystals(table[["gap"]])
    with pytest.raises(InputError, match=r"structure_column is for a pandas table\. Received: list"):
        read_crystals(structures(some), structure_column="after")


# Labels.


def test_targets_are_names_or_values():
    assert split_targets("gap") == (["gap"], {})
    assert split_targets(["a", "b"]) == (["a", "b"], {}) == split_targets(np.array(["a", "b"]))
    assert split_targets(()) == ([], {})
    for values in ([1.0, 2.0], np.array([1.0, 2.0]), pd.Series([1.0, 2.0])):
        names, given_values = split_targets(values)
        assert names == ["y"] and given_values["y"] is values
    assert split_targets(pd.Series([1.0], name="gap"))[0] == ["gap"]
    assert split_targets(pd.DataFrame({"a": [1.0], "b": [2.0]}))[0] == ["a", "b"]
    for wrong, said in [
        (5, "Received: int"),
        (["a", 1.0], "names or numbers, not both"),
        ({1: [2.0]}, "called by text"),
    ]:
        with pytest.raises(InputError, match=said):
            split_targets(wrong)


@given(order=st.permutations(range(5)), labels=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_series_follows_the_index_of_its_crystals(order, labels):
    """However the labels are sorted, each goes to the crystal of its own name."""
    names = [f"n{k}" for k in range(5)]
    cells = [Structure(Lattice.cubic(3 + k), ["Na"], [[0, 0, 0]]) for k in range(5)]
    shuffled = pd.Series(labels, index=names).iloc[list(order)]
    by_name = dict(zip(names, labels, strict=True))
    named = [Crystal.from_structure(cell, id=name) for cell, name in zip(cells, names, strict=True)]
    for source in (pd.Series(cells, index=names), dict(zip(names, cells, strict=True)), named):
        found = read_crystals(source, targets={"gap": shuffled})
        assert {crystal.id: crystal.labels["gap"] for crystal in found} == by_name


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pd.Series([1.0, 2.0, 3.0], index=[5, 6, 7]), "is not that of the crystals .*labels.to_numpy"),
        (pd.Series([1.0, 2.0, 3.0], index=[2, 1, 0]), "is not that of the crystals .*other order"),
        (pd.Series([1.0, 2.0]), "crystals without a label: 2"),
        ([1.0, 2.0], "3 crystals and 2 labels of 'gap'"),
        (np.ones((3, 2)), "one number for each crystal.*several targets as a dictionary"),
        (1.0, "an array, a list, a Series or a dictionary. Received: 1.0"),
        ("gap", "an array, a list, a Series or a dictionary. Received: 'gap'"),
        ([1.0, "abc", 2.0], "label 'gap': 'abc' is no number"),
        ([1.0, np.inf, 2.0], "is not finite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, said, crystals):
    with pytest.raises(InputError, match=said):
        read_crystals(structures(crystals[:3]), targets={"gap": labels})


def test_numbers_as_index_of_labels_are_refused_where_they_may_mean_names_or_places(crystals):
    named = [Crystal(name, c.numbers, c.lattice, c.frac) for name, c in zip("201", crystals[:3], strict=True)]
    with pytest.raises(InputError, match="may mean the order of the crystals or their names"):
        read_crystals(named, targets=pd.Series([1.0, 2.0, 3.0]))
    by_name = read_crystals(named, targets=pd.Series([1.0, 2.0, 3.0], index=["0", "1", "2"]))
    assert by_name.labels(["y"])[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert read_crystals(named, targets=np.arange(3.0)).labels(["y"])[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_files_of_a_folder_take_labels_by_name_alone(crystals, tmp_path):
    files(crystals[:3], tmp_path)
    found = read_crystals(tmp_path, targets={"gap": {"Po": 2.0, "Cu": 1.0, "NaCl": 3.0}})
    assert {c.id: c.labels["gap"] for c in found} == {"Cu": 1.0, "Po": 2.0, "NaCl": 3.0}
    with pytest.raises(InputError, match="files have no order of their own"):
        read_crystals(str(tmp_path), targets=[1.0, 2.0, 3.0])
    Path(tmp_path / "labels.csv").write_text("id,gap\nCu,1\n")
    with pytest.raises(InputError, match="not both"):
        read_crystals(tmp_path, targets={"gap": [1.0]}, labels_file=tmp_path / "labels.csv")


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5),
                 st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3),
                 st.dictionaries(st.text(max_size=5), st.integers(), max_size=3)))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_is_given_no_other_error_than_ours_comes_out(anything):
    cell = Structure(CUBE, ["Na"], [[0, 0, 0]])
    for call in (lambda: read_crystals(anything), lambda: read_crystals([cell], targets=anything)):
        said = ""
        try:
            found = len(call())
        except InputError as error:
            found, said = 0, str(error)
        assert found or said
