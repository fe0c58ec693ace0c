"""Noisy Nodes: what is added to the loss, on which crystals, for both kinds of network; off it is not there at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.data.share import Share
from matgl_infomax.data.store import build_store
from matgl_infomax.nn.build import edge_rule, new_model
from matgl_infomax.objectives.perturb import within
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.finetune import Labelled, NoisyNodes, fit
from tests.helpers.build import generator, many
from tests.helpers.kill import killed_at

SHORT = FinetuneSettings(steps=6, validate_every=3, batch_sites=15, validation_fraction=0.0)
NOISY = SHORT.model_copy(update={"noisy_nodes": 0.5})
MODELS = {
    "sitenet": ModelSettings(supercell_atoms=10),
    "megnet": ModelSettings(
        name="megnet",
        options={"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1},
    ),
}


@pytest.fixture(params=sorted(MODELS))
def data(request, crystals, tmp_path):
    items = many(crystals, 15)
    store = build_store(items, edge_rule(MODELS[request.param]), tmp_path / "cache", progress=False)
    return MODELS[request.param], store, np.array([[c.labels["y"]] for c in items])


def run(data, settings, **more):
    model, store, labels = data
    return fit(new_model(model, 1, 0), Labelled(store, np.arange(len(store)), labels), settings, **more)


def same(one, other):
    first, second = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_noise_is_learnt_beside_the_labels_and_runs_repeat(data):
    plain, noisy, again = (run(data, settings) for settings in (SHORT, NOISY, NOISY))
    assert all(0 < entry["train/denoising"] < 2 for entry in noisy.history)
    assert not any("train/denoising" in entry for entry in plain.history)
    assert same(noisy, again) and not same(noisy, plain)
    assert noisy.model.state_dict().keys() == plain.model.state_dict().keys(), "the head of the noise stays behind"


def test_one_pass_over_noisy_crystals_gives_both(data):
    settings, store, _ = data
    model = new_model(settings, 1, 0)
    batch = store.batch(range(8), geometry=True)
    nodes = NoisyNodes(model, NOISY)
    vectors, loss = nodes(model, Share.of(batch), generator(3))
    expected, parts = nodes.denoise.loss(model, batch, generator(3))
    assert float(loss.detach()) == pytest.approx(0.5 * float(expected.detach()), rel=1e-6)
    noise = nodes.denoise.noise(batch, generator(3))
    shown = model.encode(within(noise.noisy, model.reach_angstrom)).crystal
    torch.testing.assert_close(vectors, shown)
    assert not torch.allclose(vectors, model.encode(batch).crystal)
    assert noise.size_angstrom.tolist() == pytest.approx([0.02] * 8)
    assert float(parts["blind"]) > 0


def test_strength_of_the_noise_matters(data):
    weak, strong = (run(data, NOISY.model_copy(update={"noise_angstrom": size})) for size in (0.005, 0.1))
    assert not same(weak, strong)


def test_killed_run_ends_with_the_same_weights(data, tmp_path):
    whole = run(data, NOISY, out=tmp_path / "whole")
    with killed_at(4, module.FinetuneModule):
        run(data, NOISY, out=tmp_path / "cut")
    assert same(whole, run(data, NOISY, out=tmp_path / "cut"))


def test_off_nothing_of_it_is_made(data, monkeypatch):
    monkeypatch.setattr(module, "NoisyNodes", None)
    asked = []
    original = type(data[1]).batch

    def watched(self, rows, *, geometry=False, view="full"):
        asked.append(geometry)
        return original(self, rows, geometry=geometry, view=view)

    monkeypatch.setattr(type(data[1]), "batch", watched)
    run(data, SHORT)
    assert asked and not any(asked)
