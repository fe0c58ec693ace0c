"""Deep InfoMax: known values, gradients that stop where they should, options that all do something."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import negatives
from matgl_infomax.objectives.base import effective_rank, spread
from matgl_infomax.objectives.infomax import GaussianLevel, InfoMax, InfoMaxSettings, kl_term
from tests.helpers.build import batch_of, generator
from tests.helpers.objective_formulas import made, recorded, small_batch, small_encoder


@pytest.fixture
def batch(crystals, tmp_path):
    return batch_of(crystals, tmp_path)


def objective(encoder, preset="default", seed=0, **options):
    torch.manual_seed(seed)
    return InfoMax.for_encoder(encoder, preset, options)


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_critics_have_the_published_number_of_weights():
    o = objective(SiteNet.from_preset("compact"))
    assert count(o.site_level) == 2_080
    assert count(o.local_whole, o.local_part_in, o.local_part_out) == 19_456
    assert count(o.crystal_level) == 4_160
    assert count(o.global_part, o.global_whole) == 22_912


def test_untrained_critics_that_say_nothing_give_four_log_two(batch):
    encoder = SiteNet.from_preset("compact")
    o = objective(encoder, kl_weight=0.0)
    for module in (o.local_whole.out, o.global_whole.out):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    total, parts = o.loss(encoder, batch, generator())
    assert float(parts["local"]) == pytest.approx(2 * math.log(2), rel=1e-6)
    assert float(total.detach()) == pytest.approx(4 * math.log(2), rel=1e-6)


def test_greedy_keeps_the_global_gradient_out_of_the_local_encoder(batch):
    for greedy in (True, False):
        encoder = SiteNet.from_preset("compact")
        o = objective(encoder, greedy=greedy, local_weight=0.0, kl_weight=0.0)
        o.loss(encoder, batch, generator())[0].backward()
        reached = any(bool((p.grad.abs() > 0).any()) for p in encoder.local_encoder.parameters() if p.grad is not None)
        assert reached is not greedy
        assert all(p.grad is not None for p in encoder.global_encoder.parameters())


def test_local_loss_never_reaches_the_global_encoder(batch):
    encoder = SiteNet.from_preset("compact")
    o = objective(encoder, global_weight=0.0)
    o.loss(encoder, batch, generator())[0].backward()
    assert all(not bool((p.grad.abs() > 0).any()) for p in encoder.global_encoder.parameters() if p.grad is not None)


def test_same_generator_same_loss_and_other_generator_another(batch):
    encoder = SiteNet.from_preset("compact")
    o = objective(encoder)
    losses = [float(o.loss(encoder, batch, generator(seed))[0].detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_global_random_state_is_not_used(batch):
    encoder = SiteNet.from_preset("compact")
    o = objective(encoder)
    before = torch.random.get_rng_state()
    o.loss(encoder, batch, generator())
    assert torch.equal(before, torch.random.get_rng_state())


OTHER = {
    "extra_negatives": False,
    "partner": "roll",
    "local_weights": "published",
    "permutation": "batch",
    "kl_weight": 0.3,
    "kl_form": "published",
    "local_weight": 0.5,
    "global_weight": 0.5,
    "critic_hidden": 32,
    "critic_width": 64,
}


def test_every_option_is_tried():
    # wrong_share is for MatGL's networks: see test_geometric.py; what damages crystals: see test_hard.py.
    hard = {"noise_angstrom", "strain", "hidden_share", "akin"}
    assert {*OTHER, *hard, "composition", "padding", "greedy", "wrong_share"} == set(InfoMaxSettings.model_fields)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_option_changes_the_loss(name, batch):
    encoder = SiteNet.from_preset("compact")
    plain = objective(encoder).loss(encoder, batch, generator())[0]
    changed = objective(encoder, **{name: OTHER[name]}).loss(encoder, batch, generator())[0]
    assert float(plain.detach()) != float(changed.detach())


def test_composition_by_rows_changes_the_loss_and_needs_a_permutation(batch):
    encoder = SiteNet.from_preset("compact")
    losses = [
        float(objective(encoder, partner="roll", composition=c).loss(encoder, batch, generator())[0].detach())
        for c in ("sites", "rows")
    ]
    assert losses[0] != losses[1]
    with pytest.raises(InputError, match="partner='roll'"):
        objective(encoder, composition="rows")


def test_padding_as_published_changes_the_loss_and_needs_one_order(batch):
    encoder = SiteNet.from_preset("compact")
    losses = [
        float(objective(encoder, permutation="batch", padding=p).loss(encoder, batch, generator())[0].detach())
        for p in ("none", "published")
    ]
    assert losses[0] != losses[1]
    with pytest.raises(InputError, match=r"padding='published' needs permutation='batch'.*'crystal'"):
        objective(encoder, padding="published")


def test_unknown_preset_and_option_are_refused():
    encoder = SiteNet.from_preset("compact")
    with pytest.raises(InputError, match="default, published, hard"):
        objective(encoder, "clever")
    with pytest.raises(InputError, match="Known options: extra_negatives"):
        objective(encoder, tempature=0.1)


def test_batch_of_one_crystal_gets_a_sentence(crystals, tmp_path):
    encoder = SiteNet.from_preset("compact")
    with pytest.raises(InputError, match="at least 2 crystals"):
        objective(encoder).loss(encoder, batch_of(crystals[:1], tmp_path), generator())


def test_one_atom_cells_work(crystals, tmp_path):
    encoder = SiteNet.from_preset("compact")
    total, _ = objective(encoder).loss(encoder, batch_of(crystals[:2], tmp_path), generator())
    total.backward()
    assert torch.isfinite(total)


@pytest.mark.parametrize("preset", ["default", "published"])
def test_learning_lowers_the_loss(preset, crystals, tmp_path):
    batch = batch_of(crystals, tmp_path)
    encoder = SiteNet.from_preset("compact")
    o = objective(encoder, preset, kl_weight=0.0)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *o.parameters()], lr=3e-3)
    first = o.loss(encoder, batch, generator(0))[1]
    for step in range(200):
        optimiser.zero_grad()
        total, parts = o.loss(encoder, batch, generator(step))
        total.backward()
        optimiser.step()
    assert float(parts["local"]) < 0.8 * float(first["local"])
    assert float(parts["global"]) < float(first["global"])
    if preset == "default":  # published weights do not sum to one, so its losses have no fixed zero of knowledge
        assert float(parts["local"]) < 0.9 * 2 * math.log(2) > float(parts["global"])


def test_true_twins_are_counted(crystals, tmp_path):
    copper = crystals[0]
    o = objective(SiteNet.from_preset("compact"))
    same = o.diagnose(batch_of([copper, copper], tmp_path / "same"), generator())
    assert all(same[f"twins/{k}"] == 1.0 for k in ("local_foreign", "global_foreign", "global_structure"))
    different = o.diagnose(batch_of([copper, crystals[6]], tmp_path / "different"), generator())
    assert different["twins/local_foreign"] == different["twins/global_foreign"] == 0.0


def test_permuting_an_element_gives_its_twin(crystals, tmp_path):
    o = objective(SiteNet.from_preset("compact"))
    share = o.diagnose(batch_of(crystals[:2], tmp_path), generator())  # Cu and Po: nothing to permute
    assert share["twins/global_permuted"] == 1.0


def test_kl_is_zero_only_for_the_unit_gaussian():
    zero = torch.zeros(4, 3)
    assert float(kl_term(zero, zero, "textbook")) == 0.0
    assert float(kl_term(zero, zero, "published")) == 1.0  # its constant was dropped
    for mean, log_variance in ((zero + 0.1, zero), (zero, zero + 0.1), (zero, zero - 0.1)):
        assert float(kl_term(mean, log_variance, "textbook")) > 0


def test_published_kl_weighs_the_variance_twice():
    mean = torch.zeros(1, 1)
    log_variance = torch.full((1, 1), 0.7, requires_grad=True)
    slopes = [torch.autograd.grad(kl_term(mean, log_variance, f), log_variance)[0] for f in ("textbook", "published")]
    torch.testing.assert_close(slopes[1], 2 * slopes[0])


def test_collapse_is_seen():
    wide = normalize(torch.randn(500, 16, generator=generator()), dim=1)
    point = torch.ones(500, 16) + 1e-9 * wide
    line = wide[:, :1] * torch.ones(1, 16)
    assert spread(wide) == pytest.approx(1.0, abs=0.05)
    assert spread(point) < 1e-3
    assert effective_rank(wide) > 15
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.ones(10, 4)) == 1.0


@pytest.mark.parametrize("log_variance", [-2.0, 0.0, 1.5])
def test_samples_have_the_variance_that_the_level_says(log_variance):
    """z = mu + exp(lv / 2) e, Kingma and Welling 2014; the KL term is the textbook's 0.5 (mu^2 + e^lv - lv - 1)."""
    rows, mu = 40_000, 0.7
    level = GaussianLevel(3, 2).double()
    torch.nn.init.zeros_(level.log_variance.weight)
    torch.nn.init.constant_(level.log_variance.bias, log_variance)
    vectors = SimpleNamespace(
        hidden=torch.zeros(rows, 3, dtype=torch.float64), vector=torch.full((rows, 2), mu, dtype=torch.float64)
    )
    everyone = SimpleNamespace(whole=SimpleNamespace(n_sites=rows), sites=slice(0, rows), ranks=1)
    sample, kl = level(vectors, "textbook", torch.Generator().manual_seed(1), everyone, everyone.sites)
    sample = sample.detach()
    assert float(sample.std()) == pytest.approx(math.exp(log_variance / 2), rel=0.02)
    assert float(sample.mean()) == pytest.approx(mu, abs=0.03)
    expected = 0.5 * (mu**2 + math.exp(log_variance) - log_variance - 1)
    assert float(kl.detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "damage",
    [{}, {"noise_angstrom": 0.3}, {"strain": 0.05}, {"hidden_share": 0.3}],
    ids=["none", "noise", "strain", "hidden"],
)
def test_the_network_reads_the_damaged_crystal(damage, monkeypatch):
    """Moved atoms, strained cells and hidden elements are what it is shown; without damage the crystals as they are."""
    encoder, batch, shown = small_encoder(), small_batch(), []
    objective = made("infomax", encoder, extra_negatives=False, **damage)
    kept = recorded(monkeypatch, negatives, "damaged")
    real = encoder.encode_sites
    monkeypatch.setattr(encoder, "encode_sites", lambda read: shown.append(read) or real(read))
    objective.loss(encoder, batch, generator())
    (read,), (seen,) = shown, kept["damaged"]
    assert torch.equal(read.distance, seen.distance) and torch.equal(read.src, seen.src)
    assert torch.equal(read.distance, batch.distance) == (damage.keys() <= {"hidden_share"})
    hides = read.hidden is not None and bool(read.hidden.any())
    assert hides == ("hidden_share" in damage)
    assert not hides or torch.equal(read.hidden, seen.hidden)
