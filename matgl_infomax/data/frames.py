"""Extended XYZ and ASE databases, read by ASE; ids and labels stay as they are written."""

from __future__ import annotations

import io
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matgl_infomax.data.crystal import BadEntry, Draft, UnreadableError, decode_atoms, guarded, shorten
from matgl_infomax.data.poscar import refuse_underscores

_PAIR = re.compile(
    r"""(?P<key>"(?:\\.|[^"\\])*"|[^\s="']+)
        (?:\s*=\s*(?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^}]*\}|\[[^\]]*\]|[^\s]*))?""",
    re.VERBOSE,
)
"""A key and its value in the header of a frame; both may stand in quotes, and a value in brackets."""


def read_frames(text: str, path: str, id: str, wanted: frozenset[str]) -> list[Draft | BadEntry]:
    """Every frame of an (ext)xyz file, each read on its own so that one bad frame harms no other.

    Args:
        text: content of the file.
        path: of the file, for messages.
        id: name of the crystal, and the beginning of the names where there are several frames.
        wanted: columns to carry along.
    """
    frames = _split_frames(text.splitlines())
    entries: list[Draft | BadEntry] = []
    for k, lines in enumerate(frames):
        name, source = (id, path) if len(frames) == 1 else (f"{id}:{k}", f"{path} frame {k}")
        entries.append(guarded(source, name, lambda n=name, s=source, f=lines: _frame(n, s, f, wanted)))  # type: ignore[misc]
    return entries


def _split_frames(lines: list[str]) -> list[list[str]]:
    """Lines of each frame; what follows a broken count goes into one last frame."""
    frames: list[list[str]] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        count = lines[start].strip()
        end = start + int(count) + 2 if _is_count(count) else len(lines)
        frames.append(lines[start:end])
        start = end
    return frames


def _is_count(word: str) -> bool:
    """Whether a word is a number of atoms in plain digits."""
    return word.isascii() and word.isdigit() and len(word) < 12


def _frame(id: str, source: str, lines: list[str], wanted: frozenset[str]) -> Draft:
    """One frame of an (ext)xyz file."""
    from ase.io import read

    count = lines[0].strip()
    if not _is_count(count):
        raise UnreadableError(f"a frame begins with its number of atoms. Received: {shorten(count, 40)!r}")
    if len(lines) < int(count) + 2:
        raise UnreadableError(f"truncated: {count} atoms announced, {max(len(lines) - 2, 0)} lines found")
    header = header_values(lines[1])
    refuse_underscores([header.get("Lattice", ""), *lines[2:]])
    try:
        atoms: Any = read(io.StringIO("\n".join(lines) + "\n"), index=0, format="extxyz")
    except KeyError as error:
        raise UnreadableError(f"unknown element or column {error}") from error
    except (ValueError, OSError) as error:  # ase's XYZError is an OSError
        raise UnreadableError(f"truncated or malformed frame: {shorten(str(error))}") from error
    found = {**atoms.info, **(atoms.calc.results if atoms.calc else {})}
    fields = {**_site_columns({**atoms.arrays, **found}, header), **found, **_as_written(found, header)}
    return _draft(id, source, atoms, fields, wanted)


def header_values(line: str) -> dict[str, str]:
    """The pairs of a frame's header as text: ASE makes numbers of all that look like one, and 007 becomes 7.

    Raises:
        UnreadableError: If a key stands there twice, since only one of the values could be used.
    """
    found: dict[str, str] = {}
    for match in _PAIR.finditer(line):
        key, value = _unquoted(match["key"]), match["value"]
        if key in found:
            raise UnreadableError(f"two columns of one name. Received: {shorten(key, 60)}")
        found[key] = "" if value is None else _unquoted(value)
    columns = found.get("Properties", "").split(":")[::3]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise UnreadableError(f"two columns of one name. Received: {', '.join(twice)}")
    return found


def _unquoted(word: str) -> str:
    """A word without its quotes or brackets, and without the backslashes that protect a sign."""
    if len(word) > 1 and word[0] in "\"'{[" and word[-1] in "\"'}]":
        word = word[1:-1]
    return re.sub(r"\\(.)", r"\1", word)


def _as_written(found: Mapping[str, Any], header: Mapping[str, str]) -> dict[str, str]:
    """The single values of a header as they are written, without those that ASE knows as false and true."""
    return {
        key: header[key]
        for key, value in found.items()
        if key in header and np.ndim(value) == 0 and not isinstance(value, bool | np.bool_)
    }


def _site_columns(found: Mapping[str, Any], header: Mapping[str, str]) -> dict[str, Any]:
    """Columns of the list of atoms under the names they have in the file; forces may be called ``REF_forces``."""
    from ase.io.extxyz import REV_PROPERTY_NAME_MAP

    names = header.get("Properties", "").split(":")[::3]
    columns = {name: REV_PROPERTY_NAME_MAP.get(name, name) for name in names}
    return {name: found[kept] for name, kept in columns.items() if kept in found}


def _draft(id: str, source: str, atoms: Any, fields: Mapping[str, Any], wanted: frozenset[str]) -> Draft:
    """A crystal with the wanted fields; it names all that hold one value, and all that hold several."""
    single = tuple(sorted(str(key) for key, value in fields.items() if np.ndim(value) == 0))
    several = tuple(sorted(str(key) for key in fields if str(key) not in single))
    kept = {key: value for key, value in fields.items() if key in wanted}
    return Draft.of(id, source, decode_atoms(atoms), fields=kept, names=single, lists=several)


def read_ase_database(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """Every row of an ASE database.

    Args:
        path: the file.
        id: the beginning of the names where the file is one of several.
        wanted: columns to carry along.
        alone: whether the file is the whole data set, so that rows need no prefix.

    Raises:
        UnreadableError: If it is no database, or an empty one.
    """
    from ase.db import connect

    if not path.stat().st_size:
        raise UnreadableError("empty file")
    try:
        rows = list(connect(str(path), type="db", use_lock_file=False).select())
    except sqlite3.DatabaseError as error:
        raise UnreadableError(f"no ASE database, or a truncated one: {shorten(str(error))}") from error
    if not rows:
        raise UnreadableError("empty database")
    entries: list[Draft | BadEntry] = []
    for row in rows:
        name, source = (str(row.id) if alone else f"{id}:{row.id}"), f"{path} row {row.id}"
        entries.append(guarded(source, name, lambda n=name, s=source, r=row: _database_row(n, s, r, wanted)))  # type: ignore[misc]
    return entries


def _database_row(id: str, source: str, row: Any, wanted: frozenset[str]) -> Draft:
    """One row of an ASE database."""
    results = {key: row.get(key) for key in ("energy", "free_energy", "forces", "stress") if row.get(key) is not None}
    atoms = row.toatoms()
    data = {key: value for key, value in dict(row.data).items() if not isinstance(value, dict)}
    return _draft(id, source, atoms, {**data, **results, **row.key_value_pairs}, wanted)
