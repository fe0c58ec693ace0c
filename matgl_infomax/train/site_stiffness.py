"""How stiff each site of a crystal is, as an interatomic potential has it: a number to pretrain with, and no label.

Curvature: d2E_i / d(ln V)2 of the site's own energy when the crystal is scaled; over a crystal it adds up to bulk
modulus times volume, at zero pressure and with atoms that keep their places in the cell. Hessian: a third of the trace
of d2E / dr_i dr_i when one atom moves and none of its images does.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax import host
from matgl_infomax.console import progress_bar
from matgl_infomax.data.batch import SiteBatch, radius_batch
from matgl_infomax.data.crystal import Crystal, in_cell
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, check_sums, open_array
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.objectives.perturb import moved

LOG_VOLUME_STEP = 0.03
"""Steps of the five-point formula: the edges of the cell change by one and two percent."""
FIVE_POINTS = {-2: -1.0, -1: 16.0, 0: -30.0, 1: 16.0, 2: -1.0}
"""Weights of the second derivative, over twelve squared steps."""


@dataclass(frozen=True)
class SiteEnergies:
    """An interatomic potential that says the energy of each site."""

    net: MatGLNet
    scale: float
    """Energy of the potential, eV, per unit of its network."""

    @classmethod
    def open(cls, path: Path | str) -> SiteEnergies:
        """Read a potential that MatGL saved; it calculates in double precision from then on.

        Raises:
            InputError: If the folder holds another model, or a potential whose energy is more than that of its sites.
        """
        model: Any = host.load_model(path)
        if host.inner_network(model) is model:
            raise InputError(f"{path} holds a {type(model).__name__}, no potential. Give the folder of a Potential.")
        if model.calc_repuls or getattr(model, "calc_charge", False):
            raise InputError(f"The potential in {path} has repulsion or charges beside the energies of its sites.")
        return cls(MatGLNet.from_native(model).double().eval(), float(model.data_std))

    def __call__(self, batch: SiteBatch) -> Tensor:
        """Energies of the sites but for what does not depend on positions, (N,), eV.

        Raises:
            InputError: If the network does not add up energies of sites.
        """
        read: dict[str, Tensor] = {}

        def listen(key: str, module: torch.nn.Module) -> Any:
            return module.register_forward_hook(lambda _module, _given, returned: read.update({key: returned}))

        handles = [listen("site", self.net.network.final_layer), listen("total", self.net.network)]
        try:
            self.net.encode(batch)
        finally:
            for handle in handles:
                handle.remove()
        # On DGL some read-outs leave their numbers in the graph and return them as well.
        site, total = read["site"].reshape(len(read["site"]), -1), read["total"].reshape(-1)
        same = site.shape[1] == 1 and len(site) >= batch.n_sites
        if not same or not torch.allclose(site.sum(), total.sum(), rtol=1e-6, atol=1e-6):
            name = type(self.net.network).__name__
            raise InputError(f"This {name} does not add up energies of sites, so sites have no stiffness of their own.")
        return self.scale * site[: batch.n_sites, 0]

    @property
    def cutoff_angstrom(self) -> float:
        """Longest pair."""
        return self.net.edges.cutoff_angstrom


@torch.no_grad()
def curvature(energies: SiteEnergies, crystal: Crystal) -> NDArray[np.float64]:
    """d2E_i / d(ln V)2 of each site, (N,), eV.

    Args:
        energies: the potential.
        crystal: its pairs are found anew in each scaled cell.
    """
    scaled = [replace(crystal, lattice=crystal.lattice * np.exp(k * LOG_VOLUME_STEP / 3)) for k in FIVE_POINTS]
    found = energies(radius_batch(scaled, energies.cutoff_angstrom)).view(len(scaled), crystal.n_sites)  # (5, N)
    weight = torch.tensor(list(FIVE_POINTS.values()), dtype=found.dtype)
    return np.asarray((weight @ found / (12 * LOG_VOLUME_STEP**2)).numpy())


def hessian(energies: SiteEnergies, crystal: Crystal) -> NDArray[np.float64]:
    """A third of the trace of each site's block of the Hessian, (N,), eV per square angstrom.

    In a cell an atom moves together with its images: of a one-atom cell the block would be zero. So the atom moves in a
    supercell at least two cut-offs wide, where no other atom sees it together with an image of it.

    Args:
        energies: the potential.
        crystal: any cell.
    """
    height = 1.0 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)  # (3,) between opposite faces
    repeats = np.ceil(2.0 * energies.cutoff_angstrom / height).astype(int)
    large = in_cell(crystal, np.diag(repeats)) if repeats.max() > 1 else crystal
    copies = large.n_sites // crystal.n_sites
    batch = radius_batch([large], energies.cutoff_angstrom)
    shift = torch.zeros(large.n_sites, 3, dtype=torch.float64, requires_grad=True)
    total = energies(moved(batch, shift)).sum()
    (slope,) = torch.autograd.grad(total, shift, create_graph=True)  # (M, 3)
    trace = np.zeros(crystal.n_sites)
    for site in range(crystal.n_sites):
        row = site * copies  # the first of the site's copies
        for axis in range(3):
            (second,) = torch.autograd.grad(slope[row, axis], shift, retain_graph=True)  # (M, 3)
            trace[site] += float(second[row, axis])
    return trace / 3.0


KINDS: dict[str, Callable[[SiteEnergies, Crystal], NDArray[np.float64]]] = {"curvature": curvature, "hessian": hessian}


CODE_VERSION = 2
"""Part of the name of kept numbers. Version 1 left out atoms where a cell needs over five copies along a vector."""


def site_stiffness(
    store: Store, kind: str, potential: Path | str, *, progress: bool = False
) -> list[NDArray[np.float64]]:
    """Stiffness of every site of a store, computed once and kept beside it.

    Args:
        store: prepared crystals.
        kind: "curvature" in eV or "hessian" in eV per square angstrom.
        potential: folder of any of MatGL's potentials.
        progress: show a bar.

    Returns:
        One array per crystal, (N,) each; NaN throughout a crystal with an element that the potential does not know.

    Raises:
        InputError: If there is no potential in the folder, or it has no energies of sites.
    """
    if kind not in KINDS:
        raise InputError(f"Unknown stiffness {kind!r}. Choose one of: {', '.join(KINDS)}.")
    energies = SiteEnergies.open(potential)
    file = store.path.parent / f"{kind}-{CODE_VERSION}-{store.key}-{potential_digest(potential)}.npy"
    if file.is_file():
        found = open_array(file)
        if found.shape != (store.n_sites.sum(),):
            raise InputError(f"{file} is damaged ({found.shape} numbers). Delete it; it is computed again.")
    else:
        known = set(energies.net.numbers_of_type.tolist())
        rows = progress_bar(range(len(store)), desc=f"Stiffness ({kind})", unit="crystal", shown=progress)
        crystals = (store.crystal(row) for row in rows)
        parts = [
            KINDS[kind](energies, c) if known.issuperset(c.numbers.tolist()) else np.full(c.n_sites, np.nan)
            for c in crystals
        ]
        found = np.concatenate(parts)
        buffer = io.BytesIO()
        np.save(buffer, found)
        atomic_write(file, buffer.getvalue())
    return np.split(found, store.n_sites.cumsum()[:-1])


def potential_digest(potential: Path | str) -> str:
    """What tells the weights of a saved potential from those of another."""
    check_sums(Path(potential), ("state.pt",))
    file = Path(potential) / "state.pt"
    if not file.is_file():
        raise InputError(f"{potential} holds no saved potential: state.pt is missing. Give the folder save() wrote.")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
