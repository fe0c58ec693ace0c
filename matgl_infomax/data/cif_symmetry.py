"""The symmetry that a CIF states: listed operations, Hall and Hermann-Mauguin symbols, and the group's number.

Whatever is stated is understood or refused, and all that is stated must agree.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import UnreadableError, shorten

if TYPE_CHECKING:
    import gemmi

_STEPS = 840
"""Translations are compared in steps of 1/840 of a cell edge, which holds halves to eighths and twelfths."""
_LARGEST_ENTRY = 3
"""Largest number in a rotation; in the axes of the International Tables it is 1."""
_ROUNDED = 9
"""Steps by which products of operations may differ from the list: three times 0.33 is not quite 1."""
_FARTHEST = 100
"""Cells; a longer translation is no translation of a symmetry operation."""
_MOST_OPERATIONS = 4096
"""The 192 of a face-centred cubic group in a supercell of 21 cells."""
_METRIC_TOLERANCE = 0.01
"""Of the metric tensor, relative to the product of two edges: 0.5 % of an edge or 0.6 degrees."""
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-")


Values = Mapping[str, "list[str | None]"]
"""Values by tag, in small letters with ``_`` for ``.``; None where the file says ``?`` or ``.``."""


@dataclass(frozen=True, eq=False)
class Operations:
    """Symmetry operations x' = R x + t in fractional coordinates.

    Attributes:
        rotations: R as whole numbers, (n, 3, 3).
        steps: t in 1/840 of a cell edge, (n, 3).
        triplets: the operations as ``x,y,z`` text, in the order of the file.
    """

    rotations: NDArray[np.int64]
    steps: NDArray[np.int64]
    triplets: tuple[str, ...]

    @classmethod
    def of(cls, rotations: NDArray[np.float64], translations: NDArray[np.float64]) -> Operations:
        """Operations from matrices (n, 3, 3) and translations as fractions of the cell (n, 3), without their text."""
        return cls(np.rint(rotations).astype(np.int64), np.rint(translations * _STEPS).astype(np.int64), ())

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """One whole number per operation, (n,); equal where the operations are."""
        return _codes(self.rotations, self.steps)

    @cached_property
    def key(self) -> frozenset[int]:
        """The operations as a set."""
        return frozenset(self.codes.tolist())

    def multiplicities(self, frac: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
        """How many positions each site stands for, (N,), by the number of operations that leave it where it is.

        Args:
            frac: fractional coordinates, (N, 3).
            tolerance: distance, as a fraction of the cell, within which two positions are one.
        """
        if len(self.rotations) == 1:
            return np.ones(len(frac), dtype=np.int64)
        _, first = np.unique(self.codes, return_index=True)
        images = np.einsum("oij,nj->noi", self.rotations[first], frac) + self.steps[first] / _STEPS
        off = images - frac[:, None]
        off -= np.rint(off)
        left = (np.abs(off) < tolerance).all(2).sum(1)
        return np.asarray(len(first) // np.maximum(left, 1), dtype=np.int64)

    def keeps(self, metric: NDArray[np.float64]) -> bool:
        """Whether no operation changes the lengths and angles of a cell with this metric tensor, (3, 3)."""
        if len(self.rotations) == 1:
            return True
        edges = np.sqrt(np.diag(metric))
        rotated = np.einsum("oji,jk,okl->oil", self.rotations, metric, self.rotations)
        return bool((np.abs(rotated - metric) <= _METRIC_TOLERANCE * np.outer(edges, edges)).all())


def _codes(rotations: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rotation and translation as one whole number; the last axes are (3, 3) and (3,)."""
    base = 2 * _LARGEST_ENTRY + 1
    flat = rotations.reshape(*rotations.shape[:-2], 9) + _LARGEST_ENTRY
    turned = flat @ base ** np.arange(9)
    moved = np.mod(steps, _STEPS) @ _STEPS ** np.arange(3)
    return np.asarray(turned * _STEPS**3 + moved)


def plain_dashes(text: str) -> str:
    """The text with every typographic minus sign and dash as ``-``."""
    return text if text.isascii() else text.translate(_DASHES)


_TERM = re.compile(r"([+-]?)(?:([0-9]+/[0-9]+|[0-9]+\.?[0-9]*|\.[0-9]+)\*?)?([xyz]?)")

