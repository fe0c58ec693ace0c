"""Which weights stay as they are: read from the groups that the model itself declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from matgl_infomax.errors import InputError


class Grouped(Protocol):
    """A model that names its parameters by depth, from the input to the head."""

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
