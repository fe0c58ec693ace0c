"""The local critic over many pairs: how well a site recognises atoms shown to it, compiled for the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import relu, softplus

from matgl_infomax.jit import compiled
from matgl_infomax.nn.kernels import FAST, compiled_for, rows

_F = np.float32


@dataclass(frozen=True)
class Shown:
    """Pairs shown to a site by the local critic, true or false, sorted by receiver."""

    receiver: Tensor  # (M,)   site that is asked
    neighbour: Tensor  # (M,)   site whose element is shown
    distance: Tensor  # (M,)   distance shown, angstrom
    weight: Tensor  # (M,)   share of this pair in the receiver's score

    def to(self, sites: slice) -> Shown:
        """The pairs shown to some neighbouring sites alone, these counted from zero."""
        edges = torch.searchsorted(self.receiver, self.receiver.new_tensor([sites.start, sites.stop]))
        first, last = edges.tolist()
        pairs = slice(first, last)
        cut = {name: getattr(self, name)[pairs] for name in ("neighbour", "distance", "weight")}
        return replace(self, receiver=self.receiver[pairs] - sites.start, **cut)


@dataclass(frozen=True)
class Critic:
    """What the critic makes of the sites that are asked, and of the atoms that are shown.

    The score of a pair is bias_r + query_r . relu(element_n + d by_distance).
    """

    query: Tensor  # (n, H)   of the sites that are asked
    bias: Tensor  # (n,)
    element: Tensor  # (N, H)   of the sites that are shown
    by_distance: Tensor  # (H,)

    def loss(self, shown: Shown, sign: float) -> Tensor:
        """Weighted sum of softplus(sign * score) over the pairs shown to each site, (n,)."""
        if compiled_for(self.query) and self.element.dtype == torch.float32:
            loss: Tensor = _Recognise.apply(shown, sign, self.query, self.bias, self.element, self.by_distance)
            return loss
        hidden = self.element.index_select(0, shown.neighbour) + shown.distance.unsqueeze(1) * self.by_distance
        score = (relu(hidden) * self.query.index_select(0, shown.receiver)).sum(1) + self.bias[shown.receiver]  # (M,)
        value = softplus(sign * score) * shown.weight  # (M,)
        return value.new_zeros(len(self.query)).index_add(0, shown.receiver, value)  # (n,)


def near_first(distance: Tensor, receiver: Tensor, n_sites: int) -> Tensor:
    """Weights (d + 1)^-2, summing to one over each receiver's pairs, (M,).

    Args:
        distance: distance of each pair shown, (M,), angstrom.
        receiver: site it is shown to, (M,).
        n_sites: number of sites N.
    """
    if compiled_for(distance):
        weight = torch.empty_like(distance)
        _near_first(rows(distance), rows(receiver), n_sites, rows(weight))
        return weight
    weight = (distance + 1.0) ** -2
    total = weight.new_zeros(n_sites).index_add(0, receiver, weight)  # (N,)
    return weight / total.index_select(0, receiver)


class _Recognise(Function):
    """``Critic.loss`` without a vector per pair: scores are kept, everything else is computed again."""

    @staticmethod
    def forward(
        ctx: Any, shown: Shown, sign: float, query: Tensor, bias: Tensor, element: Tensor, by_distance: Tensor
    ) -> Tensor:
        """One value per site that is asked, (n,)."""
        query, bias, element, by_distance = (x.contiguous() for x in (query, bias, element, by_distance))
        score = torch.empty_like(shown.distance)
        out = torch.zeros_like(bias)
        pairs = _PairRows.of(shown)
        _recognise(
            pairs.receiver, pairs.neighbour, pairs.distance, pairs.weight,
            rows(query), rows(bias), rows(element), rows(by_distance), _F(sign), rows(score), rows(out),
        )  # fmt: skip
        ctx.shown = shown
        ctx.sign = sign
        ctx.save_for_backward(score, query, bias, element, by_distance)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients of query, bias, element and by_distance."""
        score, query, bias, element, by_distance = ctx.saved_tensors
        to_query, to_bias, to_element, to_distance = (torch.zeros_like(x) for x in (query, bias, element, by_distance))
        pairs = _PairRows.of(ctx.shown)
        _recognise_backward(
            pairs.receiver, pairs.neighbour, pairs.distance, pairs.weight,
            rows(query), rows(bias), rows(element), rows(by_distance),
            _F(ctx.sign), rows(score), rows(grads[0].contiguous()),
            rows(to_query), rows(to_bias), rows(to_element), rows(to_distance),
        )  # fmt: skip
        return None, None, to_query, to_bias, to_element, to_distance


@dataclass(frozen=True)
class _PairRows:
    """The pairs shown as arrays for the compiled kernels."""

    receiver: Any
    neighbour: Any
    distance: Any
    weight: Any

    @classmethod
    def of(cls, shown: Shown) -> _PairRows:
        """The arrays, without a copy where memory allows it."""
        return cls(
            receiver=rows(shown.receiver.contiguous()),
            neighbour=rows(shown.neighbour.contiguous()),
            distance=rows(shown.distance.contiguous()),
            weight=rows(shown.weight.contiguous()),
        )


@compiled(**FAST)
def _near_first(distance, receiver, n_sites, out):  # type: ignore[no-untyped-def]
    """Weights of ``near_first``."""
    total = np.zeros(n_sites, np.float32)
    for p in range(len(distance)):
        near = _F(1.0) / (distance[p] + _F(1.0))
        out[p] = near * near
        total[receiver[p]] += out[p]
    for p in range(len(distance)):
        out[p] /= total[receiver[p]]


@compiled(**FAST)
def _recognise(receiver, neighbour, distance, weight, query, bias, element, by_distance, sign, score, out):  # type: ignore[no-untyped-def]
    """Score of each pair (M,), and the weighted sum of softplus(sign * score) of each site (n,)."""
    for p in range(len(receiver)):
        site = receiver[p]
        q, e, d = query[site], element[neighbour[p]], distance[p]
        total = _F(0.0)
        for k in range(len(q)):
            h = e[k] + d * by_distance[k]
            total += (_F(0.0) if h < _F(0.0) else h) * q[k]
        score[p] = total + bias[site]
        z = sign * score[p]
        # softplus without overflow: log(1 + e^z) = max(z, 0) + log(1 + e^-|z|).
        out[site] += weight[p] * ((_F(0.0) if z < _F(0.0) else z) + np.log1p(np.exp(-abs(z))))


@compiled(**FAST)
def _recognise_backward(  # type: ignore[no-untyped-def]
    receiver, neighbour, distance, weight, query, bias, element, by_distance, sign, score, grad,
    to_query, to_bias, to_element, to_distance,
):  # fmt: skip
    """Add the gradient of each pair to those of the critic."""
    for p in range(len(receiver)):
        site = receiver[p]
        q, e, d = query[site], element[neighbour[p]], distance[p]
        steep = grad[site] * weight[p] * sign / (_F(1.0) + np.exp(-sign * score[p]))
        to_bias[site] += steep
        to_q, to_e = to_query[site], to_element[neighbour[p]]
        for k in range(len(q)):
            h = e[k] + d * by_distance[k]
            back = steep * q[k] if h > _F(0.0) else _F(0.0)
            to_q[k] += steep * (h if h > _F(0.0) else _F(0.0))
            to_e[k] += back
            to_distance[k] += back * d
