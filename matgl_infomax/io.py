"""Files from strangers, read as nothing but data, and files for people: no code in them ever runs."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import say
from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_tensors(file: Path, content: bytes | None = None) -> dict[str, Any]:
    """A dictionary of tensors, arrays and plain values written by ``torch.save``.

    Args:
        file: where it lies, which messages name.
        content: its bytes, where they were read before.

    Raises:
        InputError: When the file is damaged, or would have to run code to be read.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_arrays()):
            source = file if content is None else io.BytesIO(content)
            found = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage raises a class of its own
        reason = str(error).strip().split("\n")[0]
        if "weights_only" in reason or "Weights only" in reason:
            reason = ""  # PyTorch's advice is to open it all the same, which would run what is in it
        raise InputError(
            f"{file} is damaged, or holds more than tensors and plain values and is not safe to open. {reason}".strip()
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{file} should hold a dictionary. Received: {type(found).__name__}.")
    return found


def _arrays() -> list[Any]:
    """What numpy arrays and numbers are made of: MatGL's potentials keep the energies of the elements as such."""
    import numpy as np
    from numpy._core import multiarray

    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")]
    made = [getattr(multiarray, name) for name in ("_reconstruct", "scalar")]
    # numpy 1 wrote another name for the same functions.
    old = [(function, f"numpy.core.multiarray.{function.__name__}") for function in made]
    return [np.ndarray, np.dtype, *kinds, *made, *old]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: When the file cannot be read or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read {file}: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} should hold a JSON object. Received: {type(content).__name__}.")
    return content


def check_class(entry: dict[str, Any], base: type | tuple[type, ...], packages: Sequence[str], folder: Path) -> type:
    """Make sure that the class a saved model names is one of ours, or one the user imported before.

    Args:
        entry: dictionary with "@module" and "@class".
        base: what the class must descend from; of several, any one.
        packages: packages whose modules may be imported to look.
        folder: where the model lies, for the message.

    Returns:
        The class.

    Raises:
        InputError: For any other class or function, without importing or calling it.
    """
    module, name = str(entry.get("@module")), str(entry.get("@class"))
    # MatGL's private modules differ between its versions; it looks such classes up in the public one.
    for private, public in (("matgl.models._", "matgl.models"), ("matgl.apps._pes", "matgl.apps.pes")):
        module = public if module.startswith(private) else module
    if module.split(".")[0] in packages and _exists(module):
        importlib.import_module(module)
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        wanted = " or ".join(kind.__name__ for kind in (base if isinstance(base, tuple) else (base,)))
        raise InputError(
            f"{folder} asks for {module}.{name}, which is no known {wanted}. "
            "If it is one of yours, import its module first."
        )
    return found


def _exists(module: str) -> bool:
    """Whether a module can be imported; its parent packages are imported to find out."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


# Files of results, each value of the kind that it has to be: what is not stops with the file, the place and the value.

Kind = Literal["text", "whole", "number"]
"""Text, a whole number, or a number that may be missing."""
LARGEST = 1e30
"""No number of a result is larger: sums and differences of these stay finite in single precision, squares in double."""
_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_results(content: bytes, where: str) -> Any:
    """A JSON document without NaN, numbers beyond all sense, half characters and names that come twice.

    Args:
        content: the document.
        where: how messages call it.

    Raises:
        InputError: Naming what is wrong.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise ValueError(f"{_shown(twice)} comes twice")
        return dict(pairs)

    def number(text: str) -> float:
        value = float(text)
        if not abs(value) <= LARGEST:
            raise ValueError(f"{_shown(text)} is no number of a result")
        return value

    def whole(text: str) -> int:
        if len(text) > 20:  # seeds have 64 bits
            raise ValueError(f"{_shown(text)} is no number of a result")
        return int(text)

    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=once, parse_int=whole, parse_float=number, parse_constant=number
        )
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # a lone half of a character cannot be written again
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is damaged: {_line(error)}. Copy it again, or make it again.") from error
    return document