_BRACKETS = re.compile(r"(?<![^,+-])\(([xyz]|[0-9]+/[0-9]+|[0-9]*\.?[0-9]+)\)")


def _parse_triplet(text: str) -> tuple[list[list[int]], list[Fraction]]:
    """Rotation and translation of an operation such as ``-x, y+1/2, -z``.

    Raises:
        UnreadableError: If a character of it is not understood, or the rotation is none.
    """
    wrong = UnreadableError(f"symmetry operation not understood: {shorten(text, 60)!r}")
    plain = re.sub(r"\s", "", plain_dashes(text)).lower()
    plain = re.sub(r"^\(([^()]*)\)$", r"\1", plain)
    # Brackets around one number or letter mean nothing; -(x+y) would have to be multiplied out.
    parts = _BRACKETS.sub(r"\1", plain).split(",")
    if len(parts) != 3:
        raise wrong
    rotation, translation = [], []
    for part in parts:
        row, shift, at = [Fraction(0)] * 3, Fraction(0), 0
        while at < len(part):
            term = _TERM.match(part, at)
            if term is None or not (term[2] or term[3]) or (at and not term[1]) or re.search(r"/0+$", term[2] or ""):
                raise wrong
            amount = Fraction(term[2] or 1) * (-1 if term[1] == "-" else 1)
            if term[3]:
                row["xyz".index(term[3])] += amount
            else:
                shift += amount
            at = term.end()
        if not part or abs(shift) > _FARTHEST or any(n.denominator != 1 or abs(n) > _LARGEST_ENTRY for n in row):
            raise wrong
        rotation.append([int(entry) for entry in row])
        translation.append(shift)
    volume = round(float(np.linalg.det(np.array(rotation, dtype=float))))
    if abs(volume) != 1:
        raise UnreadableError(
            f"no symmetry operation: {shorten(text, 60)!r} has determinant {volume}, where 1 or -1 is needed"
        )
    return rotation, translation


@lru_cache(maxsize=1024)
def listed_operations(texts: tuple[str, ...]) -> Operations:
    """The operations that a file lists.

    Raises:
        UnreadableError: If one is not understood, or they are not the operations of a group.
    """
    from pymatgen.core.operations import SymmOp

    rotations, steps, kept = [], [], []
    for text in texts:
        rotation, translation = _parse_triplet(text)
        rotations.append(rotation)
        steps.append([round(shift * _STEPS) for shift in translation])
        other = SymmOp.from_xyz_str(text)  # this one places the atoms: it must have understood the same
        same = np.array_equal(other.rotation_matrix, rotation)
        same = same and np.allclose(other.translation_vector, [float(shift) for shift in translation], atol=1e-9)
        kept.append(text if same and text.isascii() else _triplet(rotation, translation))
    found = Operations(np.array(rotations), np.array(steps), tuple(kept))
    _require_group(found)
    return found


def _triplet(rotation: Sequence[Sequence[int]], translation: Sequence[Fraction]) -> str:
    """An operation as text, with 1/2 as 1/2."""
    parts = []
    for row, shift in zip(rotation, translation, strict=True):
        terms = [
            f"{'-' if n < 0 else '+'}{'' if abs(n) == 1 else abs(n)}{x}" for n, x in zip(row, "xyz", strict=True) if n
        ]
        parts.append("".join(terms).removeprefix("+") + (f"{'-' if shift < 0 else '+'}{abs(shift)}" if shift else ""))
    return ",".join(parts)


