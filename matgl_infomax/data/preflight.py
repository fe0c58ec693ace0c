"""A look at the data before any computing: sizes, elements, labels, and what is likely to go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import imputed_elements
from matgl_infomax.data.read import Crystals
from matgl_infomax.data.supercell import SupercellRule, supercell_cells
from matgl_infomax.errors import InputError

FEW_LABELS = 50
"""Below this many labels a learning curve has no room for a validation part and more than one size."""
LAST_COMMON_ELEMENT = 94
"""Plutonium; heavier elements occur in next to no data set."""
_SAMPLE = 2000  # crystals looked at for the estimate of pairs


@dataclass(frozen=True)
class LabelSummary:
    """The labels of one target."""

    target: str
    count: int
    mean: float
    sd: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Preflight:
    """What there is to learn from, in numbers."""

    n_crystals: int
    n_bad: int
    sites: tuple[int, float, int]
    """Smallest, median and largest number of sites of a cell, as read."""
    elements: dict[str, int]
    """Crystals that hold each element, most frequent first."""
    labels: tuple[LabelSummary, ...]
    same_formula: int
    """Crystals that share their reduced formula with another one: polymorphs or duplicates."""
    pairs_per_crystal: float
    """Mean number of pairs Site-Net sees per crystal, for the cells as read; the cost of a step follows it."""
    supercell_atoms: int
    warnings: tuple[str, ...]

    def to_text(self) -> str:
        """The numbers as a page to read."""
        low, middle, high = self.sites
        few = ", ".join(f"{symbol} {count}" for symbol, count in list(self.elements.items())[:12])
        more = f", and {len(self.elements) - 12} more" if len(self.elements) > 12 else ""
        lines = [
            f"Crystals        {self.n_crystals} good, {self.n_bad} bad entries",
            f"Sites per cell  {low} to {high}, median {middle:g}",
            f"Elements        {len(self.elements)}: {few}{more}",
            f"Same formula    {self.same_formula} crystals share their formula with another one",
            f"Pairs           about {self.pairs_per_crystal:.0f} per crystal in {self.supercell_atoms}-atom supercells",
        ]
        for label in self.labels:
            spread = f"mean {label.mean:.4g}, sd {label.sd:.4g}, from {label.minimum:.4g} to {label.maximum:.4g}"
            known = f"{label.target}: {label.count} known"
            lines.append(f"Labels          {known}, {spread}" if label.count else f"Labels          {known}")
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)])


def preflight(crystals: Crystals, targets: Sequence[str], *, supercell_atoms: int = 50) -> Preflight:
    """Count what there is to learn from.

    Args:
        crystals: what was read.
        targets: labels to look at.
        supercell_atoms: largest supercell that a site attends to.

    Raises:
        InputError: If there are no crystals or a target is unknown.
    """
    if not len(crystals):
        raise InputError("There are no crystals to look at. Received: an empty list.")
    values = crystals.labels(targets)
    sites = np.array([crystal.n_sites for crystal in crystals])
    numbers = Counter(int(z) for crystal in crystals for z in np.unique(crystal.numbers))
    formulas = Counter(_formula_key(crystal) for crystal in crystals)
    labels = tuple(_summary(name, values[:, k]) for k, name in enumerate(targets))
    return Preflight(
        n_crystals=len(crystals),
        n_bad=len(crystals.bad),
        sites=(int(sites.min()), float(np.median(sites)), int(sites.max())),
        elements={_symbol(z): count for z, count in numbers.most_common()},
        labels=labels,
        same_formula=sum(count for count in formulas.values() if count > 1),
        pairs_per_crystal=_pairs(crystals, supercell_atoms),
        supercell_atoms=supercell_atoms,
        warnings=tuple(_warnings(labels, numbers, int(sites.max()), supercell_atoms, len(crystals))),
    )


def _symbol(number: int) -> str:
    """Element symbol."""
    from pymatgen.core import Element

    return Element.from_Z(number).symbol


def _formula_key(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """Reduced composition as a key; the same for two crystals exactly when their reduced formulas are."""
    kinds, counts = np.unique(crystal.numbers, return_counts=True)
    return tuple(zip(kinds.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True))


def _summary(target: str, values: np.ndarray) -> LabelSummary:
    """Count and spread of one column of labels, (n,), NaN where missing."""
    known = values[~np.isnan(values)]
    if not len(known):
        return LabelSummary(target, 0, np.nan, np.nan, np.nan, np.nan)
    return LabelSummary(
        target, len(known), float(known.mean()), float(known.std()), float(known.min()), float(known.max())
    )


def _pairs(crystals: Crystals, supercell_atoms: int) -> float:
    """Mean of sites times supercell sites over an even sample of the crystals."""
    sample = [crystals[row] for row in range(0, len(crystals), max(1, len(crystals) // _SAMPLE))]
    rule = SupercellRule(supercell_atoms, standard=True)
    return float(np.mean([crystal.n_sites**2 * supercell_cells(crystal, rule) for crystal in sample]))


def _warnings(
    labels: Sequence[LabelSummary], numbers: Counter[int], largest: int, supercell_atoms: int, n: int
) -> list[str]:
    """What is likely to go wrong, each with what to do."""
    found: list[str] = []
    for label in labels:
        if label.count == 0:
            found.append(f"{label.target} has no label at all: check the column and the ids of the labels file.")
        elif label.minimum == label.maximum:
            found.append(f"{label.target} has the same value everywhere ({label.minimum:g}): nothing can be learnt.")
        elif label.count < FEW_LABELS:
            found.append(f"{label.target} has {label.count} labels: below {FEW_LABELS} a verdict is rarely possible.")
        elif max(label.maximum - label.mean, label.mean - label.minimum) > 20 * label.sd:
            found.append(f"{label.target} has a value more than 20 standard deviations off: check its unit.")
    heavy = [_symbol(z) for z in sorted(numbers) if z > LAST_COMMON_ELEMENT]
    if heavy:
        found.append(f"Elements beyond plutonium ({', '.join(heavy)}): many of their properties are estimates.")
    imputed = imputed_elements(numbers)
    if imputed:
        gaps = "; ".join(f"{symbol}: {', '.join(names).replace('_', ' ')}" for symbol, names in imputed.items())
        found.append(f"Properties that no table has, filled with the mean over similar elements: {gaps}.")
    rare = [_symbol(z) for z, count in numbers.items() if count == 1]
    if rare and n >= 10 * FEW_LABELS:
        found.append(f"Elements that occur in one crystal only: {', '.join(sorted(rare))}.")
    if largest > supercell_atoms:
        found.append(
            f"The largest cell has {largest} sites, more than the supercell's {supercell_atoms}: it is taken as it is."
        )
    return found
