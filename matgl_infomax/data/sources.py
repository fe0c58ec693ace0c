"""From what the user names (a file, a folder, a glob) to the files to read."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matgl_infomax.data.draft import BadEntry
from matgl_infomax.data.formats import file_kind, known_endings, plain_stem
from matgl_infomax.errors import InputError


@dataclass(frozen=True)
class Files:
    """Files in a fixed order, each with the name of its crystal."""

    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    """Files in a folder or glob whose ending is not a crystal's."""
    bad: tuple[BadEntry, ...] = ()
    """Folders that could not be opened."""


def find_files(source: str | Path, skip: Path | None = None) -> Files:
    """The files that a path or a glob means.

    A crystal in a folder is called by its path below that folder, without the ending; hidden files are not seen.

    Args:
        source: file, folder (searched with all below it) or glob.
        skip: a file that is known to be something else (the labels).

    Raises:
        InputError: If nothing is there, or nothing that could be a crystal.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return Files((path,), (plain_stem(Path(path.name)),))
    bad: list[BadEntry] = []
    if path.is_dir():
        base, found, what = path, _walk(path, bad), "folder"
    elif glob.has_magic(str(source)):
        base, found, what = _fixed_part(path), _glob(path), "pattern"
    else:
        raise InputError(f"There is no such file or folder. Received: {source}. Give a file, a folder or a glob.")
    found = [file for file in found if skip is None or not _same(file, skip)]
    crystals = [file for file in found if file_kind(file)]
    ignored = tuple(str(file) for file in found if not file_kind(file))
    if not crystals:
        held = f"{len(found)} other files" if found else "nothing"
        why = "".join(f" {entry}." for entry in bad)
        received = f"The {what} {source} holds no crystals. Received: {held}.{why}"
        raise InputError(f"{received} Endings read: {known_endings()}.")
    ids = tuple(plain_stem(file.relative_to(base)) for file in crystals)
    return Files(tuple(crystals), ids, ignored, tuple(bad))


def _walk(folder: Path, bad: list[BadEntry]) -> list[Path]:
    """All files below a folder, sorted by path."""
    files: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=_reporter(bad)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _reporter(bad: list[BadEntry]) -> Callable[[OSError], None]:
    """Notes folders that cannot be opened; os.walk would leave them out in silence."""

    def note(error: OSError) -> None:
        bad.append(BadEntry(str(error.filename), "", f"folder cannot be opened: {error.strerror}"))

    return note


def _glob(pattern: Path) -> list[Path]:
    """All files that match, sorted by path."""
    return sorted(Path(name) for name in glob.glob(str(pattern), recursive=True) if Path(name).is_file())


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _same(file: Path, other: Path) -> bool:
    """Whether two paths are one file."""
    return file.resolve() == other.expanduser().resolve()
