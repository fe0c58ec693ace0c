"""From what the user names (a file, a folder, a glob) to the files to read."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from matgl_infomax.data.crystal import BadEntry, printable
from matgl_infomax.data.formats import file_kind, known_endings, plain_stem
from matgl_infomax.errors import InputError

OWN_MARKS = (("run.json",), ("store.json",), ("model.json", "model.pt", "state.pt"))
"""Files by which a folder shows that this package or MatGL wrote it; all of one group have to be there."""


@dataclass(frozen=True)
class Files:
    """Files in a fixed order, each with the name of its crystal."""

    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    """Files in a folder or glob whose ending is not a crystal's."""
    bad: tuple[BadEntry, ...] = ()
    """Folders that could not be opened, and files that cannot be read by their kind or name."""


def find_files(source: str | Path, skip: Path | None = None) -> Files:
    """The files that a path or a glob means.

    A crystal in a folder is called by its path below that folder, without the ending; hidden files are not seen.
    Linked folders are read as if they lay there, each folder once.

    Args:
        source: file, folder (searched with all below it) or glob.
        skip: a file that is known to be something else (the labels).

    Raises:
        InputError: If nothing is there, or nothing that could be a crystal.
    """
    if not str(source).strip():
        raise InputError("The name of the data is empty. Give a file, a folder or a glob.")
    path = Path(source).expanduser()
    if path.is_file():
        _refuse_name(path)
        return Files((path,), (plain_stem(Path(path.name)),))
    bad: list[BadEntry] = []
    if path.is_dir():
        base = path
        found = _walk(path, bad)
        what = "folder"
    elif glob.has_magic(str(source)):
        base = _fixed_part(path)
        found = _glob(path)
        what = "pattern"
    else:
        raise InputError(f"There is no such file or folder. {_received(path, source)} Give a file, a folder or a glob.")
    _refuse_name(base)
    found = [file for file in found if skip is None or not _same(file, skip)]
    ignored = tuple(printable(str(file)) for file in found if not file_kind(file))
    crystals = _sound([file for file in found if file_kind(file)], base, bad)
    if not crystals:
        held = f"{len(found)} other files" if found else "nothing"
        why = "".join(f" {entry}." for entry in bad)
        received = f"The {what} {source} holds no crystals. Received: {held}.{why}"
        raise InputError(f"{received} Endings read: {known_endings()}.")
    ids = tuple(plain_stem(file.relative_to(base)) for file in crystals)
    return Files(tuple(crystals), ids, ignored, tuple(bad))


def _received(path: Path, source: str | Path) -> str:
    """What was named instead of a file or folder."""
    kind = _odd_kind(path)
    return f"Received: {printable(str(source))}{f' ({kind})' if kind else ''}."


def _sound(files: Iterable[Path], base: Path, bad: list[BadEntry]) -> list[Path]:
    """Files that can be opened without hanging, under names that can be written down; the others are bad."""
    kept: list[Path] = []
    for file in files:
        reason = "the name of the file is not UTF-8 text; rename it" if not _is_text(file) else _odd_kind(file)
        if reason:
            bad.append(BadEntry(printable(str(file)), plain_stem(file.relative_to(base)), reason))
        else:
            kept.append(file)
    return kept


def _odd_kind(path: Path) -> str | None:
    """What a path is that is neither a regular file nor absent; a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"a broken link to {os.readlink(path)}" if path.is_symlink() else None
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return f"no regular file, but {kinds.get(stat.S_IFMT(mode), 'something else')}"


def _is_text(path: Path) -> bool:
    """Whether the name of a path can be written as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_name(path: Path) -> None:
    """Refuse a source whose own name cannot be written down: every message would fail on it."""
    if not _is_text(path):
        raise InputError(f"The name of the data is not UTF-8 text. Received: {printable(str(path))}. Rename it.")


def _walk(folder: Path, bad: list[BadEntry]) -> list[Path]:
    """All files below a folder, sorted by path; folders behind links come last, and none is read twice."""
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    above = {_identity(parent) for parent in folder.resolve().parents}
    while waiting:
        start = waiting.pop(0)
        try:
            upward = start != folder and _identity(start) in above
        except OSError as error:
            _reporter(bad)(error)
            continue
        if upward:
            bad.append(BadEntry(printable(str(start)), "", "a link to a folder above the data; it is not followed"))
            continue
        files += _walk_one(start, seen, waiting, bad)
    return sorted(files)


def _walk_one(start: Path, seen: set[tuple[int, int]], waiting: list[Path], bad: list[BadEntry]) -> list[Path]:
    """Files below one folder that no walk has seen yet; links to folders are put on the waiting list."""
    files: list[Path] = []
    for where, folders, names in os.walk(start, onerror=_reporter(bad)):
        place = _identity(Path(where))
        if place in seen:
            folders[:] = []
            continue
        seen.add(place)
        linked = {name for name in folders if os.path.islink(os.path.join(where, name))}
        waiting += [Path(where, name) for name in sorted(linked) if not name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in linked]
        files += [Path(where, name) for name in names if not name.startswith(".")]
    return files


def _identity(folder: Path) -> tuple[int, int]:
    """Device and number of a folder: the same however it is reached."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _reporter(bad: list[BadEntry]) -> Callable[[OSError], None]:
    """Notes folders that cannot be opened; os.walk would leave them out in silence."""

    def note(error: OSError) -> None:
        bad.append(BadEntry(printable(str(error.filename)), "", f"folder cannot be opened: {error.strerror}"))

    return note


def _glob(pattern: Path) -> list[Path]:
    """All that matches and is no folder, sorted by path; a file that links reach several times is taken once."""
    found: dict[tuple[str, str], Path] = {}
    matches = (Path(name) for name in glob.glob(str(pattern), recursive=True))
    for file in sorted(matches, key=lambda file: (len(file.parts), file)):
        if not file.is_dir():
            found.setdefault((os.path.realpath(file.parent), file.name), file)
    return sorted(found.values())


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


def own_output(file: Path) -> bool:
    """Whether a file lies in, or at most three folders below, a folder that this package or MatGL wrote.

    Args:
        file: a file that holds no crystals, such as the ``model.json`` of a saved model.
    """
    folders = list(file.absolute().parents)[:4]
    return any(all((folder / name).is_file() for name in group) for folder in folders for group in OWN_MARKS)
