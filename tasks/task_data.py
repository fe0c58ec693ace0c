"""The crystals of a Matbench task: found or downloaded, read, and compared with the official rows."""

from __future__ import annotations

import os
from pathlib import Path

from matgl_infomax.data.crystal import BadEntry, Crystal, Draft, why_bad
from matgl_infomax.data.formats import read_file
from matgl_infomax.data.read import Crystals, numeric_labels
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.card import Card
from matgl_infomax.tasks.download import download
from matgl_infomax.tasks.matbench import Task
from matgl_infomax.tasks.verify import difference

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
