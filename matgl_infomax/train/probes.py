"""Probes on held-out crystals while an encoder learns: they read its vectors, and nothing goes back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.loader import random_stream
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import Encoder
from matgl_infomax.probe import FOLDS, Folds, cross_validate, make_folds
from matgl_infomax.probe_targets import Target, chosen_sites, crystal_targets, site_targets
from matgl_infomax.train.predict import embed_rows

MOST = 500
"""Held-out sites, and crystals, that are asked at most: seconds, whatever the size of the data."""


class OnlineProbes:
    """Linear probes of what the structures themselves say (never a label), the same crystals and folds each time.

    Args:
        store: prepared crystals.
        rows: held-out rows.
        every: validations from one look to the next.
        seed: seed of the choice of sites and of the folds.

    Raises:
        InputError: If fewer crystals are held out than there are folds.
    """

    def __init__(self, store: Store, rows: Sequence[int] | NDArray[np.int64], every: int, seed: int) -> None:
        if len(rows) < FOLDS:
            raise InputError(
                f"probe_every needs at least {FOLDS} held-out crystals, one per fold. Held out: {len(rows)}. "
                "Raise validation_fraction, or leave probe_every out."
            )
        drawn = random_stream(seed, 0).permutation(len(rows))[:MOST]
        self.store, self.every, self.rows = store, every, np.sort(np.asarray(rows, dtype=np.int64)[drawn])
        crystals = [store.crystal(int(row)) for row in self.rows]
        self.sites, owner = chosen_sites(store.n_sites[self.rows], MOST, seed)
        of_crystal = np.arange(len(crystals))
        self.asked: list[tuple[Target, Folds]] = []
        for target in [*(t.of(self.sites) for t in site_targets(crystals)), *crystal_targets(crystals)]:
            try:
                folds = make_folds(target, owner if target.level == "site" else of_crystal, seed)
            except InputError:  # the same everywhere, or of too few classes here
                continue
            self.asked.append((target, folds))

    def due(self, validation: int) -> bool:
        """Whether it is time, at the validation of this number (the first is 1)."""
        return validation % self.every == 0

    def look(self, encoder: Encoder) -> dict[str, float]:
        """R² (numbers) or accuracy (classes) of every target, such as ``probe/site/element``.

        Args:
            encoder: the network as it is; no gradient is kept, and its weights and mode stay.

        Raises:
            InputError: If a vector holds no finite number.
        """
        site = np.concatenate(embed_rows(encoder, self.store, self.rows, level="site"))[self.sites]  # (N, D)
        vectors = {"site": site, "crystal": embed_rows(encoder, self.store, self.rows)}  # (N, D), (B, C)
        return {
            f"probe/{target.level}/{target.name}": cross_validate(vectors[target.level], target, folds, "linear").value
            for target, folds in self.asked
        }
