"""POSCAR files are read as ASE and VASP's manual read them, or refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

from matgl_infomax.data.crystal import Arrays, UnreadableError
from matgl_infomax.data.poscar import read_poscar

HEAD = "salt\n{scale}\n1.0 0.1 0.0\n0.0 1.2 0.0\n0.2 0.0 1.1\nNa Cl\n1 1\n"
DIRECT = "Direct\n0.1 0.0 0.0\n0.5 0.5 0.52\n"
CARTESIAN = "Cartesian\n0.125 0.0 0.0\n0.125 0.3 0.61\n"


def by_ase(text: str) -> Arrays:
    """The same file, read by another program."""
    from ase.io.vasp import read_vasp

    atoms = read_vasp(io.StringIO(text))
    frac = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    return np.array(atoms.numbers), atoms.cell.array, frac


@pytest.mark.parametrize("scale", ["4.0", "-64.0", "-70", "4 5 6"], ids=["length", "volume", "other-volume", "three"])
@pytest.mark.parametrize("positions", [DIRECT, CARTESIAN], ids=["direct", "cartesian"])
def test_scales_as_ase_reads_them(scale: str, positions: str) -> None:
    text = HEAD.format(scale=scale) + positions
    for found, expected in zip(read_poscar(text), by_ase(text), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_volume_by_hand() -> None:
    """A cube of 64 cubic angstrom has edges of 4; (0.5, 0.5, 0.51) of one edge of 1 is half of it."""
    text = "salt\n-64\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n1 1\nCartesian\n0 0 0\n0.5 0.5 0.51\n"
    numbers, lattice, frac = read_poscar(text)
    assert numbers.tolist() == [11, 17]
    np.testing.assert_allclose(lattice, 4 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frac, [[0, 0, 0], [0.5, 0.5, 0.51]], atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Na Cl\n1 1", "Na Cl\n2", "2 elements are named, but there are 1 counts"),
        ("Na Cl\n1 1", "Na\n1 1", "1 elements are named, but there are 2 counts"),
        ("Na Cl\n1 1", "Na Cl\n3 -1", "negative count of atoms: -1"),
        ("Na Cl\n1 1", "Na Cl\n1 1000000000", "truncated: 1000000001 atoms announced, 2 lines"),
        ("0.5 0.5 0.52", "0.5 0.5 0.52\n0.25 0.25 0.25", "more positions than the 2 atoms"),
        ("0.5 0.5 0.52", "0.5 0.5 0.52 Na", "site 1 is Na behind its position, but Cl by the head"),
        ("0.5 0.5 0.52", "0.5 0_5 0.52", "'0_5' is no number"),
        ("1.0 0.1 0.0", "1_0 0.1 0.0", "'1_0' is no number"),
        ("\n4.0\n", "\n0\n", "the scale is one number"),
        ("\n4.0\n", "\n4 -5 6\n", "the scale is one number"),
        ("\n4.0\n", "\n4 5\n", "the scale is one number"),
        ("1.0 0.1 0.0\n0.0 1.2 0.0", "0.0 1.2 0.0\n0.0 1.2 0.0", "no volume"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, reason: str) -> None:
    scale = "-64" if reason == "no volume" else "4.0"
    text = HEAD.format(scale=scale) + DIRECT
    assert old in text
    with pytest.raises(UnreadableError, match=reason):
        read_poscar(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5 0.5 0.52", "0.5 0.5 0.52 Cl"),
        ("0.5 0.5 0.52", "0.5 0.5 0.52 Cl1"),
        ("0.5 0.5 0.52", "0.5 0.5 0.52 F F F"),
        ("0.5 0.5 0.52\n", "0.5 0.5 0.52\n\n0.0 0.0 0.0\n0.0 0.0 0.0\n"),
        ("Na Cl\n1 1", "Na_pv/f474ac0d Cl/79d9987ad87\n1 1"),
        ("Na Cl\n1 1", "Na Cl # two\n1 1 # one each"),
        ("Na Cl\n1 1", "Na\nCl\n1\n1"),
    ],
)
def test_what_vasp_writes_beside_it_changes_nothing(old: str, new: str) -> None:
    text = HEAD.format(scale="4.0") + DIRECT
    assert old in text
    for found, expected in zip(read_poscar(text.replace(old, new)), read_poscar(text), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_selective_dynamics_changes_nothing() -> None:
    plain = HEAD.format(scale="4.0") + DIRECT
    flagged = plain.replace("Direct", "Selective dynamics\nDirect").replace("0.0 0.0\n0.5", "0.0 0.0 T F T\n0.5")
    flagged = flagged.replace("0.52", "0.52 F F F Cl")
    for found, expected in zip(read_poscar(flagged), read_poscar(plain), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(UnreadableError, match="site 1 is Na behind its position"):
        read_poscar(flagged.replace("F F F Cl", "F F F Na"))
