"""Crystals and labels that are in memory already: lists, tables, series, mappings and single structures.

Each becomes the entry that a file's row becomes, and is checked by the same rules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgl_infomax.data.crystal import BadEntry, Crystal, Draft, guarded, shorten
from matgl_infomax.data.formats import (
    ENCODING,
    STRUCTURE,
    Offered,
    atoms_entry,
    file_kind,
    read_frame,
    record_entry,
    row_entry,
)
from matgl_infomax.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from pymatgen.core import Structure

    Source = (
        str
        | os.PathLike[str]
        | pd.DataFrame
        | pd.Series
        | Structure
        | Atoms
        | Crystal
        | Mapping[str, Any]
        | Iterable[Any]
    )
    """Everything that crystals are taken from."""
    Targets = str | Sequence[Any] | pd.DataFrame | pd.Series | Mapping[str, Any]
    """Names of labels, or the labels themselves."""

Entry = Draft | BadEntry
ReadPath = Callable[[Path], list[Entry]]
"""Reads the entries of a file, folder or glob; an InputError where there are none."""

KINDS = (
    "Crystals are given as a list of pymatgen Structures, ASE Atoms, Crystals or paths, as a pandas table or Series, "
    "as a mapping of names to structures, as one structure, or as a file, folder or glob"
)
NAMELESS = "y"
"""What labels are called that come without a name."""


@dataclass(frozen=True)
class Held:
    """The entries of a source in memory, and what is known of their order and names."""

    entries: list[Entry]
    index: list[Any] | None = None
    """What a table, Series or mapping calls its rows; None where the source only counts them."""
    by_position: bool = True
    """Whether each item is one entry, so that labels may be given in the same order."""
    named: bool = False
    """Whether every entry has a name of its own, and not the number of its place."""
    labels: tuple[str, ...] = ()
    """Labels that Crystals carry."""
    arrays: tuple[str, ...] = ()
    """Arrays that Crystals carry."""
    ignored: tuple[str, ...] = ()
    """Files that are no crystals."""


def is_path(source: Any) -> bool:
    """Whether a source names files; a text of several lines is the content of one."""
    return isinstance(source, os.PathLike) or (isinstance(source, str) and not _is_text(source))


def _is_text(value: str) -> bool:
    """Whether a text is the content of a file, and not its name."""
    return "\n" in value or value.lstrip()[:1] in ("{", "[")


def is_one(value: Any) -> bool:
    """Whether a value is a single structure; Structures and Atoms are sequences of sites, too."""
    if isinstance(value, Mapping):
        return "sites" in value or STRUCTURE in value
    if isinstance(value, str):
        return _is_text(value)
    marks = ("frac_coords", "get_scaled_positions", "cart_coords")
    return isinstance(value, Crystal) or any(hasattr(value, mark) for mark in marks)


def whole_crystals(source: Any) -> Sequence[Crystal] | None:
    """The source itself where it is a sequence of nothing but Crystals; None for any other."""
    if isinstance(source, Crystal):
        return [source]
    if not isinstance(source, Sequence) or isinstance(source, str | bytes) or is_one(source) or not len(source):
        return None
    if isinstance(source, list | tuple):
        return source if all(isinstance(item, Crystal) for item in source) else None
    # Other sequences may make their items when asked for: one is enough to know them.
    return source if isinstance(source[0], Crystal) else None


def read_held(source: Any, wanted: frozenset[str], column: str | None, read: ReadPath) -> Held:
    """Every entry of a source in memory, unchecked.

    Args:
        source: what the user gave.
        wanted: columns to carry along.
        column: column of a table that holds the structures; found when None.
        read: reads what a path among the items names.

    Raises:
        InputError: If the source is of another kind or empty, or a table has no column of structures, or several.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return _table(source, wanted, column, read)
    if column is not None:
        raise InputError(f"structure_column is for a pandas table. Received: {type(source).__name__}.")
    if isinstance(source, pd.Series):
        return _items(source.tolist(), wanted, read, source.index.tolist())
    if is_one(source):
        return _items([source], wanted, read)
    if isinstance(source, Mapping):
        return _items(list(source.values()), wanted, read, list(source))
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | set | frozenset):
        order = " A set has no order." if isinstance(source, set | frozenset) else ""
        raise InputError(f"{KINDS}. Received: {type(source).__name__}.{order}")
    return _items(list(source), wanted, read)


