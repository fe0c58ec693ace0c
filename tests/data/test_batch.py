"""Flat batches: what follows from their arrays, means by segment, and another precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.batch import SiteBatch, segment_mean
from tests.helpers.build import generator, store_of, with_energies


@pytest.fixture
def uneven() -> SiteBatch:
    """Three crystals of two, no and three sites; the fourth site has no neighbour."""
    return SiteBatch(
        number=torch.tensor([11, 17, 8, 8, 22]),
        owner=torch.tensor([0, 0, 2, 2, 2]),
        src=torch.tensor([0, 0, 0, 1, 2, 4]),
        dst=torch.tensor([1, 1, 0, 0, 4, 2]),
        distance=torch.tensor([2.8, 2.8, 4.0, 2.8, 1.9, 1.9]),
        n_crystals=3,
    )


def test_counts_are_those_of_the_arrays(uneven):
    assert (uneven.n_sites, uneven.n_pairs) == (5, 6)
    assert uneven.size.tolist() == [2, 0, 3]
    assert uneven.degree.tolist() == [3, 1, 1, 0, 1]
    assert uneven.first_pair.tolist() == [0, 3, 4, 5, 5]
    assert uneven.atoms.tolist() == [2.0, 0.0, 3.0] and uneven.atoms.dtype == torch.float32


def test_rows_that_stand_for_several_sites_are_counted_as_often(uneven):
    weighted = replace(uneven, weight=torch.tensor([1.0, 3.0, 1.0, 2.0, 4.0]))
    assert weighted.atoms.tolist() == [4.0, 0.0, 7.0] and weighted.size.tolist() == [2, 0, 3]


def test_no_crystals_are_a_batch_too():
    none = torch.empty(0, dtype=torch.long)
    empty = SiteBatch(number=none, owner=none, src=none, dst=none, distance=torch.empty(0), n_crystals=0)
    assert (empty.n_sites, empty.n_pairs) == (0, 0)
    assert all(value.shape == (0,) for value in (empty.degree, empty.first_pair, empty.atoms, empty.size))


def test_atoms_of_merged_and_full_crystals_agree(crystals, tmp_path):
    both = store_of(crystals, tmp_path).batch(range(len(crystals)), view="both")
    assert both.merged.n_sites < both.n_sites
    assert both.atoms.tolist() == both.merged.atoms.tolist() == [float(c.n_sites) for c in crystals]


def test_precision_applies_to_floating_point_fields_of_every_level(crystals, tmp_path):
    batch = store_of(crystals[:4], tmp_path).batch(range(4), view="both")
    _ = batch.degree, batch.atoms  # what was computed before is computed anew
    moved = batch.to("cpu", torch.float64)
    for level, before in ((moved, batch), (moved.merged, batch.merged)):
        assert level.distance.dtype == level.atoms.dtype == torch.float64
        assert level.number.dtype == level.src.dtype == torch.int64
        torch.testing.assert_close(level.distance, before.distance.double(), rtol=0, atol=0)
    assert moved.merged.copies.dtype == torch.float64 and moved.kind.dtype == torch.int64
    assert batch.distance.dtype == torch.float32, "the old batch is left as it is"


def test_labels_and_geometry_come_along():
    batch = with_energies(radius_batch(example_crystals()[:2], 4.0))
    hidden = replace(batch, hidden=torch.zeros(batch.n_sites, dtype=torch.bool))
    moved = hidden.to("cpu", torch.float32)
    for name in ("frac", "lattice", "offset", "energy", "forces", "stress"):
        assert getattr(moved, name).dtype == torch.float32, name
        torch.testing.assert_close(getattr(moved, name), getattr(batch, name).float(), equal_nan=True)
    assert moved.hidden.dtype == torch.bool and moved.n_crystals == 2 and moved.site_property is None
    assert moved.to("cpu").frac.dtype == torch.float32, "without a dtype the precision stays"


@pytest.mark.parametrize("trailing", [(), (3,), (3, 2)])
def test_mean_of_each_segment_is_that_of_its_rows(trailing):
    """Segments in no order, one of them empty."""
    values = torch.randn(6, *trailing, generator=generator(), dtype=torch.float64)
    owner, n = torch.tensor([2, 0, 2, 3, 2, 0]), torch.tensor([2, 0, 3, 1])
    found = segment_mean(values, owner, n).numpy()
    assert found.shape == (4, *trailing)
    for k in (0, 2, 3):
        np.testing.assert_allclose(found[k], values.numpy()[owner.numpy() == k].mean(0))
    assert not found[1].any(), "an empty segment gives zero"


def test_weighted_mean_is_that_of_repeated_rows():
    values, owner = torch.tensor([[1.0, 10.0], [4.0, 40.0], [7.0, 70.0]]), torch.tensor([0, 0, 1])
    weight = torch.tensor([1.0, 2.0, 5.0])
    found = segment_mean(values, owner, torch.tensor([3.0, 5.0]), weight)
    assert found.tolist() == [[3.0, 30.0], [7.0, 70.0]]
    assert segment_mean(values[:, 0], owner, torch.tensor([3.0, 5.0]), weight).tolist() == [3.0, 7.0]
