"""Hard questions of Deep InfoMax: damaged crystals to read, and negatives close to the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_infomax.contracts import example_crystals
from matgl_infomax.data.elements import elemental_properties
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.store import build_store
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import negatives
from matgl_infomax.objectives.denoise import DenoiseSettings
from matgl_infomax.objectives.infomax import InfoMax
from matgl_infomax.objectives.infomax_critic import near_first
from tests.helpers.build import batch_of, generator, store_of

SMALL = {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1}
NETWORKS = {
    "sitenet": lambda: SiteNet.from_preset("compact", seed=0),
    "megnet": lambda: MatGLNet.new("megnet", seed=0, options=SMALL),
}


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    crystals, folder = example_crystals(), tmp_path_factory.mktemp("stores")
    supercells, radius = store_of(crystals, folder), build_store(crystals, RadiusRule(4.0), folder, progress=False)
    every = np.arange(len(crystals))
    return {"sitenet": supercells.batch(every, geometry=True), "megnet": radius.batch(every)}


def objective(encoder, preset="hard", **options):
    torch.manual_seed(1)
    return InfoMax.for_encoder(encoder, preset, options)


@given(st.lists(st.integers(1, 103), min_size=1, max_size=40), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_akin_sites_have_another_element_as_close_as_the_batch_has_one(numbers, seed):
    number = torch.tensor(numbers)
    akin = negatives.akin_sites(number, generator(seed))
    if len(set(numbers)) == 1:
        assert akin.tolist() == list(range(len(numbers)))
        return
    place = negatives._mendeleev()
    for site, other in enumerate(akin.tolist()):
        mine = numbers[site]
        apart = sorted(float((place[z] - place[mine]).abs()) for z in set(numbers) - {mine})
        assert numbers[other] != mine
        assert float((place[numbers[other]] - place[mine]).abs()) <= apart[: negatives.AKIN][-1] + 1e-9


def test_close_elements_are_those_of_a_chemist():
    symbols = elemental_properties().symbols
    number = torch.tensor([symbols.index(name) for name in ("Na", "K", "Rb", "O", "S", "Se", "Cl", "Br")])
    seen: dict[str, set[str]] = {name: set() for name in ("K", "Se")}
    for seed in range(40):
        akin = negatives.akin_sites(number, generator(seed))
        for name, found in seen.items():
            site = number.tolist().index(symbols.index(name))
            found.add(symbols[int(number[akin[site]])])
    assert {"Na", "Rb"} <= seen["K"] and "S" in seen["Se"]
    assert all(len(found) == 3 for found in seen.values())


def test_nothing_to_do_leaves_the_batch_and_the_randomness_alone(batches):
    batch, source = batches["sitenet"], generator()
    before = source.get_state()
    assert negatives.damaged(batch, 0.0, 0.0, 0.0, source) is batch
    assert torch.equal(before, source.get_state())


@pytest.mark.parametrize("network", NETWORKS)
def test_damage_is_what_was_asked_for(network, batches):
    batch = batches[network]
    none = dict.fromkeys(("noise_angstrom", "strain", "hidden_share"), 0.0)
    for changes in ({"noise_angstrom": 0.3}, {"strain": 0.05}, {"hidden_share": 0.4}):
        seen = negatives.damaged(batch, **{**none, **changes}, generator=generator())
        assert torch.equal(seen.src, batch.src) and torch.equal(seen.dst, batch.dst)
        assert torch.equal(seen.number, batch.number)
        own = batch.distance == 0  # a site's pair with itself
        assert torch.equal(seen.distance[own], batch.distance[own])
        assert torch.equal(seen.distance, batch.distance) is ("hidden_share" in changes)
        assert (seen.hidden is not None and bool(seen.hidden.any())) is ("hidden_share" in changes)
        assert torch.equal(seen.lattice, batch.lattice) is ("strain" not in changes)
        assert torch.allclose(seen.frac, batch.frac, atol=1e-5) is ("noise_angstrom" not in changes)


def test_stale_pairs_are_the_true_ones_at_the_distances_shown(batches):
    batch = batches["sitenet"]
    seen = negatives.damaged(batch, 0.3, 0.02, 0.0, generator())
    shown = negatives.stale(batch, seen)
    assert torch.equal(shown.receiver, batch.src) and torch.equal(shown.neighbour, batch.dst)
    assert torch.equal(shown.distance, seen.distance) and not shown.distance.requires_grad
    total = torch.zeros(batch.n_sites).index_add(0, shown.receiver, shown.weight)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    assert torch.equal(shown.weight, near_first(seen.distance, batch.src, batch.n_sites))


@pytest.mark.parametrize("network", NETWORKS)
def test_critics_that_say_nothing_give_four_log_two(network, batches):
    encoder = NETWORKS[network]()
    o = objective(encoder, kl_weight=0.0)
    for module in (o.local_whole.out, o.global_whole.out):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    total, parts = o.loss(encoder, batches[network], generator())
    assert float(parts["local"]) == pytest.approx(2 * math.log(2), rel=1e-6)
    assert float(total.detach()) == pytest.approx(4 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("more", [{}, {"extra_negatives": True}])
def test_it_trains_and_repeats(network, more, batches):
    encoder = NETWORKS[network]()
    o = objective(encoder, **more)
    losses = [o.loss(encoder, batches[network], generator(seed))[0] for seed in (1, 1, 2)]
    assert float(losses[0].detach()) == float(losses[1].detach()) != float(losses[2].detach())
    losses[0].backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in o.parameters())
    assert any(bool((p.grad.abs() > 0).any()) for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "changed",
    [{"noise_angstrom": 0.1}, {"strain": 0.1}, {"hidden_share": 0.5}, {"akin": False}, {"extra_negatives": True}],
    ids=lambda changed: next(iter(changed)),
)
def test_each_option_changes_the_loss(changed, batches):
    encoder, batch = NETWORKS["sitenet"](), batches["sitenet"]
    plain, other = (objective(encoder, **more).loss(encoder, batch, generator())[0] for more in ({}, changed))
    assert float(plain.detach()) != float(other.detach())


def test_only_what_moves_atoms_asks_for_places():
    encoder = NETWORKS["sitenet"]()
    assert objective(encoder).geometry and objective(encoder).view == "full"
    assert not objective(encoder, "default").geometry and objective(encoder, "default").view == "both"
    hides = objective(encoder, "default", hidden_share=0.2)
    assert not hides.geometry and hides.view == "full"


def test_the_task_is_described(batches):
    o = objective(NETWORKS["sitenet"]())
    found = o.diagnose(batches["sitenet"], generator())
    assert {"twins/local_foreign", "twins/local_stale", "twins/local_akin", "twins/global_foreign"} == set(found)
    # Every example crystal has another element near, but in copper nothing moves except by strain.
    assert found["twins/local_akin"] == 0.0 and found["twins/local_stale"] < 0.5


def test_a_cell_of_one_element_is_its_own_kin(crystals, tmp_path):
    o = objective(NETWORKS["sitenet"](), "default", akin=True)
    assert o.diagnose(batch_of([crystals[0]] * 2, tmp_path), generator())["twins/local_akin"] == 1.0


def test_learning_lowers_the_loss(batches):
    encoder = NETWORKS["sitenet"]()
    o = objective(encoder, kl_weight=0.0)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *o.parameters()], lr=3e-3)
    found = []
    for step in range(60):
        optimiser.zero_grad()
        total, parts = o.loss(encoder, batches["sitenet"], generator(step))
        total.backward()
        optimiser.step()
        found.append(float(parts["local"]))
    assert np.mean(found[-10:]) < 0.95 * np.mean(found[:5])


def test_the_weakest_damage_of_three_tenths_of_an_angstrom_is_that_of_denoising():
    assert 0.3 / negatives.WEAKEST == pytest.approx(DenoiseSettings().least_angstrom) == 0.02
