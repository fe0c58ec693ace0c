"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from matgl_infomax.errors import InputError

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
