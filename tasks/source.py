"""Crystals that a setting names: files, wherever they lie, or the official data of a Matbench task."""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path

from matgl_infomax.data.read import Crystals, find_files, read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.data import DATA_VARIABLE, task_crystals
from matgl_infomax.tasks.matbench.task import load_task


def located(name: str, data_dir: Path | None) -> str:
    """A path or glob as it was given, or below the data folder where nothing is found as given.

    Args:
        name: path or glob.
        data_dir: folder of data; the one of the environment variable when left out.
    """
    folder = data_dir or os.environ.get(DATA_VARIABLE)
    if folder is None or Path(name).expanduser().exists() or glob.glob(name, recursive=True):
        return name
    below = Path(folder).expanduser() / name
    return str(below) if below.exists() or glob.glob(str(below), recursive=True) else name


def is_official(name: str) -> bool:
    """Whether a name means the official data of a Matbench task, such as 'matbench_mp_gap'."""
    return name.startswith("matbench_") and not Path(name).suffix and not Path(name).exists()


def check_source(name: str, data_dir: Path | None) -> None:
    """Refuse a name that stands for nothing, without reading anything.

    Raises:
        InputError: If there is no such file or Matbench task.
    """
    if is_official(name):
        load_task(name)
    else:
        find_files(located(name, data_dir))


def content_hash(name: str, data_dir: Path | None) -> str:
    """Hash of the content that a name stands for, without reading a crystal.

    Of files it is made of their bytes and of the names of their crystals, wherever they lie; official data are the
    same everywhere, so their card stands for them.

    Raises:
        InputError: If nothing is there, or a file cannot be read.
    """
    digest = hashlib.sha256()
    if is_official(name):
        card = load_task(name).card
        digest.update(f"{card.name} {card.content_sha256}".encode())
        return digest.hexdigest()
    files = find_files(located(name, data_dir))
    for path, id in zip(files.paths, files.ids, strict=True):
        try:
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
        # A table's rows have names of their own; what the file is called changes nothing.
        digest.update(f"{id if len(files.paths) > 1 else ''}\0{path.suffix}\0{inner}\n".encode())
    return digest.hexdigest()


def read_source(name: str, target: str | None, data_dir: Path | None, cache: Path, *, progress: bool) -> Crystals:
    """The crystals that a name stands for; what cannot be read is left out and listed in ``bad``.

    Args:
        name: file, folder, glob or Matbench task.
        target: label to read; none needs none.
        data_dir: where paths that are not found otherwise, and official data, are looked up.
        cache: folder for downloads.
        progress: show bars.

    Raises:
        InputError: If nothing is there, or the label is not.
    """
    if is_official(name):
        return task_crystals(load_task(name), data_dir, cache, progress=progress)
    targets = [target] if target is not None else []
    return read_crystals(located(name, data_dir), targets=targets, on_error="skip", progress=progress)


def target_of(name: str, target: str | None) -> str:
    """Column with the labels of a source: the one given, or the one of the Matbench task it is.

    Raises:
        InputError: If neither says which.
    """
    if target is not None:
        return target
    if is_official(name):
        return load_task(name).card.target
    raise InputError(f"Which labels of {name}? Give --source-target COLUMN.")
