"""Compiled loops of the supercell view: how often the cell is repeated, and the nearest image of every site."""

from __future__ import annotations

import numpy as np

from matgl_infomax.data.lll import reducing_matrix, triangular_form
from matgl_infomax.jit import compiled

TIE = 1e-6
"""Axes closer than this (relative), and shears this close to a half, count as tied and are decided by rule."""

_TIE_SQUARE = 1e-10
"""Images whose squared distances (angstrom squared) differ less are equally near: rounding must not choose."""


@compiled()
def near_cubic(lattice, n_sites, max_atoms):  # type: ignore[no-untyped-def]
    """Matrix of the near-cubic supercell, (3, 3), and the volume of the cell, cubic angstrom.

    Args:
        lattice: lattice vectors as rows, (3, 3) float64, angstrom.
        n_sites: sites in that cell, at least one.
        max_atoms: limit of the supercell.
    """
    form = triangular_form(lattice)
    matrix = np.zeros((3, 3), dtype=np.int64)
    volume = form[0, 0] * form[1, 1] * form[2, 2]
    if not (volume > 0.0 and np.isfinite(volume)):
        return matrix, volume
    a, b, c = 1, 1, 1
    while True:
        # Of equal axes the first: the last bit of the arithmetic must not choose, it differs between machines.
        limit = min(a * form[0, 0], b * form[1, 1], c * form[2, 2]) * (1 + TIE)
        first = a * form[0, 0] <= limit
        second = not first and b * form[1, 1] <= limit
        if (a + first) * (b + second) * (c + (not first and not second)) * n_sites > max_atoms:
            break
        a, b, c = a + first, b + second, c + (not first and not second)
    # The shear diag(R) R^-1, written out for a triangular R.
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = a, b, c
    matrix[0, 1] = _whole(-a * form[0, 1] / form[1, 1])
    matrix[1, 2] = _whole(-b * form[1, 2] / form[2, 2])
    matrix[0, 2] = _whole(a * (form[0, 1] * form[1, 2] / form[1, 1] - form[0, 2]) / form[2, 2])
    return matrix, volume


@compiled()
def _whole(number):  # type: ignore[no-untyped-def]
    """Nearest integer; a half, give or take rounding, goes up."""
    return np.int64(np.rint(number + TIE))


@compiled()
def nearest_images(lattice, frac, matrix):  # type: ignore[no-untyped-def]
    """Nearest image of each supercell site to each unique site: (src, dst, offset, distance) of E = N * N * m pairs.

    Args:
        lattice: lattice vectors as rows, (3, 3) float64, angstrom.
        frac: fractional coordinates, (N, 3) float64.
        matrix: upper triangular matrix of the supercell, (3, 3) int64.
    """
    n = len(frac)
    in_cells = _times(reducing_matrix(_rows(matrix, lattice)), matrix)
    basis = _rows(in_cells, lattice)
    to_basis = _inverse(in_cells)
    image, square, safe = _neighbours(basis)
    cell = _translations(matrix)
    m = len(cell)
    src, dst = np.empty(n * n * m, np.int32), np.empty(n * n * m, np.int32)
    offset, distance = np.empty((n * n * m, 3), np.int32), np.empty(n * n * m)
    pair = 0
    for i in range(n):
        for j in range(n):
            for c in range(m):
                s0 = frac[j, 0] - frac[i, 0] + cell[c, 0]
                s1 = frac[j, 1] - frac[i, 1] + cell[c, 1]
                s2 = frac[j, 2] - frac[i, 2] + cell[c, 2]
                f0 = s0 * to_basis[0, 0] + s1 * to_basis[1, 0] + s2 * to_basis[2, 0]
                f1 = s0 * to_basis[0, 1] + s1 * to_basis[1, 1] + s2 * to_basis[2, 1]
                f2 = s0 * to_basis[0, 2] + s1 * to_basis[1, 2] + s2 * to_basis[2, 2]
                w0, w1, w2 = np.rint(f0), np.rint(f1), np.rint(f2)
                f0, f1, f2 = f0 - w0, f1 - w1, f2 - w2
                x = f0 * basis[0, 0] + f1 * basis[1, 0] + f2 * basis[2, 0]
                y = f0 * basis[0, 1] + f1 * basis[1, 1] + f2 * basis[2, 1]
                z = f0 * basis[0, 2] + f1 * basis[1, 2] + f2 * basis[2, 2]
                best = _CENTRE if x * x + y * y + z * z < safe else _best_image(x, y, z, image, square)
                x, y, z = x + image[best, 0], y + image[best, 1], z + image[best, 2]
                t0, t1, t2 = best // 9 - 1 - w0, best // 3 % 3 - 1 - w1, best % 3 - 1 - w2
                src[pair], dst[pair] = i, j
                for k in range(3):
                    steps = t0 * in_cells[0, k] + t1 * in_cells[1, k] + t2 * in_cells[2, k]
                    offset[pair, k] = np.int32(cell[c, k] + steps)
                distance[pair] = np.sqrt(x * x + y * y + z * z)
                pair += 1
    return src, dst, offset, distance


