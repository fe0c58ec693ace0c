"""Inputs of studies whose every bit is the same on all machines: no random numbers, no logarithms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.nn.build import Encoder, edge_rule, new_model, save_model
from matgl_infomax.settings.training import ModelSettings

MODEL = {"preset": "compact", "supercell_atoms": 8}
TENSORNET = {"name": "tensornet", "options": {"units": 8, "nblocks": 1, "cutoff": 4.0}}
SHORT = {"steps": 2, "validate_every": 1, "batch_sites": 8}
FORCES = {**SHORT, "validation_fraction": 0.0}
N = 40


def crystals(n: int = N) -> Crystals:
    """Cubes of one atom whose edges and labels are sums of powers of two."""
    zero = np.zeros((1, 3))
    return Crystals(
        [Crystal(f"c{k:03d}", np.array([3 + k % 20]), (3 + k / 16) * np.eye(3), zero, {"y": k / 8}) for k in range(n)]
    )


def store(folder: Path) -> Store:
    """The same, prepared for the network of these tests."""
    return build_store(crystals(), edge_rule(ModelSettings(**MODEL)), folder, progress=False, workers=1)


def network(_: int = 0) -> Encoder:
    """A network all of whose weights are one half; random ones may differ between machines in the last bit."""
    model = new_model(ModelSettings(**MODEL), 1, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.5)
    return model


def encoder(folder: Path) -> Path:
    """Its folder."""
    save_model(network(), folder, {})
    return folder


def frames(file: Path) -> Path:
    """A table of frames as in mlearn."""
    lines: list[dict[str, Any]] = [
        {"id": f"{element}-{split}-{k}", "element": element, "split": split, "group": "Elastic",
         "lattice": ((3 + k / 16) * np.eye(3)).ravel().tolist(), "atomic_numbers": [number, number],
         "frac_coords": [0.0, 0.0, 0.0, 0.5, 0.5, 0.5 + k / 64], "energy": -8.0 + k / 8,
         "forces": [k / 16, 0.0, 0.0, -k / 16, 0.0, 0.0], "virial_stress": [k / 4, 0.0, 0.0, 0.0, 0.0, 0.0]}
        for element, number in (("Cu", 29), ("Si", 14)) for split, n in (("train", 6), ("test", 3)) for k in range(n)
    ]  # fmt: skip
    pd.DataFrame(lines).to_parquet(file)
    return file
