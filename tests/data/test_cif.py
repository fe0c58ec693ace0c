"""CIF: what was written is what is read, or a bad entry says why. gemmi's own crystals are the second reader."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data.cif import blocks_with_atoms, read_block, values_of
from matgl_infomax.data.crystal import Arrays, UnreadableError
from matgl_infomax.data.read import read_crystals

SALT = [("Na1", "Na", "0 0 0"), ("Cl1", "Cl", "0.5 0.5 0.5")]
P1 = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n"


def cif(
    symmetry: str = P1,
    sites: list[tuple[str, str, str]] = SALT,
    cell: str = "5.64 5.64 5.64 90 90 90",
    more: str = "",
    column: str = "",
) -> str:
    """A small CIF; a type of '' leaves the column of types out, ``column`` names one after the coordinates."""
    names = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
    lines = ["data_a", *(f"_cell_{name} {value}" for name, value in zip(names, cell.split(), strict=True))]
    typed = any(kind for _, kind, _ in sites)
    columns = [
        "label",
        *(["type_symbol"] if typed else []),
        "fract_x",
        "fract_y",
        "fract_z",
        *([column] if column else []),
    ]
    rows = [f"{label} {kind if typed else ''} {place}" for label, kind, place in sites]
    return "\n".join([*lines, symmetry + more + "loop_", *(f"_atom_site_{name}" for name in columns), *rows]) + "\n"


def read(text: str) -> Arrays:
    blocks = blocks_with_atoms(text)
    assert len(blocks) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_block(blocks[0])


def content(arrays: Arrays) -> Counter[str]:
    return Counter(gemmi.Element(int(number)).name for number in arrays[0])


def places(arrays: Arrays) -> list[tuple[int, ...]]:
    """Element and position of each atom, in thousandths of the cell."""
    steps = np.rint(arrays[2] * 1000).astype(int) % 1000
    return sorted((int(number), *step) for number, step in zip(arrays[0], steps.tolist(), strict=True))


def places_by_gemmi(hall: str, sites: list[tuple[str, str, str]]) -> list[tuple[int, ...]]:
    """The same by the operations of gemmi, each position once."""
    images = set()
    for _, kind, place in sites:
        for op in gemmi.symops_from_hall(hall):
            image = op.apply_to_xyz([float(word) for word in place.split()])
            images.add((gemmi.Element(kind).atomic_number, *(round(value * 1000) % 1000 for value in image)))
    return sorted(images)


GROUPS = {
    "hall": "_symmetry_space_group_name_Hall '-F 4 2 3'\n",
    "hall, new tag": "_space_group_name_Hall '-F 4 2 3'\n",
    "hall, dots": "_space_group.name_Hall '-F 4 2 3'\n",
    "capitals": "_SYMMETRY_SPACE_GROUP_NAME_H-M 'F m -3 m'\n",
    "dots": "_space_group.name_H-M_alt 'F m -3 m'\n",
    "underscores": "_symmetry_space_group_name_H_M 'Fm-3m'\n",
    "full": "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'\n",
    "old": "_symmetry_space_group_name_H-M 'F m 3 m'\n",
    "text field": "_symmetry_space_group_name_H-M\n;F m -3 m\n;\n",
    "typographic minus": "_symmetry_space_group_name_H-M 'F m \u22123 m'\n",
    "number": "_space_group_IT_number 225\n",
    "old number": "_symmetry_Int_Tables_number 225\n",
    "schoenflies": "_space_group_name_Schoenflies Oh^5\n",
    "name and number": "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\n",
    "unknown name and number": "_symmetry_space_group_name_H-M ?\n_symmetry_Int_Tables_number 225\n",
}


def listed(hall: str, tag: str = "_symmetry_equiv_pos_as_xyz", quote: str = "'", separator: str = ",") -> str:
    triplets = [op.triplet().replace(",", separator) for op in gemmi.symops_from_hall(hall)]
    return "\n".join(["loop_", tag, *(f" {quote}{text}{quote}" for text in triplets)]) + "\n"


@pytest.mark.parametrize("name", GROUPS)
def test_a_named_group_is_applied(name: str) -> None:
    assert content(read(cif(GROUPS[name]))) == {"Na": 4, "Cl": 4}


@pytest.mark.parametrize(
    "tag", ["_space_group_symop.operation_xyz", "_space_group_symop_operation_xyz", "_SYMMETRY_EQUIV_POS_AS_XYZ"]
)
@pytest.mark.parametrize(("quote", "separator"), [("'", ","), ("", ","), ("", ", "), ('"', " , ")])
def test_listed_operations_are_applied(tag: str, quote: str, separator: str) -> None:
    arrays = read(cif(listed("-F 4 2 3", tag, quote, separator)))
    assert places(arrays) == places_by_gemmi("-F 4 2 3", SALT)
    assert content(arrays) == {"Na": 4, "Cl": 4}


def test_numbered_operations_without_quotes() -> None:
    rows = "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 x, y, z\n2 -x, -y, -z\n"
    assert places(read(cif(rows, [("Na1", "Na", "0.1 0.1 0.1")]))) == [(11, 100, 100, 100), (11, 900, 900, 900)]


@pytest.mark.parametrize(
    ("symbol", "cell", "atoms"),
    [
        ("R -3 m", "4.546 4.546 11.862 90 90 120", 6),
        ("R -3 m :H", "4.546 4.546 11.862 90 90 120", 6),
        ("R -3 m H", "4.546 4.546 11.862 90 90 120", 6),
        ("R -3 m", "4.746 4.746 4.746 57.23 57.23 57.23", 2),
        ("R -3 m :R", "4.746 4.746 4.746 57.23 57.23 57.23", 2),
        ("R -3 m :R", "4.546 4.546 11.862 90 90 120", 0),
        ("R -3 m :H", "4.746 4.746 4.746 57.23 57.23 57.23", 0),
    ],
)
def test_bismuth_on_both_axes(symbol: str, cell: str, atoms: int) -> None:
    position = "0 0 0.2339" if atoms == 6 else "0.2339 0.2339 0.2339"
    text = cif(f"_symmetry_space_group_name_H-M '{symbol}'\n", [("Bi1", "Bi", position)], cell)
    if not atoms:
        with pytest.raises(UnreadableError, match="would change the lengths or angles of the cell"):
            read(text)
    else:
        assert content(read(text)) == {"Bi": atoms}


def silicon(symbol: str, place: str, more: str = "") -> str:
    return cif(f"_symmetry_space_group_name_H-M '{symbol}'\n", [("Si1", "Si", place)], "5.43 5.43 5.43 90 90 90", more)


@pytest.mark.parametrize(
    ("symbol", "place"),
    [
        ("F d -3 m :1", "0 0 0"),
        ("F d -3 m S", "0 0 0"),
        ("F d -3 m :2", "0.125 0.125 0.125"),
        ("Fd-3mZ", "0.125 0.125 0.125"),
    ],
)
def test_silicon_in_both_origins(symbol: str, place: str) -> None:
    assert content(read(silicon(symbol, place))) == {"Si": 8}


def test_an_open_origin_is_settled_by_the_formula_or_refused() -> None:
    units = "_chemical_formula_sum Si\n_cell_formula_units_Z 8\n"
    assert content(read(silicon("F d -3 m", "0 0 0", units))) == {"Si": 8}
    assert content(read(silicon("F d -3 m", "0.125 0.125 0.125", units))) == {"Si": 8}
    with pytest.raises(UnreadableError, match=r"origin is not clear: F d -3 m has 2 settings.*\(in data_a\)"):
        read(silicon("F d -3 m", "0 0 0"))


@pytest.mark.parametrize("number", range(1, 231, 3))
def test_a_crystal_in_each_group_is_that_of_gemmi(number: int) -> None:
    group = gemmi.get_spacegroup_reference_setting(number)
    cell = {
        1: "5.1 6.2 7.3 81 95 103",
        3: "5.1 6.2 7.3 90 101 90",
        16: "5.1 6.2 7.3 90 90 90",
        75: "5.1 5.1 7.3 90 90 90",
    }
    cell |= {143: "5.1 5.1 7.3 90 90 120", 195: "8.1 8.1 8.1 90 90 90"}
    edges = cell[max(first for first in cell if first <= number)]
    sites = [("O1", "O", "0.137 0.271 0.419"), ("Zr1", "Zr", "0 0 0")]
    by_hall = cif(f"_space_group_name_Hall '{group.hall}'\n", sites, edges)
    by_name = cif(f"_space_group_name_H-M_alt '{group.xhm()}'\n", sites, edges)
    by_list = cif(listed(group.hall), sites, edges)
    for text in (by_hall, by_name, by_list):
        assert places(read(text)) == places_by_gemmi(group.hall, sites)


BAD = {
    "operation with zz": (cif("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-zz\n"), "not understood: '-x,-y,-zz'"),
    "projection": (cif("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,x,z\n"), "determinant 0"),
    "operation lost": (cif(listed("-P 2ybc").rsplit("\n", 2)[0] + "\n"), "are no group"),
    "operation missing": (cif("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n?\n"), "operations is not given"),
    "two lists": (cif(P1 + "_space_group_symop_operation_xyz -x,-y,-z\n"), "no group|differ"),
    "unknown symbol": (cif("_symmetry_space_group_name_H-M 'F m -3 q'\n"), "not understood: 'F m -3 q'"),
    "unknown Hall": (cif("_space_group_name_Hall 'nobody'\n"), "Hall symbol not understood: 'nobody'"),
    "contradiction": (
        cif(P1 + "_symmetry_space_group_name_H-M 'F m -3 m'\n"),
        "contradiction: the named group 'F m -3 m'",
    ),
    "cell": (cif(GROUPS["hall"], cell="5.64 5.64 6.2 90 90 90"), "would change the lengths or angles"),
    "volume": (cif(more="_cell_volume 215\n"), "but _cell_volume is 215"),
    "modulated": (cif(more="_cell_modulation_dimension 1\n"), "modulated"),
    "magnetic name": (cif(more="_space_group_magn.number_BNS 1.1\n"), "magnetic group without its operations"),
    "given twice": (cif(more="_cell_length_a 5.65\n"), "two different values of _cell_length_a"),
    "few by Z": (
        cif(P1, more="_chemical_formula_sum 'Cl Na'\n_cell_formula_units_Z 4\n"),
        "which is not the formula Cl Na 4 times",
    ),
    "element": (cif(P1, SALT[:1], more="_chemical_formula_sum Na4\n"), "which is not the formula Na4"),
    "ratio": (cif(P1, more="_chemical_formula_sum 'Cl2 Na'\n"), r"do not add up to the formula it states \(Cl2 Na\)"),
    "multiplicity": (
        cif(P1, [(a, b, f"{c} 4") for a, b, c in SALT], column="symmetry_multiplicity"),
        "site Na1 has 1 positions, but _atom_site_symmetry_multiplicity is 4",
    ),
    "attached": (
        cif(P1, [("Na1", "Na", "0 0 0 0"), ("O1", "O", ".5 .5 .5 2")], column="attached_hydrogens"),
        "hydrogen without positions: 2 hydrogen atoms are attached to site O1",
    ),
    "dummy": (
        cif(P1, [("Na1", "Na", "0 0 0 d"), ("O1", "O", ".5 .5 .5 dum")], column="calc_flag"),
        "site O1 is a dummy",
    ),
    "empty": (cif(P1, [("Na1", "Na", "0 0 0 1"), ("O1", "O", ".5 .5 .5 0")], column="occupancy"), "O1 holds no atom"),
    "occupancy": (cif(P1, [("Na1", "Na", "0 0 0 one")], column="occupancy"), "occupancy is no number: 'one'"),
    "dot": (
        cif(P1, [("Na1", "Na", "0 . 0")]),
        r"site Na1: the coordinate _atom_site_fract_y is not given \('\?' or '\.'\)",
    ),
    "underscore": (cif(P1, [("Na1", "Na", "0 0_1 0")]), "is no number: '0_1'"),
    "Cartesian": (cif(P1).replace("fract", "Cartn"), "only Cartesian positions"),
    "label OH with O": (
        cif(P1, [("Na1", "Na", "0 0 0"), ("OH1", "O", ".5 .5 .5")]),
        "hydrogen without positions: site OH1",
    ),
    "hydroxyl O": (cif(P1, [("Na1", "", "0 0 0"), ("O1-H", "", ".5 .5 .5")]), "hydrogen without positions: site O1-H"),
    "two lists of sites": (cif() + "loop_\n_atom_site_label\nK1\nK2\n", "two different values of _atom_site_label"),
    "all sites twice": (
        cif(GROUPS["hall"], [*SALT, ("Na2", "Na", "0.5 0.5 0")]),
        "overlapping atoms or disordered sites|positions nearly coincide",
    ),
    "near a mirror": (cif(GROUPS["hall"], [("Na1", "Na", "0.0004 0 0")]), "overlapping atoms: a site lies so near"),
    "no number": (cif(cell="5,64 5.64 5.64 90 90 90"), "_cell_length_a is no number: '5,64'"),
    "water O": (cif(P1, [("Na1", "", "0 0 0"), ("O1W", "", ".5 .5 .5")]), "hydrogen without positions: site O1W"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_right_is_refused_with_the_block(name: str) -> None:
    text, reason = BAD[name]
    with pytest.raises(UnreadableError, match=rf"(?s)(?:{reason})") as caught:
        read(text)
    assert "(in data_a)" in str(caught.value) or "disordered sites" in str(caught.value)


@pytest.mark.parametrize("group", ["OH", "OH2", "Wat", "O-H", "H2O", "HOH", "NH4", "CH3"])
@pytest.mark.parametrize("by_type", [True, False])
def test_groups_with_hydrogen_are_no_sites(group: str, by_type: bool) -> None:
    site = (
        ("O1", group, "0.5 0.5 0.5") if by_type else (f"{group}1" if group[-1].isalpha() else group, "", "0.5 0.5 0.5")
    )
    with pytest.raises(UnreadableError, match="hydrogen without positions: site"):
        read(cif(P1, [("Na1", "Na" if by_type else "", "0 0 0"), site]))


@pytest.mark.parametrize(
    "label",
    [
        "Va1",
        "VA",
        "Bq",
        "WAT1",
        "Wat1",
        "X1",
        "M1",
        "T1",
        "A",
        "Q1",
        "Du1",
        "Cg1",
        "NO3",
        "SO4",
        "Fe/Mn1",
        "Vac",
        "Centroid1",
        "Ghost",
    ],
)
def test_dummies_and_groups_are_no_elements(label: str) -> None:
    with pytest.raises(UnreadableError, match=f"{label}.*in data_a"):
        read(cif(P1, [("Na1", "", "0 0 0"), (label, "", "0.5 0.5 0.5")]))
    if label not in ("T1", "NO3"):
        with pytest.raises(UnreadableError, match=f"{label}.*in data_a"):
            read(cif(P1, [("Na1", "Na", "0 0 0"), ("s1", label, "0.5 0.5 0.5")]))


@pytest.mark.parametrize(
    ("label", "kind", "element"),
    [
        ("H1", "2H", "H"), ("C1", "13C", "C"), ("D1", "D", "H"), ("Na1", "?", "Na"), ("Na1", ".", "Na"),
        ("x", "CL", "Cl"), ("x", "na", "Na"), ("x", "Fe3+", "Fe"), ("x", "O2-", "O"), ("x", "Fe+3", "Fe"),
        ("x", "Na1", "Na"), ("x", "Siva", "Si"), ("x", "Cval", "C"), ("MgM1", "", "Mg"), ("OA1", "", "O"),
        ("Obr", "", "O"), ("O1A", "", "O"), ("CL1", "", "Cl"), ("Na1+", "", "Na"), ("Fe(1)", "", "Fe"),
        ("SiT1", "", "Si"), ("Cu2_1", "", "Cu"), ("HC1", "", "H"), ("Hf1", "", "Hf"),
    ],
)  # fmt: skip
def test_each_site_is_its_own_element(label: str, kind: str, element: str) -> None:
    other = ("K1", "K" if kind else "", "0 0 0")
    assert content(read(cif(P1, [other, (label, kind, "0.5 0.5 0.5")]))) == Counter(["K", element])


def test_letters_with_two_readings_need_the_formula() -> None:
    sites = [("O1", "", "0 0 0"), ("CO1", "", "0.5 0.5 0.5")]
    with pytest.raises(UnreadableError, match="CO1"):
        read(cif(P1, sites))
    assert content(read(cif(P1, sites, more="_chemical_formula_sum 'Co O'\n"))) == {"Co": 1, "O": 1}
    assert content(read(cif(P1, [*sites, ("CL1", "", "0.5 0 0")]))) == {"Co": 1, "O": 1, "Cl": 1}
    assert content(read(cif(P1, sites, more="_chemical_formula_sum 'C O'\n"))) == {"C": 1, "O": 1}


@pytest.mark.parametrize("share", [".", "?", "1", "1.0(2)"])
def test_an_occupancy_that_is_not_given_is_one(share: str) -> None:
    sites = [("Na1", "Na", "0 0 0 1"), ("Cl1", "Cl", f"0.5 0.5 0.5 {share}"), ("Cl2", "Cl", "0.5 0 0 1")]
    assert content(read(cif(P1, sites, column="occupancy"))) == {"Na": 1, "Cl": 2}


def test_disorder_keeps_its_sentence() -> None:
    shared = [("Na1", "Na", "0 0 0 0.5"), ("K1", "K", "0 0 0 0.5")]
    with pytest.raises(UnreadableError, match=r"^disordered sites: K:0\.5, Na:0\.5$"):
        read(cif(P1, shared, column="occupancy"))
    with pytest.raises(UnreadableError, match=r"^disordered sites: "):
        read(cif(P1, [("Nb,Zr", "'0.8Nb + 0.2Zr'", "0 0 0")]))
    halves = [("Na1", "Na", "0 0 0 0.5"), ("Na2", "Na", "0 0 0 0.5")]
    assert content(read(cif(P1, halves, column="occupancy"))) == {"Na": 1}


def test_hydrogen_that_is_listed_is_not_missed() -> None:
    sites = [("Na1", "Na", "0 0 0"), ("OH1", "O", "0.5 0.5 0.5"), ("H1", "H", "0.5 0.5 0.67")]
    assert content(read(cif(P1, sites))) == {"Na": 1, "O": 1, "H": 1}


def test_a_typographic_minus_is_a_minus() -> None:
    text = cif(
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'\u2212x,\u2212y,\u2212z'\n", [("Na1", "Na", "\u22120.1 0.2 0.3")]
    )
    assert places(read(text)) == [(11, 100, 800, 700), (11, 900, 200, 300)]


def test_the_cell_may_hold_the_formula_as_pymatgen_writes_it() -> None:
    stated = "_chemical_formula_sum 'Na4 Cl4'\n_cell_formula_units_Z 4\n"
    assert content(read(cif(GROUPS["hall"], more=stated))) == {"Na": 4, "Cl": 4}
    assert content(read(cif(GROUPS["hall"], more=stated.replace("4 Cl4", " Cl")))) == {"Na": 4, "Cl": 4}


@pytest.mark.parametrize("tag", ["symmetry_multiplicity", "site_symmetry_multiplicity", "site_symmetry_order"])
def test_multiplicities_that_are_right(tag: str) -> None:
    beside = "48" if tag.endswith("order") else "4"
    sites = [(label, kind, f"{place} {beside}") for label, kind, place in SALT]
    assert content(read(cif(GROUPS["hall"], sites, column=tag))) == {"Na": 4, "Cl": 4}


REMARK = "_refine_details\n;\ndata_reduction as usual, see _atom_site_fract_x\n_atom_site_fract_x\n;\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_line_in_a_text_field_begins_no_block(newline: str, tmp_path: Path) -> None:
    for name, text in (("before", cif(more=REMARK)), ("after", cif() + REMARK), ("other", f"data_g\n{REMARK}{cif()}")):
        (tmp_path / f"{name}.cif").write_text(text.replace("\n", newline), newline="")
    found = read_crystals(tmp_path)
    assert found.ids == ["after", "before", "other"]
    assert all(sorted(crystal.numbers) == [11, 17] for crystal in found)


def test_blocks_keep_their_numbers_and_errors(tmp_path: Path) -> None:
    broken = cif(P1, [("Na1", "Na", "0 0")]).replace("data_a", "data_broken")
    (tmp_path / "set.cif").write_text(cif() + REMARK + broken + cif().replace("data_a", "DATA_c"))
    found = read_crystals(tmp_path / "set.cif", on_error="skip")
    assert found.ids == ["set:0", "set:2"]
    lines = (tmp_path / "set.cif").read_text().splitlines()
    at = lines.index("_atom_site_label", lines.index("data_broken"))  # counted from 0: the line above, counted from 1
    where = f"{tmp_path / 'set.cif'} block 1 (set:1)"
    assert str(found.bad[0]).startswith(f"{where}: truncated or malformed CIF: line {at}: Wrong number of values")
    assert found.bad[0].reason.endswith("(in data_broken)")


def test_remarks_that_break_the_rules_harm_nothing() -> None:
    remarks = "_publ_author_name John Smith\n_journal_year\n_publ_section_title\nA Title Without Quotes\n"
    assert content(read(cif(more=remarks))) == {"Na": 1, "Cl": 1}
    with pytest.raises(UnreadableError, match=r"malformed CIF: line 2: .*in data_a"):
        read(cif().replace("_cell_length_a 5.64", "_cell_length_a 5 64"))


def test_a_remark_that_cuts_a_loop_loses_no_line() -> None:
    """The operations below the remark are lost, and those above it form a group of their own."""
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,z'\n_remark\n'-x,y,-z'\n'x,-y,-z'\n"
    with pytest.raises(UnreadableError, match=r"malformed CIF: line 14: .*in data_a"):
        read(cif(operations))
    assert content(read(cif(operations.replace("_remark\n", "")))) == {"Na": 1, "Cl": 1}
    sites = cif().replace("Cl1 Cl", "_remark\nhere\nCl1 Cl")
    with pytest.raises(UnreadableError, match="malformed CIF"):
        read(sites)


@pytest.mark.parametrize("line", ["K1 K 0.5 0 0", "_cell_length_c 11.28", "'-x,-y,-z'", "loop_"])
def test_lines_before_the_first_block_are_not_lost(line: str) -> None:
    with pytest.raises(UnreadableError, match=r"malformed CIF: line 1: .*in data_a"):
        read(f"{line}\n{cif()}")
    for remark in ("Made by somebody in 2 steps", "<html>", f"# {line}"):
        assert content(read(f"{remark}\n{cif()}")) == {"Na": 1, "Cl": 1}


def test_values_have_one_spelling_of_tags() -> None:
    block = blocks_with_atoms("data_b\n_Cell.Length_A 5(1)\n_atom_site.fract_x ?\n_symmetry_Int_Tables_number_ '2'\n")[
        0
    ]
    assert (block.name, block.first_line) == ("b", 1)
    expected = {"_cell_length_a": ["5(1)"], "_atom_site_fract_x": [None], "_symmetry_int_tables_number": ["2"]}
    assert values_of(block) == expected


def test_magnetic_operations_are_applied() -> None:
    symmetry = "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\nx+1/2,y+1/2,z,-1\n"
    assert content(read(cif(symmetry, [("Mn1", "Mn", "0 0 0")]))) == {"Mn": 2}
    moments = "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nMn1 1.0\n"
    assert content(read(cif(GROUPS["hall"], [("Mn1", "Mn", "0 0 0")], more=moments))) == {"Mn": 4}


special = st.sampled_from([0.0, 0.25, 0.5, 0.75])
general = st.floats(0.05, 0.95).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(
    group=st.sampled_from([g for g in gemmi.spacegroup_table() if g.number >= 195]),
    x=st.one_of(special, general),
    y=st.one_of(special, general),
    z=st.one_of(special, general),
)
def test_any_cubic_crystal_is_that_of_gemmi_or_refused(group: gemmi.SpaceGroup, x: float, y: float, z: float) -> None:
    text = cif(f"_space_group_name_H-M_alt '{group.xhm()}'\n", [("Fe1", "Fe", f"{x} {y} {z}")], "11 11 11 90 90 90")
    try:
        found = places(read(text))
    except UnreadableError as error:
        found = str(error)
    assert found == places_by_gemmi(group.hall, [("Fe1", "Fe", f"{x} {y} {z}")]) or "overlapping" in found


@pytest.mark.parametrize("tag", ["_cell_length_b", "_cell_angle_gamma"])
def test_a_cell_without_a_length_or_angle_is_said_to_be_incomplete(tag: str) -> None:
    """A triclinic cell: nothing else in the file can stand in."""
    cell = {"a": "4.1", "b": "5.2", "c": "6.3"}
    lines = [f"_cell_length_{name} {value}" for name, value in cell.items()]
    lines += ["_cell_angle_alpha 80", "_cell_angle_beta 95", "_cell_angle_gamma 101"]
    sites = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nSi1 0 0 0\n"
    text = "\n".join(["data_x", *(line for line in lines if not line.startswith(tag)), sites])
    with pytest.raises(UnreadableError, match="the cell is incomplete: a length or angle is missing"):
        read(text)
