"""Energies, forces and stresses as labels: from the columns of crystals to the fields of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import LabelColumns

GPA_OF = {"GPa": 1.0, "kBar": 0.1, "eV/A3": 160.21766208}
"""One of each unit of stress in GPa."""
PLACES = {
    "yz_xz_xy": ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)),
    "xy_yz_xz": ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)),
    "xy_xz_yz": ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)),
}
"""Where each of six numbers stands in the tensor."""

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ForceLabels:
    """Labels of n crystals, NaN where missing."""

    energy: Reals
    """Energy per atom, (n,), eV."""
    forces: tuple[Reals, ...]
    """Forces on the sites of each crystal, (N, 3), eV/angstrom."""
    stress: Reals
    """Stress times volume per atom, (n, 3, 3), eV, negative under compression."""
    total: bool = True
    """Whether the energies are total ones, with a part that is linear in the composition."""

    def __len__(self) -> int:
        return len(self.energy)

    @property
    def has_forces(self) -> bool:
        """Whether any crystal has forces."""
        return any(not np.isnan(forces).any() for forces in self.forces)

    @property
    def has_stress(self) -> bool:
        """Whether any crystal has a stress."""
        return not np.isnan(self.stress).all()

    def pick(self, rows: Sequence[int] | NDArray[np.int64]) -> ForceLabels:
        """The labels of some crystals, in the order of ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self, energy=self.energy[rows], forces=tuple(self.forces[r] for r in rows), stress=self.stress[rows]
        )

    def onto(self, batch: SiteBatch) -> SiteBatch:
        """A batch of these n crystals with its labels; forces are put on if it has all sites."""
        forces = np.concatenate(self.forces)  # (N, 3)
        complete = len(forces) == batch.n_sites and batch.weight is None
        return replace(
            batch,
            energy=torch.from_numpy(self.energy).float(),
            forces=torch.from_numpy(forces).float() if complete else None,
            stress=torch.from_numpy(self.stress).float(),
        )

    def claim(self) -> dict[str, Reals]:
        """What a run's folder notes of them."""
        return {"energy": self.energy, "forces": np.concatenate(self.forces).ravel(), "stress": self.stress}


def force_labels(crystals: Sequence[Crystal], columns: LabelColumns) -> ForceLabels:
    """The labels of crystals that were read with these columns.

    Args:
        crystals: n crystals.
        columns: which columns are labels; no other label is looked at.

    Raises:
        InputError: If none is named or there, or an array is infinite or has another length than its crystal needs.
    """
    if not any((columns.energy, columns.forces, columns.stress)):
        raise InputError(
            "No label was named: this learns from energies, forces or stresses, and from no column that is not named. "
            "Give at least one of energy, forces, stress; for pretraining as --objective-options energy=COLUMN."
        )
    energy = np.full(len(crystals), np.nan)
    forces, stress = [], np.full((len(crystals), 3, 3), np.nan)
    for row, crystal in enumerate(crystals):
        if columns.energy in crystal.labels:
            n = crystal.n_sites if columns.energy_kind == "total" else 1
            energy[row] = crystal.labels[str(columns.energy)] / n
        forces.append(_forces(crystal, columns.forces))
        stress[row] = _stress(crystal, columns)
    labels = ForceLabels(energy, tuple(forces), stress, columns.energy_kind == "total")
    there = {"energy": not np.isnan(energy).all(), "forces": labels.has_forces, "stress": labels.has_stress}
    named = {kind: name for kind in there if (name := getattr(columns, kind))}
    lacking = [f"{kind} ({name})" for kind, name in named.items() if not there[kind]]
    if lacking:
        raise InputError(f"No crystal has a label for {', '.join(lacking)}. Name a column that holds values.")
    return labels


def _forces(crystal: Crystal, column: str | None) -> Reals:
    """Forces of one crystal, (N, 3), eV/angstrom; all NaN where one is missing."""
    values = crystal.arrays.get(column or "")
    if values is None:
        return np.full((crystal.n_sites, 3), np.nan)
    _refuse_infinite(values, crystal, column)
    if values.size != 3 * crystal.n_sites:
        raise InputError(
            f"{crystal.id} has {crystal.n_sites} sites and needs {3 * crystal.n_sites} force components in the column "
            f"{column}. Received: {values.size}."
        )
    return values.reshape(-1, 3) if not np.isnan(values).any() else np.full((crystal.n_sites, 3), np.nan)


