"""Crystals for the tests of overlap: polymorphs, and one crystal described in other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal

PEROVSKITE = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def perovskite(corner: int, centre: int, id: str = "") -> Crystal:
    """A cubic perovskite with these elements and oxygen."""
    numbers = np.array([corner, centre, 8, 8, 8])
    return Crystal(id or f"perovskite-{corner}-{centre}", numbers, 3.9 * np.eye(3), PEROVSKITE)


def zinc_sulfide(phase: str) -> Crystal:
    """ZnS as wurtzite or zincblende."""
    if phase == "wurtzite":
        lattice = np.array([[3.82, 0, 0], [-1.91, 3.3082, 0], [0, 0, 6.26]])
        frac = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.375], [2 / 3, 1 / 3, 0.875]]
        return Crystal(phase, np.array([30, 30, 16, 16]), lattice, np.array(frac))
    lattice = 5.41 * np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    return Crystal(phase, np.array([30, 16]), lattice, np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))


def other_basis(crystal: Crystal, matrix: Sequence[Sequence[int]] | NDArray[np.int64]) -> Crystal:
    """The crystal in a cell whose vectors are whole-number combinations of its own: a supercell where |det| > 1."""
    matrix = np.asarray(matrix)
    copies = round(abs(np.linalg.det(matrix)))
    reach = int(np.abs(matrix).sum()) + 1
    steps = np.array(list(product(range(-reach, reach + 1), repeat=3)))
    inside = steps @ np.linalg.inv(matrix)
    shifts = steps[np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)]
    assert len(shifts) == copies
    frac = (crystal.frac[:, None, :] + shifts) @ np.linalg.inv(matrix)  # (N, copies, 3)
    return replace(
        crystal, numbers=np.repeat(crystal.numbers, copies), lattice=matrix @ crystal.lattice, frac=frac.reshape(-1, 3)
    )


def rotated(crystal: Crystal, angle: float) -> Crystal:
    """The crystal turned about an axis that is no symmetry axis of anything."""
    axis = np.array([0.36, 0.48, 0.8])
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return replace(crystal, lattice=crystal.lattice @ turn)


def other_origin(crystal: Crystal, shift: Sequence[float]) -> Crystal:
    """The crystal with all sites moved alike, and back into the cell."""
    return replace(crystal, frac=(crystal.frac + np.array(shift)) % 1)


def strained(crystal: Crystal, deformation: NDArray[np.float64]) -> Crystal:
    """The crystal under a deformation, (3, 3)."""
    return replace(crystal, lattice=crystal.lattice @ deformation)


def named(crystal: Crystal, id: str) -> Crystal:
    """The crystal under another name."""
    return replace(crystal, id=id)
