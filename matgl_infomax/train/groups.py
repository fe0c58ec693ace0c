"""Which weights move, and how fast: read from the groups that the model itself declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from matgl_infomax.errors import InputError


class Grouped(Protocol):
    """A model that names its parameters by depth."""

    def layer_groups(self) -> dict[str, list[nn.Parameter]]: ...  # noqa: D102 - described by the class


def freeze(model: Grouped, names: Sequence[str]) -> None:
    """Keep the named groups as they are, and all others trainable.

    Raises:
        InputError: For a group the model does not have.
    """
    groups = model.layer_groups()
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise InputError(f"Unknown layer groups to freeze: {', '.join(unknown)}. This model has: {', '.join(groups)}.")
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(name not in names)


def rate_groups(model: Grouped, learning_rate: float, encoder_rate: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: the head at the full rate, everything below at a share of it.

    Args:
        model: the model; frozen parameters are left out.
        learning_rate: of the head.
        encoder_rate: share of it for all other groups.
    """
    head: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameters in model.layer_groups().items():
        (head if name == "head" else rest).extend(p for p in parameters if p.requires_grad)
    groups = [{"params": head, "lr": learning_rate}, {"params": rest, "lr": learning_rate * encoder_rate}]
    return [group for group in groups if group["params"]]
