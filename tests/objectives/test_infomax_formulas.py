"""The Deep InfoMax formulas agree with themselves: known values at the ends, and what the masks change."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.helpers.infomax_reference import (
    LOCAL_NEGATIVES,
    UNINFORMED,
    global_objective,
    half_roll,
    kl_term,
    local_objective,
    neighbourhoods,
    shown_mixture,
    shown_truth,
)

F64 = torch.float64
OWNER = torch.tensor([0, 0, 1, 2, 2, 2])
DEGREE = torch.tensor([4, 4, 3, 6, 6, 6])
PARTNER = torch.tensor([2, 3, 4, 0, 1, 2])


def random_hoods(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    src = torch.arange(6).repeat_interleave(DEGREE)
    dst = torch.randint(6, (len(src),), generator=generator)
    feature = torch.randn(6, 2, generator=generator, dtype=F64)
    return neighbourhoods(feature, src, dst, torch.rand(len(src), generator=generator, dtype=F64) * 5)


def constant(value: float) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.full((1,), value, dtype=F64)


@pytest.mark.parametrize("negatives", [("foreign",), LOCAL_NEGATIVES], ids=["one type", "three types"])
def test_local_is_2_log_2_when_all_scores_are_zero(negatives: tuple[str, ...]) -> None:
    loss = local_objective(
        torch.randn(6, 3, dtype=F64), random_hoods(), OWNER, PARTNER, constant(0), constant(1), negatives=negatives
    )
    assert float(loss) == pytest.approx(UNINFORMED)


def test_global_is_2_log_2_when_all_scores_are_zero() -> None:
    site, crystal = torch.randn(6, 3, dtype=F64), torch.randn(3, 4, dtype=F64)
    loss = global_objective(crystal, site, OWNER, OWNER[PARTNER], [site, site], constant(1), constant(0))
    assert float(loss) == pytest.approx(UNINFORMED)


def test_local_vanishes_at_perfect_separation() -> None:
    # The site vector names its crystal, and so do the features and the distances of its neighbours.
    z = torch.eye(3, dtype=F64)[OWNER]
    code = torch.arange(3, dtype=F64)
    hoods = [(code[c].repeat(int(n), 1), code[c].repeat(int(n))) for c, n in zip(OWNER, DEGREE, strict=True)]

    def phi_tuple(q: Tensor) -> Tensor:
        own = torch.eye(3, dtype=F64)[int(q[0])] if q[0] == q[1] else torch.zeros(3, dtype=F64)
        return 100 * (2 * own - 1)

    loss = local_objective(z, hoods, OWNER, PARTNER, lambda v: v, phi_tuple)
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_global_vanishes_at_perfect_separation() -> None:
    crystal = torch.eye(3, dtype=F64)
    site = crystal[OWNER]
    wrong = torch.zeros(6, 3, dtype=F64)
    loss = global_objective(crystal, site, OWNER, OWNER[PARTNER], [wrong], lambda v: 100 * (2 * v - 1), lambda v: v)
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_crystals_count_equally_whatever_their_size() -> None:
    # Only the site of the one-site crystal scores at all, -1 everywhere: its crystal is a third of the loss.
    z = (OWNER == 1).to(F64)[:, None]
    loss = local_objective(z, random_hoods(), OWNER, PARTNER, lambda v: v, constant(-1), negatives=("foreign",))
    single = math.log1p(math.e) + math.log1p(1 / math.e)
    assert float(loss) == pytest.approx((2 * UNINFORMED + single) / 3)


def test_weights_of_every_correct_mask_sum_to_one() -> None:
    long, short = random_hoods()[3], random_hoods()[2]
    for shown in (shown_truth(long), shown_mixture(long, short, "common", 0), shown_mixture(short, long, "common", 0)):
        assert float(shown[2].sum()) == pytest.approx(1)
    assert len(shown_mixture(long, short, "common", 0)[1]) == 3


def test_published_masks_leak_when_sizes_differ_and_only_then() -> None:
    hoods = random_hoods()
    long, short, other = hoods[3], hoods[2], hoods[4]
    leaky = shown_mixture(long, short, "published", valid=6)
    assert len(leaky[1]) == 6
    assert (leaky[1][3:] == 0).all()
    assert float(leaky[2].sum()) > 1
    cut = shown_mixture(short, long, "published", valid=3)
    assert len(cut[1]) == 3
    assert float(cut[2].sum()) < 1
    for ours, theirs in zip(
        shown_mixture(long, other, "published", valid=6), shown_mixture(long, other, "common", valid=6), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_both_kl_forms_are_least_at_the_unit_gaussian() -> None:
    zero = torch.zeros(3, 4, dtype=F64)
    assert float(kl_term(zero, zero)) == 0
    assert float(kl_term(zero, zero, form="published")) == 1
    mean, log_variance = (torch.zeros(3, 4, dtype=F64, requires_grad=True) for _ in range(2))
    for form in ("textbook", "published"):
        gradient = torch.autograd.grad(kl_term(mean, log_variance, form=form), [mean, log_variance])
        assert not any(g.any() for g in gradient), form
    shifted = torch.ones(3, 4, dtype=F64)
    assert float(kl_term(shifted, shifted)) == pytest.approx((torch.e - 1) / 2)
    assert float(kl_term(shifted, shifted, form="published")) == pytest.approx(torch.e - 0.5)


def test_half_roll_pairs_the_halves() -> None:
    torch.testing.assert_close(half_roll(6), torch.tensor([3, 4, 5, 0, 1, 2]))
    assert sorted(half_roll(7).tolist()) == list(range(7))
