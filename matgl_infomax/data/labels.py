"""Measured values: from the columns beside the crystals, or from a CSV with one row per crystal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.draft import BadEntry, shorten
from matgl_infomax.data.formats import plain_stem
from matgl_infomax.errors import InputError

ID_COLUMNS = ("mbid", "material_id", "id", "entry_id", "__index_level_0__")
"""Columns that name a crystal, the first one present counts."""
_MISSING = {"", "nan", "na", "n/a", "none", "null", "<na>", "-"}
_TRUTH = {"false": 0.0, "true": 1.0}


@dataclass(frozen=True)
class LabelTable:
    """A CSV of labels: its targets, and the cells of each crystal with the line they stand on."""

    path: Path
    id_column: str
    targets: tuple[str, ...]
    columns: tuple[str, ...]
    """All columns of labels, wanted or not, for messages."""
    rows: tuple[tuple[str, str, dict[str, str]], ...]
    """(place for messages, id, cell by target)."""
    bad: tuple[BadEntry, ...]


def to_label(value: Any) -> float | None:
    """A measured value as a number, false and true as 0 and 1; None where it is missing.

    Raises:
        ValueError: If it is no finite number; the text says what was received.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return None
    if isinstance(value, str) and value.strip().lower() in _TRUTH:
        return _TRUTH[value.strip().lower()]
    try:
        number = float(value)
    except (TypeError, ValueError):
        # pandas' missing values refuse float(); everything else that does is a mistake.
        if str(value).lower() in _MISSING | {"nat"}:
            return None
        raise ValueError(f"{shorten(repr(value), 60)} is no number") from None
    if isnan(number):
        return None
    if not isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


def numeric_labels(cells: Mapping[str, Any], source: str, id: str) -> tuple[dict[str, float], list[BadEntry]]:
    """The labels among some cells, and the cells that are none; a missing label is absent."""
    labels: dict[str, float] = {}
    bad: list[BadEntry] = []
    for target, cell in cells.items():
        try:
            number = to_label(cell)
        except ValueError as error:
            bad.append(BadEntry(source, id, f"label '{target}': {error} (an empty cell means missing)"))
            continue
        if number is not None:
            labels[target] = number
    return labels, bad


def array_labels(
    cells: Mapping[str, Any], source: str, id: str
) -> tuple[dict[str, NDArray[np.float64]], list[BadEntry]]:
    """The arrays among some cells, flat, and the cells that are none; a missing array is absent."""
    arrays: dict[str, NDArray[np.float64]] = {}
    bad: list[BadEntry] = []
    for name, cell in cells.items():
        if cell is None or (isinstance(cell, float) and isnan(cell)):
            continue
        try:
            rows = [np.ravel(np.asarray(part, dtype=np.float64)) for part in cell]
            arrays[name] = np.concatenate(rows) if rows else np.zeros(0)
        except (TypeError, ValueError):
            bad.append(BadEntry(source, id, f"column '{name}': {shorten(repr(cell), 60)} is no list of numbers"))
    return arrays, bad


def read_label_table(path: Path, targets: Sequence[str], id_column: str | None = None) -> LabelTable:
    """Read a CSV with a column of ids and one column per target; comma, semicolon or tab separated.

    Args:
        path: the CSV.
        targets: columns to read; those the file does not have are left out, none means all columns.
        id_column: column of the ids; found by itself when left out.

    Raises:
        InputError: If the file cannot be read, has no column of ids, or no column of labels.
    """
    header, lines = _cells(path)
    ids = next((name for name in (id_column, *ID_COLUMNS) if name in header), None)
    if ids is None:
        wanted = id_column or "id"
        raise InputError(f"{path} has no column '{wanted}' that names the crystals. Received: {', '.join(header)}.")
    offered = tuple(name for name in header if name not in (ids, ""))
    columns = tuple(name for name in offered if not targets or name in targets)
    if not offered:
        raise InputError(f"{path} has no column of labels. Received: {', '.join(header)}.")
    rows: list[tuple[str, str, dict[str, str]]] = []
    bad: list[BadEntry] = []
    seen: set[str] = set()
    for number, line in lines:
        place = f"{path} line {number}"
        row = dict(zip(header, line, strict=False))
        name = row.get(ids, "").strip()
        reason = _row_fault(name, len(line), len(header), seen)
        if reason:
            bad.append(BadEntry(place, name, reason))
            continue
        seen.add(name)
        rows.append((place, name, {column: row.get(column, "") for column in columns}))
    return LabelTable(path, ids, columns, offered, tuple(rows), tuple(bad))


def _row_fault(name: str, cells: int, columns: int, seen: set[str]) -> str | None:
    """Why a line of the CSV cannot be used."""
    if cells > columns:
        return f"{cells} cells under {columns} column names"
    if not name:
        return "a label without an id"
    return "duplicate id: it has labels on an earlier line" if name in seen else None


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and the cells of each line with its number; blank lines are left out."""
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"The file of labels does not exist. Received: {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file of labels cannot be read as text. Received: {path} ({error}).") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise InputError(f"The file of labels is no CSV. Received: {path} ({error}).") from error
    if not lines:
        raise InputError(f"The file of labels is empty. Received: {path}. It needs 'id,target' and a line per crystal.")
    header = [name.strip() for name in lines[0][1]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns of one name. Received: {', '.join(twice)}. Rename one.")
    return header, lines[1:]


def match_labels(
    table: LabelTable, ids: Iterable[str], bad_ids: Iterable[str]
) -> tuple[dict[str, dict[str, float]], list[BadEntry]]:
    """Labels by the id of their crystal, and the rows that cannot be used.

    An id may be given in full, with its file's ending, or as the file's name alone where only one crystal
    has it. A row whose crystal is itself bad is no second mistake.
    """
    ids = list(ids)
    known, spoilt = set(ids), set(bad_ids)
    short = _short_names([*ids, *(spoilt - known)])
    labels: dict[str, dict[str, float]] = {}
    bad: list[BadEntry] = []
    for place, name, cells in table.rows:
        fits = _fitting(name, known | spoilt, short)
        if len(fits) != 1:
            several = f"fits {len(fits)} crystals ({', '.join(fits[:3])}): give the id in full"
            bad.append(BadEntry(place, name, f"label without a crystal: {several if fits else 'none has this id'}"))
            continue
        if fits[0] in labels:
            bad.append(BadEntry(place, name, f"duplicate id: {fits[0]} has labels on an earlier line"))
            continue
        values, wrong = numeric_labels(cells, place, name)
        bad += wrong
        if fits[0] in known:
            labels[fits[0]] = values
    return labels, bad


def _fitting(name: str, known: set[str], short: Mapping[str, list[str]]) -> list[str]:
    """Ids that a name in the CSV may mean."""
    for candidate in (name, plain_stem(PurePosixPath(name))):
        if candidate in known:
            return [candidate]
        if candidate in short:
            return short[candidate]
    return []


def _short_names(ids: Sequence[str]) -> dict[str, list[str]]:
    """Ids by the last part of their path; a POSCAR also by the name of its folder."""
    short: dict[str, list[str]] = {}
    for id in ids:
        path = PurePosixPath(id)
        names = {path.name}
        if path.name.upper().startswith(("POSCAR", "CONTCAR")) and path.parent.name:
            names |= {path.parent.as_posix(), path.parent.name}
        for name in names:
            short.setdefault(name, []).append(id)
    return short
