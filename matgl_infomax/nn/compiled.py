"""When the compiled kernels take the place of the plain formulas, and the one every layer uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import layer_norm

from matgl_infomax.nn.activations import ACTIVATIONS
from matgl_infomax.nn.kernels import kernels_for, standardise_backward

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
