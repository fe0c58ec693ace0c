"""Fixtures every test may use: small crystals built by hand, batches and graphs of them, the shared data beside us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from matgl_infomax.data.crystal import Crystal

if TYPE_CHECKING:
    import torch

    from matgl_infomax.data.batch import SiteBatch
    from matgl_infomax.nn.sitenet import SiteNet

SHARED = Path(__file__).resolve().parents[2] / "shared"

FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
CUBE = np.eye(3)


def _crystal(name: str, numbers: list[int], lattice: np.ndarray, frac: list[list[float]], value: float) -> Crystal:
    return Crystal(name, np.array(numbers), np.array(lattice, dtype=float), np.array(frac, dtype=float), {"y": value})


@pytest.fixture
def crystals() -> list[Crystal]:
    """Twelve small ordered crystals: one-atom cells, rock salts, perovskites, a hexagonal and a triclinic one."""
    half, zero = [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]
    hexagonal = np.array([[3.19, 0, 0], [-1.595, 2.7626, 0], [0, 0, 5.19]])
    triclinic = np.array([[4.1, 0.2, 0.1], [0.9, 4.6, 0.3], [-0.7, 1.1, 5.2]])
    perovskite = [zero, half, [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    wurtzite = [[1 / 3, 2 / 3, 0.0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.376], [2 / 3, 1 / 3, 0.876]]
    zincblende = [zero, [0.25, 0.25, 0.25]]
    return [
        _crystal("Cu", [29], 3.61 * FCC, [zero], -0.1),
        _crystal("Po", [84], 3.35 * CUBE, [zero], 0.2),
        _crystal("NaCl", [11, 17], 5.64 * FCC, [zero, half], -2.1),
        _crystal("MgO", [12, 8], 4.21 * FCC, [zero, half], -3.0),
        _crystal("LiF", [3, 9], 4.03 * FCC, [zero, half], -3.1),
        _crystal("CsCl", [55, 17], 4.12 * CUBE, [zero, half], -2.2),
        _crystal("ZnS", [30, 16], 5.41 * FCC, zincblende, -1.0),
        _crystal("GaAs", [31, 33], 5.65 * FCC, zincblende, -0.5),
        _crystal("SrTiO3", [38, 22, 8, 8, 8], 3.905 * CUBE, perovskite, -3.5),
        _crystal("BaTiO3", [56, 22, 8, 8, 8], 4.01 * CUBE, perovskite, -3.4),
        _crystal("GaN", [31, 31, 7, 7], hexagonal, wurtzite, -0.7),
        _crystal("KXeO", [19, 54, 8], triclinic, [zero, [0.31, 0.42, 0.27], [0.72, 0.61, 0.58]], 0.4),
    ]


@pytest.fixture
def shared() -> Path:
    """The folder of shared data beside the repository; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared data folder beside the repository, not found: {SHARED.name}")
    return SHARED


@pytest.fixture
def numbers_of_type() -> torch.Tensor:
    """Atomic number of each node type of the default elements."""
    import torch

    from matgl_infomax import host
    from matgl_infomax.nn.sitenet import ELEMENTS

    return torch.tensor(host.atomic_numbers(ELEMENTS))


@pytest.fixture
def model() -> SiteNet:
    """A small Site-Net."""
    from matgl_infomax.nn.sitenet import SiteNet

    return SiteNet.from_preset("compact", seed=3, max_atoms=16)


@pytest.fixture
def few(crystals: list[Crystal]) -> list[Crystal]:
    """Four small crystals, one of them a single site."""
    return [crystals[i] for i in (0, 2, 10, 11)]


@pytest.fixture
def make_batch() -> Callable[..., SiteBatch]:
    """Build a batch with geometry straight from crystals, in double precision."""
    import torch

    from matgl_infomax.data.batch import SiteBatch
    from matgl_infomax.data.supercell import supercell_pairs

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
    import torch
    from matgl.graph.data import collate_fn_graph

    from matgl_infomax import host

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
