"""Tables with one crystal per row: parquet, pandas, pymatgen's and matminer's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.draft import BadEntry, Draft, UnreadableError, decode, guarded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ENCODING = ("lattice", "atomic_numbers", "frac_coords")
"""Columns of a crystal as plain lists: 9 numbers in angstrom, N integers, 3N numbers."""
STRUCTURE = "structure"
_NEEDED = f"a table needs the columns {', '.join(ENCODING)}, or a column '{STRUCTURE}'"


def read_parquet(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """Every row of a parquet file in the encoding above, or with a column of structures.

    Raises:
        UnreadableError: If the columns are missing or the file has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = tuple(field.name for field in schema if not pa.types.is_nested(field.type))
            plain = set(ENCODING) <= set(schema.names)
            if not plain and STRUCTURE not in schema.names:
                raise UnreadableError(f"{_NEEDED}. Received: {', '.join(schema.names)}")
            # Forces and stresses are lists; they are read only where they are asked for.
            kept = [name for name in schema.names if name in wanted and name not in ENCODING]
            columns = [*(ENCODING if plain else [STRUCTURE]), *kept]
            batches = list(file.iter_batches(16384, columns=columns))
    except pa.ArrowInvalid as error:
        raise UnreadableError("truncated or no parquet file") from error
    entries: list[Draft | BadEntry] = []
    prefix = "" if alone else f"{id}:"
    for batch in batches:
        values = {name: batch.column(name).to_pylist() for name in kept}
        rows = range(len(entries), len(entries) + len(batch))
        places = [(f"{prefix}{row}", f"{path} row {row}") for row in rows]
        arrays = _encoded(batch) if plain else ((value,) for value in batch.column(STRUCTURE).to_pylist())
        entries += _rows(arrays, places, values, names)
    if not entries:
        raise UnreadableError("a table without rows")
    return entries


def _encoded(batch: pa.RecordBatch) -> Iterator[tuple[NDArray[Any], ...]]:
    """The three lists of each row as flat arrays; missing numbers become NaN."""
    import pyarrow.compute as pc

    parts = []
    for name in ENCODING:
        column = batch.column(name)
        length = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(column).to_numpy(zero_copy_only=False)
        end = np.cumsum(length)
        parts.append((np.array(flat, dtype=np.float64), (end - length).tolist(), end.tolist()))
    for row in range(len(batch)):
        yield tuple(flat[start[row] : end[row]] for flat, start, end in parts)


def read_frame(frame: pd.DataFrame, wanted: frozenset[str]) -> list[Draft | BadEntry]:
    """Every row of a pandas table; a row is called by its index unless a column names it.

    Raises:
        UnreadableError: If the columns are missing or there are no rows.
    """
    columns = [name for name in frame.columns if isinstance(name, str)]
    if len(set(columns)) < len(columns):
        raise UnreadableError(f"two columns of one name. Received: {', '.join(columns)}")
    plain = set(ENCODING) <= set(columns)
    if not plain and STRUCTURE not in columns:
        raise UnreadableError(f"{_NEEDED}. Received: {', '.join(columns)}")
    if not len(frame):
        raise UnreadableError("a table without rows")
    crystal = ENCODING if plain else (STRUCTURE,)
    names = tuple(name for name in columns if name not in crystal)
    values = {name: frame[name].tolist() for name in names if name in wanted}
    places = [(str(label), f"table row {label}") for label in frame.index]
    cells = zip(*(frame[name].tolist() for name in crystal), strict=True)
    return _rows(cells, places, values, names)


def _rows(
    cells: Iterator[tuple[Any, ...]],
    places: Sequence[tuple[str, str]],
    values: Mapping[str, Sequence[Any]],
    names: tuple[str, ...],
) -> list[Draft | BadEntry]:
    """One entry per row; a row that is no crystal still keeps the name its columns give it."""
    entries: list[Draft | BadEntry] = []
    for row, (crystal, (id, source)) in enumerate(zip(cells, places, strict=True)):
        fields = {name: column[row] for name, column in values.items()}
        entries.append(_row(crystal, id, source, fields, names))
    return entries


def _row(
    crystal: tuple[Any, ...], id: str, source: str, fields: Mapping[str, Any], names: tuple[str, ...]
) -> Draft | BadEntry:
    """One crystal, from three lists or from one structure."""
    if len(crystal) == 1:
        found = guarded(source, id, lambda: decode(crystal[0]))
    elif all(type(part) is np.ndarray and part.dtype == np.float64 for part in crystal):
        lattice, numbers, frac = crystal
        found = _shaped(lattice, numbers, frac)
    else:
        lattice, numbers, frac = crystal
        found = guarded(source, id, lambda: _shaped(_flat(lattice), _flat(numbers), _flat(frac)))
    if isinstance(found, BadEntry):
        return Draft.of(id, source, _NOTHING, fields=fields, names=names, reason=found.reason)
    return Draft.of(id, source, found, fields=fields, names=names)


