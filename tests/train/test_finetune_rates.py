"""Layer-wise learning rates and gradual unfreezing: deeper is slower and later, and a frozen group is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import new_model
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.finetune import Labelled, Thawing, fit, freeze, rate_groups
from matgl_infomax.train.predict import predict_rows
from tests.helpers.build import many, store_of
from tests.helpers.kill import killed_at

SMALL = ModelSettings(preset="compact", supercell_atoms=20)
GRADUAL = FinetuneSettings(
    steps=22, validate_every=8, batch_sites=20, validation_fraction=0.25, unfreeze_every=5, weight_decay=0.5,
    warmup_fraction=0.0,
)  # fmt: skip
TURNS = {"head": 0, "pool": 5, "site": 10, "block0": 15, "input": 20}
"""First step in which each group moves."""


@pytest.fixture
def data(crystals, tmp_path):
    items = many(crystals, 60)
    return store_of(items, tmp_path / "cache"), np.array([[c.labels["y"]] for c in items])


def run(data, settings=GRADUAL, **more):
    return fit(new_model(SMALL, 1, 0), Labelled(data[0], np.arange(60), data[1]), settings, pretrained=True, **more)


def same(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


def rates(model, *more):
    return {group["name"]: group["lr"] for group in rate_groups(model, *more)}


def test_each_group_is_slower_than_the_one_above():
    found = rates(new_model(SMALL, 1, 0), 0.1, 1.0, 0.5)
    wanted = {"head": 0.1, "pool": 0.05, "site": 0.025, "block0": 0.0125, "input": 0.00625}
    assert found == pytest.approx(wanted)
    assert next(iter(found)) == "head"


def test_rate_of_the_encoder_and_decay_multiply_and_frozen_groups_keep_their_place():
    model = new_model(SMALL, 1, 0)
    freeze(model, ["site", "head"])
    found = rates(model, 1.0, 0.1, 0.5)
    assert found == pytest.approx({"pool": 0.05, "block0": 0.0125, "input": 0.00625})


def test_every_parameter_has_one_rate():
    model = new_model(SMALL, 1, 0)
    given = [id(p) for group in rate_groups(model, 1.0) for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in model.parameters())


def watch(monkeypatch):
    """Weights of each group before the first step and after every one, and gradients that the optimiser saw."""
    seen = []
    original = module.FinetuneModule.on_train_batch_end

    def note(self):
        groups = self.model.layer_groups().items()
        seen.append({name: [p.detach().clone() for p in parameters] for name, parameters in groups})

    def started(self):
        note(self)

    def ended(self, *arguments):
        note(self)
        original(self, *arguments)

    monkeypatch.setattr(module.FinetuneModule, "on_train_start", started)
    monkeypatch.setattr(module.FinetuneModule, "on_train_batch_end", ended)
    return seen


def first_moves(seen, name):
    """The first step that changed any weight of a group."""
    changed = [
        any(not torch.equal(a, b) for a, b in zip(seen[k][name], seen[k + 1][name], strict=True))
        for k in range(len(seen) - 1)
    ]
    assert True in changed, f"{name} never moves"
    return changed.index(True)


def test_groups_join_at_their_step_and_not_even_weight_decay_moves_them_before(data, monkeypatch):
    seen = watch(monkeypatch)
    fitted = run(data)
    assert len(seen) == GRADUAL.steps + 1
    assert {name: first_moves(seen, name) for name in TURNS} == TURNS
    assert all(parameter.requires_grad for parameter in fitted.model.parameters())


def test_gradient_norm_counts_only_what_moves(data, monkeypatch):
    """With gradients of frozen groups among them, the clipped step of the head would be a shorter one."""
    head_alone = GRADUAL.model_copy(update={"unfreeze_every": 0, "freeze": ["input", "block0", "site", "pool"]})
    paths = []
    for settings in (GRADUAL, head_alone):
        with monkeypatch.context() as patch:
            seen = watch(patch)
            run(data, settings.model_copy(update={"gradient_clip": 1e-3}))
        paths.append([weights["head"] for weights in seen[:6]])
    for gradual, alone in zip(*paths, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(gradual, alone, strict=True))


def test_batches_of_one_step_see_the_same_groups(data, monkeypatch):
    seen = watch(monkeypatch)
    run(data, GRADUAL.model_copy(update={"accumulate": 2}))
    assert {name: first_moves(seen, name) // 2 for name in TURNS} == TURNS


def test_frozen_group_never_joins_and_takes_no_turn():
    model = new_model(SMALL, 1, 0)
    freeze(model, ["pool"])
    thawing = Thawing(rate_groups(model, 1.0), every=5, steps=100)
    assert [thawing.moving(step) for step in (0, 4, 5, 10, 99)] == [
        ["head"], ["head"], ["head", "site"], ["head", "site", "block0"], ["head", "site", "block0", "input"],
    ]  # fmt: skip
    thawing.settle(99)
    assert not any(p.requires_grad for p in model.layer_groups()["pool"])


def test_group_whose_turn_never_comes_gets_a_sentence(data, tmp_path):
    with pytest.raises(InputError, match=r"the group input move from step 24 on, but the run has 22 .* at most 5"):
        run(data, GRADUAL.model_copy(update={"unfreeze_every": 6}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="Take more steps"):
        run(data, GRADUAL.model_copy(update={"unfreeze_every": 1, "steps": 3}))


def test_weights_from_scratch_move_at_once_and_at_full_rate(data):
    settings = GRADUAL.model_copy(update={"unfreeze_every": 0})
    other = settings.model_copy(update={"unfreeze_every": 5, "layer_decay": 0.3, "encoder_rate": 0.1})
    labelled = Labelled(data[0], np.arange(60), data[1])
    plain, spared = (fit(new_model(SMALL, 1, 0), labelled, s) for s in (settings, other))
    assert same(plain, spared)


def test_decay_keeps_the_input_closer_to_its_start(data):
    start = new_model(SMALL, 1, 0)
    way = {}
    for decay in (1.0, 0.3):
        settings = GRADUAL.model_copy(update={"unfreeze_every": 0, "layer_decay": decay, "weight_decay": 0.0})
        groups = run(data, settings).model.layer_groups()
        way[decay] = {
            name: sum(float((a - b).detach().norm()) for a, b in zip(groups[name], parameters, strict=True))
            for name, parameters in start.layer_groups().items()
        }
    assert way[0.3]["input"] < 0.05 * way[1.0]["input"]
    assert way[0.3]["head"] > 0.5 * way[1.0]["head"]


@pytest.mark.parametrize("step", [4, 12, 19])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, data, tmp_path):
    """Killed before, between and after turns: the groups, their rates and their moments come back."""
    settings = GRADUAL.model_copy(update={"layer_decay": 0.7, "accumulate": 2})
    whole = run(data, settings, out=tmp_path / "whole")
    with killed_at(step, module.FinetuneModule):
        run(data, settings, out=tmp_path / "cut")
    assert same(whole, run(data, settings, out=tmp_path / "cut"))


@pytest.mark.slow
def test_two_processes_thaw_like_one(data):
    settings = GRADUAL.model_copy(update={"layer_decay": 0.7, "learning_rate": 3e-3, "weight_decay": 1e-4})
    one, two = (run(data, settings.model_copy(update={"processes": n})) for n in (1, 2))
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    ours, theirs = (predict_rows(fitted.model, data[0], np.arange(60)) for fitted in (two, one))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
