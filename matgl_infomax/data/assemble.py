"""From the records of some crystals to the flat tensors of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.radius import batch_pairs
from matgl_infomax.data.records import Records

Ints = NDArray[np.int64]

_AT_ONCE = 10_000
"""Crystals whose sites are held in memory together."""


def full_view(records: Records, rows: Ints, geometry: bool) -> SiteBatch:
    """All sites and pairs of some crystals.

    Args:
        records: what a store holds.
        rows: numbers of the crystals, (B,).
        geometry: also positions, lattices and image offsets.
    """
    index = records.index[rows]
    n_sites, per_site = index["n_sites"].astype(np.int64), index["per_site"].astype(np.int64)
    n_pairs = n_sites * per_site
    data, places = records.read("pairs", rows)
    place = np.array(places, dtype=np.int64)
    after = (place + 4 * n_pairs) // 2  # the 16-bit numbers of a record follow its distances
    small = data.view("<i2")
    start = _starts(n_sites)
    batch = SiteBatch(
        number=_tensor(_gathered(small, after + per_site, n_sites)),
        owner=torch.from_numpy(np.repeat(np.arange(len(rows)), n_sites)),
        src=torch.from_numpy(np.repeat(np.arange(n_sites.sum()), np.repeat(per_site, n_sites))),
        dst=torch.from_numpy(_repeated(small, after, n_sites, per_site, start)),
        distance=torch.from_numpy(_gathered(data.view("<f4"), place // 4, n_pairs)),
        n_crystals=len(rows),
    )
    return replace(batch, **_geometry(records, rows, index)) if geometry else batch


def _repeated(small: NDArray[np.int16], first: Ints, n_sites: Ints, per_site: Ints, start: Ints) -> Ints:
    """Neighbours of all receivers of all crystals, (E,), from those of one receiver each."""
    out = np.empty(int((n_sites * per_site).sum()), np.int64)
    begin = 0
    lists = (values.tolist() for values in (first, n_sites, per_site, start))
    for at, sites, pairs, offset in zip(*lists, strict=True):
        end = begin + sites * pairs
        np.add(small[at : at + pairs], offset, out=out[begin:end].reshape(sites, pairs), dtype=np.int64)
        begin = end
    return out


def _geometry(records: Records, rows: Ints, index: NDArray[Any]) -> dict[str, Any]:
    """Positions, lattices and image offsets."""
    n_sites = index["n_sites"].astype(np.int64)
    lattice, frac, _ = _sites(records, rows)
    images, begins = records.read("images", rows)
    ends = (begins + 3 * n_sites * index["per_site"] * index["offset_bytes"]).tolist()
    widths = index["offset_bytes"].tolist()
    offsets = [images[a:b].view(f"<i{width}") for a, b, width in zip(begins, ends, widths, strict=True)]
    return {
        "frac": torch.from_numpy(frac).float(),
        "lattice": torch.from_numpy(lattice).float(),
        "offset": torch.from_numpy(np.concatenate(offsets, dtype=np.float32).reshape(-1, 3)),
    }


def _sites(records: Records, rows: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16]]:
    """Lattices, (B, 3, 3), angstrom, fractional coordinates, (N, 3), and atomic numbers, (N,)."""
    n_sites = records.index["n_sites"][rows].astype(np.int64)
    data, places = records.read("sites", rows)
    place = np.array(places, dtype=np.int64)
    real = data.view("<f8")
    lattice = _gathered(real, place // 8, np.full_like(place, 9)).reshape(-1, 3, 3)
    frac = _gathered(real, place // 8 + 9, 3 * n_sites).reshape(-1, 3)
    return lattice, frac, _gathered(data.view("<i2"), (place + 72 + 24 * n_sites) // 2, n_sites)


def radius_view(records: Records, rows: Ints, cutoff_angstrom: float) -> SiteBatch:
    """Some crystals with their positions, and all pairs within a cut-off, found on the spot.

    Args:
        records: what a store holds.
        rows: numbers of the crystals, (B,).
        cutoff_angstrom: largest distance of a pair.
    """
    n_sites = records.index["n_sites"][rows].astype(np.int64)
    lattice, frac, number = _sites(records, rows)
    pairs = batch_pairs(lattice, frac, n_sites, cutoff_angstrom)
    return SiteBatch(
        number=_tensor(number),
        owner=torch.from_numpy(np.repeat(np.arange(len(rows)), n_sites)),
        src=torch.from_numpy(pairs.src).long(),
        dst=torch.from_numpy(pairs.dst).long(),
        distance=torch.from_numpy(pairs.distance).float(),
        n_crystals=len(rows),
        frac=torch.from_numpy(frac).float(),
        lattice=torch.from_numpy(lattice).float(),
        offset=torch.from_numpy(pairs.offset).float(),
    )


def elements(records: Records, rows: Ints) -> list[int]:
    """Atomic numbers that occur in some crystals, ascending.

    Args:
        records: what a store holds.
        rows: numbers of the crystals, (n,).
    """
    found: set[int] = set()
    for start in range(0, len(rows), _AT_ONCE):
        found |= set(np.unique(_sites(records, rows[start : start + _AT_ONCE])[2]).tolist())
    return sorted(found)


def merged_view(records: Records, rows: Ints) -> SiteBatch:
    """One site per class of equal ones, and the pairs that are left.

    Args:
        records: what a store holds.
        rows: numbers of the crystals, (B,).
    """
    return _merged(records, rows)[0]


def both_views(records: Records, rows: Ints, geometry: bool) -> SiteBatch:
    """All sites and pairs, the merged ones beside them, and the class of each site.

    Args:
        records: what a store holds.
        rows: numbers of the crystals, (B,).
        geometry: also positions, lattices and image offsets.
    """
    merged, kind = _merged(records, rows)
    return replace(full_view(records, rows, geometry), merged=merged, kind=torch.from_numpy(kind))


def _merged(records: Records, rows: Ints) -> tuple[SiteBatch, Ints]:
    """The merged view, and the row in it of each site, (N,)."""
    index = records.index[rows]
    n_sites, n_kinds, n_merged = (index[name].astype(np.int64) for name in ("n_sites", "n_kinds", "n_merged"))
    data, places = records.read("merged", rows)
    place = np.array(places, dtype=np.int64)
    small = data.view("<i2")
    lengths = {
        "copies": n_merged,
        "dst": n_merged,
        "degree": n_kinds,
        "number": n_kinds,
        "weight": n_kinds,
        "kind": n_sites,
    }
    at = (place + 4 * n_merged) // 2
    field: dict[str, NDArray[np.int16]] = {}
    for name, length in lengths.items():
        field[name] = _gathered(small, at, length)
        at = at + length
    start = _starts(n_kinds)
    batch = SiteBatch(
        number=_tensor(field["number"]),
        owner=torch.from_numpy(np.repeat(np.arange(len(rows)), n_kinds)),
        src=torch.from_numpy(np.repeat(np.arange(n_kinds.sum()), field["degree"])),
        dst=torch.from_numpy(field["dst"] + np.repeat(start, n_merged)),
        distance=torch.from_numpy(_gathered(data.view("<f4"), place // 4, n_merged)),
        n_crystals=len(rows),
        copies=torch.from_numpy(field["copies"].astype(np.float32)),
        weight=torch.from_numpy(field["weight"].astype(np.float32)),
    )
    return batch, np.repeat(start, n_sites) + field["kind"].astype(np.int64)


def _starts(lengths: Ints) -> Ints:
    """Position of each crystal's first entry, (B,)."""
    return np.cumsum(lengths) - lengths


def _gathered(values: NDArray[Any], first: Ints, lengths: Ints) -> NDArray[Any]:
    """Pieces of an array, one after the other."""
    ends = (first + lengths).tolist()
    pieces = [values[a:b] for a, b in zip(first.tolist(), ends, strict=True)]
    return np.concatenate(pieces) if pieces else values[:0].copy()


def _tensor(values: NDArray[np.int16]) -> Tensor:
    """Whole numbers as torch indexes with them."""
    return torch.from_numpy(values.astype(np.int64))
