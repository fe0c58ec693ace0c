"""Crystals from files: everything that can be used, and a reason for everything that cannot."""

from __future__ import annotations

import csv
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import BadEntry, Crystal, Draft, plain_numbers, printable, shorten, why_bad
from matgl_infomax.data.find import find_files, own_output
from matgl_infomax.data.formats import ID_COLUMNS, OTHER_CONTENT, plain_stem, read_file
from matgl_infomax.data.inputs import Held, is_path, read_held, split_targets, whole_crystals, with_labels
from matgl_infomax.errors import InputError
from matgl_infomax.io import given_path, is_number, plain_cell
from matgl_infomax.settings import training

if TYPE_CHECKING:
    from matgl_infomax.data.inputs import Source, Targets

__all__ = ["BadEntry", "Crystals", "read_crystals"]

_SHOWN = 200
"""Bad entries in an error message; a table of a million bad rows must not flood the terminal."""


class Crystals(Sequence[Crystal]):
    """An unchangeable list of crystals with unique ids, and what was left out on the way to it."""

    def __init__(
        self,
        crystals: Iterable[Crystal],
        *,
        targets: Sequence[str] | None = None,
        bad: Iterable[BadEntry] = (),
        ignored: Iterable[str] = (),
    ) -> None:
        """Hold crystals together.

        Args:
            crystals: the crystals, in order.
            targets: names of the labels; by default all names that occur.
            bad: what was skipped.
            ignored: files that are no crystals, those of saved models and runs among them.

        Raises:
            InputError: If two crystals have the same id.
        """
        self._items = tuple(crystals)
        self.bad = tuple(bad)
        self.ignored = tuple(ignored)
        known = {target for crystal in self._items for target in crystal.labels}
        self._targets = tuple(targets) if targets is not None else tuple(sorted(known))
        if len({crystal.id for crystal in self._items}) < len(self._items):
            seen: set[str] = set()
            twice = next(c.id for c in self._items if c.id in seen or seen.add(c.id))  # type: ignore[func-returns-value]
            raise InputError(f"Each crystal needs an id of its own. Received twice: {twice}.")

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Crystal: ...
    @overload
    def __getitem__(self, index: slice) -> Crystals: ...
    def __getitem__(self, index: int | slice) -> Crystal | Crystals:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(len(self))))
        return self._items[index]

    def __iter__(self) -> Iterator[Crystal]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"Crystals({len(self)} crystals, targets={self.targets}, {len(self.bad)} bad entries)"

    @property
    def ids(self) -> list[str]:
        """Names of the crystals, in order."""
        return [crystal.id for crystal in self._items]

    @property
    def targets(self) -> list[str]:
        """Names of the labels."""
        return list(self._targets)

    def labels(self, targets: Sequence[str]) -> NDArray[np.float64]:
        """Labels of all crystals, (n, T), NaN where missing.

        Raises:
            InputError: If a target is unknown.
        """
        targets = [targets] if isinstance(targets, str) else list(targets)
        unknown = [target for target in targets if target not in self._targets]
        if unknown:
            known = ", ".join(self._targets) or "none; name them when reading, with targets=[...]"
            raise InputError(f"Unknown target. Received: {', '.join(unknown)}. Known: {known}.")
        rows = [[crystal.labels.get(target, np.nan) for target in targets] for crystal in self._items]
        return np.array(rows, dtype=np.float64).reshape(len(self), len(targets))

    def subset(self, rows: Iterable[int] | NDArray[Any]) -> Crystals:
        """Some of the crystals, by row number or by a mask; the list of bad entries is kept."""
        chosen = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        items = [self._items[int(row)] for row in chosen]
        return Crystals(items, targets=self._targets, bad=self.bad, ignored=self.ignored)

    def bad_report(self) -> str:
        """Everything that was left out, one line each with its reason; empty when nothing was."""
        lines = [f"{len(self.bad)} bad entries, left out:", *(f"  {entry}" for entry in self.bad)] if self.bad else []
        if self.ignored:
            few = ", ".join(self.ignored[:5]) + (", ..." if len(self.ignored) > 5 else "")
            lines.append(f"{len(self.ignored)} files ignored, no crystals by their ending or by what they are: {few}")
        return "\n".join(lines)