_CENTRE = 13
"""Number of the cell itself among its 27 neighbours, counted as 9 a + 3 b + c from (-1, -1, -1)."""


@compiled()
def _best_image(x, y, z, image, square):  # type: ignore[no-untyped-def]
    """Number of the first of the 27 cells that brings a wrapped vector nearest to zero."""
    best, least = 0, np.inf
    for g in range(27):
        # The vector's own square is left out: it is common to all.
        trial = 2.0 * (x * image[g, 0] + y * image[g, 1] + z * image[g, 2]) + square[g]
        if trial < least - _TIE_SQUARE:
            best, least = g, trial
    return best


@compiled()
def _neighbours(basis):  # type: ignore[no-untyped-def]
    """Vectors to the 27 cells around, (27, 3), their squares, (27,), and the square below which a vector is nearest.

    A wrapped vector shorter than half the way to every other cell has no nearer image.
    """
    image, square, least = np.zeros((27, 3)), np.zeros(27), np.inf
    for g in range(27):
        for k in range(3):
            image[g, k] = (g // 9 - 1) * basis[0, k] + (g // 3 % 3 - 1) * basis[1, k] + (g % 3 - 1) * basis[2, k]
            square[g] += image[g, k] * image[g, k]
        if g != _CENTRE:
            least = min(least, square[g])
    return image, square, 0.2499 * least


@compiled()
def _translations(matrix):  # type: ignore[no-untyped-def]
    """Every lattice translation modulo the supercell once, (m, 3): the box of the triangular matrix's diagonal."""
    a, b, c = matrix[0, 0], matrix[1, 1], matrix[2, 2]
    cell = np.empty((a * b * c, 3))
    for number in range(a * b * c):
        cell[number, 0], cell[number, 1], cell[number, 2] = number // (b * c), number // c % b, number % c
    return cell


@compiled()
def _times(left, right):  # type: ignore[no-untyped-def]
    """Product of two integer matrices, (3, 3)."""
    out = np.zeros((3, 3), dtype=np.int64)
    for i in range(3):
        for k in range(3):
            out[i, k] = left[i, 0] * right[0, k] + left[i, 1] * right[1, k] + left[i, 2] * right[2, k]
    return out


@compiled()
def _rows(steps, lattice):  # type: ignore[no-untyped-def]
    """Lattice vectors made of whole steps along others: ``steps @ lattice``, (3, 3)."""
    out = np.zeros((3, 3))
    for i in range(3):
        for k in range(3):
            out[i, k] = steps[i, 0] * lattice[0, k] + steps[i, 1] * lattice[1, k] + steps[i, 2] * lattice[2, k]
    return out


@compiled()
def _inverse(steps):  # type: ignore[no-untyped-def]
    """Inverse of an integer matrix, (3, 3), by its cofactors."""
    out = np.empty((3, 3))
    for i in range(3):
        for k in range(3):
            p, q, r, s = (k + 1) % 3, (k + 2) % 3, (i + 1) % 3, (i + 2) % 3
            out[i, k] = steps[p, r] * steps[q, s] - steps[p, s] * steps[q, r]
    determinant = steps[0, 0] * out[0, 0] + steps[0, 1] * out[1, 0] + steps[0, 2] * out[2, 0]
    for i in range(3):
        for k in range(3):
            out[i, k] /= determinant
    return out
