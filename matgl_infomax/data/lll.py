"""Shapes of a lattice for compiled code: its triangular form and its short, nearly orthogonal basis."""

from __future__ import annotations

import numpy as np

from matgl_infomax.jit import compiled

_DELTA = 0.75
"""Strictness of the reduction, as in pymatgen."""

_MOST_STEPS = 10_000
"""Far more than any lattice with a volume takes; without one the reduction would never end."""


@compiled()
def triangular_form(lattice):  # type: ignore[no-untyped-def]
    """Upper triangular R, (3, 3) angstrom, with lattice = R Q, Q orthogonal and no diagonal entry below zero.

    Gram-Schmidt from the last row up: the third vector gives the third axis, the second one the plane.
    """
    form = np.zeros((3, 3))
    axes = np.zeros((3, 3))
    for i in range(2, -1, -1):
        x, y, z = lattice[i, 0], lattice[i, 1], lattice[i, 2]
        for k in range(2, i, -1):
            form[i, k] = x * axes[k, 0] + y * axes[k, 1] + z * axes[k, 2]
            x -= form[i, k] * axes[k, 0]
            y -= form[i, k] * axes[k, 1]
            z -= form[i, k] * axes[k, 2]
        length = np.sqrt(x * x + y * y + z * z)
        form[i, i] = length
        if length > 0.0:
            axes[i, 0], axes[i, 1], axes[i, 2] = x / length, y / length, z / length
    return form


@compiled()
def reducing_matrix(lattice):  # type: ignore[no-untyped-def]
    """Integer matrix T, (3, 3), such that the rows of ``T @ lattice`` are a Lenstra-Lenstra-Lovasz reduced basis."""
    steps, basis = np.zeros((3, 3), dtype=np.int64), lattice.copy()
    overlap, upright, square = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
    steps[0, 0] = steps[1, 1] = steps[2, 2] = 1
    row = 1
    for _ in range(_MOST_STEPS):
        # Three vectors: doing Gram-Schmidt anew costs less than keeping it up to date, and gathers no error.
        _gram_schmidt(basis, overlap, upright, square)
        for i in range(row - 1, -1, -1):
            times = np.rint(overlap[row, i])
            for k in range(3):
                basis[row, k] -= times * basis[i, k]
                steps[row, k] -= np.int64(times) * steps[i, k]
                overlap[row, k] -= times * overlap[i, k]
        if square[row] >= (_DELTA - overlap[row, row - 1] ** 2) * square[row - 1]:
            row += 1
            if row == 3:
                break
        else:
            for k in range(3):
                basis[row, k], basis[row - 1, k] = basis[row - 1, k], basis[row, k]
                steps[row, k], steps[row - 1, k] = steps[row - 1, k], steps[row, k]
            row = max(row - 1, 1)
    return steps


# Loops instead of whole rows at a time in these files: numba compiles them in a fraction of the time.
@compiled()
def _gram_schmidt(basis, overlap, upright, square):  # type: ignore[no-untyped-def]
    """Fill in each row's coefficients in the rows made orthogonal before it, (3, 3), those rows, and their squares."""
    for i in range(3):
        square[i] = 0.0
        for k in range(3):
            overlap[i, k] = 1.0 if i == k else 0.0
            upright[i, k] = basis[i, k]
        for j in range(i):
            inner = basis[i, 0] * upright[j, 0] + basis[i, 1] * upright[j, 1] + basis[i, 2] * upright[j, 2]
            overlap[i, j] = inner / square[j]
            for k in range(3):
                upright[i, k] -= overlap[i, j] * upright[j, k]
        for k in range(3):
            square[i] += upright[i, k] * upright[i, k]
