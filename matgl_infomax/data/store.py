"""Prepared crystals on disk: shards under a hash of their content, read piece by piece, safe for many processes.

A store is built in a folder of its own and renamed when complete. So a half-written store is never read, two
processes may build the same one at once (the first to finish wins), and other crystals, another edge rule or
another version of this code give another store: a stale one is impossible. Finished shards of a build that was
interrupted are found again under their hash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.assemble import both_views, full_view, merged_view
from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.build import build, content_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.records import Ids, Records
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError

__all__ = ["Store", "build_store", "content_key"]

@dataclass(frozen=True, eq=False)
class Store:
    """Crystals ready for training, read straight from disk; rows are numbered as the crystals were given."""

    path: Path
    key: str
    rule: SupercellRule
    n_crystals: int
    index_checksum: int

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a finished store.

        Raises:
            InputError: If a file is missing or has another length than was written.
        """
        try:
            meta = json.loads((path / "store.json").read_text())
            rule = SupercellRule(**meta["rule"])
            store = cls(path, meta["key"], rule, meta["crystals"], meta["index_checksum"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no readable store ({error}). Delete that folder; it is rebuilt.") from error
        _ = store.records  # looks at every file
        return store

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
        """Pairs of each crystal, (n,), before equal ones are merged."""
        return self.n_sites * self.records.index["per_site"]

    def numbers(self, row: int) -> NDArray[np.int64]:
        """Atomic numbers of one crystal, (N,)."""
        return self._sites(row)[1]

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

        Args:
            rows: numbers of the crystals, (B,).
            geometry: also give positions, lattices and image offsets; the merged view has none.
            view: ``full``: all sites and pairs; ``merged``: one site per class of equal ones, with the number of
                ``copies`` of each pair and the ``weight`` of each class; ``both``: all, with ``merged`` beside.

        Raises:
            InputError: If the view is unknown, or geometry is asked of the merged one.
        """
        rows = np.asarray(rows, dtype=np.int64)
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
    rule: SupercellRule,
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
    return Store.open(build(crystals, rule, Path(folder).expanduser(), progress=progress, workers=workers))
