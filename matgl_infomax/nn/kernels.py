"""Loops over pairs for the CPU, compiled by numba: what torch would do in ten passes over memory, done in one.

Everything works on float32 rows that lie together, row by row, so that a row never leaves the nearest cache.
Sums are taken in a fixed order: the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.nn.functional import layer_norm

from matgl_infomax.errors import InputError
from matgl_infomax.jit import compiled

ACTIVATION_CODES = {"relu": 0, "mish": 1, "silu": 2}
"""Activations that the kernels know, by the number they are told."""
EPSILON = 1e-5
"""Added to a variance, as torch's layer norm does."""

# Sums may be reordered, so that they use the wide registers; a number that is none must stay none.
FAST: Any = {
    "nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"},
}  # fmt: skip
# A helper called for every row: a call would cost more than its work.
INSIDE: Any = {**FAST, "forceinline": True}
# Without leave to reorder sums: adding and taking away 1.5 * 2^23 has to round to a whole number.
_ROUNDING: Any = {**INSIDE, "fastmath": {"contract", "nsz"}}
_F = np.float32


@njit(**_ROUNDING)
def _powers_of_two(x, rest, bits):  # type: ignore[no-untyped-def]
    """2^n in ``bits`` (read as float32) and d in ``rest``, so that exp(x) = 2^n 2^d with d between -1/2 and 1/2.

    x is cut to between -80 and 20: beyond, no activation differs from its limit.
    """
    for k in range(len(x)):
        scaled = min(max(x[k], _F(-80.0)), _F(20.0)) * _F(1.44269504)
        whole = (scaled + _F(12582912.0)) - _F(12582912.0)
        rest[k] = scaled - whole
        bits[k] = (np.int32(whole) + np.int32(127)) << np.int32(23)


@njit(**INSIDE)
def _exp2(d):  # type: ignore[no-untyped-def]
    """2^d for d between -1/2 and 1/2, to 2e-7 relative."""
    p = _F(0.00133995095) + d * _F(0.000154353139)
    p = _F(0.0555032931) + d * (_F(0.00961838476) + d * p)
    return _F(1.0) + d * (_F(0.693147182) + d * (_F(0.240226462) + d * p))


@njit(**INSIDE)
def _relu(x, out, keep):  # type: ignore[no-untyped-def]
    """Activation of one row, its sum and sum of squares; with ``keep`` the slope goes over the input."""
    total, square = _F(0.0), _F(0.0)
    for k in range(len(x)):
        a = _F(0.0) if x[k] < _F(0.0) else x[k]
        total += a
        square += a * a
        out[k] = a
    if keep:
        for k in range(len(x)):
            x[k] = _F(1.0) if out[k] > _F(0.0) else _F(0.0)
    return total, square


@njit(**INSIDE)
def _mish(x, out, bits, powers, rest, keep):  # type: ignore[no-untyped-def]
    """As ``_relu``: x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2)."""
    _powers_of_two(x, rest, bits)
    total, square = _F(0.0), _F(0.0)
    for k in range(len(x)):
        v = x[k]
        e = powers[k] * _exp2(rest[k])
        n = e * (e + _F(2.0))
        inverse = _F(1.0) / (n + _F(2.0))
        a = v * n * inverse
        total += a
        square += a * a
        out[k] = a
        if keep:
            slope = _F(4.0) * (v + _F(1.0)) + e * (_F(4.0) * v + _F(6.0) + e * (_F(4.0) + e))
            # Above 20 the exponential is cut off and the slope is 1 to the last bit.
            x[k] = _F(1.0) if v > _F(20.0) else slope * (e * inverse) * inverse
    return total, square


@njit(**INSIDE)
def _silu(x, out, bits, powers, rest, keep):  # type: ignore[no-untyped-def]
    """As ``_relu``: x e^x / (e^x + 1)."""
    _powers_of_two(x, rest, bits)
    total, square = _F(0.0), _F(0.0)
    for k in range(len(x)):
        v = x[k]
        e = powers[k] * _exp2(rest[k])
        gate = e / (e + _F(1.0))
        a = v * gate
        total += a
        square += a * a
        out[k] = a
        if keep:
            x[k] = gate * (_F(1.0) + v * (_F(1.0) - gate))
    return total, square


@njit(**INSIDE)
def _scale(row, total, square):  # type: ignore[no-untyped-def]
    """Mean zero and variance one, in place; the factor that was applied."""
    width = _F(len(row))
    mean = total / width
    spread = square / width - mean * mean
    factor = _F(1.0) / np.sqrt((_F(0.0) if spread < _F(0.0) else spread) + _F(EPSILON))
    shift = mean * factor
    for k in range(len(row)):
        row[k] = row[k] * factor - shift
    return factor


