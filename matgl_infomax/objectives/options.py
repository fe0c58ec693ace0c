"""From the options a user gives to the settings of an objective; what is unknown is refused with what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from matgl_infomax.config import Settings
from matgl_infomax.errors import InputError

Kind = TypeVar("Kind", bound=Settings)
Presets = Mapping[str, Mapping[str, Any]]


def chosen(title: str, kind: type[Kind], presets: Presets, preset: str, options: Mapping[str, Any]) -> Kind:
    """The settings of a preset, with the user's options over it.

    Args:
        title: name of the objective, for messages.
        kind: class of its settings.
        presets: its presets by name.
        preset: the one to start from.
        options: options that differ from it.

    Raises:
        InputError: For an unknown preset, an unknown option, or a value that an option cannot have.
    """
    if preset not in presets:
        raise InputError(f"Unknown {title} preset {preset!r}. Choose one of: {', '.join(presets)}.")
    try:
        return kind(**{**presets[preset], **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields)
        raise InputError(f"{title} option {name!r}: {first['msg']}. Known options: {known}.") from error
