"""POSCAR and CONTCAR, the files of VASP: read by pymatgen, after what it would misread is mended or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import (
    Arrays,
    UnreadableError,
    decode_structure,
    numbers_of_symbols,
    refuse_underscores,
    shorten,
)


def read_poscar(text: str) -> Arrays:
    """The crystal of a POSCAR; element names must be in the file itself.

    A negative scale is the volume of the cell in cubic angstrom. Three scales stretch the x, y and z components of
    vectors and Cartesian positions (https://www.vasp.at/wiki/index.php/POSCAR).

    Raises:
        UnreadableError: If it is cut, names no elements, or contradicts itself.
    """
    from pymatgen.io.vasp import Poscar

    lines = [line.partition("#")[0].rstrip() for line in text.splitlines()]  # pymatgen's sign of a remark
    try:
        layout = Layout.of(lines)
        refuse_underscores([*lines[1:5], *lines[layout.mode : layout.end]])
        _refuse_contradictions(lines, layout)
        poscar = Poscar.from_str("\n".join(_with_plain_scale(lines, layout)))
    except Warning as error:  # pymatgen raises one of its warnings for a bad line
        raise UnreadableError(f"truncated or malformed POSCAR: {shorten(str(error))}") from error
    except (IndexError, ValueError) as error:
        raise UnreadableError(f"truncated or malformed POSCAR: {shorten(str(error))}") from error
    if not poscar.true_names:
        raise UnreadableError("unknown elements: the POSCAR names none; add a line of symbols above the line of counts")
    return decode_structure(poscar.structure)


@dataclass(frozen=True)
class Layout:
    """Where the parts of a POSCAR stand."""

    symbols: tuple[str, ...]
    """One for each count; empty where the file names none."""
    counts: tuple[int, ...]
    """Atoms of each kind, one after the other."""
    mode: int
    """Number of the line that says 'Direct' or 'Cartesian', from 0."""
    selective: bool
    """Whether three flags follow each position."""

    @classmethod
    def of(cls, lines: list[str]) -> Layout:
        """The parts of a file; names and counts may go over several lines.

        Raises:
            IndexError: If the file is too short.
            ValueError: If counts are no whole numbers.
        """
        place = 5
        symbols: list[str] = []
        while not _is_count(lines[place]):
            symbols += lines[place].split()
            place += 1
            if place > 16:
                raise ValueError("no line of counts")
        counts: list[int] = []
        for line in lines[place : place + max(place - 5, 1)]:
            counts += [int(word) for word in line.split()]
            place += 1
        selective = lines[place].strip()[:1] in ("s", "S")
        return cls(tuple(symbols), tuple(counts), place + selective, selective)

    @property
    def end(self) -> int:
        """Number of the line after the last position."""
        return self.mode + 1 + sum(self.counts)

    def cartesian(self, lines: list[str]) -> bool:
        """Whether positions are in units of length."""
        return lines[self.mode].strip()[:1] in tuple("cCkK")


def _is_count(line: str) -> bool:
    """Whether a line begins with a whole number, as the line of counts does."""
    return line.split()[0].isdecimal()


def _refuse_contradictions(lines: list[str], layout: Layout) -> None:
    """Refuse a file whose numbers of kinds, atoms or names disagree: pymatgen would drop or rename atoms."""
    if layout.symbols and len(layout.symbols) != len(layout.counts):
        raise UnreadableError(f"{len(layout.symbols)} elements are named, but there are {len(layout.counts)} counts")
    if min(layout.counts) < 0:
        raise UnreadableError(f"a negative count of atoms: {min(layout.counts)}")
    if layout.end > len(lines):
        held = max(len(lines) - layout.mode - 1, 0)
        raise UnreadableError(f"truncated: {sum(layout.counts)} atoms announced, {held} lines found")
    if layout.end < len(lines) and len(_leading_numbers(lines[layout.end])) >= 3:
        raise UnreadableError(f"more positions than the {sum(layout.counts)} atoms that the counts announce")
    if layout.symbols:
        _refuse_other_names(lines, layout)


def _refuse_other_names(lines: list[str], layout: Layout) -> None:
    """Refuse a name behind a position that is another element than the head says."""
    known = numbers_of_symbols()
    expected = [name for name, count in zip(layout.symbols, layout.counts, strict=True) for _ in range(count)]
    place = 6 if layout.selective else 3
    for site, (name, line) in enumerate(zip(expected, lines[layout.mode + 1 : layout.end], strict=True)):
        words = line.split()
        if len(words) <= place or (set(words[3:6]) <= {"T", "F"} and not layout.selective):
            continue  # flags without 'Selective dynamics'
        said, meant = known.get(words[place]), known.get(re.split("[/_]", name)[0])
        if said is not None and meant is not None and said != meant:
            raise UnreadableError(f"site {site} is {words[place]} behind its position, but {name} by the head")


def _leading_numbers(line: str) -> list[float]:
    """The numbers with which a line begins."""
    found: list[float] = []
    for word in line.split():
        try:
            found.append(float(word))
        except ValueError:
            break
    return found


def _with_plain_scale(lines: list[str], layout: Layout) -> list[str]:
    """The lines with one positive scale, as pymatgen reads it right in all cases."""
    scale = _leading_numbers(lines[1])[:3]
    if len(scale) == 1 and scale[0] > 0:
        return lines
    if len(scale) not in (1, 3) or (len(scale) == 3 and min(scale) <= 0) or scale[0] == 0:
        raise UnreadableError(f"the scale is one number, or three positive ones. Received: {shorten(lines[1], 60)!r}")
    lattice = np.array([_leading_numbers(line)[:3] for line in lines[2:5]])
    if len(scale) == 1:
        volume = abs(np.linalg.det(lattice))
        if not volume > 0:
            raise UnreadableError("no volume: the lattice vectors span no cell")
        return [lines[0], repr(float((-scale[0] / volume) ** (1 / 3))), *lines[2:]]
    positions = lines[layout.mode + 1 : layout.end]
    if layout.cartesian(lines):
        positions = [_stretched(line, np.array(scale)) for line in positions]
    cell = [_stretched(line, np.array(scale)) for line in lines[2:5]]
    return [lines[0], "1.0", *cell, *lines[5 : layout.mode + 1], *positions, *lines[layout.end :]]


def _stretched(line: str, scale: NDArray[np.float64]) -> str:
    """A line whose first three numbers are multiplied."""
    numbers = np.array(_leading_numbers(line)[:3]) * scale
    return " ".join([*(repr(float(number)) for number in numbers), *line.split()[3:]])
