"""What a file reader hands on: crystals not yet checked, or the reason why there is none."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

T = TypeVar("T")

Arrays = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Atomic numbers (N,), lattice (3, 3) in angstrom, fractional coordinates (N, 3)."""


@dataclass(frozen=True, slots=True)
class BadEntry:
    """One thing that cannot be used, and why."""

    source: str
    """File, with row or frame where it has several."""
    id: str
    """Name the crystal would have had."""
    reason: str
    """One line a chemist understands."""

    def __str__(self) -> str:
        name = f" ({self.id})" if self.id and self.id not in self.source else ""
        return f"{self.source}{name}: {self.reason}"


@dataclass(slots=True, eq=False)
class Draft:
    """One crystal as a parser gave it: nothing about it has been checked yet."""

    id: str
    """Name it gets unless a field names it."""
    source: str
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,); 0 where the element is unknown."""
    lattice: NDArray[np.float64]
    """Lattice vectors as rows, (3, 3), angstrom."""
    frac: NDArray[np.float64]
    """Fractional coordinates, (N, 3)."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Values that stand beside the crystal, by column name."""
    names: tuple[str, ...] = ()
    """All columns its file offers, for messages."""
    reason: str = ""
    """Why the row could not be decoded although its columns name it; the arrays are empty then."""

    @classmethod
    def of(
        cls,
        id: str,
        source: str,
        arrays: Arrays,
        *,
        fields: Mapping[str, Any] | None = None,
        names: tuple[str, ...] = (),
        reason: str = "",
    ) -> Draft:
        """A crystal from its decoded arrays, and the columns beside it."""
        numbers, lattice, frac = arrays
        return cls(
            id=id,
            source=source,
            numbers=numbers,
            lattice=lattice,
            frac=frac,
            fields=fields or {},
            names=names,
            reason=reason,
        )


class UnreadableError(Exception):
    """A reader's own reason, ready to be shown."""


def guarded(source: str, id: str, call: Callable[[], T]) -> T | BadEntry:
    """Run a parser; whatever it throws becomes a bad entry, and its warnings stay silent.

    This is the one place that catches everything: parsers of other libraries raise
    AssertionError, KeyError or IndexError on damaged files, without any promise which.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except UnreadableError as error:
            return BadEntry(source, id, str(error))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001
            return BadEntry(source, id, _plain_reason(error))


def _plain_reason(error: Exception) -> str:
    """One short line for an exception of somebody else's parser."""
    if isinstance(error, json.JSONDecodeError):
        return f"truncated or no JSON: {error.msg} at line {error.lineno}"
    if isinstance(error, EOFError):
        return "truncated: the compressed data end too early"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror}"
    text = shorten(str(error)) or "no further reason given"
    if isinstance(error, (IndexError, AssertionError)):
        return f"truncated or malformed: {text}"
    return f"cannot be read: {type(error).__name__}: {text}"


def shorten(text: str, limit: int = 160) -> str:
    """The text on one line, cut where it gets long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


@cache
def atomic_numbers() -> dict[str, int]:
    """Atomic number of each element symbol; deuterium and tritium count as hydrogen."""
    from pymatgen.core import Element

    return {element.symbol: element.Z for element in Element} | {"D": 1, "T": 1}


def decode(value: Any) -> Arrays:
    """Take apart a pymatgen ``Structure``, its dict, the JSON text of that dict, or ASE ``Atoms``.

    Raises:
        UnreadableError: If it is none of these, is disordered, or has an unknown element.
    """
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, Mapping):
        return _decode_dict(value)
    if hasattr(value, "lattice") and hasattr(value, "frac_coords"):
        return decode_structure(value)
    if hasattr(value, "cell") and hasattr(value, "get_scaled_positions"):
        return decode_atoms(value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        raise UnreadableError("no structure in this row")
    raise UnreadableError(f"a pymatgen Structure or its dict is needed, received: {type(value).__name__}")


def decode_structure(structure: Structure) -> Arrays:
    """Arrays of an ordered pymatgen ``Structure``."""
    if not structure.is_ordered:
        raise UnreadableError(f"disordered sites: {_first_mixed(structure)}")
    symbols = [site.specie.symbol for site in structure]
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)
    return _numbers(symbols), lattice, np.array(structure.frac_coords, dtype=np.float64).reshape(-1, 3)


def _first_mixed(structure: Structure) -> str:
    """How the first disordered site is occupied."""
    return next(shorten(site.species_string, 60) for site in structure if not site.is_ordered)


def _decode_dict(data: Mapping[str, Any]) -> Arrays:
    """Arrays of a pymatgen ``Structure`` dict, ten times faster than by way of the ``Structure``."""
    if "lattice" not in data or "sites" not in data:
        raise UnreadableError("no pymatgen Structure: 'lattice' and 'sites' are needed")
    symbols: list[str] = []
    for site in data["sites"]:
        species = site["species"]
        if len(species) != 1 or abs(species[0]["occu"] - 1) > 1e-8:
            mixed = ", ".join(f"{s['element']}:{s['occu']:g}" for s in species)
            raise UnreadableError(f"disordered sites: {mixed}")
        symbols.append(species[0]["element"])
    lattice = np.array(data["lattice"]["matrix"], dtype=np.float64)
    frac = np.array([site["abc"] for site in data["sites"]], dtype=np.float64).reshape(-1, 3)
    return _numbers(symbols), lattice, frac


def _numbers(symbols: list[str]) -> NDArray[np.int64]:
    """Atomic numbers of symbols, (N,)."""
    known = atomic_numbers()
    unknown = sorted({symbol for symbol in symbols if symbol not in known})
    if unknown:
        raise UnreadableError(f"unknown element {', '.join(unknown)}")
    return np.array([known[symbol] for symbol in symbols], dtype=np.int64)


def decode_atoms(atoms: Atoms) -> Arrays:
    """Arrays of periodic ASE ``Atoms``."""
    lattice = np.array(atoms.cell.array, dtype=np.float64)
    if not lattice.any():
        raise UnreadableError("no lattice: this is a molecule, not a crystal")
    if not atoms.pbc.any():
        raise UnreadableError("not periodic (pbc is off in all directions): this is a molecule in a box")
    occupied = atoms.info.get("occupancy")
    if occupied and any(len(site) != 1 or abs(sum(site.values()) - 1) > 1e-8 for site in occupied.values()):
        raise UnreadableError("disordered sites")
    if not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 1e-12:
        # Positions cannot be made fractional; the check of the lattice names the reason.
        return np.array(atoms.numbers, dtype=np.int64), lattice, np.zeros((len(atoms), 3))
    frac = np.linalg.solve(lattice.T, atoms.positions.T).T
    return np.array(atoms.numbers, dtype=np.int64), lattice, np.ascontiguousarray(frac)
