"""Crystals for the demonstration, made on the spot: known structure types with other ions, and their Ewald energy.

The structure types are pymatgen's own copy of the AFLOW prototypes. Each draw puts common ions on the species of a
prototype so that all charges cancel, sizes the cell so that ions touch, and computes a real quantity: the electrostatic
energy of the point charges. Nobody has measured or relaxed these crystals; they show how the tool works, not chemistry.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError, exit_code
from matgl_infomax.settings.commands import CurveConfig

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from matgl_infomax.tasks.studies.curve import CurveResult


TARGET = "ewald_energy_ev_per_atom"
"""Electrostatic (Ewald) energy of the ions as point charges, eV per atom."""

PRESSURE = "log10_ewald_pressure_gpa"
"""Logarithm of the pressure in GPa with which the charges pull the cell together."""

GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208

MAX_SITES = 12
"""Largest primitive cell of a prototype that is used."""

LIKE_CONTACT = 0.85
"""Ions of like charge may come as close as this share of the sum of their radii (anions in rock salts do)."""

LOOSEST_CONTACT = 1.15
"""A crystal is dropped where like charges hold every cation and anion further apart than this share of touching."""

LARGEST_VOLUME = 60.0
"""Emptiest crystal that is kept, cubic angstrom per atom."""


@dataclass(frozen=True)
class Ion:
    """A common ion: element, charge in units of e, ionic radius in angstrom."""

    symbol: str
    charge: int
    radius: float


@dataclass(frozen=True)
class Prototype:
    """A structure type: a primitive cell whose species are numbered, not named."""

    name: str
    lattice: NDArray[np.float64]
    """Lattice vectors as rows, (3, 3), angstrom."""
    frac: NDArray[np.float64]
    """Fractional coordinates, (N, 3)."""
    species: NDArray[np.int64]
    """Number of the species of each site, (N,)."""
    closest: NDArray[np.float64]
    """Shortest distance between two species, images included, (S, S), angstrom."""


def demo_crystals(n: int, seed: int, progress: bool = True) -> list[Crystal]:
    """Make charge-balanced crystals of known structure types, with their Ewald energy and the pressure of the charges.

    Args:
        n: number of crystals.
        seed: the same seed gives the same crystals.
        progress: show a bar.

    Raises:
        InputError: If n is not positive, or more than the prototypes and ions can give.
    """
    if n < 1:
        raise InputError(f"The demonstration needs at least one crystal. Received: n = {n}.")
    generator = np.random.default_rng(seed)
    prototypes = _prototypes()
    crystals: list[Crystal] = []
    seen: set[tuple[str, float]] = set()
    with progress_bar(total=n, desc="making crystals", unit=" crystals", shown=progress) as bar:
        for _ in range(20 * n):
            crystal = _draw(prototypes[generator.integers(len(prototypes))], generator)
            # Same formula and same energy: the same crystal from another prototype, or with its species swapped.
            if crystal is None or (twin := (crystal.reduced_formula, round(crystal.labels[TARGET], 4))) in seen:
                continue
            seen.add(twin)
            crystals.append(replace(crystal, id=f"{len(crystals):04d}:{crystal.id}"))
            bar.update()
            if len(crystals) == n:
                return crystals
    raise InputError(f"The prototypes gave only {len(crystals)} different crystals. Received: n = {n}. Ask for fewer.")


def _draw(prototype: Prototype, generator: np.random.Generator) -> Crystal | None:
    """Put random ions on a prototype; None where no charges or sizes fit, or the crystal would fly apart."""
    fit = _fitting_ions(prototype, generator)
    if fit is None:
        return None
    ions, scale = fit
    structure = _structure(prototype, ions, scale)
    energy = _ewald_energy_per_atom(structure)
    if energy >= 0:
        return None
    name = f"{prototype.name}:{structure.composition.element_composition.reduced_formula}"
    labels = {TARGET: energy, PRESSURE: log_pressure(energy, structure.volume / len(structure))}
    return Crystal.from_structure(structure, id=name, labels=labels, source="generated")


def log_pressure(energy: float, volume: float) -> float:
    """Logarithm of the pressure of point charges in GPa.

    Their energy goes with the inverse of all lengths, E ~ V^(-1/3), so the pressure -dE/dV is E / (3 V), inwards.

    Args:
        energy: electrostatic energy in eV per atom, below 0.
        volume: cubic angstrom per atom.
    """
    return float(np.log10(-energy / (3 * volume) * GPA_PER_EV_PER_CUBIC_ANGSTROM))


def _fitting_ions(prototype: Prototype, generator: np.random.Generator) -> tuple[list[Ion], float] | None:
    """Ions for all species with the factor on all lengths that they need.

    Many tries for one prototype: else simple compositions, which fit most easily, would crowd out the others.
    """
    counts = np.bincount(prototype.species)
    volume = abs(float(np.linalg.det(prototype.lattice))) / len(prototype.species)
    for _ in range(100):
        ions = _neutral_ions(counts, generator)
        scale = _touching_scale(prototype.closest, ions) if ions else None
        if ions and scale and volume * scale**3 <= LARGEST_VOLUME:
            return ions, scale
    return None


def _neutral_ions(counts: NDArray[np.int64], generator: np.random.Generator) -> list[Ion] | None:
    """Different elements for all species, drawn at random; the last one must cancel the charge of the others."""
    pool = _ions()
    ions = [pool[k] for k in generator.integers(len(pool), size=len(counts) - 1)]
    charge = -sum(int(c) * ion.charge for c, ion in zip(counts, ions, strict=False))
    fitting = [ion for ion in pool if ion.charge * int(counts[-1]) == charge]
    if not fitting:
        return None
    ions.append(fitting[generator.integers(len(fitting))])
    return ions if len({ion.symbol for ion in ions}) == len(ions) else None


def _touching_scale(closest: NDArray[np.float64], ions: list[Ion]) -> float | None:
    """Factor on all lengths that makes the tightest contact of ions just touch; None where no sensible one exists."""
    radius = np.array([ion.radius for ion in ions])
    charge = np.array([ion.charge for ion in ions])
    needed = (radius[:, None] + radius) / closest  # (S, S)
    opposite = charge[:, None] * charge < 0  # (S, S)
    touching = float(needed[opposite].max())
    scale = max(touching, LIKE_CONTACT * float(needed[~opposite].max()))
    return scale if scale <= LOOSEST_CONTACT * touching else None


def _structure(prototype: Prototype, ions: list[Ion], scale: float) -> Structure:
    """The prototype with ions on its species and all lengths scaled."""
    from pymatgen.core import Lattice, Species, Structure

    species = [Species(ions[k].symbol, ions[k].charge) for k in prototype.species]
    return Structure(Lattice(prototype.lattice * scale), species, prototype.frac)


def _ewald_energy_per_atom(structure: Structure) -> float:
    """Electrostatic energy of the ions as point charges, eV per atom."""
    from pymatgen.analysis.ewald import EwaldSummation

    return float(EwaldSummation(structure).total_energy) / len(structure)


@cache
def _ions() -> tuple[Ion, ...]:
    """Common, stable ions with a tabulated radius, up to bismuth.

    Charges beyond +-4 and tiny radii stand for covalent atoms: no ionic picture fits them.
    """
    from pymatgen.core import Element

    pool = []
    for z in range(3, 84):
        element = Element.from_Z(z)
        if element.is_noble_gas or element.symbol in ("Tc", "Pm"):
            continue
        for charge in element.common_oxidation_states:
            radius = element.ionic_radii.get(charge)
            if radius is not None and abs(charge) <= 4 and radius >= 0.4:
                pool.append(Ion(element.symbol, int(charge), float(radius)))
    return tuple(pool)


@cache
def _prototypes() -> tuple[Prototype, ...]:
    """All AFLOW prototypes of two and more species in small cells, in the order of pymatgen's file."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    found = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure.get_primitive_structure()
        if structure.is_ordered and len(structure) <= MAX_SITES and len(structure.composition) > 1:
            found.append(_prototype(entry["tags"]["aflow"], structure))
    return tuple(found)


