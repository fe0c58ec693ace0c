"""What every encoder owes to physics and to its users: order, cell, batch mates and precision change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.presets import PRESETS
from matgl_infomax.nn.sitenet import SiteNet
from tests.build import batch_of, reordered

DEAD = ("local_encoder.blocks.1.pair_update",)
"""Published with its weights, read by nobody."""


@pytest.fixture(params=sorted(PRESETS))
def model(request: pytest.FixtureRequest) -> SiteNet:
    return SiteNet.from_preset(request.param, seed=3).double().eval()


def test_site_order_only_permutes_site_vectors(model, crystals, tmp_path):
    perovskite = next(c for c in crystals if c.id == "SrTiO3")
    order = [4, 2, 0, 3, 1]
    plain = model.encode(batch_of([perovskite], tmp_path, double=True))
    shuffled = model.encode(batch_of([reordered(perovskite, order)], tmp_path, double=True))
    torch.testing.assert_close(shuffled.site, plain.site[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(shuffled.crystal, plain.crystal, rtol=0, atol=1e-6)


def test_rotation_changes_nothing(model, crystals, tmp_path):
    crystal = next(c for c in crystals if c.id == "KXeO")
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Crystal("turned", crystal.numbers, crystal.lattice @ rotation, crystal.frac)
    both = model.encode(batch_of([crystal, turned], tmp_path, double=True)).crystal
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-5)


def test_origin_changes_nothing(model, crystals, tmp_path):
    crystal = next(c for c in crystals if c.id == "GaN")
    moved = Crystal("moved", crystal.numbers, crystal.lattice, crystal.frac + np.array([0.37, -1.2, 5.01]))
    both = model.encode(batch_of([crystal, moved], tmp_path, double=True)).crystal
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-5)


def test_doubled_cell_is_reduced_to_the_same_crystal(model, crystals, tmp_path):
    salt = next(c for c in crystals if c.id == "NaCl")
    doubled = Crystal(
        "doubled",
        np.repeat(salt.numbers, 2),
        salt.lattice * np.array([[2.0], [1.0], [1.0]]),
        np.concatenate([(f + shift) / [2.0, 1.0, 1.0] for f in salt.frac for shift in ([[0, 0, 0]], [[1, 0, 0]])]),
    )
    batch = batch_of([salt, doubled], tmp_path, double=True)
    assert batch.size.tolist() == [2, 2]
    both = model.encode(batch).crystal
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-5)


def test_batch_mates_do_not_matter(model, crystals, tmp_path):
    together = model.encode(batch_of(crystals, tmp_path, double=True))
    start = 0
    for k, crystal in enumerate(crystals):
        alone = model.encode(batch_of([crystal], tmp_path, double=True))
        torch.testing.assert_close(alone.crystal[0], together.crystal[k], rtol=0, atol=1e-6)
        stop = start + len(alone.site)
        torch.testing.assert_close(alone.site, together.site[start:stop], rtol=0, atol=1e-6)
        start = stop


def test_float32_agrees_with_float64(model, crystals, tmp_path):
    batch = batch_of(crystals, tmp_path, double=True)
    exact = model.encode(batch).crystal
    single = model.float().encode(batch.to("cpu", torch.float32)).crystal
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-3)


def test_every_weight_gets_a_gradient(model, crystals, tmp_path):
    model(batch_of(crystals, tmp_path, double=True)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name.startswith(DEAD):
            assert parameter.grad is None, f"{name} is read after all"
        else:
            assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_groups_hold_every_weight_once(model):
    grouped = [id(p) for group in model.layer_groups().values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_same_seed_same_weights_and_global_state_untouched():
    before = torch.random.get_rng_state()
    first, second, other = (SiteNet.from_preset("compact", seed=s) for s in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_large_crystal_does_not_outvote_small_ones(model, crystals, tmp_path):
    """The crystal vector is a mean over sites: it stays in range for 1 site and for 50."""
    big = Crystal("big", np.full(50, 14), 12.0 * np.eye(3), np.random.default_rng(1).random((50, 3)))
    vectors = model.encode(batch_of([crystals[0], big], tmp_path, double=True, primitive=False)).crystal
    assert torch.isfinite(vectors).all()
    assert float(vectors.detach().abs().max()) < 50


def test_normaliser_gives_physical_units(model, crystals, tmp_path):
    batch = batch_of(crystals, tmp_path, double=True)
    plain = model(batch)
    model.target_mean.fill_(-2.0)
    model.target_std.fill_(3.0)
    torch.testing.assert_close(model(batch), plain * 3.0 - 2.0)


def test_transparent_relu_is_zero_in_physical_units_and_keeps_its_gradient(crystals, tmp_path):
    model = SiteNet.from_preset("compact", output="transparent_relu").double()
    model.target_mean.fill_(-5.0)
    model.target_std.fill_(0.1)
    prediction = model(batch_of(crystals, tmp_path, double=True))
    torch.testing.assert_close(prediction, torch.zeros_like(prediction), atol=1e-12, rtol=0)
    prediction.sum().backward()
    assert float(model.head.out.bias.grad) == pytest.approx(0.1 * len(crystals))
