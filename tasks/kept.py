"""Arrays that are computed once and kept on disk under a name made of everything that decides them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write


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
