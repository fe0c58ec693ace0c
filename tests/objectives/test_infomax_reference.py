"""Deep InfoMax against its formulas, pair by pair: values and every gradient, each mask, partner and KL form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import perturb
from matgl_infomax.objectives.infomax import InfoMax, kl_term
from tests.helpers import infomax_reference as formula
from tests.helpers.build import batch_of, generator


@pytest.fixture
def batch(crystals: list[Crystal], tmp_path: Path) -> SiteBatch:
    """Crystals of unequal size, so that masks matter."""
    return batch_of(crystals, tmp_path, double=True)


def objective_of(preset: str, **options: object) -> tuple[SiteNet, InfoMax]:
    encoder = SiteNet.from_preset("compact", seed=0).double()
    torch.manual_seed(0)
    return encoder, InfoMax.for_encoder(encoder, preset, dict(options)).double()


def leaf(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).requires_grad_()


def assert_same(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """Equal values, and equal gradients with respect to every input."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    our_gradients = torch.autograd.grad(ours, inputs, allow_unused=True, retain_graph=True)
    their_gradients = torch.autograd.grad(theirs, inputs, allow_unused=True)
    assert any(g is not None for g in our_gradients)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("extra", [True, False], ids=["three negatives", "foreign only"])
@pytest.mark.parametrize("preset", ["default", "published"])
def test_local_level_equals_the_formula(preset: str, extra: bool, batch: SiteBatch) -> None:
    encoder, objective = objective_of(preset, extra_negatives=extra)
    roll = preset == "published"
    partner = formula.half_roll(batch.n_sites) if roll else perturb.foreign_sites(batch, generator(3))
    assert len(set(batch.degree.tolist())) > 1
    z, raw = leaf(batch.n_sites, encoder.site_vector_width, seed=1), encoder.raw_sites(batch).double()

    def phi_tuple(q: Tensor) -> Tensor:
        return objective.local_part_out(torch.relu(objective.local_part_in(q)))

    expected = formula.local_objective(
        z,
        formula.neighbourhoods(raw, batch.src, batch.dst, batch.distance),
        batch.owner,
        partner,
        objective.local_whole,
        phi_tuple,
        negatives=formula.LOCAL_NEGATIVES if extra else ("foreign",),
        masks="published" if roll else "common",
    )
    ours = objective.local_loss(z, raw, batch, partner)
    assert_same(ours, expected, [z, *objective.parameters()])


@pytest.mark.parametrize("n_wrong", [0, 3], ids=["foreign only", "four negatives"])
def test_global_level_equals_the_formula(n_wrong: int, batch: SiteBatch) -> None:
    encoder, objective = objective_of("default")
    partner = perturb.foreign_sites(batch, generator(3))
    site = leaf(batch.n_sites, encoder.site_vector_width, seed=1)
    crystal = leaf(batch.n_crystals, encoder.crystal_vector_width, seed=2)
    wrong = [leaf(batch.n_sites, encoder.site_vector_width, seed=4 + k) for k in range(n_wrong)]
    ours = objective.global_loss(crystal, site, {str(k): w for k, w in enumerate(wrong)}, batch, partner)
    expected = formula.global_objective(
        crystal, site, batch.owner, batch.owner[partner], wrong, objective.global_part, objective.global_whole
    )
    assert_same(ours, expected, [site, crystal, *wrong, *objective.parameters()])


@pytest.mark.parametrize("form", ["textbook", "published"])
def test_kl_term_equals_the_formula(form: str) -> None:
    mean, log_variance = leaf(7, 5, seed=1), leaf(7, 5, seed=2)
    expected = formula.kl_term(mean, log_variance, form=form)  # type: ignore[arg-type]
    assert_same(kl_term(mean, log_variance, form), expected, [mean, log_variance])


def test_published_partner_is_half_a_batch_before(batch: SiteBatch) -> None:
    torch.testing.assert_close(perturb.rolled_sites(batch), formula.half_roll(batch.n_sites))


def test_projected_critics_have_the_published_sizes() -> None:
    _, objective = objective_of("default")
    local = [objective.local_whole, objective.local_part_in, objective.local_part_out]
    global_ = [objective.global_whole, objective.global_part]
    count = lambda modules: sum(p.numel() for m in modules for p in m.parameters())  # noqa: E731
    assert count(local) == 19_456
    assert count(global_) == 22_912
    assert count([objective.site_level]) == 2_080
    assert count([objective.crystal_level]) == 4_160
