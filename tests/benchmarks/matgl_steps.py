"""Training steps of MatGL's own networks: MatGL's bare supervised step, and Deep InfoMax on the same crystals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from matgl_infomax import host  # chooses MatGL's backend before MatGL is imported
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.nn.build import edge_rule, new_model
from matgl_infomax.nn.matgl_net import full_arguments
from matgl_infomax.nn.sitenet import ELEMENTS
from matgl_infomax.objectives import OBJECTIVES
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from tests.benchmarks.material import crystals
from tests.benchmarks.steps import Prepare, Step, without_labels

CUTOFF_ANGSTROM = {"MEGNet": 4.0, "M3GNet": 5.0}
BATCH = 32
MEASURED = 96
"""Crystals that the steps are measured on: the first of the sample."""


def matgl_store(name: str, folder: Any) -> Store:
    """The measured crystals with the pairs of a network, for its Deep InfoMax step."""
    return build_store(crystals(MEASURED), edge_rule(ModelSettings(name=name.lower())), folder, progress=False)


def bare(name: str) -> tuple[Prepare, Step]:
    """MatGL's own training step through its own classes: graphs ready, forward, backward, AdamW.

    The network is the one that is pretrained: M3GNet with triples as far as pairs, where MatGL's default is 4 angstrom.
    """
    import matgl.models as models
    from matgl.utils.training import ModelLightningModule

    arguments = full_arguments(name.lower(), {"cutoff": CUTOFF_ANGSTROM[name]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(models, name)(element_types=ELEMENTS, **arguments)
    module = ModelLightningModule(model)
    module.step(matgl_batch(name, crystals(2)))  # fixes the shapes of lazy layers
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(batch: Any) -> Tensor:
        loss: Tensor = module.step(batch)[0]["Total_Loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return lambda store, rows: matgl_batch(name, [crystals(MEASURED)[row] for row in rows]), step


def deep_infomax(name: str) -> tuple[Prepare, Step]:
    """Deep InfoMax as ``matgl-infomax pretrain --model NAME`` does it, the views as MatGL's graphs made in the step."""
    assert host.BACKEND, "no MatGL here"
    encoder = new_model(ModelSettings(name=name.lower()), 1, 0)
    settings = PretrainSettings(objective="infomax")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        objective = OBJECTIVES[settings.objective].for_encoder(encoder, settings.objective_preset, {})
    step = without_labels(encoder, objective, rate=1e-4)
    return lambda store, rows: store.batch(rows, geometry=True, view=objective.view), step


def matgl_batch(name: str, chosen: Any) -> Any:
    """A batch of crystals as MatGL's loader hands it out."""
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.graph.data import MGLDataset, collate_fn_graph

    several: list[Crystal] = list(chosen)
    dataset = MGLDataset(
        converter=Structure2Graph(ELEMENTS, CUTOFF_ANGSTROM[name]),
        structures=[c.to_structure() for c in several],
        labels={"y": [0.1 * c.n_sites for c in several]},
        save_cache=False,
    )
    return collate_fn_graph([dataset[k] for k in range(len(several))])


MATGL_STEPS: dict[str, Callable[[], tuple[Prepare, Step]]] = {
    f"{kind}-{name}": partial(make, name)
    for name in CUTOFF_ANGSTROM
    for kind, make in (("bare", bare), ("infomax", deep_infomax))
}
