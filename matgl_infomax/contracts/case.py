"""What a test class says about its encoder, and how its vectors are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch, radius_batch
from matgl_infomax.data.crystal import Crystal

DOUBLE, SINGLE = torch.float64, torch.float32
_CONTRACTS: set[str] = set()


def contract(test: Callable[..., None]) -> Callable[..., None]:
    """A test that is expected to fail where its class declares it a known limit, and must not hold there."""

    _CONTRACTS.add(test.__name__)

    @functools.wraps(test)
    def run(self: EncoderCase, *args: Any, **fixtures: Any) -> None:
        limit = self.limits.get(test.__name__)
        try:
            test(self, *args, **fixtures)
        except AssertionError as broken:
            if limit is None:
                raise
            import_module("pytest").xfail(f"known limit: {limit} ({broken})")
        assert limit is None, f"This is declared a limit but holds: {limit}. Take {test.__name__} out of limits."

    return run


class EncoderCase:
    """What a test class says about its encoder: how it is made, what it reads, how exact it is."""

    same = 1e-6
    """Largest difference where nothing but the order of sums may change, in units of that between crystals."""
    cell = 1e-5
    """The same where positions are computed anew: another cell, origin or orientation."""
    single = 1e-4
    """The same between single and double precision."""
    unread: tuple[str, ...] = ()
    """Beginnings of the names of weights that no prediction depends on; it is checked that this is so."""
    limits: dict[str, str] = {}
    """Names of tests that fail for a known reason, with the reason."""

    def __init_subclass__(cls) -> None:
        unknown = [name for name in cls.limits if name not in _CONTRACTS]
        if unknown:
            raise TypeError(f"{cls.__name__}.limits names tests that there are not: {', '.join(unknown)}.")

    def make(self, seed: int, dtype: torch.dtype) -> Any:
        """The encoder with the initial weights of this seed, without dropout."""
        raise NotImplementedError

    def batch(self, crystals: Sequence[Crystal]) -> SiteBatch:
        """The crystals as the encoder reads them."""
        return radius_batch(crystals)

    def crystals(self) -> list[Crystal]:
        """Crystals to test with, at least two."""
        return example_crystals()

    def save(self, model: Any, folder: Path) -> None:
        """Write the encoder into a folder."""
        model.save(folder)

    def load(self, folder: Path) -> Any:
        """Read it back."""
        return import_module("matgl_infomax.host").load_model(folder)

    def inputs(self, crystals: Sequence[Crystal], dtype: torch.dtype = DOUBLE) -> SiteBatch:
        """A batch in the precision of the encoder."""
        return self.batch(crystals).to("cpu", dtype)

    @torch.no_grad()
    def encode(self, model: Any, crystals: Sequence[Crystal], dtype: torch.dtype = DOUBLE) -> Any:
        """Vectors of sites (N, D) and crystals (B, C), without gradients."""
        return model.encode(self.inputs(crystals, dtype))

    def agree(self, found: Tensor, expected: Tensor, tolerance: float, sentence: str) -> None:
        """Compare vectors row by row, in units of the largest difference between rows.

        Args:
            found: (M, D).
            expected: (M, D).
            tolerance: largest difference.
            sentence: what is broken if they differ.
        """
        assert found.shape == expected.shape, f"{sentence} Shape {tuple(found.shape)}, not {tuple(expected.shape)}."
        unit = float((expected.amax(0) - expected.amin(0)).max())
        assert unit > 0, "The encoder gives all these crystals the same vector, so it tells nothing apart."
        off = float((found.double() - expected.double()).abs().max()) / unit
        size = f"Off by {off:.0e} of the difference between rows, allowed is {tolerance:.0e}."
        assert off <= tolerance, f"{sentence} {size}"


CONVENTIONAL = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
"""The cube of a face-centred lattice in terms of its primitive vectors."""


def example_crystals() -> list[Crystal]:
    """Six small crystals: of 1 to 5 sites, cubic, hexagonal and triclinic, no two neighbours at a usual cut-off."""
    fcc, cube = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), np.eye(3)
    hexagonal = np.array([[3.19, 0, 0], [-1.595, 2.7626, 0], [0, 0, 5.19]])
    triclinic = np.array([[4.1, 0.2, 0.1], [0.9, 4.6, 0.3], [-0.7, 1.1, 5.2]])
    third, half, zero = [1 / 3, 2 / 3], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]
    wurtzite = [[*third, 0], [*third[::-1], 0.5], [*third, 0.376], [*third[::-1], 0.876]]
    perovskite = [zero, half, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    made: list[tuple[str, list[int], Any, Any]] = [
        ("Cu", [29], 3.61 * fcc, [zero]),
        ("NaCl", [11, 17], 5.64 * fcc, [zero, half]),
        ("ZnS", [30, 16], 5.41 * fcc, [zero, [0.25, 0.25, 0.25]]),
        ("SrTiO3", [38, 22, 8, 8, 8], 3.905 * cube, perovskite),
        ("GaN", [31, 31, 7, 7], hexagonal, wurtzite),
        ("KXeO", [19, 54, 8], triclinic, [zero, [0.31, 0.42, 0.27], [0.72, 0.61, 0.58]]),
    ]
    return [Crystal(name, np.array(numbers), cell, np.array(frac, dtype=float)) for name, numbers, cell, frac in made]
