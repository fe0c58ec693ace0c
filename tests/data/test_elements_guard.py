"""Elements of data, converter and network are compared; a network that is extended keeps what it knew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import check_elements, check_order, extend_elements, knowing, unknown_elements
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.store import build_store
from matgl_infomax.errors import InputError
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.build import batch_of

TYPES = ("O", "Ti", "Sr", "Na", "Cl", "Mg")
SMALL = {
    "megnet": {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1},
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1},
    "tensornet": {"units": 8, "nblocks": 1},
    "chgnet": {"num_blocks": 2, "dim_atom_embedding": 8, "dim_bond_embedding": 8, "dim_angle_embedding": 8},
    "so3net": {"nmax": 2, "lmax": 1, "nblocks": 1, "dim_node_embedding": 8},
}


def net_of(name="megnet", seed=0):
    return MatGLNet.new(name, element_types=TYPES, seed=seed, options=SMALL[name]).eval()


def vectors(net, crystals, folder):
    store = build_store(crystals, net.edges, folder, progress=False)
    with torch.no_grad():
        return net.encode(store.batch(np.arange(len(store))))


def test_unknown_elements_are_named_in_the_order_of_the_table():
    assert unknown_elements([8, 84, 38, 8, 3], TYPES) == ["Li", "Po"]
    assert unknown_elements([], TYPES) == []
    with pytest.raises(InputError, match=r"1 to 118. Received: \[0, 119\]"):
        unknown_elements([119, 8, 0], TYPES)


def test_sentence_names_elements_network_and_remedy():
    check_elements([8, 22], TYPES, "the network", "pray")
    with pytest.raises(InputError) as error:
        check_elements([8, 84], TYPES, "folder x", "give --extend-elements")
    assert str(error.value) == (
        "The crystals hold Po, but folder x knows 6 elements, these not among them. "
        "Leave such crystals out, or give --extend-elements."
    )
    with pytest.raises(InputError, match=r"Leave such crystals out\.$"):
        check_elements([84], TYPES, "folder x")


def test_converter_with_another_order_is_refused():
    check_order(TYPES, list(TYPES), "The converter")
    with pytest.raises(
        InputError, match="The converter numbers the elements otherwise: 1 is Sr, for the network it is Ti"
    ):
        check_order(TYPES, ("O", "Sr", "Ti", "Na", "Cl", "Mg"), "The converter")
    with pytest.raises(InputError, match="The converter knows 5 elements, the network 6"):
        check_order(TYPES, TYPES[:5], "The converter")


@pytest.mark.parametrize("make", [net_of, lambda: SiteNet.from_preset("compact", element_types=TYPES)])
def test_network_refuses_a_converter_of_another_order(make, crystals):
    from matgl_infomax.host import RadiusConverter, SupercellConverter

    net, salt = make(), crystals[2].to_structure()
    kind, limit = (RadiusConverter, 4.0) if isinstance(net, MatGLNet) else (SupercellConverter, 50)
    assert torch.equal(net.predict_structure(salt, graph_converter=kind(TYPES, limit)), net.predict_structure(salt))
    with pytest.raises(InputError, match="The converter numbers the elements otherwise: 0 is Mg"):
        net.predict_structure(salt, graph_converter=kind(TYPES[::-1]))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_extended_network_keeps_what_it_knew_and_learns_the_rest(name, crystals, tmp_path):
    net = net_of(name)
    larger = extend_elements(net, ["Po", "Cs"])
    assert larger.element_types == (*TYPES, "Po", "Cs") == tuple(larger.network.element_types)
    known = [crystals[3]] if name == "so3net" else [crystals[2], crystals[3], crystals[8]]
    before, after = (vectors(n, known, tmp_path) for n in (net, larger))
    torch.testing.assert_close(after.site, before.site, rtol=0, atol=1e-6)
    torch.testing.assert_close(after.crystal, before.crystal, rtol=0, atol=1e-6)
    new = [crystals[1], Crystal("Cs", np.array([55]), crystals[1].lattice, crystals[1].frac)]
    with pytest.raises(InputError):
        vectors(net, new, tmp_path)
    found = vectors(larger, new, tmp_path).site
    assert torch.isfinite(found).all() and not torch.allclose(found[0], found[1], rtol=0, atol=1e-7)


def test_new_rows_are_near_the_mean_and_repeat():
    net = net_of()
    rows = [extend_elements(net, ["Po"], seed).state_dict() for seed in (1, 1, 2)]
    grown = [name for name, value in net.state_dict().items() if value.shape != rows[0][name].shape]
    assert len(grown) == 1
    table, (one, same, other) = net.state_dict()[grown[0]], (row[grown[0]] for row in rows)
    assert torch.equal(one[:6], table) and torch.equal(one, same) and not torch.equal(one, other)
    distance = (one[6] - table.mean(0)).abs() / table.std(0, correction=0)
    assert 0 < float(distance.max()) < 0.5


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    extend_elements(net_of(), ["Po"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_other_weight_stays_and_every_setting_too():
    net = net_of().double()
    net.target_mean.fill_(3.0)
    larger = extend_elements(net.train(), ["Po"])
    changed = [name for name, value in net.state_dict().items() if not torch.equal(value, larger.state_dict()[name])]
    assert len(changed) == 1 and larger.training and larger.target_mean.dtype == torch.float64
    assert {**larger.init_args, "element_types": None} == {**net.init_args, "element_types": None}


def test_extended_network_still_opens_in_matgl(tmp_path):
    from matgl_infomax.host import load_model

    larger = extend_elements(net_of(), ["Po"])
    larger.network.save(tmp_path / "native")
    native = load_model(tmp_path / "native")
    assert type(native).__name__ == "MEGNet" and tuple(native.element_types) == (*TYPES, "Po")


def test_site_net_is_extended_by_name_alone(crystals, tmp_path):
    net = SiteNet.from_preset("compact", element_types=TYPES).eval()
    larger = extend_elements(net, ["Po"])
    batch = batch_of(crystals, tmp_path)
    assert larger.element_types[-1] == "Po" and torch.equal(net.encode(batch).crystal, larger.encode(batch).crystal)


def test_known_and_repeated_elements_cannot_be_added():
    for symbols in (["Ti"], ["Po", "Po"]):
        with pytest.raises(InputError, match=f"once each. Received: {symbols[0]}"):
            extend_elements(net_of(), symbols)


def test_permission_decides_and_is_told(capsys):
    net = net_of()
    assert knowing(net, [8, 22], False, "x") is net is knowing(net, [8, 22], True, "x")
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match=r"hold Po, but folder x knows 6 elements.*--extend-elements"):
        knowing(net, [8, 84], False, "folder x")
    assert knowing(net, [8, 84], True, "folder x").element_types == (*TYPES, "Po")
    written = capsys.readouterr()
    assert written.out == "" and written.err.startswith("matgl-infomax: folder x did not know Po: it got vectors")


def test_store_refuses_a_network_of_other_pairs(crystals, tmp_path):
    radius, net = build_store(crystals, RadiusRule(4.0), tmp_path, progress=False), net_of()
    radius.check_rule(net.edges)
    for wrong in (RadiusRule(5.0), SiteNet.from_preset("compact").edges):
        with pytest.raises(InputError, match=r"needs pairs by .*Received: a store of RadiusRule\(cutoff_angstrom=4.0"):
            radius.check_rule(wrong)
