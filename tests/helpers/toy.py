"""An encoder small enough to break on purpose: one message over neighbours, one mean over sites."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from matgl_infomax.contracts import EncoderContract
from matgl_infomax.data.batch import SiteBatch, segment_mean

CUTOFF_ANGSTROM = 5.0


class Toy(nn.Module):
    """Keeps every contract; the broken ones differ from it in one method each."""

    def __init__(self) -> None:
        super().__init__()
        self.element = nn.Embedding(100, 8)
        self.message = nn.Linear(9, 8)
        self.out = nn.Linear(16, 6)
        self.head = nn.Linear(6, 1)

    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        below = [self.element, self.message, self.out]
        return {"block0": [p for m in below for p in m.parameters()], "head": list(self.head.parameters())}

    def sites(self, batch: SiteBatch) -> Tensor:
        element = self.element(batch.number)
        distance = self.distance(batch)
        shown = torch.cat([element[batch.dst], distance[:, None]], 1)
        near = (1 - (distance / CUTOFF_ANGSTROM) ** 2).clamp(min=0) ** 2
        message = torch.tanh(self.message(shown)) * near[:, None]
        total = torch.zeros_like(element).index_add(0, batch.src, message)
        return torch.tanh(self.out(torch.cat([element, total], 1)))

    def distance(self, batch: SiteBatch) -> Tensor:
        return self.vector(batch).norm(dim=1)

    def vector(self, batch: SiteBatch) -> Tensor:
        step = batch.frac[batch.dst] + batch.offset - batch.frac[batch.src]
        return (step[:, None] @ batch.lattice[batch.owner[batch.src]])[:, 0]

    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        return segment_mean(site, batch.owner, batch.size)

    def encode(self, batch: SiteBatch) -> SimpleNamespace:
        site = self.sites(batch)
        return SimpleNamespace(site=site, crystal=self.pool(site, batch))

    def forward(self, batch: SiteBatch) -> Tensor:
        return self.head(self.encode(batch).crystal).squeeze(1)


class ToyContract(EncoderContract):
    """All contracts on the toy, or on a broken one."""

    kind: type[Toy] = Toy

    def make(self, seed: int, dtype: torch.dtype) -> Toy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.kind().to(dtype)

    def save(self, model: Toy, folder: Path) -> None:
        torch.save(model.state_dict(), folder)

    def load(self, folder: Path) -> Toy:
        model = self.make(0, torch.float32)
        model.load_state_dict(torch.load(folder, weights_only=True))
        return model
