"""Damage to files of results, the same for the same seed: bits, cuts, lines, fields, types, numbers that are none."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from matgl_infomax.errors import exit_code

VALUES: tuple[Any, ...] = (
    None, "word", "", [], [1.0], {}, {"a": None}, True, -1, 0, 7, 0.5, 1e308, -1e308, 10**400, float("nan"),
    float("inf"), 2**63, "1e999", "\ud800", "\x00", "matbench_steels",
)  # fmt: skip
"""What takes the place of an entry of JSON."""
CELLS = (
    "",
    "word",
    "nan",
    "inf",
    "-1",
    "1e308",
    "1e999",
    "99999999999999999999",
    "True",
    "[1]",
    "a,b",
    '"',
    "\x00",
    "7",
)
"""What takes the place of a cell of CSV."""
COLUMNS: tuple[Callable[[pd.Series], Any], ...] = (
    lambda column: ["word"] * len(column),
    lambda column: [None] * len(column),
    lambda column: [[1.0]] * len(column),
    lambda column: [float("nan"), *column[1:]] if column.dtype.kind == "f" else column.astype(str) + "x",
    lambda column: [float("inf")] * len(column),
    lambda column: [1e308] * len(column),
    lambda column: [2**62] * len(column),
    lambda column: [True] * len(column),
    lambda column: [b"\xff"] * len(column),
    lambda column: column.astype(str).astype("category"),
    lambda column: pd.to_datetime(["2024-01-01"] * len(column)),
    lambda column: list(column[::-1]),
)
"""What takes the place of a column of a parquet table."""


def damaged(file: Path, seed: int, times: int) -> Iterator[bytes]:
    """Contents of a file, each damaged once.

    Args:
        file: the file as it is right.
        seed: decides all damage.
        times: how many contents.
    """
    rng, whole = np.random.default_rng(seed), file.read_bytes()
    forms: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
        ".json": _json, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _table, ".gz": _packed,
    }  # fmt: skip
    kinds = [_bit, _cut, forms[file.suffix], forms[file.suffix], forms[file.suffix]]
    for number in range(times):
        yield kinds[number % len(kinds)](whole, rng)


def _bit(whole: bytes, rng: np.random.Generator) -> bytes:
    """One flipped bit."""
    content, place = bytearray(whole), int(rng.integers(8 * len(whole)))
    content[place // 8] ^= 1 << place % 8
    return bytes(content)


def _cut(whole: bytes, rng: np.random.Generator) -> bytes:
    """The end is missing, a piece in the middle, or what follows is of another file."""
    start, end = sorted(int(n) for n in rng.integers(len(whole) + 1, size=2))
    return (whole[:start], whole[:start] + whole[end:], whole[:start] + b"\xff\xfe\x00" + whole[start:])[
        rng.integers(3)
    ]


def _json(whole: bytes, rng: np.random.Generator) -> bytes:
    """Another value, a lost, doubled or renamed entry, somewhere in the document."""
    document = json.loads(whole)
    holder, key = document, None
    while isinstance(holder, dict | list) and len(holder):
        if key is not None and rng.random() < 0.25:
            break
        above, key = (
            holder,
            (list(holder) if isinstance(holder, dict) else range(len(holder)))[rng.integers(len(holder))],
        )
        holder = above[key]
    what = rng.random()
    if what < 0.2:
        del above[key]
    elif what < 0.3 and isinstance(above, dict):
        above[f"{key}x"] = above.pop(key)
    elif what < 0.35 and isinstance(above, list):
        above.append(above[key])
    else:
        above[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(document).encode(errors="surrogatepass")


def _json_lines(whole: bytes, rng: np.random.Generator) -> bytes:
    """One line is damaged, lost or there twice."""
    lines = whole.splitlines(keepends=True)
    k = int(rng.integers(len(lines)))
    what = rng.random()
    changed = [_json(lines[k], rng) + b"\n"] if what < 0.8 else [] if what < 0.9 else 2 * [lines[k]]
    return b"".join([*lines[:k], *changed, *lines[k + 1 :]])


def _csv(whole: bytes, rng: np.random.Generator) -> bytes:
    """Another cell or heading, a lost or doubled line, a lost or doubled column, a lost field."""
    rows = [line.split(",") for line in whole.decode().splitlines()]
    what, k = rng.integers(6), int(rng.integers(len(rows)))
    j = int(rng.integers(len(rows[k])))
    if what <= 1:
        rows[k][j] = CELLS[rng.integers(len(CELLS))]
    elif what == 2:
        rows[k : k + 1] = [] if rng.random() < 0.5 else 2 * [rows[k]]
    elif what == 3:
        times = 2 * int(rng.integers(2))  # the column is lost, or there twice
        rows = [[*row[:j], *times * row[j : j + 1], *row[j + 1 :]] for row in rows]
    elif what == 4:
        del rows[k][j]
    else:
        rows = [rows[0], *([*row[:j], CELLS[rng.integers(len(CELLS))], *row[j + 1 :]] for row in rows[1:])]
    return ("\n".join(",".join(row) for row in rows) + "\n").encode()


def _table(whole: bytes, rng: np.random.Generator) -> bytes:
    """Another, lost or renamed column, lost or doubled rows, other facts beside the table."""
    table = pd.read_parquet(io.BytesIO(whole))
    name = str(table.columns[rng.integers(len(table.columns))])
    what = int(rng.integers(10))
    if what == 0:
        table = table.drop(columns=name)
    elif what == 1:
        table = table.rename(columns={name: f"{name}x"})
    elif what == 2:
        table = table.iloc[: int(rng.integers(len(table)))]
    elif what == 3:
        table = pd.concat([table, table.iloc[: 1 + int(rng.integers(5))]])
    elif what < 9:
        table = table.assign(**{name: COLUMNS[rng.integers(len(COLUMNS))](table[name])})
    made = pa.Table.from_pandas(table, preserve_index=bool(rng.integers(2)))
    facts = pq.read_schema(io.BytesIO(whole)).metadata or {}
    facts = {key: _json(value, rng) if what == 9 and key != b"pandas" else value for key, value in facts.items()}
    buffer = io.BytesIO()
    pq.write_table(made.replace_schema_metadata({**facts, **(made.schema.metadata or {})}), buffer)
    return buffer.getvalue()


def _packed(whole: bytes, rng: np.random.Generator) -> bytes:
    """JSON that is damaged and compressed again."""
    return gzip.compress(_json(gzip.decompress(whole), rng), mtime=0)


def ends_well(folder: Path, times: int, job: Callable[[], Any]) -> tuple[int, int]:
    """Damage every file of a folder and do a job with it each time; then the files are as before.

    Args:
        folder: every file in it is damaged; its folders stay as they are.
        times: contents per file.
        job: what reads them.

    Returns:
        How often the job was done, and how often it was refused.

    Raises:
        AssertionError: If it ended in anything but a result or one sentence with exit code 2.
    """
    with redirect_stderr(io.StringIO()):  # the first time, folders without hashes are told of
        assert exit_code("job", job) == 0
    codes = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        whole = file.read_bytes()
        for number, content in enumerate(damaged(file, 11, times)):
            file.write_bytes(content)
            said = io.StringIO()
            try:
                with redirect_stderr(said):
                    codes.append(exit_code("job", job))
            except Exception as error:
                raise AssertionError(f"damage {number} of {file.name} gave {error!r}") from error
            lines = said.getvalue().splitlines()
            well = not lines if codes[-1] == 0 else codes[-1] == 2 and len(lines) == 1 and lines[0].startswith("job: ")
            assert well and len(said.getvalue()) < 1000, f"damage {number} of {file.name} gave {said.getvalue()!r}"
        file.write_bytes(whole)
    return codes.count(0), codes.count(2)
