"""Files from strangers, read as nothing but data, and files for people: no code in them ever runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
        if "weights_only" in reason or "Weights only" in reason:
            reason = ""  # PyTorch's advice is to open it all the same, which would run what is in it
        raise InputError(
            f"{file} is damaged, or holds more than tensors and plain values and is not safe to open. {reason}".strip()
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


def given_path(value: Path | str | None, option: str) -> Path:
    """The path that an option of a Python function names; an empty one would become the working folder.

    Raises:
        InputError: If it is empty.
    """
    if value is None or not str(value).strip():
        raise InputError(f"Option {option} is empty. Received: {value!r}. Give the name of a file or folder.")
    return Path(value)


# Files that are whole or absent, never half-written.


def atomic_write(path: Path | str, content: str | bytes) -> None:
    """Write a file in one step: readers see the old content or the new one.

    Args:
        path: file to write; its folder is made if absent.
        content: text (as UTF-8) or bytes.

    Raises:
        InputError: If the disk is full or the folder cannot be written; no half file stays.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # A hidden file in the same folder: only within one file system is a rename a single step.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        reason = f"Cannot write {path}: {error.strerror or error}."
        raise InputError(f"{reason} Free some space or choose another folder.") from error
    finally:
        # Also after Ctrl-C; where nothing could be written there is nothing to remove either.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def sweep_drafts(folder: Path, *, older_than_seconds: float = 3600) -> None:
    """Remove drafts of files that a process killed long ago left; whole files have no dot in front.

    Args:
        folder: where to look; its subfolders stay as they are.
        older_than_seconds: younger drafts may belong to a process that is still writing.
    """
    for draft in folder.glob(".*"):
        if draft.is_file() and time.time() - draft.stat().st_mtime > older_than_seconds:
            draft.unlink(missing_ok=True)


def sha256_of(content: str | bytes) -> str:
    """Hexadecimal SHA-256 of text (as UTF-8) or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


# Arrays that are computed once and kept on disk under a name made of everything that decides them.


def cached_array(file: Path, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array from its file, computed and written first where the file is not there.

    Args:
        file: where it is kept; the name has to change with everything that decides the content.
        compute: makes the array.

    Returns:
        The array, opened without loading all of it.

    Raises:
        InputError: If the file is damaged, or cannot be written.
    """
    if not file.is_file():
        buffer = io.BytesIO()
        np.save(buffer, compute())
        atomic_write(file, buffer.getvalue())
    return open_array(file)


def open_array(file: Path) -> NDArray[Any]:
    """An array that was kept, opened without loading all of it.

    Raises:
        InputError: If the file is missing or damaged.
    """
    try:
        values: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} is damaged ({error}). Delete it; it is computed again.") from error
    return values


# Tables for people. A spreadsheet runs a cell that begins like a formula; an apostrophe in front keeps it a text.

_RUNS = re.compile(r"'*[=+@\t\r\n-]")
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII)


def is_number(text: str) -> bool:
    """Whether a text is a number to all programs; Python alone takes 1_5 for 15, and digits of all scripts."""
    return _NUMBER.fullmatch(text.strip()) is not None


def quoted_cell(text: str) -> str:
    """A text as it stands in a CSV: with an apostrophe in front of what a spreadsheet would run, and of the like.

    Numbers stay. Texts that begin with an apostrophe before such a sign get another one, so that
    :func:`plain_cell` gives back every text.
    """
    return f"'{text}" if _RUNS.match(text) and not is_number(text) else text


def plain_cell(text: str) -> str:
    """The text that :func:`quoted_cell` was given."""
    return text[1:] if text.startswith("'") and _RUNS.match(text) else text


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV that a spreadsheet shows and does not run; its texts and column names are quoted.

    Args:
        table: ids, names and numbers; its index is left out.
        float_format: such as ``%.6g``; by default all digits.
    """
    return _each_text(table, quoted_cell).to_csv(index=False, float_format=float_format)


NAMES = ("id", "mbid", "arm", "benchmark")
"""Columns of names: ``007`` and ``NA`` are names there, no number and no gap."""


def read_csv(file: Path | io.BytesIO, **options: Any) -> pd.DataFrame:
    """A table written by :func:`csv_text`, with its texts as they were.

    Args:
        file: what to read.
        options: those of ``pandas.read_csv``.

    Raises:
        OSError, ValueError: If it cannot be read, or is no table.
    """
    import pandas as pd

    as_written = dict.fromkeys(NAMES, lambda cell: cell or None)
    return _each_text(pd.read_csv(file, converters=as_written, **options), plain_cell)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """A copy of a table in which every text, column names among them, is changed."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    found = table.copy()
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufcmM":
            found.isetitem(place, table.iloc[:, place].map(changed).to_numpy(dtype=object))
    found.columns = [changed(name) for name in table.columns]
    return found
