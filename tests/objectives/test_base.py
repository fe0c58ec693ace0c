"""Both levels of an encoder for an objective, whichever way the encoder makes them, also of no crystals at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.share import Share
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.objectives.base import Objective, levels, site_vectors
from tests.helpers.objective_formulas import small_batch, small_encoder

SMALL: dict[str, Any] = {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1}


@pytest.fixture(scope="module")
def joined():
    """A network whose crystal vectors are not made from its site vectors alone."""
    network = MatGLNet.new("megnet", seed=0, options=SMALL)
    assert not network.separable
    return network


@pytest.fixture(scope="module")
def geometric(joined):
    return radius_batch(example_crystals()[:3], 4.0).to("cpu", torch.float32)


def test_levels_of_a_separable_network_are_made_one_from_the_other():
    encoder, batch = small_encoder(), small_batch()
    site, crystal, compared = levels(encoder, batch, greedy=False)
    torch.testing.assert_close(site.vector, encoder.encode(batch).site)
    torch.testing.assert_close(crystal.vector, encoder.encode(batch).crystal)
    assert compared is site.vector


def test_greedy_crystals_pass_no_gradient_to_the_sites():
    encoder, batch = small_encoder(), small_batch()
    for greedy in (False, True):
        _, crystal, compared = levels(encoder, batch, greedy=greedy)
        read = dict(encoder.named_parameters())
        names = ["site_vector.weight", "crystal_vector.weight"]
        slopes = torch.autograd.grad(crystal.vector.square().sum(), [read[n] for n in names], allow_unused=True)
        assert slopes[1] is not None and (slopes[0] is None) == greedy
        assert compared.requires_grad != greedy


def test_levels_of_a_joined_network_are_those_it_encodes(joined, geometric):
    site, crystal, compared = levels(joined, geometric, greedy=False)
    encoding = joined.encode(geometric)
    torch.testing.assert_close(crystal.vector, encoding.crystal)
    torch.testing.assert_close(site.vector, encoding.site)
    torch.testing.assert_close(compared, site_vectors(joined, geometric))


def test_a_process_without_crystals_takes_part_with_no_rows(joined):
    """MatGL's networks do not run on none; rows that want a gradient take part where all hand theirs back."""
    one = radius_batch(example_crystals()[:1], 4.0).to("cpu", torch.float32)
    empty = min((Share.of(one, rank, 2).own for rank in range(2)), key=lambda batch: batch.n_crystals)
    assert (empty.n_crystals, empty.n_sites) == (0, 0)
    site, crystal, compared = levels(joined, empty, greedy=False)
    assert site.hidden.shape == (0, joined.site_hidden_width) and compared.shape == (0, joined.site_vector_width)
    assert crystal.hidden.shape == (0, joined.crystal_hidden_width)
    assert crystal.vector.shape == (0, joined.crystal_vector_width) and crystal.vector.requires_grad
    assert site_vectors(joined, empty).shape == compared.shape
    with torch.no_grad():
        assert not site_vectors(joined, empty).requires_grad


def test_half_precision_is_lifted_before_vectors_are_compared():
    encoder, batch = small_encoder(), small_batch()

    class Half:
        separable = False

        def encode_levels(self, batch):
            one = encoder.encode_levels(batch)
            return tuple(replace(level, vector=level.vector.bfloat16()) for level in one)

    assert levels(Half(), batch, greedy=False)[2].dtype == torch.float32


def test_an_objective_asks_for_nothing_and_has_nothing_to_tell_unless_it_says_so():
    class Zero(Objective):
        @classmethod
        def for_encoder(cls, encoder, preset, options):
            return cls()

        def loss(self, encoder, batch, generator, share=None):
            return torch.zeros(()), {}

    plain = Zero.for_encoder(None, "", {})
    assert (plain.view, plain.geometry, plain.asks, plain.columns, plain.learns) == ("full", False, None, None, set())
    assert plain.diagnose(small_batch(), torch.Generator()) == {}
    with pytest.raises(TypeError, match="abstract"):
        Objective()
