"""Files from strangers, read as nothing but data: no code in them ever runs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matgl_infomax.errors import InputError


def read_tensors(file: Path) -> dict[str, Any]:
    """A dictionary of tensors, arrays and plain values written by ``torch.save``.

    Raises:
        InputError: When the file is damaged, or would have to run code to be read.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_arrays()):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage raises a class of its own
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{file} is damaged, or holds more than tensors and plain values and is not safe to open. {reason}"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{file} should hold a dictionary. Received: {type(content).__name__}.")
    return content


def _arrays() -> list[Any]:
    """What numpy arrays and numbers are made of: MatGL's potentials keep the energies of the elements as such."""
    import numpy as np
    from numpy._core import multiarray

    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")]
    made = [getattr(multiarray, name) for name in ("_reconstruct", "scalar")]
    # numpy 1 wrote another name for the same functions.
    old = [(function, f"numpy.core.multiarray.{function.__name__}") for function in made]
    return [np.ndarray, np.dtype, *kinds, *made, *old]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: When the file cannot be read or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {file}: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} should hold a JSON object. Received: {type(content).__name__}.")
    return content


def check_class(entry: dict[str, Any], base: type | tuple[type, ...], packages: Sequence[str], folder: Path) -> None:
    """Make sure that the class a saved model names is one of ours, or one the user imported before.

    Args:
        entry: dictionary with "@module" and "@class".
        base: what the class must descend from; of several, any one.
        packages: packages whose modules may be imported to look.
        folder: where the model lies, for the message.

    Raises:
        InputError: For any other class or function, without importing or calling it.
    """
    module, name = str(entry.get("@module")), str(entry.get("@class"))
    # MatGL's private modules differ between its versions; it looks such classes up in the public one.
    for private, public in (("matgl.models._", "matgl.models"), ("matgl.apps._pes", "matgl.apps.pes")):
        module = public if module.startswith(private) else module
    if module.split(".")[0] in packages and _exists(module):
        importlib.import_module(module)
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        wanted = " or ".join(kind.__name__ for kind in (base if isinstance(base, tuple) else (base,)))
        raise InputError(
            f"{folder} asks for {module}.{name}, which is no known {wanted}. "
            "If it is one of yours, import its module first."
        )


def _exists(module: str) -> bool:
    """Whether a module can be imported; its parent packages are imported to find out."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
