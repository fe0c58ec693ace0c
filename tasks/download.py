"""Files from the internet: with a checked hash, a bar, and going on where an interrupted download was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgl_infomax.data.crystal import shorten
from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    from requests import Response

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
    from tqdm import tqdm

    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "disable": not progress}
    name = part.name.removesuffix(".part")
    with part.open("ab" if have else "wb") as file, tqdm(desc=name, initial=have, total=total, **options) as bar:
        for block in response.iter_content(_BLOCK):
            file.write(block)
            file.flush()
            bar.update(len(block))