@njit(**INSIDE)
def _standardise_row(x, out, edges, factor, bits, powers, rest, code, keep):  # type: ignore[no-untyped-def]
    """Activation and norm of one row, group by group."""
    for g in range(len(edges) - 1):
        before, after = x[edges[g] : edges[g + 1]], out[edges[g] : edges[g + 1]]
        if code == 0:
            total, square = _relu(before, after, keep)
        elif code == 1:
            total, square = _mish(before, after, bits, powers, rest, keep)
        else:
            total, square = _silu(before, after, bits, powers, rest, keep)
        scale = _scale(after, total, square)
        if keep:
            factor[g] = scale


class Kernels(NamedTuple):
    """Forward kernels of one activation."""

    standardise: Any
    """(x (M, W), edges (G + 1,), out (M, W), factor (M, G)): activation, then mean zero and variance one within
    each group of columns. ``factor`` and slopes over ``x`` are written where a gradient is wanted."""
    bond_layer: Any
    """(x, table (U, W), index (M,), own (N, W), other (N, W), src (M,), dst (M,), edges, out, factor): the same of
    each pair's own term plus its two sites' terms. The own term stands in ``x`` or, with an index, in the table."""


@cache
def kernels_for(activation: str, keep: bool) -> Kernels:
    """Kernels of an activation, compiled at their first call.

    Args:
        activation: a key of ``ACTIVATION_CODES``.
        keep: whether what a gradient needs is kept.

    Raises:
        InputError: For an activation the kernels do not know.
    """
    if activation not in ACTIVATION_CODES:
        known = ", ".join(ACTIVATION_CODES)
        raise InputError(f"There is no compiled activation {activation!r}. Choose one of: {known}.")
    # Plain numbers from outside are constants to the compiler, which drops the branches not taken.
    code = ACTIVATION_CODES[activation]

    @compiled(**FAST)
    def standardise(x, edges, out, factor):  # type: ignore[no-untyped-def]
        bits = np.empty(x.shape[1], np.int32)
        powers, rest = bits.view(np.float32), np.empty(x.shape[1], np.float32)
        for i in range(len(x)):
            _standardise_row(x[i], out[i], edges, factor[i], bits, powers, rest, code, keep)

    @compiled(**FAST)
    def bond_layer(x, table, index, own, other, src, dst, edges, out, factor):  # type: ignore[no-untyped-def]
        bits = np.empty(x.shape[1], np.int32)
        powers, rest = bits.view(np.float32), np.empty(x.shape[1], np.float32)
        for i in range(len(x)):
            row, a, b = x[i], own[src[i]], other[dst[i]]
            if len(index):
                shared = table[index[i]]
                for k in range(len(row)):
                    row[k] = shared[k] + a[k] + b[k]
            else:
                for k in range(len(row)):
                    row[k] += a[k] + b[k]
            _standardise_row(row, out[i], edges, factor[i], bits, powers, rest, code, keep)

    return Kernels(standardise, bond_layer)


@compiled(**FAST)
def standardise_backward(grad, slope, out, factor, edges):  # type: ignore[no-untyped-def]
    """Gradient with respect to the input of ``standardise``, over ``grad`` (M, W)."""
    for i in range(len(grad)):
        for g in range(len(edges) - 1):
            row, hat = grad[i, edges[g] : edges[g + 1]], out[i, edges[g] : edges[g + 1]]
            steep = slope[i, edges[g] : edges[g + 1]]
            total, along = _F(0.0), _F(0.0)
            for k in range(len(row)):
                total += row[k]
                along += row[k] * hat[k]
            total /= _F(len(row))
            along /= _F(len(row))
            for k in range(len(row)):
                row[k] = (row[k] - total - hat[k] * along) * factor[i, g] * steep[k]


@compiled(**FAST)
def bond_layer_backward(grad, own, other, src, dst, table, index):  # type: ignore[no-untyped-def]
    """Add the gradient of each pair's sum (M, W) to the rows of its two sites and of the table."""
    for i in range(len(grad)):
        row, a, b = grad[i], own[src[i]], other[dst[i]]
        for k in range(len(row)):
            a[k] += row[k]
        for k in range(len(row)):
            b[k] += row[k]
        if len(index):
            shared = table[index[i]]
            for k in range(len(row)):
                shared[k] += row[k]


@compiled()
def distinct_rows(raw):  # type: ignore[no-untyped-def]
    """Rows that differ in at least one bit.

    Args:
        raw: rows, (E, C) float32.

    Returns:
        Position of the first of each kind, (U,), and the kind of each row, (E,).
    """
    n = len(raw)
    size = 16
    while size < 2 * n:
        size *= 2
    bits = raw.view(np.uint32)
    place = np.full(size, -1, np.int64)
    first, index = np.empty(n, np.int64), np.empty(n, np.int64)
    count = 0
    for i in range(n):
        key = np.uint64(0)
        for c in range(raw.shape[1]):
            key = (key ^ np.uint64(bits[i, c])) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(32)
        slot = np.int64(key & np.uint64(size - 1))
        while place[slot] >= 0:
            same = True
            for c in range(raw.shape[1]):
                same = same and bits[first[place[slot]], c] == bits[i, c]
            if same:
                break
            slot = (slot + 1) & (size - 1)
        if place[slot] < 0:
            place[slot] = count
            first[count] = i
            count += 1
        index[i] = place[slot]
    return first[:count], index


