"""CIF: gemmi reads the text, pymatgen places the atoms, and what comes out is counted against all that is stated.

pymatgen guesses where it does not understand: an unknown space group becomes P1, an unknown site is left out. So it
receives only what was understood before, as a small CIF in one fixed spelling.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import cos, radians, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.cif_symmetry import (
    Operations,
    PlacingOperation,
    Stated,
    Values,
    all_of,
    choices,
    fitting,
    for_pymatgen,
    plain_dashes,
    stated_symmetry,
)
from matgl_infomax.data.crystal import Arrays, UnreadableError, decode_structure, numbers_of_symbols, shorten

if TYPE_CHECKING:
    import gemmi
    from pymatgen.io.cif import CifParser

_FORMULA_TOLERANCE = 0.002
"""Relative; one missing atom among 500 is still seen."""
_SAME_PLACE = 1e-3
"""Of the cell; positions of one site nearer than this are one position."""
_VOLUME_TOLERANCE = 0.01
"""Relative; stated volumes are rounded, and so are lengths and angles."""
_MOST_REPAIRS = 20

# From text to values.


@dataclass(frozen=True)
class CifBlock:
    """One data block as text.

    Attributes:
        name: what follows ``data_``.
        text: its lines.
        first_line: number of its first line in the file, from 1.
    """

    name: str
    text: str
    first_line: int


def blocks_with_atoms(text: str) -> list[CifBlock]:
    """The data blocks that list atoms. A line ``data_...`` inside a text field begins none."""
    text = plain_dashes(text).replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a\n ")
    starts = [match.start() for match in re.finditer(r"^[ \t]*data_", text, flags=re.MULTILINE | re.IGNORECASE)]
    if len(starts) > 1:
        inside = _text_fields(text)
        starts = [start for start in starts if not any(low <= start < high for low, high in inside)]
    heads = starts[:]
    if starts and any(_like_data(line) for line in text[: starts[0]].split("\n")):
        starts[0] = 0  # lost lines; the syntax is wrong there, which is to be told
    found = []
    for head, start, end in zip(heads, starts, [*starts[1:], len(text)], strict=False):
        part = text[start:end]
        name = text[head:end].split(None, 1)[0][5:]
        block = CifBlock(name, part, 1 + text.count("\n", 0, start))
        if _lists_atoms(block):
            found.append(block)
    return found


def _text_fields(text: str) -> list[tuple[int, int]]:
    """Begin and end of every text field: from a line that begins with ``;`` to the next one."""
    marks = [match.start() for match in re.finditer(r"^;", text, flags=re.MULTILINE)]
    return list(zip(marks[::2], [*marks[1::2], *([len(text)] if len(marks) % 2 else [])], strict=True))


_POSITION_LINE = re.compile(r"^[ \t]*_atom_site[_.](?:fract|cartn)_", flags=re.IGNORECASE | re.MULTILINE)
_POSITION = re.compile(r"(^[ \t]*|[ \t])_atom_site[_.](?:fract|cartn)_", flags=re.IGNORECASE | re.MULTILINE)


def _lists_atoms(block: CifBlock) -> bool:
    """Whether a block has tags of positions; one that is no CIF counts, for its error is to be told."""
    if "\n;" not in block.text and _POSITION_LINE.search(block.text):
        return True
    if not _POSITION.search(block.text):
        return False
    inside = _text_fields(block.text)
    outside = [m for m in _POSITION.finditer(block.text) if not any(low <= m.start() < high for low, high in inside)]
    if any(match.start() == 0 or block.text[match.start() - 1] == "\n" for match in outside):
        return True
    try:
        return bool(outside) and any(_POSITION.match(tag) for tag in values_of(block))
    except UnreadableError:
        return True


def _like_data(line: str) -> bool:
    """Whether a line looks like a tag, an operation or a site, and not like a remark."""
    words = line.partition("#")[0].replace("'", " ").replace('"', " ")
    if words.lstrip().lower().startswith(("_", "loop_")) or _OPERATION_LINE.match(words):
        return True
    return sum(_NUMBER.fullmatch(word) is not None for word in words.split()) >= 3


_OPERATION_LINE = re.compile(
    r"^([ \t]*(?:[0-9]+[ \t]+)?)([-+xyz0-9/. \t]+,[-+xyz0-9/. \t]+,[-+xyz0-9/. \t]*[xyz][-+xyz0-9/. \t]*?)[ \t\r]*$",
    flags=re.MULTILINE | re.IGNORECASE,
)
_WANTED = (
    "_cell_length_",
    "_cell_angle_",
    "_cell_volume",
    "_cell_formula_units_z",
    "_cell_modulation_dimension",
    "_atom_site_label",
    "_atom_site_type_symbol",
    "_atom_site_fract_",
    "_atom_site_cartn_",
    "_atom_site_occupancy",
    "_atom_site_attached_hydrogens",
    "_atom_site_calc_flag",
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_",
    "_atom_type_symbol",
    "_atom_type_oxidation_number",
    "_space_group_",
    "_symmetry_",
    "_chemical_formula_sum",
)
"""Beginnings of the tags that are read; all else is a remark."""


def values_of(block: CifBlock) -> Values:
    """What a block states about cell, symmetry, atoms and formula.

    Raises:
        UnreadableError: If it is no CIF, or gives one of these twice with different values.
    """
    # Operations without quotes are three values by the letter; everybody can see what is meant.
    document = _parsed(_OPERATION_LINE.sub(r"\1'\2'", block.text), block)
    found: dict[str, list[str | None]] = {}
    for tag, raw in _tags(document):
        name = _plain_tag(tag)
        if not name.startswith(_WANTED):
            continue
        values = [_value(text) for text in raw]
        if found.setdefault(name, values) != values:
            raise UnreadableError(f"two different values of {tag}")
    return found


def _tags(block: gemmi.cif.Block) -> Iterator[tuple[str, list[str]]]:
    """Every tag with its values, one for a pair and a column for a loop."""
    for item in block:
        pair: Any = item.pair
        if pair is not None:
            yield pair[0], [pair[1]]
        elif item.loop is not None:
            tags = item.loop.tags
            if any(_plain_tag(tag).startswith(_WANTED) for tag in tags):
                values = item.loop.values
                yield from ((tag, values[k :: len(tags)]) for k, tag in enumerate(tags))


@lru_cache(maxsize=4096)
def _plain_tag(tag: str) -> str:
    """A tag in one spelling: ``_space_group_symop.operation_xyz`` and ``..._H_M_`` have others."""
    return tag.lower().replace(".", "_").replace("name_h_m", "name_h-m").rstrip("_")


def _value(raw: str) -> str | None:
    """The text of a value without its quotes; None for ``?``, ``.`` and nothing."""
    from gemmi import cif

    if raw in ("?", ".", ""):
        return None
    return cif.as_string(raw).strip() or None if raw[0] in "'\";" else raw


def _parsed(text: str, block: CifBlock) -> gemmi.cif.Block:
    """The block as gemmi reads it; single lines of remarks that break the rules are left out."""
    from gemmi import cif

    lines: list[str] = []
    for _ in range(_MOST_REPAIRS):
        try:
            return cif.read_string("\n".join(lines) or text, 0)[0]
        except ValueError as error:
            place = re.match(r"string:(\d+):\d+(?:\(\d+\))?:\s*(.*)", str(error), flags=re.DOTALL)
            lines = lines or text.split("\n")
            number = min(int(place[1]), len(lines)) - 1 if place else 0
            if place is None or number == 0 or "unterminated text" in str(error) or _matters(lines, number):
                what = place[2] if place else str(error)
                line = f"line {block.first_line + number}: " if place else ""
                raise UnreadableError(f"truncated or malformed CIF: {line}{shorten(what)}") from error
            lines[number] = ""
    raise UnreadableError(f"malformed CIF: more than {_MOST_REPAIRS} lines that break its rules")


def _matters(lines: Sequence[str], number: int) -> bool:
    """Whether a line belongs to, or names, something that is needed; a loop is judged by its first tag."""
    above = next((line for line in lines[number::-1] if line.lstrip().startswith("_")), "_cell_")
    after = next((line for line in lines[number:] if line.lstrip().startswith("_")), "")
    is_loop = lines[number].lstrip().lower().startswith("loop_")
    if not lines[number].lstrip().startswith("_") and not is_loop and _like_data(lines[number]):
        # Values below a single remark may be those of the loop that it cuts in two.
        loop = next((k for k in range(number, -1, -1) if lines[k].lstrip().lower().startswith("loop_")), 0)
        above += " " + next((line for line in lines[loop:number] if line.lstrip().startswith("_")), "")
    text = f"{lines[number]} {above} {after if is_loop else ''}".lower()
    return is_loop or any(_plain_tag(word).startswith(_WANTED) for word in text.split())


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?:\([0-9.]*\)?)?")


def _number(text: str | None, what: str) -> float:
    """A number with or without its uncertainty in brackets.

    Raises:
        UnreadableError: If it is none, or not finite.
    """
    if text is None:
        raise UnreadableError(f"{what} is not given ('?' or '.')")
    if not _NUMBER.fullmatch(text):
        if re.fullmatch(r"[+-]?(nan|inf(inity)?)", text, flags=re.IGNORECASE):
            raise UnreadableError(f"{what} is not finite (NaN or infinite)")
        raise UnreadableError(f"truncated or malformed CIF: {what} is no number: {shorten(text, 40)!r}")
    value = float(text.partition("(")[0])
    if not np.isfinite(value):
        raise UnreadableError(f"{what} is not finite (NaN or infinite)")
    return value


# From values to sites.


@dataclass(frozen=True)
class Sites:
    """The sites that a block lists.

    Attributes:
        labels: name of each.
        types: what stands for the element of each, as text.
        numbers: atomic number of each, (N,); 0 where several elements share it.
        frac: fractional coordinates, (N, 3).
        occupancies: share of each that is occupied, (N,).
    """

    labels: tuple[str, ...]
    types: tuple[str | None, ...]
    numbers: NDArray[np.int64]
    frac: NDArray[np.float64]
    occupancies: NDArray[np.float64]


_AXES = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")


def _sites(values: Values) -> Sites:
    """All listed sites, each with its own element.

    Raises:
        UnreadableError: If one cannot be used.
    """
    missing = [tag for tag in _AXES if tag not in values]
    if missing:
        kind = "only Cartesian positions; fractional ones are needed" if len(missing) == 3 else f"no {missing[0]}"
        raise UnreadableError(f"truncated or malformed CIF: it lists {kind}")
    n = len(values[_AXES[0]])
    columns = {tag: column for tag, column in values.items() if tag.startswith("_atom_site_")}
    types = columns.get("_atom_site_type_symbol") or [None] * n
    labels = columns.get("_atom_site_label") or [f"{kind or 'site'}{k + 1}" for k, kind in enumerate(types)]
    for tag in (*_AXES, "_atom_site_type_symbol", "_atom_site_occupancy"):
        if len(columns.get(tag, types)) != len(labels):
            raise UnreadableError(
                f"truncated or malformed CIF: {len(labels)} sites, but {len(columns[tag])} values of {tag}"
            )
    named = tuple(label or f"number {k + 1}" for k, label in enumerate(labels))
    numbers = _elements(named, types, values)
    frac = np.array(
        [[_number(columns[tag][k], f"site {named[k]}: the coordinate {tag}") for tag in _AXES] for k in range(n)]
    )
    shares = columns.get("_atom_site_occupancy", [None] * n)
    given = zip(named, shares, strict=True)
    occupancies = [1.0 if share is None else _number(share, f"site {name}: its occupancy") for name, share in given]
    sites = Sites(named, tuple(types), numbers, frac.reshape(-1, 3), np.array(occupancies))
    _require_atoms(sites, columns)
    return sites


def _require_atoms(sites: Sites, columns: Values) -> None:
    """Refuse sites that are no whole atoms by what stands beside them."""
    for tag, reason in (
        ("_atom_site_attached_hydrogens", "hydrogen without positions: {} hydrogen atoms are attached to site {}"),
        ("_atom_site_calc_flag", "site {1} is a dummy ({0})"),
    ):
        for name, text in zip(sites.labels, columns.get(tag, ()), strict=False):
            dummy = tag.endswith("flag") and text is not None and text.lower().startswith("dum")
            if dummy or (tag.endswith("hydrogens") and text is not None and _number(text, f"site {name}: {tag}") != 0):
                raise UnreadableError(reason.format(text, name))
    partial = (sites.occupancies > 0) & (sites.occupancies < 1)
    shared = sites.numbers == 0
    for name, share in zip(sites.labels, sites.occupancies, strict=True):
        if share < 0 or (share == 0 and not partial.any() and not shared.any()):
            raise UnreadableError(f"site {name} holds no atom: its occupancy is {share:g}")


_TWO_READINGS = frozenset({"BH", "CF", "CN", "CO", "CS", "HF", "HO", "HS", "NH", "NO", "NP", "OG", "OS", "PO", "SG"})
"""In capitals, an element or an atom named after its neighbour: CO is cobalt or a carbon next to oxygen."""
_VALENCE = {"Cval": "C", "Siva": "Si"}
"""Types of the CIF dictionary for scattering by valence electrons."""
_TYPE = re.compile(r"(?:[0-9]{1,3})?([A-Za-z]{1,2})(?:[0-9.]*[+-][0-9.]*|[0-9]*|[+-]+|\([0-9IVX+-]+\)[0-9+-]*|_.*)")
_LABEL = re.compile(r"(?:[0-9]{1,3})?([A-Za-z]+)(.*)", flags=re.DOTALL)
_WITH_HYDROGEN = re.compile(r"o-?h|ow|wat|h[0-9]?-?o|hoh|[nc]-?h[0-9]|o[0-9]+-?[hw]|o\(?h", flags=re.IGNORECASE)
_NO_ATOM = frozenset({"VA", "VAC", "BQ", "DU", "DUM", "XX", "LP", "CG", "CT", "WA"})
"""Vacancies, ghosts, dummies, lone pairs and centres of rings, as labels in capitals."""


def _elements(labels: Sequence[str], types: Sequence[str | None], values: Values) -> NDArray[np.int64]:
    """Atomic number of each site, (N,); isotopes count as their element, 0 means several elements by the type."""
    stated = frozenset(z for z in _formula(values) or ())
    found = []
    for label, text in zip(labels, types, strict=True):
        if " + " in (text or label):
            found.append(0)  # 0.8Nb + 0.2Zr, as the Pauling file writes it
            continue
        letters = _word_of_type(text) if text is not None else _word_of_label(label)
        number = _number_of(letters, stated) if letters else None
        if number is None and letters in _TWO_READINGS and not stated and _in_capitals(labels, types):
            number = numbers_of_symbols()[letters.title()]
        if number is None:
            raise UnreadableError(_no_element(label, text))
        found.append(number)
    if not stated and 1 not in found:
        bare = next(
            (label for label, z in zip(labels, found, strict=True) if z == 8 and _WITH_HYDROGEN.match(label)), None
        )
        if bare is not None:
            raise UnreadableError(f"hydrogen without positions: site {bare} is hydroxyl or water by its name")
    return np.array(found, dtype=np.int64)


def _no_element(label: str, text: str | None) -> str:
    """Why a site has no element."""
    shown = shorten(label if text is None else text, 30)
    if _WITH_HYDROGEN.match(shown):
        return f"hydrogen without positions: site {shorten(label, 30)} is {shown}, a group of atoms at one position"
    return f"unknown element {shown}: what site {shorten(label, 30)} holds is not clear from its name"


@lru_cache(maxsize=4096)
def _word_of_type(text: str) -> str | None:
    """The letters of a type symbol that name its element."""
    if text in _VALENCE:
        return _VALENCE[text]
    match = _TYPE.fullmatch(text)
    return match[1] if match else None


@lru_cache(maxsize=4096)
def _word_of_label(label: str) -> str | None:
    """The letters of a label that name its element: ``MgM1`` is Mg, ``OA1`` is O, ``WAT1`` is nothing."""
    known = numbers_of_symbols()
    match = _LABEL.fullmatch(label)
    if match is None or match[1].upper() in _NO_ATOM or match[1] == "T":
        return None  # T1 is a tetrahedral site far more often than tritium
    word, rest = match[1], match[2]
    if re.match(r"[/,&|+-]\s*[A-Za-z]", rest) or re.match(r"o-?h|wat|h[23]o", label, flags=re.IGNORECASE):
        return None
    if word in known or (len(word) == 2 and word.isupper() and word.title() in known):
        return word
    first, tail = (word[:2], word[2:]) if word[:2] in known else (word[:1], word[1:])
    if first not in known:
        return None
    designator = "[ABCDEMTXZa-d]" if len(first) == 2 else "[ABCDEMTXZ]"
    if first == "O":
        designator = "[A-GI-Z]|[a-gi-z]{1,3}"  # OA1, Obr, Ow
    elif first == "H":
        designator = "[A-Za-z]"  # HC1, Hw
    return first if re.fullmatch(designator, tail) else None


def _in_capitals(labels: Sequence[str], types: Sequence[str | None]) -> bool:
    """Whether the file writes some element of two letters in capitals that can be read in one way only."""
    words = [_LABEL.sub(r"\1", text or label) for text, label in zip(types, labels, strict=True)]
    words = [word for word in words if len(word) == 2 and word.isupper() and word not in _TWO_READINGS]
    return any(word.title() in numbers_of_symbols() for word in words)


def _number_of(word: str, stated: frozenset[int]) -> int | None:
    """Atomic number of a symbol; letters in capitals that have two readings need the formula."""
    known = numbers_of_symbols()
    whole = known.get(word) or known.get(word.title())
    if word not in _TWO_READINGS:
        return whole
    fits = [number for number in (whole, known[word[0]]) if number in stated]
    return fits[0] if len(fits) == 1 else None


# From values to the symmetry, the cell and the formula.


_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")


def _metric(values: Values) -> NDArray[np.float64] | None:
    """Metric tensor of the cell, (3, 3), square angstrom; None where the crystal system leaves some of it out.

    Raises:
        UnreadableError: If the cell has no volume, or another one than the file says.
    """
    cell = {tag: _number(values[tag][0], tag) for tag in (*_LENGTHS, *_ANGLES) if tag in values}
    if any(value <= 0 or (tag in _ANGLES and value >= 180) for tag, value in cell.items()):
        shown = ", ".join(str(values[tag][0]) for tag in cell)
        raise UnreadableError(f"no volume: cell lengths and angles are {shown}")
    if len(cell) < 6:
        return None
    edges = np.array([cell[tag] for tag in _LENGTHS])
    alpha, beta, gamma = (cos(radians(cell[tag])) for tag in _ANGLES)
    shape = 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma
    if not shape > 1e-12:
        raise UnreadableError("no volume: the cell lengths and angles span no cell")
    volume = sqrt(shape) * float(edges.prod())
    stated = all_of(values, "_cell_volume")
    if stated and not abs(_number(stated[0], "_cell_volume") - volume) <= _VOLUME_TOLERANCE * volume:
        raise UnreadableError(
            f"contradiction: lengths and angles span {volume:.4g} cubic angstrom, but _cell_volume is {stated[0]}"
        )
    cosines = np.array([[1, gamma, beta], [gamma, 1, alpha], [beta, alpha, 1]])
    return np.asarray(cosines * np.outer(edges, edges))


def _formula(values: Values) -> dict[int, float] | None:
    """Amounts in the stated formula by atomic number; None if there is none, or nobody can read it."""
    stated = all_of(values, "_chemical_formula_sum")
    return _amounts(stated[0]) if stated else None


@lru_cache(maxsize=4096)
def _amounts(stated: str) -> dict[int, float] | None:
    """Amounts in a formula by atomic number; None for one that nobody can read, which contradicts nothing."""
    from pymatgen.core import Composition

    if "?" in stated:
        return None
    amounts: dict[int, float] = {}
    try:
        for element, amount in Composition(stated).items():
            amounts[element.Z] = amounts.get(element.Z, 0.0) + amount
    except (ValueError, KeyError, AttributeError):
        return None
    return amounts or None


# Counting: what the cell holds must be what the file says it holds.


_MULTIPLICITIES = (
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_order",
)


def _held(operations: Operations, sites: Sites) -> dict[int, float]:
    """Number of atoms of each element in the cell, by the operations alone."""
    amounts = operations.multiplicities(sites.frac, _SAME_PLACE) * sites.occupancies
    held: dict[int, float] = {}
    for number, amount in zip(sites.numbers.tolist(), amounts.tolist(), strict=True):
        held[number] = held.get(number, 0.0) + amount
    return held


def _why_other_counts(operations: Operations, sites: Sites, values: Values) -> str | None:
    """How formula, number of formula units and multiplicities contradict the atoms in the cell."""
    counts = operations.multiplicities(sites.frac, _SAME_PLACE)
    order = len(operations.key) // counts
    for tag in _MULTIPLICITIES:
        given = [float(text) for text in all_of(values, tag) if text.isdigit()]
        # Some programs write the order of the site's own symmetry under the name of its multiplicity.
        if len(given) == len(counts) and given not in (counts.tolist(), order.tolist()):
            right = order if tag.endswith("order") else counts
            k = next(k for k, text in enumerate(given) if text != right[k])
            return f"contradiction: site {sites.labels[k]} has {counts[k]} positions, but {tag} is {given[k]:g}"
    return _why_other_formula(_held(operations, sites), values)


def _why_other_formula(held: Mapping[int, float], values: Values) -> str | None:
    """How the stated formula contradicts the atoms in the cell: that is how a cut file or lost hydrogen shows."""
    formula = _formula(values)
    if formula is None:
        return None
    stated = all_of(values, "_chemical_formula_sum")[0]
    ratios = [held[z] / formula[z] for z in held if z in formula]
    if set(held) != set(formula) or max(ratios) > min(ratios) * (1 + _FORMULA_TOLERANCE):
        return f"truncated or incomplete: its atoms do not add up to the formula it states ({stated})"
    units = all_of(values, "_cell_formula_units_z")
    z = _number(units[0], "_cell_formula_units_Z") if units else 0.0
    ratio = sum(ratios) / len(ratios)
    if z <= 0:
        whole = abs(ratio - round(ratio)) <= _FORMULA_TOLERANCE * ratio and round(ratio) > 0
        right, said = whole, "a whole number of times"
    else:
        # Where the formula is that of the cell already, as pymatgen writes it, it divides by the number of units.
        of_cell = all(abs(amount / z - round(amount / z)) < _FORMULA_TOLERANCE for amount in formula.values())
        right = abs(ratio / z - 1) <= _FORMULA_TOLERANCE or (of_cell and abs(ratio - 1) <= _FORMULA_TOLERANCE)
        said = f"{z:g} times (_cell_formula_units_Z)"
    if right:
        return None
    atoms = sum(held.values())
    return f"truncated or incomplete: the cell holds {atoms:g} atoms, which is not the formula {stated} {said}"


# Placing the atoms.


def read_block(block: CifBlock) -> Arrays:
    """One crystal of a CIF.

    Raises:
        UnreadableError: If something in it is not understood, or contradicts the rest.
    """
    try:
        return _crystal(values_of(block))
    except UnreadableError as error:
        if "disordered sites" in str(error):
            raise
        raise UnreadableError(f"{error} (in data_{shorten(block.name, 40)})") from error


def _crystal(values: Values) -> Arrays:
    """The crystal that the values of a block describe."""
    metric = _metric(values)
    stated = stated_symmetry(values)
    sites = _sites(values)
    offered = choices(stated) if metric is None else fitting(stated, metric)
    ordered = bool((sites.occupancies == 1).all() and sites.numbers.all())
    operations = _chosen(offered, stated, sites, values) if ordered else offered[0]
    arrays = _placed(_plain_cif(values, sites), for_pymatgen(stated, operations))
    if not ordered and (len(offered) > 1 or not sites.numbers.all()):
        raise UnreadableError("disordered sites: several sites or elements share one position")
    if metric is None and not operations.keeps(arrays[1] @ arrays[1].T):
        raise UnreadableError("contradiction: the symmetry operations would change the lengths or angles of the cell")
    held = Counter(arrays[0].tolist())
    expected = _held(operations, sites)
    if set(held) != set(expected) or any(abs(held[z] - expected[z]) > _FORMULA_TOLERANCE for z in held):
        raise UnreadableError(
            "overlapping atoms: a site lies so near a symmetry element, or another site, that positions nearly coincide"
        )
    reason = None if ordered else _why_other_formula(held, values)  # the choice of the group has asked already
    if reason:
        raise UnreadableError(reason)
    return arrays


def _chosen(offered: Sequence[Operations], stated: Stated, sites: Sites, values: Values) -> Operations:
    """The one group whose cell holds what the file says.

    Raises:
        UnreadableError: If there is none, or more than one.
    """
    reasons = [_why_other_counts(operations, sites, values) for operations in offered]
    right = [operations for operations, reason in zip(offered, reasons, strict=True) if reason is None]
    if not right:
        raise UnreadableError(str(reasons[0]))
    if len(right) > 1:
        raise UnreadableError(
            f"the origin is not clear: {', '.join(stated.names)} has {len(right)} settings that fit. "
            "Name it (such as ':2'), or list the symmetry operations"
        )
    return right[0]


def _placed(text: str, operations: tuple[PlacingOperation, ...]) -> Arrays:
    """Atoms in the cell, placed by pymatgen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parser: Any = _placer().from_str(text, check_cif=False)
            parser.operations = operations
            structure = parser.parse_structures(primitive=False)[0]
        except ValueError as error:
            raise UnreadableError(_reason(error, [str(warning.message) for warning in caught])) from error
        except (ZeroDivisionError, IndexError, KeyError) as error:
            raise UnreadableError(f"truncated or malformed CIF: {shorten(str(error))}") from error
    return decode_structure(structure)


