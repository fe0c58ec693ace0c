"""Small force fields, and labels of a pair potential that is easily written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from matgl_infomax import host
from matgl_infomax.api import forcefield
from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import GPA_OF
from matgl_infomax.settings.training import ForceFieldSettings, LabelColumns, ModelSettings
from matgl_infomax.train.forcefield import FittedForces
from tests.helpers.build import many

SMALL = {
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1, "cutoff": 4.0},
    "tensornet": {"units": 8, "nblocks": 1, "cutoff": 4.0},
    "chgnet": {"num_blocks": 2, "dim_atom_embedding": 8, "dim_bond_embedding": 8, "dim_angle_embedding": 8},
}
RIGHT = sorted(SMALL) if host.BACKEND == "PYG" else ["m3gnet", "tensornet"]
CUTOFF = {"m3gnet": 4.0, "tensornet": 4.0, "chgnet": 6.0}
COLUMNS = LabelColumns(energy="e", forces="f", stress="s")
SHORT = ForceFieldSettings(steps=4, validate_every=2, batch_sites=12, validation_fraction=0.0, learning_rate=1e-2)
ELEMENT = np.linspace(-3.0, -1.0, 119)
"""Energies of the elements in the made-up labels, eV."""


def frames(crystals: list[Crystal], n: int = 12) -> list[Crystal]:
    """Labels of a pair potential that is easily written down, k (d - 4)^2 / 2 to all neighbours within 4 angstrom."""
    found = []
    for k, c in enumerate(many(crystals[2:5], n)):
        rng = np.random.default_rng(k)
        frac = c.frac + 0.05 * rng.normal(size=c.frac.shape)
        moved = replace(c, frac=frac)
        batch = radius_batch([moved], 4.0)
        step = batch.frac[batch.dst] + batch.offset - batch.frac[batch.src]
        vector = (step @ batch.lattice[0]).numpy()
        length, src = batch.distance.numpy(), batch.src.numpy()
        slope = np.where(length < 4.0, length - 4.0, 0.0)[:, None] * vector / length[:, None]  # (E, 3)
        forces = np.zeros((c.n_sites, 3))
        np.add.at(forces, src, slope)
        volume = abs(np.linalg.det(c.lattice))
        stress = 0.5 * np.einsum("ea,eb->ab", slope, vector) / volume * GPA_OF["eV/A3"]
        energy = 0.25 * float(((length - 4.0) ** 2).sum()) + float(ELEMENT[c.numbers].sum())
        arrays = {"f": forces.ravel(), "s": stress.ravel()}
        found.append(Crystal(c.id, c.numbers, c.lattice, frac, {"e": energy}, "", arrays))
    return found


def run(
    crystals: list[Crystal], out: Path, name: str = "tensornet", settings: ForceFieldSettings = SHORT, **changes: object
) -> FittedForces:
    """A force field trained on these labels."""
    model = ModelSettings(name=name, options=SMALL[name])
    given = {"model": model, "settings": settings, "cache": out.parent / "cache", "progress": False, **changes}
    return forcefield(frames(crystals), COLUMNS, out, prepare_processes=1, **given)
