"""The symmetry that a CIF states, compared with the tables of spglib, gemmi and pymatgen."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data.cif_symmetry import (
    Stated,
    choices,
    fitting,
    hall_operations,
    listed_operations,
    magnetic_operations,
    number_of_operations,
    number_of_schoenflies,
    plain_dashes,
    settings_of_number,
    settings_of_symbol,
)
from matgl_infomax.data.crystal import UnreadableError

CUBIC = 5.64**2 * np.eye(3)
HEXAGONAL = 4.5**2 * np.array([[1, -0.5, 0], [-0.5, 1, 0], [0, 0, 6.9]])
RHOMBOHEDRAL = 4.7**2 * np.array([[1, 0.54, 0.54], [0.54, 1, 0.54], [0.54, 0.54, 1]])


def as_set(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    """Operations as whole numbers, translations in 1/24 of a cell."""
    steps = np.rint(np.asarray(translations) * 24).astype(int) % 24
    return {(*r.ravel().tolist(), *t.tolist()) for r, t in zip(np.asarray(rotations).astype(int), steps, strict=True)}


def ours(found: object) -> set[tuple[int, ...]]:
    return as_set(found.rotations, found.steps / 840)


def of_gemmi(group: gemmi.SpaceGroup) -> set[tuple[int, ...]]:
    held = list(group.operations())
    return as_set(np.array([op.rot for op in held]) // 24, np.array([op.tran for op in held]) / 24)


@pytest.mark.parametrize("hall_number", range(1, 531, 7))
def test_hall_symbols_are_those_of_spglib(hall_number: int) -> None:
    table = spglib.get_symmetry_from_database(hall_number)
    kind = spglib.get_spacegroup_type(hall_number)
    found = hall_operations(kind.hall_symbol)
    assert ours(found) == as_set(table["rotations"], table["translations"])
    assert number_of_operations(found) == kind.number
    assert listed_operations(found.triplets).key == found.key


def test_every_symbol_of_gemmi_is_understood() -> None:
    for group in gemmi.spacegroup_table():
        for name in (group.hm, group.hm.replace(" ", ""), group.xhm(), group.hm.upper()):
            assert of_gemmi(group) in [ours(s.operations) for s in settings_of_symbol(name)], name
        if group.ext in ("1", "2", "H", "R"):
            assert [ours(s.operations) for s in settings_of_symbol(group.xhm())] == [of_gemmi(group)]


def test_every_full_symbol_of_spglib_is_understood() -> None:
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        table = spglib.get_symmetry_from_database(hall_number)
        expected = as_set(table["rotations"], table["translations"])
        assert expected in [ours(s.operations) for s in settings_of_symbol(kind.international_full)]


def test_the_standard_setting_of_every_number() -> None:
    for number in range(1, 231):
        assert {setting.number for setting in settings_of_number(number)} == {number}
        reference = of_gemmi(gemmi.get_spacegroup_reference_setting(number))
        assert reference in [ours(setting.operations) for setting in settings_of_number(number)]
    assert settings_of_number(231) == ()


@pytest.mark.parametrize(
    ("symbol", "number", "extensions"),
    [
        ("F m 3 m", 225, [""]),
        ("Fm3m", 225, [""]),
        ("F_m_-3_m", 225, [""]),
        ("F 4/m -3 2/m", 225, [""]),
        ("F m \u22123 m", 225, [""]),
        ("F m -3 m :1", 225, [""]),
        ("I a 3 d", 230, [""]),
        ("P a 3", 205, [""]),
        ("F d -3 m", 227, ["1", "2"]),
        ("F d -3 m :2", 227, ["2"]),
        ("Fd-3m:1", 227, ["1"]),
        ("F d -3 m Z", 227, ["2"]),
        ("F d -3 m S", 227, ["1"]),
        ("Fd-3mZ", 227, ["2"]),
        ("F d -3 m (origin choice 2)", 227, ["2"]),
        ("I 41/a m d O2", 141, ["2"]),
        ("R -3 m", 166, ["H", "R"]),
        ("R -3 m H", 166, ["H"]),
        ("R-3m:r", 166, ["R"]),
        ("R -3 c HR", 167, ["H"]),
        ("P2(1)/c", 14, ["", ""]),
        ("P2_1/c", 14, ["", ""]),
        ("P 2<sub>1</sub>/c", 14, ["", ""]),
        ("P 63/m 2/m 2/c", 194, [""]),
        ("P 1 21/n 1", 14, [""]),
        ("C m c e", 64, [""]),
        ("C m c a", 64, [""]),
        ("A e a 2", 41, [""]),
        ("P b n m", 62, [""]),
        ("P 32", 145, [""]),
        ("P 3 2", 0, []),
        ("F d -3 m :H", 0, []),
        ("F m -3 q", 0, []),
        ("x", 0, []),
    ],
)
def test_spellings_of_symbols(symbol: str, number: int, extensions: list[str]) -> None:
    found = settings_of_symbol(symbol)
    assert [setting.extension for setting in found] == extensions
    assert {setting.number for setting in found} == ({number} if number else set())


def test_schoenflies() -> None:
    assert [number_of_schoenflies(s) for s in ("Oh^5", "O_h^5", "C2h.5", "D3d^5", "nobody")] == [
        225,
        225,
        14,
        166,
        None,
    ]


def test_axes_follow_the_cell() -> None:
    stated = Stated(symbols=("R -3 m",))
    assert [len(fitting(stated, cell)[0].triplets) for cell in (HEXAGONAL, RHOMBOHEDRAL)] == [36, 12]
    with pytest.raises(UnreadableError, match="would change the lengths or angles"):
        fitting(Stated(symbols=("R -3 m :R",)), HEXAGONAL)
    # P 2/m with gamma unlike 90 degrees has c as its unique axis; with b as the unique axis it would not fit.
    monoclinic = np.array([[25.0, 4.0, 0.0], [4.0, 36.0, 0.0], [0.0, 0.0, 49.0]])
    assert set(fitting(Stated(symbols=("P 2/m",)), monoclinic)[0].triplets) == {
        "x,y,z",
        "-x,-y,z",
        "-x,-y,-z",
        "x,y,-z",
    }
    assert "-x,y,-z" in fitting(Stated(symbols=("P 2/m",)), CUBIC)[0].triplets


terms = st.sampled_from(["x", "-x", "y", "-y", "z", "-z", "x-y", "-x+y", "y-x"])
shifts = st.sampled_from(["", "+1/2", "-1/4", "+1/3", "+2/3", "+5/6", "+3/4"])


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.tuples(terms, shifts), min_size=3, max_size=3), blank=st.sampled_from(["", " ", "  "]))
def test_operations_are_understood_as_gemmi_does(parts: list[tuple[str, str]], blank: str) -> None:
    text = f",{blank}".join(term + shift for term, shift in parts)
    other = gemmi.Op(text.replace(" ", ""))
    rotation = np.array(other.rot) // 24
    if round(np.linalg.det(rotation)) not in (1, -1):
        with pytest.raises(UnreadableError, match="determinant"):
            listed_operations(("x,y,z", text))
        return
    try:
        found: object = ours(listed_operations(("x,y,z", text.upper())))
    except UnreadableError as error:
        found = str(error)
    expected = as_set(np.array([np.eye(3), rotation]), np.array([[0, 0, 0], np.array(other.tran) / 24]))
    twice = other * other
    assert (found == expected) if (twice.triplet() == "x,y,z" or other == "x,y,z") else "are no group" in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "-x,-y,-zz",
        "x,y",
        "x,y,z,1",
        "x y z",
        "2x,y,z",
        "x,x,z",
        "x/2,y,z",
        "x,y,z+1/0",
        "x,y,w",
        "x+,y,z",
        "",
        "a,b,c",
        "h,k,l",
        "-(x+y),y,z",
        "2(x-y),y,z",
        "x,y)+1/2,z",
        "y(-x),y,z",
    ],
)
def test_what_is_no_operation_is_quoted(text: str) -> None:
    with pytest.raises(UnreadableError, match=r"not understood|no symmetry operation") as caught:
        listed_operations(("x,y,z", text))
    assert repr(text) in str(caught.value)


def test_typographic_minus_and_decimals() -> None:
    assert plain_dashes("\u2212x,\u2013y,\u2010z") == "-x,-y,-z"
    screw = listed_operations(("x, y, z", "\u2212x, y+.5, 0.5\u2212z"))
    assert ours(screw) == ours(listed_operations(("x,y,z", "-x,1/2+y,-z+1/2")))
    thirds = ("x,y,z", "-y,x-y,z+0.333", "-x+y,-x,z+0.667")
    assert number_of_operations(listed_operations(thirds)) == 144  # P 31


def test_brackets_that_change_nothing() -> None:
    plain = listed_operations(("x,y,z", "-x,y+1/2,-z"))
    assert ours(listed_operations(("(x,y,z)", "-(x),(y)+(1/2),-z"))) == ours(plain)


def test_a_lost_operation_is_seen() -> None:
    whole = hall_operations("-P 2ybc").triplets
    assert len(whole) == 4
    with pytest.raises(UnreadableError, match="the 3 symmetry operations are no group"):
        listed_operations(whole[:3])
    with pytest.raises(UnreadableError, match="are no group"):
        listed_operations(("-x,-y,-z",))


def test_magnetic_operations_lose_their_time_reversal() -> None:
    found = magnetic_operations(("x,y,z,+1", "-x,-y,-z,-1"), ("x,y,z,+1", "x+1/2,y+1/2,z+1/2,-1"))
    assert ours(found) == ours(listed_operations(("x,y,z", "x+1/2,y+1/2,z+1/2", "-x,-y,-z", "1/2-x,1/2-y,1/2-z")))


INVERSION = ("x,y,z", "-x,-y,-z")


@pytest.mark.parametrize(
    "stated",
    [
        Stated(operations=("x,y,z",), symbols=("F m -3 m",)),
        Stated(operations=INVERSION, symbols=("P 1",)),
        Stated(operations=INVERSION, numbers=("3",)),
        Stated(operations=INVERSION, hall=("P 1",)),
        Stated(operations=INVERSION, schoenflies=("Oh^5",)),
        Stated(operations=hall_operations("-F 4vw 2vw 3").triplets, symbols=("F d -3 m :1",)),
        Stated(operations=hall_operations("-P 2yn").triplets, symbols=("P 1 21/c 1",)),
        Stated(operations=hall_operations("-P 2ybc (x+1/8,y,z)").triplets, symbols=("P 1 2/m 1",)),
        Stated(symbols=("F m -3 m", "I m -3 m")),
        Stated(symbols=("F m -3 m",), numbers=("221",)),
        Stated(hall=("-F 4 2 3",), symbols=("P m -3 m",)),
        Stated(hall=("-F 4 2 3", "-P 4 2 3")),
    ],
)
def test_statements_that_contradict(stated: Stated) -> None:
    with pytest.raises(UnreadableError, match="contradiction"):
        choices(stated)


@pytest.mark.parametrize(
    "stated",
    [
        Stated(operations=INVERSION, symbols=("P -1",), numbers=("2",), hall=("-P 1",), schoenflies=("Ci^1",)),
        Stated(operations=hall_operations("-P 2yn").triplets, symbols=("P 21/n",), numbers=("14",)),
        Stated(operations=hall_operations("-P 2ybc (x+1/8,y,z)").triplets, symbols=("P 1 21/c 1",)),
        Stated(operations=INVERSION, symbols=("a remark",)),
    ],
)
def test_statements_that_agree(stated: Stated) -> None:
    assert choices(stated) == (listed_operations(stated.operations),)


@pytest.mark.parametrize(
    "stated",
    [
        Stated(symbols=("F m -3 q",)),
        Stated(schoenflies=("what",)),
        Stated(numbers=("300",)),
        Stated(symbols=("C 1 2/q 1",), numbers=("15",)),
        Stated(symbols=("nobody",), schoenflies=("C2h^6",)),
    ],
)
def test_a_group_that_nobody_knows_is_not_p1(stated: Stated) -> None:
    with pytest.raises(UnreadableError, match=r"space group not understood|contradiction"):
        choices(stated)
    with pytest.raises(UnreadableError, match="Hall symbol not understood: 'nobody'"):
        choices(Stated(hall=("nobody",)))


@pytest.mark.parametrize("number", [14, 62, 136, 225, 227])
def test_an_unknown_symbol_beside_a_number_with_one_choice_of_axes(number: int) -> None:
    """Of 225 there is one setting and of 227 two origins, both offered; 14 has nine choices of axes and 62 six."""
    stated = Stated(symbols=("nobody",), numbers=(str(number),))
    if number in (14, 62):
        with pytest.raises(UnreadableError, match="space group not understood: 'nobody'"):
            choices(stated)
    else:
        assert choices(stated) == choices(Stated(numbers=(str(number),)))
        assert len(choices(stated)) == (2 if number == 227 else 1)


def test_without_any_name_the_cell_lists_all_atoms() -> None:
    assert [len(found.triplets) for found in choices(Stated())] == [1]
