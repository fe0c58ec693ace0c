"""Equal sites and pairs are found, counted, and nothing else is merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import Pairs, primitive_cell, supercell_pairs
from matgl_infomax.data.symmetry import ROUNDING_ANGSTROM, merge_equal, same_where_equal
from matgl_infomax.errors import InputError


def merged(crystal: Crystal, tolerance: float = 1e-4, max_atoms: int = 40):
    pairs = supercell_pairs(crystal.lattice, crystal.frac, max_atoms)
    return merge_equal(crystal.numbers, pairs, tolerance), pairs


def by_name(crystals: list[Crystal], name: str) -> Crystal:
    return next(c for c in crystals if c.id == name)


def test_the_three_oxygens_of_a_cubic_perovskite_are_one_class(crystals):
    found, _ = merged(by_name(crystals, "SrTiO3"))
    assert found.kind.tolist() == [0, 1, 2, 2, 2]


def test_sites_of_one_element_in_different_surroundings_stay_apart():
    # Bilbao's spinel has oxygens all alike; a chain with one atom moved has not.
    lattice = np.diag([12.0, 3.0, 3.0])
    frac = np.array([[0.0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.78, 0, 0]])
    chain = Crystal("chain", np.array([14, 14, 14, 14]), lattice, frac)
    found, _ = merged(chain, max_atoms=4)
    assert len(found.degree) > 1
    even = Crystal("even", chain.numbers, lattice, np.array([[0.0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.75, 0, 0]]))
    assert merged(even, max_atoms=4)[0].kind.tolist() == [0, 0, 0, 0]


def test_a_class_may_depend_on_sites_further_away():
    """Each site sees the same distances to the same elements; only the neighbours' classes differ."""
    src = np.repeat(np.arange(6), 2)
    # Two rings: a ring of six in disguise would do; here a path of three with a heavy end, twice joined.
    dst = np.array([1, 2, 0, 3, 0, 4, 1, 5, 2, 5, 3, 4])
    pairs = Pairs(src.astype(np.int32), dst.astype(np.int32), np.zeros((12, 3), np.int32), np.full(12, 2.0))
    plain = merge_equal(np.array([6, 6, 6, 6, 6, 6]), pairs, 1e-4)
    assert plain.kind.tolist() == [0] * 6
    marked = merge_equal(np.array([7, 6, 6, 6, 6, 6]), pairs, 1e-4)
    # Distance from the marked site around the ring decides: 0, 1, 1, 2, 2, 3.
    assert marked.kind.tolist() == [0, 1, 1, 2, 2, 3]


def test_copies_count_every_pair_once(crystals):
    for crystal in crystals:
        found, pairs = merged(crystal)
        degree = np.bincount(pairs.src)
        first_of = [int(np.flatnonzero(found.kind == k)[0]) for k in range(len(found.degree))]
        start = np.concatenate([[0], np.cumsum(found.degree)])
        assert start[-1] == len(found.dst) == len(found.distance) == len(found.copies)
        for k, site in enumerate(first_of):
            mine = slice(start[k], start[k + 1])
            assert found.copies[mine].sum() == degree[site]
            own = pairs.src == site
            expected = sorted(zip(found.kind[pairs.dst[own]].tolist(), pairs.distance[own].tolist(), strict=True))
            shown = sorted(
                (int(d), float(r))
                for d, r, c in zip(found.dst[mine], found.distance[mine], found.copies[mine], strict=True)
                for _ in range(c)
            )
            assert [d for d, _ in shown] == [d for d, _ in expected]
            np.testing.assert_allclose([r for _, r in shown], [r for _, r in expected], atol=2e-4)


def test_numbering_does_not_matter(crystals):
    crystal = by_name(crystals, "GaN")
    order = [2, 0, 3, 1]
    other = Crystal("other", crystal.numbers[order], crystal.lattice, crystal.frac[order])
    a, b = merged(crystal)[0], merged(other)[0]
    assert sorted(a.copies.tolist()) == sorted(b.copies.tolist())
    # The same sites are together, whatever the classes are called.
    assert [a.kind[i] == a.kind[j] for i in order for j in order] == [x == y for x in b.kind for y in b.kind]


def test_a_wider_tolerance_merges_no_fewer(shared):
    from matgl_infomax.data.read import read_crystals

    some = [primitive_cell(c) for c in list(read_crystals(shared / "data/mp_matched/dielectric.parquet"))[:150]]
    left = {t: sum(len(merged(c, t)[0].dst) for c in some) for t in (0.0, 1e-6, 1e-4, 1e-2)}
    full = sum(len(merged(c)[1].dst) for c in some)
    assert left[1e-2] <= left[1e-4] <= left[1e-6] <= left[0.0] <= full
    assert 2.5 * left[1e-4] < full, "real crystals have many equal pairs"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0, 0.5))
def test_made_equal_means_moved_by_the_tolerance_at_most(distance, tolerance):
    before = np.array(distance)
    after = same_where_equal(before, tolerance)
    assert np.abs(after - before).max() <= tolerance + 1e-12
    # Order is kept: what was nearer is not further now.
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= -1e-12).all()


def test_rounding_is_made_equal():
    after = same_where_equal(np.array([2.0, 2.0 + 1e-7, 3.0, 3.0 + 10 * ROUNDING_ANGSTROM]))
    assert after[0] == after[1]
    assert len(set(after.tolist())) == 3


def test_a_negative_tolerance_is_refused(crystals):
    with pytest.raises(InputError, match=r"negative.*-0\.1"):
        merged(crystals[0], -0.1)
