"""Batches are a pure function of seed and step, and hold what they should."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from matgl_infomax.data import build, loader
from matgl_infomax.data.loader import (
    AheadLoader,
    StepOrder,
    StoreBatches,
    group_by_sites,
    random_stream,
    step_generator,
)
from matgl_infomax.errors import InputError
from tests.helpers.build import many, store_of

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


def plain_groups(sizes, order, limit, least):
    """The rule as it was first written: one crystal after the other."""
    batches, current, total = [], [], 0
    for index in order.tolist():
        if len(current) >= least and total + sizes[index] > limit:
            batches.append(current)
            current, total = [], 0
        current.append(index)
        total += int(sizes[index])
    if current and len(current) < least and batches:
        batches[-1].extend(current)
    elif current:
        batches.append(current)
    return batches


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(1, 60), st.integers(1, 4), st.integers(0, 40), st.integers(0, 5))
def test_groups_are_those_of_the_plain_rule(sizes, limit, least, n, seed):
    order = random_stream(seed).permutation(len(sizes))[:n]
    assert group_by_sites(sizes, order, limit, least) == plain_groups(sizes, order, limit, least)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 40), st.integers(1, 2), st.integers(0, 5), st.permutations(range(4)))
def test_steps_are_those_of_the_plain_walk_in_whatever_order_chunks_come(sizes, limit, least, seed, epochs):
    walk, number = [], 0
    while len(walk) < 20:
        walk += plain_groups(sizes, random_stream(seed, number).permutation(len(sizes)), limit, least)
        number += 1
    order = StepOrder(sizes, 20, 6, limit, seed, least)
    for epoch in epochs:
        order.set_epoch(epoch)
        assert list(order) == walk[:20][6 * epoch : 6 * epoch + 6]


def test_passes_are_walked_once(monkeypatch):
    order, cut = StepOrder(np.full(100, 4), 400, 10, 8, seed=1), []
    original = loader._bounds
    monkeypatch.setattr(loader, "_bounds", lambda *given: cut.append(1) or original(*given))
    for epoch in range(40):
        order.set_epoch(epoch)
        list(order)
    assert len(cut) == 8  # passes of 50 steps


@pytest.fixture
def batches(crystals, tmp_path, monkeypatch):
    """Batches of a store with seven shards."""
    monkeypatch.setattr(build, "CRYSTALS_PER_SHARD", 16)
    return StoreBatches(store_of(many(crystals, 100), tmp_path), np.arange(100))


def same(one, two):
    return torch.equal(one.distance, two.distance) and torch.equal(one.dst, two.dst)


def test_batches_loaded_ahead_are_the_same_in_the_same_order(batches):
    order = StepOrder(batches.sizes, 30, 30, 20, seed=3)
    ahead = batches.loader(order)
    assert isinstance(ahead, AheadLoader)
    plain = [batches[positions] for positions in order]
    for _ in range(2):
        found = list(ahead)
        assert len(found) == 30 and all(same(a, b) for a, b in zip(found, plain, strict=True))


def test_loading_ahead_ends_with_its_loop_and_tells_errors(batches, monkeypatch):
    before = threading.active_count()
    stream = iter(batches.loader([[1], [2], [3], [4], [5]]))
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before
    with pytest.raises(IndexError):
        list(batches.loader([[1], [2], [1000]]))
    assert threading.active_count() == before


def test_a_small_store_needs_no_thread(crystals, tmp_path):
    batches = StoreBatches(store_of(crystals, tmp_path), np.arange(12), np.zeros((12, 1)), view="merged")
    loading = batches.loader([[0, 8]])
    assert type(loading) is DataLoader
    ((batch, labels),) = loading
    assert batch.weight is not None and batch.n_crystals == 2 and labels.shape == (2, 1)


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