def _require_group(found: Operations) -> None:
    """Refuse a list in which the product of two operations is missing: a line of it was lost or changed."""
    n = len(found.codes)
    if n > _MOST_OPERATIONS:
        raise UnreadableError(f"{n} symmetry operations, where at most {_MOST_OPERATIONS} are read")
    for first in range(n):
        rotations = found.rotations[first] @ found.rotations
        steps = found.steps @ found.rotations[first].T + found.steps[first]
        outside = (np.abs(rotations) > _LARGEST_ENTRY).any((1, 2)) | ~np.isin(_codes(rotations, steps), found.codes)
        for second in np.flatnonzero(outside):
            same = (found.rotations == rotations[second]).all((1, 2))
            off = np.mod(found.steps[same] - steps[second] + _STEPS // 2, _STEPS) - _STEPS // 2
            # Translations written as 0.33 are off by a few steps, and so are their sums.
            if not (np.abs(off) <= _ROUNDED).all(1).any():
                pair = " and ".join(repr(found.triplets[k]) for k in sorted({first, int(second)}))
                raise UnreadableError(f"the {n} symmetry operations are no group: the product of {pair} is missing")


def magnetic_operations(texts: tuple[str, ...], centerings: tuple[str, ...]) -> Operations:
    """The operations of a magnetic CIF without their time reversal; each goes with each centring."""
    plain = [text.rsplit(",", 1)[0] if text.count(",") == 3 else text for text in texts]
    moves = [text.rsplit(",", 1)[0] if text.count(",") == 3 else text for text in centerings] or ["x,y,z"]
    parsed = [_parse_triplet(text) for text in plain]
    shifts = [_parse_triplet(text)[1] for text in moves]
    every = [
        (rotation, [(a + b) % 1 for a, b in zip(own, move, strict=True)]) for rotation, own in parsed for move in shifts
    ]
    return listed_operations(tuple(_triplet(rotation, translation) for rotation, translation in every))


# Names of groups. gemmi and spglib hold the tables; what follows only looks names up in them.


@dataclass(frozen=True, eq=False)
class Setting:
    """One choice of axes and origin of a space group."""

    number: int
    """Number of the group in the International Tables, 1 to 230."""
    extension: str
    """Origin (``1``, ``2``) or axes (``H``, ``R``) where the symbol leaves them open."""
    hall: str

    @cached_property
    def operations(self) -> Operations:
        """The operations in this setting."""
        return hall_operations(self.hall)


@cache
def hall_operations(symbol: str) -> Operations:
    """The operations that a Hall symbol generates.

    Raises:
        UnreadableError: If the symbol is not understood.
    """
    import gemmi

    text = plain_dashes(symbol).replace("_", " ").strip().strip("'").strip()
    try:
        return _from_gemmi(gemmi.symops_from_hall(text))
    except (RuntimeError, ValueError) as error:
        raise UnreadableError(f"Hall symbol not understood: {shorten(symbol, 60)!r}") from error


def _from_gemmi(group: gemmi.GroupOps) -> Operations:
    """Operations of a group of gemmi."""
    held = list(group)
    fraction = held[0].DEN
    rotations = np.array([op.rot for op in held]) // fraction
    steps = np.array([op.tran for op in held]) * (_STEPS // fraction)
    return Operations(rotations, steps, tuple(op.triplet() for op in held))


@cache
def _spglib_types() -> tuple[Any, ...]:
    """spglib's table: one entry per Hall symbol."""
    import spglib

    return tuple(spglib.get_spacegroup_type(hall_number) for hall_number in range(1, 531))


@cache
def _settings() -> dict[str, tuple[tuple[tuple[str, ...], Setting], ...]]:
    """Settings by their symbol without spaces in small letters, each with the parts of the symbol."""
    import gemmi

    found: dict[str, dict[tuple[str, str], tuple[tuple[str, ...], Setting]]] = {}

    def add(symbol: str, setting: Setting) -> None:
        parts = tuple(symbol.replace("_", "").lower().split())
        found.setdefault("".join(parts), {}).setdefault((setting.hall, " ".join(parts)), (parts, setting))

    for group in gemmi.spacegroup_table():
        setting = Setting(group.number, group.ext.strip("\0"), group.hall)
        add(group.hm, setting)
        add(re.sub(r" 1(?= |$)", "", group.hm) if 3 <= group.number <= 15 else group.hm, setting)
        if group.number >= 195:
            add(group.hm.replace(" -3", " 3"), setting)  # F m 3 m, as written before 1983
    known = {setting.operations.key: setting for held in list(found.values()) for _, setting in held.values()}
    for kind in _spglib_types():
        held_already = known.get(hall_operations(kind.hall_symbol).key)
        choice = kind.choice if kind.choice in ("1", "2", "H", "R") else ""
        for symbol in (kind.international.rpartition("=")[2], kind.international_full):
            add(symbol.strip(), held_already or Setting(kind.number, choice, kind.hall_symbol))
    return {symbol: tuple(held.values()) for symbol, held in found.items()}


_EXTENSION = re.compile(
    r"\s*(?::\s*([12hrsz])|\(?\s*origin\s*(?:choice)?\s*([12])\s*\)?|(?<=[\sa-z0-9])o([12])|(hr|rs|[hrsz]))\s*$"
)
_MEANING = {"h": "H", "hr": "H", "r": "R", "rs": "R", "s": "1", "z": "2", "1": "1", "2": "2"}


@cache
def settings_of_symbol(symbol: str) -> tuple[Setting, ...]:
    """All settings that a Hermann-Mauguin symbol may mean; none if it is not understood.

    Old symbols (``F m 3 m``), full ones, ``P2(1)/c``, ``P2_1/c`` and endings for axes and origin
    (``:1``, ``:2``, ``:H``, ``:R``, and ``S``, ``Z``, ``H``, ``R`` of the ICSD) are known.
    """
    text = re.sub(r"</?sub>|\((?=[0-9]\))|(?<=\([0-9])\)", "", plain_dashes(symbol).strip().strip("'\""), flags=re.I)
    text = text.lower().strip()
    ending = _EXTENSION.search(text, 1) if len(text) > 1 else None
    meant = _MEANING[next(filter(None, ending.groups()))] if ending else ""
    text = text[: ending.start()] if ending else text
    spaced = re.sub(r"_", " ", text) if re.search(r"_(?![0-9])", text) else text.replace("_", "")
    parts = spaced.split()
    held = [setting for own, setting in _settings().get("".join(parts), ()) if _splits(parts, own)]
    if meant:
        exact = [setting for setting in held if setting.extension == meant]
        return tuple(exact or (held if meant == "1" and all(not s.extension for s in held) else ()))
    return tuple(held)


def _splits(parts: Sequence[str], own: Sequence[str]) -> bool:
    """Whether spaces stand only where the symbol has them: ``P 3 2`` is not ``P 32``."""
    ends = set(np.cumsum([len(part) for part in own]).tolist())
    return set(np.cumsum([len(part) for part in parts]).tolist()) <= ends


@cache
def settings_of_number(number: int) -> tuple[Setting, ...]:
    """The standard setting of a group, with both origins or axes where it has two."""
    import gemmi

    if not 1 <= number <= 230:
        return ()
    standard = gemmi.find_spacegroup_by_number(number)
    return tuple(setting for _, setting in _settings()["".join(standard.hm.lower().split())])


@cache
def number_of_schoenflies(symbol: str) -> int | None:
    """Number of the group of a Schoenflies symbol such as ``Oh^5``; None if it is not understood."""

    def plain(text: str) -> str:
        return re.sub(r"[\s_^.{}]", "", text).lower()

    return next((kind.number for kind in _spglib_types() if plain(kind.schoenflies) == plain(symbol)), None)


@lru_cache(maxsize=1024)
def number_of_operations(found: Operations) -> int | None:
    """Number of the group that operations form; None if no table has it."""
    import spglib

    _, once = np.unique(found.codes, return_index=True)
    kind = spglib.get_spacegroup_type_from_symmetry(found.rotations[once], found.steps[once] / _STEPS, symprec=2e-3)
    return None if kind is None else int(kind.number)


# What a file states in several ways must be one group.


@dataclass(frozen=True)
class Stated:
    """Everything that a data block states about its symmetry, as text.

    Attributes:
        operations: the listed operations.
        hall: Hall symbols.
        symbols: Hermann-Mauguin symbols.
        numbers: numbers of the group.
        schoenflies: Schoenflies symbols.
        centerings: centrings of a magnetic group.
        magnetic: the operations carry a time reversal.
    """

    operations: tuple[str, ...] = ()
    hall: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    schoenflies: tuple[str, ...] = ()
    centerings: tuple[str, ...] = ()
    magnetic: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the group, for messages."""
        return (*self.hall, *self.symbols, *self.numbers, *self.schoenflies)


def all_of(values: Values, *tags: str) -> tuple[str, ...]:
    """All values of tags that are given."""
    return tuple(text for tag in tags for text in values.get(tag, ()) if text is not None)


def stated_symmetry(values: Values) -> Stated:
    """Everything that a block states about its symmetry.

    Raises:
        UnreadableError: If the structure is modulated, or a list of operations has gaps or is given twice, differently.
    """
    dimension = all_of(values, "_cell_modulation_dimension")
    if any(text != "0" for text in dimension) or any("_ssg_" in tag for tag in values):
        raise UnreadableError("a modulated structure, which no periodic cell describes")
    magnetic = all_of(values, "_space_group_symop_magn_operation_xyz")
    if not magnetic and any(tag.startswith(("_space_group_magn_n", "_space_group_symop_magn")) for tag in values):
        raise UnreadableError("a magnetic group without its operations (_space_group_symop_magn_operation.xyz)")
    lists = [values[t] for t in ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz") if t in values]
    lists = [texts for texts in lists if any(text is not None for text in texts)]
    if any(text is None for texts in lists for text in texts):
        raise UnreadableError("one of the symmetry operations is not given ('?' or '.')")
    listed = tuple(str(text) for text in lists[0]) if lists else ()
    if len(lists) > 1 and listed_operations(listed).key != listed_operations(tuple(map(str, lists[1]))).key:
        raise UnreadableError("contradiction: two lists of symmetry operations that differ")
    symbols = [tag for tag in values if tag.startswith(("_symmetry_space_group_name_h-m", "_space_group_name_h-m"))]
    symbols = [tag for tag in symbols if not tag.endswith("_ref")]
    return Stated(
        operations=magnetic or listed,
        hall=all_of(values, "_symmetry_space_group_name_hall", "_space_group_name_hall"),
        symbols=all_of(values, *symbols),
        numbers=all_of(values, "_space_group_it_number", "_symmetry_int_tables_number"),
        schoenflies=all_of(values, "_space_group_name_schoenflies", "_symmetry_space_group_name_schoenflies"),
        centerings=all_of(values, "_space_group_symop_magn_centering_xyz"),
        magnetic=bool(magnetic),
    )


def fitting(stated: Stated, metric: NDArray[np.float64]) -> tuple[Operations, ...]:
    """The groups that a statement may mean and that a cell can have; more than one where the origin is left open.

    Args:
        stated: what the file states.
        metric: metric tensor of the cell, (3, 3), square angstrom.

    Raises:
        UnreadableError: If there is none.
    """
    offered = choices(stated)
    found = tuple(choice for choice in offered if choice.keeps(metric))
    if not found:
        what = "the listed symmetry operations" if stated.operations else f"its group ({', '.join(stated.names)})"
        raise UnreadableError(f"contradiction: {what} would change the lengths or angles of the cell")
    # P 2/m means b as the unique axis wherever the cell leaves it open; nothing says which origin is meant.
    return found[:1] if _MONOCLINIC[0] <= (number_of_operations(found[0]) or 0) <= _MONOCLINIC[1] else found


_MONOCLINIC = (3, 15)


@lru_cache(maxsize=1024)
def choices(stated: Stated) -> tuple[Operations, ...]:
    """The groups of operations that a statement may mean; more than one where it leaves origin or axes open.

    Raises:
        UnreadableError: If something is not understood, a group is named but not known, or statements contradict.
    """
    if stated.magnetic:
        return (magnetic_operations(stated.operations, stated.centerings),)
    halls = [hall_operations(symbol) for symbol in stated.hall]
    exact = halls[:1]
    if stated.operations:
        exact = [listed_operations(stated.operations)]
    for other in halls:
        if other.key != exact[0].key:
            raise _contradiction(stated, f"Hall symbol {stated.hall[0]!r}")
    symbols = {symbol: settings_of_symbol(symbol) for symbol in stated.symbols}
    numbers = {_whole(text) for text in stated.numbers} | {number_of_schoenflies(text) for text in stated.schoenflies}
    if exact:
        _require_agreement(exact[0], stated, symbols, numbers)
        return (exact[0],)
    return _named(stated, symbols, numbers)


def _whole(text: str) -> int | None:
    """A number of a group; None for other text."""
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) else None


def _contradiction(stated: Stated, name: str) -> UnreadableError:
    """The error for two statements that do not agree."""
    listed = (
        f"the {len(stated.operations)} listed symmetry operations" if stated.operations else "another name in the file"
    )
    return UnreadableError(f"contradiction: {name} is not the group of {listed}")


def _require_agreement(
    found: Operations, stated: Stated, symbols: dict[str, tuple[Setting, ...]], numbers: set[int | None]
) -> None:
    """Refuse names that are not those of the operations; a name that is not understood contradicts nothing."""
    number = number_of_operations(found) if any(symbols.values()) or numbers - {None} else None
    for symbol, settings in symbols.items():
        if not settings or any(setting.operations.key == found.key for setting in settings):
            continue
        if number not in {setting.number for setting in settings} or _in_tables(found):
            raise _contradiction(stated, f"the named group {symbol!r}")
    for named in numbers - {None}:
        if named != number:
            raise _contradiction(stated, f"the group number {named}")


def _in_tables(found: Operations) -> bool:
    """Whether axes and origin are those of a tabulated setting, so that its symbol could have been given."""
    return found.key in _tabulated()


@cache
def _tabulated() -> frozenset[frozenset[int]]:
    """The sets of operations of all tabulated settings."""
    return frozenset(setting.operations.key for held in _settings().values() for _, setting in held)


def _named(stated: Stated, symbols: dict[str, tuple[Setting, ...]], numbers: set[int | None]) -> tuple[Operations, ...]:
    """Groups by name alone; without any name the cell lists all its atoms."""
    known = {symbol: settings for symbol, settings in symbols.items() if settings}
    # A symbol that nobody knows may name other axes than those which the number alone would mean.
    unclear = bool(symbols) and not known and not all(_one_choice_of_axes(number) for number in numbers - {None})
    if unclear or (not known and not numbers - {None}):
        if stated.names:
            raise UnreadableError(
                f"space group not understood: {', '.join(repr(name) for name in stated.names)}. "
                "List the symmetry operations (_space_group_symop_operation_xyz)"
            )
        return (listed_operations(("x, y, z",)),)
    lists = list(known.values()) or [settings_of_number(number) for number in sorted(numbers - {None})]  # type: ignore[type-var]
    shared = [s for s in lists[0] if all(any(s.operations.key == t.operations.key for t in other) for other in lists)]
    shared = [setting for setting in shared if all(number in (None, setting.number) for number in numbers)]
    if not shared:
        raise _contradiction(stated, f"the named group {stated.names[0]!r}")
    return tuple({setting.operations.key: setting.operations for setting in shared}.values())


@cache
def _one_choice_of_axes(number: int | None) -> bool:
    """Whether the tables have a group in its standard setting alone, with both origins where it has two."""
    standard = {setting.operations.key for setting in settings_of_number(number or 0)}
    every = {s.operations.key for held in _settings().values() for _, s in held if s.number == number}
    return every == standard


# The same operations for pymatgen, which places the atoms.


class PlacingOperation:
    """pymatgen's ``SymmOp`` as far as it places atoms, bit for bit, without its slow preparation of each point."""

    def __init__(self, affine: NDArray[np.float64]) -> None:
        """Hold the affine matrix of a ``SymmOp``, (4, 4)."""
        self._affine = affine

    def operate(self, point: Sequence[float]) -> NDArray[np.float64]:
        """The image of a point in fractional coordinates, (3,)."""
        return np.asarray(np.dot(self._affine, np.array((*point, 1.0)))[:3])


def for_pymatgen(stated: Stated, operations: Operations) -> tuple[PlacingOperation, ...]:
    """The operations as pymatgen has them: from its own table of the group's name where that is right.

    So the order of sites, and every bit of the coordinates, is that of pymatgen's reader.
    """
    if not stated.operations:
        names = [("_symmetry_space_group_name_H-M", text) for text in stated.symbols]
        names += [("_symmetry_Int_Tables_number", text) for text in stated.numbers]
        for tag, text in names:
            found, key = _pymatgen_group(tag, text)
            if key == operations.key:
                return found
    return _pymatgen_operations(operations.triplets)


@lru_cache(maxsize=1024)
def _pymatgen_operations(triplets: tuple[str, ...]) -> tuple[PlacingOperation, ...]:
    """Operations from their text."""
    from pymatgen.core.operations import SymmOp

    return tuple(PlacingOperation(SymmOp.from_xyz_str(text).affine_matrix) for text in triplets)


@lru_cache(maxsize=1024)
def _pymatgen_group(tag: str, text: str) -> tuple[tuple[PlacingOperation, ...], frozenset[int]]:
    """The operations that pymatgen has for a name, and their set; those of P1 if it does not know the name."""
    from pymatgen.io.cif import CifFile, CifParser

    plain = re.sub(r"[^-A-Za-z0-9/:_ ()]", "?", text)
    alone = f'data_x\n{tag} "{plain}"\n'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = CifParser.from_str(alone, check_cif=False).get_symops(CifFile.from_str(alone).data["x"])
    translations = np.array([op.translation_vector for op in found])
    placing = tuple(PlacingOperation(op.affine_matrix) for op in found)
    return placing, Operations.of(np.array([op.rotation_matrix for op in found]), translations).key