# Softmax over the neighbours of a site and the weighted sum of their values, compiled for the CPU.


@njit(**INSIDE)
def _softmax(logits, h, copies, start, stop, weight):  # type: ignore[no-untyped-def]
    """Softmax of one head over the rows from start to stop, into the first entries of ``weight``."""
    top = _F(-3.4e38)
    for p in range(start, stop):
        top = max(top, logits[p, h])
    total = _F(0.0)
    for p in range(start, stop):
        weight[p - start] = np.exp(logits[p, h] - top) * copies[p]
        total += weight[p - start]
    for p in range(stop - start):
        weight[p] /= total


@compiled(**FAST)
def attend(logits, value, copies, first, out):  # type: ignore[no-untyped-def]
    """Weighted sums of the values of consecutive receivers.

    Args:
        logits: (M, H).
        value: (M, V).
        copies: number of equal pairs that each row stands for, (M,).
        first: first row of each receiver and the end of the last, (R + 1,).
        out: sums, written here, heads side by side, (R, H * V); zero for a receiver without pairs.
    """
    heads, width = logits.shape[1], value.shape[1]
    weight = np.empty(len(logits), np.float32)
    for r in range(len(first) - 1):
        start, stop = first[r], first[r + 1]
        for h in range(heads):
            _softmax(logits, h, copies, start, stop, weight)
            row = out[r, h * width : (h + 1) * width]
            row[:] = _F(0.0)
            for p in range(start, stop):
                w, v = weight[p - start], value[p]
                for k in range(width):
                    row[k] += w * v[k]


@compiled(**FAST)
def attend_backward(grad, logits, value, copies, first, grad_logits, grad_value):  # type: ignore[no-untyped-def]
    """Gradients of ``attend`` with respect to logits (M, H) and values (M, V), from that of its sums (R, H * V)."""
    heads, width = logits.shape[1], value.shape[1]
    weight = np.empty(len(logits), np.float32)
    for r in range(len(first) - 1):
        start, stop = first[r], first[r + 1]
        for p in range(start, stop):
            grad_value[p, :] = _F(0.0)
        for h in range(heads):
            _softmax(logits, h, copies, start, stop, weight)
            row = grad[r, h * width : (h + 1) * width]
            mean = _F(0.0)
            for p in range(start, stop):
                w, v, g = weight[p - start], value[p], grad_value[p]
                along = _F(0.0)
                for k in range(width):
                    along += row[k] * v[k]
                    g[k] += w * row[k]
                grad_logits[p, h] = along
                mean += w * along
            for p in range(start, stop):
                grad_logits[p, h] = weight[p - start] * (grad_logits[p, h] - mean)


# When the compiled kernels take the place of the plain formulas, and the one every layer uses.

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Within this block everything is computed by the plain formulas, the reference for what is compiled."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def compiled_for(tensor: Tensor, *inputs: Tensor) -> bool:
    """Whether the compiled kernels apply: float32 on the CPU, and no gradient wanted through ``inputs``.

    Gradients through distances (forces) need second derivatives, which only the plain formulas have.
    """
    plain = _PLAIN.get() or torch.is_autocast_enabled("cpu") or any(x.requires_grad for x in inputs)
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and not plain


def rows(tensor: Tensor) -> NDArray[Any]:
    """The same memory as a numpy array."""
    return tensor.detach().numpy()


class Standardise(Function):
    """Activation and layer norm without its affine part, (M, W) -> (M, W); only the input is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str) -> Tensor:
        """Rows with mean zero and variance one."""
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.activation = activation
        out = torch.empty_like(x)
        kernels_for(activation, False).standardise(rows(x), one_group(x), rows(out), rows(x.new_empty(len(x), 1)))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Gradient of the input; by the plain formula where it is to be differentiated again (forces)."""
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            out = layer_norm(ACTIVATIONS[ctx.activation](x), x.shape[1:])
            return torch.autograd.grad(out, x, grads[0], create_graph=True)[0], None
        slope, hat, factor = x.clone(), torch.empty_like(x), x.new_empty(len(x), 1)
        kernels_for(ctx.activation, True).standardise(rows(slope), one_group(x), rows(hat), rows(factor))
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        standardise_backward(rows(grad), rows(slope), rows(hat), rows(factor), one_group(x))
        return grad, None


def one_group(x: Tensor) -> NDArray[np.int64]:
    """All columns as one group."""
    return np.array([0, x.shape[1]])


# Activation functions by name.

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mish": functional.mish,
    "relu": functional.relu,
    "silu": functional.silu,
}


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """Activation function by name.

    Raises:
        InputError: For a name that is not in ``ACTIVATIONS``.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"Unknown activation {name!r}. Choose one of: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
