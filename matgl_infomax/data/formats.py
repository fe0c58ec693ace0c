"""One reader per file format, all with one signature, chosen by the file's ending from a plain dict."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.cif import blocks_with_atoms, read_block
from matgl_infomax.data.crystal import (
    Arrays,
    BadEntry,
    Draft,
    UnreadableError,
    decode,
    decode_atoms,
    guarded,
    parse_json,
    plain_numbers,
    refuse_underscores,
    shorten,
)
from matgl_infomax.data.poscar import read_poscar

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


_OPENERS: dict[str, Callable[[io.BytesIO], Any]] = {
    ".gz": lambda data: gzip.GzipFile(fileobj=data),
    ".bz2": lambda data: bz2.BZ2File(data),
    ".xz": lambda data: lzma.LZMAFile(data),  # noqa: SIM115 - opened in a with statement
}
UNPACKED_BYTES, UNPACKED_TIMES = 2**28, 200
"""A file that unpacks to more than both, so many bytes and so many times its own size, is a trap or a mistake."""
OTHER_CONTENT = ("holds no pymatgen Structure", "a table needs ")
"""How the reasons begin that a sound JSON or parquet file holds something else than crystals."""


def file_kind(path: Path) -> str | None:
    """Key of the reader for a file, by its name alone; None when no reader knows it."""
    name = path.name.lower()
    for packed in _OPENERS:
        name = name.removesuffix(packed)
    if name.startswith(("poscar", "contcar")):
        return "poscar"
    return _KINDS.get(Path(name).suffix)


def plain_stem(path: PurePath) -> str:
    """The path without the ending of its format and compression: ``a/b.json.gz`` gives ``a/b``."""
    text = path.as_posix()
    for packed in _OPENERS:
        text = text.removesuffix(packed)
    suffix = Path(text).suffix
    return text[: -len(suffix)] if suffix.lower() in _KINDS else text


def read_file(path: Path, id: str, wanted: frozenset[str], *, alone: bool = True) -> list[Draft | BadEntry]:
    """All crystals of one file, unchecked; a file that cannot be read gives one bad entry.

    Args:
        path: the file.
        id: name of the crystal if the file holds one, and the beginning of the names if it holds more.
        wanted: columns to carry along.
        alone: the file is the whole data set, so the rows of a table need no prefix.
    """
    kind = file_kind(path)
    if kind is None:
        return [BadEntry(str(path), id, f"unknown ending. Known: {known_endings()}")]
    found = guarded(str(path), id, lambda: _READERS[kind](path, id, wanted, alone))
    return [found] if isinstance(found, BadEntry) else found


def known_endings() -> str:
    """All endings that are read, for messages."""
    return f"{' '.join(_KINDS)} (text formats also packed: {' '.join(_OPENERS)}), POSCAR*, CONTCAR*"


def read_text(path: Path) -> str:
    """The text of a file, unpacked if need be.

    Raises:
        UnreadableError: If it is empty or binary.
    """
    data = path.read_bytes()
    packed = path.suffix.lower()
    if data and packed in _OPENERS:
        try:
            most = unpacked_limit(len(data))
            with _OPENERS[packed](io.BytesIO(data)) as file:
                data = file.read(most + 1)
            if len(data) > most:
                raise UnreadableError(f"unpacks to more than {most / 2**20:.0f} MB; too much for a file of its size")
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise UnreadableError(f"damaged, or not packed as {packed} says: {shorten(str(error))}") from error
    if not data.strip():
        raise UnreadableError("empty file")
    if b"\0" in data:
        raise UnreadableError("a binary file, where text was expected")
    # Names and remarks in old files may be in any encoding; the numbers are ASCII in all of them.
    return data.decode("utf-8-sig", errors="replace")


def unpacked_limit(size: int) -> int:
    """Bytes that a file may hold when unpacked.

    Args:
        size: bytes of the file as it lies on the disk.
    """
    return max(UNPACKED_BYTES, UNPACKED_TIMES * size)


def _cif(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """Every data block that lists atoms."""
    blocks = blocks_with_atoms(read_text(path))
    if not blocks:
        raise UnreadableError("truncated or no CIF: it lists no atoms (_atom_site_fract_x)")
    entries: list[Draft | BadEntry] = []
    for k, block in enumerate(blocks):
        name, source = (id, str(path)) if len(blocks) == 1 else (f"{id}:{k}", f"{path} block {k}")
        entries.append(_entry(name, source, lambda block=block: read_block(block)))  # type: ignore[misc]
    return entries


def _entry(id: str, source: str, call: Callable[[], Arrays]) -> Draft | BadEntry:
    """A crystal without any columns."""
    found = guarded(source, id, call)
    return found if isinstance(found, BadEntry) else Draft.of(id, source, found)


def _poscar(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """One crystal."""
    return [Draft.of(id, str(path), read_poscar(read_text(path)))]


def _xyz(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """Every frame of an (ext)xyz file."""
    return read_frames(read_text(path), str(path), id, wanted)


def _json(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """pymatgen or matminer JSON."""
    return read_structure_json(read_text(path), str(path), id, wanted, alone)


def _parquet(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """A table with one crystal per row."""
    if not path.stat().st_size:
        raise UnreadableError("empty file")
    return read_parquet(path, id, wanted, alone)


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


_READERS: dict[str, Callable[[Path, str, frozenset[str], bool], list[Draft | BadEntry]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "json": _json,
    "xyz": _xyz,
    "db": read_ase_database,
    "parquet": _parquet,
}
_KINDS = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".json": "json",
    ".extxyz": "xyz",
    ".xyz": "xyz",
    ".db": "db",
    ".parquet": "parquet",
}

ENCODING = ("lattice", "atomic_numbers", "frac_coords")
"""Columns of a crystal as plain lists: 9 numbers in angstrom, N integers, 3N numbers."""
STRUCTURE = "structure"
ID_COLUMNS = ("mbid", "material_id", "id", "entry_id", "__index_level_0__")
"""Columns that name a crystal, the first one present counts."""
_NEEDED = f"a table needs the columns {', '.join(ENCODING)}, or a column '{STRUCTURE}'"


def read_parquet(path: Path, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """Every row of a parquet file in the encoding above, or with a column of structures.

    Raises:
        UnreadableError: If the columns are missing or the file has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            _refuse_twins(schema.names)
            lists = tuple(f.name for f in schema if pa.types.is_nested(f.type) and f.name not in (*ENCODING, STRUCTURE))
            names = tuple(field.name for field in schema if not pa.types.is_nested(field.type))
            plain = set(ENCODING) <= set(schema.names)
            if not plain and STRUCTURE not in schema.names:
                raise UnreadableError(f"{_NEEDED}. Received: {', '.join(schema.names)}")
            # Forces and stresses are lists; they are read only where they are asked for.
            kept = [name for name in schema.names if name in wanted and name not in ENCODING]
            columns = [*(ENCODING if plain else [STRUCTURE]), *kept]
            batches = list(_batches(file, columns, unpacked_limit(path.stat().st_size)))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file could not be opened
        raise UnreadableError("truncated or no parquet file, or a damaged one") from error
    entries: list[Draft | BadEntry] = []
    prefix = "" if alone else f"{id}:"
    for batch in batches:
        values = {name: batch.column(name).to_pylist() for name in kept}
        rows = range(len(entries), len(entries) + len(batch))
        places = [(f"{prefix}{row}", f"{path} row {row}") for row in rows]
        arrays = _encoded(batch) if plain else ((value,) for value in batch.column(STRUCTURE).to_pylist())
        entries += _rows(arrays, places, values, Offered(names, lists))
    if not entries:
        raise UnreadableError("a table without rows")
    return entries


