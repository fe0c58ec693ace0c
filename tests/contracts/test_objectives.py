"""What every objective owes to every encoder: a finite loss that trains it, the same again whenever it is asked."""

from __future__ import annotations

import copy
import functools
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import EncoderCase
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import OBJECTIVES, Objective, denoise, dual, fingerprint, masked, twins
from tests.helpers import encoders
from tests.helpers.build import generator, store_of, with_energies

LEVELS = {
    "infomax": "crystal",
    "masked": "site",
    "denoise": "site",
    "fingerprint": "site",
    "twins": "crystal",
    "dual": "crystal",
    "supervised": "crystal",
}
"""How far an objective trains a network: up to its site vectors, or all of it."""
NEEDS_TWO = {"infomax", "twins", "dual"}
NOTHING_DRAWN = {"supervised"}
NAMED: dict[str, dict[str, Any]] = {"supervised": {"energy": "y"}}
"""Labels that an objective must be told to read."""
RANDOM: dict[str, dict[str, Any]] = {"fingerprint": {"share": 0.3}}
"""Options with which something is drawn."""
BIASED: dict[str, dict[str, Any]] = {"twins": {"batch_norm": False}}
"""Options with which every bias counts; batch norm forgets what is added to all crystals."""
ORDERLESS: dict[str, dict[str, Any]] = {
    # Neighbours exchanged by their place in a list, and noise drawn row by row, depend on the order of the sites.
    "infomax": {"extra_negatives": False, "kl_weight": 0.0},
    "fingerprint": {"share": 0.3},
    "twins": {"dropped_share": 0.0},
}
"""Options with which nothing but what is drawn for each site depends on the order of the sites."""
DRAWN = [
    (masked, "some_sites"),
    (denoise, "displacements"),
    (fingerprint, "some_sites"),
    (twins, "some_sites"),
    (twins, "nudges"),
    (dual, "some_sites"),
    (dual, "nudges"),
]
"""What is drawn for each site."""

ALL_ENCODERS = pytest.mark.parametrize("kind", encoders.ALL, ids=lambda kind: kind.__name__)
pytestmark = [pytest.mark.parametrize("name", sorted(LEVELS)), ALL_ENCODERS]


@functools.cache
def network(kind: type[EncoderCase], dtype: torch.dtype) -> Any:
    """An encoder that is copied and never changed."""
    return kind().make(3, dtype)


def made(
    name: str, kind: type[EncoderCase], dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any
) -> tuple[Any, Objective]:
    """An encoder and an objective for it, in one precision."""
    encoder = copy.deepcopy(network(kind, dtype))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return encoder, OBJECTIVES[name].for_encoder(encoder, "default", {**NAMED.get(name, {}), **options}).to(dtype)


def shown(kind: type[EncoderCase], crystals: list[Crystal], dtype: torch.dtype) -> SiteBatch:
    """The crystals as the encoder reads them, always with geometry, and with energies for the one that reads them."""
    if not issubclass(kind, encoders.SiteNetCase):
        return with_energies(kind().inputs(crystals, dtype))
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(crystals, Path(folder), max_atoms=kind.max_atoms, primitive=kind.primitive)
        return with_energies(store.batch(range(len(crystals)), geometry=True).to("cpu", dtype))


@functools.cache
def usual(kind: type[EncoderCase], dtype: torch.dtype = torch.float32) -> SiteBatch:
    """The usual crystals of an encoder."""
    return shown(kind, kind().crystals(), dtype)


@functools.cache
def reached_from_sites(kind: type[EncoderCase]) -> set[str]:
    """Weights of the encoder that its site vectors depend on."""
    encoder = copy.deepcopy(network(kind, torch.float64))
    site = encoder.encode_sites(usual(kind, torch.float64)).vector  # (N, D)
    (site * torch.randn(site.shape, generator=generator(), dtype=site.dtype)).sum().backward()
    return {key for key, p in encoder.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}


