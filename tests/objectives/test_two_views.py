"""Five ways to say that two views agree: loops from the formulas, known values, and the projector."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import relu

from matgl_infomax.errors import InputError
from matgl_infomax.objectives import two_views
from tests.helpers.build import generator
from tests.helpers.objective_formulas import CLOSE, barlow, contrast, cos


@pytest.fixture
def pair():
    drawn = torch.randn(2, 7, 5, generator=generator(), dtype=torch.float64)
    return drawn[0], drawn[0] + 0.5 * drawn[1]


def test_losses_of_agreement(pair):
    a, b = (z.numpy() for z in pair)
    assert float(two_views.barlow_twins(*pair, 0.0051)) == pytest.approx(barlow(a, b, 0.0051), **CLOSE)
    assert float(two_views.nt_xent(*pair, 0.1)) == pytest.approx(contrast(a, b, 0.1), **CLOSE)
    mean = np.mean([1 - cos(u, v) for u, v in zip(a, b, strict=True)])
    assert float(two_views.cosine(*pair)) == pytest.approx(mean, **CLOSE)
    told = [2 * z + 0.3 for z in pair]
    expected = -0.5 * np.mean(
        [cos(p, z) + cos(q, y) for p, q, y, z in zip(told[0].numpy(), told[1].numpy(), a, b, strict=True)]
    )
    assert float(two_views.simsiam(*pair, *told)) == pytest.approx(expected, **CLOSE)


def test_simsiam_passes_no_gradient_to_what_is_to_be_told(pair):
    one, other = (z.clone().requires_grad_() for z in pair)
    two_views.simsiam(one, other, one.detach() * 2, other.detach() * 2).requires_grad_().backward()
    assert one.grad is None and other.grad is None


def test_known_values_of_agreement():
    """Equal views cost nothing by the cosine; one vector for all costs ln(2 B - 1), and 1 by Barlow Twins."""
    eye = torch.eye(6, dtype=torch.float64)
    assert float(two_views.cosine(eye, 3 * eye)) == pytest.approx(0.0, abs=1e-12)
    assert float(two_views.nt_xent(eye, eye, 1.0)) == pytest.approx(math.log(math.e + 10) - 1)
    same = torch.ones(6, 4, dtype=torch.float64)
    assert float(two_views.nt_xent(same, same, 0.1)) == pytest.approx(math.log(11))
    assert float(two_views.barlow_twins(same, same, 0.0051)) == pytest.approx(1.0), "one vector for all is no solution"


def test_standardised_columns_have_mean_zero_and_variance_one(pair):
    found = two_views.standardised(100 * pair[0] + 7).numpy()
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.var(0), 1, rtol=1e-5)
    assert not two_views.standardised(torch.full((4, 2), 3.0)).any(), (
        "a column that says nothing is not divided by zero"
    )


def test_projector_normalises_before_each_activation_but_not_after_the_last_layer(pair):
    torch.manual_seed(0)
    project = two_views.Projector([5, 6, 3], "relu", batch_norm=True, shifted=False).double()
    assert project.layers[0].bias is None, "batch norm would forget it"
    assert project.layers[1].bias is None and len(project.norms) == 1
    hidden = pair[0] @ project.layers[0].weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    expected = relu(hidden * project.norms[0].weight + project.norms[0].bias) @ project.layers[1].weight.T
    torch.testing.assert_close(project(pair[0]), expected)
    torch.testing.assert_close(project.eval()(pair[0]), expected), "a loss depends on no batch before it"


def test_projector_of_one_width_is_the_identity(pair):
    project = two_views.Projector([5], "mish", batch_norm=True)
    assert project(pair[0]) is pair[0] and not list(project.parameters())


def test_one_crystal_has_nothing_to_differ_from():
    two_views.at_least_two(2, "The contrast barlow")
    with pytest.raises(InputError, match=r"The contrast barlow needs at least 2 crystals per batch.*Received: 1\."):
        two_views.at_least_two(1, "The contrast barlow")


def test_products_stay_precise_where_layers_calculate_in_half_precision(pair):
    single = [z.float() for z in pair]
    plain = two_views.barlow_twins(*single, 0.0051)
    with torch.autocast("cpu", torch.bfloat16):
        found = two_views.barlow_twins(*single, 0.0051)
        assert found.dtype == torch.float32 and float(found) == pytest.approx(float(plain), rel=1e-6)
