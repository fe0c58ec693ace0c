"""Each bug of MatGL that is handled here: a test that fails when its remedy is taken away."""

from __future__ import annotations

import copy
import hashlib
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax import host
from matgl_infomax.contracts import in_cell, radius_batch
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.host import check_version
from matgl_infomax.nn import matgl_net
from matgl_infomax.nn.matgl_net import MatGLNet
from tests.helpers.build import reordered
from tests.helpers.matgl_small import SMALL, net_of, same_weights

RELEASE = tuple(int(part) for part in host.MATGL_VERSION.split("."))
FAR = Crystal("far", np.array([29]), 20.0 * np.eye(3), np.zeros((1, 3)))
"""An atom that sees no other."""


def stirred(net: MatGLNet) -> MatGLNet:
    """The net in double precision with weights far from the initial ones, which hide many a mistake."""
    draw = torch.Generator().manual_seed(1)
    net = net.double().eval()
    for parameter in net.parameters():
        noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        parameter.data.add_(noise, alpha=0.1)
    return net


def order_matters(encode: Callable[[SiteBatch], torch.Tensor], crystals: Sequence[Crystal], cutoff: float) -> float:
    """Largest change of anything about a crystal when its sites are listed in another order."""
    worst = 0.0
    for crystal in crystals:
        order = np.random.default_rng(0).permutation(crystal.n_sites).tolist()
        first = encode(radius_batch([crystal], cutoff))
        second = encode(radius_batch([reordered(crystal, order)], cutoff))
        worst = max(worst, float((first - second).detach().abs().max()))
    return worst


def crystal_vectors(net: MatGLNet) -> Callable[[SiteBatch], torch.Tensor]:
    return lambda batch: net.encode(batch).crystal


def native_prediction(net: MatGLNet) -> Callable[[SiteBatch], torch.Tensor]:
    """MatGL's network by itself, without what is done around it here."""

    def predict(batch: SiteBatch) -> torch.Tensor:
        with host.precision(torch.float64):
            return net.network(host.batch_to_graph(batch, net.element_types))

    return predict


def test_triples_of_a_new_m3gnet_belong_to_their_bond_even_in_matgl_alone(crystals: list[Crystal]) -> None:
    """Up to 4.0.3, a cut-off for triples below that for bonds gives the triples of one bond to another."""
    net = stirred(MatGLNet.new("m3gnet", seed=3))
    assert net.network.threebody_cutoff == net.network.cutoff == 5.0
    assert MatGLNet.new("m3gnet", options={"cutoff": 4.5}).network.threebody_cutoff == 4.5
    assert order_matters(native_prediction(net), crystals[8:], 5.0) < 1e-9


def test_triples_of_any_m3gnet_belong_to_their_bond(crystals: list[Crystal], monkeypatch: pytest.MonkeyPatch) -> None:
    net = stirred(MatGLNet.new("m3gnet", seed=3, options={"threebody_cutoff": 4.0}))
    assert order_matters(crystal_vectors(net), crystals[8:], 5.0) < 1e-9
    if RELEASE <= (4, 0, 3):
        monkeypatch.setattr(MatGLNet, "_mixes_triples", False)
        assert order_matters(crystal_vectors(net), crystals[8:], 5.0) > 1e-6, "the bug is gone: so may its remedy"


def test_a_state_and_short_triples_do_not_go_together() -> None:
    options = {"threebody_cutoff": 4.0, "include_state": True, "dim_state_embedding": 2}
    with pytest.raises(InputError, match="threebody_cutoff = cutoff"):
        MatGLNet.new("m3gnet", options=options)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_site_order_changes_nothing_with_trained_weights(name: str, crystals: list[Crystal]) -> None:
    net = stirred(net_of(name))
    assert order_matters(crystal_vectors(net), crystals[10:], net.edges.cutoff_angstrom) < 1e-9


@pytest.mark.parametrize("name", ["m3gnet", "tensornet", "so3net"])
def test_the_order_in_which_matgl_made_its_blocks_decides_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 3.0.5 on DGL blocks are made as a set, and so stand in another order in every process."""
    options = SMALL[name] | {"nblocks": 3}
    usual = MatGLNet.new(name, seed=3, options=options)
    native = host.native_class(matgl_net.KNOWN[name].native)

    def backwards(**arguments: Any) -> Any:
        network = native(**arguments)
        for key in matgl_net.KNOWN[name].blocks:
            setattr(network, key, torch.nn.ModuleList(reversed(list(getattr(network, key)))))
        return network

    monkeypatch.setattr(host, "native_class", lambda _: backwards)
    network = matgl_net.build_network  # the function itself stays
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        turned = network(name, usual.element_types, usual.init_args["arguments"])
    assert same_weights(turned, usual.network)


WEIGHTS = """
import hashlib
clutter = [object() for _ in range(12345)]  # moves what is made later to other places in memory
from matgl_infomax.nn.matgl_net import MatGLNet
for name, options in {small}.items():
    state = MatGLNet.new(name, seed=3, options=options).state_dict()
    print(hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest())