def _batches(file: Any, columns: list[str], most: int) -> Iterator[pa.RecordBatch]:
    """Batches of rows, as long as all together hold no more bytes than they may.

    Repeated values take next to no room in a parquet file: what comes out is counted, and foreseen by the number of
    values in each column and by the longest that one of them can be.
    """
    groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    chunks = [group.column(k) for group in groups for k in range(group.num_columns)]
    read = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
    held = sum(chunk.num_values for chunk in read if chunk.physical_type != "BYTE_ARRAY") * 4
    longest = max((c.total_uncompressed_size for c in read if c.physical_type == "BYTE_ARRAY"), default=1)
    rows = max(1, min(16384, most // max(longest, 1)))
    too_much = f"unpacks to more than {most / 2**20:.0f} MB; too much for a file of its size"
    if held > most:
        raise UnreadableError(too_much)
    held = 0
    for batch in file.iter_batches(rows, columns=columns):
        held += batch.nbytes
        if held > most:
            raise UnreadableError(too_much)
        yield batch


def _refuse_twins(columns: Sequence[str]) -> None:
    """Refuse columns of one name, of which only one could be read."""
    twice = sorted({name for name in columns if list(columns).count(name) > 1})
    if twice:
        raise UnreadableError(f"two columns of one name. Received: {', '.join(twice)}")


@dataclass(frozen=True)
class Offered:
    """Columns of a table beside its crystals, for messages."""

    names: tuple[str, ...]
    """Those of single values."""
    lists: tuple[str, ...] = ()
    """Those of several numbers each, where they are known."""


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
    _refuse_twins(columns)
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
    return _rows(cells, places, values, Offered(names))


def _rows(
    cells: Iterator[tuple[Any, ...]],
    places: Sequence[tuple[str, str]],
    values: Mapping[str, Sequence[Any]],
    offered: Offered,
) -> list[Draft | BadEntry]:
    """One entry per row; a row that is no crystal still keeps the name its columns give it."""
    entries: list[Draft | BadEntry] = []
    for row, (crystal, (id, source)) in enumerate(zip(cells, places, strict=True)):
        fields = {name: column[row] for name, column in values.items()}
        entries.append(_row(crystal, id, source, fields, offered))
    return entries


def _row(
    crystal: tuple[Any, ...], id: str, source: str, fields: Mapping[str, Any], offered: Offered
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
    arrays, reason = (_NOTHING, found.reason) if isinstance(found, BadEntry) else (found, "")
    names, lists = offered.names, offered.lists
    return Draft.of(id, source, arrays, fields=fields, names=names, lists=lists, reason=reason)


_NOTHING = (np.zeros(0, np.int64), np.zeros((3, 3)), np.zeros((0, 3)))


def _flat(part: Any) -> NDArray[np.float64]:
    """A list, or a list of lists as pandas gives a matrix, as a flat array."""
    if part is None:
        return np.zeros(0)
    rows = [np.ravel(plain_numbers(item) if isinstance(item, str | list) else _number(item)) for item in part]
    return np.concatenate(rows) if rows else np.zeros(0)


def _number(item: Any) -> NDArray[np.float64]:
    """A number or an array of numbers."""
    return np.asarray(item, dtype=np.float64)


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


def read_structure_json(text: str, path: str, id: str, wanted: frozenset[str], alone: bool) -> list[Draft | BadEntry]:
    """One ``Structure``, a list or a mapping of them, or a table in pandas' ``split`` layout (matminer's).

    Raises:
        UnreadableError: If it is JSON of another kind.
    """
    data = parse_json(text)
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
    structure = item.get(STRUCTURE, item)
    beside = {**_site_columns(structure), **beside}
    lists = tuple(str(key) for key, value in beside.items() if isinstance(value, list))
    fields = {str(name): value for name, value in beside.items() if str(name) in wanted}
    return _row((structure,), id, source, fields, Offered(names, lists))


def _site_columns(structure: Any) -> dict[str, list[Any]]:
    """Numbers that every site of a ``Structure`` dict has, such as forces, by their name."""
    sites = structure.get("sites") if isinstance(structure, dict) else None
    if not isinstance(sites, list) or not all(isinstance(site, dict) for site in sites):
        return {}
    beside = [site.get("properties") or {} for site in sites]
    return {name: [site.get(name) for site in beside] for name in (beside[0] if beside else {})}


def _split_layout(data: dict[str, Any], path: str, prefix: str, wanted: frozenset[str]) -> list[Draft | BadEntry]:
    """Rows of ``{"columns": [...], "index": [...], "data": [[...], ...]}``."""
    columns, rows = [str(name) for name in data["columns"]], data["data"]
    _refuse_twins(columns)
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
    return _rows(((row[where],) for row in rows), places, values, Offered(names))


def _matbench_ids(path: str, index: list[Any]) -> list[str]:
    """Matbench's own ids where the file is one of its data sets with numbered rows, else nothing."""
    match = re.match(r"matbench_(\w+?)(?:\.rebuilt)?\.json", Path(path).name)
    if not match or index != list(range(len(index))):
        return []
    width = len(str(len(index)))
    return [f"mb-{match.group(1).replace('_', '-')}-{k + 1:0{width}d}" for k in index]


# Extended XYZ and ASE databases, read by ASE; ids and labels stay as they are written.

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
    fields = {**_frame_columns({**atoms.arrays, **found}, header), **found, **_as_written(found, header)}
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


class Flag:
    """A truth value in a header, which is 0 or 1 as a label and ``T`` as a name."""

    def __init__(self, text: str, value: bool) -> None:
        """Hold the word and what it means."""
        self.text, self.value = text, value

    def __str__(self) -> str:
        return self.text

    def __float__(self) -> float:
        return float(self.value)


def _as_written(found: Mapping[str, Any], header: Mapping[str, str]) -> dict[str, str | Flag]:
    """The single values of a header as they are written; a name is a single value whatever it looks like."""
    written: dict[str, str | Flag] = {}
    for key, value in found.items():
        if key in header and (np.ndim(value) == 0 or key in ID_COLUMNS):
            truth = isinstance(value, bool | np.bool_) and key not in ID_COLUMNS
            written[key] = Flag(header[key], bool(value)) if truth else header[key]
    return written


def _frame_columns(found: Mapping[str, Any], header: Mapping[str, str]) -> dict[str, Any]:
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


def _database_row(id: str, source: str, row: Any, wanted: frozenset[str]) -> Draft:
    """One row of an ASE database."""
    results = {key: row.get(key) for key in ("energy", "free_energy", "forces", "stress") if row.get(key) is not None}
    atoms = row.toatoms()
    data = {key: value for key, value in dict(row.data).items() if not isinstance(value, dict)}
    return _draft(id, source, atoms, {**data, **results, **row.key_value_pairs}, wanted)
