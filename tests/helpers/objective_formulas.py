"""What the tests of objectives share: one small encoder and batch in double precision, and formulas as plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import example_crystals
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES
from tests.helpers.build import store_of

CLOSE = {"rel": 1e-6, "abs": 1e-9}


@cache
def small_encoder() -> SiteNet:
    """Compact Site-Net in double precision; nobody trains it."""
    return SiteNet.from_preset("compact", seed=0).double()


@cache
def small_batch() -> SiteBatch:
    """Six small crystals with geometry, in double precision."""
    crystals = example_crystals()
    with TemporaryDirectory() as folder:
        store = store_of(crystals, Path(folder), max_atoms=10)
        return store.batch(range(len(crystals)), geometry=True).to("cpu", torch.float64)


def made(name: str, encoder: Any, preset: str = "default", **options: Any) -> Any:
    """An objective in double precision whose heads are always the same."""
    torch.manual_seed(1)
    return OBJECTIVES[name].for_encoder(encoder, preset, options).double()


def recorded(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *names: str) -> dict[str, list[Any]]:
    """Everything these functions return from now on, by name."""
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for name in names:
        real = getattr(module, name)

        def keep(*args, real=real, name=name, **options):
            kept[name].append(real(*args, **options))
            return kept[name][-1]

        monkeypatch.setattr(module, name, keep)
    return kept


def rows_of(batch: SiteBatch, k: int) -> list[int]:
    """Sites of one crystal."""
    return [i for i in range(batch.n_sites) if int(batch.owner[i]) == k]


def mean_of_crystals(value: Callable[[int], float], chosen: Sequence[Any], batch: SiteBatch) -> float:
    """Mean over a crystal's chosen sites, then over crystals that have any; value is a function of the site."""
    means = []
    for k in range(batch.n_crystals):
        mine = [value(i) for i in rows_of(batch, k) if chosen[i]]
        means += [sum(mine) / len(mine)] if mine else []
    return sum(means) / len(means)


def cross_entropy(score: torch.Tensor, answer: int) -> float:
    """-log softmax(score)[answer]."""
    numbers = score.detach().numpy()
    return float(math.log(np.exp(numbers - numbers.max()).sum()) + numbers.max() - numbers[answer])


def huber(x: float) -> float:
    """Half the square up to one, then straight on."""
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def cos(u: np.ndarray, v: np.ndarray) -> float:
    """Cosine of the angle between two vectors."""
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def barlow(a: np.ndarray, b: np.ndarray, redundancy: float) -> float:
    """Barlow Twins, Zbontar et al. 2021, eq. 1, as a mean over the dimensions."""
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (a, b))
    total = 0.0
    for i, j in product(range(a.shape[1]), repeat=2):
        c = sum(a[k, i] * b[k, j] for k in range(len(a))) / len(a)
        total += (1 - c) ** 2 if i == j else redundancy * c * c
    return total / a.shape[1]


def contrast(a: np.ndarray, b: np.ndarray, t: float) -> float:
    """NT-Xent, Chen et al. 2020, eq. 1: mean over all 2 B views."""
    both, n = np.concatenate([a, b]), len(a)
    total = 0.0
    for i in range(2 * n):
        others = sum(math.exp(cos(both[i], both[k]) / t) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cos(both[i], both[(i + n) % (2 * n)]) / t) / others)
    return total / (2 * n)