def read_table(file: Path, columns: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None) -> pd.DataFrame:
    """A table of results, from CSV or parquet, every value of the kind that its column needs.

    Args:
        file: the table.
        columns: those that have to be there, and what they hold.
        optional: what others hold where they are there; all further columns are as they are.

    Raises:
        InputError: If the file cannot be read, lacks a column, or holds another kind of value; with its place.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    as_words = file.suffix == ".csv"
    table = _csv_words(content, file) if as_words else _parquet(content, file)
    names = list(table.columns)
    missing = [name for name in columns if name not in names]
    if missing:
        raise InputError(f"{file} lacks the column {missing[0]}. It has: {', '.join(map(_shown, names[:20]))}.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{file} has the column {twice} twice.")
    named = {**columns, **{name: kind for name, kind in (optional or {}).items() if name in names}}
    if as_words:
        table = table.assign(**{str(name): _as_numbers(table[name]) for name in names if name not in named})
    return typed_columns(table, named, str(file), as_words=as_words)


def typed_columns(
    table: pd.DataFrame, columns: Mapping[str, Kind], where: str, *, as_words: bool = False
) -> pd.DataFrame:
    """A table whose columns hold text, whole numbers (int64) or numbers (float64, NaN where missing).

    Args:
        table: has the columns.
        columns: what they hold.
        where: how messages call it.
        as_words: numbers are written as text, as in CSV.

    Raises:
        InputError: Naming column, line and value.
    """
    found = {}
    for name, kind in columns.items():
        values: list[Any] = []
        for row, value in enumerate(table[name].tolist()):
            try:
                values.append(_KINDS[kind](value, as_words))
            except (TypeError, ValueError, OverflowError) as error:
                place = f"line {row + 2}" if as_words else f"row {row + 1}"
                needed = {"text": "text", "whole": "whole number", "number": "number"}[kind]
                whose = f" for {_plain(table['id'].iloc[row])}" if "id" in table and name != "id" else ""
                raise InputError(
                    f"{where} has no {needed}{whose} in the column {name}, {place}. Received: {_shown(value)}."
                ) from error
        dtype = {"text": object, "whole": np.int64, "number": np.float64}[kind]
        found[name] = np.array(values, dtype=dtype)
    return table.assign(**found)


def _csv_words(content: bytes, file: Path) -> pd.DataFrame:
    """All cells of a CSV file as text; every line has as many as the first."""
    import pandas as pd

    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is no table of values with commas between them ({_line(error)}).") from error
    if not rows or not rows[0]:
        raise InputError(f"{file} is empty.")
    rows = [[plain_cell(cell) for cell in row] for row in rows if row]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(f"{file}, line {number}, has {len(row)} values, and the first line {len(rows[0])}.")
    return pd.DataFrame(rows[1:], columns=rows[0], dtype=object)


def _parquet(content: bytes, file: Path) -> pd.DataFrame:
    """A parquet table."""
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content)).reset_index(drop=True)
    except Exception as error:  # damage raises errors of pyarrow, pandas, numpy and Python
        raise InputError(f"{file} is no parquet table, or damaged ({_line(error)}).") from error


def _as_numbers(column: pd.Series) -> Any:
    """Words as numbers where all of them are, empty ones as NaN."""
    words = column.tolist()
    if words and all(_WHOLE.fullmatch(word) and "." not in word for word in words):
        return np.array([int(word) for word in words], dtype=np.int64)
    if all(not word or _NUMBER.fullmatch(word) for word in words) and any(words):
        return np.array([float(word) if word else np.nan for word in words])
    return column


def _text(value: Any, as_words: bool) -> str:
    """Text without control characters."""
    if not isinstance(value, str) or _CONTROL.search(value):
        raise ValueError("no text")
    return value


def _whole(value: Any, as_words: bool) -> int:
    """A whole number of at most 18 digits."""
    if as_words:
        if not _WHOLE.fullmatch(value):
            raise ValueError("no whole number")
        return int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) >= 1e18:
        raise ValueError("no whole number")
    return int(value)


def _number(value: Any, as_words: bool) -> float:
    """A finite number, or NaN where there is none."""
    if value is None or (as_words and value in ("", "nan")):
        return float("nan")
    right = bool(_NUMBER.fullmatch(value)) if as_words else isinstance(value, int | float)
    if not right or isinstance(value, bool):
        raise ValueError("no number")
    number = float(value)
    if abs(number) > LARGEST:
        raise ValueError("beyond all sense")
    return number


_KINDS: dict[Kind, Callable[[Any, bool], Any]] = {"text": _text, "whole": _whole, "number": _number}


def _shown(value: Any) -> str:
    """A value for a message, on one line; it may be long, or hold anything."""
    text = ascii(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: Any) -> str:
    """The same, text without quotation marks."""
    return _shown(value).strip("'")


def _line(error: BaseException) -> str:
    """What an error says, on one short line."""
    text = " ".join(str(error).split()).encode("ascii", "backslashreplace").decode() or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def given_path(value: Path | str | None, option: str) -> Path:
    """The path that an option of a Python function names; an empty one would become the working folder.

    Raises:
        InputError: If it is empty.
    """
    if value is None or not str(value).strip():
        raise InputError(f"Option {option} is empty. Received: {value!r}. Give the name of a file or folder.")
    return Path(value)


# Files that are whole or absent, never half-written.


def atomic_write(path: Path | str, content: str | bytes) -> None:
    """Write a file in one step: readers see the old content or the new one.

    Args:
        path: file to write; its folder is made if absent.
        content: text (as UTF-8) or bytes.

    Raises:
        InputError: If the disk is full or the folder cannot be written; no half file stays.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # A hidden file in the same folder: only within one file system is a rename a single step.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        reason = f"Cannot write {path}: {error.strerror or error}."
        raise InputError(f"{reason} Free some space or choose another folder.") from error
    finally:
        # Also after Ctrl-C; where nothing could be written there is nothing to remove either.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def sweep_drafts(folder: Path, *, older_than_seconds: float = 3600) -> None:
    """Remove drafts of files that a process killed long ago left; whole files have no dot in front.

    Args:
        folder: where to look; its subfolders stay as they are.
        older_than_seconds: younger drafts may belong to a process that is still writing.
    """
    for draft in folder.glob(".*"):
        if draft.is_file() and time.time() - draft.stat().st_mtime > older_than_seconds:
            draft.unlink(missing_ok=True)


