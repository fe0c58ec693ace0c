"""One crystal as plain arrays, independent of the library that read it."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from math import gcd
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """An ordered crystal: lattice, elements, positions and whatever was measured on it."""

    id: str
    """Name under which predictions are reported; unique within a data set."""
    numbers: NDArray[np.int64]
    """Atomic number of each site, (N,)."""
    lattice: NDArray[np.float64]
    """Lattice vectors as rows, (3, 3), angstrom."""
    frac: NDArray[np.float64]
    """Fractional coordinates, (N, 3)."""
    labels: dict[str, float] = field(default_factory=dict)
    """Measured values by target name; a missing label is absent, never NaN."""
    source: str = ""
    """File (and row) it was read from, for messages."""
    arrays: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Measured values that are no single number, such as forces, by column name; a missing one is absent."""

    @property
    def n_sites(self) -> int:
        """Number of sites N in the cell."""
        return len(self.numbers)

    @property
    def reduced_formula(self) -> str:
        """Composition divided by its greatest common divisor, elements in order of atomic number."""
        from pymatgen.core import Element

        counts = Counter(int(z) for z in self.numbers)
        divisor = reduce(gcd, counts.values())
        return "".join(
            f"{Element.from_Z(z).symbol}{n // divisor if n > divisor else ''}" for z, n in sorted(counts.items())
        )

    def __repr__(self) -> str:
        """Name, composition, size and labels on one line; the arrays would fill a page."""
        labels = "".join(f", {name}={value:g}" for name, value in self.labels.items())
        lists = "".join(f", {name}: {len(values)} numbers" for name, values in self.arrays.items())
        sites = f"{self.n_sites} site{'' if self.n_sites == 1 else 's'}"
        return f"Crystal({printable(self.id)!r}, {self._formula()}, {sites}{labels}{lists})"

    def _formula(self) -> str:
        """The formula as chemists order it, also of arrays that hold no elements."""
        from pymatgen.core import Composition, Element

        if not len(self.numbers) or not ((self.numbers > 0) & (self.numbers <= LAST_ELEMENT)).all():
            return "unknown elements"
        counts = Counter(int(z) for z in self.numbers)
        return str(Composition({Element.from_Z(z): n for z, n in counts.items()}).reduced_formula)

    def to_structure(self) -> Structure:
        """The same crystal as a pymatgen ``Structure``."""
        from pymatgen.core import Element, Lattice, Structure

        return Structure(Lattice(self.lattice), [Element.from_Z(int(z)) for z in self.numbers], self.frac)

    @classmethod
    def from_structure(
        cls, structure: Structure | Atoms, *, id: str, labels: dict[str, float] | None = None, source: str = ""
    ) -> Crystal:
        """Take an ordered pymatgen ``Structure`` or periodic ASE ``Atoms`` apart into arrays.

        Oxidation states are dropped: no model here reads them.

        Args:
            structure: what to take apart.
            id: name of the crystal.
            labels: measured values by target name.
            source: where it came from, for messages.

        Raises:
            InputError: For what a file would be refused for: disorder, overlapping atoms, a cell without volume, a
                molecule or a layer, and elements that nobody knows.
        """
        found = guarded(source or "structure", id, lambda: _sound(structure))
        if isinstance(found, BadEntry):
            raise InputError(f"{found}.")
        numbers, lattice, frac = found
        return cls(id, numbers, lattice, frac, dict(labels or {}), source)


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
        return printable(f"{self.source}{name}: {self.reason}")


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
    """All columns of single values that its file offers, for messages."""
    lists: tuple[str, ...] = ()
    """All columns of several numbers each, such as forces, for messages."""
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
        lists: tuple[str, ...] = (),
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
            lists=lists,
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
            return BadEntry(source, id, "needs more memory than there is")
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
    if isinstance(error, (TypeError, KeyError, AttributeError)):
        return f"damaged or malformed: something is missing or of another kind ({text})"
    return (
        f"cannot be read: {text}"
        if isinstance(error, ValueError)
        else f"cannot be read: {type(error).__name__}: {text}"
    )


