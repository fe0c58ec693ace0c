"""Losses and gradients of an objective on one process, and their mean over two, as DDP takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import distributed, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from tests.helpers.build import generator

Numbers = dict[str, torch.Tensor]


def losses_and_gradients(encoder: nn.Module, objective: nn.Module, batch: SiteBatch, share: Share) -> Numbers:
    """Everything that has to agree."""
    loss, parts = objective.loss(encoder, batch, generator(5), share)
    loss.backward()
    gradients = {
        f"{owner}.{name}": torch.zeros_like(p) if p.grad is None else p.grad
        for owner, network in (("encoder", encoder), ("objective", objective))
        for name, p in network.named_parameters()
    }
    return {"loss": loss.detach(), **parts, **gradients}


def mean_over_two(
    rank: int, folder: Path, step: Callable[[str, SiteBatch, int, int], Numbers], batches: Mapping[str, SiteBatch]
) -> None:
    """One of two processes: the mean of everything over both goes into ``results.pt``."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    results = {}
    for case, batch in batches.items():
        results[case] = step(case, batch, rank, 2)
        for value in results[case].values():
            distributed.all_reduce(value)
            value /= 2
    if rank == 0:
        torch.save(results, folder / "results.pt")
    distributed.destroy_process_group()
