"""MatGL's own networks as encoders: their vectors are read at the right place, whatever the batch and precision."""

from __future__ import annotations

from matgl_infomax import host  # chooses the backend before MatGL is imported

# isort: split
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import collate_fn_graph

from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import new_model
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.train.finetune import freeze
from tests.helpers.matgl_small import SMALL, net_of, same_weights

WIDTHS = {"megnet": (32, 160), "m3gnet": (64, 64), "tensornet": (64, 64), "chgnet": (64, 64), "so3net": (64, 64)}
SPARE = {"tensornet": ("tensor_embedding.emb3",), "chgnet": ("bond_bond_weights", "bond_graph_layers.0.conv")}
"""Weights of MatGL that no vector depends on: without a state, without bond updates, after the last site vectors."""


@pytest.fixture(params=sorted(SMALL))
def net(request: pytest.FixtureRequest) -> MatGLNet:
    return net_of(request.param)


def native_head(net: MatGLNet, site: torch.Tensor, crystal: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    """What MatGL's own head makes of the vectors read."""
    if net.name == "megnet":
        return net.network.output_proj(crystal).squeeze(1)
    if net.name != "chgnet":
        return net.network.final_layer(crystal).squeeze(1)
    each = net.network.final_layer(site).squeeze(1)
    return torch.stack([each[owner == row].mean() for row in owner.unique()])


def test_vectors_are_those_that_matgls_head_reads(net: MatGLNet, few: list[Crystal]) -> None:
    batch = radius_batch(few, net.edges.cutoff_angstrom).to("cpu", torch.float32)
    items = [
        (graph, lattice, torch.tensor(state), {"y": 0.0})
        for graph, lattice, state in (
            Structure2Graph(net.element_types, net.edges.cutoff_angstrom).get_graph(c.to_structure()) for c in few
        )
    ]
    graph, lattice, state, _ = collate_fn_graph(items)
    with torch.no_grad():
        encoding = net.encode(batch)
        native = net.network(host.with_positions(graph, lattice), state_attr=state)
        ours = native_head(net, encoding.site, encoding.crystal, batch.owner)
    assert (encoding.site.shape[1], encoding.crystal.shape[1]) == WIDTHS[net.name]
    assert (net.site_vector_width, net.crystal_vector_width) == WIDTHS[net.name]
    assert encoding.site.shape[0] == batch.n_sites
    assert encoding.crystal.shape[0] == len(few)
    torch.testing.assert_close(ours, native.reshape(-1), rtol=1e-5, atol=1e-5)
    assert float(native.std()) > 1e-4, "all crystals look alike, so this test proves little"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_mates_do_not_matter(net: MatGLNet, few: list[Crystal], dtype: torch.dtype) -> None:
    net = net.to(dtype)
    cutoff = net.edges.cutoff_angstrom
    together = net.encode(radius_batch(few, cutoff).to("cpu", dtype))
    assert together.site.dtype == together.crystal.dtype == dtype
    exact = 1e-6 if dtype == torch.float64 else 5e-6
    start = 0
    for row, crystal in enumerate(few):
        alone = net.encode(radius_batch([crystal], cutoff).to("cpu", dtype))
        assert alone.crystal.shape == (1, net.crystal_vector_width)
        torch.testing.assert_close(alone.crystal[0], together.crystal[row], rtol=0, atol=exact)
        torch.testing.assert_close(alone.site, together.site[start : start + crystal.n_sites], rtol=0, atol=exact)
        start += crystal.n_sites


def test_double_precision_is_double_all_the_way(net: MatGLNet, few: list[Crystal]) -> None:
    net, cutoff = net.double(), net.edges.cutoff_angstrom
    turned = [replace(c, lattice=c.lattice @ np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])) for c in few]
    difference = net.encode(radius_batch(few, cutoff)).crystal - net.encode(radius_batch(turned, cutoff)).crystal
    # Constants that MatGL made in single precision do not matter here: they are the same for both.
    assert float(difference.detach().abs().max()) < 1e-9


def test_gradients_reach_every_weight_below_the_native_head(net: MatGLNet, few: list[Crystal]) -> None:
    site, crystal = net.encode_levels(radius_batch(few, net.edges.cutoff_angstrom).to("cpu", torch.float32))
    assert site.hidden is site.vector
    assert crystal.hidden is crystal.vector
    (site.vector.square().sum() + crystal.vector.square().sum()).backward()
    head = {id(p) for p in net.layer_groups()["head"]}
    spare = ("state_encoder.layers.0.weight", *SPARE.get(net.name, ()))  # the state is zero, so its weights are idle
    silent = [
        name
        for name, p in net.network.named_parameters()
        if id(p) not in head and not name.startswith(spare) and (p.grad is None or not bool(p.grad.abs().sum() > 0))
    ]
    assert silent == []
    assert all(p.grad is None or not bool(p.grad.any()) for p in net.parameters() if id(p) in head)


