"""The choice between MatGL's two kinds of graph, made before MatGL is imported."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from matgl_infomax.errors import InputError

Backend = Literal["DGL", "PYG"]
OLDEST = (3, 0, 2)
"""Before this release the usual read-out of M3GNet, TensorNet and SO3Net added up over sites: twice the cell gave twice
the vector."""


def check_version(found: str) -> None:
    """Refuse a MatGL whose vectors depend on the size of the cell.

    Raises:
        InputError: For a release before 3.0.2.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if numbers < OLDEST:
        raise InputError(f"MatGL {found} gives vectors that depend on the size of the cell. Install 'matgl>=3.0.5'.")


def choose_backend(wanted: str | None, matgl_version: str, dgl_problem: Callable[[], str | None]) -> Backend:
    """Which kind of graph MatGL shall use: the one asked for, else DGL wherever it works.

    Args:
        wanted: value of MATGL_BACKEND, None when unset.
        matgl_version: installed version of MatGL; from 4 on it knows PyG only.
        dgl_problem: tells why DGL cannot be used, None when it can.

    Raises:
        InputError: For an unknown name, or when DGL is asked for and cannot be used.
    """
    name = wanted.strip().upper() if wanted else None
    if name not in (None, "DGL", "PYG"):
        raise InputError(f"MATGL_BACKEND must be DGL or PYG. Received: {wanted!r}. Correct it, or unset it.")
    if int(matgl_version.split(".")[0]) >= 4:
        if name == "DGL":
            raise InputError(
                f"MATGL_BACKEND=DGL, but MatGL {matgl_version} knows only PyG. "
                "Unset MATGL_BACKEND, or install 'matgl>=3.0.5,<4' with dgl==1.1.3 (Python 3.11)."
            )
        return "PYG"
    if name == "PYG":
        return "PYG"
    problem = dgl_problem()
    if problem and name == "DGL":
        raise InputError(
            f"MATGL_BACKEND=DGL, but {problem}. Install dgl==1.1.3 (Python 3.11), or set MATGL_BACKEND=PYG."
        )
    return "PYG" if problem else "DGL"
