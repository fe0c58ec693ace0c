"""Softmax over the neighbours of a site and the weighted sum of their values, compiled for the CPU."""

from __future__ import annotations

import numpy as np
from numba import njit

from matgl_infomax.jit import compiled
from matgl_infomax.nn.kernels import FAST, INSIDE

_F = np.float32


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
