"""Compile loops with numba, and keep the machine code on disk where there is a folder for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# Without a home folder numba would keep its cache in a folder that is called "~" in the working folder.
HOMELESS = (
    os.path.expanduser("~") == "~"
    and not os.access(Path(__file__).parent, os.W_OK)
    and not os.environ.get("NUMBA_CACHE_DIR")
)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: numba's ``njit``, cached between processes.

    Where neither the package's folder nor the home folder can be written to, each process compiles for itself,
    which takes seconds; numba alone would refuse to import.

    Args:
        **options: further options of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if HOMELESS:
            return njit(**options)(function)
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)

    return decorate
