"""What every objective owes to every encoder: a finite loss that trains it, the same again whenever it is asked."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import EncoderCase
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import OBJECTIVES, Objective
from tests.build import generator
from tests.contracts import encoders

ORDERLESS: dict[str, dict[str, Any]] = {
    # Neighbours exchanged by their place in a list, and noise drawn row by row, depend on the order of the sites.
    "infomax": {"extra_negatives": False, "kl_weight": 0.0},
}
"""Options with which nothing but the partners depends on the order of the sites."""

pytestmark = [
    pytest.mark.parametrize("name", sorted(OBJECTIVES)),
    pytest.mark.parametrize("kind", encoders.ALL, ids=lambda kind: kind.__name__),
]


def made(
    name: str, kind: type[EncoderCase], dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any
) -> tuple[Any, Objective]:
    """An encoder and an objective for it, in one precision."""
    encoder = kind().make(3, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return encoder, OBJECTIVES[name].for_encoder(encoder, "default", options).to(dtype)


def test_loss_is_finite_and_trains_encoder_and_critics(name, kind):
    encoder, objective = made(name, kind, torch.float64)
    total, parts = objective.loss(encoder, kind().inputs(kind().crystals()), generator())
    assert total.shape == () and total.isfinite()
    assert all(value.isfinite() and not value.requires_grad for value in parts.values())
    total.backward()
    networks = {"encoder": encoder, "objective": objective}
    size = {
        f"{owner}.{key}": 0.0 if p.grad is None else float(p.grad.abs().max())
        for owner, network in networks.items()
        for key, p in network.named_parameters()
    }
    limit = 1e-11 * max(size.values())
    unread = tuple(f"encoder.{key}" for key in ("head.", *kind.unread))
    assert [key for key, value in size.items() if value <= limit and not key.startswith(unread)] == []
    assert all(p.grad is None for p in encoder.head.parameters()), "the head is trained without labels"


def test_same_generator_same_loss_bit_for_bit(name, kind):
    encoder, objective = made(name, kind)
    batch = kind().inputs(kind().crystals(), torch.float32)
    before = torch.random.get_rng_state()
    losses = [objective.loss(encoder, batch, generator(seed))[0].detach() for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state was used"


def test_order_of_sites_does_not_matter_for_the_same_partners(name, kind, monkeypatch):
    encoder, objective = made(name, kind, torch.float64, **ORDERLESS[name])
    crystals = kind().crystals()
    rng = np.random.default_rng(0)
    orders = [rng.permutation(crystal.n_sites) for crystal in crystals]
    mixed = [replace(c, numbers=c.numbers[o], frac=c.frac[o]) for c, o in zip(crystals, orders, strict=True)]
    first = np.cumsum([0] + [crystal.n_sites for crystal in crystals])
    rows = torch.from_numpy(np.concatenate([o + f for o, f in zip(orders, first, strict=False)]))
    batch, shuffled = kind().inputs(crystals), kind().inputs(mixed)
    assert torch.equal(batch.number[rows], shuffled.number)

    partner, other = (objective._partner(batch, generator(seed)) for seed in (0, 5))
    losses = []
    for shown, given in ((batch, partner), (shuffled, torch.argsort(rows)[partner[rows]]), (batch, other)):
        monkeypatch.setattr(objective, "_partner", lambda *_, given=given: given)
        losses.append(float(objective.loss(encoder, shown, generator())[0].detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert losses[2] != pytest.approx(losses[0], rel=1e-9), "the partners do not matter at all"


def test_one_crystal_is_refused_with_a_sentence(name, kind):
    encoder, objective = made(name, kind)
    with pytest.raises(InputError, match=r"at least 2 crystals.* Received: 1\."):
        objective.loss(encoder, kind().inputs(kind().crystals()[-1:], torch.float32), generator())


def test_saved_and_loaded_it_gives_the_same_loss(name, kind):
    encoder, objective = made(name, kind)
    _, other = made(name, kind, seed=1)
    batch = kind().inputs(kind().crystals(), torch.float32)
    file = io.BytesIO()
    torch.save(objective.state_dict(), file)
    file.seek(0)
    expected, before = (o.loss(encoder, batch, generator())[0].detach() for o in (objective, other))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.loss(encoder, batch, generator())[0].detach(), expected)
    assert not torch.equal(before, expected), "its weights do not matter"


def test_a_few_steps_lower_the_loss(name, kind):
    encoder, objective = made(name, kind)
    batch = kind().inputs(kind().crystals(), torch.float32)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=3e-3)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        total, _ = objective.loss(encoder, batch, generator())
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]
