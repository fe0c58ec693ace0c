"""The crystals of a Matbench task: found or downloaded, read, and compared with the official rows."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import BadEntry, Crystal, Draft, shorten, why_bad
from matgl_infomax.data.formats import read_file
from matgl_infomax.data.read import Crystals, numeric_labels
from matgl_infomax.data.same_structure import space_group
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.task import (
    Card,
    Task,
    composition_text,
    content_sha256,
    read_official,
    steps,
    two_byte_hash,
)

if TYPE_CHECKING:
    import pandas as pd
    from requests import Response


DATA_VARIABLE = "MATGL_INFOMAX_DATA"
"""Environment variable with the folder of official data."""
_ENDINGS = (".json.gz", ".parquet", ".rebuilt.json.gz", ".json")
"""Of a file of official data, behind the name of its task; the original comes first."""
_ID = "mbid"
"""Column of Matbench's own ids, where a file has it."""
_CLOSE_ATOMS = "overlapping atoms"
"""How ``why_bad`` begins where two atoms nearly touch: no reason to leave out a row that others are scored on."""


def task_crystals(task: Task, data_dir: Path | None, cache: Path, *, progress: bool = True) -> Crystals:
    """All crystals of a task in official order, checked row by row.

    Composition and target of every row are compared with the official ones, whatever the file. Coordinates can only
    be compared by the hash of the original file, which a download has to match.

    Args:
        task: the task.
        data_dir: folder with ``NAME.json.gz`` as published, or ``NAME.parquet`` or ``NAME.rebuilt.json.gz`` with the
            same rows; None for the folder that the environment variable MATGL_INFOMAX_DATA names, or for a download.
        cache: folder for downloads.
        progress: show bars.

    Returns:
        Crystals under Matbench's own ids; the label is called as on the card, classes are 0.0 and 1.0.

    Raises:
        InputError: If the task has no structures, the file is missing or cannot be downloaded, or its rows are not
            the official ones; the first row that differs is named.
    """
    card = task.card
    if card.input != "structure":
        raise InputError(
            f"{card.name} has no structures: it asks for {card.target} from the composition alone, and there is no "
            "crystal for a crystal model. Choose a task whose input is a structure."
        )
    path = find_data(card, data_dir, cache, progress=progress)
    rows = _read_rows(card, path)
    found = difference(card, rows)
    if found:
        raise InputError(f"{path} does not hold the official data of {card.name}. {found} {_remedy(card)}")
    return Crystals([row for row in rows if isinstance(row, Crystal)], targets=[card.target])


def find_data(card: Card, data_dir: Path | None, cache: Path, *, progress: bool = True) -> Path:
    """The file with the data of a task; downloaded if no folder is named.

    Args:
        card: card of the task.
        data_dir: folder to look in (and in its folder ``matbench``); None for MATGL_INFOMAX_DATA, or a download.
        cache: folder for downloads.
        progress: show a bar.

    Raises:
        InputError: If the named folder does not hold the data, or the download fails.
    """
    origin = "--data-dir"
    if data_dir is None and os.environ.get(DATA_VARIABLE):
        data_dir, origin = Path(os.environ[DATA_VARIABLE]), DATA_VARIABLE
    if data_dir is None:
        place = cache.expanduser() / "matbench" / f"{card.name}.json.gz"
        return download(card.url, card.sha256, place, progress=progress)
    folder = data_dir.expanduser()
    names = [f"{card.name}{ending}" for ending in _ENDINGS]
    for name in names:
        for path in (folder / name, folder / "matbench" / name):
            if path.is_file():
                return path
    raise InputError(
        f"No data of {card.name} in {folder}, which {origin} names. Looked for {', '.join(names)}. "
        "Put one of them there, or name no folder of data to download it."
    )


def _remedy(card: Card) -> str:
    """What to do about a file that is not the official data."""
    return f"Get the original from {card.url} (SHA-256 {card.sha256}), or name no folder of data to download it."


def _read_rows(card: Card, path: Path) -> list[Crystal | BadEntry]:
    """Every row of the file in its order, usable or not.

    Raises:
        InputError: If it is no table of crystals with the column of the property.
    """
    entries = read_file(path, card.name, frozenset([card.target, _ID]))
    drafts = [entry for entry in entries if isinstance(entry, Draft)]
    if not drafts:
        reason = next((entry.reason for entry in entries if isinstance(entry, BadEntry)), "it has no rows")
        raise InputError(f"{path} cannot be read as the data of {card.name}: {reason}. {_remedy(card)}")
    if not any(card.target in draft.names for draft in drafts):
        columns = ", ".join(drafts[0].names) or "none"
        raise InputError(f"{path} has no column {card.target}. Columns found: {columns}. {_remedy(card)}")
    reasons = iter(why_bad(drafts))
    return [
        _row(card, k, entry, next(reasons)) if isinstance(entry, Draft) else entry for k, entry in enumerate(entries)
    ]


