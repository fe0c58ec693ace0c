"""MatGL's own networks, for scale: one training step at batch 32, through MatGL's own classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matgl_infomax import host  # chooses MatGL's backend before MatGL is imported
from matgl_infomax.nn.presets import ELEMENTS
from tests.benchmarks.conftest import QUICK
from tests.benchmarks.material import crystals

BATCH = 32
BATCHES = 1 if QUICK else 3
CUTOFF_ANGSTROM = {"MEGNet": 4.0, "M3GNet": 5.0}


@pytest.mark.parametrize("name", ["MEGNet", "M3GNet"])
def test_matgl_step(name: str, measure: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crystals per second of forward, backward and AdamW; graphs are made before, as in MatGL's own training."""
    monkeypatch.chdir(tmp_path)
    models = pytest.importorskip("matgl.models")
    from matgl.utils.training import ModelLightningModule

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(models, name)(element_types=ELEMENTS, cutoff=CUTOFF_ANGSTROM[name])
    module = ModelLightningModule(model)
    batches = matgl_batches(CUTOFF_ANGSTROM[name])
    module.step(batches[0])  # fixes the shapes of lazy layers
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def several() -> None:
        for batch in batches:
            results, _ = module.step(batch)
            optimizer.zero_grad()
            results["Total_Loss"].backward()
            optimizer.step()

    measure(several, units=BATCH * BATCHES, rounds=5, backend=host.BACKEND)


def matgl_batches(cutoff: float) -> list[Any]:
    """Batches of 32 crystals as MatGL's loader hands them out."""
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.graph.data import MGLDataset, collate_fn_graph

    chosen = crystals(BATCH * BATCHES)
    dataset = MGLDataset(
        converter=Structure2Graph(ELEMENTS, cutoff),
        structures=[c.to_structure() for c in chosen],
        labels={"y": [0.1 * c.n_sites for c in chosen]},
        save_cache=False,
    )
    return [collate_fn_graph([dataset[32 * k + i] for i in range(BATCH)]) for k in range(BATCHES)]
