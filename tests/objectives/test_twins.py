"""Crystal Twins: every preset from its formula, how a view differs, and options that would do nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.errors import InputError
from matgl_infomax.objectives import new_objective, twins
from matgl_infomax.objectives.perturb import some_bonds, some_pairs
from tests.helpers.build import generator, store_of
from tests.helpers.objective_formulas import CLOSE, barlow, cos, made, recorded, small_batch, small_encoder


@pytest.mark.parametrize("preset", sorted(twins.TWINS_PRESETS))
def test_loss_is_that_of_the_formula(preset, monkeypatch):
    encoder, batch = small_encoder(), small_batch()
    objective = made("twins", encoder, preset)
    kept = recorded(monkeypatch, twins, "within")["within"]
    loss, _ = objective.loss(encoder, batch, generator())
    views = [objective.project(encoder.encode(view).crystal) for view in kept]
    a, b = (z.detach().numpy() for z in views)
    if "simsiam" in preset:
        p, q = (objective.predict(z).detach().numpy() for z in views)
        expected = -0.5 * np.mean([cos(p[k], b[k]) + cos(q[k], a[k]) for k in range(len(a))])
    else:
        if preset == "published":
            a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
        expected = barlow(a, b, 0.0051)
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)


def test_a_view_moves_hides_and_leaves_out_and_two_views_differ():
    batch, objective = small_batch(), made("twins", small_encoder(), hidden_share=0.3, dropped_share=0.4)
    source = generator(3)
    one, other = (objective.view_of(batch, source) for _ in range(2))
    for view in (one, other):
        assert view.n_sites == batch.n_sites and 0.5 < view.n_pairs / batch.n_pairs < 0.7
        assert view.hidden.any() and not view.hidden[batch.size[batch.owner] == 1].any()
        shift = (view.frac - batch.frac).unsqueeze(1) @ batch.lattice[batch.owner]
        length = shift.norm(dim=2)
        assert 0 < float(length.max()) <= 0.05 + 1e-9
    assert not torch.equal(one.frac, other.frac)


def test_without_any_disturbance_a_view_is_the_crystal():
    batch = small_batch()
    still = made("twins", small_encoder(), move_angstrom=0.0, hidden_share=0.0, dropped_share=0.0)
    assert still.view_of(batch, generator()) is batch and not still.geometry


def test_networks_that_read_positions_lose_a_pair_with_its_way_back():
    class Geometric:
        reads, crystal_vector_width = "geometry", 4

    assert twins.Twins(Geometric(), twins.TwinsSettings()).drop is some_bonds
    assert made("twins", small_encoder()).drop is some_pairs


def test_one_crystal_is_refused(crystals, tmp_path):
    batch = store_of(crystals[:1], tmp_path).batch([0], geometry=True).to("cpu", torch.float64)
    with pytest.raises(InputError, match="Crystal Twins needs at least 2 crystals per batch"):
        made("twins", small_encoder()).loss(small_encoder(), batch, generator())


@pytest.mark.parametrize(
    "options",
    [
        {"method": "simsiam", "redundancy": 0.1},
        {"predictor_factor": 1.0},
        {"projector_layers": 0, "projector_factor": 2},
    ],
)
def test_options_that_would_do_nothing_are_refused(options):
    with pytest.raises(InputError, match="does nothing with"):
        new_objective(small_encoder(), "twins", "default", options)
