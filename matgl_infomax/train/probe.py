"""Linear and nearest-neighbour probes: how well a fact can be read off frozen vectors, cross-validated.

Alain and Bengio, arXiv:1610.01644 (2016): a probe is so simple that what it finds must already be in the vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import PROPERTY_NAMES, elemental_properties, standardised_properties
from matgl_infomax.data.radius import radius_pairs
from matgl_infomax.errors import InputError
from matgl_infomax.settings.base import seed_of_32_bits

FOLDS = 5
PROBES = ("linear", "knn")
"""Ridge for numbers and logistic regression for classes; the mean, or the vote, of the nearest vectors."""

LIMIT = 10.0
"""Scaled numbers are cut off here, so that a feature that hardly moves in training cannot become any number."""

PENALTIES = np.logspace(-3, 4, 15)
"""Of ridge, among which leaving one out within the training part chooses."""

NEIGHBOURS = 5
STEPS = 100
"""Most steps of the logistic solver: a probe with a stated budget, converged or not."""


@dataclass(frozen=True)
class Folds:
    """Who can be asked about a target, and in which of the five parts each is tested."""

    rows: NDArray[np.int64]
    """Sites or crystals with an answer, (n,)."""
    fold: NDArray[np.int64]
    """Number of the part that tests each, (n,)."""
    dropped: int
    """Left out because their class occurs in fewer crystals than there are folds."""
    chance: float
    """Score of always giving the mean (0), or the most frequent class."""


@dataclass(frozen=True)
class Score:
    """How well one probe reads one target."""

    value: float
    """R² of all held-out numbers, or share of the held-out classes that are right."""
    sd: float | None
    """Sample standard deviation of the same over the folds; none where they are too small to have one."""
    mae: float | None
    """Mean absolute error in the target's unit; none for classes."""
    balanced: float | None
    """Mean over classes of the share that is right; none for numbers."""
    errors: NDArray[np.float64]
    """Absolute error, or 0 and 1 for right and wrong, of each row that was asked, (n,)."""


