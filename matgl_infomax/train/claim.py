"""A run's folder belongs to one set of settings and data: resuming is safe, mixing is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write

HASHED = "sha256:"


def claim_folder(out: Path, kind: str, claim: dict[str, Any], *, undeciding: Sequence[str] = ()) -> None:
    """Take a folder for a run, or find that it is this very run's already.

    Args:
        out: folder of the run, made if absent.
        kind: what runs there, such as "pretrain".
        claim: everything that decides the result: plain values, and long lists or arrays, of which a hash is kept.
        undeciding: dotted names of entries that decide nothing, though earlier versions noted them as they were given;
            a folder that differs in them alone is this run's.

    Raises:
        InputError: If another run lives there (the first differing entry is named), or the folder cannot be written.
    """
    long = (list, np.ndarray)
    plain = {name: _digest(value) if isinstance(value, long) else value for name, value in claim.items()}
    plain = json.loads(json.dumps({"kind": kind, **plain}, default=str))
    file = out / "run.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        earlier = json.loads(file.read_text()) if file.is_file() else None
    except OSError as error:
        raise InputError(f"Cannot use the folder {out}: {error.strerror}. Choose another one.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is damaged ({error}). Delete the folder, or choose another one.") from error
    if earlier is None:
        atomic_write(file, json.dumps(plain, indent=1))
        return
    for dotted in undeciding:
        _set_as_in(plain, earlier, dotted.split("."))
    if earlier != plain:
        name, was, now = _first_difference(earlier, plain)
        hashed = any(str(value).startswith(HASHED) for value in (was, now))
        how = f"its {name} differ from this one's" if hashed else f"its {name} is {was}, this one's is {now}"
        raise InputError(f"{out} holds another run: {how}. Choose another folder, or delete that one.")


def _set_as_in(claim: dict[str, Any], earlier: dict[str, Any], path: list[str]) -> None:
    """Give an entry of an earlier claim the value that it has in this one, where both have it."""
    *sections, name = path
    for section in sections:
        claim, earlier = (part.get(section) or {} for part in (claim, earlier))
    if name in claim and name in earlier:
        earlier[name] = claim[name]


def _digest(values: list[Any] | np.ndarray[Any, Any]) -> str:
    """Short name of a long list, or of an array with its shape."""
    if isinstance(values, np.ndarray):
        content = f"{values.dtype.str}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    else:
        content = json.dumps(values).encode()
    return HASHED + hashlib.sha256(content).hexdigest()


def _first_difference(a: dict[str, Any], b: dict[str, Any], path: str = "") -> tuple[str, Any, Any]:
    """Where two nested records differ first."""
    for name in [*a, *(k for k in b if k not in a)]:
        left, right = a.get(name), b.get(name)
        if left == right:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            return _first_difference(left, right, f"{path}{name}.")
        return f"{path}{name}", left, right
    raise ValueError("the records are equal")
