"""Spread and effective rank: known values, and where collapse begins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matgl_infomax.objectives.base import collapsed, effective_rank, spread, spread_of
from tests.helpers.build import generator


def test_spread_from_its_formula():
    vectors = torch.randn(9, 4, generator=generator())
    unit = vectors.numpy() / np.linalg.norm(vectors.numpy(), axis=1, keepdims=True)
    assert spread(vectors) == pytest.approx(unit.std(axis=0).mean() * math.sqrt(4), rel=1e-5)


def test_spread_is_one_for_all_directions_and_zero_for_one():
    everywhere = torch.cat([torch.eye(8), -torch.eye(8)])
    assert spread(everywhere) == pytest.approx(1.0)
    lengths = torch.arange(1.0, 6.0)[:, None] * torch.ones(1, 8)
    assert spread(lengths) == pytest.approx(0.0, abs=1e-6), "one direction of many lengths is one vector"


def test_spread_keeps_no_gradient():
    assert not spread_of(torch.ones(3, 2, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("vectors", "rank"),
    [
        (torch.cat([torch.eye(3), -torch.eye(3)]), 3.0),
        (torch.arange(5.0)[:, None] * torch.tensor([[1.0, -2.0, 0.5]]), 1.0),
        (torch.ones(4, 3), 1.0),
        (torch.ones(1, 3), 1.0),
    ],
    ids=["three equal axes", "a line", "one point", "one row"],
)
def test_effective_rank_of_known_shapes(vectors, rank):
    assert effective_rank(vectors) == pytest.approx(rank, abs=1e-5)


def test_effective_rank_is_the_exponential_of_the_entropy_of_singular_values():
    """Roy and Vetterli 2007: shares 2/3 and 1/3."""
    vectors = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert effective_rank(vectors) == pytest.approx(math.exp(entropy))
    assert effective_rank(vectors + 100) == pytest.approx(math.exp(entropy), rel=1e-5), "the mean counts for nothing"


def test_what_counts_as_collapsed():
    drawn = torch.randn(8, 5, generator=generator())
    assert not collapsed(drawn)
    assert collapsed(torch.ones(8, 5) + 1e-3 * drawn)
    line = torch.linspace(-1, 1, 8)[:, None] * torch.ones(1, 5)
    assert spread(line) > 0.5 and collapsed(line), "opposite directions spread widely, and are a line all the same"
    assert not collapsed(line[[0, 4, 7]]), "three crystals hardly span more than a line"
