"""Small batches and stores for tests, made from crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule


def store_of(
    crystals: Sequence[Crystal], folder: Path, max_atoms: int = 20, primitive: bool = True, standard: bool = True
) -> Store:
    """A store with small supercells, built on reduced vectors as for most presets, without a progress bar."""
    return build_store(crystals, SupercellRule(max_atoms, primitive, standard=standard), folder, progress=False)


def batch_of(crystals: Sequence[Crystal], folder: Path, *, double: bool = False, **rule: int | bool) -> SiteBatch:
    """All crystals in one batch."""
    store = store_of(crystals, folder, **rule)  # type: ignore[arg-type]
    batch = store.batch(np.arange(len(store)))
    return batch.to("cpu", torch.float64) if double else batch


def with_energies(batch: SiteBatch) -> SiteBatch:
    """The batch with an energy per crystal, forces and stresses unknown, for the objective that reads them."""
    weight = batch.number.to(batch.distance.dtype)
    energy = torch.zeros(batch.n_crystals, dtype=batch.distance.dtype).index_add(0, batch.owner, 0.01 * weight)
    forces, stress = batch.distance.new_full((batch.n_sites, 3), torch.nan), (batch.n_crystals, 3, 3)
    return replace(batch, energy=energy, forces=forces, stress=batch.distance.new_full(stress, torch.nan))


def reordered(crystal: Crystal, order: Sequence[int]) -> Crystal:
    """The same crystal with its sites in another order."""
    return replace(crystal, numbers=crystal.numbers[list(order)], frac=crystal.frac[list(order)])


def generator(seed: int = 0) -> torch.Generator:
    """A fresh source of randomness."""
    return torch.Generator().manual_seed(seed)


def many(crystals: Sequence[Crystal], n: int, seed: int = 0) -> list[Crystal]:
    """Crystals for training tests: the given ones, strained at random, with a label that depends on the structure."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(n):
        base = crystals[k % len(crystals)]
        scale = 1.0 + 0.1 * rng.standard_normal()
        lattice = base.lattice * max(scale, 0.7)
        value = float(np.log(abs(np.linalg.det(lattice)) / base.n_sites) + 0.02 * base.numbers.mean())
        out.append(Crystal(f"{base.id}-{k}", base.numbers, lattice, base.frac, {"y": value}))
    return out
