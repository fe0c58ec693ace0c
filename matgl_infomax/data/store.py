"""Prepared crystals on disk: shards under a hash of their content, read piece by piece, safe for many processes.

A store is built in a folder of its own and renamed when complete. So a half-written store is never read, two
processes may build the same one at once (the first to finish wins), and other crystals, another edge rule or
another version of this code give another store: a stale one is impossible. Finished shards of a build that was
interrupted are found again under their hash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.build import Ids, Records, build_folder
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import RULES, EdgeRule, RadiusRule, batch_pairs
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError

__all__ = ["Store", "build_store"]


@dataclass(frozen=True, eq=False)
class Store:
    """Crystals ready for training, read straight from disk; rows are numbered as the crystals were given."""

    path: Path
    key: str
    rule: EdgeRule
    n_crystals: int
    index_checksum: int

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a finished store.

        Raises:
            InputError: If a file is missing or has another length than was written, or the edge rule is unknown.
        """
        try:
            meta = json.loads((path / "store.json").read_text())
            name = meta.get("rule_class", "SupercellRule")  # the only one there was when stores did not name theirs
            if name not in RULES:
                known = ", ".join(RULES)
                raise InputError(f"{path} was written with another version: edge rule {name!r}, known are {known}.")
            rule = RULES[name](**meta["rule"])
            store = cls(path, meta["key"], rule, meta["crystals"], meta["index_checksum"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no readable store ({error}). Delete that folder; it is rebuilt.") from error
        _ = store.records  # looks at every file
        return store

    def check_rule(self, wanted: EdgeRule) -> None:
        """Refuse a network that was made for other pairs.

        Args:
            wanted: edge rule of the network; supercells may be of another size.

        Raises:
            InputError: If this store gives pairs of another kind, or of another cut-off.
        """
        fits = type(wanted) is type(self.rule)
        if isinstance(wanted, RadiusRule) and isinstance(self.rule, RadiusRule):
            fits = wanted.cutoff_angstrom == self.rule.cutoff_angstrom
        if isinstance(wanted, SupercellRule) and isinstance(self.rule, SupercellRule):
            fits = wanted.standard == self.rule.standard
        if not fits:
            raise InputError(f"The network needs pairs by {wanted}. Received: a store of {self.rule}. Build another.")

    def __len__(self) -> int:
        return self.n_crystals

    def __getstate__(self) -> dict[str, Any]:
        # Files are opened again by the receiving process.
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def records(self) -> Records:
        """The records of the crystals, by section and row."""
        return Records(self.path, self.n_crystals, self.index_checksum)

    @cached_property
    def ids(self) -> Sequence[str]:
        """Names of the crystals, (n,), read when they are asked for."""
        return Ids(self.records)

    @cached_property
    def n_sites(self) -> NDArray[np.int64]:
        """Sites of each crystal, (n,)."""
        return self.records.index["n_sites"].astype(np.int64)

    @cached_property
    def n_pairs(self) -> NDArray[np.int64]:
        """Pairs of each crystal, (n,), before equal ones are merged.

        Raises:
            InputError: If the pairs are found batch by batch, so that nobody has counted them.
        """
        if isinstance(self.rule, RadiusRule):
            raise InputError("This store holds no pairs: those of a radius rule are found for each batch. Count there.")
        return self.n_sites * self.records.index["per_site"]

    def numbers(self, row: int) -> NDArray[np.int64]:
        """Atomic numbers of one crystal, (N,)."""
        return self._sites(row)[1]

    def elements(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[int]:
        """Atomic numbers that occur in some crystals, ascending; in all of them when no rows are given."""
        return elements(self.records, np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64))

    def crystal(self, row: int) -> Crystal:
        """One prepared crystal (its primitive cell, where the rule says so), without labels."""
        real, numbers = self._sites(row)
        return Crystal(self.ids[row], numbers, real[:9].reshape(3, 3), real[9:].reshape(-1, 3))

    def _sites(self, row: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Lattice and fractional coordinates, (9 + 3N,), and atomic numbers, (N,)."""
        data, _ = self.records.read("sites", np.array([row], dtype=np.int64))
        n = int(self.n_sites[row])
        end = 72 + 24 * n
        return data[:end].view("<f8"), data[end : end + 2 * n].view("<i2").astype(np.int64)

    def batch(
        self, rows: Sequence[int] | NDArray[np.int64], *, geometry: bool = False, view: View = "full"
    ) -> SiteBatch:
        """The flat tensors of some crystals, in the order of ``rows``.

        A store of a radius rule finds its pairs here and now; its batches are always full and have their geometry.

        Args:
            rows: numbers of the crystals, (B,).
            geometry: also give positions, lattices and image offsets; the merged view has none.
            view: ``full``: all sites and pairs; ``merged``: one site per class of equal ones, with the number of
                ``copies`` of each pair and the ``weight`` of each class; ``both``: all, with ``merged`` beside.

        Raises:
            InputError: If the view is unknown, or geometry is asked of the merged one.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if isinstance(self.rule, RadiusRule):
            if view != "full":
                raise InputError(f"A batch of a radius rule is full, its sites are not merged. Received: {view!r}.")
            return radius_view(self.records, rows, self.rule.cutoff_angstrom)
        if view == "merged" and not geometry:
            return merged_view(self.records, rows)
        if view == "full":
            return full_view(self.records, rows, geometry)
        if view == "both":
            return both_views(self.records, rows, geometry)
        received = f"view={view!r}, geometry={geometry}"
        raise InputError(f"A batch is full, merged (then without geometry) or both. Received: {received}.")


def build_store(
    crystals: Sequence[Crystal],
    rule: EdgeRule,
    folder: Path,
    *,
    progress: bool = True,
    workers: int | None = None,
) -> Store:
    """Prepare crystals once and open them from then on; a build that was interrupted goes on from its last shards.

    Args:
        crystals: what was read; labels are not stored. Only ``len`` and one crystal after the other are asked for,
            so they need not be in memory; each reading must give the same ones.
        rule: how a crystal becomes pairs.
        folder: cache folder; the store gets a folder of its own in it, named by its content.
        progress: show a bar.
        workers: processes that compute pairs at the same time; by default one per core.

    Raises:
        InputError: If there are no crystals, the disk is full, or the folder cannot be written.
    """
    return Store.open(build_folder(crystals, rule, Path(folder).expanduser(), progress=progress, workers=workers))


# From the records of some crystals to the flat tensors of a batch.

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
