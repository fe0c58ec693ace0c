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
from matgl_infomax.errors import InputError, did_you_mean
from matgl_infomax.settings.base import Settings, mark, positional
from matgl_infomax.weights import folder_of, no_such_name

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


# Paths of settings are looked at before anything is read: what each has to be is said where it is declared.

MODEL_MARKS = ("model.json", "ensemble.json", "final.json")
"""Files of a saved model, of an ensemble, or of the final model of a learning curve."""


def check_paths(settings: Settings) -> None:
    """Look whether the paths of a command are there and can be used, without opening anything.

    A setting says what it needs with ``json_schema_extra={"path": ...}``: ``file``, ``folder``, ``any`` (of the two) or
    ``model`` for what is read; ``new folder``, ``new file`` or ``table`` for what is written.

    Raises:
        InputError: If something is missing, is of another kind, or cannot be written; the option is named.
    """
    for name, field in type(settings).model_fields.items():
        need, value = mark(field, "path"), getattr(settings, name)
        option = positional(field) or f"--{name.replace('_', '-')}"
        for path in [] if need is None or value is None else value if isinstance(value, list) else [value]:
            PATH_CHECKS[str(need)](Path(path).expanduser(), option)


def _file_there(path: Path, option: str) -> None:
    """A file that is read."""
    if path.is_dir():
        raise InputError(f"{option} needs a file. Received a folder: {path}.")
    if not path.exists():
        raise InputError(f"There is no file {path} ({option}).{_nearest(path)}")


def _folder_there(path: Path, option: str) -> None:
    """A folder that is read."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} needs a folder. Received a file: {path}.")
    if not path.exists():
        raise InputError(f"There is no folder {path} ({option}).{_nearest(path)}")


def _anything_there(path: Path, option: str) -> None:
    """A file or a folder that is read."""
    if not path.exists():
        raise InputError(f"There is no file or folder {path} ({option}).{_nearest(path)}")


def _model_there(path: Path, option: str) -> None:
    """The folder of a saved model or of an ensemble, or the name of weights that come with the package."""
    path = folder_of(path)
    if not path.exists():
        raise InputError(f"There is no folder {path} ({option}).{_nearest(path)}{no_such_name(path)}")
    _folder_there(path, option)
    if not any((path / name).is_file() for name in MODEL_MARKS):
        raise InputError(f"{path} holds no saved model ({option}): no {' or '.join(MODEL_MARKS)} is there.")


def _nearest(path: Path) -> str:
    """The part of a missing path that is there, and names in it that are like the one given."""
    above = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    if above is None or not os.access(above, os.R_OK | os.X_OK):
        return ""
    missing = path.absolute().relative_to(above).parts[0]
    here = did_you_mean(missing, (entry.name for entry in above.iterdir()))
    return here or f" The folder {above} is there, without {missing!r}."


def _new_folder(path: Path, option: str) -> None:
    """A folder that is written into, or made."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} needs a folder. A file is there: {path}. Choose another name.")
    _writable(path, option)


def _new_file(path: Path, option: str) -> None:
    """A file that is written, or written anew."""
    if path.is_dir():
        raise InputError(f"{option} needs a file. A folder is there: {path}. Choose another name.")
    _writable(path.parent, option)


def _writable(folder: Path, option: str) -> None:
    """A folder, or the nearest one above it that is there, takes files."""
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"Cannot write to {above} ({option}). Choose another place.")


def _new_table(path: Path, option: str) -> None:
    """A table that is written."""
    if path.suffix not in TABLES:
        raise InputError(
            f"Cannot tell the format of {path.name}. End the file's name with one of: {', '.join(TABLES)}."
        )
    _new_file(path, option)


TABLES = (".csv", ".parquet")
"""Endings of tables that are written."""
PATH_CHECKS: dict[str, Callable[[Path, str], None]] = {
    "file": _file_there,
    "folder": _folder_there,
    "any": _anything_there,
    "model": _model_there,
    "new folder": _new_folder,
    "new file": _new_file,
    "table": _new_table,
}
"""What a setting that is a path may need."""
