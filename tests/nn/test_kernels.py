"""Compiled loops over rows against torch and plain loops: activation and norm, equal rows, attention."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from matgl_infomax.errors import InputError
from matgl_infomax.nn.kernels import (
    ACTIVATION_CODES,
    ACTIVATIONS,
    Standardise,
    activation_named,
    attend,
    attend_backward,
    compiled_for,
    distinct_rows,
    kernels_for,
    plain_formulas,
)
from tests.helpers.build import generator


def test_what_is_compiled_and_what_is_not():
    single = torch.zeros(2, 2)
    assert compiled_for(single)
    assert not compiled_for(single.double())
    assert not compiled_for(single, torch.zeros(1, requires_grad=True))
    with plain_formulas():
        assert not compiled_for(single)
    assert compiled_for(single)
    with torch.autocast("cpu", torch.bfloat16):
        assert not compiled_for(single)


@pytest.mark.parametrize("name", ACTIVATION_CODES)
def test_activation_and_norm_against_torch(name):
    x = 8 * torch.randn(64, 37, generator=generator(1))
    x[0] = 0.0
    x[1] = torch.linspace(-100, 100, 37)
    exact = x.double().requires_grad_()
    expected = functional.layer_norm(ACTIVATIONS[name](exact), (37,))
    single = x.clone().requires_grad_()
    found = Standardise.apply(single, name)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn(64, 37, generator=generator(2))
    expected.backward(grad.double())
    found.backward(grad)
    # A row of zeros has the largest factor that the epsilon allows.
    torch.testing.assert_close(single.grad.double(), exact.grad, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ACTIVATION_CODES)
def test_no_number_stays_no_number(name):
    """A network that has diverged must show it."""
    x = torch.ones(3, 8)
    x[1, 4] = torch.nan
    out = Standardise.apply(x, name)
    assert out[1].isnan().all() and not out[0].isnan().any() and not out[2].isnan().any()


def test_distinct_rows_are_found():
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 5, (400, 2)).astype(np.float32)
    first, index = distinct_rows(raw)
    assert len(first) == len(np.unique(raw, axis=0))
    np.testing.assert_array_equal(raw[first][index], raw)
    assert (np.diff(first) > 0).all()
    assert len(distinct_rows(np.empty((0, 1), np.float32))[0]) == 0


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match=r"gelu.*relu, mish, silu"):
        kernels_for("gelu", False)


def test_an_unknown_activation_has_no_formula():
    with pytest.raises(InputError, match=r"gelu.*mish, relu, silu"):
        activation_named("gelu")


@pytest.mark.parametrize("name", ACTIVATION_CODES)
def test_groups_of_columns_are_normalised_apart(name):
    """Two groups of three and five columns, as for logits and values of one bond vector."""
    x = 3 * torch.randn(6, 8, generator=generator(4))
    out, factor = np.empty((6, 8), np.float32), np.empty((6, 2), np.float32)
    kernels_for(name, False).standardise(x.numpy().copy(), np.array([0, 3, 8]), out, factor)
    active = ACTIVATIONS[name](x)
    expected = torch.cat([functional.layer_norm(part, part.shape[1:]) for part in active.split([3, 5], dim=1)], dim=1)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_a_bond_is_its_own_term_and_those_of_its_two_sites(shared):
    rng = np.random.default_rng(0)
    src, dst = np.array([0, 0, 1, 2]), np.array([1, 2, 0, 2])
    own, other = rng.normal(size=(2, 3, 5)).astype(np.float32)
    table, index = rng.normal(size=(2, 5)).astype(np.float32), np.array([0, 1, 1, 0])
    pair = table[index]
    x = np.full((4, 5), 99, np.float32) if shared else pair.copy()
    out, factor = np.empty((4, 5), np.float32), np.empty((4, 1), np.float32)
    used = index if shared else np.empty(0, np.int64)
    kernels_for("silu", False).bond_layer(x, table, used, own, other, src, dst, np.array([0, 5]), out, factor)
    hidden = functional.silu(torch.from_numpy(pair + own[src] + other[dst]))
    np.testing.assert_allclose(out, functional.layer_norm(hidden, (5,)), rtol=1e-4, atol=1e-4)


def plain_attention(logits, value, copies, first):
    """Softmax and weighted sum receiver by receiver, in torch, (R, H * V)."""
    rows = []
    for a, b in pairwise(first):
        weight = logits[a:b].exp() * copies[a:b, None]
        weight = weight / weight.sum(0) if b > a else weight  # (M, H)
        rows.append((weight.unsqueeze(2) * value[a:b].unsqueeze(1)).sum(0).flatten())
    return torch.stack(rows)


def test_attention_and_its_gradients_are_those_of_a_plain_softmax():
    """Receivers with three, no and two pairs, some of which stand for several."""
    logits, value = (torch.randn(5, n, generator=generator(n)).double().requires_grad_() for n in (2, 3))
    copies, first = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0]), [0, 3, 3, 5]
    expected = plain_attention(logits, value, copies.double(), first)
    given = [x.detach().float().numpy() for x in (logits, value)]
    out = np.full((3, 6), 7, np.float32)
    attend(*given, copies.numpy(), np.array(first), out)
    np.testing.assert_allclose(out, expected.detach(), rtol=1e-5, atol=1e-6)
    assert not out[1].any(), "a receiver without pairs gathers nothing"
    grad = torch.randn(3, 6, generator=generator(9))
    expected.backward(grad.double())
    slopes = [np.full_like(x, 7) for x in given]
    attend_backward(grad.numpy(), *given, copies.numpy(), np.array(first), *slopes)
    for found, exact in zip(slopes, (logits.grad, value.grad), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_attention_does_not_overflow():
    logits, value = np.array([[1e4], [1e4 - 1]], np.float32), np.array([[1.0], [2.0]], np.float32)
    out = np.empty((1, 1), np.float32)
    attend(logits, value, np.ones(2, np.float32), np.array([0, 2]), out)
    share = 1 / (1 + np.exp(-1.0))
    assert float(out[0, 0]) == pytest.approx(share + 2 * (1 - share), rel=1e-5)