def _reason(error: ValueError, remarks: list[str]) -> str:
    """What pymatgen found wrong; it raises one error for everything and puts the reason into warnings."""
    text = " ".join(remarks)
    if "Occupancy" in text and "exceeded tolerance" in text:
        return "overlapping atoms or disordered sites: the occupancies of one position add up to more than 1"
    if "Singular matrix" in text:
        return "no volume: the cell lengths and angles span no cell"
    if "cannot reshape array" in f"{text} {error}":
        return "the cell is incomplete: a length or angle is missing, and no crystal system stands in for it"
    failed = re.search(r"No structure parsed for section 1 in CIF\.\s*(.*?)(?:\n|$)", remarks[-1] if remarks else "")
    return f"truncated or malformed CIF: {shorten(failed.group(1) if failed else str(error))}"


def _plain_cif(values: Values, sites: Sites) -> str:
    """A small CIF in pymatgen's own spelling that holds only what was understood, without the symmetry."""
    kept = (*_LENGTHS, *_ANGLES, "_symmetry_cell_setting", "_space_group_crystal_system")
    lines = ["data_x", *(f"{tag} '{values[tag][0]}'" for tag in kept if tag in values)]
    oxidation = ("_atom_type_symbol", "_atom_type_oxidation_number")
    if all(tag in values for tag in oxidation):
        lines += _loop({tag: [_quoted(text or "?") for text in values[tag]] for tag in oxidation})
    labels = [_plain_label(label, k) for k, label in enumerate(sites.labels)]
    columns = {"_atom_site_label": [_quoted(label) for label in labels]}
    types = _plain_types(sites, labels)
    if types is not None:
        columns["_atom_site_type_symbol"] = [_quoted(text) for text in types]
    columns |= {tag: [str(text) for text in values[tag]] for tag in _AXES}
    if "_atom_site_occupancy" in values or not sites.numbers.all():
        shares = values.get("_atom_site_occupancy", [None] * len(sites.labels))
        columns["_atom_site_occupancy"] = [text or "1" for text in shares]
    return "\n".join([*lines, *_loop(columns), ""])


