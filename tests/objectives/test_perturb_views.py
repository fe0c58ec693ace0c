"""Views change what they are to change and nothing else, for whatever crystals: elements, places, pairs."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import radius_pairs
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import perturb
from matgl_infomax.objectives.perturb import strengths
from tests.helpers.build import batch_of, generator

SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**31)
QUICK = settings(max_examples=25, deadline=None)
PLACES = {"frac", "lattice", "distance"}
PAIRS = {"src", "dst", "distance", "offset"}


@st.composite
def batches(draw) -> SiteBatch:
    """One to four random crystals of one to six sites, neighbours within 4 angstrom; double precision."""
    crystals = []
    for k in range(draw(st.integers(1, 4))):
        rng = np.random.default_rng(draw(SEEDS))
        sites = draw(st.integers(1, 6))
        lattice = np.eye(3) * rng.uniform(2.5, 9.0) + rng.uniform(-0.4, 0.4, (3, 3))
        crystals.append(Crystal(str(k), rng.integers(1, 95, sites), lattice, rng.uniform(0, 1, (sites, 3))))
    return radius_batch(crystals, 4.0)


def changed(view: SiteBatch, batch: SiteBatch) -> set[str]:
    """Names of the fields in which a view differs."""

    def same(a, b):
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a is b or a == b

    return {f.name for f in fields(SiteBatch) if not same(getattr(view, f.name), getattr(batch, f.name))}


def per_crystal(chosen: torch.Tensor, batch: SiteBatch) -> list[int]:
    return torch.bincount(batch.owner[chosen], minlength=batch.n_crystals).tolist()


@given(batches(), SHARES, SEEDS, st.booleans(), st.sampled_from(sorted(perturb.ROUNDINGS)))
@QUICK
def test_share_of_hidden_sites_is_exact_in_every_crystal(batch, share, seed, single, rounding):
    chosen = perturb.some_sites(batch, share, generator(seed), single=single, rounding=rounding)
    whole = {"nearest": round, "down": math.floor, "up": lambda x: math.floor(x) + 1}[rounding]
    for n, found in zip(batch.size.tolist(), per_crystal(chosen, batch), strict=True):
        assert found == (int(single) if n == 1 else min(n, max(1, whole(round(share * n, 9)))))


@given(batches(), SHARES, SEEDS)
@QUICK
def test_hiding_changes_nothing_but_what_is_hidden(batch, share, seed):
    chosen = perturb.some_sites(batch, share, generator(seed))
    view = perturb.with_hidden(batch, chosen)
    assert changed(view, batch) == {"hidden"}
    assert torch.equal(view.hidden, chosen)
    more = perturb.with_hidden(view, ~chosen)
    assert bool(more.hidden.all()), "what was hidden before stays hidden"


def test_every_site_is_chosen_as_often_as_any_other():
    batch = radius_batch(example_crystals()[3:4], 4.0)
    counts = sum(perturb.some_sites(batch, 0.4, generator(seed)).long() for seed in range(2000))
    assert counts.sum() == 4000
    assert counts.min() > 700 and counts.max() < 900  # 800 expected, standard deviation 22


@given(batches(), st.floats(0, 0.2), st.floats(0.2, 0.5), SEEDS)
@QUICK
def test_nudges_have_the_lengths_that_were_asked_for(batch, least, most, seed):
    length = perturb.nudges(batch, least, most, generator(seed)).norm(dim=1)
    assert bool((length >= least - 1e-9).all() and (length <= most + 1e-9).all())


def test_nudges_are_even_in_length_and_direction():
    batch = radius_batch(example_crystals() * 200, 1.0)
    shift = perturb.nudges(batch, 0.1, 0.5, generator())
    length = shift.norm(dim=1)
    quartiles = torch.quantile(length, torch.tensor([0.25, 0.5, 0.75], dtype=length.dtype))
    assert quartiles.tolist() == pytest.approx([0.2, 0.3, 0.4], abs=0.02)
    assert (shift / length.unsqueeze(1)).mean(0).abs().max() < 0.05


@given(batches(), SEEDS, st.booleans())
@QUICK
def test_moved_distances_are_those_of_the_moved_crystals(batch, seed, strained):
    shift = perturb.displacements(batch, torch.full((batch.n_crystals,), 0.1, dtype=torch.float64), generator(seed))
    strain = perturb.strains(batch, 0.03, generator(seed + 1)) if strained else None
    view = perturb.moved(batch, shift, strain)
    assert changed(view, batch) <= PLACES
    for k in range(batch.n_crystals):
        lattice = batch.lattice[k].numpy()
        new = lattice if strain is None else lattice @ (np.eye(3) + strain[k].numpy())
        site = (batch.owner == k).numpy()
        cartesian = batch.frac[site].numpy() @ new + shift[site].numpy()
        first = int(np.flatnonzero(site)[0])
        pair = site[batch.src.numpy()]
        there = cartesian[batch.dst[pair].numpy() - first] + batch.offset[pair].numpy() @ new
        expected = np.linalg.norm(there - cartesian[batch.src[pair].numpy() - first], axis=1)
        np.testing.assert_allclose(view.distance[pair].numpy(), expected, atol=1e-9)


def test_moved_pairs_within_reach_are_those_found_anew():
    """Atoms that moved less than the room to the next shell: the same neighbours as a search in the moved crystal."""
    crystal = example_crystals()[3]
    batch = radius_batch([crystal], 4.5)  # the next shells are at 4.37 and 4.78 angstrom
    shift = perturb.nudges(batch, 0.0, 0.05, generator(1))
    view = perturb.moved(batch, shift)
    new = replace(crystal, frac=view.frac.numpy())
    assert sorted(radius_pairs(new.lattice, new.frac, 4.5).distance) == pytest.approx(sorted(view.distance.tolist()))


def test_strains_are_symmetric_and_as_large_as_asked():
    strain = perturb.strains(radius_batch(example_crystals() * 300, 1.0), 0.02, generator())
    assert torch.equal(strain, strain.transpose(1, 2))
    assert torch.allclose(strain.std(0), torch.full((3, 3), 0.02, dtype=strain.dtype), rtol=0.1)


@given(batches(), st.floats(1.0, 4.0), SEEDS)
@QUICK
def test_pairs_that_became_too_long_are_left_out(batch, reach, seed):
    view = perturb.moved(batch, perturb.nudges(batch, 0.0, 0.3, generator(seed)))
    short = perturb.within(view, reach)
    assert changed(short, view) <= PAIRS
    kept = view.distance <= reach
    assert short.n_pairs == int(kept.sum())
    assert torch.equal(short.distance, view.distance[kept])
    assert torch.equal(short.degree, torch.bincount(view.src[kept], minlength=view.n_sites)), "a cached count is stale"
    assert perturb.within(view, None) is view


@given(batches(), SHARES, SEEDS)
@QUICK
def test_a_share_of_each_sites_pairs_is_left_out(batch, share, seed):
    kept = perturb.some_pairs(batch, share, generator(seed))
    left = torch.bincount(batch.src[kept], minlength=batch.n_sites)
    assert left.tolist() == [math.ceil(round((1 - share) * n, 9)) for n in batch.degree.tolist()]
    view = perturb.keep_pairs(batch, kept)
    assert changed(view, batch) <= PAIRS
    assert torch.equal(view.distance, batch.distance[kept])


@given(batches(), SHARES, SEEDS)
@QUICK
def test_bonds_go_with_their_way_back(batch, share, seed):
    back = perturb.ways_back(batch)
    assert torch.equal(batch.src[back], batch.dst) and torch.equal(batch.dst[back], batch.src)
    assert torch.equal(batch.offset[back], -batch.offset)
    assert torch.equal(back[back], torch.arange(batch.n_pairs))
    kept = perturb.some_bonds(batch, share, generator(seed))
    assert torch.equal(kept, kept[back])
    bonds = torch.bincount(batch.owner[batch.src], minlength=batch.n_crystals) // 2
    gone = torch.bincount(batch.owner[batch.src[~kept]], minlength=batch.n_crystals) // 2
    assert gone.tolist() == [math.floor(round(share * n, 9)) for n in bonds.tolist()]


def test_pair_without_a_way_back_is_its_own():
    """Also where its way back would come behind all others in a sorted list."""
    batch = radius_batch(example_crystals(), 4.0)
    only = torch.zeros(batch.n_pairs, dtype=torch.bool)
    only[int(((batch.src < batch.dst) & (batch.owner[batch.src] == batch.owner[-1])).nonzero()[0])] = True
    assert perturb.ways_back(perturb.keep_pairs(batch, only)).tolist() == [0]
    none = perturb.keep_pairs(batch, torch.zeros_like(only))
    assert perturb.some_bonds(none, 0.5, generator()).tolist() == []


def test_rounding_does_not_part_a_pair_from_its_way_back():
    """At the cut-off one of two equal distances may come out longer: then both go."""
    batch = radius_batch(example_crystals(), 4.0)
    longest = int(batch.distance.argmax())
    odd = batch.distance.clone()
    odd[longest] = 4.0 + 1e-7
    view = perturb.within(replace(batch, distance=odd), 4.0)
    assert view.n_pairs == batch.n_pairs - 2


def test_atoms_cannot_be_moved_without_positions(crystals, tmp_path):
    batch = batch_of(crystals[:3], tmp_path)
    with pytest.raises(InputError, match="geometry=True"):
        perturb.moved(batch, torch.zeros(batch.n_sites, 3))


@pytest.mark.parametrize("missing", ["frac", "lattice", "offset"])
def test_a_part_of_the_positions_is_not_enough(missing):
    batch = replace(radius_batch(example_crystals(), 4.0), **{missing: None})
    with pytest.raises(InputError, match="geometry=True"):
        perturb.moved(batch, torch.zeros(batch.n_sites, 3))


def test_isolated_atoms_have_views_too():
    lone = Crystal("Ar", np.array([18, 18]), 30.0 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5]], dtype=float))
    batch = radius_batch([lone], 4.0)
    assert batch.n_pairs == 0
    view = perturb.within(perturb.moved(batch, perturb.nudges(batch, 0.1, 0.2, generator())), 4.0)
    assert view.n_pairs == 0 and changed(view, batch) == {"frac"}
    for some in (perturb.some_pairs, perturb.some_bonds):
        assert some(batch, 0.3, generator()).tolist() == []


def test_strengths_are_even_in_the_logarithm():
    """Against the log-uniform distribution of scipy; an even draw between the limits would be far off."""
    many_crystals = SimpleNamespace(n_crystals=20_000, distance=torch.zeros(1, dtype=torch.float64))
    drawn = strengths(many_crystals, 0.02, 0.5, torch.Generator().manual_seed(0)).numpy()
    assert 0.02 <= drawn.min() < 0.0201 and 0.497 < drawn.max() <= 0.5
    assert stats.kstest(drawn, stats.loguniform(0.02, 0.5).cdf).pvalue > 1e-3
    assert np.log(drawn).mean() == pytest.approx((np.log(0.02) + np.log(0.5)) / 2, abs=0.03)
