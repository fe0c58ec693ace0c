"""Many crystals out of a few, each made when it is asked for: a million of them need no memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matgl_infomax.data.crystal import Crystal


class Strained(Sequence[Crystal]):
    """n crystals: the given ones, then the same again and again under hydrostatic strain (1 % standard deviation).

    The strain is the same in all directions, so symmetric crystals stay symmetric, as real ones are.
    """

    def __init__(self, crystals: Sequence[Crystal], n: int, seed: int = 0) -> None:
        self.crystals, self.n = crystals, n
        copies = -(-n // len(crystals))
        self.scale = 1 + 0.01 * np.random.default_rng(seed).standard_normal((copies, len(crystals)))
        self.scale[0] = 1

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row):
        if not 0 <= row < self.n:
            raise IndexError(row)
        copy, k = divmod(row, len(self.crystals))
        base = self.crystals[k]
        return Crystal(f"{base.id}-{copy}", base.numbers, base.lattice * self.scale[copy, k], base.frac)
