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

from matgl_infomax.data.assemble import both_views, elements, full_view, merged_view, radius_view
from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.build import build, content_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import RULES, EdgeRule, RadiusRule
from matgl_infomax.data.records import Ids, Records
from matgl_infomax.errors import InputError

__all__ = ["Store", "build_store", "content_key"]


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
    return Store.open(build(crystals, rule, Path(folder).expanduser(), progress=progress, workers=workers))