def make_folds(target: Target, owner: NDArray[np.int64], seed: int) -> Folds:
    """Five parts for a target, all sites of a crystal in the same one and classes spread evenly; the same every time.

    Args:
        target: what is asked.
        owner: crystal of each site, or number of each crystal, (N,).
        seed: seed of the parts.

    Raises:
        InputError: If too few crystals have an answer, or all answers are the same.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    rows = np.flatnonzero(np.isfinite(target.values))
    known = len(rows)
    if target.kind == "class":
        rows = rows[_frequent(target.values[rows], owner[rows])]
    values, groups = target.values[rows], owner[rows]
    if len(np.unique(owner[np.isfinite(target.values)])) < FOLDS:
        found = len(np.unique(owner[np.isfinite(target.values)]))
        raise InputError(f"{FOLDS} folds need at least {FOLDS} crystals with a value of {target.name}. Found: {found}.")
    if target.kind == "class" and len(np.unique(values)) < 2:
        raise InputError(f"{target.name} has fewer than two classes that occur in at least {FOLDS} crystals.")
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        raise InputError(f"{target.name} is the same everywhere ({values[0]:.6g}): there is nothing to tell.")
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    fold = np.empty(len(rows), dtype=np.int64)
    if target.kind == "class":
        parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed_of_32_bits(seed)).split(
            rows, values, groups
        )
        chance = float(np.unique(values, return_counts=True)[1].max() / len(values))
    else:
        parts, chance = GroupKFold(FOLDS).split(rows, groups=order[groups]), 0.0
    for number, (_, test) in enumerate(parts):
        fold[test] = number
    return Folds(rows, fold, known - len(rows), chance)


def cross_validate(vectors: NDArray[np.float64], target: Target, folds: Folds, probe: str) -> Score:
    """Fit a probe on four parts, read the fifth, five times.

    Args:
        vectors: frozen vectors of all sites or crystals, (N, D).
        target: what is asked.
        folds: parts of this target.
        probe: ``linear`` or ``knn``.

    Raises:
        InputError: If the probe is unknown, or a vector holds no finite number.
    """
    from threadpoolctl import threadpool_limits

    if probe not in PROBES:
        raise InputError(f"Probes are: {', '.join(PROBES)}. Received: {probe}.")
    known, truth = vectors[folds.rows], target.values[folds.rows]  # (n, D), (n,)
    if not np.isfinite(known).all():
        raise InputError("Some vectors hold no finite number: the training of this encoder diverged.")
    found = np.empty(len(truth))
    # One thread: sums of several come out differently in the last digits.
    with threadpool_limits(1), warnings.catch_warnings():
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("ignore", ConvergenceWarning)  # STEPS is a budget
        for number in range(FOLDS):
            test = folds.fold == number
            model = _new_probe(probe, target.kind, int((~test).sum()))
            found[test] = _answers(model, known[~test], truth[~test], known[test])
    return _score(target.kind, truth, found, folds)


def _answers(model: Any, known: NDArray[Any], truth: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """Predictions of one fold; where a training part holds one answer only, that one."""
    if len(np.unique(truth)) == 1:
        return np.full(len(wanted), truth[0])
    middle, width = known.mean(0), known.std(0)  # (D,), (D,)
    width[width <= 1e-12 * np.abs(middle)] = 1.0
    known, wanted = (np.clip((vectors - middle) / width, -LIMIT, LIMIT) for vectors in (known, wanted))
    return np.asarray(model.fit(known, truth).predict(wanted), dtype=np.float64)


def _frequent(classes: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whose class occurs in enough crystals to be in every part, (n,)."""
    pairs = np.unique(np.stack([classes, owner.astype(np.float64)], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(classes, names[counts >= FOLDS])


def _new_probe(probe: str, kind: str, n: int) -> Any:
    """A scikit-learn model for n vectors of zero mean and unit spread."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    if probe == "knn":
        return (KNeighborsClassifier if kind == "class" else KNeighborsRegressor)(min(NEIGHBOURS, n))
    return LogisticRegression(max_iter=STEPS, tol=1e-3) if kind == "class" else RidgeCV(PENALTIES)


def _score(kind: str, truth: NDArray[np.float64], found: NDArray[np.float64], folds: Folds) -> Score:
    """The score of all held-out answers, and its spread over the folds."""
    errors = (found != truth).astype(np.float64) if kind == "class" else np.abs(found - truth)
    mae = balanced = None
    if kind == "class":
        value = float(1 - errors.mean())
        balanced = float(np.mean([1 - errors[truth == name].mean() for name in np.unique(truth)]))
    else:
        value, mae = _r2(truth, errors), float(errors.mean())
    each = [folds.fold == number for number in range(FOLDS)]
    parts = [float(1 - errors[test].mean()) if kind == "class" else _r2(truth[test], errors[test]) for test in each]
    finite = [part for part in parts if np.isfinite(part)]  # a part without two different numbers has no R²
    sd = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return Score(value, sd, mae, balanced, errors)


def _r2(truth: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """1 - squared errors over squared deviations; NaN where the numbers do not vary."""
    total = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float((errors**2).sum()) / total if total > 0 else float("nan")


# What a probe asks of frozen vectors: facts that every crystal structure holds, and features that know no structure.
#
# No measured value is among them. Shells of neighbours follow one stated rule: the first shell of a site is every
# neighbour no further away than 1.2 times its nearest one, their number is the coordination number, and the second
# shell
# begins at the next distance.

SHELL = 1.2
"""Neighbours within this multiple of the nearest distance are in the first shell; 14 in a body-centred cubic metal."""

SYMPREC_ANGSTROM = 0.1
"""How far atoms may be from a symmetric place for spglib, as in ``matgl-infomax overlap``."""

SYSTEMS = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (167, "trigonal"),
           (194, "hexagonal"), (230, "cubic"))  # fmt: skip
"""Last space group of each crystal system (International Tables for Crystallography A)."""

START_ANGSTROM = 4.0
GRAMS_PER_CM3 = 1.66053906660
"""Of one atomic mass unit per cubic angstrom (CODATA 2018)."""


@dataclass(frozen=True, eq=False)
class Target:
    """One question: its answer for every site or crystal."""

    name: str
    level: str
    """``site`` or ``crystal``."""
    kind: str
    """``number`` or ``class``."""
    values: NDArray[np.float64]
    """Numbers in their unit, or numbers of classes; NaN where there is no answer, (N,) or (B,)."""
    unit: str = ""

    def of(self, rows: NDArray[np.int64]) -> Target:
        """The same question for some sites or crystals.

        Args:
            rows: their positions, (n,).
        """
        return replace(self, values=self.values[rows])


def chosen_sites(n_sites: NDArray[np.int64], most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sites to ask, drawn at random from all where there are too many: their positions and their crystals, (n,) each.

    Args:
        n_sites: sites of each crystal, (B,).
        most: how many sites are wanted at most.
        seed: seed of the draw.
    """
    owner = np.repeat(np.arange(len(n_sites)), n_sites)  # (N,)
    rows = np.sort(np.random.default_rng(seed).permutation(len(owner))[:most])
    return rows, owner[rows]


def site_targets(crystals: Sequence[Crystal]) -> list[Target]:
    """Element, coordination number, nearest distance and second shell of every site, crystal after crystal, (N,) each.

    Args:
        crystals: B crystals with N sites together.

    Raises:
        InputError: If a lattice has no volume or a coordinate is no number.
    """
    shells = [neighbour_shells(crystal) for crystal in crystals]  # (3, sites) each
    found = np.concatenate(shells, axis=1) if shells else np.empty((3, 0))
    numbers = np.concatenate([crystal.numbers for crystal in crystals]) if shells else np.empty(0)
    return [
        Target("element", "site", "class", numbers.astype(np.float64)),
        Target("coordination_number", "site", "number", found[0]),
        Target("nearest_distance", "site", "number", found[1], "angstrom"),
        Target("second_shell", "site", "number", found[2], "angstrom"),
    ]


def crystal_targets(crystals: Sequence[Crystal]) -> list[Target]:
    """Crystal system, space group, density, volume per atom and number of elements of every crystal, (B,) each.

    Args:
        crystals: B crystals; symmetry is that of spglib within 0.1 angstrom, NaN where it finds none.
    """
    weight = elemental_properties().values[:, PROPERTY_NAMES.index("atomic_weight")]  # (119,) g/mol
    groups = np.array([space_group_label(crystal) for crystal in crystals], dtype=np.float64)
    lasts = np.array([last for last, _ in SYSTEMS])
    systems = np.where(np.isnan(groups), np.nan, np.searchsorted(lasts, np.nan_to_num(groups)))
    volume = np.array([abs(np.linalg.det(crystal.lattice)) for crystal in crystals])  # (B,) angstrom^3
    mass = np.array([weight[crystal.numbers].sum() for crystal in crystals])  # (B,) g/mol
    sites = np.array([crystal.n_sites for crystal in crystals])
    elements = np.array([len(np.unique(crystal.numbers)) for crystal in crystals], dtype=np.float64)
    return [
        Target("crystal_system", "crystal", "class", systems),
        Target("space_group", "crystal", "class", groups),
        Target("density", "crystal", "number", GRAMS_PER_CM3 * mass / volume, "g/cm^3"),
        Target("volume_per_atom", "crystal", "number", volume / sites, "angstrom^3"),
        Target("n_elements", "crystal", "number", elements),
    ]


def space_group_label(crystal: Crystal) -> float:
    """Number of the space group, 1 to 230; NaN where spglib finds none.

    Args:
        crystal: the structure as it is stored.
    """
    import spglib

    cell: Any = (crystal.lattice, crystal.frac, crystal.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_ANGSTROM)
    return float(found.number) if found is not None else float("nan")


def neighbour_shells(crystal: Crystal) -> NDArray[np.float64]:
    """Coordination number, nearest distance and second shell (angstrom) of every site, (3, N).

    The cut-off grows until every site has a second shell, which a periodic crystal always has.

    Args:
        crystal: N sites.

    Raises:
        InputError: If the lattice has no volume or a coordinate is no number.
    """
    n, cutoff = crystal.n_sites, START_ANGSTROM
    while True:
        pairs = radius_pairs(crystal.lattice, crystal.frac, cutoff)
        nearest, second = np.full(n, np.inf), np.full(n, np.inf)  # (N,), (N,)
        np.minimum.at(nearest, pairs.src, pairs.distance)
        outside = pairs.distance > SHELL * nearest[pairs.src]
        np.minimum.at(second, pairs.src[outside], pairs.distance[outside])
        if np.isfinite(second).all():
            count = np.bincount(pairs.src[~outside], minlength=n)
            return np.stack([count.astype(np.float64), nearest, second])
        cutoff *= 1.5


def composition_of_crystals(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Mean and spread of 21 elemental properties over the sites of each crystal, (B, 42): no structure at all.

    Args:
        crystals: B crystals.
    """
    table = standardised_properties()  # (119, 21)
    parts = [table[crystal.numbers] for crystal in crystals]
    return np.array([np.concatenate([part.mean(0), part.std(0)]) for part in parts]).reshape(-1, 2 * table.shape[1])


def composition_of_sites(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """21 elemental properties of each site and their mean over its crystal, (N, 42): no structure at all.

    Args:
        crystals: crystals with N sites together.
    """
    table = standardised_properties()  # (119, 21)
    parts = [table[crystal.numbers] for crystal in crystals]
    rows = [np.concatenate([part, np.broadcast_to(part.mean(0), part.shape)], axis=1) for part in parts]
    return np.concatenate(rows) if rows else np.empty((0, 2 * table.shape[1]))
