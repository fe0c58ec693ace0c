"""Crystals at the edge: one-atom cells, atoms without neighbours, two hundred atoms, for every objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES
from tests.contracts.test_objectives import LEVELS
from tests.helpers.build import generator, store_of, with_energies

SMALL = {
    "megnet": {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1},
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1},
}


def cell(name, numbers, lattice, frac):
    return Crystal(name, np.array(numbers), np.array(lattice, dtype=float), np.array(frac, dtype=float))


def one_atom_cells():
    fcc = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return [cell("Cu", [29], 3.61 * fcc, [[0, 0, 0]]), cell("Po", [84], 3.35 * np.eye(3), [[0, 0, 0]])]


def lone_atoms():
    """No pair within the cut-off."""
    far = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return [cell("Ar", [18], 20 * np.eye(3), far[:1]), cell("NaK", [11, 19], 25 * np.eye(3), far)]


def large_cells():
    """Two hundred and six atoms in no order."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3)[:206] / 6
    return [cell("large", rng.integers(1, 90, 206), 15 * np.eye(3), grid + 0.01 * rng.random(grid.shape))]


CASES = {"one-atom cells": one_atom_cells, "lone atoms": lone_atoms}
NETWORKS = ("sitenet", *SMALL)


def loss_of(name, network, crystals, folder):
    if network == "sitenet":
        encoder = SiteNet.from_preset("compact", seed=0)
        batch = store_of(crystals, folder).batch(range(len(crystals)), geometry=True)
    else:
        encoder = MatGLNet.new(network, seed=0, options=SMALL[network])
        batch = radius_batch(crystals, 4.0).to("cpu", torch.float32)
    torch.manual_seed(1)
    objective = OBJECTIVES[name].for_encoder(encoder, "default", {"energy": "y"} if name == "supervised" else {})
    loss, parts = objective.loss(encoder, with_energies(batch), generator())
    return encoder, loss, parts


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", sorted(LEVELS))
def test_loss_and_gradient_are_finite(name, network, case, tmp_path):
    encoder, loss, parts = loss_of(name, network, CASES[case](), tmp_path)
    assert loss.isfinite() and all(value.isfinite() for value in parts.values())
    if loss.requires_grad:  # where nothing can be hidden or denoised there is nothing to learn
        loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", sorted(LEVELS))
def test_two_hundred_atoms_work(name, network, tmp_path):
    _, loss, _ = loss_of(name, network, [*large_cells(), *example_crystals()], tmp_path)
    assert loss.isfinite()
    loss.backward()
