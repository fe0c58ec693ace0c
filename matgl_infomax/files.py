"""Files that are whole or absent, never half-written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from pathlib import Path

from matgl_infomax.errors import InputError


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