def _prototype(name: str, structure: Structure) -> Prototype:
    """Number the species of a structure and measure how close they come."""
    elements = list(structure.composition)
    species = np.array([elements.index(site.specie) for site in structure])
    closest = np.full((len(elements), len(elements)), np.inf)
    reach = 5.0
    while not np.isfinite(closest).all():
        centre, other, _, distance = structure.get_neighbor_list(reach)
        np.minimum.at(closest, (species[centre], species[other]), distance)
        reach *= 1.5
    return Prototype(name, np.array(structure.lattice.matrix), np.array(structure.frac_coords), species, closest)


# The main job in a few minutes, without data of your own: does pretraining help when labels are few?
#
# A demonstration on generated crystals. It shows what the tool does and what its answer looks like; the answer itself
# is about point charges on made-up crystals, not about your property.

N_CRYSTALS = 600
N_TESTED = 200
WEIGHTS = "sitenet-mp"
TITLE = "a demonstration on generated crystals"


def demo_settings(out: Path) -> CurveConfig:
    """A small study: everything goes under ``out``, and two processes finish it within minutes.

    The size was chosen on other crystals (see ``leaderboard/results/weights``): there these weights lower the error by
    a quarter, and eight seeds tell that.
    """
    return CurveConfig(
        data=str(out / "crystals.parquet"),
        target=[PRESSURE],
        cache=out / "cache",
        out=out / "study",
        labels=[50],
        folds=1,
        test_limit=N_TESTED,
        seeds=8,
        arms=["scratch", f"pretrained={WEIGHTS}", "descriptors"],
        workers=2,
        unit="log10 GPa",
    )