def read_crystals(
    source: Source,
    *,
    targets: Targets = (),
    arrays: Sequence[str] = (),
    labels_file: Path | str | None = None,
    id_column: str | None = None,
    structure_column: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    progress: bool = False,
) -> Crystals:
    """Read crystals and their labels, and check every one of them.

    Args:
        source: file, folder (with all below it) or glob; a list of pymatgen ``Structure``, ASE ``Atoms``, ``Crystal``,
            paths or texts of CIFs; a pandas table or Series; a mapping of names to structures; or one structure.
        targets: columns that hold measured values; without any, all columns of ``labels_file`` are read, and Crystals
            keep theirs. Or the values themselves, NaN where unknown: an array, list or Series in the order of the
            source or under its index, or a dictionary of names and values. Values without a name are called "y".
        arrays: columns beside the crystals that hold several numbers each, such as forces.
        labels_file: CSV with a column ``id`` and one column per target; it wins over columns beside the crystals.
        id_column: column that names each crystal; by default ``mbid``, ``material_id``, ``id`` or ``entry_id``,
            else the file's path or the row number.
        structure_column: column of a pandas table that holds structures or the text of CIFs; by default ``structure``,
            else the only one that does.
        on_error: stop with the list of everything that is bad, or skip it and keep the list.
        progress: show a bar.

    Returns:
        The good crystals in the order of the source; ``bad`` holds the rest.

    Raises:
        InputError: If the source is missing or of another kind, a target or column is unknown, labels do not fit the
            crystals, nothing good is left, or something is bad and ``on_error`` is ``stop``.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error is 'stop' or 'skip'. Received: {on_error!r}.")
    targets, given = split_targets(targets)
    arrays = [arrays] if isinstance(arrays, str) else list(arrays)
    whole = whole_crystals(source)
    if whole is not None and not given and (labels_file, id_column, structure_column) == (None, None, None):
        return _kept(whole, targets, arrays, on_error == "stop")
    table = _label_table(labels_file, targets, bool(given), id_column)
    wanted = frozenset([*targets, *arrays, *([id_column] if id_column else ID_COLUMNS)])
    held = _taken_in(source, wanted, table.path if table else None, structure_column, progress)
    held = with_labels(held, given, [_called(entry, id_column) for entry in held.entries])
    names = targets or (list(table.targets) if table else list(held.labels))
    good, bad = _finished(held, names, table, arrays or list(held.arrays), id_column)
    _refuse(bad, len(good), stop=on_error == "stop")
    return Crystals(good, targets=names, bad=bad, ignored=held.ignored)


def _finished(
    held: Held, targets: Sequence[str], table: LabelTable | None, arrays: Sequence[str], id_column: str | None
) -> tuple[list[Crystal], list[BadEntry]]:
    """The entries that are crystals, with ids and labels, and everything that is bad."""
    bad = [entry for entry in held.entries if isinstance(entry, BadEntry)]
    drafts = [entry for entry in held.entries if isinstance(entry, Draft)]
    _require_columns(drafts, targets, table, id_column)
    _require_arrays(drafts, arrays)
    good = _checked(_named(drafts, id_column, bad), bad)
    return _labelled(good, targets, table, bad, arrays), bad


def _label_table(
    file: Path | str | None, targets: Sequence[str], given: bool, id_column: str | None
) -> LabelTable | None:
    """The CSV of labels, if there is one."""
    if file is None:
        return None
    if given:
        raise InputError("Labels come from labels_file or are given as values, not both.")
    return read_label_table(given_path(file, "labels_file"), targets, id_column)


def _taken_in(
    source: Any, wanted: frozenset[str], labels_file: Path | None, structure_column: str | None, progress: bool
) -> Held:
    """The entries of files, or of what is in memory."""
    if is_path(source) and structure_column is None:
        return _read_paths(source, wanted, labels_file, progress)
    return read_held(source, wanted, structure_column, lambda path: _read_paths(path, wanted).entries)


def _kept(crystals: Sequence[Crystal], targets: Sequence[str], arrays: Sequence[str], stop: bool) -> Crystals:
    """Crystals as they are, with all that they carry; those of a list are checked like any others."""
    for what, asked in (("target", targets), ("arrays", arrays)):
        offered = {name for crystal in crystals for name in (crystal.labels if what == "target" else crystal.arrays)}
        for name in asked:
            if name not in offered:
                known = ", ".join(sorted(offered)) or "none"
                raise InputError(f"No crystal carries the {what}. Received: {name}. Found: {known}.")
    names = targets or None
    if isinstance(crystals, Crystals):
        return Crystals(crystals, targets=names or crystals.targets, bad=crystals.bad, ignored=crystals.ignored)
    drafts = [Draft.of(c.id, c.source or f"item {k}", (c.numbers, c.lattice, c.frac)) for k, c in enumerate(crystals)]
    bad: list[BadEntry] = []
    places = {id(draft): crystal for draft, crystal in zip(drafts, crystals, strict=True)}
    good = [places[id(draft)] for draft in _checked(_named(drafts, None, bad), bad)]
    _refuse(bad, len(good), stop=stop)
    return Crystals(good, targets=names, bad=bad)


def _called(entry: Draft | BadEntry, id_column: str | None) -> str:
    """The name of an entry, before it is known whether the name can be used."""
    if isinstance(entry, BadEntry):
        return entry.id
    column = id_column if id_column in entry.names else next((name for name in ID_COLUMNS if name in entry.names), None)
    return str(entry.fields.get(column, entry.id) if column else entry.id).strip()


def _read_paths(
    source: str | os.PathLike[str], wanted: frozenset[str], labels_file: Path | None = None, progress: bool = False
) -> Held:
    """Every entry of every file, and the files that were ignored."""
    source = os.fspath(source)
    files = find_files(source, labels_file)
    entries: list[Draft | BadEntry] = list(files.bad)
    own: list[str] = []
    places = list(zip(files.paths, files.ids, strict=True))
    with progress_bar(places, desc="Reading crystals", unit="file", shown=progress) as bar:
        for path, id in bar:
            found = read_file(path, id, wanted, alone=len(places) == 1)
            if len(places) > 1 and _holds_other_things(found) and own_output(path):
                own.append(str(path))  # a saved model is no crystal, and no broken one either
            else:
                entries += found
            bar.set_postfix(crystals=len(entries), refresh=False)
    in_order = Path(source).expanduser().is_file()  # the rows of one file have an order, the files of a folder none
    return Held(entries, by_position=in_order, named=True, ignored=(*files.ignored, *own))


def _holds_other_things(found: Sequence[Draft | BadEntry]) -> bool:
    """Whether a file is sound, but holds no crystals."""
    return len(found) == 1 and isinstance(found[0], BadEntry) and found[0].reason.startswith(OTHER_CONTENT)


def _require_columns(
    drafts: Sequence[Draft], targets: Sequence[str], table: LabelTable | None, id_column: str | None
) -> None:
    """Refuse a target or id column that exists nowhere: that is a misspelt setting, not a bad crystal."""
    if not drafts:
        return
    beside = {name for names in {draft.names for draft in drafts} for name in names}
    for target in targets:
        if target not in beside and target not in (table.targets if table else ()):
            offered = ", ".join(sorted(beside | set(table.columns if table else ()))) or "none"
            hint = "" if table else " Labels in a CSV are given with --labels-file."
            raise InputError(f"No column holds the target. Received: {target}. Columns found: {offered}.{hint}")
    if id_column and id_column not in beside and id_column != (table.id_column if table else ""):
        offered = ", ".join(sorted(beside)) or "none"
        raise InputError(f"No column of that name holds ids. Received: {id_column}. Columns found: {offered}.")


def _require_arrays(drafts: Sequence[Draft], arrays: Sequence[str]) -> None:
    """Refuse a column of arrays that no crystal has."""
    for name in arrays if drafts else ():
        if not any(draft.fields.get(name) is not None for draft in drafts):
            offered = sorted({column for lists in {draft.lists for draft in drafts} for column in lists})
            found = f"Columns of arrays found: {', '.join(offered) or 'none'}."
            raise InputError(
                f"No column holds the arrays. Received: {name}. {found} Forces and stresses lie beside crystals."
            )


def _named(drafts: Sequence[Draft], id_column: str | None, bad: list[BadEntry]) -> list[Draft]:
    """Drafts under their final ids; a second one of the same id is bad."""
    kept: list[Draft] = []
    first: dict[str, str] = {entry.id: entry.source for entry in bad if entry.id}
    offered = id_column is not None and any(id_column in names for names in {draft.names for draft in drafts})
    for draft in drafts:
        column = id_column if offered else next((name for name in ID_COLUMNS if name in draft.names), None)
        value = draft.fields.get(column) if column else draft.id
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of integers with one gap arrives as floats
        name = str(value).strip()
        if value is None or name in ("", "nan", "<NA>", "NaT"):
            bad.append(BadEntry(draft.source, draft.id, f"no id in column '{column}'"))
        elif fault := _id_fault(name):
            bad.append(BadEntry(draft.source, shorten(name, 60), fault))
        elif name in first:
            bad.append(BadEntry(draft.source, name, f"duplicate id: {name} is already at {first[name]}"))
        else:
            draft.id, first[name] = name, draft.source
            kept.append(draft)
    return kept


LONGEST_ID = 1000
"""Characters; a path of a file may be an id."""


def _id_fault(name: str) -> str | None:
    """Why an id cannot be written into a table, a message or a file's name."""
    if len(name) > LONGEST_ID:
        return f"an id of {len(name)} characters; at most {LONGEST_ID} are read"
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        return f"an id with control characters: {shorten(printable(name), 60)}"
    return None


