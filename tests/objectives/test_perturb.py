"""Negatives change what they name, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import perturb
from tests.helpers.build import batch_of, generator


@st.composite
def batches(draw: st.DrawFn) -> SiteBatch:
    """Ragged batches with supercell order: each receiver of a crystal lists the same neighbours."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=2, max_size=5))
    seed = draw(st.integers(0, 1000))
    rng = generator(seed)
    owner, src, dst, distance, start = [], [], [], [], 0
    for crystal, (n, m) in enumerate(sizes):
        owner += [crystal] * n
        for i in range(n):
            src += [start + i] * (n * m)
            dst += [start + j // m for j in range(n * m)]
            distance.append(5 * torch.rand(n * m, generator=rng))
        start += n
    number = torch.randint(1, 90, (start,), generator=rng)
    tensors = [torch.tensor(x) for x in (owner, src, dst)]
    return SiteBatch(number, *tensors, torch.cat(distance), len(sizes))


def sees(batch: SiteBatch, values: Tensor) -> list[list[float]]:
    """What each receiver is shown, sorted."""
    return [sorted(values[batch.src == i].tolist()) for i in range(batch.n_sites)]


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 100))
def test_foreign_sites_belong_to_another_crystal(batch, seed):
    partner = perturb.foreign_sites(batch, generator(seed))
    assert not bool((batch.owner[partner] == batch.owner).any())
    # One partner crystal per crystal, and every crystal is somebody's partner.
    pairs = {(int(a), int(b)) for a, b in zip(batch.owner, batch.owner[partner], strict=True)}
    assert len(pairs) == batch.n_crystals
    assert {b for _, b in pairs} == set(range(batch.n_crystals))


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 100))
def test_partner_pairs_are_exactly_the_partners_pairs(batch, seed):
    partner = perturb.foreign_sites(batch, generator(seed))
    receiver, pair = perturb.partner_pairs(batch, partner)
    assert torch.equal(batch.src[pair], partner[receiver])
    assert torch.equal(torch.bincount(receiver, minlength=batch.n_sites), batch.degree[partner])
    assert len(set(zip(receiver.tolist(), pair.tolist(), strict=True))) == len(pair)


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 100))
def test_common_pairs_stand_at_the_same_position(batch, seed):
    partner = perturb.foreign_sites(batch, generator(seed))
    own, other = perturb.common_pairs(batch, partner)
    place = perturb.position(batch)
    assert torch.equal(place[own], place[other])
    assert torch.equal(batch.src[other], partner[batch.src[own]])
    expected = torch.minimum(batch.degree, batch.degree[partner])
    assert torch.equal(torch.bincount(batch.src[own], minlength=batch.n_sites), expected)


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 100), st.booleans())
def test_permuted_keeps_distances_and_elements_of_each_receiver(batch, seed, whole):
    view = perturb.permuted(batch, generator(seed), whole_batch=whole)
    assert torch.equal(view.distance, batch.distance)
    assert torch.equal(view.number, batch.number)
    assert sees(view, view.dst) == sees(batch, batch.dst)


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 100))
def test_permuted_is_never_the_old_order_where_another_exists(batch, seed):
    view = perturb.permuted(batch, generator(seed))
    for crystal in range(batch.n_crystals):
        pairs = batch.owner[batch.src] == crystal
        if len(set(batch.dst[pairs].tolist())) == len(batch.dst[pairs & (batch.src == batch.src[pairs][0])]) > 1:
            assert not torch.equal(view.dst[pairs], batch.dst[pairs])


def test_permuted_is_shared_by_the_receivers_of_a_crystal(crystals, tmp_path):
    batch = batch_of(crystals, tmp_path)
    view = perturb.permuted(batch, generator(1))
    for crystal in range(batch.n_crystals):
        sites = torch.nonzero(batch.owner == crystal).squeeze(1)
        columns = [view.dst[batch.src == i] for i in sites]
        assert all(torch.equal(columns[0], column) for column in columns)


def test_permutations_of_two_like_crystals_differ(crystals, tmp_path):
    """Independent per crystal by default; one for the whole batch as published."""
    twins = [crystals[8], crystals[9]]  # two perovskites: the same shape
    batch = batch_of(twins, tmp_path)
    half = batch.n_pairs // 2
    for whole, equal in ((False, False), (True, True)):
        view = perturb.permuted(batch, generator(2), whole_batch=whole)
        assert torch.equal(view.dst[:half], view.dst[half:] - 5) is equal


@settings(max_examples=40, deadline=None)
@given(batches(), st.integers(0, 100))
def test_recoloured_changes_elements_only(batch, seed):
    partner = perturb.foreign_sites(batch, generator(seed))
    view = perturb.recoloured(batch, partner)
    assert torch.equal(view.number, batch.number[partner])
    assert torch.equal(view.dst, batch.dst) and torch.equal(view.distance, batch.distance)


@settings(max_examples=40, deadline=None)
@given(batches())
def test_recoloured_rows_show_the_partners_species_at_own_distances(batch):
    partner = perturb.rolled_sites(batch)
    view = perturb.recoloured_rows(batch, partner)
    own, other = perturb.common_pairs(batch, partner)
    assert torch.equal(view.number, batch.number[partner])
    assert torch.equal(view.number[view.dst], batch.number[batch.dst[other]])
    assert torch.equal(view.distance, batch.distance[own])


@settings(max_examples=40, deadline=None)
@given(batches(), st.integers(0, 100))
def test_restructured_changes_distances_only(batch, seed):
    partner = perturb.foreign_sites(batch, generator(seed))
    view = perturb.restructured(batch, partner)
    own, other = perturb.common_pairs(batch, partner)
    assert torch.equal(view.dst, batch.dst[own]) and torch.equal(view.number, batch.number)
    assert torch.equal(view.distance, batch.distance[other])


def test_one_crystal_has_no_foreign_sites(crystals, tmp_path):
    batch = batch_of(crystals[:1], tmp_path)
    with pytest.raises(InputError, match="at least 2 crystals"):
        perturb.foreign_sites(batch, generator())
    with pytest.raises(InputError, match="at least 2 crystals"):
        perturb.rolled_sites(batch)