def shorten(text: str, limit: int = 160) -> str:
    """The text on one line, cut where it gets long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def printable(text: str) -> str:
    """The text on one line that every terminal and file takes: what cannot be shown is escaped."""
    if text.isprintable():
        return text
    shown = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return "".join(shown)


@cache
def numbers_of_symbols() -> dict[str, int]:
    """Atomic number of each element symbol; deuterium and tritium count as hydrogen."""
    from pymatgen.core import Element

    return {element.symbol: element.Z for element in Element} | {"D": 1, "T": 1}


def parse_json(text: str) -> Any:
    """JSON in which no object has two entries of one name: of these, Python would drop all but the last.

    Raises:
        UnreadableError: With the name.
    """
    return json.loads(text, object_pairs_hook=_without_twins)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of pairs whose names differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableError(f"two columns of one name. Received: {shorten(twice, 60)}")
    return found


def plain_numbers(values: Any) -> NDArray[np.float64]:
    """Numbers of a nested list; a text such as ``1_5``, which only Python takes for one, is refused.

    Raises:
        ValueError: If something in it is no number.
    """
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{shorten(repr(values), 60)} holds lists of different lengths") from error
    if found.dtype.kind in "OU" and any("_" in str(item) for item in found.ravel()):
        raise ValueError(f"{shorten(repr(values), 60)} holds a number with an underscore")
    return found.astype(np.float64)


def decode(value: Any) -> Arrays:
    """Take apart a pymatgen ``Structure``, its dict, the JSON text of that dict, ASE ``Atoms``, or a ``Crystal``.

    Raises:
        UnreadableError: If it is none of these, is disordered, or has an unknown element.
    """
    if isinstance(value, str):
        value = parse_json(value)
    if isinstance(value, Mapping):
        return _decode_dict(value)
    if isinstance(value, Crystal):
        return value.numbers, value.lattice, value.frac
    if hasattr(value, "lattice") and hasattr(value, "frac_coords"):
        return decode_structure(value)
    if hasattr(value, "cell") and hasattr(value, "get_scaled_positions"):
        return decode_atoms(value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        raise UnreadableError("no structure in this row")
    if hasattr(value, "cart_coords") and hasattr(value, "species"):
        raise UnreadableError("no lattice: this is a molecule, not a crystal")
    kinds = "a pymatgen Structure or its dict, ASE Atoms or the text of a CIF is needed"
    raise UnreadableError(f"{kinds}, received: {type(value).__name__}")


def _sound(structure: Structure | Atoms) -> Arrays:
    """Arrays that can be a crystal."""
    arrays = decode(structure)
    reason = why_bad([Draft.of("", "", arrays)])[0]
    if reason is not None:
        raise UnreadableError(reason)
    return arrays


def refuse_partly_periodic(pbc: Sequence[Any]) -> None:
    """Refuse a layer, a chain or a molecule: made periodic in all directions it would touch its own images.

    Args:
        pbc: whether each lattice vector is a period, three values.

    Raises:
        UnreadableError: If one of them is none.
    """
    flags = [bool(flag) for flag in pbc]
    if not all(flags):
        said = " ".join("T" if flag else "F" for flag in flags)
        remedy = "add vacuum along the others and set pbc to T T T"
        raise UnreadableError(f"periodic in {sum(flags)} of 3 directions (pbc {said}), not a crystal; {remedy}")


def decode_structure(structure: Structure) -> Arrays:
    """Arrays of an ordered pymatgen ``Structure``."""
    refuse_partly_periodic(structure.lattice.pbc)
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
    try:
        return _decode_sites(data)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UnreadableError(f"no pymatgen Structure, or a damaged one: {shorten(what)}") from error


def _decode_sites(data: Mapping[str, Any]) -> Arrays:
    """Arrays of a dict that has a lattice and sites.

    Raises:
        KeyError, TypeError, IndexError, AttributeError: If something else stands where a value should be.
    """
    symbols: list[str] = []
    for site in data["sites"]:
        species = site["species"]
        if len(species) != 1 or abs(species[0]["occu"] - 1) > 1e-8:
            mixed = ", ".join(f"{s['element']}:{s['occu']:g}" for s in species)
            raise UnreadableError(f"disordered sites: {mixed}")
        symbols.append(species[0]["element"])
    refuse_partly_periodic(data["lattice"].get("pbc") or (True, True, True))
    lattice = plain_numbers(data["lattice"]["matrix"])
    frac = plain_numbers([site["abc"] for site in data["sites"]]).reshape(-1, 3)
    return _numbers(symbols), lattice, frac


def _numbers(symbols: list[str]) -> NDArray[np.int64]:
    """Atomic numbers of symbols, (N,)."""
    known = numbers_of_symbols()
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
    refuse_partly_periodic(atoms.pbc)
    occupied = atoms.info.get("occupancy")
    if occupied and any(len(site) != 1 or abs(sum(site.values()) - 1) > 1e-8 for site in occupied.values()):
        raise UnreadableError("disordered sites")
    if not (np.abs(lattice) <= LONGEST_VECTOR).all() or abs(np.linalg.det(lattice)) < 1e-12:
        # Positions cannot be made fractional; the check of the lattice names the reason.
        return np.array(atoms.numbers, dtype=np.int64), lattice, np.zeros((len(atoms), 3))
    frac = np.linalg.solve(lattice.T, atoms.positions.T).T
    return np.array(atoms.numbers, dtype=np.int64), lattice, np.ascontiguousarray(frac)


CLOSEST_ANGSTROM = 0.5
"""Atoms nearer than this, periodic images included, are taken for an error; the H2 bond is 0.74 angstrom."""
SMALLEST_VOLUME = 0.5
"""Cubic angstrom per atom below which a cell counts as having no volume; diamond has 5.7."""
LONGEST_VECTOR = 10_000.0
"""Angstrom; the longest periods of real crystals, those of polytypes, are some 1,000."""
LARGEST_FRACTION = 1000.0
"""Fractional coordinates beyond this are not taken for positions in a crystal."""
LAST_ELEMENT = 118

_MOST_IMAGES = 50
"""Cells searched in one direction; a vector of 1e-7 angstrom has millions of images in reach."""
_BLOCK = 4096  # crystals at once: keeps the work arrays within the processor's cache and memory small


def why_bad(drafts: Sequence[Draft]) -> list[str | None]:
    """The reason why each crystal cannot be used, or None.

    Left-handed lattice vectors are fine: they describe the mirror image, with the same distances.
    """
    reasons: list[str | None] = [_why_bad_alone(draft) for draft in drafts]
    fine = [row for row, reason in enumerate(reasons) if reason is None]
    for start in range(0, len(fine), _BLOCK):
        rows = fine[start : start + _BLOCK]
        for row, reason in zip(rows, _why_bad_geometry([drafts[row] for row in rows]), strict=True):
            reasons[row] = reason
    return reasons


def _why_bad_alone(draft: Draft) -> str | None:
    """What can be seen without geometry; cheap."""
    n = len(draft.numbers)
    if draft.reason:
        return draft.reason
    if n == 0:
        return "no atoms"
    if draft.lattice.shape != (3, 3):
        return f"the lattice needs 3 vectors of 3 numbers. Received: {draft.lattice.size} numbers"
    if draft.frac.shape != (n, 3):
        return f"{n} atoms need {3 * n} coordinates. Received: {draft.frac.size}"
    return None


def _why_bad_geometry(drafts: list[Draft]) -> list[str | None]:
    """Elements, numbers, volume and distances of a block of crystals with arrays of the right shape."""
    n_sites = np.array([len(draft.numbers) for draft in drafts])
    owner = np.repeat(np.arange(len(drafts)), n_sites)  # (N,)
    first = np.cumsum(n_sites) - n_sites  # (n,)
    numbers = np.concatenate([draft.numbers for draft in drafts])
    frac = np.concatenate([draft.frac for draft in drafts])  # (N, 3)
    lattice = np.stack([draft.lattice for draft in drafts])  # (n, 3, 3)
    reasons: list[str | None] = [None] * len(drafts)

    def name(rows: NDArray[np.int64], texts: Sequence[str]) -> None:
        for row, text in zip(rows, texts, strict=True):
            reasons[row] = reasons[row] or text

    row, site = _first_site(owner, (numbers < 1) | (numbers > LAST_ELEMENT))
    at = site - first[row]
    name(row, [f"unknown element: atomic number {numbers[k]} at site {s}" for k, s in zip(site, at, strict=True)])
    row = np.flatnonzero(~np.isfinite(lattice).all((1, 2)))
    name(row, ["a lattice vector is not finite (NaN or infinite)"] * len(row))
    longest = np.abs(lattice).max((1, 2))
    row = np.flatnonzero(longest > LONGEST_VECTOR)
    name(row, [f"a lattice vector is {longest[r]:.3g} angstrom long; at most {LONGEST_VECTOR:g} is read" for r in row])
    row, site = _first_site(owner, ~np.isfinite(frac).all(1))
    name(row, [f"the coordinate of site {s} is not finite (NaN or infinite)" for s in site - first[row]])
    row, site = _first_site(owner, (np.abs(frac) > LARGEST_FRACTION).any(1))
    far = np.abs(frac[site]).max(1)
    name(row, [f"site {s} lies {f:.3g} cells away" for s, f in zip(site - first[row], far, strict=True)])

    sound = longest <= LONGEST_VECTOR  # also false for NaN; the determinant of others may overflow
    volume = np.zeros(len(drafts))
    volume[sound] = np.abs(np.linalg.det(lattice[sound])) / n_sites[sound]
    row = np.flatnonzero(~(volume >= SMALLEST_VOLUME))
    name(row, [f"no volume: {volume[r]:.3g} cubic angstrom per atom" for r in row])

    fine = np.flatnonzero([reason is None for reason in reasons])
    if len(fine):
        keep = np.isin(owner, fine)
        found = _closest(lattice[fine], np.searchsorted(fine, owner[keep]), frac[keep])
        for r, (distance, i, j) in found.items():
            reasons[fine[r]] = f"overlapping atoms: sites {i} and {j} are {distance:.3f} angstrom apart"
    return reasons


def _first_site(owner: NDArray[np.int64], wrong: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each crystal that has a wrong site, and the first such site."""
    sites = np.flatnonzero(wrong)
    rows, where = np.unique(owner[sites], return_index=True)
    return rows, sites[where]


