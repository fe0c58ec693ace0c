"""Stiffness of sites from a potential: against energies of the potential itself, displaced and scaled by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax import host
from matgl_infomax.api import pretrain
from matgl_infomax.contracts import example_crystals, in_cell, radius_batch
from matgl_infomax.data.loader import StoreBatches
from matgl_infomax.data.share import part
from matgl_infomax.errors import InputError
from matgl_infomax.io import write_sums
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives.dual import Dual
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train import site_stiffness
from tests.helpers.build import store_of

SMALL = {
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1, "threebody_cutoff": 3.0},
    "tensornet": {"units": 8, "nblocks": 1},
    "chgnet": {
        "num_blocks": 2, "dim_atom_embedding": 8, "dim_bond_embedding": 8, "dim_angle_embedding": 8,
        "pooling_operation": "sum",
    },
    "so3net": {"nmax": 2, "lmax": 1, "nblocks": 1, "dim_node_embedding": 8, "target_property": "atomwise"},
}  # fmt: skip
SALT, COPPER = example_crystals()[1], example_crystals()[0]


def saved(name, folder):
    """A potential with random weights, saved as MatGL saves it."""
    network = MatGLNet.new(name, seed=1, options={**SMALL[name], "is_intensive": False, "cutoff": 3.0}).network
    host.Potential(model=network, data_std=torch.tensor(2.0), data_mean=torch.tensor(0.5)).save(folder)
    return folder


@pytest.fixture(scope="module", params=sorted(SMALL))
def potential(request, tmp_path_factory):
    return saved(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def energies(potential):
    return site_stiffness.SiteEnergies.open(potential)


def total(potential, crystal):
    """Energy of a crystal as the potential itself says it, eV, in double precision."""
    model = host.load_model(potential).double().eval()
    batch = radius_batch([crystal], float(model.model.cutoff))
    with host.precision(torch.float64):
        graph = host.batch_to_graph(batch, model.model.element_types)
        model.calc_forces = model.calc_stresses = False
        return float(model(graph, batch.lattice)[0])


def test_energies_of_sites_add_up_to_that_of_the_potential(potential, energies):
    with torch.no_grad():
        ours = [float(energies(radius_batch([c], energies.cutoff_angstrom)).sum()) for c in (SALT, COPPER)]
    theirs = [total(potential, c) for c in (SALT, COPPER)]
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], rel=1e-6)


def test_curvatures_add_up_to_that_of_the_energy(potential, energies):
    h = 0.01
    e = [total(potential, replace(SALT, lattice=SALT.lattice * np.exp(k * h / 3))) for k in (-2, -1, 0, 1, 2)]
    expected = np.dot([-1, 16, -30, 16, -1], e) / (12 * h * h)
    found = site_stiffness.curvature(energies, SALT)
    assert found.shape == (2,) and abs(found[0] - found[1]) > 1e-6, "the two elements are alike"
    assert found.sum() == pytest.approx(expected, rel=0.05)


def test_curvature_does_not_depend_on_the_cell(energies):
    large = in_cell(SALT, np.diag([2, 1, 1]))
    found = site_stiffness.curvature(energies, large)
    np.testing.assert_allclose(found, np.repeat(site_stiffness.curvature(energies, SALT), 2), rtol=1e-6, atol=1e-9)


def test_hessian_is_that_of_one_atom_moved_by_hand(potential, energies):
    """Of a one-atom cell: its own block would be zero, since the whole crystal would move."""
    found = site_stiffness.hessian(energies, COPPER)
    large = in_cell(COPPER, 3 * np.eye(3, dtype=int))
    step, trace = 1e-3, 0.0
    inverse = np.linalg.inv(large.lattice)
    rest = total(potential, large)
    for axis in range(3):
        move = np.zeros_like(large.frac)
        move[0] = step * inverse[axis]
        there, back = (total(potential, replace(large, frac=large.frac + sign * move)) for sign in (1, -1))
        trace += (there - 2 * rest + back) / step**2
    assert found.shape == (1,) and abs(found[0]) > 1e-6
    rounded = energies.net.name == "chgnet"  # some of its numbers are in single precision
    assert found[0] == pytest.approx(trace / 3, rel=1e-2 if rounded else 1e-3)


def test_hessian_does_not_depend_on_the_choice_of_cell(tensornet):
    """In an oblique cell opposite faces are closer than its edges are long: it takes 8, 4 and 3 copies of this one."""
    energies = site_stiffness.SiteEnergies.open(tensornet)
    oblique = in_cell(COPPER, [[1, 0, -1], [1, 1, -2], [-1, 1, 1]])
    found = site_stiffness.hessian(energies, oblique)
    # On PyG some of TensorNet's numbers are in single precision; a lost atom changes the result by far more.
    np.testing.assert_allclose(found, site_stiffness.hessian(energies, COPPER), rtol=1e-3, atol=1e-9)


def test_hessian_of_sites_goes_to_the_right_sites(energies):
    turned = replace(SALT, numbers=SALT.numbers[::-1].copy(), frac=SALT.frac[::-1].copy())
    found = site_stiffness.hessian(energies, SALT)
    np.testing.assert_allclose(site_stiffness.hessian(energies, turned)[::-1], found, rtol=1e-6, atol=1e-9)
    assert abs(found[0] - found[1]) > 1e-9


@pytest.fixture(scope="module")
def tensornet(tmp_path_factory):
    return saved("tensornet", tmp_path_factory.mktemp("potential"))


def pretrained(name, crystals, folder, **options):
    settings = PretrainSettings(
        steps=2, validate_every=2, batch_sites=20, validation_fraction=0.4, objective=name, objective_options=options
    )
    model = ModelSettings(supercell_atoms=10)
    return pretrain(crystals, folder / "out", model=model, settings=settings, cache=folder / "cache", progress=False)


@pytest.mark.parametrize("kind", sorted(site_stiffness.KINDS))
def test_store_gets_its_numbers_once_and_unknown_elements_none(kind, tensornet, tmp_path, monkeypatch):
    heavy = replace(COPPER, id="Og", numbers=np.array([118]))
    store = store_of([SALT, heavy, COPPER], tmp_path)
    found = site_stiffness.site_stiffness(store, kind, tensornet)
    assert [len(part) for part in found] == [2, 1, 1]
    assert np.isnan(found[1]).all() and np.isfinite(np.concatenate([found[0], found[2]])).all()
    monkeypatch.setattr(site_stiffness, "KINDS", {kind: None})
    again = site_stiffness.site_stiffness(store, kind, tensornet)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["dual", "dual+denoise"])
def test_dual_learns_the_numbers_of_a_potential(name, tensornet, tmp_path):
    given = {"micro": "curvature", "potential": str(tensornet)}
    options = given if name == "dual" else {"dual": given}
    result = pretrained(name, example_crystals()[:5], tmp_path, **options)
    key = "train/micro" if name == "dual" else "train/dual/micro"
    assert result.history[-1][key] > 0


def test_error_is_that_of_the_standardised_signed_logarithm():
    encoder = SiteNet.from_preset("compact", seed=0)
    for raw in (False, True):
        objective = Dual.for_encoder(
            encoder, "default", {"micro": "curvature", "potential": "anywhere", "micro_raw": raw}
        )
        batch = radius_batch(example_crystals()[1:3], 3.0)
        value = np.array([3.0, -0.5, np.nan, 10.0])
        shown = replace(batch, site_property=torch.from_numpy(value))
        wanted, known = objective.micro.numbers(shown)
        assert known.tolist() == [True, True, False, True]
        log = np.sign(value) * np.log(1 + np.abs(value))
        expected = value if raw else (log - np.nanmean(log)) / np.nanstd(log)
        np.testing.assert_allclose(wanted.numpy(), expected, rtol=1e-6)
        with pytest.raises(InputError, match="the batch has none"):
            objective.micro.numbers(batch)


def test_numbers_go_with_their_sites_into_parts_and_batches(tensornet, tmp_path):
    store = store_of([SALT, COPPER, SALT], tmp_path)
    micro = site_stiffness.site_stiffness(store, "curvature", tensornet)
    batch = StoreBatches(store, np.array([2, 1, 0]), site_property=micro, geometry=True)[[1, 2]]
    expected = np.concatenate([micro[1], micro[0]])
    np.testing.assert_allclose(batch.site_property.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(part(batch, 1, 2).site_property.numpy(), micro[0], rtol=1e-6)


def test_what_is_no_potential_is_refused(tmp_path, tensornet):
    MatGLNet.new("megnet", seed=0).network.save(tmp_path / "property")
    with pytest.raises(InputError, match="no potential"):
        site_stiffness.SiteEnergies.open(tmp_path / "property")
    with pytest.raises(InputError, match=r"state\.pt is missing"):
        pretrained("dual", example_crystals()[:4], tmp_path, micro="curvature", potential=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="Unknown stiffness"):
        site_stiffness.site_stiffness(store_of([SALT], tmp_path / "cache"), "softness", tensornet)
    network = MatGLNet.new("tensornet", seed=0, options={"units": 8, "nblocks": 1}).network  # a mean of sites
    host.Potential(model=network).save(tmp_path / "intensive")
    with pytest.raises(InputError, match="does not add up energies of sites"):
        site_stiffness.curvature(site_stiffness.SiteEnergies.open(tmp_path / "intensive"), SALT)


def test_the_weights_of_a_potential_are_checked_before_they_name_a_run(tmp_path):
    saved("m3gnet", tmp_path)
    write_sums(tmp_path, [tmp_path / name for name in host.MODEL_FILES])
    name = site_stiffness.potential_digest(tmp_path)
    assert len(name) == 16
    content = bytearray((tmp_path / "state.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "state.pt").write_bytes(content)
    for open_it in (site_stiffness.potential_digest, site_stiffness.SiteEnergies.open):
        with pytest.raises(InputError, match=r"state\.pt is not the file that was written"):
            open_it(tmp_path)
