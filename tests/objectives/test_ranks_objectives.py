"""Every objective shared by two processes is that of one: the same losses and gradients, whoever holds what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from matgl_infomax.contracts import radius_batch
from matgl_infomax.data import share as module
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES, new_objective
from matgl_infomax.objectives.perturb import rolled_sites
from tests.helpers.build import generator, store_of, with_energies
from tests.helpers.two_processes import losses_and_gradients, mean_over_two

SMALL = {"hidden_layer_sizes_input": (16, 8), "hidden_layer_sizes_conv": (16, 8), "nblocks": 1}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {  # objective, preset, options
    "infomax hard": ("infomax", "hard", {"extra_negatives": True}),
    "masked": ("masked", "default", {"share": 0.4}),
    "denoise distances": ("denoise", "default", {}),
    "denoise coordinates": ("denoise", "coordinates", {}),
    "fingerprint": ("fingerprint", "hidden", {}),
    "twins barlow": ("twins", "default", {}),
    "twins simsiam": ("twins", "simsiam", {}),
    "twins published": ("twins", "published", {}),
    "dual": ("dual", "default", {"micro": "valence"}),
    "dual stiffness": ("dual", "published_stiffness", {}),
    "supervised": ("supervised", "relaxed", {"energy": "y", "stress_weight": 0.1}),
    "combined": ("masked+denoise+twins", "default", {}),
}
ALONE = "a process without crystals"
NETWORKS = ("sitenet", "megnet", f"megnet, {ALONE}")


def step(case: str, batch: SiteBatch, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Losses and gradients of one process."""
    network, name = case.split("/")
    if network == "sitenet":
        encoder = SiteNet.from_preset("compact", seed=0).double()
    else:
        encoder = MatGLNet.new("megnet", seed=0, options=SMALL).double()
    objective_name, preset, options = CASES[name]
    torch.manual_seed(1)
    objective = new_objective(encoder, objective_name, preset, options).double()
    with pytest.MonkeyPatch.context() as patch:
        if ALONE in network:
            patch.setattr(module, "cuts", lambda batch, n: [0, *[batch.n_crystals] * n])
        return losses_and_gradients(encoder, objective, batch, Share.of(batch, rank, ranks))


def work(rank: int, folder: Path) -> None:
    """One of two processes."""
    mean_over_two(rank, folder, step, torch.load(folder / "batches.pt", weights_only=False))


def test_every_objective_is_a_case():
    # Infomax: see test_ranks.py and test_geometric.py.
    tried = {part for name, _, _ in CASES.values() for part in name.split("+")}
    assert tried | {"infomax"} >= set(OBJECTIVES)


@pytest.mark.slow
def test_two_processes_give_the_losses_and_gradients_of_one(crystals, tmp_path):
    supercells = store_of(crystals, tmp_path / "cache").batch(range(len(crystals)), geometry=True)
    shown = {"sitenet": supercells.to("cpu", torch.float64), "megnet": radius_batch(crystals, 4.0)}
    shown = {network: with_energies(batch) for network, batch in shown.items()}
    batches = {f"{network}/{case}": shown[network.split(",")[0]] for network in NETWORKS for case in CASES}
    torch.save(batches, tmp_path / "batches.pt")
    multiprocessing.start_processes(work, (tmp_path,), nprocs=2, start_method="spawn")
    shared = torch.load(tmp_path / "results.pt", weights_only=True)
    for case, batch in batches.items():
        alone = step(case, batch, 0, 1)
        assert alone.keys() == shared[case].keys()
        largest = max(float(value.abs().max()) for value in alone.values())
        for name, value in alone.items():
            difference = float((shared[case][name] - value).abs().max())
            # Some gradients are exactly zero (batch norm and softmax forget a shift), up to rounding.
            assert difference <= 1e-9 * float(value.abs().max()) + 1e-13 * max(1.0, largest), (case, name)


@pytest.mark.parametrize("composition", ["sites", "rows"])
def test_wrong_versions_of_two_shares_are_those_of_one_process(composition, few, make_batch):
    """Also where a wrong version takes rows of neighbours of other crystals, which another process may hold."""
    batch, encoder = make_batch(few), SiteNet.from_preset("compact", seed=0).double()
    objective = new_objective(encoder, "infomax", "default", {"composition": composition, "partner": "roll"})
    partner = rolled_sites(batch)

    def encoded(rank: int, ranks: int) -> dict[str, torch.Tensor]:
        return objective._encode_views(encoder, Share.of(batch, rank, ranks), batch, partner, generator())[0]

    alone, first, second = encoded(0, 1), encoded(0, 2), encoded(1, 2)
    assert set(alone) == {"composition", "structure", "permuted"}
    for name, vectors in alone.items():
        assert 0 < len(first[name]) < len(vectors)
        torch.testing.assert_close(torch.cat([first[name], second[name]]), vectors)
