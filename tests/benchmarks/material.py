"""What the benchmarks are measured on: crystals chosen by a stated rule, their stores, batches and networks.

Rule: of the formation-energy table of Materials Project crystals in the shared data, the rows with at most 28 sites
(mean 11.7), a random sample of 2,000 (seed 0) in random order. So the mean number of sites is that of the published
anchor, 11.5. Where the shared data is absent, generated crystals take its place; they are smaller, so what refers to
the anchor is then not judged.
"""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.loader import group_by_sites
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.nn.build import new_model
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES, Objective
from matgl_infomax.settings.training import ModelSettings, PretrainSettings

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "mp_matched" / "mp_e_form.parquet"
LARGEST_CELL, SAMPLE = 28, 2000
BATCH_SITES, SUPERCELL = 1200, 50


def has_mp() -> bool:
    """Whether the Materials Project crystals lie beside the repository."""
    return SHARED.is_file()


@cache
def crystals(n: int = SAMPLE) -> tuple[Crystal, ...]:
    """The first n crystals of the sample."""
    if not has_mp():
        from matgl_infomax.tasks.studies.demo import demo_crystals

        return tuple(demo_crystals(n, seed=0, progress=False))
    import pandas as pd

    from matgl_infomax.data.read import read_crystals

    sizes = pd.read_parquet(SHARED, columns=["nsites"])["nsites"].to_numpy()
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(sizes <= LARGEST_CELL))[:n]
    columns = ["mbid", "lattice", "atomic_numbers", "frac_coords", "e_form"]
    table = pd.read_parquet(SHARED, columns=columns).iloc[chosen]
    return tuple(read_crystals(table, targets=["e_form"], id_column="mbid", on_error="skip"))


def prepared(folder: Path, n: int, max_atoms: int = SUPERCELL) -> Store:
    """The first n crystals of the sample as a store; built only once in a folder."""
    return build_store(crystals(n), SupercellRule(max_atoms), folder, progress=False)


def batches_of(store: Store, count: int, sites: int = BATCH_SITES) -> list[list[int]]:
    """Rows of the first batches of a store, cut as in training; around again where the store is small."""
    order = np.arange(len(store))
    while store.n_sites[order].sum() < (count + 1) * sites:
        order = np.concatenate([order, np.arange(len(store))])
    return group_by_sites(store.n_sites, order, sites, least=2)[:count]


def read_batch(store: Store, rows: list[int], view: str) -> SiteBatch:
    """A batch as a view of the store ("full", "merged" or "both"); always full where stores know no views."""
    if "view" in inspect.signature(Store.batch).parameters:
        return store.batch(rows, view=view)  # type: ignore[call-arg]
    return store.batch(rows)


def targets_of(n: int) -> Tensor:
    """Numbers to learn, (n,): their values do not matter for the cost."""
    return torch.linspace(-2.0, 2.0, n)


def published_network(seed: int = 0) -> SiteNet:
    """The network of 2023, 304,085 weights."""
    return SiteNet.from_preset("published", seed=seed)


def infomax() -> tuple[SiteNet, Objective]:
    """The compact network with Deep InfoMax, as the paper has them."""
    settings = PretrainSettings(objective="infomax")
    encoder = new_model(ModelSettings(preset="compact"), 1, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        objective = OBJECTIVES[settings.objective].for_encoder(encoder, settings.objective_preset, {})
    return encoder, objective
