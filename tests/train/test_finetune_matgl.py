"""MatGL's own networks are fine-tuned like Site-Net: own groups, gradual unfreezing, exact resume, ensembles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from matgl_infomax import api
from matgl_infomax.data.store import build_store
from matgl_infomax.host import load_model
from matgl_infomax.nn.build import new_model, save_model
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.finetune import Labelled, fit
from matgl_infomax.train.predict import predict_rows
from tests.helpers.build import many
from tests.helpers.kill import killed_at

NAMES = ["megnet", "m3gnet", "tensornet", "chgnet"]
CAREFUL = FinetuneSettings(
    steps=8, validate_every=3, batch_sites=30, validation_fraction=0.3, layer_decay=0.7, unfreeze_every=1
)  # fmt: skip


@pytest.fixture
def items(crystals):
    return [replace(c, labels={"y": c.labels["y"], "big": float(c.labels["y"] > 3)}) for c in many(crystals, 40)]


def new(name, n_targets=1, seed=0):
    return new_model(ModelSettings(name=name), n_targets, seed)


@pytest.fixture
def data(items, tmp_path):
    store = build_store(items, new("megnet").edges, tmp_path / "cache", progress=False)
    return store, np.array([[c.labels["y"]] for c in items])


def run(data, settings=CAREFUL, **more):
    return fit(new("megnet"), Labelled(data[0], np.arange(40), data[1]), settings, pretrained=True, **more)


@pytest.mark.parametrize("name", NAMES)
def test_groups_join_one_by_one_from_the_head_down(name, items, tmp_path, monkeypatch):
    """Every weight that the prediction depends on moves from its group's turn on; MatGL's own head never does."""
    store = build_store(items, new(name).edges, tmp_path / "cache", progress=False)
    labels = np.array([[c.labels["y"]] for c in items])
    seen = []
    original = module.FinetuneModule.on_train_batch_end

    def ended(self, *arguments):
        groups = self.model.layer_groups().items()
        seen.append({group: [p.detach().clone() for p in parameters] for group, parameters in groups})
        original(self, *arguments)

    monkeypatch.setattr(module.FinetuneModule, "on_train_batch_end", ended)
    start = new(name).layer_groups()
    settings = CAREFUL.model_copy(update={"weight_decay": 0.5, "warmup_fraction": 0.0, "learning_rate": 0.01})
    fitted = fit(new(name), Labelled(store, np.arange(40), labels), settings, pretrained=True)
    for turn, group in enumerate(reversed(start)):
        for step, weights in enumerate(seen[: turn + 1]):
            moved = [not torch.equal(a, b) for a, b in zip(start[group], weights[group], strict=True)]
            assert any(moved) == (step == turn), (group, step)
    assert all(p.requires_grad for p in fitted.model.parameters())
    assert np.isfinite(predict_rows(fitted.model, store, np.arange(40))).all()


@pytest.mark.parametrize("step", [2, 5])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, data, tmp_path):
    whole = run(data, out=tmp_path / "whole")
    with killed_at(step, module.FinetuneModule):
        run(data, out=tmp_path / "cut")
    ours, theirs = run(data, out=tmp_path / "cut").model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_ensemble_from_a_saved_network_predicts_a_table(task, items, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    save_model(new("megnet"), start, {})
    target = {"regression": "y", "classification": "big"}[task]
    result = api.finetune(
        items, target, tmp_path / "model", init=start, settings=CAREFUL.model_copy(update={"task": task}),
        ensemble=EnsembleSettings(ensemble=2), cache=tmp_path, progress=False,
    )  # fmt: skip
    both = api.predict(items, result.path, cache=tmp_path, progress=False)
    assert list(both.columns) == ["id", target, f"{target}_std"] and (both[f"{target}_std"] > 0).all()
    members = [result.path / f"member_{k}" for k in range(2)]
    tables = [api.predict(items, member, cache=tmp_path, progress=False)[target] for member in members]
    pd.testing.assert_series_equal(both[target], (tables[0] + tables[1]) / 2)
    opened = load_model(members[0])
    assert isinstance(opened, MatGLNet)
    for crystal, value in zip(items[:3], tables[0], strict=False):
        assert float(opened.predict_structure(crystal.to_structure())) == pytest.approx(value, rel=1e-4, abs=1e-5)
    if task == "classification":
        assert both[target].between(0, 1).all()


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(data):
    """Batches of one crystal leave a process without any."""
    settings = CAREFUL.model_copy(update={"batch_sites": 4, "unfreeze_every": 1})
    one, two = (run(data, settings.model_copy(update={"processes": n})) for n in (1, 2))
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    ours, theirs = (predict_rows(fitted.model, data[0], np.arange(40)) for fitted in (two, one))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
