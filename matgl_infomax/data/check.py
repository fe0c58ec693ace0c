"""Whether a crystal can be one: finite numbers, known elements, a volume, and no two atoms in one place.

Everything is computed for thousands of crystals at once, so that a check never is a reason to skip it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.draft import Draft

CLOSEST_ANGSTROM = 0.5
"""Atoms nearer than this, periodic images included, are taken for an error; the H2 bond is 0.74 angstrom."""
SMALLEST_VOLUME = 0.5
"""Cubic angstrom per atom below which a cell counts as having no volume; diamond has 5.7."""
LARGEST_FRACTION = 1000.0
"""Fractional coordinates beyond this are not taken for positions in a crystal."""
LAST_ELEMENT = 118

_BLOCK = 4096  # crystals at once: keeps the work arrays within the processor's cache and memory small


def why_bad(drafts: Sequence[Draft]) -> list[str | None]:
    """The reason why each crystal cannot be used, or None.

    Left-handed lattice vectors are fine: they describe the mirror image, with the same distances.
    """
    reasons: list[str | None] = [_why_bad_alone(draft) for draft in drafts]
    fine = [row for row, reason in enumerate(reasons) if reason is None]
    for start in range(0, len(fine), _BLOCK):
        rows = fine[start : start + _BLOCK]
        for row, reason in zip(rows, _why_bad_geometry([drafts[row] for row in rows]), strict=True):
            reasons[row] = reason
    return reasons


def _why_bad_alone(draft: Draft) -> str | None:
    """What can be seen without geometry; cheap."""
    n = len(draft.numbers)
    if draft.reason:
        return draft.reason
    if n == 0:
        return "no atoms"
    if draft.lattice.shape != (3, 3):
        return f"the lattice needs 3 vectors of 3 numbers. Received: {draft.lattice.size} numbers"
    if draft.frac.shape != (n, 3):
        return f"{n} atoms need {3 * n} coordinates. Received: {draft.frac.size}"
    return None


def _why_bad_geometry(drafts: list[Draft]) -> list[str | None]:
    """Elements, numbers, volume and distances of a block of crystals with arrays of the right shape."""
    n_sites = np.array([len(draft.numbers) for draft in drafts])
    owner = np.repeat(np.arange(len(drafts)), n_sites)  # (N,)
    first = np.cumsum(n_sites) - n_sites  # (n,)
    numbers = np.concatenate([draft.numbers for draft in drafts])
    frac = np.concatenate([draft.frac for draft in drafts])  # (N, 3)
    lattice = np.stack([draft.lattice for draft in drafts])  # (n, 3, 3)
    reasons: list[str | None] = [None] * len(drafts)

    def name(rows: NDArray[np.int64], texts: Sequence[str]) -> None:
        for row, text in zip(rows, texts, strict=True):
            reasons[row] = reasons[row] or text

    row, site = _first_site(owner, (numbers < 1) | (numbers > LAST_ELEMENT))
    at = site - first[row]
    name(row, [f"unknown element: atomic number {numbers[k]} at site {s}" for k, s in zip(site, at, strict=True)])
    row = np.flatnonzero(~np.isfinite(lattice).all((1, 2)))
    name(row, ["a lattice vector is not finite (NaN or infinite)"] * len(row))
    row, site = _first_site(owner, ~np.isfinite(frac).all(1))
    name(row, [f"the coordinate of site {s} is not finite (NaN or infinite)" for s in site - first[row]])
    row, site = _first_site(owner, (np.abs(frac) > LARGEST_FRACTION).any(1))
    far = np.abs(frac[site]).max(1)
    name(row, [f"site {s} lies {f:.3g} cells away" for s, f in zip(site - first[row], far, strict=True)])

    sound = np.isfinite(lattice).all((1, 2))
    volume = np.zeros(len(drafts))
    volume[sound] = np.abs(np.linalg.det(lattice[sound])) / n_sites[sound]
    row = np.flatnonzero(~(volume >= SMALLEST_VOLUME))
    name(row, [f"no volume: {volume[r]:.3g} cubic angstrom per atom" for r in row])

    fine = np.flatnonzero([reason is None for reason in reasons])
    if len(fine):
        keep = np.isin(owner, fine)
        found = _closest(lattice[fine], np.searchsorted(fine, owner[keep]), frac[keep])
        for r, (distance, i, j) in found.items():
            reasons[fine[r]] = f"overlapping atoms: sites {i} and {j} are {distance:.3f} angstrom apart"
    return reasons


def _first_site(owner: NDArray[np.int64], wrong: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each crystal that has a wrong site, and the first such site."""
    sites = np.flatnonzero(wrong)
    rows, where = np.unique(owner[sites], return_index=True)
    return rows, sites[where]