def _items(items: list[Any], wanted: frozenset[str], read: ReadPath, index: list[Any] | None = None) -> Held:
    """The entries of items one by one."""
    if not items:
        raise InputError(f"There are no crystals: what was given is empty. {KINDS}.")
    ids = [str(label) for label in (range(len(items)) if index is None else index)]
    parts = [_entries(item, id, f"item {id}", wanted, read) for item, id in zip(items, ids, strict=True)]
    parts = _told_apart(items, parts)
    crystals = [item for item in items if isinstance(item, Crystal)]
    return Held(
        [entry for part in parts for entry in part],
        index,
        by_position=all(len(part) == 1 for part in parts),
        named=all(isinstance(item, Crystal) or is_path(item) for item in items),
        labels=tuple(dict.fromkeys(name for crystal in crystals for name in crystal.labels)),
        arrays=tuple(dict.fromkeys(name for crystal in crystals for name in crystal.arrays)),
    )


def _told_apart(items: list[Any], parts: list[list[Entry]]) -> list[list[Entry]]:
    """The entries of files under their folders' names where files of several folders are called the same."""
    paths = {row: Path(item) for row, item in enumerate(items) if is_path(item)}
    if len({path.name for path in paths.values()}) == len(paths):
        return parts
    folders = {row: os.path.abspath(path.parent) for row, path in paths.items()}
    base = os.path.commonpath(folders.values())
    below = {row: Path(os.path.relpath(folder, base)) for row, folder in folders.items()}
    return [
        [replace(entry, id=(below[row] / entry.id).as_posix()) for entry in part] if row in below else part
        for row, part in enumerate(parts)
    ]


def _entries(value: Any, id: str, source: str, wanted: frozenset[str], read: ReadPath) -> list[Entry]:
    """What one item of a list holds: one entry, or several of a file."""
    if is_path(value):
        return _of_path(value, id, read)
    if isinstance(value, Crystal):
        arrays = (value.numbers, value.lattice, value.frac)
        fields, names, lists = {**value.labels, **value.arrays}, tuple(value.labels), tuple(value.arrays)
        return [Draft.of(value.id, value.source or source, arrays, fields=fields, names=names, lists=lists)]
    if isinstance(value, Mapping):
        return [record_entry(value, id, source, wanted)]
    if hasattr(value, "get_scaled_positions"):
        return [guarded(source, id, lambda: atoms_entry(id, source, value, wanted))]
    fields, offered = _beside_structure(value, wanted) if hasattr(value, "frac_coords") else ({}, Offered(()))
    return [row_entry((value,), id, source, fields, offered)]


def _beside_structure(structure: Any, wanted: frozenset[str]) -> tuple[dict[str, Any], Offered]:
    """Properties of a pymatgen ``Structure`` and of its sites: the wanted ones, and the names of all."""
    beside = {str(name): value for name, value in (getattr(structure, "properties", None) or {}).items()}
    sites = tuple(structure[0].properties) if len(structure) else ()
    single = tuple(name for name, value in beside.items() if not isinstance(value, dict | list))
    lists = (*sites, *(name for name, value in beside.items() if isinstance(value, list)))
    fields = {name: [site.properties.get(name) for site in structure] for name in sites if name in wanted}
    return {**fields, **{name: value for name, value in beside.items() if name in wanted}}, Offered(single, lists)


def _of_path(value: Any, id: str, read: ReadPath) -> list[Entry]:
    """The entries of a path among other items; one that is not there is a bad entry like any other."""
    try:
        return read(Path(value))
    except InputError as error:
        return [BadEntry(str(value), id, shorten(str(error), 200))]