def run_demo(settings: CurveConfig, n_crystals: int, *, seed: int = 0) -> CurveResult:
    """Make crystals, write them to a file as a user would have it, read that file and run the study.

    Args:
        settings: the study; its ``data`` is where the generated crystals are written.
        n_crystals: how many to make.
        seed: of the generated crystals.
    """
    from matgl_infomax.data.read import read_crystals
    from matgl_infomax.tasks.studies.curve import learning_curve

    write_crystals(demo_crystals(n_crystals, seed), Path(settings.data))
    crystals = read_crystals(settings.data, targets=settings.target, progress=True)
    return learning_curve(crystals, settings.target[0], settings)


def write_crystals(crystals: Sequence[Crystal], file: Path) -> None:
    """Write crystals as parquet: id, lattice (9 numbers, angstrom), atomic_numbers, frac_coords (3 N numbers), labels.

    Raises:
        InputError: If the folder cannot be written.
    """
    import pandas as pd

    from matgl_infomax.io import atomic_write

    rows = [
        {
            "id": crystal.id,
            "lattice": crystal.lattice.ravel(),
            "atomic_numbers": crystal.numbers,
            "frac_coords": crystal.frac.ravel(),
            **crystal.labels,
        }
        for crystal in crystals
    ]
    atomic_write(file, pd.DataFrame(rows).to_parquet(index=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and print its table, its plot's path and its verdict.

    Returns:
        0 when done; 2 after a mistake that the user can repair; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m matgl_infomax.tasks.studies.demo", description=f"The main job: {TITLE}."
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything it writes")
    out = parser.parse_args(arguments).out
    started = perf_counter()
    settings = demo_settings(out)
    print(
        f"matgl-infomax, {TITLE}: {N_CRYSTALS} crystals, all but {settings.labels[0]} labels hidden.\n"
        "Target: the pressure with which their charges pull the ions together (log10 of GPa, an Ewald sum).\n"
        f"A network with the weights {WEIGHTS} that come with the package, the same network from scratch, and extra\n"
        f"trees on the composition learn from these labels, with {settings.seeds} seeds each."
    )

    def job() -> None:
        result = run_demo(settings, N_CRYSTALS)
        print(f"\n{result.to_markdown()}\n\nThis was {TITLE}, made in {perf_counter() - started:.0f} s.")
        print(f"Plot:    {settings.out / 'curve.png'}")
        print("Yours:   matgl-infomax curve --data FILE --target COLUMN --out DIR")
        print(f"Verdict: {result.verdict.text}")

    return exit_code("demo", job)


if __name__ == "__main__":
    sys.exit(main())
