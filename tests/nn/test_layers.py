"""Building blocks: each against the formula written out, in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matgl_infomax.errors import InputError
from matgl_infomax.nn.kernels import plain_formulas
from matgl_infomax.nn.layers import BondLayer, Head, Layer, TransparentReLU, physical, segment_softmax, stack
from tests.helpers.build import generator


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def standardised(x):
    """Mean zero and variance one of each row, the epsilon of a layer norm added."""
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def test_a_layer_is_the_same_layer():
    layer = Layer(12, 20, "mish")
    x = torch.randn(9, 12, generator=generator())
    compiled = layer(x)
    with plain_formulas():
        torch.testing.assert_close(compiled, layer(x), rtol=1e-5, atol=1e-5)
    assert layer(x.view(3, 3, 12)).shape == (3, 3, 20)


def test_layer_is_linear_then_activation_then_norm():
    layer, x = Layer(4, 6, "relu").double(), drawn(5, 4)
    torch.nn.init.uniform_(layer.norm.weight, 1, 2)
    torch.nn.init.uniform_(layer.norm.bias, 1, 2)
    weight, bias, scale, shift = (
        p.detach().numpy() for p in (layer.linear.weight, layer.linear.bias, layer.norm.weight, layer.norm.bias)
    )
    expected = standardised(np.maximum(x.numpy() @ weight.T + bias, 0)) * scale + shift
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-9)


def test_bond_layer_is_a_layer_on_the_bond_vector():
    bond, layer = BondLayer(3, 2, 7, "mish").double(), Layer(8, 7, "mish").double()
    layer.load_state_dict(bond.state_dict())
    site, pair, src, dst = (
        drawn(4, 3),
        drawn(5, 2, seed=1),
        torch.tensor([0, 0, 1, 3, 3]),
        torch.tensor([1, 2, 1, 0, 3]),
    )
    torch.testing.assert_close(bond(site, pair, src, dst), layer(torch.cat([site[src], site[dst], pair], dim=1)))
    none = torch.empty(0, dtype=torch.long)
    assert bond(site, pair[:0], none, none).shape == (0, 7)


def test_stack_of_no_widths_is_the_identity():
    x = drawn(3, 4)
    assert stack(4, [], "relu")(x) is x
    assert [layer.linear.weight.shape for layer in stack(4, [5, 2], "relu")] == [(5, 4), (2, 5)]


def test_segment_softmax_of_each_segment():
    """Segments of three, one and no rows, in no order; copies count as often as they say."""
    logits, segment, copies = drawn(4, 2), torch.tensor([2, 0, 2, 2]), torch.tensor([1, 1, 4, 1])
    found = segment_softmax(logits, segment, 3, copies).numpy()
    raw = np.exp(logits.numpy()) * copies.numpy()[:, None]
    np.testing.assert_allclose(found[[0, 2, 3]], raw[[0, 2, 3]] / raw[[0, 2, 3]].sum(0))
    np.testing.assert_allclose(found[1], 1.0)
    repeated = segment_softmax(logits[[0, 1, 2, 2, 2, 2, 3]], segment[[0, 1, 2, 2, 2, 2, 3]], 3)
    np.testing.assert_allclose(found[2], 4 * repeated[2])


def test_segment_softmax_does_not_overflow_and_lifts_half_precision():
    logits = torch.tensor([[1e4], [1e4 - 1.0]])
    found = segment_softmax(logits, torch.tensor([0, 0]), 1)
    assert float(found[0]) == pytest.approx(1 / (1 + math.exp(-1)))
    assert segment_softmax(logits.bfloat16(), torch.tensor([0, 0]), 1).dtype == torch.float32


def test_transparent_relu_cuts_forward_and_passes_everything_backward():
    y = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    out = TransparentReLU.apply(y)
    (out * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert out.tolist() == [0.0, 0.0, 3.0] and y.grad.tolist() == [1.0, 2.0, 3.0]


def test_physical_units_and_probabilities():
    scaled, mean, std = torch.tensor([[0.0, 1.0]]), torch.tensor([5.0, -1.0]), torch.tensor([2.0, 3.0])
    assert physical(scaled, mean, std, "identity").tolist() == [[5.0, 2.0]]
    found = physical(scaled, torch.zeros(2), torch.ones(2), "probability")
    assert found[0].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])


def test_head_is_a_network_without_norms():
    head, x = Head(3, [4], 2, "relu").double(), drawn(5, 3)
    first, out = head.hidden[0], head.out
    hidden = np.maximum((x @ first.weight.T + first.bias).detach().numpy(), 0)
    np.testing.assert_allclose(head(x).detach(), hidden @ out.weight.detach().numpy().T + out.bias.detach().numpy())
    linear = Head(3, [], 2, "relu")
    assert len(linear.hidden) == 0 and linear.out.in_features == 3


@pytest.mark.parametrize(
    "kind", [Layer, lambda a, b, name: BondLayer(a, a, b, name), lambda a, b, n: Head(a, [], b, n)]
)
def test_an_unknown_activation_is_refused(kind):
    with pytest.raises(InputError, match=r"Unknown activation 'tanh'\. Choose one of: mish, relu, silu\."):
        kind(2, 3, "tanh")
