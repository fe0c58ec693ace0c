"""The compiled local critic against its formula."""

from __future__ import annotations

import pytest
import torch

from matgl_infomax.nn.kernels import plain_formulas
from matgl_infomax.objectives.infomax_critic import Critic, Shown, near_first
from tests.helpers.build import generator


def shown(n: int, n_shown: int, m: int) -> Shown:
    g = generator(4)
    receiver = torch.randint(0, n, (m,), generator=g).sort().values
    distance = 5 * torch.rand(m, generator=g)
    return Shown(receiver, torch.randint(0, n_shown, (m,), generator=g), distance, near_first(distance, receiver, n))


def critic(n: int, n_shown: int, width: int, scale: float = 1.0) -> Critic:
    g = generator(5)
    shapes = ((n, width), (n,), (n_shown, width), (width,))
    return Critic(*((scale * torch.randn(s, generator=g)).requires_grad_() for s in shapes))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("scale", [0.3, 30.0])
def test_compiled_equals_formula(sign, scale):
    found, pairs = critic(20, 30, 33, scale), shown(20, 30, 500)
    gradient = torch.randn(20, generator=generator(6))
    values, grads = [], []
    for plain in (False, True):
        for x in vars(found).values():
            x.grad = None
        if plain:
            with plain_formulas():
                value = found.loss(pairs, sign)
        else:
            value = found.loss(pairs, sign)
        value.backward(gradient)
        values.append(value.detach())
        grads.append([x.grad.clone() for x in vars(found).values()])
    torch.testing.assert_close(values[0], values[1], rtol=2e-5, atol=1e-5)
    for ours, formula in zip(*grads, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-4, atol=1e-4 * float(formula.abs().max()))


def test_weights_near_first():
    pairs = shown(20, 30, 500)
    with plain_formulas():
        formula = near_first(pairs.distance, pairs.receiver, 20)
    torch.testing.assert_close(pairs.weight, formula)
    total = torch.zeros(20).index_add(0, pairs.receiver, pairs.weight)
    torch.testing.assert_close(total, torch.ones(20))


def test_a_share_of_the_sites_is_asked_the_same():
    found, pairs = critic(20, 30, 8), shown(20, 30, 300)
    whole = found.loss(pairs, 1.0)
    part = Critic(found.query[5:12], found.bias[5:12], found.element, found.by_distance)
    torch.testing.assert_close(part.loss(pairs.to(slice(5, 12)), 1.0), whole[5:12])
