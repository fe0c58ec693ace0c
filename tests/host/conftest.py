"""Batches, graphs and models for the tests of the door to MatGL; the same code serves DGL and PyG."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax import host
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import supercell_pairs
from matgl_infomax.nn.sitenet import ELEMENTS, SiteNet


@pytest.fixture
def numbers_of_type() -> torch.Tensor:
    """Atomic number of each node type of the default elements."""
    return torch.tensor(host.atomic_numbers(ELEMENTS))


@pytest.fixture
def model() -> SiteNet:
    """A small Site-Net."""
    return SiteNet.from_preset("compact", seed=3, max_atoms=16)


@pytest.fixture
def few(crystals: list[Crystal]) -> list[Crystal]:
    """Four small crystals, one of them a single site."""
    return [crystals[i] for i in (0, 2, 10, 11)]


@pytest.fixture
def make_batch() -> Callable[..., SiteBatch]:
    """Build a batch with geometry straight from crystals, in double precision."""

    def build(crystals: Sequence[Crystal], max_atoms: int = 16) -> SiteBatch:
        pairs = [supercell_pairs(c.lattice, c.frac, max_atoms) for c in crystals]
        sizes = np.array([c.n_sites for c in crystals])
        start = np.concatenate([[0], sizes.cumsum()[:-1]])
        return SiteBatch(
            number=torch.from_numpy(np.concatenate([c.numbers for c in crystals])),
            owner=torch.from_numpy(np.repeat(np.arange(len(crystals)), sizes)),
            src=torch.from_numpy(np.concatenate([p.src + s for p, s in zip(pairs, start, strict=True)])).long(),
            dst=torch.from_numpy(np.concatenate([p.dst + s for p, s in zip(pairs, start, strict=True)])).long(),
            distance=torch.from_numpy(np.concatenate([p.distance for p in pairs])),
            n_crystals=len(crystals),
            frac=torch.from_numpy(np.concatenate([c.frac for c in crystals])),
            lattice=torch.from_numpy(np.stack([c.lattice for c in crystals])),
            offset=torch.from_numpy(np.concatenate([p.offset for p in pairs])).double(),
        )

    return build


@pytest.fixture
def collate() -> Callable[[Sequence[tuple[Any, torch.Tensor, Any]]], Any]:
    """Join what a converter returned for several crystals with MatGL's own collate, and add positions."""
    from matgl.graph.data import collate_fn_graph

    def join(converted: Sequence[tuple[Any, torch.Tensor, Any]]) -> Any:
        items = [(graph, lattice, torch.tensor(state), {"y": 0.0}) for graph, lattice, state in converted]
        graph, lattice, _, _ = collate_fn_graph(items)
        return host.with_positions(graph, lattice)

    return join


@pytest.fixture
def fresh_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a process that inherits no choice of backend and has an empty home folder."""

    def run(code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in ("MATGL_BACKEND", "DGLBACKEND", "DGLDEFAULTDIR")}
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        env |= {"HOME": str(home), "OMP_NUM_THREADS": "1"} | variables
        command = [sys.executable, *options, "-c", code]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    return run
