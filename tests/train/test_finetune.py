"""Fine-tuning: only the given labels count, the normaliser travels, stopping and averaging really work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.data.share import Share
from matgl_infomax.errors import DivergedError, InputError
from matgl_infomax.nn.build import new_model
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.finetune import Labelled, fit
from matgl_infomax.train.predict import predict_rows
from tests.helpers.build import many, store_of

SHORT = FinetuneSettings(steps=20, validate_every=8, batch_sites=20, validation_fraction=0.25)
MODEL = ModelSettings(supercell_atoms=20)


@pytest.fixture
def data(crystals, tmp_path):
    items = many(crystals, 60)
    return store_of(items, tmp_path / "cache"), np.array([[c.labels["y"]] for c in items])


def run(data, settings=SHORT, rows=None, labels=None, seed=0, targets=(), **more):
    store, all_labels = data
    rows = np.arange(len(store)) if rows is None else rows
    labels = all_labels[rows] if labels is None else labels
    model = new_model(MODEL, labels.shape[1], seed)
    return fit(model, Labelled(store, rows, labels, targets), settings, **more)


def state(fitted):
    return fitted.model.state_dict()


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_learns_what_can_be_learnt(data):
    store, labels = data
    fitted = run(data, FinetuneSettings(steps=300, batch_sites=60, learning_rate=3e-3))
    error = np.abs(predict_rows(fitted.model, store, np.arange(60)) - labels).mean()
    assert error < 0.5 * np.abs(labels - np.median(labels)).mean()


def test_repeats_bit_for_bit(data):
    assert same(state(run(data)), state(run(data)))


def test_no_other_row_matters(data):
    """Labels and structures outside the mask change neither a weight nor the normaliser."""
    store, labels = data
    rows = np.arange(10, 50)
    poisoned = np.full_like(labels, 1e9)
    poisoned[rows] = labels[rows]
    assert same(state(run((store, labels), rows=rows)), state(run((store, poisoned), rows=rows)))


def test_normaliser_is_fitted_on_training_labels_without_the_validation_part(data):
    _, labels = data
    fitted = run(data)
    assert fitted.n_train + fitted.n_validation == 60 and fitted.n_validation == 15
    train, held_out = module.hold_out(60, SHORT)
    assert not set(train) & set(held_out)
    assert float(fitted.model.target_mean) == pytest.approx(labels[train].mean(), rel=1e-5)
    assert float(fitted.model.target_std) == pytest.approx(labels[train].std(), rel=1e-5)


def test_few_labels_are_all_trained_on(data):
    fitted = run(data, rows=np.arange(30))
    assert (fitted.n_train, fitted.n_validation) == (30, 0)
    assert fitted.best_step == SHORT.steps


def test_best_validation_step_is_kept(data):
    fitted = run(data, FinetuneSettings(steps=60, validate_every=10, learning_rate=0.03, validation_fraction=0.3))
    scores = [entry["validation/score"] for entry in fitted.history]
    assert fitted.best_step == fitted.history[int(np.argmin(scores))]["step"]


def test_early_stopping_stops_once_and_for_all(data, tmp_path):
    noise = np.random.default_rng(99).normal(size=(60, 1))  # not the stream that strained the crystals
    settings = FinetuneSettings(steps=400, validate_every=10, patience=2, learning_rate=1e-2, validation_fraction=0.3)
    fitted = run(data, settings, labels=noise, out=tmp_path)
    assert fitted.history[-1]["step"] < 400
    assert fitted.history[-1]["step"] == fitted.best_step + 20
    again = run(data, settings, labels=noise, out=tmp_path)
    assert again.history == fitted.history and same(state(again), state(fitted))


@pytest.mark.parametrize("step", [3, 12, 18])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, data, tmp_path, monkeypatch):
    whole = run(data, out=tmp_path / "whole")
    original = module.FinetuneModule.training_step

    def dies(self, batch, batch_idx):
        if self.global_step == step:
            raise KeyError("killed")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.FinetuneModule, "training_step", dies)
    with pytest.raises(KeyError, match="killed"):
        run(data, out=tmp_path / "cut")
    monkeypatch.undo()
    assert same(state(whole), state(run(data, out=tmp_path / "cut")))


def test_missing_labels_of_several_targets_are_left_out(data):
    store, labels = data
    both = np.concatenate([labels, 3 * labels + 1], axis=1)
    both[::2, 0] = np.nan
    fitted = run(data, labels=both)
    assert all(torch.isfinite(value).all() for value in state(fitted).values())
    train, _ = module.hold_out(60, SHORT)
    assert float(fitted.model.target_mean[0]) == pytest.approx(np.nanmean(both[train, 0]), rel=1e-5)
    assert predict_rows(fitted.model, store, np.arange(5)).shape == (5, 2)


def test_target_without_any_label_gets_a_sentence(data):
    _, labels = data
    _, held_out = module.hold_out(60, SHORT)
    sparse = np.full((60, 2), np.nan)
    sparse[:, 0] = labels[:, 0]
    sparse[held_out, 1] = 1.0  # labels that only choose the checkpoint teach nothing
    with pytest.raises(InputError, match=r"Target gap has no label among the 45 crystals that train"):
        run(data, labels=sparse, targets=("y", "gap"))


def test_no_path_of_this_machine_is_in_a_checkpoint(data, tmp_path):
    run(data, out=tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.ckpt")
    content = torch.load(file, weights_only=True)
    assert str(tmp_path) not in repr(content) and not content["callbacks"]


def test_diverged_training_ends_with_a_sentence_and_without_a_checkpoint(data, tmp_path):
    with pytest.raises(DivergedError, match=r"diverged: train/loss is nan at step \d+ of 20\. Lower the learning rate"):
        run(data, SHORT.model_copy(update={"learning_rate": 1e30}), out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.ckpt"))


def test_labels_that_cannot_be_scaled_leave_no_folder(data, tmp_path):
    store, labels = data
    with pytest.raises(InputError, match="Target y: labels reach"):
        run((store, labels * 1e39), targets=("y",), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**60], ids=["small", "large"])
def test_unit_of_the_labels_changes_nothing_but_the_unit(unit, data):
    """A power of two changes no digit, so the networks are the same and their predictions differ by it."""
    store, labels = data
    rows = np.arange(len(store))
    plain = predict_rows(run(data).model, store, rows)
    other = predict_rows(run((store, labels * unit)).model, store, rows)
    np.testing.assert_array_equal(other, plain * unit)


def test_constant_labels_divide_nothing_by_zero(data):
    store, _ = data
    fitted = run(data, labels=np.full((60, 1), 7.25))
    assert float(fitted.model.target_std) == 1.0
    np.testing.assert_allclose(predict_rows(fitted.model, store, np.arange(60)), 7.25, atol=0.5)


def test_labels_of_another_width_get_a_sentence(data):
    store, labels = data
    with pytest.raises(InputError, match=r"predicts 1 target\(s\). Received labels of 2"):
        fit(new_model(MODEL, 1, 0), Labelled(store, np.arange(60), np.concatenate([labels, labels], axis=1)), SHORT)


def test_frozen_groups_do_not_move(data):
    start = {k: v.clone() for k, v in new_model(MODEL, 1, 0).state_dict().items()}
    groups = ["input", "block0", "block1", "site"]
    end = state(run(data, SHORT.model_copy(update={"freeze": groups})))
    assert all(torch.equal(start[k], end[k]) for k in start if k.startswith(("local_encoder", "site_vector")))
    assert not torch.equal(start["head.out.weight"], end["head.out.weight"])


def test_unknown_group_and_everything_frozen_are_refused(data):
    with pytest.raises(InputError, match="This model has: input, block0, block1, site, pool, head"):
        run(data, SHORT.model_copy(update={"freeze": ["encoder"]}))
    with pytest.raises(InputError, match="nothing can be trained"):
        run(data, SHORT.model_copy(update={"freeze": ["input", "block0", "block1", "site", "pool", "head"]}))


def test_pretrained_weights_move_more_slowly(data):
    start = new_model(MODEL, 1, 0).state_dict()
    way = {}
    for pretrained in (False, True):
        end = state(run(data, SHORT.model_copy(update={"encoder_rate": 0.01}), pretrained=pretrained))
        way[pretrained] = sum(float((end[k] - start[k]).norm()) for k in start if k.startswith("local_encoder"))
    assert way[True] < 0.2 * way[False]


OTHER = {
    "steps": 21,
    "batch_sites": 50,
    "learning_rate": 2e-3,
    "encoder_rate": 0.9,
    "layer_decay": 0.5,
    "unfreeze_every": 3,
    "loss": "mse",
    "weight_decay": 0.5,
    "warmup_fraction": 0.5,
    "gradient_clip": 0.01,
    "freeze": ["input"],
    "validation_fraction": 0.4,
    "validate_every": 5,
    "patience": 1,
    "ema_decay": 0.0,
    "noisy_nodes": 0.5,
    "seed": 1,
    "accumulate": 2,
    "precision": "bf16",
}


def test_every_setting_is_tried():
    # Processes must not change anything: see test_ranks.py. Classes are tried in test_classification.py, the strength
    # of noise in test_noisy_nodes.py, loggers in test_loop.py.
    assert {*OTHER, "processes", "logger", "task", "class_weight", "noise_angstrom"} == set(
        FinetuneSettings.model_fields
    )


@pytest.mark.parametrize("name", sorted(OTHER))
def test_setting_does_something(name, data):
    base = SHORT.model_copy(update={"learning_rate": 0.05, "validate_every": 2})
    plain, other = (run(data, s, pretrained=True) for s in (base, base.model_copy(update={name: OTHER[name]})))
    assert plain.history != other.history or not same(state(plain), state(other))


def training_rows(monkeypatch):
    """Rows of the store that each set of batches of a training holds, in the order in which the sets are made."""
    made, real = [], module.StoreBatches

    def watched(store, rows, labels, **more):
        made.append((np.array(rows), np.array(labels)))
        return real(store, rows, labels, **more)

    monkeypatch.setattr(module, "StoreBatches", watched)
    return made


@pytest.mark.parametrize("noisy_nodes", [0.0, 0.1])
def test_held_out_labels_give_no_gradient(noisy_nodes, data, monkeypatch):
    sets = training_rows(monkeypatch)
    rows = np.arange(5, 55)
    fitted = run(data, SHORT.model_copy(update={"noisy_nodes": noisy_nodes}), rows=rows)
    held_out = set(rows[fitted.held_out])
    others = [set(found) for found, _ in sets if set(found) != held_out]  # those that train, and those looked at
    training = set(rows) - held_out
    assert held_out and others and all(found == training for found in others) and fitted.n_train == len(training)


def test_loss_is_the_mean_over_the_labels_that_are_there(data):
    """Five of eight labels are missing: the loss divides by three, not by eight."""
    store, _ = data
    model = new_model(MODEL, 2, 0)
    labels = np.full((4, 2), np.nan)
    labels[0, 0], labels[1, 1], labels[3, 0] = 0.5, -1.0, 2.0
    settings = SHORT.model_copy(update={"learning_rate": 1e-3})
    goal = module.GOALS["regression"](settings, labels, ["a", "b"])
    step = module.FinetuneModule(model, settings, goal, [], pretrained=False)
    batch = store.batch(np.arange(4))
    with torch.no_grad():
        step.share = Share.of  # one process, and no trainer
        loss = float(step.training_step((batch, torch.from_numpy(labels).float()), 0))
        said = model.scaled(model.encode(batch).crystal).double().numpy()
    known = ~np.isnan(labels)
    assert known.sum() == 3
    assert loss == pytest.approx(np.abs(said - labels)[known].mean(), rel=1e-5)


@pytest.mark.parametrize("validation_fraction", [0.0, 0.25])
def test_the_model_that_comes_back_carries_the_average(validation_fraction, data, monkeypatch):
    """The average of its formula over the weights after each step, at the step that was kept; not the last weights."""
    settings = SHORT.model_copy(update={"ema_decay": 0.9, "validation_fraction": validation_fraction})
    seen, real = [], module.FinetuneModule.on_train_batch_end

    def watched(self, *given):
        if not seen:
            seen.append({name: p.detach().double().clone() for name, p in self.start.items()})
        real(self, *given)
        seen.append({name: p.detach().double().clone() for name, p in self.model.named_parameters()})

    def started(self):
        self.start = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    monkeypatch.setattr(module.FinetuneModule, "on_train_start", started)
    monkeypatch.setattr(module.FinetuneModule, "on_train_batch_end", watched)
    fitted = run(data, settings)
    average = dict(seen[0])
    for k, weights in enumerate(seen[1 : fitted.best_step + 1], 1):
        decay = min(0.9, k / (k + 10))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    found = dict(fitted.model.named_parameters())
    for name, expected in average.items():
        torch.testing.assert_close(found[name].detach().double(), expected, rtol=1e-4, atol=1e-6)
    last = seen[fitted.best_step]
    assert any(not torch.allclose(found[name].detach().double(), last[name], rtol=1e-4, atol=1e-5) for name in last)