def _checked(drafts: Sequence[Draft], bad: list[BadEntry]) -> list[Draft]:
    """Drafts that can be crystals."""
    reasons = why_bad(drafts)
    bad += [BadEntry(draft.source, draft.id, r) for draft, r in zip(drafts, reasons, strict=True) if r is not None]
    return [draft for draft, reason in zip(drafts, reasons, strict=True) if reason is None]


def _labelled(
    drafts: Sequence[Draft],
    targets: Sequence[str],
    table: LabelTable | None,
    bad: list[BadEntry],
    arrays: Sequence[str] = (),
) -> list[Crystal]:
    """Crystals with their labels."""
    listed: dict[str, dict[str, float]] = {}
    if table is not None:
        listed, wrong = match_labels(table, [draft.id for draft in drafts], [entry.id for entry in bad])
        bad += [*table.bad, *wrong]
    columns = [target for target in targets if table is None or target not in table.targets]
    crystals: list[Crystal] = []
    for draft in drafts:
        cells = {target: draft.fields[target] for target in columns if target in draft.fields}
        labels, wrong = numeric_labels(cells, draft.source, draft.id)
        bad += wrong
        labels |= listed.get(draft.id, {})
        found, wrong = array_labels({name: draft.fields.get(name) for name in arrays}, draft.source, draft.id)
        bad += wrong
        crystals.append(Crystal(draft.id, draft.numbers, draft.lattice, draft.frac, labels, draft.source, found))
    return crystals