"""


def digest(net: MatGLNet) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values())).hexdigest()


def test_another_process_draws_the_same_weights(fresh_process: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    small = {name: options | ({"nblocks": 3} if name != "chgnet" else {}) for name, options in SMALL.items()}
    expected = [digest(MatGLNet.new(name, seed=3, options=options)) for name, options in small.items()]
    code = WEIGHTS.format(small=small)
    done = fresh_process(code, MATGL_BACKEND=host.BACKEND)
    assert done.stdout.split() == expected, done.stderr


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_batch_without_bonds_gives_what_a_mixed_one_gives(name: str, crystals: list[Crystal]) -> None:
    """On DGL MEGNet gives NaN for it, on PyG another vector than in a mixed batch; CHGNet fails on 3.0.5 PyG."""
    net = stirred(net_of(name))
    cutoff = net.edges.cutoff_angstrom
    mixed = net.encode(radius_batch([FAR, crystals[2]], cutoff))
    alone = net.encode(radius_batch([FAR, FAR], cutoff))
    assert alone.site.shape[0] == alone.crystal.shape[0] == 2
    for row in (0, 1):
        torch.testing.assert_close(alone.crystal[row], mixed.crystal[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.site[row], mixed.site[0], rtol=0, atol=1e-9)
    alone.crystal.square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)
    assert bool(torch.isfinite(net(radius_batch([FAR], cutoff))).all())


@pytest.mark.parametrize("name", ["m3gnet", "chgnet"])
def test_a_batch_without_triples_gives_what_a_mixed_one_gives(name: str, crystals: list[Crystal]) -> None:
    wide = Crystal("wide", np.array([29]), 4.6 * np.eye(3), np.zeros((1, 3)))
    net = stirred(MatGLNet.new(name, seed=3, options=SMALL[name] | {"threebody_cutoff": 3.0}))
    mixed = net.encode(radius_batch([wide, crystals[2]], 5.0)).crystal[0]
    torch.testing.assert_close(net.encode(radius_batch([wide], 5.0)).crystal[0], mixed, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_network_can_be_copied_after_a_pass(name: str, crystals: list[Crystal]) -> None:
    """From 4.0.1 on MatGL keeps the tensors of the last pass, which cannot be copied."""
    net = net_of(name)
    net.encode(radius_batch(crystals[2:4], net.edges.cutoff_angstrom).to("cpu", torch.float32)).crystal.sum().backward()
    assert same_weights(copy.deepcopy(net), net)


@pytest.mark.parametrize("old", ["1.3.0", "2.2.1", "3.0.0", "3.0.1"])
def test_releases_with_a_read_out_that_adds_up_are_refused(old: str) -> None:
    with pytest.raises(InputError, match=f"MatGL {old} gives vectors that depend on the size of the cell"):
        check_version(old)


def test_newer_releases_are_welcome() -> None:
    for new in ("3.0.2", "3.0.5", "4.1.2", "4.2.0rc1", host.MATGL_VERSION):
        check_version(new)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_twice_the_cell_is_the_same_crystal(name: str, crystals: list[Crystal]) -> None:
    """Vectors and, where MatGL's default would add up, MatGL's own prediction as well."""
    net = stirred(net_of(name))
    pair = [crystals[2], in_cell(crystals[2], np.diag([2, 1, 1]))]
    batch = radius_batch(pair, net.edges.cutoff_angstrom)
    assert batch.size.tolist() == [2, 4]
    vectors = net.encode(batch).crystal
    torch.testing.assert_close(vectors[0], vectors[1], rtol=0, atol=1e-8)
    if name != "megnet":  # whose state is part of the call
        predictions = native_prediction(net)(batch)
        torch.testing.assert_close(predictions[0], predictions[1], rtol=0, atol=1e-8)


def test_the_first_element_of_so3net_is_no_padding(crystals: list[Crystal]) -> None:
    net = net_of("so3net", element_types=("Na", "Cl"))
    first = net.network.embedding.weight
    assert bool(first[0].abs().sum() > 0)
    net.encode(radius_batch([crystals[2]], 5.0).to("cpu", torch.float32)).crystal.sum().backward()
    assert first.grad is not None
    assert bool(first.grad[0].abs().sum() > 0)


def test_double_precision_reaches_the_layers_that_look_it_up(crystals: list[Crystal]) -> None:
    """MEGNet and M3GNet of 3.0.5 cast bonds to MatGL's own precision, whatever their input is."""
    before = torch.get_default_dtype(), host.matgl.float_th
    for name in ("megnet", "m3gnet"):
        assert net_of(name).double().encode(radius_batch(crystals[2:4], 4.0)).site.dtype == torch.float64
    assert (torch.get_default_dtype(), host.matgl.float_th) == before
    with pytest.raises(ZeroDivisionError), host.precision(torch.float64):
        raise ZeroDivisionError
    assert host.matgl.float_th == before[1]


def test_megnet_without_a_state_is_refused() -> None:
    with pytest.raises(InputError, match="MEGNet without a state fails"):
        MatGLNet.new("megnet", options={"include_state": False})
