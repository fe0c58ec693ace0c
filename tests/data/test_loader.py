"""Batches are a pure function of seed and step, and hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.data.loader import StepOrder, group_by_sites, step_generator
from matgl_infomax.errors import InputError

SIZES = st.lists(st.integers(1, 30), min_size=2, max_size=40).map(np.array)


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 60), st.integers(1, 2))
def test_groups_hold_everything_once_within_the_limit(sizes, limit, least):
    groups = group_by_sites(sizes, np.arange(len(sizes)), limit, least)
    assert sorted(k for group in groups for k in group) == list(range(len(sizes)))
    assert all(len(group) >= least for group in groups)
    # Only the least number of crystals may exceed the limit, and a rest too small for a batch that joined the last one.
    assert all(sizes[group].sum() <= limit or len(group) == least for group in groups[:-1])
    assert sizes[groups[-1][: 1 - least or None]].sum() <= limit or len(groups[-1]) < 2 * least


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))
def test_chunks_are_one_stream(sizes, steps, chunk, seed):
    order = StepOrder(sizes, steps, chunk, 40, seed)
    whole = list(StepOrder(sizes, steps, steps, 40, seed))
    pieces = []
    for epoch in range(-(-steps // chunk)):
        order.set_epoch(epoch)
        piece = list(order)
        assert len(piece) == len(order)
        pieces += piece
    assert pieces == whole and len(whole) == steps


def test_every_crystal_is_seen_once_per_pass():
    sizes = np.full(10, 4)
    stream = list(StepOrder(sizes, 10, 10, 8, seed=1))
    for start in (0, 5):
        assert sorted(k for batch in stream[start : start + 5] for k in batch) == list(range(10))
    assert stream[:5] != stream[5:]


def test_too_few_crystals_get_a_sentence():
    with pytest.raises(InputError, match="at least 2 crystals"):
        StepOrder(np.array([3]), 5, 5, 40, 0, least=2)


def test_steps_have_their_own_randomness():
    draws = {(seed, step): int(step_generator(seed, step).initial_seed()) for seed in range(5) for step in range(50)}
    assert len(set(draws.values())) == len(draws)