def _row(card: Card, k: int, draft: Draft, reason: str | None) -> Crystal | BadEntry:
    """One row as a crystal with its label, or what is wrong with it."""
    id = str(draft.fields.get(_ID, draft.id))
    if reason is not None and not reason.startswith(_CLOSE_ATOMS):
        return BadEntry(draft.source, id, reason)
    if id.startswith("mb-") and id != card.mbid(k):
        return BadEntry(draft.source, id, f"the file calls it {id}: rows are missing or in another order")
    labels, wrong = numeric_labels({card.target: draft.fields.get(card.target)}, draft.source, id)
    if not labels:
        return wrong[0] if wrong else BadEntry(draft.source, id, f"it has no {card.target}")
    return Crystal(card.mbid(k), draft.numbers, draft.lattice, draft.frac, labels, draft.source)


# Files from the internet: with a checked hash, a bar, and going on where an interrupted download was.

_BLOCK = 1 << 14
"""Bytes at once; what a breaking connection loses is less than this."""
_TRIES = 3
"""Broken connections that are resumed at once; after that the user decides."""
_PATIENCE = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""


def download(url: str, sha256: str, path: Path, *, progress: bool = True) -> Path:
    """Fetch a file, unless it is there already.

    What has arrived is kept beside as ``NAME.part``: the next call goes on from there. The file gets its name only
    when its hash is right.

    Args:
        url: address.
        sha256: hash of the whole file, hexadecimal.
        path: where to put it; its folder is made if absent.
        progress: show a bar.

    Returns:
        The path.

    Raises:
        InputError: If the server cannot be reached, refuses or sends another file, or the folder cannot be written.
    """
    from filelock import FileLock

    try:
        if path.is_file() and file_sha256(path) == sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            # Another process may have fetched it while this one waited.
            if not (path.is_file() and file_sha256(path) == sha256):
                _fetch_whole(url, sha256, path, progress)
    except OSError as error:
        raise InputError(
            f"Cannot write the download to {path}: {error.strerror or error}. "
            "Free some space or choose another folder with --cache."
        ) from error
    return path


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_whole(url: str, sha256: str, path: Path, progress: bool) -> None:
    """Fetch, check and name the file; a part of something else is thrown away once and fetched anew."""
    part = path.with_name(f"{path.name}.part")
    resumed = part.is_file() and part.stat().st_size > 0
    _fetch(url, part, progress)
    found = file_sha256(part)
    if found != sha256 and resumed:
        part.unlink()
        _fetch(url, part, progress)
        found = file_sha256(part)
    if found != sha256:
        size = part.stat().st_size
        part.unlink()
        raise InputError(
            f"{url} sent another file: its {size} bytes have the SHA-256 {found}, expected {sha256}. "
            "Nothing was kept. Try again later, or give the data with --data-dir."
        )
    os.replace(part, path)


def _fetch(url: str, part: Path, progress: bool) -> None:
    """Bring the part to its full length; a connection that breaks is taken up again a few times."""
    from requests import RequestException

    for last in [False] * (_TRIES - 1) + [True]:
        try:
            _go_on(url, part, progress)
            return
        except RequestException as error:
            refused = error.response is not None and error.response.status_code < 500
            if last or refused:
                have = part.stat().st_size if part.is_file() else 0
                kept = f"{have} bytes were kept; the next try goes on from there. " if have else ""
                reason = shorten(str(error)).rstrip(".")
                raise InputError(
                    f"Cannot download {url}: {reason}. {kept}Try again, or give the data with --data-dir."
                ) from error