def _table(frame: pd.DataFrame, wanted: frozenset[str], column: str | None, read: ReadPath) -> Held:
    """Every row of a table: of plain lists, or of structures in one column."""
    frame = frame.rename(columns=str)
    if column is None and set(ENCODING) <= set(frame.columns):
        found = guarded("table", "", lambda: read_frame(frame, wanted))
    else:
        name = structure_column(frame, column)
        if list(frame.columns).count(name) == 1 and frame[name].map(is_path).any():
            opened: Any = {name: [_one_of_path(cell, read) if is_path(cell) else cell for cell in frame[name].tolist()]}
            frame = frame.assign(**opened)
        found = guarded("table", "", lambda: read_frame(frame, wanted, name))
    whole = not isinstance(found, BadEntry)
    return Held([found] if isinstance(found, BadEntry) else found, frame.index.tolist(), by_position=whole)


def _one_of_path(cell: Any, read: ReadPath) -> Entry:
    """The crystal of a file that a cell of a table names."""
    found = _of_path(cell, "", read)
    return found[0] if len(found) == 1 else BadEntry(str(cell), "", f"{len(found)} crystals in one file")


def structure_column(frame: pd.DataFrame, column: str | None) -> str:
    """The column of a table that holds its structures.

    Args:
        frame: the table; its columns are called by text.
        column: the one that is asked for; None takes ``structure``, or the only one that holds structures, the text of
            CIFs, or names of files that exist.

    Raises:
        InputError: If the column asked for is not there, or several hold structures.
    """
    columns = list(dict.fromkeys(frame.columns))
    if column is not None and column not in columns:
        near = did_you_mean(str(column), columns)
        raise InputError(f"The table has no column {column!r}. Columns: {', '.join(columns) or 'none'}.{near}")
    if column is not None or STRUCTURE in columns:
        return column or STRUCTURE
    firsts = {name: values.iloc[0] for name in columns if len(values := _known(frame, name))}
    found = [name for name, value in firsts.items() if _holds_structure(value)]
    if len(found) > 1:
        raise InputError(f"Several columns hold structures: {', '.join(found)}. Name one with structure_column.")
    return found[0] if found else STRUCTURE


def _known(frame: pd.DataFrame, name: str) -> pd.Series:
    """The cells of a column that are not empty; of two columns of one name those of the first."""
    return frame.loc[:, frame.columns == name].iloc[:, 0].dropna()


def _holds_structure(value: Any) -> bool:
    """Whether the cell of a table is a structure, the text of one, or the name of a file that exists."""
    if isinstance(value, str) and _is_text(value):
        return "_atom_site" in value or '"sites"' in value
    if is_path(value):
        path = Path(value).expanduser()
        return file_kind(path) is not None and path.is_file()
    return is_one(value)


# Labels: under names of columns, or as values in the order of the crystals or under their names.


def split_targets(targets: Any) -> tuple[list[str], dict[str, Any]]:
    """Names of the targets, and their values by name where these were given instead of the names of columns.

    Args:
        targets: a name, names, values, a pandas Series or table of values, or a mapping of names to values. Values
            without a name are called ``y``.

    Raises:
        InputError: If it is none of these.
    """
    import pandas as pd

    if isinstance(targets, str):
        return [str(targets)], {}
    if isinstance(targets, pd.DataFrame):
        targets = {str(name): targets[name] for name in targets.columns}
    elif isinstance(targets, pd.Series):
        targets = {NAMELESS if targets.name is None else str(targets.name): targets}
    if isinstance(targets, Mapping):
        odd = [name for name in targets if not isinstance(name, str) or not name.strip()]
        if odd:
            raise InputError(f"Targets are called by text. Received: {shorten(repr(odd[0]), 60)}.")
        return [str(name) for name in targets], dict(targets)
    values = targets.tolist() if hasattr(targets, "tolist") else targets
    if not isinstance(values, Sequence) or isinstance(values, bytes):
        kinds = "names of columns, or labels as an array, list, Series, table or a dictionary of names and values"
        raise InputError(f"Targets are {kinds}. Received: {type(targets).__name__}.")
    if all(isinstance(name, str) for name in values):
        return [str(name) for name in values], {}
    if any(isinstance(value, str) for value in values):
        raise InputError("Targets are names or numbers, not both. Give a dictionary of names and values.")
    return [NAMELESS], {NAMELESS: targets}


