"""A hidden element is hidden: whatever it is, no network and no vector can tell."""

from __future__ import annotations

from dataclasses import replace

import torch

from matgl_infomax.objectives.perturb import some_sites, with_hidden
from tests.contracts.test_objectives import ALL_ENCODERS, network, usual
from tests.helpers.build import generator

OTHERS = torch.tensor([1, 6, 26, 50, 79])


@ALL_ENCODERS
@torch.no_grad()
def test_no_vector_depends_on_a_hidden_element(kind):
    encoder, batch = network(kind, torch.float32), usual(kind)
    hidden = some_sites(batch, 0.4, generator(), single=True)
    view = with_hidden(batch, hidden)
    expected = encoder.encode(view)
    for seed in range(3):
        drawn = OTHERS[torch.randint(len(OTHERS), (batch.n_sites,), generator=generator(seed))]
        other = replace(view, number=torch.where(hidden, drawn, batch.number))
        found = encoder.encode(other)
        assert torch.equal(found.site, expected.site)
        assert torch.equal(found.crystal, expected.crystal)


@ALL_ENCODERS
@torch.no_grad()
def test_shown_elements_are_still_read_and_hiding_matters(kind):
    encoder, batch = network(kind, torch.float32), usual(kind)
    hidden = some_sites(batch, 0.4, generator())
    view = with_hidden(batch, hidden)
    first = int(torch.nonzero(~hidden)[0])
    number = batch.number.clone()
    number[first] = 26
    assert not torch.equal(encoder.encode(replace(view, number=number)).site, encoder.encode(view).site)
    assert not torch.equal(encoder.encode(view).site, encoder.encode(batch).site)
    nobody = encoder.encode(with_hidden(batch, torch.zeros_like(hidden)))
    torch.testing.assert_close(nobody.site, encoder.encode(batch).site)
