"""Hashes of results, looked at by another program's rules."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from matgl_infomax.io import SUMS


def assert_vouched(folder: Path, names: Collection[str]) -> None:
    """The hashes are those of exactly these files."""
    lines = [line.split("  ") for line in (folder / SUMS).read_text().splitlines()]
    assert {name for _, name in lines} == set(names)
    for digest, name in lines:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
