"""Which folders hold results, and of which kind: what a report goes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matgl_infomax.errors import InputError

MARKS = {
    "curve.csv": "study",
    "verdict.json": "study",
    "benchmark.json": "benchmark",
    "comparison.json": "comparison",
    "overlap.json": "overlap",
    "map.csv": "map",
}
"""The file by which a folder is known, and what it then holds."""
DEPTH = 3
"""Folders inside folders that are gone through."""
INNER = {"runs", "fits", "folds", "pretrained"}
"""Folders that belong to a result and hold none."""


@dataclass(frozen=True)
class Found:
    """A folder with results."""

    kind: str
    folder: Path
    name: str
    """What the report calls it; unique."""


def find_results(folders: Sequence[Path]) -> list[Found]:
    """Go through folders and what is in them, in the order they are given and then of names.

    Args:
        folders: folders with results, or folders of such folders.

    Raises:
        InputError: If a folder is missing, or nothing is found at all.
    """
    found: dict[tuple[str, Path], str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no such folder. Received: {folder}.")
        for inner in _inside(folder, DEPTH):
            kinds = dict.fromkeys(kind for mark, kind in MARKS.items() if (inner / mark).is_file())
            own = inner.relative_to(folder).as_posix()
            for kind in kinds:
                found.setdefault((kind, inner.resolve()), inner.resolve().name if own == "." else own)
    if not found:
        given = ", ".join(map(str, folders))
        raise InputError(
            f"There is nothing to report on. Received: {given}. Give folders written by `matgl-infomax curve`, "
            "`benchmark`, `compare`, `overlap` or `represent`."
        )
    names = list(found.values())
    return [
        Found(kind, folder, name if names.count(name) == 1 else f"{folder.parent.name}/{folder.name}")
        for (kind, folder), name in found.items()
    ]


def _inside(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it."""
    yield folder
    if depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith(".") and inner.name not in INNER:
                yield from _inside(inner, depth - 1)
