"""One crystal described in many ways is one crystal; another structure of the same formula is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data import same_structure
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import (
    FORMULA,
    MATCH,
    TWIN,
    compare_block,
    comparison_work,
    reduced_structure,
    space_group,
)
from tests.helpers.polymorphs import PEROVSKITE, other_basis, other_origin, perovskite, rotated, strained, zinc_sulfide

SAME = {
    "itself": lambda c: c,
    "supercell": lambda c: other_basis(c, [[2, 0, 0], [0, 1, 0], [1, 0, 1]]),
    "skewed cell": lambda c: other_basis(c, [[1, 2, 0], [0, 1, 0], [0, -1, 1]]),
    "rotated": lambda c: rotated(c, 0.7),
    "other origin": lambda c: other_origin(c, [0.13, 0.41, 0.77]),
    "volume": lambda c: strained(c, np.eye(3) * 1.06),
    "small strain": lambda c: strained(c, np.array([[1.02, 0.01, 0], [0, 0.99, 0], [0, 0.01, 1]])),
    "sites in another order": lambda c: Crystal(c.id, c.numbers[::-1], c.lattice, c.frac[::-1]),
}


def level(one: Crystal, other: Crystal, *, match: bool = True) -> int:
    return int(compare_block([one], [other], match)[0][0, 0])


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("name", ["NaCl", "SrTiO3", "GaN", "KXeO"])
def test_the_same_crystal_in_other_words_matches(crystals, name, change):
    crystal = next(c for c in crystals if c.id == name)
    assert level(crystal, SAME[change](crystal)) == MATCH


whole = st.integers(-2, 2)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    diagonal=st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 3, 1)]),
    skew=st.tuples(whole, whole, whole),
    angle=st.floats(0, 6),
    shift=st.tuples(*[st.floats(0, 1)] * 3),
    scale=st.floats(0.9, 1.1),
)
def test_any_description_of_a_crystal_matches(diagonal, skew, angle, shift, scale):
    matrix = np.diag(diagonal)
    matrix[0, 1], matrix[0, 2], matrix[1, 2] = skew
    crystal = zinc_sulfide("wurtzite")
    changed = other_basis(strained(rotated(other_origin(crystal, shift), angle), np.eye(3) * scale), matrix)
    assert level(crystal, changed) == MATCH


def test_another_structure_of_the_formula_is_no_match():
    wurtzite, zincblende = zinc_sulfide("wurtzite"), zinc_sulfide("zincblende")
    assert level(wurtzite, zincblende) == FORMULA
    assert (space_group(wurtzite), space_group(zincblende)) == (186, 216)


def test_a_twin_has_its_atoms_elsewhere():
    """Sr and Ti exchanged: the same formula and space group, and no match."""
    one, other = perovskite(38, 22), perovskite(22, 38)
    assert space_group(one) == space_group(other) == 221
    assert level(one, other) == TWIN
    assert level(one, one, match=False) == TWIN


def test_small_displacements_keep_the_space_group():
    crystal = perovskite(38, 22)
    moved = Crystal(
        "moved",
        crystal.numbers,
        crystal.lattice,
        crystal.frac + 0.01 * np.array([[0, 0, 0], [0, 0, 1]] + [[0, 0, 0]] * 3),
    )
    assert space_group(moved) == 221


def noisy(crystal: Crystal, amount: float, seed: int) -> Crystal:
    generator = np.random.default_rng(seed)
    frac = crystal.frac + amount * generator.standard_normal(crystal.frac.shape)
    return strained(
        Crystal(crystal.id, crystal.numbers, crystal.lattice, frac),
        np.eye(3) + amount * generator.standard_normal((3, 3)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_shortcuts_change_no_answer(seed):
    """Crystals disturbed until some match and some do not: the answer is that of StructureMatcher without shortcuts."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    phases = [
        zinc_sulfide("wurtzite"),
        zinc_sulfide("zincblende"),
        other_basis(zinc_sulfide("zincblende"), [[2, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ]
    left = [noisy(phase, 0.04, seed) for phase in phases]
    right = [noisy(phase, 0.10, seed + 100) for phase in phases]
    found = compare_block(left, right, True)[0] == MATCH
    expected = [
        [
            matcher.fit(a.to_structure(), b.to_structure()) or matcher.fit(b.to_structure(), a.to_structure())
            for b in right
        ]
        for a in left
    ]
    assert found.tolist() == expected


def test_both_answers_occur_in_the_test_above():
    """Otherwise it would compare nothing."""
    phases = [zinc_sulfide("wurtzite"), zinc_sulfide("zincblende")]
    found = [
        compare_block([noisy(p, 0.04, s)], [noisy(p, 0.10, s + 100)], True)[0][0, 0] == MATCH
        for s in range(8)
        for p in phases
    ]
    assert 0 < sum(found) < len(found)


def test_which_crystal_comes_first_does_not_matter(crystals):
    left = [noisy(zinc_sulfide("wurtzite"), 0.05, seed) for seed in range(4)]
    right = [noisy(zinc_sulfide("zincblende"), 0.12, seed) for seed in range(4)]
    assert (compare_block(left, right, True)[0] == compare_block(right, left, True)[0].T).all()


def test_the_bound_counts_cells_shifts_and_pairs_of_sites():
    """A cube has 48 ways to lie on a cube; the rarest element of a perovskite sits once in it."""
    one, other = (reduced_structure(perovskite(*sites)) for sites in ((38, 22), (22, 38)))
    assert comparison_work(one, other) == 48 * 1 * 5**2


def test_a_pair_beyond_the_bound_of_work_is_undecided_and_counts_as_a_match(monkeypatch):
    one, other = perovskite(38, 22), perovskite(22, 38)
    reduced = [reduced_structure(crystal) for crystal in (one, other)]
    assert comparison_work(*reduced) > 0
    monkeypatch.setattr(same_structure, "LARGEST_WORK", 0)
    levels, undecided, no_group = compare_block([one], [other], True)
    assert (levels.tolist(), undecided.tolist(), no_group.tolist()) == ([[MATCH]], [[True]], [False, False])


def test_cells_that_are_unlike_are_told_apart_without_any_work(monkeypatch):
    """A long thin cell is no cube: that is decided, however small the bound."""
    monkeypatch.setattr(same_structure, "LARGEST_WORK", 0)
    cube, stick = perovskite(38, 22), strained(perovskite(38, 22), np.diag([0.6, 0.6, 2.5]))
    levels, undecided, _ = compare_block([cube], [stick], True)
    assert levels[0, 0] == FORMULA and not undecided.any()


def test_a_cell_too_large_to_be_reduced_is_undecided(monkeypatch):
    monkeypatch.setattr(same_structure, "LARGEST_CELL", len(PEROVSKITE) - 1)
    levels, undecided, _ = compare_block([perovskite(38, 22)], [perovskite(22, 38)], True)
    assert levels[0, 0] == MATCH and undecided.all()


def test_a_cell_that_cannot_be_reduced_is_undecided(monkeypatch):
    from pymatgen.core import Lattice

    def fails(*_, **__):
        raise ValueError("can't find niggli")

    monkeypatch.setattr(Lattice, "get_niggli_reduced_lattice", fails)
    levels, undecided, _ = compare_block([perovskite(38, 22)], [perovskite(22, 38)], True)
    assert levels[0, 0] == MATCH and undecided.all()


def test_a_crystal_without_a_space_group_is_nobodys_twin():
    """spglib gives up where two atoms share a place."""
    crystal = perovskite(38, 22)
    frac = crystal.frac.copy()
    frac[4] = frac[3]
    broken = Crystal("broken", crystal.numbers, crystal.lattice, frac)
    levels, _, no_group = compare_block([broken], [crystal], False)
    assert levels[0, 0] == FORMULA
    assert no_group.tolist() == [True, False]
