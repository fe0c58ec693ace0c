"""Probes that look on while an encoder learns: the weights are the same bits with and without them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.api import pretrain as pretrain_crystals
from matgl_infomax.data.store import build_store
from matgl_infomax.errors import InputError
from matgl_infomax.nn import build
from matgl_infomax.nn.build import edge_rule
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train import pretrain as module
from matgl_infomax.train.pretrain import OnlineProbes, pretrain_encoder
from tests.helpers.build import many, store_of
from tests.helpers.kill import killed_at
from tests.train.test_pretrain import same, weights
from tests.train.test_pretrain_matgl import SMALL

SHORT = PretrainSettings(steps=6, validate_every=2, batch_sites=40, validation_fraction=0.3)
LOOKS = SHORT.model_copy(update={"probe_every": 2})
MODELS = {
    "sitenet": ModelSettings(supercell_atoms=12),
    "megnet": ModelSettings(name="megnet", options=SMALL["megnet"]),
}


def run(store, out, settings, model=MODELS["sitenet"]):
    return pretrain_encoder(store, np.arange(len(store)), out, settings, model, progress=False)


def looked(entry):
    return {name for name in entry if name.startswith("validation/probe/")}


def without(history):
    return [{name: value for name, value in entry.items() if name not in looked(entry)} for entry in history]


@pytest.fixture
def store(crystals, tmp_path):
    return store_of(many(crystals, 36), tmp_path / "cache", 12)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_looking_changes_no_bit_of_the_weights(name, crystals, tmp_path):
    model = MODELS[name]
    store = build_store(many(crystals, 36), edge_rule(model), tmp_path / "cache", progress=False)
    plain = run(store, tmp_path / "plain", SHORT, model)
    watched = run(store, tmp_path / "watched", LOOKS, model)
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "watched"))
    critics = [torch.load(tmp_path / one / "objective.pt", weights_only=True) for one in ("plain", "watched")]
    assert same(*critics)
    assert without(watched.history) == plain.history and not any(map(looked, plain.history))
    found = [looked(entry) for entry in watched.history]
    assert not found[0] and not found[2] and len(found[1]) >= 5
    assert "validation/probe/site/nearest_distance" in found[1] and "validation/probe/crystal/density" in found[1]
    assert all(math.isfinite(watched.history[1][key]) and watched.history[1][key] <= 1 for key in found[1])
    assert json.loads((tmp_path / "watched" / "pretrain.json").read_text())["history"] == watched.history


def test_a_run_that_was_killed_has_the_same_looks(store, tmp_path):
    whole = run(store, tmp_path / "whole", LOOKS)
    with killed_at(5, module.PretrainModule):
        run(store, tmp_path / "cut", LOOKS)
    assert run(store, tmp_path / "cut", LOOKS).history == whole.history
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_no_label_is_looked_at(crystals, tmp_path):
    items = many(crystals, 36)
    other = [replace(crystal, labels={"y": -crystal.labels["y"], "z": 1.0}) for crystal in items]
    histories = []
    for name, data in (("one", items), ("other", other)):
        arguments = {"model": MODELS["sitenet"], "settings": LOOKS, "cache": tmp_path / "c", "prepare_processes": 1}
        histories.append(pretrain_crystals(data, tmp_path / name, progress=False, **arguments).history)
    assert histories[0] == histories[1]
    assert not [key for key in looked(histories[0][1]) if key.endswith(("/y", "/z"))]


def test_a_look_leaves_the_encoder_as_it_is(store):
    encoder = build.new_encoder(MODELS["sitenet"], 1, 0, store.elements()).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.random.get_rng_state()
    probes = OnlineProbes(store, np.arange(20), 3, 0)
    one, two = probes.look(encoder), probes.look(encoder)
    assert one == two and same(before, encoder.state_dict()) and encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert [number for number in range(1, 10) if probes.due(number)] == [3, 6, 9]


def test_too_few_held_out_crystals_get_a_sentence_before_anything_is_written(store, tmp_path):
    few = LOOKS.model_copy(update={"validation_fraction": 0.1})
    with pytest.raises(InputError, match=r"at least 5 held-out crystals, one per fold. Held out: 4. Raise validation"):
        run(store, tmp_path / "run", few)
    assert not (tmp_path / "run").exists()


def test_what_is_the_same_everywhere_is_not_asked(crystals, tmp_path):
    store = store_of([replace(crystals[2], id=f"{k}", lattice=crystals[2].lattice * (1 + k / 50)) for k in range(9)],
                     tmp_path / "c", 12)  # fmt: skip
    asked = {target.name for target, _ in OnlineProbes(store, np.arange(9), 1, 0).probed}
    assert asked == {"element", "nearest_distance", "second_shell", "density", "volume_per_atom"}


def test_watching_or_not_is_the_same_run(store, tmp_path):
    """The folder is not refused: the weights in it are what they would be."""
    first = run(store, tmp_path / "run", SHORT)
    assert run(store, tmp_path / "run", LOOKS).history == first.history