def _closest(
    lattice: NDArray[np.float64], owner: NDArray[np.int64], frac: NDArray[np.float64]
) -> dict[int, tuple[float, int, int]]:
    """The closest pair of each crystal with atoms nearer than the limit: distance and the two sites.

    A vector shorter than the limit spans at most limit / height of a cell. Where all heights are at least
    twice the limit that is half a cell, so the wrapped difference of two sites is the only candidate; flatter
    cells are looked at one by one.
    """
    height = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=1)  # (n, 3), distance between lattice planes
    flat = height.min(1) < 2 * CLOSEST_ANGSTROM
    found: dict[int, tuple[float, int, int]] = {}
    first = np.searchsorted(owner, np.arange(len(lattice) + 1))
    for row in np.flatnonzero(flat).tolist():
        pair = _closest_in_flat_cell(lattice[row], frac[first[row] : first[row + 1]])
        if pair is not None:
            found[row] = pair
    for row, distance, i, j in _close_pairs(lattice, height, owner, frac, ~flat):
        if row not in found or distance < found[row][0]:
            found[row] = (distance, i - int(first[row]), j - int(first[row]))
    return found


def _close_pairs(
    lattice: NDArray[np.float64],
    height: NDArray[np.float64],
    owner: NDArray[np.int64],
    frac: NDArray[np.float64],
    wanted: NDArray[np.bool_],
) -> list[tuple[int, float, int, int]]:
    """All pairs below the limit as (crystal, distance, site, site): sweep along the tallest direction.

    Sites are sorted by their position along that direction; the k-th next site is a candidate only as long
    as the k-1 ones before it were within the limit.
    """
    axis = height.argmax(1)
    tall = height[np.arange(len(height)), axis]
    site = np.flatnonzero(wanted[owner])
    along = np.mod(frac[site, axis[owner[site]]], 1.0) * tall[owner[site]]  # angstrom
    low = along < CLOSEST_ANGSTROM  # these also are neighbours of the sites at the upper end
    site, along = np.concatenate([site, site[low]]), np.concatenate([along, along[low] + tall[owner[site[low]]]])
    order = np.lexsort((along, owner[site]))
    site, along = site[order], along[order]
    crystal = owner[site]

    pairs: list[tuple[int, float, int, int]] = []
    here, step = np.arange(len(site)), 1
    while len(here):
        here = here[here + step < len(site)]
        there = here + step
        near = (crystal[here] == crystal[there]) & (along[there] - along[here] < CLOSEST_ANGSTROM)
        here, there = here[near], there[near]
        difference = frac[site[there]] - frac[site[here]]
        difference -= np.rint(difference)
        distance = np.linalg.norm(np.einsum("ei,eij->ej", difference, lattice[crystal[here]]), axis=1)
        for k in np.flatnonzero((distance < CLOSEST_ANGSTROM) & (site[here] != site[there])):
            i, j = sorted((int(site[here[k]]), int(site[there[k]])))
            pairs.append((int(crystal[here[k]]), float(distance[k]), i, j))
        step += 1
    return pairs


def _closest_in_flat_cell(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> tuple[float, int, int] | None:
    """The closest pair below the limit in a cell with lattice planes nearer than twice the limit."""
    from pymatgen.core import Lattice

    reduced = np.asarray(Lattice(lattice).lll_matrix)
    height = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)
    reach = np.ceil(CLOSEST_ANGSTROM / height + 0.5).astype(int)
    image = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    shift = image @ reduced  # (images, 3)
    position = frac @ lattice @ np.linalg.inv(reduced)
    best: tuple[float, int, int] | None = None
    for i in range(len(frac)):
        difference = position[i:] - position[i]
        difference -= np.rint(difference)
        distance = np.linalg.norm((difference @ reduced)[:, None] + shift, axis=2)  # (N - i, images)
        distance[0, (image == 0).all(1)] = np.inf
        k = int(distance.min(1).argmin())
        nearest = float(distance[k].min())
        if nearest < (best[0] if best else CLOSEST_ANGSTROM):
            best = (nearest, i, i + k)
    return best