def _loop(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """A loop of values that are in quotes where they need them."""
    rows = zip(*columns.values(), strict=True)
    return ["loop_", *columns, *(" " + " ".join(row) for row in rows)]


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """A value in quotes where it needs them."""
    return text if re.fullmatch(r"[A-Za-z0-9.+-][A-Za-z0-9.+()*-]*", text) else f'"{text}"'


def _plain_label(label: str, k: int) -> str:
    """A label, or a stand-in for one that would need quotes."""
    return label if re.fullmatch(r"[A-Za-z][A-Za-z0-9()+*_'-]*|[^\"]* \+ [^\"]*", label) else f"site{k}"


def _plain_types(sites: Sites, labels: Sequence[str]) -> list[str] | None:
    """Types as the file has them, or the plain symbol where pymatgen would understand another element."""
    symbols = {z: symbol for symbol, z in reversed(numbers_of_symbols().items())}
    read_from = [kind or label for kind, label in zip(sites.types, labels, strict=True)]
    right = [not z or _pymatgen_number(t) == z for t, z in zip(read_from, sites.numbers.tolist(), strict=True)]
    if all(kind is None for kind in sites.types) and all(right):
        return None
    given = zip(read_from, sites.types, sites.numbers.tolist(), right, strict=True)
    return [text if fine and kind is not None else symbols.get(z, text) for text, kind, z, fine in given]


@lru_cache(maxsize=4096)
def _pymatgen_number(text: str) -> int | None:
    """Atomic number that pymatgen sees in a type or label; None where it has a meaning of its own for it."""
    known = numbers_of_symbols()
    if not text.isascii() or '"' in text or re.match(r"Hw|Ow|[Ww]at|OH|NO3|O-H", text):
        return None
    return known.get(text[:2].title()) or known.get(text[:1].upper())


@cache
def _placer() -> type[CifParser]:
    """pymatgen's parser, which is given the operations and reads none."""
    from pymatgen.io.cif import CifParser

    class Placer(CifParser):
        operations: tuple[PlacingOperation, ...] = ()

        def get_symops(self, data: object) -> Any:  # noqa: ARG002
            return self.operations

    return Placer