def test_loss_is_finite_and_trains_encoder_and_critics(name, kind):
    encoder, objective = made(name, kind, torch.float64, **BIASED.get(name, {}))
    total, parts = objective.loss(encoder, usual(kind, torch.float64), generator())
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
    wanted = {key for key in size if not key.startswith(unread)}
    if LEVELS[name] == "site":
        own = {key for key in size if key.startswith("objective")}
        wanted &= own | {f"encoder.{key}" for key in reached_from_sites(kind)}
    assert sum(key.startswith("encoder") for key in wanted) > 5
    assert sorted(key for key in wanted if size[key] <= limit) == []
    assert all(p.grad is None for p in encoder.head.parameters()), "the head is trained without labels"


def test_same_generator_same_loss_bit_for_bit(name, kind):
    encoder, objective = made(name, kind, **RANDOM.get(name, {}))
    before = torch.random.get_rng_state()
    losses = [objective.loss(encoder, usual(kind), generator(seed))[0].detach() for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2]) == (name in NOTHING_DRAWN)
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state was used"


def mixed_up(kind: type[EncoderCase]) -> tuple[SiteBatch, torch.Tensor]:
    """The usual crystals with their sites in another order, and the row of each site in the usual batch, (N,)."""
    crystals = kind().crystals()
    rng = np.random.default_rng(0)
    orders = [rng.permutation(crystal.n_sites) for crystal in crystals]
    mixed = [replace(c, numbers=c.numbers[o], frac=c.frac[o]) for c, o in zip(crystals, orders, strict=True)]
    first = np.cumsum([0] + [crystal.n_sites for crystal in crystals])
    rows = torch.from_numpy(np.concatenate([o + f for o, f in zip(orders, first, strict=False)]))
    return shown(kind, mixed, torch.float64), rows


def test_order_of_sites_does_not_matter_for_the_same_draws(name, kind, monkeypatch):
    encoder, objective = made(name, kind, torch.float64, **ORDERLESS.get(name, {}))
    batch = usual(kind, torch.float64)
    shuffled, rows = mixed_up(kind)
    assert torch.equal(batch.number[rows], shuffled.number)
    if name == "infomax":
        drawn = [objective._partner(batch, generator())]
        turned = [torch.argsort(rows)[drawn[0][rows]]]
        places = [(objective, "_partner")]
    else:
        drawn, places = [], DRAWN
        for module, what in places:
            real = getattr(module, what)

            def kept(*args, real=real, **options):
                drawn.append(real(*args, **options))
                return drawn[-1]

            monkeypatch.setattr(module, what, kept)
        objective.loss(encoder, batch, generator())
        assert bool(drawn) == (name not in NOTHING_DRAWN)
        turned = [value[rows] for value in drawn]
    losses = []
    for seen, values in ((batch, drawn), (shuffled, turned)):
        given = iter(values)
        for module, what in places:
            monkeypatch.setattr(module, what, lambda *_, given=given, **__: next(given))
        losses.append(float(objective.loss(encoder, seen, generator())[0].detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


def test_one_crystal_works_or_is_refused_with_a_sentence(name, kind):
    encoder, objective = made(name, kind)
    batch = shown(kind, kind().crystals()[-1:], torch.float32)
    if name in NEEDS_TWO:
        with pytest.raises(InputError, match=r"at least 2 crystals.* Received: 1\."):
            objective.loss(encoder, batch, generator())
    else:
        assert objective.loss(encoder, batch, generator())[0].isfinite()


def test_saved_and_loaded_it_gives_the_same_loss(name, kind):
    encoder, objective = made(name, kind)
    _, other = made(name, kind, seed=1)
    file = io.BytesIO()
    torch.save(objective.state_dict(), file)
    file.seek(0)
    expected, before = (o.loss(encoder, usual(kind), generator())[0].detach() for o in (objective, other))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.loss(encoder, usual(kind), generator())[0].detach(), expected)
    assert not torch.equal(before, expected), "its weights do not matter"


def test_a_few_steps_lower_the_loss(name, kind):
    encoder, objective = made(name, kind)
    # Deep InfoMax starts far away: its critics see raw numbers.
    rate, steps = (3e-3, 10) if name == "infomax" else (1e-4, 5)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        total, _ = objective.loss(encoder, usual(kind), generator())
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]
