"""The training steps that are compared: everything between a batch in memory and updated weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import step_generator
from matgl_infomax.data.store import Store
from matgl_infomax.nn.build import Encoder
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import Objective
from tests.benchmarks.material import infomax, published_network, read_batch, targets_of
from tests.benchmarks.plain_sitenet import PlainSiteNet, plain_batch

Step = Callable[[Any], Tensor]
Prepare = Callable[[Store, list[int]], Any]

INFOMAX_VIEW = "both"
"""View of the store that Deep InfoMax trains on."""


def predictions(model: SiteNet, batch: SiteBatch) -> Tensor:
    """Predictions in normalised units, (B,), as fine-tuning sees them."""
    return model.scaled(model.encode(batch).crystal).squeeze(1)


def _learner(module: torch.nn.Module, loss_of: Callable[[Any], Tensor]) -> Step:
    """Forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=1e-4)

    def step(batch: Any) -> Tensor:
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def ours(device: str = "cpu") -> tuple[Prepare, Step]:
    """The published network through the public classes, mean absolute error."""
    model = published_network().to(device)

    def loss_of(batch: SiteBatch) -> Tensor:
        return (predictions(model, batch) - targets_of(batch.n_crystals).to(device)).abs().mean()

    return lambda store, rows: read_batch(store, rows, "merged").to(device), _learner(model, loss_of)


def plain() -> tuple[Prepare, Step]:
    """The same network by its plain formulas, with the same weights."""
    model = PlainSiteNet(published_network())
    learn = _learner(model, lambda batch: (model(batch) - targets_of(len(batch.size))).abs().mean())
    return lambda store, rows: plain_batch(read_batch(store, rows, "full")), learn


def without_labels(encoder: Encoder, objective: Objective, rate: float) -> Step:
    """A pretraining step: forward with its own noise, backward, gradients clipped, AdamW."""
    groups = encoder.layer_groups()
    weights = [p for name, group in groups.items() if name != "head" for p in group] + list(objective.parameters())
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=1e-4)
    number = 0

    def step(batch: SiteBatch) -> Tensor:
        nonlocal number
        number += 1
        total, _ = objective.loss(encoder, batch, step_generator(0, number))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return total.detach()

    return step


def deep_infomax() -> tuple[Prepare, Step]:
    """Pretraining of the compact network: local and global level, all negatives."""
    return lambda store, rows: read_batch(store, rows, INFOMAX_VIEW), without_labels(*infomax(), rate=1e-3)


STEPS: dict[str, Callable[[], tuple[Prepare, Step]]] = {"plain": plain, "ours": ours, "infomax": deep_infomax}