def _closest(
    lattice: NDArray[np.float64], owner: NDArray[np.int64], frac: NDArray[np.float64]
) -> dict[int, tuple[float, int, int]]:
    """The closest pair of each crystal with atoms nearer than the limit: distance and the two sites.

    A vector shorter than the limit spans at most limit / height of a cell. Where all heights are at least
    twice the limit that is half a cell, so the wrapped difference of two sites is the only candidate; flatter
    cells are looked at one by one.
    """
    height = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=1)  # (n, 3), distance between lattice planes
    flat = height.min(1) < 2 * CLOSEST_ANGSTROM
    found: dict[int, tuple[float, int, int]] = {}
    first = np.searchsorted(owner, np.arange(len(lattice) + 1))
    for row in np.flatnonzero(flat).tolist():
        pair = _closest_in_flat_cell(lattice[row], frac[first[row] : first[row + 1]])
        if pair is not None:
            found[row] = pair
    for row, distance, i, j in _close_pairs(lattice, height, owner, frac, ~flat):
        if row not in found or distance < found[row][0]:
            found[row] = (distance, i - int(first[row]), j - int(first[row]))
    return found


def _close_pairs(
    lattice: NDArray[np.float64],
    height: NDArray[np.float64],
    owner: NDArray[np.int64],
    frac: NDArray[np.float64],
    wanted: NDArray[np.bool_],
) -> list[tuple[int, float, int, int]]:
    """All pairs below the limit as (crystal, distance, site, site): sweep along the tallest direction.

    Sites are sorted by their position along that direction; the k-th next site is a candidate only as long
    as the k-1 ones before it were within the limit.
    """
    axis = height.argmax(1)
    tall = height[np.arange(len(height)), axis]
    site = np.flatnonzero(wanted[owner])
    along = np.mod(frac[site, axis[owner[site]]], 1.0) * tall[owner[site]]  # angstrom
    low = along < CLOSEST_ANGSTROM  # these also are neighbours of the sites at the upper end
    site, along = np.concatenate([site, site[low]]), np.concatenate([along, along[low] + tall[owner[site[low]]]])
    order = np.lexsort((along, owner[site]))
    site, along = site[order], along[order]
    crystal = owner[site]

    pairs: list[tuple[int, float, int, int]] = []
    here, step = np.arange(len(site)), 1
    while len(here):
        here = here[here + step < len(site)]
        there = here + step
        near = (crystal[here] == crystal[there]) & (along[there] - along[here] < CLOSEST_ANGSTROM)
        here, there = here[near], there[near]
        difference = frac[site[there]] - frac[site[here]]
        difference -= np.rint(difference)
        distance = np.linalg.norm(np.einsum("ei,eij->ej", difference, lattice[crystal[here]]), axis=1)
        for k in np.flatnonzero((distance < CLOSEST_ANGSTROM) & (site[here] != site[there])):
            i, j = sorted((int(site[here[k]]), int(site[there[k]])))
            pairs.append((int(crystal[here[k]]), float(distance[k]), i, j))
        step += 1
    return pairs


