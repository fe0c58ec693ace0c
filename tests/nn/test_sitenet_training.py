"""Site-Net is a MatGL model: MatGL's own data set, loader and Lightning module train it unchanged."""

from __future__ import annotations

from matgl_infomax import host  # chooses the backend before MatGL is imported

# isort: split
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as pl
import pytest
import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from matgl.models import MatGLModel
from matgl.utils.training import ModelLightningModule
from pymatgen.core import Lattice, Structure

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.encoders import shifts


@pytest.fixture
def dataset(model: SiteNet, crystals: list[Crystal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MatGL's data set over supercell graphs; both backends use the working folder."""
    monkeypatch.chdir(tmp_path)
    return MGLDataset(
        converter=host.SupercellConverter(model.element_types, model.max_atoms),
        structures=[crystal.to_structure() for crystal in crystals],
        labels={"y": [crystal.labels["y"] for crystal in crystals]},
        save_cache=False,
    )


def loss_on(module: ModelLightningModule, dataset: Any) -> torch.Tensor:
    """Loss over the whole data set at once."""
    results, size = module.step(collate_fn_graph([dataset[i] for i in range(len(dataset))]))
    assert size == len(dataset)
    return results["Total_Loss"]


def test_every_weight_gets_a_gradient(model: SiteNet, dataset: Any) -> None:
    assert isinstance(model, MatGLModel)
    loss_on(ModelLightningModule(model), dataset).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)}
    # Softmax forgets what is added to all logits: there the gradient is zero, or rounding, as the machine will have it.
    assert without <= set(shifts(0))
    assert all(p.grad is not None for p in model.parameters())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_matgls_lightning_module_trains_it(model: SiteNet, dataset: Any, tmp_path: Path) -> None:
    train, valid = MGLDataLoader(dataset, dataset, collate_fn=collate_fn_graph, batch_size=5, num_workers=0)
    module = ModelLightningModule(model, lr=3e-3)
    with torch.no_grad():
        before = loss_on(module, dataset).item()
    trainer = pl.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trainer.fit(module, train, valid)
    with torch.no_grad():
        after = loss_on(module, dataset).item()
    assert trainer.global_step == 24
    assert after < 0.7 * before


def test_a_batch_of_one_as_matgl_makes_it(model: SiteNet, dataset: Any) -> None:
    graph, lattice, state, _ = collate_fn_graph([dataset[8]])
    prediction = ModelLightningModule(model)(graph, lat=lattice, state_attr=state)
    assert prediction.shape == (1,)
    torch.testing.assert_close(prediction[0], model.predict_structure(dataset.structures[8]), rtol=0, atol=1e-6)


def test_graph_and_arrays_predict_the_same(
    model: SiteNet, crystals: list[Crystal], make_batch: Callable[..., SiteBatch], collate: Callable[..., Any]
) -> None:
    converter = host.SupercellConverter(model.element_types, model.max_atoms)
    graph = collate([converter.get_graph(c.to_structure()) for c in crystals])
    with torch.no_grad():
        from_graph = model(graph, state_attr=torch.zeros(len(crystals), 2))
        from_arrays = model(make_batch(crystals).to("cpu", torch.float32))
    singly = torch.stack([model.predict_structure(c.to_structure()) for c in crystals])
    assert from_graph.shape == (len(crystals),)
    torch.testing.assert_close(from_graph, from_arrays, rtol=0, atol=1e-5)
    torch.testing.assert_close(from_graph, singly, rtol=0, atol=1e-5)


def test_predict_structure_ignores_the_choice_of_cell(model: SiteNet) -> None:
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    primitive = rock_salt.get_primitive_structure()
    prediction = model.predict_structure(rock_salt)
    assert prediction.shape == ()
    assert not prediction.requires_grad
    torch.testing.assert_close(prediction, model.predict_structure(primitive), rtol=0, atol=1e-5)


def test_predict_structure_takes_a_converter_of_matgl(model: SiteNet, crystals: list[Crystal]) -> None:
    structure = crystals[8].to_structure()
    radius = model.predict_structure(structure, graph_converter=Structure2Graph(model.element_types, cutoff=5.0))
    assert bool(torch.isfinite(radius))
    assert radius.item() != model.predict_structure(structure).item()


def test_several_targets(crystals: list[Crystal]) -> None:
    model = SiteNet.from_preset("compact", n_targets=3, max_atoms=8)
    assert model.predict_structure(crystals[2].to_structure()).shape == (3,)


@pytest.mark.skipif(host.BACKEND != "DGL", reason="only MatGL's DGL data set reads positions from the structure")
def test_conventional_cells_go_through_reduced_on_dgl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    converter = host.SupercellConverter(("Na", "Cl"), max_atoms=8)
    data = MGLDataset(
        converter=converter, structures=[converter.reduced(rock_salt)], labels={"y": [0.0]}, save_cache=False
    )
    assert data[0][0].num_nodes() == 2
    distance = data[0][0].edata["bond_dist"]
    assert distance.max() <= 5.64
