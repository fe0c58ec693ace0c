"""Eight tabulated properties of every element: what Site-Net is told about an atom.

The numbers in ``elements.csv`` are those of Magpie (Ward et al., npj Comput. Mater. 2, 16028, 2016) as
matminer 0.10.1 ships them, with an empty cell where Magpie has none. Magpie ends at copernicium: from
nihonium on, number, row and column are the place in the periodic table and the weight is the mass
number of a long-lived isotope. Magpie puts all lanthanides and actinides into column 3.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matgl_infomax.console import say
from matgl_infomax.errors import InputError

PROPERTY_NAMES: tuple[str, ...] = (
    "atomic_number",
    "atomic_weight",
    "row",
    "column",
    "first_ionisation_energy",
    "electronegativity",
    "atomic_radius",
    "density",
)
PROPERTY_UNITS: tuple[str, ...] = ("", "g/mol", "", "", "eV", "Pauling", "angstrom", "g/L")
MORE_NAMES: tuple[str, ...] = (
    "mendeleev_number",
    "covalent_radius",
    "melting_point",
    *(f"{shell}_{kind}" for kind in ("valence", "unfilled") for shell in "spdf"),
    "ground_state_volume",
    "polarisability",
)
INFOMAX_SCALE: tuple[float, ...] = (0.1, 0.1, 1.0, 1.0, 1.0, 10.0, 10.0, 0.001)
"""Factors of the Deep InfoMax paper that bring the eight properties to similar size, in the same order."""

N_ELEMENTS = 118
ROW, COLUMN = PROPERTY_NAMES.index("row"), PROPERTY_NAMES.index("column")


@dataclass(frozen=True, eq=False)
class ElementTable:
    """Properties of the elements, without gaps: row Z is the element with atomic number Z, row 0 is zero."""

    values: NDArray[np.float64]
    """Properties in their units, unscaled, (119, 8)."""
    imputed: NDArray[np.bool_]
    """Where the value is an average over similar elements instead of a tabulated one, (119, 8)."""
    symbols: tuple[str, ...]
    """Element symbols by atomic number, 119 entries, the first empty."""
    names: tuple[str, ...] = PROPERTY_NAMES
    """Name of each column."""
    units: tuple[str, ...] = PROPERTY_UNITS
    """Unit of each column; empty for a pure number."""


def elemental_properties() -> ElementTable:
    """The eight properties of all 118 elements, gaps filled with the mean over similar elements.

    A missing value is the mean of the tabulated values in the same column of the periodic table; where
    that has none, of the same row; else of all elements. No element is ever dropped.
    """
    symbols, raw = _read_table()  # (119,), (119, 8) with NaN
    missing = np.isnan(raw)
    values = raw.copy()
    for z, k in np.argwhere(missing):
        values[z, k] = _mean_of_similar(raw, z, k)
    return ElementTable(values, missing, symbols)


def imputed_elements(numbers: Iterable[int]) -> dict[str, list[str]]:
    """Which of these elements lack which tabulated properties, for the log.

    Args:
        numbers: atomic numbers, in any order, repeats allowed.

    Returns:
        Symbol to property names, in order of atomic number; elements without gaps are left out.

    Raises:
        InputError: If a number is not that of an element.
    """
    wanted = sorted({int(z) for z in numbers})
    unknown = [z for z in wanted if not 1 <= z <= N_ELEMENTS]
    if unknown:
        raise InputError(f"Atomic numbers go from 1 to {N_ELEMENTS}. Received: {unknown}. Check the input crystals.")
    table = elemental_properties()
    gaps = {z: [table.names[k] for k in np.flatnonzero(table.imputed[z])] for z in wanted}
    return {table.symbols[z]: names for z, names in gaps.items() if names}


def standardised_properties() -> NDArray[np.float64]:
    """The eight properties and thirteen more (``elements_more.csv``, Magpie's too) on one scale, (119, 21).

    Each has mean 0 and standard deviation 1 over hydrogen to lawrencium; a missing value becomes 0, the mean.
    Of the further ones volume is that of the elemental ground state in angstrom^3 per atom, the melting point is in K,
    the covalent radius in pm, the polarisability in angstrom^3; the others are numbers of electrons and places.
    """
    more = _read_table("elements_more.csv", MORE_NAMES)[1]  # (119, 13) with NaN
    raw = np.concatenate([elemental_properties().values, more], axis=1)  # (119, 21)
    usual = raw[1:104]
    scaled = np.nan_to_num((raw - np.nanmean(usual, axis=0)) / np.nanstd(usual, axis=0))
    scaled[0] = 0.0
    return scaled


def _read_table(
    file: str = "elements.csv", names: Sequence[str] = PROPERTY_NAMES
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    text = files("matgl_infomax.data").joinpath(file).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    raw = np.zeros((N_ELEMENTS + 1, len(names)))
    for z, row in enumerate(rows, start=1):
        raw[z] = [float(row[name] or "nan") for name in names]
    return ("", *(row["symbol"] for row in rows)), raw


def _mean_of_similar(raw: NDArray[np.float64], z: int, k: int) -> float:
    known = ~np.isnan(raw[:, k])
    known[0] = False
    for place in (COLUMN, ROW):
        similar = known & (raw[:, place] == raw[z, place])
        if similar.any():
            return float(raw[similar, k].mean())
    return float(raw[known, k].mean())


# Does a network know the elements of the data? Asked before anything is trained, embedded or predicted.

Network = TypeVar("Network", bound=nn.Module)

NOISE = 0.1
"""Noise on the vector of a new element, in standard deviations of the known ones."""


def unknown_elements(elements: Iterable[int], element_types: Sequence[str]) -> list[str]:
    """Symbols of the elements that a network does not know, by atomic number.

    Args:
        elements: atomic numbers in the data, in any order, repeats allowed.
        element_types: elements that the network knows.

    Raises:
        InputError: For a number that is not that of an element.
    """
    symbols, known = elemental_properties().symbols, set(element_types)
    wanted = sorted({int(z) for z in elements})
    strange = [z for z in wanted if not 1 <= z < len(symbols)]
    if strange:
        raise InputError(f"Atomic numbers go from 1 to {len(symbols) - 1}. Received: {strange}. Check the crystals.")
    return [symbols[z] for z in wanted if symbols[z] not in known]


def check_elements(elements: Iterable[int], element_types: Sequence[str], what: str, remedy: str = "") -> None:
    """Refuse data with elements that a network was not made for.

    Args:
        elements: atomic numbers in the data, in any order, repeats allowed.
        element_types: elements that the network knows.
        what: the network in words, such as its folder.
        remedy: what to do about it beside leaving crystals out, a sentence.

    Raises:
        InputError: If there are such elements; they are named.
    """
    unknown = unknown_elements(elements, element_types)
    if unknown:
        raise InputError(
            f"The crystals hold {', '.join(unknown)}, but {what} knows {len(element_types)} elements, "
            f"these not among them. Leave such crystals out{f', or {remedy}' if remedy else ''}."
        )


def check_order(ours: Sequence[str], theirs: Sequence[str], what: str) -> None:
    """Refuse a converter, or another network, that numbers the elements otherwise: it would mix them up silently.

    Args:
        ours: elements of the network, in its order.
        theirs: elements of the other, in its order.
        what: the other in words.

    Raises:
        InputError: If set or order differ; the first difference is named.
    """
    for place, (own, other) in enumerate(zip(ours, theirs, strict=False)):
        if own != other:
            raise InputError(
                f"{what} numbers the elements otherwise: {place} is {other}, for the network it is {own}. "
                "Make it with element_types of the network."
            )
    if len(ours) != len(theirs):
        raise InputError(
            f"{what} knows {len(theirs)} elements, the network {len(ours)}. Make it with element_types of the network."
        )


def knowing(net: Network, elements: Iterable[int], extend: bool, what: str, seed: int = 0) -> Network:
    """The network itself where it knows all elements of the data; else one that was extended, if that is allowed.

    Args:
        net: a network with its weights.
        elements: atomic numbers in the data.
        extend: whether rows may be added for new elements (``--extend-elements``).
        what: the network in words.
        seed: seed of the new rows.

    Raises:
        InputError: If there are unknown elements and no permission.
    """
    types: tuple[str, ...] = net.element_types  # type: ignore[assignment]
    elements = list(elements)
    if not extend:
        check_elements(elements, types, what, "give --extend-elements to add vectors for them")
        return net
    unknown = unknown_elements(elements, types)
    if not unknown:
        return net
    say(f"{what} did not know {', '.join(unknown)}: it got vectors for them, near the mean of those it has.")
    return extend_elements(net, unknown, seed)


def extend_elements(net: Network, symbols: Sequence[str], seed: int = 0) -> Network:
    """A copy of a network that knows more elements, with all the weights it had.

    The vector of a new element is the mean of the known ones with a little noise: without it two new elements would
    be one. The order of the known elements stays.

    Args:
        net: a network made with ``element_types`` among its ``init_args``; left as it is.
        symbols: new elements, put after the known ones.
        seed: seed of the noise.

    Raises:
        InputError: If an element is known already.
    """
    known: tuple[str, ...] = tuple(net.element_types)  # type: ignore[arg-type]
    arguments: dict[str, Any] = net.init_args  # type: ignore[assignment]
    twice = sorted({s for s in symbols if s in known or list(symbols).count(s) > 1})
    if twice:
        raise InputError(f"Only new elements can be added, once each. Received: {', '.join(twice)}.")
    with torch.random.fork_rng(devices=[]):  # its initial weights are all replaced
        larger = type(net)(**{**arguments, "element_types": (*known, *symbols)})
    generator = torch.Generator().manual_seed(seed)
    weights = larger.state_dict()
    for name, value in net.state_dict().items():
        new = weights[name]
        grown = value.shape != new.shape
        weights[name] = _with_rows(value, len(symbols), generator) if grown else value
        if weights[name].shape != new.shape:
            raise InputError(f"A {type(net).__name__} cannot get new elements: the shape of {name} depends on them.")
    larger.load_state_dict(weights)
    parameter = next(net.parameters())
    larger.train(net.training)
    return larger.to(parameter.device, parameter.dtype)


def _with_rows(value: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """A table of vectors (K, D) with n more of them, (K + n, D)."""
    noise = torch.randn(n, *value.shape[1:], generator=generator, dtype=torch.float64).to(value)
    return torch.cat([value, value.mean(0) + NOISE * value.std(0, correction=0) * noise])


# Physical numbers of an element that a network may be asked for: valence electrons, and stiffness of its solid.
#
# Neither holds anything measured on a compound, so neither can leak a label of one.

VALENCE_CLASSES = 17
"""From one valence electron (class 0) to seventeen (lutetium, lawrencium)."""
NOBLE = (0, 2, 10, 18, 36, 54, 86)
"""Atomic numbers at which a shell is closed."""
GPA_ANGSTROM3_PER_EV = 160.2177
AVOGADRO_PER_ANGSTROM3 = 0.602214076
"""Atoms per cubic angstrom in one mole per cubic centimetre."""
ROOM_KELVIN = 298.15


def valence_class() -> NDArray[np.int64]:
    """Valence electrons less one of every element, (119,); -1 for number 0, which is none.

    Counted are the electrons outside the noble-gas core, without a filled f shell (from hafnium and rutherfordium on)
    and without a filled d shell (p-block elements): zinc has 12, gallium 3, lutetium 17.
    """
    found = np.full(N_ELEMENTS + 1, -1, dtype=np.int64)
    for z in range(1, N_ELEMENTS + 1):
        core = max(n for n in NOBLE if n < z)
        electrons = z - core
        if core >= 54 and electrons > 17:
            electrons -= 14
        if core >= 18 and electrons > 12 and not (core >= 54 and z - core <= 17):
            electrons -= 10
        found[z] = electrons - 1
    return found


def element_stiffness() -> NDArray[np.float64]:
    """Bulk modulus times volume per atom of every element's solid, K_Z V_Z, (119,), eV; NaN where there is no number.

    Bulk moduli and molar volumes are those of the pure elements, as pymatgen's table of elements holds them. Only
    metals that are solid at room temperature have a number: elsewhere bulk modulus and volume are those of another
    thing than the element's bonds, such as graphite's layers, molecules or a liquid.
    """
    from pymatgen.core import Element

    found = np.full(N_ELEMENTS + 1, np.nan)
    for z in range(1, N_ELEMENTS + 1):
        element = Element.from_Z(z)
        data = element.data
        modulus, volume, melts = (data.get(name) for name in ("Bulk modulus", "Molar volume", "Melting point"))
        if element.is_metal and modulus and volume and melts and melts > ROOM_KELVIN:
            found[z] = modulus * (volume / AVOGADRO_PER_ANGSTROM3) / GPA_ANGSTROM3_PER_EV
    return found