def _refuse_infinite(values: Reals, crystal: Crystal, column: str | None) -> None:
    """Refuse infinite numbers, which are no missing ones."""
    if np.isinf(values).any():
        raise InputError(f"{crystal.id}: a value in the column {column} is not finite. Leave it out, or repair it.")


def _stress(crystal: Crystal, columns: LabelColumns) -> Reals:
    """Stress times volume per atom of one crystal, (3, 3), eV."""
    values = crystal.arrays.get(columns.stress or "")
    tensor = np.full((3, 3), np.nan)
    if values is None:
        return tensor
    _refuse_infinite(values, crystal, columns.stress)
    if np.isnan(values).any():
        return tensor
    if values.size == 9:
        tensor = values.reshape(3, 3)
    elif values.size == 6:
        for value, (row, column) in zip(values, PLACES[columns.stress_order], strict=True):
            tensor[row, column] = tensor[column, row] = value
    else:
        raise InputError(f"A stress has six numbers or nine. Received of {crystal.id}: {values.size}.")
    sign = 1.0 if columns.compression == "negative" else -1.0
    volume = abs(float(np.linalg.det(crystal.lattice)))
    return sign * GPA_OF[columns.stress_unit] / GPA_OF["eV/A3"] * tensor * volume / crystal.n_sites


@dataclass(frozen=True, eq=False)
class EnergyScale:
    """What is taken off energies, and the unit in which all labels are learnt."""

    reference: Reals
    """Energy of an atom of each element by atomic number, (119,), eV; zero for energies that are learnt as they are."""
    mean: float
    """Mean energy per atom beyond the reference, eV."""
    unit: float
    """Spread of energies per atom, eV; of forces in eV/angstrom where there are no energies."""

    def scaled(self, labels: ForceLabels, numbers: Sequence[NDArray[np.int64]]) -> ForceLabels:
        """Labels in this unit, the energies less reference and mean.

        Args:
            labels: in eV and angstrom.
            numbers: atomic numbers of each crystal, (N,).
        """
        offset = np.array([self.reference[z].mean() for z in numbers]) + self.mean  # (n,)
        forces = tuple(f / self.unit for f in labels.forces)
        return replace(
            labels, energy=(labels.energy - offset) / self.unit, forces=forces, stress=labels.stress / self.unit
        )


def energy_scale(labels: ForceLabels, numbers: Sequence[NDArray[np.int64]]) -> EnergyScale:
    """Fit reference, mean and unit to labels; those of crystals held out must not be among them.

    The reference is the least-squares fit of the energy per atom to the fractions of the elements, the shortest one
    where there are several.

    Args:
        labels: of n crystals.
        numbers: atomic numbers of each, (N,).
    """
    known = np.flatnonzero(~np.isnan(labels.energy)).tolist()
    reference: Reals = np.zeros(119)
    residual: Reals = labels.energy[known]
    if labels.total and len(known):
        fraction = np.stack([np.bincount(numbers[row], minlength=119) / len(numbers[row]) for row in known])  # (n, 119)
        reference = np.asarray(np.linalg.lstsq(fraction, residual, rcond=None)[0], dtype=np.float64)
        residual = residual - fraction @ reference
    mean = float(residual.mean()) if len(known) else 0.0
    spread = float(residual.std()) if len(known) else force_size(labels)
    # Crystals of one energy have no spread; then their forces have one, or nothing has.
    return EnergyScale(reference, mean, spread if spread > 1e-9 else (force_size(labels) or 1.0))


def force_size(labels: ForceLabels) -> float:
    """Root mean square of the force components, eV/angstrom; of the stresses where there are none; else zero."""
    for values in (np.concatenate(labels.forces).ravel(), labels.stress.ravel()):
        known = values[~np.isnan(values)]
        if len(known):
            return float(np.sqrt(np.mean(known**2)))
    return 0.0