def sha256_of(content: str | bytes) -> str:
    """Hexadecimal SHA-256 of text (as UTF-8) or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


# The hashes of a folder of weights or results, in the form of the program sha256sum: damage is told before it is used.

SUMS = "SHA256SUMS"
"""File with one line per file of the folder; ``sha256sum --check SHA256SUMS`` says the same as ``check_sums``."""
BESIDE = ("objective.pt", "run.json", "pretrain.json", "finetune.json", "forcefield.json", "ensemble.json")
"""What may lie beside the files of a model, and be left out where the folder is copied."""
_SUM = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9_.-]+)", re.ASCII)
_SHOWN = 12  # digits of a hash in a message


def write_sums(folder: Path, files: Iterable[Path], coming: Mapping[str, str | bytes] | None = None) -> None:
    """Note the hash of files, which lie in this folder or will be moved there, under their names.

    Args:
        folder: gets the file ``SHA256SUMS``.
        files: what it vouches for.
        coming: content of files by name that are written next.

    Raises:
        InputError: If a file cannot be read, or the folder not be written.
    """
    sums = {file.name: _file_sum(file) for file in files}
    sums |= {name: sha256_of(content) for name, content in (coming or {}).items()}
    atomic_write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def check_sums(folder: Path, needed: Sequence[str], beside: Collection[str] | None = BESIDE) -> bool:
    """Whether a folder vouches for its files, all of which are then as they were written.

    Args:
        folder: folder of weights or results.
        needed: names of the files that will be read.
        beside: names of others that may be missing; None for any.

    Returns:
        False where the folder has no hashes: MatGL writes none, nor did earlier versions of this package.

    Raises:
        InputError: If a file is not the one that was written, is missing, or is not vouched for.
    """
    sums, file = _read_sums(folder), folder / SUMS
    if sums is None:
        return False
    unsaid = [name for name in needed if name not in sums]
    if unsaid:
        raise InputError(f"{file} holds no hash of {', '.join(unsaid)}. {_remedy(folder)}")
    for name, said in sums.items():
        if not (folder / name).is_file():
            if name in needed or (beside is not None and name not in beside):
                raise InputError(f"{folder / name} is missing, and {SUMS} names it. {_remedy(folder)}")
            continue
        is_now = _file_sum(folder / name)
        if is_now != said:
            raise InputError(
                f"{folder / name} is not the file that was written: its SHA-256 begins with {is_now[:_SHOWN]}, and "
                f"{SUMS} says {said[:_SHOWN]}. {_remedy(folder)}"
            )
    return True


def vouch_for(folder: Path, names: Iterable[str], *, keep_others: bool = False) -> None:
    """Note the hashes of the results in a folder, after the last of them is written.

    A command that is killed before this step leaves results beside the hashes of older ones. They are refused until
    the same command is started again: it writes them anew, and then this file.

    Args:
        folder: folder of results.
        names: its files; those that are not there are left out. Pictures are not among them: they show these numbers.
        keep_others: keep the hashes of other files as they were noted.

    Raises:
        InputError: If a file cannot be read, or the folder not be written.
    """
    sums = (_read_sums(folder) or {}) if keep_others else {}
    sums |= {name: _file_sum(folder / name) for name in names if (folder / name).is_file()}
    atomic_write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def check_results(folder: Path, names: Iterable[str]) -> None:
    """Make sure that results are those that were written; a folder without hashes is told of, once.

    Args:
        folder: folder of results, all or some of its files.
        names: those that may be read; what is missing is for the reader to tell.

    Raises:
        InputError: If a file is not the one that was written, or is not vouched for.
    """
    if not check_sums(folder, [name for name in names if (folder / name).is_file()], beside=None):
        _say_unchecked(str(folder))


@cache
def _say_unchecked(folder: str) -> None:
    """Tell of results that nothing vouches for."""
    say(f"{folder} holds no {SUMS}: an earlier version wrote it, and a changed number may go unnoticed.")


def _read_sums(folder: Path) -> dict[str, str] | None:
    """Hashes by name of file; None where the folder has none."""
    file = folder / SUMS
    try:
        text = file.read_bytes().decode("ascii", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    *lines, rest = text.split("\n")
    found = [_SUM.fullmatch(line) for line in lines]
    if rest or not found or None in found:
        number = found.index(None) + 1 if None in found else len(lines) + 1
        raise InputError(f"{file}, line {number}, is no hash and name of a file. {_remedy(folder)}")
    return {match[2]: match[1] for match in found if match is not None}


def _file_sum(file: Path) -> str:
    """SHA-256 of a file."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error