def _closest_in_flat_cell(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> tuple[float, int, int] | None:
    """The closest pair below the limit in a cell with lattice planes nearer than twice the limit."""
    from pymatgen.core import Lattice

    reduced = np.asarray(Lattice(lattice).lll_matrix)
    height = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)
    reach = np.ceil(CLOSEST_ANGSTROM / height + 0.5).astype(int)
    if reach.max() > _MOST_IMAGES:
        return float(np.linalg.norm(reduced, axis=1).min()), 0, 0  # a site and its own image; near enough to refuse
    image = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    shift = image @ reduced  # (images, 3)
    position = frac @ lattice @ np.linalg.inv(reduced)
    best: tuple[float, int, int] | None = None
    for i in range(len(frac)):
        difference = position[i:] - position[i]
        difference -= np.rint(difference)
        distance = np.linalg.norm((difference @ reduced)[:, None] + shift, axis=2)  # (N - i, images)
        distance[0, (image == 0).all(1)] = np.inf
        k = int(distance.min(1).argmin())
        nearest = float(distance[k].min())
        if nearest < (best[0] if best else CLOSEST_ANGSTROM):
            best = (nearest, i, i + k)
    return best


def in_cell(crystal: Crystal, matrix: ArrayLike) -> Crystal:
    """The same crystal described by other cell vectors, whole-number combinations of its own.

    Args:
        crystal: the crystal.
        matrix: combinations as rows, (3, 3); its determinant is the number of old cells in the new one.
    """
    combine = np.asarray(matrix, dtype=float)
    corners = np.minimum(combine, 0).sum(0).astype(int), np.maximum(combine, 0).sum(0).astype(int)
    steps = np.stack(np.meshgrid(*map(np.arange, corners[0], corners[1] + 1)), -1).reshape(-1, 3)
    place = steps @ np.linalg.inv(combine)
    inside = steps[((place > -1e-9) & (place < 1 - 1e-9)).all(1)]  # (K, 3) old cells in the new one
    frac = ((crystal.frac[:, None] + inside) @ np.linalg.inv(combine)).reshape(-1, 3)
    return replace(
        crystal, numbers=np.repeat(crystal.numbers, len(inside)), lattice=combine @ crystal.lattice, frac=frac
    )


UNDERSCORED = re.compile(r"[+-]?[\d.][\d.eE+-]*_[\d._eE+-]*")
"""A word that Python takes for a number and no other program does, such as 1_5."""


def refuse_underscores(lines: Iterable[str]) -> None:
    """Refuse coordinates such as ``1_5``: Python reads 15 where 1.5 was meant.

    Raises:
        UnreadableError: With the word.
    """
    for line in lines:
        for word in line.split() if "_" in line else ():
            if UNDERSCORED.fullmatch(word):
                raise UnreadableError(f"{shorten(repr(word), 40)} is no number")