def with_labels(held: Held, given: Mapping[str, Any], names: Sequence[str]) -> Held:
    """The entries with labels beside them; those win over labels of the same name that a crystal brings.

    Args:
        held: the entries.
        given: labels by target.
        names: what each entry is called.

    Raises:
        InputError: If there is not one label for each entry, or an index names other rows than the crystals'.
    """
    if not given:
        return held
    columns = {target: _in_order(values, target, held, names) for target, values in given.items()}
    entries: list[Entry] = []
    for row, entry in enumerate(held.entries):
        if isinstance(entry, Draft):
            own = {target: values[row] for target, values in columns.items()}
            offered = tuple(dict.fromkeys([*entry.names, *own]))
            entry = replace(entry, fields={**entry.fields, **own}, names=offered)
        entries.append(entry)
    return replace(held, entries=entries)


def _in_order(values: Any, target: str, held: Held, names: Sequence[str]) -> list[Any]:
    """One label per entry, in the order of the entries."""
    import pandas as pd

    if isinstance(values, Mapping):
        values = pd.Series(list(values.values()), index=list(values), dtype=object)
    if isinstance(values, pd.Series):
        return _by_index(values, target, held, names)
    found = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        kinds = "an array, a list, a Series or a dictionary"
        raise InputError(f"Labels of {target!r} are {kinds}. Received: {shorten(repr(values), 60)}.")
    if not held.by_position:
        raise InputError(
            f"Labels of {target!r} were given by position, and files have no order of their own. "
            "Give a Series or dictionary under the names of the crystals, or a CSV as labels_file."
        )
    if len(found) != len(held.entries):
        raise InputError(
            f"{len(held.entries)} crystals and {len(found)} labels of {target!r}. "
            "Give one label for each crystal, NaN where it is unknown."
        )
    wide = next((cell for cell in found if isinstance(cell, list | tuple) and len(cell) != 1), None)
    if wide is not None:
        raise InputError(
            f"Labels of {target!r} are one number for each crystal. Received: {shorten(repr(wide), 60)}. "
            "Give several targets as a dictionary of names and values."
        )
    return [cell[0] if isinstance(cell, list | tuple) else cell for cell in found]


def _by_index(values: pd.Series, target: str, held: Held, names: Sequence[str]) -> list[Any]:
    """Labels put into the order of the crystals by their index, or refused where it is another one."""
    keys, cells, counted = values.index.tolist(), values.tolist(), list(range(len(held.entries)))
    named = held.named or all(name != entry.id for name, entry in zip(names, held.entries, strict=True))
    if held.index is not None:
        if keys == held.index:
            return cells
        found = _arranged(keys, cells, held.index)
        wanted: list[Any] = held.index
    else:
        wanted = list(names) if named else counted
        found = _arranged([str(key) for key in keys], cells, list(names)) if named else None
        if held.by_position and keys == counted:
            if found is not None and list(names) != [str(key) for key in keys]:
                raise InputError(
                    f"The index of the labels of {target!r} may mean the order of the crystals or their names. "
                    "Give labels.to_numpy() for the order, or text as index for the names."
                )
            return cells
    if found is None:
        without = [str(key) for key in wanted if str(key) not in set(map(str, keys))][:3]
        strange = [str(key) for key in keys if str(key) not in set(map(str, wanted))][:3]
        parts = [f"crystals without a label: {', '.join(without)}"] if without else []
        parts += [f"labels without a crystal: {', '.join(strange)}"] if strange else []
        raise InputError(
            f"The index of the labels of {target!r} is not that of the crystals "
            f"({'; '.join(parts) or 'other order, or a name twice'}). "
            "Give labels.to_numpy() if they are in the order of the crystals; NaN means unknown."
        )
    return found


def _arranged(keys: list[Any], cells: list[Any], wanted: list[Any]) -> list[Any] | None:
    """Cells in the order of the wanted keys; None where the keys are others, or one comes twice."""
    by_key = dict(zip(keys, cells, strict=True))
    if len(by_key) != len(keys) or len(keys) != len(wanted) or set(by_key) != set(wanted):
        return None
    return [by_key[key] for key in wanted]