def _refuse(bad: Sequence[BadEntry], n_good: int, *, stop: bool) -> None:
    """Stop at what is bad, unless it is to be left out and something good is left."""
    if bad and (stop or not n_good):
        raise InputError(_complaint(bad, n_good, stop=stop))


def _complaint(bad: Sequence[BadEntry], n_good: int, *, stop: bool) -> str:
    """The text of the error: all that is bad, and what to do."""
    lines = [f"  {entry}" for entry in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  ... and {len(bad) - _SHOWN} more")
    head = f"{len(bad)} bad {'entry' if len(bad) == 1 else 'entries'}, {n_good} good crystals:"
    remedy = "Repair or remove what is listed."
    if stop and n_good:
        remedy = "Repair or remove what is listed, or go on without it: --on-error skip (in Python on_error='skip')."
    elif not n_good:
        remedy = "No crystal is left. Repair what is listed."
    return "\n".join([head, *lines, remedy])


# Measured values: from the columns beside the crystals, or from a CSV with one row per crystal.

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
        word = value.decode("ascii", errors="replace") if isinstance(value, bytes) else value
        number = float(value) if not isinstance(word, str) or is_number(word) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        # pandas' missing values refuse float(); everything else that does is a mistake.
        if str(value).lower() in _MISSING | {"nat"}:
            return None
        raise ValueError(f"{shorten(repr(value), 60)} is no number")
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
            rows = [np.ravel(plain_numbers(part)) for part in cell]
            found = np.concatenate(rows) if rows else np.zeros(0)
        except (TypeError, ValueError, OverflowError):
            bad.append(BadEntry(source, id, f"column '{name}': {shorten(repr(cell), 60)} is no list of numbers"))
            continue
        if np.isinf(found).any():
            bad.append(BadEntry(source, id, f"column '{name}': a value is not finite (NaN means missing)"))
        else:
            arrays[name] = found
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
        found = printable(", ".join(header))
        raise InputError(f"{path} has no column '{wanted}' that names the crystals. Received: {found}.")
    offered = tuple(name for name in header if name not in (ids, ""))
    columns = tuple(name for name in offered if not targets or name in targets)
    if not offered:
        raise InputError(f"{path} has no column of labels. Received: {printable(', '.join(header))}.")
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
    header = [plain_cell(name.strip()) for name in lines[0][1]]
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


def read_column(path: Path, name: str, ids: Sequence[str], id_column: str | None = None) -> dict[str, str]:
    """One column of a CSV as it is written, by the id of its crystal; empty cells and unknown crystals are left out.

    Args:
        path: CSV with a column of ids.
        name: the column, of any content.
        ids: crystals.
        id_column: column of the ids; found by itself when left out.

    Raises:
        InputError: If the file cannot be read or has no such column.
    """
    table = read_label_table(path, [name], id_column)
    if name not in table.columns:
        raise InputError(f"{path} has no column {name!r}. Received: {', '.join(table.columns)}.")
    known, short = set(ids), _short_names(ids)
    found: dict[str, str] = {}
    for _, label, cells in table.rows:
        fits = _fitting(label, known, short)
        if len(fits) == 1 and cells[name].strip():
            found[fits[0]] = cells[name].strip()
    return found


def _fitting(name: str, known: set[str], short: Mapping[str, list[str]]) -> list[str]:
    """Ids that a name in the CSV may mean."""
    # Tables that we wrote have an apostrophe before '='; others may mean an id that begins with one.
    plain = plain_cell(name)
    for candidate in (plain, name, plain_stem(PurePosixPath(plain))):
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


def read_data(settings: training.DataSettings, columns: training.LabelColumns | None = None) -> Any:
    """The crystals a command works on, with columns of energies, forces and stresses; what was skipped is listed."""
    energy, arrays = ([], []) if columns is None else columns.names
    crystals = read_crystals(
        settings.data,
        targets=list(dict.fromkeys([*settings.target, *energy])),
        arrays=arrays,
        labels_file=settings.labels_file,
        id_column=settings.id_column,
        on_error=settings.on_error,
        progress=True,
    )
    if crystals.bad:
        print(crystals.bad_report(), file=sys.stderr)
    return crystals
