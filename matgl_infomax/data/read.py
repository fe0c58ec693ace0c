"""Crystals from files: everything that can be used, and a reason for everything that cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.check import why_bad
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.draft import BadEntry, Draft, guarded
from matgl_infomax.data.formats import read_file
from matgl_infomax.data.labels import (
    ID_COLUMNS,
    LabelTable,
    array_labels,
    match_labels,
    numeric_labels,
    read_label_table,
)
from matgl_infomax.data.sources import find_files
from matgl_infomax.data.tables import read_frame
from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

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
            ignored: files that are no crystals.

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
            lines.append(f"{len(self.ignored)} files ignored, whose ending is no crystal's: {few}")
        return "\n".join(lines)


def read_crystals(
    source: str | Path | pd.DataFrame,
    *,
    targets: Sequence[str] = (),
    arrays: Sequence[str] = (),
    labels_file: Path | None = None,
    id_column: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    progress: bool = False,
) -> Crystals:
    """Read crystals and their labels, and check every one of them.

    Args:
        source: file, folder (with all below it), glob, or pandas table.
        targets: columns that hold measured values; without any, all columns of ``labels_file`` are read.
        arrays: columns beside the crystals that hold several numbers each, such as forces.
        labels_file: CSV with a column ``id`` and one column per target; it wins over columns beside the crystals.
        id_column: column that names each crystal; by default ``mbid``, ``material_id``, ``id`` or ``entry_id``,
            else the file's path or the row number.
        on_error: stop with the list of everything that is bad, or skip it and keep the list.
        progress: show a bar.

    Returns:
        The good crystals in the order of the source; ``bad`` holds the rest.

    Raises:
        InputError: If the source is missing, a target or column is unknown, nothing good is left, or
            something is bad and ``on_error`` is ``stop``.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error is 'stop' or 'skip'. Received: {on_error!r}.")
    targets = [targets] if isinstance(targets, str) else list(targets)
    table = read_label_table(Path(labels_file), targets, id_column) if labels_file is not None else None
    wanted = frozenset([*targets, *arrays, *([id_column] if id_column else ID_COLUMNS)])
    entries, ignored = _read_all(source, wanted, Path(labels_file) if labels_file is not None else None, progress)

    bad = [entry for entry in entries if isinstance(entry, BadEntry)]
    drafts = [entry for entry in entries if isinstance(entry, Draft)]
    _require_columns(drafts, targets, table, id_column)
    _require_arrays(drafts, arrays)
    good = _checked(_named(drafts, id_column, bad), bad)
    names = targets or (list(table.targets) if table else [])
    crystals = _labelled(good, names, table, bad, arrays)
    if bad and (on_error == "stop" or not crystals):
        raise InputError(_complaint(bad, len(crystals), stop=on_error == "stop"))
    return Crystals(crystals, targets=names, bad=bad, ignored=ignored)


def _read_all(
    source: Any, wanted: frozenset[str], labels_file: Path | None, progress: bool
) -> tuple[list[Draft | BadEntry], tuple[str, ...]]:
    """Every entry of every file, and the files that were ignored."""
    from tqdm import tqdm

    if not isinstance(source, str | Path):
        if not hasattr(source, "columns"):
            raise InputError(f"A path, a glob or a pandas table is needed. Received: {type(source).__name__}.")
        found = guarded("table", "", lambda: read_frame(source, wanted))
        return ([found] if isinstance(found, BadEntry) else found), ()
    files = find_files(source, labels_file)
    entries: list[Draft | BadEntry] = list(files.bad)
    places = list(zip(files.paths, files.ids, strict=True))
    with tqdm(places, desc="Reading crystals", unit="file", disable=not progress) as bar:
        for path, id in bar:
            entries += read_file(path, id, wanted, alone=len(places) == 1)
            bar.set_postfix(crystals=len(entries), refresh=False)
    return entries, files.ignored


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
            raise InputError(f"No column holds the arrays. Received: {name}. Forces and stresses lie beside crystals.")


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
        elif name in first:
            bad.append(BadEntry(draft.source, name, f"duplicate id: {name} is already at {first[name]}"))
        else:
            draft.id, first[name] = name, draft.source
            kept.append(draft)
    return kept


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


def _complaint(bad: Sequence[BadEntry], n_good: int, *, stop: bool) -> str:
    """The text of the error: all that is bad, and what to do."""
    lines = [f"  {entry}" for entry in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  ... and {len(bad) - _SHOWN} more")
    head = f"{len(bad)} bad {'entry' if len(bad) == 1 else 'entries'}, {n_good} good crystals:"
    remedy = "Repair or remove what is listed."
    if stop and n_good:
        remedy = "Repair or remove what is listed, or go on without it: --on-error skip."
    elif not n_good:
        remedy = "No crystal is left. Repair what is listed."
    return "\n".join([head, *lines, remedy])