def test_groups_hold_every_weight_once_by_depth(net: MatGLNet) -> None:
    groups = net.layer_groups()
    order = list(groups)
    assert order[:2] == ["input", "block0"]
    assert order[-1] == "head"
    held = [id(p) for parameters in groups.values() for p in parameters]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    copied = copy.deepcopy(net)
    assert [len(g) for g in copied.layer_groups().values()] == [len(g) for g in groups.values()]
    assert {id(p) for p in copied.layer_groups()["input"]}.isdisjoint(held)


def test_what_an_objective_and_a_store_ask(net: MatGLNet, few: list[Crystal]) -> None:
    assert (net.separable, net.reads) == (False, "geometry")
    assert net.edges == RadiusRule(4.0 if net.name == "megnet" else 5.0)
    batch = radius_batch(few, net.edges.cutoff_angstrom)
    assert net.raw_sites(batch).shape == (batch.n_sites, net.site_features)
    site = SiteNet.from_preset("compact", max_atoms=7)
    assert (site.separable, site.reads, site.edges) == (True, "distances", SupercellRule(7, True, standard=True))


def test_sitenet_makes_both_levels_in_one_call(crystals: list[Crystal], make_batch: Callable[..., Any]) -> None:
    net, batch = SiteNet.from_preset("compact", seed=1).double(), make_batch(crystals)
    site, crystal = net.encode_levels(batch)
    encoding = net.encode(batch)
    assert torch.equal(site.vector, encoding.site)
    assert torch.equal(crystal.vector, encoding.crystal)


def test_seed_alone_decides_and_the_global_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = net_of("m3gnet"), net_of("m3gnet")
    other = MatGLNet.new("m3gnet", seed=4, options=SMALL["m3gnet"])
    assert torch.equal(before, torch.random.get_rng_state())
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_graphs_batches_and_structures_predict_the_same(few: list[Crystal], collate: Callable[..., Any]) -> None:
    for name in ("megnet", "chgnet"):
        net = net_of(name)
        net.target_mean.fill_(-1.0)
        net.target_std.fill_(3.0)
        converter = host.RadiusConverter(net.element_types, net.edges.cutoff_angstrom)
        with torch.no_grad():
            graph = collate([converter.get_graph(c.to_structure()) for c in few])
            from_graph = net(graph, state_attr=torch.zeros(len(few), 2))
            batch = radius_batch(few, net.edges.cutoff_angstrom)
            from_batch = net(batch)
            scaled = net.scaled(net.encode(batch.to("cpu", torch.float32)).crystal)
        singly = torch.stack([net.predict_structure(c.to_structure()) for c in few])
        torch.testing.assert_close(from_graph, from_batch, rtol=0, atol=1e-5)
        torch.testing.assert_close(singly, from_batch, rtol=0, atol=1e-5)
        torch.testing.assert_close(scaled[:, 0] * 3.0 - 1.0, from_batch)
    assert net_of("megnet", n_targets=3).predict_structure(few[0].to_structure()).shape == (3,)


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match=r"M3GNet has no option n_blocks. Options: .*nblocks"):
        MatGLNet.new("m3gnet", options={"n_blocks": 2})
    with pytest.raises(InputError, match="Unknown network 'schnet'"):
        MatGLNet.new("schnet")
    with pytest.raises(InputError, match="MatGL cannot build MEGNet"):
        MatGLNet.new("megnet", options={"activation_type": "none"})
    with pytest.raises(InputError, match="Unknown output 'abs'"):
        MatGLNet.new("megnet", output="abs")


def test_settings_make_either_kind() -> None:
    net = new_model(ModelSettings(name="megnet", options={"nblocks": 1}), 2, 5, ("Na", "Cl"))
    assert isinstance(net, MatGLNet)
    assert (net.n_targets, len(net.network.blocks), net.element_types) == (2, 1, ("Na", "Cl"))
    assert same_weights(
        net, MatGLNet.new("megnet", element_types=("Na", "Cl"), n_targets=2, seed=5, options={"nblocks": 1})
    )
    site = new_model(ModelSettings(options={"site_width": 16}, supercell_atoms=9), 1, 5)
    assert isinstance(site, SiteNet)
    assert (site.max_atoms, site.init_args["site_width"]) == (9, 16)
    with pytest.raises(InputError, match=r"SiteNet has no option nblocks. Options: max_atoms"):
        new_model(ModelSettings(options={"nblocks": 1}), 1, 5)


def test_freezing_and_thawing_leaves_constants_alone() -> None:
    net = net_of("megnet")
    centres = net.network.bond_expansion.rbf.centers
    freeze(net, ["input"])
    assert not any(p.requires_grad for p in net.layer_groups()["input"])
    freeze(net, [])
    assert all(p.requires_grad for p in net.parameters())
    assert not centres.requires_grad
    assert "bond_expansion.rbf.centers" in net.network.state_dict()


def test_a_batch_without_geometry_or_with_unknown_elements_is_refused(few: list[Crystal]) -> None:
    net = net_of("megnet", element_types=("Na", "Cl"))
    with pytest.raises(InputError, match="geometry=True"):
        net.encode(replace(radius_batch(few[1:2]), frac=None))
    with pytest.raises(InputError, match="not among element_types: Cu"):
        net.encode(radius_batch(few[:1]))
