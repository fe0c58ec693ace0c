"""Deep InfoMax on networks that read positions: only real crystals are shown, few of them, and the loss stays right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing

from matgl_infomax.data import share as share_module
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.share import Share, part, pick
from matgl_infomax.data.store import build_store
from matgl_infomax.errors import InputError
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import perturb
from matgl_infomax.objectives.infomax import InfoMax
from matgl_infomax.objectives.negatives import encode_wrong, wrong_versions
from tests.helpers.build import generator
from tests.helpers.two_processes import losses_and_gradients, mean_over_two

GEOMETRY = ("owner", "src", "dst", "distance", "frac", "lattice", "offset")
SMALL = {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1}


def net_of(seed: int = 0) -> MatGLNet:
    """A small MEGNet."""
    return MatGLNet.new("megnet", seed=seed, options=SMALL)


def batch_of(crystals, folder) -> SiteBatch:
    store = build_store(crystals, RadiusRule(4.0), folder, progress=False)
    return store.batch(np.arange(len(store)))


@pytest.fixture
def batch(crystals, tmp_path) -> SiteBatch:
    return batch_of(crystals, tmp_path)


def objective(encoder, preset="default", **options) -> InfoMax:
    torch.manual_seed(1)
    return InfoMax.for_encoder(encoder, preset, options)


def elements_of(batch, number):
    return [sorted(number[batch.owner == k].tolist()) for k in range(batch.n_crystals)]


def test_exchange_keeps_places_and_composition_and_is_never_the_old_one(batch):
    single = torch.tensor([len(set(e)) == 1 for e in elements_of(batch, batch.number)])
    assert single.tolist().count(True) == 2  # Cu and Po
    seen = set()
    for seed in range(30):
        view = perturb.exchanged(batch, generator(seed))
        assert all(getattr(view, name) is getattr(batch, name) for name in GEOMETRY)
        assert elements_of(batch, view.number) == elements_of(batch, batch.number)
        assert torch.equal(perturb.recoloured_crystals(batch, view.number), ~single)
        seen.add(tuple(view.number[batch.owner == 8].tolist()))
    assert len(seen) > 10  # of the 19 other orders of Sr, Ti and three O


def test_exchange_of_one_crystal_does_not_depend_on_another(crystals, tmp_path):
    """Two crystals alike get different exchanges: they are drawn one by one."""
    batch = batch_of([crystals[8], crystals[8]], tmp_path)
    views = [perturb.exchanged(batch, generator(seed)).number for seed in range(10)]
    assert any(not torch.equal(view[:5], view[5:]) for view in views)


def test_wrong_versions_are_real_crystals_at_most_one_each(batch):
    partner = perturb.foreign_sites(batch, generator(1))
    wrong = wrong_versions(batch, partner, 0.5, generator(2))
    assert all(getattr(wrong.batch, name) is getattr(batch, name) for name in GEOMETRY)
    assert int(wrong.chosen.sum()) == 6
    changed = perturb.recoloured_crystals(batch, wrong.batch.number)
    assert torch.equal(changed, wrong.chosen) and torch.equal(wrong.weight["wrong"] > 0, wrong.chosen)
    exchanged = [a == b for a, b in zip(*(elements_of(batch, x.number) for x in (batch, wrong.batch)), strict=True)]
    kinds = {bool(e) for e, c in zip(exchanged, changed.tolist(), strict=True) if c}
    assert kinds == {True, False}  # both kinds occur


@pytest.mark.parametrize("share", [0.33, 1.0])
def test_weights_make_up_for_versions_that_are_not_encoded(share, batch):
    """On average each kind of negative weighs the same; a crystal of one element has a foreign and a wrong one."""
    total, draws = torch.zeros(batch.n_crystals, dtype=torch.float64), 600
    for seed in range(draws):
        partner = perturb.foreign_sites(batch, generator(seed))
        wrong = wrong_versions(batch, partner, share, generator(1000 + seed))
        total += wrong.weight["wrong"] / draws
        foreign = wrong.weight["foreign"]
    single = torch.tensor([len(set(e)) == 1 for e in elements_of(batch, batch.number)])
    expected = torch.tensor([1 / 2 if one else 2 / 3 for one in single], dtype=torch.float64)
    torch.testing.assert_close(foreign, 1 - expected)
    torch.testing.assert_close(total, expected, rtol=0, atol=0.12 if share < 1 else 1e-9)


def test_crystals_that_cannot_be_made_wrong_have_no_wrong_version(crystals, tmp_path):
    copper = Crystal("more Cu", crystals[0].numbers, 1.1 * crystals[0].lattice, crystals[0].frac)
    batch = batch_of([crystals[0], copper], tmp_path)
    wrong = wrong_versions(batch, perturb.foreign_sites(batch, generator()), 1.0, generator())
    assert not bool(wrong.chosen.any())
    assert wrong.weight["foreign"].tolist() == [1.0, 1.0] and wrong.weight["wrong"].tolist() == [0.0, 0.0]
    total, _ = objective(net_of(), wrong_share=1.0).loss(net_of(), batch, generator())
    assert torch.isfinite(total)


def test_global_loss_is_the_weighted_mean_of_its_negatives(batch):
    encoder, o = net_of(), objective(net_of(), kl_weight=0.0, wrong_share=1.0)
    partner = perturb.foreign_sites(batch, generator(1))
    wrong, share = wrong_versions(batch, partner, 1.0, generator(2)), Share.of(batch)
    with torch.no_grad():
        site, crystal = encoder.encode_levels(batch)
        false = encode_wrong(encoder, wrong, share)
        whole, one, other = o.global_whole(crystal.vector), o.global_part(site.vector), o.global_part(false)
    weights = {name: value[batch.owner] for name, value in wrong.weight.items()}
    ours = o.global_loss(crystal.vector, site.vector, {"wrong": false}, batch, partner, share, weights)
    expected = 0.0
    for k in range(batch.n_crystals):
        sites = torch.nonzero(batch.owner == k).squeeze(1)
        value = 0.0
        for i in sites.tolist():
            kinds = 2 if len(set(batch.number[sites].tolist())) == 1 else 3
            value += math.log1p(math.exp(-float(one[i] @ whole[k])))
            value += math.log1p(math.exp(float(one[i] @ whole[batch.owner[partner[i]]]))) / kinds
            # All crystals have a wrong version here, and it stands for all of its kinds.
            value += math.log1p(math.exp(float(other[i] @ whole[k]))) * (kinds - 1) / kinds
        expected += value / len(sites) / batch.n_crystals
    assert float(ours.detach()) == pytest.approx(expected, rel=1e-4)


def test_wrong_vectors_are_those_of_the_wrong_crystals(batch):
    encoder = net_of().eval()
    wrong = wrong_versions(batch, perturb.foreign_sites(batch, generator(1)), 0.5, generator(2))
    with torch.no_grad():
        found, all_of_them = encode_wrong(encoder, wrong, Share.of(batch)), encoder.encode(wrong.batch).site
    shown = wrong.chosen[batch.owner]
    torch.testing.assert_close(found[shown], all_of_them[shown], rtol=0, atol=1e-5)
    assert not bool(found[~shown].any())


def test_picked_crystals_are_the_batch_of_these_alone(crystals, tmp_path):
    store = build_store(crystals, RadiusRule(4.0), tmp_path, progress=False)
    chosen = torch.zeros(12, dtype=torch.bool)
    chosen[[1, 4, 5, 11]] = True
    ours, theirs = pick(store.batch(range(12)), chosen), store.batch([1, 4, 5, 11])
    for name in ("number", *GEOMETRY):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.n_crystals == 4 and ours.merged is None and ours.weight is None


def test_one_pass_over_the_crystals_and_one_over_the_wrong_ones(batch, monkeypatch):
    passes = []
    original = MatGLNet._run
    monkeypatch.setattr(MatGLNet, "_run", lambda self, b: passes.append(b.n_crystals) or original(self, b))
    objective(net_of()).loss(net_of(), batch, generator())
    assert passes == [12, 4]


def test_loss_reaches_the_network_by_both_levels(batch):
    for weights in ({"local_weight": 0.0}, {"global_weight": 0.0}):
        encoder = net_of()
        objective(encoder, kl_weight=0.0, **weights).loss(encoder, batch, generator())[0].backward()
        groups = encoder.layer_groups()
        for name in ("input", "block0"):
            assert any(p.grad is not None and bool((p.grad.abs() > 0).any()) for p in groups[name]), (weights, name)
        assert all(p.grad is None for p in encoder.head.parameters())


def test_same_generator_same_loss_and_global_state_untouched(batch):
    encoder = net_of()
    o, before = objective(encoder), torch.random.get_rng_state()
    losses = [float(o.loss(encoder, batch, generator(seed))[0].detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2] and torch.equal(before, torch.random.get_rng_state())


def test_silent_critics_give_four_log_two(batch):
    encoder = net_of()
    o = objective(encoder, kl_weight=0.0, wrong_share=1.0)
    for module in (o.local_whole.out, o.global_whole.out):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    assert float(o.loss(encoder, batch, generator())[0].detach()) == pytest.approx(4 * math.log(2), rel=1e-5)


def test_learning_lowers_both_losses(crystals, tmp_path):
    batch, encoder = batch_of(crystals, tmp_path), net_of()
    o = objective(encoder, kl_weight=0.0)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *o.parameters()], lr=1e-2)
    losses = []
    for step in range(60):
        optimiser.zero_grad()
        total, parts = o.loss(encoder, batch, generator(step))
        total.backward()
        optimiser.step()
        losses.append([float(parts[name]) for name in ("local", "global")])
    first, last = np.mean(losses[:5], axis=0), np.mean(losses[-5:], axis=0)
    assert (last < 0.9 * first).all() and (last < 2 * math.log(2)).all()


def test_greedy_is_off_by_itself_and_refused_when_asked_for():
    encoder = net_of()
    assert objective(encoder).settings.greedy is objective(encoder, greedy=False).settings.greedy is False
    with pytest.raises(InputError, match=r"greedy=True.*MatGLNet makes both together.*greedy=False"):
        objective(encoder, greedy=True)
    assert objective(SiteNet.from_preset("compact")).settings.greedy is True


@pytest.mark.parametrize("wrong", [{"local_weights": "published"}, {"permutation": "batch"}])
def test_what_no_crystal_could_show_is_refused(wrong):
    with pytest.raises(InputError, match=f"MatGLNet what {next(iter(wrong))}.*without positions"):
        objective(net_of(), **wrong)
    with pytest.raises(InputError, match="local_weights, permutation, padding in this form"):
        objective(net_of(), "published")


def test_wrong_share_is_for_these_networks_alone(batch):
    with pytest.raises(InputError, match="wrong_share is for MatGL's networks"):
        objective(SiteNet.from_preset("compact"), wrong_share=0.5)
    encoder = net_of()
    losses = {float(objective(encoder, wrong_share=s).loss(encoder, batch, generator())[0].detach()) for s in (0.3, 1)}
    assert len(losses) == 2


def test_view_of_its_batches():
    assert objective(net_of()).view == "full" and objective(SiteNet.from_preset("compact")).view == "both"


def test_true_twins_are_counted(crystals, tmp_path):
    o = objective(net_of())
    names = {"local_foreign", "local_structure", "local_composition"}
    names |= {"global_foreign", "global_composition", "global_permuted"}
    salts = o.diagnose(batch_of(crystals[2:4], tmp_path / "salts"), generator())  # NaCl and MgO
    assert {name.removeprefix("twins/") for name in salts} == names
    # Exchanged rock salt is rock salt; salts of other elements are told from it.
    assert salts["twins/global_permuted"] == 1.0 and salts["twins/global_foreign"] == 0.0
    metals = o.diagnose(batch_of(crystals[:2], tmp_path / "metals"), generator())
    assert metals["twins/global_permuted"] == 0.0, "there is nothing to exchange, so nothing that is no negative"
    perovskites = o.diagnose(batch_of(crystals[8:10], tmp_path / "perovskites"), generator(3))
    assert perovskites["twins/global_permuted"] == 0.0


def test_sites_without_neighbours_do_no_harm(crystals, tmp_path):
    lonely = Crystal("lonely", np.array([10]), 20.0 * np.eye(3), np.zeros((1, 3)))
    apart = Crystal("apart", np.array([3, 10]), 30.0 * np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))
    for items in ([crystals[2], lonely, crystals[8], apart], [lonely, apart]):
        batch, encoder = batch_of(items, tmp_path), net_of()
        o = objective(encoder)
        total, parts = o.loss(encoder, batch, generator())
        total.backward()
        assert torch.isfinite(total) and all(torch.isfinite(value) for value in parts.values())
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
        assert all(math.isfinite(value) for value in o.diagnose(batch, generator()).values())


CASES = {"plain": {}, "all versions": {"wrong_share": 1.0}, "a process without crystals": {}}


def step(case: str, batch: SiteBatch, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Losses and gradients of one process."""
    encoder = net_of().double()
    o = objective(encoder, **CASES[case]).double()
    with pytest.MonkeyPatch.context() as patch:
        if case == "a process without crystals":
            patch.setattr(share_module, "cuts", lambda batch, n: [0, *[batch.n_crystals] * n])
        share = Share.of(batch, rank, ranks)
    return losses_and_gradients(encoder, o, batch, share)


def work(rank: int, folder: Path) -> None:
    """One of two processes, the same batch for every case."""
    mean_over_two(rank, folder, step, dict.fromkeys(CASES, torch.load(folder / "batch.pt", weights_only=False)))


@pytest.mark.slow
def test_two_processes_give_the_losses_and_gradients_of_one(batch, tmp_path):
    batch = batch.to("cpu", torch.float64)
    torch.save(batch, tmp_path / "batch.pt")
    multiprocessing.start_processes(work, (tmp_path,), nprocs=2, start_method="spawn")
    shared = torch.load(tmp_path / "results.pt", weights_only=True)
    for case in CASES:
        alone = step(case, batch, 0, 1)
        assert alone.keys() == shared[case].keys()
        for name, value in alone.items():
            difference = float((shared[case][name] - value).abs().max())
            assert difference <= 1e-8 * float(value.abs().max()) + 1e-12, (case, name)


def test_a_part_keeps_its_geometry(crystals, tmp_path):
    store = build_store(crystals, RadiusRule(4.0), tmp_path, progress=False)
    ours, theirs = part(store.batch(range(12)), 3, 7), store.batch([3, 4, 5, 6])
    for name in ("number", *GEOMETRY):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
