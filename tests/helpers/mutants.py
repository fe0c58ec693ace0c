"""Damaged and respelled files, the same for the same seed: what people, editors and broken disks do to crystals.

A mutation is a function of a text (or bytes) and a generator. Those in ``RESPELLINGS`` change no meaning.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.helpers.fuzz_bases import (
    DISORDERED,
    JSON_STYLES,
    KNOWN,
    POSCAR_STYLES,
    STYLES,
    cif_text,
    database_bytes,
    extxyz_text,
    json_text,
    parquet_bytes,
    poscar_text,
)

Rng = random.Random


@dataclass(frozen=True)
class Mutant:
    """One damaged file.

    Attributes:
        name: of the file; its ending chooses the reader.
        crystals: keys of ``KNOWN`` that the sound file holds; none for one that is refused.
        mutations: what was done.
        data: its bytes.
        same: it still says the same, so it has to be read.
    """

    name: str
    crystals: tuple[str, ...]
    mutations: str
    data: bytes
    same: bool = False


# Of any text.

ODD_WORDS = ("nan", "inf", "-inf", "1e400", "1_5", "1,5", "?", ".", "''", "-", "0x1F", "1e", "--1", "1.2.3", "\u0663")
NUMBER = re.compile(r"(?<![\w.\"'/])-?\d+\.?\d*(?![\w.\"'/])")


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _pick(text: str, rng: Rng, pattern: re.Pattern[str] = NUMBER) -> re.Match[str] | None:
    """One match of a pattern, drawn evenly."""
    found = list(pattern.finditer(text))
    return rng.choice(found) if found else None


def _put(text: str, match: re.Match[str] | None, new: str) -> str:
    return text if match is None else text[: match.start()] + new + text[match.end() :]


def delete_line(text: str, rng: Rng) -> str:
    lines = _lines(text)
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def double_line(text: str, rng: Rng) -> str:
    lines = _lines(text)
    k = rng.randrange(len(lines))
    return "\n".join([*lines[:k], lines[k], *lines[k:]])


def swap_lines(text: str, rng: Rng) -> str:
    lines = _lines(text)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def join_lines(text: str, rng: Rng) -> str:
    lines = _lines(text)
    k = rng.randrange(len(lines) - 1)
    return "\n".join([*lines[:k], f"{lines[k]} {lines[k + 1]}", *lines[k + 2 :]])


def break_line(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(" "))
    return _put(text, match, "\n")


def cut_end(text: str, rng: Rng) -> str:
    return text[: rng.randrange(len(text))]


def cut_line_end(text: str, rng: Rng) -> str:
    lines = _lines(text)
    k = rng.randrange(len(lines))
    lines[k] = lines[k][: rng.randrange(len(lines[k]) + 1)]
    return "\n".join(lines)


def odd_number(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng), rng.choice(ODD_WORDS))


def other_number(text: str, rng: Rng) -> str:
    match = _pick(text, rng)
    factor = rng.choice((-1.0, 0.0, 0.1, 1.01, 1.1, 2.0, 10.0, 1000.0, 1e12, 1e160))
    return _put(text, match, f"{float(match[0]) * factor:.6g}") if match else text


def lost_digit(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile(r"(?<=\d)\d|(?<=\d)\.|-(?=\d)")), "")


def other_digit(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile(r"\d")), str(rng.randrange(10)))


def lost_word(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile(r"\S+")), "")


def double_word(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(r"\S+"))
    return _put(text, match, f"{match[0]} {match[0]}") if match else text


def other_case(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(r"[A-Za-z]"))
    return _put(text, match, match[0].swapcase()) if match else text


def odd_sign(text: str, rng: Rng) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice("\t\r\x1a\u00a0\u2212\ufeff\x85\u2028#;'\"_,\\{}[]()!") + text[place:]


def other_element(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(r"\b(?:Na|Cl|Ti|O|Bi|Si|Zn|Mg|H|Sr|Ge|S|Zr|Cd|Se|Ca|F|Li)(?=\d*\b)"))
    new = rng.choice(("Fe", "X", "Va", "D", "Wat", "OH", "Uuo", "2H", "na", "NA", "Co", "CO", "Fe3+", "H2O", "Q1", ""))
    return _put(text, match, new)


TEXT = (
    delete_line,
    double_line,
    swap_lines,
    join_lines,
    break_line,
    cut_end,
    cut_line_end,
    odd_number,
    other_number,
    lost_digit,
    other_digit,
    lost_word,
    double_word,
    other_case,
    odd_sign,
    other_element,
)

# Of bytes.


def flip_bit(data: bytes, rng: Rng) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def lost_bytes(data: bytes, rng: Rng) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice((1, 1, 2, 16, 512)) :]


def more_bytes(data: bytes, rng: Rng) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 1, 2, 16))) + data[place:]


def zero_bytes(data: bytes, rng: Rng) -> bytes:
    place, n = rng.randrange(len(data)), rng.choice((1, 4, 64))
    return data[:place] + bytes(len(data[place : place + n])) + data[place + n :]


def double_bytes(data: bytes, rng: Rng) -> bytes:
    place = rng.randrange(len(data))
    return data[: place + rng.choice((1, 8, 64, 512))] + data[place:]


def cut_bytes(data: bytes, rng: Rng) -> bytes:
    return data[: rng.randrange(len(data))]


BYTES = (flip_bit, lost_bytes, more_bytes, zero_bytes, double_bytes, cut_bytes)

# Of CIFs.

TAG = re.compile(r"^_\S+", flags=re.MULTILINE)
TRIPLET = re.compile(r"(?<=')[^'\n]*,[^'\n]*,[^'\n]*(?=')")
QUOTED = re.compile(r"'[^'\n]*'")
GROUPS = (
    "P 1",
    "F m -3 m",
    "P 21/c",
    "R -3 m",
    "R -3 m:H",
    "F d -3 m:2",
    "P m -3 m",
    "C 2/m",
    "nonsense",
    "F m 3 m",
    "?",
)
HALLS = ("P 1", "-P 1", "-F 4 2 3", "-P 2ybc", '-R 3 2"', "F 4d 2 3 -1d", "nobody", "-I 2ya", "?")


def other_tag(text: str, rng: Rng) -> str:
    match = _pick(text, rng, TAG)
    if match is None:
        return text
    tag = match[0]
    choices = (tag[:-1], tag[1:], tag + "x", tag.replace("_", "-", 2), tag.replace("fract", "cartn"), "_other_tag")
    return _put(text, match, rng.choice(choices))


def swap_tags(text: str, rng: Rng) -> str:
    tags = list(TAG.finditer(text))
    first, second = sorted(rng.sample(range(len(tags)), 2)) if len(tags) > 1 else (0, 0)
    if first == second:
        return text
    a, b = tags[first], tags[second]
    return text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]


def damaged_operation(text: str, rng: Rng) -> str:
    match = _pick(text, rng, TRIPLET)
    if match is None:
        return text
    old = match[0]
    parts = old.split(",")
    k = rng.randrange(3)
    changed = {
        "sign": ",".join([*parts[:k], parts[k][1:] if parts[k].startswith("-") else "-" + parts[k], *parts[k + 1 :]]),
        "letter": old.replace(rng.choice("xyz"), rng.choice("xyz"), 1),
        "twice": old.replace("z", "zz", 1),
        "fraction": re.sub(r"\d/\d", rng.choice(("1/2", "1/3", "0.33", "1/0", "2", "1/4", "")), old, count=1),
        "part lost": ",".join(parts[:2]),
        "part more": f"{old},x",
        "odd": old.replace("y", rng.choice(("w", "Y", "2y", "y*2", "y+", "(y)", "y y", "a", "")), 1),
        "decimal": old.replace("1/2", "0.5").replace("1/3", ".3333").replace("2/3", "0.6667"),
        "time": f"{old},+1",
    }
    return _put(text, match, changed[rng.choice(sorted(changed))])


def other_group(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(r"(?<=name_H-M )'[^'\n]*'"))
    return _put(text, match, f"'{rng.choice(GROUPS)}'")


def other_hall(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile(r"(?<=name_Hall )'[^'\n]*'")), f"'{rng.choice(HALLS)}'")


def other_group_number(text: str, rng: Rng) -> str:
    new = str(rng.choice((0, 1, 2, 14, 166, 225, 227, 230, 231, -5)))
    return _put(text, _pick(text, rng, re.compile(r"(?<=Tables_number )\d+")), new)


def lost_quotes(text: str, rng: Rng) -> str:
    match = _pick(text, rng, QUOTED)
    return _put(text, match, match[0].strip("'")) if match else text


def lost_quote(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile("'")), "")


def shorter_loop(text: str, rng: Rng) -> str:
    """The last row, or some rows at the end, of one loop are lost."""
    parts = re.split(r"(?m)^(?=loop_)", text)
    k = rng.randrange(len(parts))
    lines = parts[k].rstrip("\n").split("\n")
    rows = [n for n, line in enumerate(lines) if not line.startswith(("_", "loop_"))]
    keep = len(lines) - rng.randint(1, max(len(rows), 1))
    parts[k] = "\n".join([*lines[:keep], ""])
    return "".join(parts)


def lost_loop(text: str, rng: Rng) -> str:
    return _put(text, _pick(text, rng, re.compile(r"(?m)^loop_\n?")), "")


def more_column(text: str, rng: Rng) -> str:
    """A column of sites without values, or values without a column."""
    old, new = rng.choice(
        (("_atom_site_fract_z\n", "_atom_site_fract_z\n_atom_site_B_iso\n"), ("_atom_site_label\n", ""))
    )
    return text.replace(old, new)


def occupancy(text: str, rng: Rng) -> str:
    """A column of occupancies, one of which is odd."""
    head, _, rows = text.rpartition("_atom_site_")
    name, *lines = rows.rstrip("\n").split("\n")
    if not lines or name == "occupancy":
        return re.sub(r"1$", rng.choice(("0", "0.5", "?", ".", "1.1", "-1", "1.0(2)", "all")), text, flags=re.MULTILINE)
    shares = [rng.choice(("1", "1", "1.0", ".", "?", "0.5", "0", "1.2", "-1", "nan")) for _ in lines]
    lines = [f"{line} {share}" for line, share in zip(lines, shares, strict=True)]
    return "\n".join([f"{head}_atom_site_{name}", "_atom_site_occupancy", *lines, ""])


def block_inside(text: str, rng: Rng) -> str:
    lines = _lines(text)
    k = rng.randrange(len(lines))
    more = rng.choice(("data_two", ";", "loop_", "global_", "save_x", "_remark", "stop_", ";\ndata_in a text\n;", "'"))
    return "\n".join([*lines[:k], more, *lines[k:]])


def other_label(text: str, rng: Rng) -> str:
    match = _pick(text, rng, re.compile(r"(?m)^[A-Z][a-z]?\d+"))
    new = rng.choice(("?", "X1", "Wat1", "O-H1", "Fe1", "1", "'Na 1'", "Na/K1", "Co1", "CO1", "OW1", "M", "DUM1", "T1"))
    return _put(text, match, new)


def hydrogens(text: str, rng: Rng) -> str:
    """A column of attached hydrogen atoms."""
    head, _, rows = text.rpartition("_atom_site_")
    name, *lines = rows.rstrip("\n").split("\n")
    lines = [f"{line} {rng.choice('0012?.')}" for line in lines]
    return "\n".join([f"{head}_atom_site_{name}", "_atom_site_attached_hydrogens", *lines, ""])


def more_value(text: str, rng: Rng) -> str:
    """Something is stated a second time, or at all, and perhaps wrongly."""
    more = (
        "_chemical_formula_sum 'Fe1 O1'",
        "_chemical_formula_sum 'Na1 Cl1'",
        "_chemical_formula_sum ?",
        "_cell_formula_units_Z 7",
        "_cell_volume 1.0",
        "_cell_length_a 9.9",
        "_symmetry_Int_Tables_number 1",
        "_space_group_name_H-M_alt 'P 1'",
        "_symmetry_space_group_name_H-M ?",
        "_space_group_name_Hall 'P 1'",
        "_cell_modulation_dimension 1",
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'",
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,-z'",
        "_space_group_symop_operation_xyz 'x,y,z'",
        "_symmetry_cell_setting trigonal",
    )
    head, mark, rest = text.partition("_cell_length_a")
    return head + rng.choice(more) + "\n" + mark + rest


CIF = (
    *(other_tag, swap_tags, damaged_operation, damaged_operation, other_group, other_hall, other_group_number),
    *(lost_quotes, lost_quote, shorter_loop, lost_loop, more_column, occupancy, block_inside, other_label),
    *(hydrogens, more_value, other_element, odd_number, other_number),
)


def same_tag_case(text: str, rng: Rng) -> str:
    change = rng.choice((str.upper, str.lower, str.title))
    return TAG.sub(lambda match: change(match[0]), text)


def same_dots(text: str, rng: Rng) -> str:
    names = (
        "_space_group_symop_operation",
        "_space_group_name",
        "_atom_site_fract",
        "_atom_site_label",
        "_cell_length",
    )
    for name in names:
        head, _, tail = name.rpartition("_")
        text = text.replace(f"{name}", f"{head}.{tail}")
    return text


def same_newlines(text: str, rng: Rng) -> str:
    return text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", " \n", "\n" if ";" in text else "\n\t")))


def same_minus(text: str, rng: Rng) -> str:
    """Typographic minus signs, except in tags."""
    sign = rng.choice("\u2212\u2013\u2010")
    return re.sub(r"(?m)^(?!_)(.*)$|(?<= )'[^'\n]*'$", lambda match: match[0].replace("-", sign), text)


def same_quotes(text: str, rng: Rng) -> str:
    new = rng.choice(('"{}"', "'{}'", "' {} '"))
    return QUOTED.sub(lambda match: new.format(match[0].strip("'")), text)


def same_operations(text: str, rng: Rng) -> str:
    """Operations without quotes, with spaces, in capitals or in another order of terms."""

    def spelled(match: re.Match[str]) -> str:
        parts = match[0].strip("'").split(",")
        if len(parts) != 3:
            return match[0]
        if kind == "order":
            parts = [re.sub(r"^(-?[xyz])\+(\d/\d)$", r"\2+\1", part).replace("+-", "-") for part in parts]
        texts = {"bare": ",".join(parts), "spaces": ", ".join(parts), "order": ",".join(parts)}
        texts["capitals"] = texts["plus"] = texts["order"]
        plain = texts[kind].upper() if kind == "capitals" else texts[kind]
        plain = re.sub(r"(^|,)(?=[xyz])", r"\1+", plain) if kind == "plus" else plain
        return plain if kind in ("bare", "spaces") else f"'{plain}'"

    kind = rng.choice(("bare", "spaces", "order", "capitals", "plus"))
    return QUOTED.sub(spelled, text)


def same_order(text: str, rng: Rng) -> str:
    """The parts of a block, the operations and the sites in another order."""
    head, mark, rest = text.partition("data_one\n")
    parts = re.split(r"(?m)^(?=loop_)", rest)
    single = parts[0].splitlines()
    rng.shuffle(single)
    loops = []
    for part in parts[1:]:
        lines = part.splitlines()
        rows = [line for line in lines if not line.startswith(("_", "loop_"))]
        rng.shuffle(rows)
        loops.append("\n".join([*(line for line in lines if line.startswith(("_", "loop_"))), *rows, ""]))
    whole = ["\n".join([*single, ""]), *loops]
    rng.shuffle(whole)
    return head + mark + "".join(whole)


def same_columns(text: str, rng: Rng) -> str:
    """The columns of the sites in another order."""
    head, _, table = text.rpartition("loop_\n")
    lines = table.splitlines()
    tags = [line for line in lines if line.startswith("_")]
    rows = [line.split() for line in lines if not line.startswith("_")]
    order = list(range(len(tags)))
    rng.shuffle(order)
    return "\n".join(
        [f"{head}loop_", *(tags[k] for k in order), *(" ".join(row[k] for k in order) for row in rows), ""]
    )


def same_remarks(text: str, rng: Rng) -> str:
    """Comments, text fields with lines like those of a CIF, and other blocks without atoms."""
    remark = rng.choice(
        (
            "_publ_section_title\n;\ndata_x\nloop_\n_atom_site_label\n;\n",
            "_journal_name_full 'Acta Cryst. A'\n",
            "_audit_creation_method 'it's quoted'\n",
            "# _cell_length_a 99\n",
        )
    )
    text = text.replace("_cell_length_a", f"{remark}_cell_length_a")
    return text + rng.choice(("", "\n\n", "data_empty\n_cell_length_a 3\n", "#END\n", "\x1a"))


def same_uncertainty(text: str, rng: Rng) -> str:
    """Uncertainties in brackets."""
    return re.sub(r"(?<= )(\d+\.\d+)$", lambda match: f"{match[0]}({rng.randint(1, 19)})", text, flags=re.MULTILINE)


def same_words(text: str, rng: Rng) -> str:
    """Tabs and indents; a byte order mark."""
    text = re.sub(r"(?m)^(?=[A-Z'])", rng.choice(("  ", "\t", "")), text)
    text = (
        re.sub(r"(?m)^(?!_|data|#)(.*)$", lambda match: match[0].replace(" ", "\t"), text) if "'" not in text else text
    )
    return rng.choice(("", "\ufeff")) + text


RESPELLINGS = (
    *(same_columns, same_order, same_operations, same_quotes, same_uncertainty, same_minus, same_words),
    *(same_tag_case, same_dots, same_remarks, same_newlines),
)
"""In the order in which they are applied: the first ones rely on the plain spelling."""


# The corpus.


def _text_mutant(
    name: str, crystals: tuple[str, ...], text: str, more: tuple[Callable[..., str], ...], rng: Rng
) -> Mutant:
    """One to three mutations of a text; every sixth is one of its bytes."""
    if rng.random() < 1 / 6:
        change = rng.choice(BYTES)
        return Mutant(name, crystals, change.__name__, change(text.encode(), rng))
    changes = [rng.choice((*TEXT, *more, *more)) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    for change in changes:
        text = change(text, rng) if text.strip() else text
    return Mutant(name, crystals, " ".join(change.__name__ for change in changes), text.encode())


def _cif(rng: Rng) -> Mutant:
    if rng.random() < 0.05:
        return _text_mutant("a.cif", (), DISORDERED, CIF, rng)
    crystal = rng.choice(sorted(KNOWN))
    text = cif_text(KNOWN[crystal], rng.choice(STYLES))
    if rng.random() < 0.75:
        return _text_mutant("a.cif", (crystal,), text, CIF, rng)
    changes = rng.sample(RESPELLINGS, rng.choice((1, 2)))
    changes.sort(key=RESPELLINGS.index)
    for change in changes:
        text = change(text, rng)
    return Mutant("a.cif", (crystal,), " ".join(change.__name__ for change in changes), text.encode(), same=True)


def _blocks(rng: Rng) -> Mutant:
    """Two crystals in one file; the first block, the second or what stands between them is damaged."""
    names = tuple(rng.sample(sorted(KNOWN), 2))
    texts = [cif_text(KNOWN[name], rng.choice(STYLES)) for name in names]
    between = rng.choice(
        ("", "\n\n# END\n", "data_empty\n_cell_length_a 3\n", ";", "loop_\n", "data_\n", "Na9 Na 0.1 0.2 0.3\n")
    )
    if between in ("", "\n\n# END\n", "data_empty\n_cell_length_a 3\n") and rng.random() < 0.5:
        return Mutant("a.cif", names, "two blocks", (texts[0] + between + texts[1]).encode(), same=True)
    change = rng.choice((*TEXT, *CIF))
    place = rng.randrange(2)
    texts[place] = change(texts[place], rng)
    return Mutant("a.cif", names, f"{change.__name__} in block {place}", (texts[0] + between + texts[1]).encode())


def _poscar(rng: Rng) -> Mutant:
    crystal = rng.choice(sorted(KNOWN))
    text = poscar_text(crystal, rng.choice(POSCAR_STYLES))
    return _text_mutant(rng.choice(("POSCAR", "a.vasp", "CONTCAR_1")), (crystal,), text, (), rng)


def _extxyz(rng: Rng) -> Mutant:
    crystal = rng.choice(sorted(KNOWN))
    return _text_mutant(rng.choice(("a.extxyz", "a.xyz")), (crystal,), extxyz_text(crystal), (), rng)


def _json(rng: Rng) -> Mutant:
    crystal = rng.choice(sorted(KNOWN))
    return _text_mutant("a.json", (crystal,), json_text(crystal, rng.choice(JSON_STYLES)), (), rng)


PACKERS = {".gz": partial(gzip.compress, mtime=0), ".bz2": bz2.compress, ".xz": lzma.compress}


def _packed(rng: Rng) -> Mutant:
    crystal, ending = rng.choice(sorted(KNOWN)), rng.choice(sorted(PACKERS))
    change = rng.choice(BYTES)
    data = PACKERS[ending](cif_text(KNOWN[crystal], "listed").encode())
    return Mutant(f"a.cif{ending}", (crystal,), change.__name__, change(data, rng))


def _parquet(rng: Rng) -> Mutant:
    crystal, change = rng.choice(sorted(KNOWN)), rng.choice(BYTES)
    return Mutant("a.parquet", (crystal,), change.__name__, change(parquet_bytes(crystal), rng))


def _database(rng: Rng) -> Mutant:
    crystal, change = rng.choice(sorted(KNOWN)), rng.choice(BYTES)
    return Mutant("a.db", (crystal,), change.__name__, change(database_bytes(crystal), rng))


def _labels(rng: Rng) -> Mutant:
    """A table of labels."""
    separator = rng.choice(",;\t")
    rows = [["id", "y", "z"], *([f"a{k}", f"{rng.uniform(-9, 9):.3f}", str(rng.randrange(99))] for k in range(6))]
    text = "\n".join([*(separator.join(row) for row in rows), ""])
    return _text_mutant("labels.csv", (), text, (odd_number, odd_number, lost_word), rng)


SHARES = {
    _cif: 1060,
    _blocks: 100,
    _poscar: 220,
    _extxyz: 200,
    _json: 160,
    _packed: 80,
    _parquet: 70,
    _database: 50,
    _labels: 60,
}
"""Mutants of each format: 2,000."""


def corpus(seed: int) -> Iterator[Mutant]:
    """All mutants, in a fixed order."""
    for number, (make, count) in enumerate(SHARES.items()):
        rng = random.Random(seed * 1000 + number)
        for _ in range(count):
            yield make(rng)
