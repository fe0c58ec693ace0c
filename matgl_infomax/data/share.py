"""One batch, several processes: which crystals are whose, and how a loss over the whole batch is put together.

Every process holds the same whole batch and draws the same random numbers; each encodes only its own crystals.
Its loss is (sum over its crystals / crystals of the whole batch) * processes, so that the mean over processes,
which is what DDP takes of the gradients, is the loss of one process that has them all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed

from matgl_infomax.data.batch import SiteBatch, segment_mean

PER_SITE = {"number", "frac", "weight", "hidden", "site_property", "forces"}
PER_PAIR = {"distance", "offset", "copies"}
PER_CRYSTAL = {"lattice", "energy", "stress"}
RENUMBERED = {"owner", "src", "dst", "n_crystals", "merged", "kind"}
"""Fields of a batch that count crystals, sites or classes, and so start at zero again in a part of it."""


def part(batch: SiteBatch, first: int, last: int) -> SiteBatch:
    """Some neighbouring crystals of a batch as a batch of their own.

    Args:
        batch: B crystals whose pairs stay within a crystal.
        first: first crystal of the part.
        last: crystal after the last one of the part.
    """
    sites, pairs = _ranges(batch, first, last)
    rows = dict.fromkeys(PER_SITE, sites) | dict.fromkeys(PER_PAIR, pairs)
    rows |= dict.fromkeys(PER_CRYSTAL, slice(first, last))
    cut: dict[str, Any] = {"n_crystals": last - first, "owner": batch.owner[sites] - first}
    cut |= {name: getattr(batch, name)[pairs] - sites.start for name in ("src", "dst")}
    for name in (field.name for field in fields(batch) if field.name not in RENUMBERED):
        value = getattr(batch, name)
        cut[name] = None if value is None else value[rows[name]]
    merged, kind = getattr(batch, "merged", None), getattr(batch, "kind", None)
    if merged is not None:
        cut["merged"] = part(merged, first, last)
    if merged is not None and kind is not None:
        cut["kind"] = kind[sites] - _ranges(merged, first, last)[0].start
    return replace(batch, **cut)


def pick(batch: SiteBatch, chosen: Tensor) -> SiteBatch:
    """Some crystals of a batch, in their order, as a batch of their own; equal sites are not merged in it.

    Args:
        batch: B crystals whose pairs stay within a crystal.
        chosen: which of them, (B,) bool.
    """
    site = chosen[batch.owner]  # (N,)
    pair = site[batch.src]  # (E,)
    new_crystal, new_site = chosen.long().cumsum(0) - 1, site.long().cumsum(0) - 1
    rows = dict.fromkeys(PER_SITE, site) | dict.fromkeys(PER_PAIR, pair) | dict.fromkeys(PER_CRYSTAL, chosen)
    cut: dict[str, Any] = {"n_crystals": int(chosen.sum()), "owner": new_crystal[batch.owner[site]]}
    cut |= {name: new_site[getattr(batch, name)[pair]] for name in ("src", "dst")}
    for name, kept in rows.items():
        value = getattr(batch, name)
        cut[name] = None if value is None else value[kept]
    return replace(batch, **cut, merged=None, kind=None)


def _ranges(batch: SiteBatch, first: int, last: int) -> tuple[slice, slice]:
    """Sites and pairs of the crystals from ``first`` to before ``last``."""
    site = [int(n) for n in torch.searchsorted(batch.owner, batch.owner.new_tensor([first, last]))]
    pair = torch.searchsorted(batch.src, batch.src.new_tensor(site))
    return slice(site[0], site[1]), slice(int(pair[0]), int(pair[1]))


def cuts(batch: SiteBatch, n: int) -> list[int]:
    """Where to cut a batch into n runs of crystals of about equal work, (n + 1,); a run may be empty.

    Args:
        batch: B crystals.
        n: number of runs.
    """
    work = batch.size + torch.bincount(batch.owner[batch.src], minlength=batch.n_crystals)  # (B,) sites and pairs
    middle = work.cumsum(0) - 0.5 * work  # (B,)
    edges = torch.arange(n + 1, device=middle.device) * (float(work.sum()) / n)  # (n + 1,)
    inner = torch.searchsorted(middle, edges[1:-1].to(middle.dtype)).tolist()
    return [0, *inner, batch.n_crystals]


@dataclass(frozen=True)
class Share:
    """The crystals of a batch that this process answers for."""

    whole: SiteBatch
    """The batch of all processes: N sites, B crystals."""
    own: SiteBatch
    """This process's part of it: n sites, b crystals, possibly none."""
    crystals: slice
    """Its crystals in the whole batch."""
    sites: slice
    """Its sites in the whole batch."""
    ranks: int = 1
    """Processes that share the batch."""

    @classmethod
    def of(cls, batch: SiteBatch, rank: int = 0, ranks: int = 1) -> Share:
        """The share of one process; everything if it is alone.

        Args:
            batch: the whole batch, the same on every process.
            rank: number of this process.
            ranks: processes that share the batch.
        """
        if ranks == 1:
            return cls(batch, batch, slice(0, batch.n_crystals), slice(0, batch.n_sites))
        first, last = list(pairwise(cuts(batch, ranks)))[rank]
        return cls(batch, part(batch, first, last), slice(first, last), _ranges(batch, first, last)[0], ranks)

    def cut(self, view: SiteBatch) -> SiteBatch:
        """The own part of a changed version of the whole batch."""
        return view if self.ranks == 1 else part(view, self.crystals.start, self.crystals.stop)

    def mean(self, value: Tensor) -> Tensor:
        """This process's share of the mean over all crystals, from one value per own crystal (b,)."""
        return value.sum() * (self.ranks / self.whole.n_crystals)

    def mean_of_sites(self, value: Tensor) -> Tensor:
        """The same from one value per own site (n,): mean over a crystal's sites, then over crystals."""
        return self.mean(segment_mean(value, self.own.owner, self.own.size))

    def mean_of_chosen(self, value: Tensor, chosen: Tensor) -> Tensor:
        """The same from some sites alone: mean over a crystal's chosen sites, then over crystals that have any.

        Args:
            value: one value per chosen own site, (M,).
            chosen: which sites of the whole batch are chosen, (N,) bool.
        """
        whole = self.whole
        crystals = torch.zeros_like(whole.size).index_add(0, whole.owner, chosen.long())  # (B,)
        own = crystals[self.crystals]  # (b,)
        total = value.new_zeros(len(own)).index_add(0, self.own.owner[chosen[self.sites]], value)  # (b,)
        return (total / own.clamp(min=1)).sum() * (self.ranks / max(1, int((crystals > 0).sum())))

    def gather(self, value: Tensor) -> Tensor:
        """The rows of all crystals (B, C) from those of the own ones (b, C); gradients go back to their owner."""
        if self.ranks == 1:
            return value
        gathered: Tensor = _Gather.apply(value, self.crystals, self.whole.n_crystals)
        return gathered


class _Gather(torch.autograd.Function):
    """Rows of all processes, each process giving another run of them.

    Everybody fills its rows and the sum is taken: exact, since all others hold zeros, and any numbers of rows will do.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, rows: slice, total: int) -> Tensor:
        """The rows of all, (B, C), from the own ones, (b, C)."""
        ctx.rows = rows
        out = value.new_zeros(total, *value.shape[1:])
        out[rows] = value
        distributed.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """What all processes want of the own rows, (b, C)."""
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient[ctx.rows], None, None


def at_least_single(value: Tensor) -> Tensor:
    """Half precision becomes single, everything else stays: losses are never summed in half precision."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