_NOTHING = (np.zeros(0, np.int64), np.zeros((3, 3)), np.zeros((0, 3)))


def _flat(part: Any) -> NDArray[np.float64]:
    """A list, or a list of lists as pandas gives a matrix, as a flat array."""
    if part is None:
        return np.zeros(0)
    rows = [np.ravel(np.asarray(item, dtype=np.float64)) for item in part]
    return np.concatenate(rows) if rows else np.zeros(0)


def _shaped(
    lattice: NDArray[np.float64], numbers: NDArray[np.float64], frac: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Flat lists in their shapes; what does not fit stays flat and is refused by the check."""
    whole = np.where(np.isfinite(numbers) & (numbers == np.rint(numbers)) & (np.abs(numbers) < 1e6), numbers, 0)
    return (
        whole.astype(np.int64),
        lattice.reshape(3, 3) if lattice.size == 9 else lattice,
        frac.reshape(-1, 3) if frac.size == 3 * numbers.size else frac,
    )


def read_json(text: str, path: str, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """One ``Structure``, a list or a mapping of them, or a table in pandas' ``split`` layout (matminer's).

    Raises:
        UnreadableError: If it is JSON of another kind.
    """
    data = json.loads(text)
    prefix = "" if alone else f"{id}:"
    if isinstance(data, dict) and {"columns", "data"} <= set(data):
        return _split_layout(data, path, prefix, wanted)
    if isinstance(data, dict) and ("sites" in data or STRUCTURE in data):
        return [_record(data, id, path, wanted)]
    if isinstance(data, dict) and any(
        isinstance(item, dict) and {"sites", STRUCTURE} & set(item) for item in data.values()
    ):
        return [_record(item, str(key), f"{path} key {key}", wanted) for key, item in data.items()]
    if isinstance(data, list) and data:
        return [_record(item, f"{prefix}{k}", f"{path} row {k}", wanted) for k, item in enumerate(data)]
    raise UnreadableError("holds no pymatgen Structure, no list of them and no table with a column 'structure'")


def _record(item: Any, id: str, source: str, wanted: frozenset[str]) -> Draft | BadEntry:
    """A ``Structure`` dict, or a dict that holds one beside its values."""
    if not isinstance(item, dict):
        return BadEntry(source, id, f"a pymatgen Structure dict is needed. Received: {type(item).__name__}")
    beside = item if STRUCTURE in item else item.get("properties") or {}
    names = tuple(str(key) for key, value in beside.items() if not isinstance(value, dict | list))
    fields = {str(name): value for name, value in beside.items() if str(name) in wanted}
    return _row((item.get(STRUCTURE, item),), id, source, fields, names)


def _split_layout(data: dict[str, Any], path: str, prefix: str, wanted: frozenset[str]) -> list[Draft | BadEntry]:
    """Rows of ``{"columns": [...], "index": [...], "data": [[...], ...]}``."""
    columns, rows = [str(name) for name in data["columns"]], data["data"]
    if STRUCTURE not in columns:
        raise UnreadableError(f"a table needs a column '{STRUCTURE}'. Received: {', '.join(columns)}")
    if not rows:
        raise UnreadableError("a table without rows")
    names = tuple(name for name in columns if name != STRUCTURE)
    index = data.get("index") or list(range(len(rows)))
    if len(index) != len(rows) or any(len(row) != len(columns) for row in rows):
        raise UnreadableError(f"{len(rows)} rows, {len(index)} names and {len(columns)} columns do not fit together")
    ids = _matbench_ids(path, index) or [f"{prefix}{label}" for label in index]
    where = columns.index(STRUCTURE)
    values = {name: [row[columns.index(name)] for row in rows] for name in names if name in wanted}
    places = [(id, f"{path} row {k}") for k, id in enumerate(ids)]
    return _rows(((row[where],) for row in rows), places, values, names)


def _matbench_ids(path: str, index: list[Any]) -> list[str]:
    """Matbench's own ids where the file is one of its data sets with numbered rows, else nothing."""
    match = re.match(r"matbench_(\w+?)(?:\.rebuilt)?\.json", Path(path).name)
    if not match or index != list(range(len(index))):
        return []
    width = len(str(len(index)))
    return [f"mb-{match.group(1).replace('_', '-')}-{k + 1:0{width}d}" for k in index]
