"""Fixtures every test may use: a dozen small crystals built by hand, and the shared data where it lies beside us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matgl_infomax.data.crystal import Crystal

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