def _remedy(folder: Path) -> str:
    """What to do about a folder that is not as it was written."""
    return (
        f"Copy {folder} again from where it is whole, or run the command that made it again: a study in the same "
        f"folder, a training in an empty one. A change that was meant needs a new {SUMS}."
    )


# Arrays that are computed once and kept on disk under a name made of everything that decides them.


def cached_array(file: Path, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array from its file, computed and written first where the file is not there.

    Args:
        file: where it is kept; the name has to change with everything that decides the content.
        compute: makes the array.

    Returns:
        The array, opened without loading all of it.

    Raises:
        InputError: If the file is damaged, or cannot be written.
    """
    if not file.is_file():
        buffer = io.BytesIO()
        np.save(buffer, compute())
        atomic_write(file, buffer.getvalue())
    return open_array(file)


def open_array(file: Path) -> NDArray[Any]:
    """An array that was kept, opened without loading all of it.

    Raises:
        InputError: If the file is missing or damaged.
    """
    try:
        values: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} is damaged ({error}). Delete it; it is computed again.") from error
    return values


# Tables for people. A spreadsheet runs a cell that begins like a formula; an apostrophe in front keeps it a text.

_RUNS = re.compile(r"'*[=+@\t\r\n-]")
_WRITTEN_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII)


def is_number(text: str) -> bool:
    """Whether a text is a number to all programs; Python alone takes 1_5 for 15, and digits of all scripts."""
    return _WRITTEN_NUMBER.fullmatch(text.strip()) is not None


def quoted_cell(text: str) -> str:
    """A text as it stands in a CSV: with an apostrophe in front of what a spreadsheet would run, and of the like.

    Numbers stay. Texts that begin with an apostrophe before such a sign get another one, so that
    :func:`plain_cell` gives back every text.
    """
    number = text == text.strip() and is_number(text)
    return f"'{text}" if _RUNS.match(text) and not number else text


def plain_cell(text: str) -> str:
    """The text that :func:`quoted_cell` was given."""
    return text[1:] if text.startswith("'") and _RUNS.match(text) else text


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV that a spreadsheet shows and does not run; its texts and column names are quoted.

    Args:
        table: ids, names and numbers; its index is left out. :func:`read_table` gives the same texts back.
        float_format: such as ``%.6g``; by default all digits.
    """

    def quoted(value: Any) -> Any:
        return quoted_cell(value) if isinstance(value, str) else value

    found = table.copy()
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufcmM":
            found.isetitem(place, table.iloc[:, place].map(quoted).to_numpy(dtype=object))
    found.columns = [quoted(name) for name in table.columns]
    return found.to_csv(index=False, float_format=float_format)