def _go_on(url: str, part: Path, progress: bool) -> None:
    """One connection: append to the part what it lacks, or begin anew where the server cannot send a rest."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # the hash is that of the bytes as they are stored
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=_PATIENCE) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # there is no rest: the hash decides whether the part is the file
        response.raise_for_status()
        begin = f"bytes {have}-"
        go_on = response.status_code == requests.codes.partial_content
        if go_on and not response.headers.get("Content-Range", "").startswith(begin):
            raise requests.RequestException(f"the server sent another range than {begin}", response=response)
        _write(response, part, have if go_on else 0, progress)


def _write(response: Response, part: Path, have: int, progress: bool) -> None:
    """Write what arrives behind the bytes that are there; each block is on disk before the next is asked for."""
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "shown": progress}
    name = part.name.removesuffix(".part")
    with (
        part.open("ab" if have else "wb") as file,
        progress_bar(desc=name, initial=have, total=total, **options) as bar,
    ):
        for block in response.iter_content(_BLOCK):
            file.write(block)
            file.flush()
            bar.update(len(block))


# Whether crystals are the official rows of a task, and which row is the first that is not.


def difference(card: Card, rows: Sequence[Crystal | BadEntry]) -> str | None:
    """The first row that is not the official one and what is wrong with it; None where all rows are official.

    Args:
        card: card of a task with structures.
        rows: rows of the data in their order; a bad entry is a row that cannot be used.
    """
    n = min(len(rows), card.n_rows)
    first = next((k for k, row in enumerate(rows[:n]) if isinstance(row, BadEntry)), n)
    crystals = [row for row in rows[:first] if isinstance(row, Crystal)]
    compositions = [_content(row) for row in crystals]
    nearest, other = steps([row.labels[card.target] for row in crystals])
    official = _Official(card)
    same_composition = _digests(compositions) == official.compositions[:first]
    same_nearest, same_other = (_digests(values) == official.targets[:first] for values in (nearest, other))
    wrong = np.flatnonzero(~(same_composition & (same_nearest | same_other)))
    if len(wrong):
        k = int(wrong[0])
        return f"{_name(card, k)}: {official.what_differs(crystals[k], k)}"
    bad = rows[first] if first < n else None
    if isinstance(bad, BadEntry):
        return f"{_name(card, first)}: {bad.reason}."
    if len(rows) != card.n_rows:
        more = "is missing" if len(rows) < card.n_rows else "is one too many"
        return f"{_name(card, n)}: it {more}. Received {len(rows)} rows, official are {card.n_rows}."
    if content_sha256(compositions, np.where(same_nearest, nearest, other).tolist()) != card.content_sha256:
        return "A composition or target differs in a row that cannot be named."
    return None


def _name(card: Card, row: int) -> str:
    """How a row is called in messages."""
    id = f" ({card.mbid(row)})" if row < card.n_rows else ""
    return f"The first difference is in row {row}{id}"


def _content(crystal: Crystal) -> str:
    """What the cell holds, in the spelling of the fingerprints."""
    return composition_text(Counter(crystal.numbers.tolist()))


def _digests(values: Sequence[object] | NDArray[np.int64]) -> NDArray[np.uint16]:
    """Fingerprint of each composition, or of each target in steps."""
    return np.array([two_byte_hash(str(value)) for value in values], dtype=np.uint16)


class _Official:
    """Fingerprints of the official rows."""

    def __init__(self, card: Card) -> None:
        self.target = card.target
        self.compositions = read_official(card.name, "compositions")
        self.targets = read_official(card.name, "targets")

    def what_differs(self, crystal: Crystal, k: int) -> str:
        """How a row that is not the official row k differs from it, and which official row it could be."""
        value = crystal.labels[self.target]
        same = self.compositions == _digests([_content(crystal)])
        equal = np.isin(self.targets, np.concatenate([_digests(step) for step in steps([value])]))
        wrong = [] if same[k] else [f"its composition ({crystal.reduced_formula}, {crystal.n_sites} atoms)"]
        wrong += [] if equal[k] else [f"its {self.target} ({value})"]
        text = f"{' and '.join(wrong)} {'differs' if len(wrong) == 1 else 'differ'}"
        elsewhere = np.flatnonzero(same & equal)
        return f"{text}; row {elsewhere[0]} would fit, so is the order another one?" if len(elsewhere) else f"{text}."


# Facts about the crystals of a task by which errors are split: formula, elements, size, symmetry.

SYSTEMS = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (167, "trigonal"),
           (194, "hexagonal"), (230, "cubic"))  # fmt: skip
"""Crystal systems by the last of their space groups."""


def attribute_table(crystals: Sequence[Crystal], *, progress: bool = False) -> pd.DataFrame:
    """One line per crystal: id, formula (reduced), elements, sites, crystal_system, space_group.

    Args:
        crystals: crystals with structures.
        progress: show a bar; finding symmetry takes about a millisecond per crystal.
    """
    import pandas as pd
    from pymatgen.core import Composition

    lines = []
    for crystal in progress_bar(crystals, desc="Symmetry", unit="crystal", shown=progress):
        composition = Composition.from_dict(_counts(crystal))
        group = space_group(crystal)
        lines.append({
            "id": crystal.id, "formula": composition.reduced_formula, "elements": len(composition),
            "sites": len(crystal.numbers), "crystal_system": crystal_system(group), "space_group": group,
        })  # fmt: skip
    return pd.DataFrame(lines)


def crystal_system(group: int) -> str:
    """Crystal system of a space group; 'unknown' for 0, where none was found.

    Args:
        group: number of the space group, 1 to 230.
    """
    return next(name for last, name in SYSTEMS if group <= last) if group > 0 else "unknown"


def _counts(crystal: Crystal) -> dict[str, int]:
    """How often each element occurs."""
    from pymatgen.core import Element

    numbers = crystal.numbers.tolist()
    return {Element.from_Z(z).symbol: numbers.count(z) for z in sorted(set(numbers))}
