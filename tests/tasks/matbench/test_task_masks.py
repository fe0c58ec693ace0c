"""Masks are nested, exact, and decided by seed and ids alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import limited_test, mask_hash, nested_masks

IDS = [f"crystal-{k}" for k in range(200)]


@given(
    available=st.lists(st.integers(0, 199), min_size=1, max_size=60, unique=True),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_smaller_masks_begin_larger_ones(available, shares, seed):
    counts = [max(1, round(share * len(available))) for share in shares]
    masks = nested_masks(IDS, available, counts, seed)
    largest = masks[max(counts)]
    for count, rows in masks.items():
        assert len(rows) == len(set(rows.tolist())) == count
        assert set(rows.tolist()) <= set(available)
        np.testing.assert_array_equal(rows, largest[:count])
        np.testing.assert_array_equal(rows, nested_masks(IDS, available[::-1], [count], seed)[count])


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_labels_outside_the_mask_do_not_move_it(seed, count):
    """Taking labels away outside the mask leaves the mask as it is: it cannot depend on them."""
    mask = nested_masks(IDS, range(50), [count], seed)[count]
    np.testing.assert_array_equal(mask, nested_masks(IDS, mask, [count], seed)[count])


def test_seeds_differ_and_are_fair():
    draws = [nested_masks(IDS, range(100), [20], seed)[20] for seed in range(200)]
    assert len({tuple(draw.tolist()) for draw in draws}) == 200
    often = np.bincount(np.concatenate(draws), minlength=100)[:100]
    # 200 draws of a fifth: 40 each, standard deviation 5.7
    assert often.min() > 40 - 5 * 5.7
    assert often.max() < 40 + 5 * 5.7


def test_the_draw_is_the_same_for_ever():
    assert nested_masks(IDS, range(200), [5], 0)[5].tolist() == [35, 94, 49, 102, 54]


def test_hash_ignores_the_order():
    assert mask_hash(IDS, np.array([3, 1])) == mask_hash(IDS, np.array([1, 3])) != mask_hash(IDS, np.array([1, 2]))


def test_too_many_or_no_labels_are_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"Only 10 crystals .* Received: 11 labels"):
        nested_masks(IDS, range(10), [5, 11], 0)
    with pytest.raises(InputError, match=r"at least one label. Received: 0"):
        nested_masks(IDS, range(10), [0], 0)


def test_a_limited_test_part_depends_on_ids_alone_and_is_nested():
    test = np.arange(20, 60)
    few, more = limited_test(IDS, test, 5), limited_test(IDS, test, 12)
    assert len(few) == 5 and set(few) < set(more) < set(test)
    assert list(few) == sorted(few), "in the order of the test part"
    order = np.random.default_rng(0).permutation(len(IDS))
    moved = [IDS[k] for k in order]
    again = limited_test(moved, np.flatnonzero(np.isin(order, test)), 5)
    assert {moved[row] for row in again} == {IDS[row] for row in few}
    others = limited_test(IDS, np.setdiff1d(test, few[:1]), 5)
    assert set(few[1:]) < set(others), "one crystal less changes one place"


@pytest.mark.parametrize("limit", [None, 40, 1000])
def test_a_limit_that_is_no_limit_leaves_the_test_part_as_it_is(limit):
    test = np.arange(20, 60)
    np.testing.assert_array_equal(limited_test(IDS, test, limit), test)
