"""Masked elements: the loss from its formula, what a blind guess costs, and what needs no network."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.share import Share
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import masked
from matgl_infomax.objectives.masked import ELEMENT_CLASSES, element_head, guessed
from tests.helpers.build import generator
from tests.helpers.objective_formulas import (
    CLOSE,
    cross_entropy,
    made,
    mean_of_crystals,
    recorded,
    rows_of,
    small_batch,
    small_encoder,
)


def test_loss_is_the_cross_entropy_of_hidden_elements(monkeypatch):
    encoder, batch = small_encoder(), small_batch()
    objective = made("masked", encoder, share=0.4)
    kept = recorded(monkeypatch, masked, "some_sites", "with_hidden")
    loss, parts = objective.loss(encoder, batch, generator())
    hidden, score = kept["some_sites"][0], objective.guess(encoder.encode_sites(kept["with_hidden"][0]).vector)
    expected = mean_of_crystals(lambda i: cross_entropy(score[i], int(batch.number[i])), hidden, batch)
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)
    right = mean_of_crystals(lambda i: float(int(score[i].argmax()) == int(batch.number[i])), hidden, batch)
    assert float(parts["right"]) == pytest.approx(right, **CLOSE)


def test_the_network_is_not_told_what_is_asked(monkeypatch):
    """The element of a hidden site changes nothing of what the network says; that of another site does."""
    encoder, batch = small_encoder(), small_batch()
    kept = recorded(monkeypatch, masked, "with_hidden")
    made("masked", encoder, share=0.4).loss(encoder, batch, generator())
    shown = kept["with_hidden"][0]
    told = encoder.encode_sites(shown).vector
    for sites, silent in ((shown.hidden, True), (~shown.hidden, False)):
        other = replace(shown, number=torch.where(sites, 26, shown.number))
        assert torch.equal(encoder.encode_sites(other).vector, told) == silent


@pytest.mark.parametrize("hidden_width", [0, 64])
def test_a_blind_guess_costs_the_logarithm_of_the_number_of_classes(hidden_width):
    encoder, batch = small_encoder(), small_batch()
    head = element_head(encoder, hidden_width).double()
    assert len(head.hidden) == (1 if hidden_width else 0) and head.out.out_features == ELEMENT_CLASSES == 119
    for parameter in head.out.parameters():
        torch.nn.init.zeros_(parameter)
    vectors = torch.ones(batch.n_sites, encoder.site_vector_width, dtype=torch.float64)
    hidden = torch.ones(batch.n_sites, dtype=torch.bool)
    loss, right = guessed(head, vectors, hidden, Share.of(batch))
    assert float(loss.detach()) == pytest.approx(math.log(119))
    assert float(right) == 0.0, "of equal scores the first counts, and number 0 is no element"


def test_nothing_hidden_costs_nothing():
    """A one-atom cell alone has nothing that can be told from its surroundings."""
    copper = Crystal("Cu", [29], 3.61 * torch.eye(3).numpy(), [[0.0, 0.0, 0.0]])
    batch = radius_batch([copper], 4.0)
    encoder = small_encoder()
    loss, parts = made("masked", encoder).loss(encoder, batch, generator())
    assert float(loss.detach()) == 0.0 and float(parts["right"]) == 0.0
    alone, _ = made("masked", encoder, single=True).loss(encoder, batch, generator())
    assert float(alone.detach()) > 0.0


def test_commonest_element_of_the_rest_needs_no_network(monkeypatch):
    """Of SrTiO3 an oxygen is guessed where two others stay: shares written out site by site."""
    batch, objective = small_batch(), made("masked", SiteNet.from_preset("compact", seed=0), share=0.4)
    kept = recorded(monkeypatch, masked, "some_sites")
    found = objective.diagnose(batch, generator(5))
    hidden = kept["some_sites"][0]

    def right(i):
        rest = [int(batch.number[j]) for j in rows_of(batch, int(batch.owner[i])) if not hidden[j]]
        most = max(rest.count(z) for z in rest)
        return float(min(z for z in rest if rest.count(z) == most) == int(batch.number[i]))

    assert found == {"commonest": pytest.approx(mean_of_crystals(right, hidden, batch))}
    assert 0.0 < found["commonest"] < 1.0
