"""A dead network is found by its own training labels, trained again at half the rate, and marked where that fails."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from matgl_infomax.nn.build import new_model
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.ensemble import InitialNetwork, Predictor, train_ensemble, train_one
from matgl_infomax.train.finetune import FEWEST_STEPS_TO_JUDGE, HALVINGS, Labelled, fit, fit_once
from matgl_infomax.train.losses import GOALS, _constant_loss, dead_targets
from matgl_infomax.train.predict import predict_rows
from tests.helpers.build import many, store_of

MODEL = ModelSettings(supercell_atoms=20)
SHORT = FinetuneSettings(steps=120, batch_sites=40)
LONG = [{"step": 60.0, "train/loss": 9.0}, {"step": 120.0, "train/loss": 9.0}]
"""A training of 120 steps in which the loss was never below a constant's."""


@pytest.fixture
def data(crystals, tmp_path):
    """A set of one element: copper in 40 strained cells, as the ones on which networks from scratch collapsed."""
    items = many([crystals[0]], 40)
    return Labelled(
        store_of(items, tmp_path / "cache"), np.arange(40), np.array([[c.labels["y"]] for c in items]), ("y",)
    )


def goal_of(labels, task="regression", **more):
    return GOALS[task](FinetuneSettings(task=task, **more), labels, [str(k) for k in range(labels.shape[1])])


def judged(prediction, labels, history=LONG, **more):
    found = goal_of(labels, **more)
    return dead_targets(found, torch.as_tensor(prediction), torch.as_tensor(labels), history)


@pytest.fixture
def labels():
    return np.random.default_rng(0).normal(size=(50, 2))


@pytest.mark.parametrize("loss", ["l1", "mse", "huber"])
def test_one_answer_for_all_crystals_is_dead_target_by_target(labels, loss):
    flat = labels * np.array([0.8, 0.0]) + 0.1
    assert judged(flat, labels, [], loss=loss) == [1]
    assert judged(0.8 * labels, labels, loss=loss) == []
    assert judged(np.full_like(labels, 0.2), labels, [], loss=loss) == [0, 1]


def test_missing_labels_count_for_nothing(labels):
    holes = labels.copy()
    holes[::3, 0] = np.nan
    said = np.where(np.isnan(holes), 77.0, holes)
    said[:, 1] = 0.0
    assert judged(said, holes) == [1]


def test_a_loss_that_is_never_below_a_constants_is_dead(labels):
    wild = -2.0 * labels  # varies, and is wrong everywhere
    assert judged(wild, labels) == [0, 1]
    assert judged(wild, labels, [{"step": 60.0, "train/loss": 0.01}, LONG[1]]) == [], "it had learnt something"
    assert judged(wild, labels, [{"step": 4.0, "train/loss": 9.0}]) == [], "four steps say nothing"


def test_equal_labels_are_learnt_by_one_answer(labels):
    labels[:, 0] = 0.7
    assert judged(np.full_like(labels, 0.7), labels) == [1]


def test_classes(labels):
    classes = (labels[:, :1] > 0.8).astype(float)
    logits = torch.full((50, 1), float(np.log(classes.mean() / (1 - classes.mean()))), dtype=torch.float64)
    assert judged(logits, classes, [], task="classification") == [0]
    assert judged(8 * (classes - 0.5), classes, task="classification") == []
    assert judged(logits, np.ones_like(classes), task="classification") == [], "one class only: one answer is right"


def test_the_constant_of_least_loss():
    """Median, mean and share of class 1, by their formulas."""
    column = np.array([[0.0], [1.0], [1.5], [4.0], [9.5]])
    tensor = torch.from_numpy(column)
    l1, mse = (float(_constant_loss(goal_of(column, loss=loss), tensor, 0)) for loss in ("l1", "mse"))
    assert l1 == pytest.approx(np.abs(column - np.median(column)).mean(), rel=1e-4)
    assert mse == pytest.approx(column.var(), rel=1e-4)
    classes = np.array([[0.0], [0.0], [0.0], [1.0]])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    found = _constant_loss(goal_of(classes, task="classification"), torch.from_numpy(classes), 0)
    assert float(found) == pytest.approx(entropy, rel=1e-4)
    balanced = _constant_loss(
        goal_of(classes, task="classification", class_weight="balanced"), torch.from_numpy(classes), 0
    )
    assert float(balanced) == pytest.approx(np.log(2), rel=1e-4)


def run(data, rate, function=fit, **more):
    return function(new_model(MODEL, 1, 0), data, SHORT.model_copy(update={"learning_rate": rate}), **more)


def test_a_healthy_network_is_trained_once_and_stays_bit_for_bit(data, caplog):
    found, once = run(data, 1e-3), run(data, 1e-3, fit_once)
    assert found.how() == {"learning_rate": 1e-3, "retries": 0, "dead": False} and not caplog.records
    assert found.history == once.history
    for name, value in once.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value)


def test_a_dead_network_is_trained_again_at_half_the_rate(data, caplog):
    """At this rate the network collapses; after some halvings it learns, with the very weights of that rate alone."""
    rate = 0.03
    assert run(data, rate, fit_once).dead == ("y",)
    with caplog.at_level(logging.WARNING):
        found = run(data, rate)
    assert 1 <= found.retries <= HALVINGS and not found.dead
    assert found.learning_rate == rate / 2**found.retries
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == found.retries
    assert "Dead network (target y) at learning rate 0.03" in said[0] and "half the rate, 0.015 (1 of 3)" in said[0]
    alone = run(data, found.learning_rate, fit_once)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value)
    labels = data.labels[:, 0]
    error = np.abs(predict_rows(found.model, data.store, data.rows)[:, 0] - labels).mean()
    assert error < np.abs(labels - np.median(labels)).mean()


def test_what_stays_dead_is_marked(data, caplog):
    with caplog.at_level(logging.WARNING):
        found = run(data, 3.0)
    assert found.how() == {"learning_rate": 3.0 / 2**HALVINGS, "retries": HALVINGS, "dead": True}
    assert found.dead == ("y",)
    assert len(caplog.records) == HALVINGS + 1
    assert "This run has failed" in caplog.records[-1].getMessage()


def test_only_training_labels_decide(data, monkeypatch):
    """Labels held out for validation may be anything: the judgement does not see them."""
    seen, real = [], module.dead_targets

    def watched(goal, prediction, labels, history):
        seen.append(len(labels))
        return real(goal, prediction, labels, history)

    monkeypatch.setattr(module, "dead_targets", watched)
    settings = SHORT.model_copy(update={"learning_rate": 1e-3, "validation_fraction": 0.3, "steps": 20})
    found = fit(new_model(MODEL, 1, 0), data, settings)
    assert found.n_validation == 12 and seen == [28]


def test_a_retry_that_was_killed_goes_on_bit_for_bit(data, tmp_path, monkeypatch):
    whole = run(data, 0.03, out=tmp_path / "whole")
    original, calls = module.FinetuneModule.training_step, []

    def dies(self, batch, batch_idx):
        calls.append(1)
        if len(calls) == 120 + 90:
            raise KeyError("killed")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.FinetuneModule, "training_step", dies)
    with pytest.raises(KeyError, match="killed"):
        run(data, 0.03, out=tmp_path / "cut")
    monkeypatch.undo()
    again = run(data, 0.03, out=tmp_path / "cut")
    assert again.retries == whole.retries >= 1
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_dead_members_are_left_out_of_an_ensemble(data, tmp_path, monkeypatch, caplog):
    """A constant among the members would pull their mean; as long as two are alive they predict without it."""
    real = module.dead_targets

    def first_is_dead(goal, prediction, labels, history):
        return [0] if len(members) == 1 else real(goal, prediction, labels, history)

    members = []

    def network(seed):
        members.append(seed)
        return new_model(MODEL, 1, seed)

    monkeypatch.setattr(module, "dead_targets", first_is_dead)
    settings = FinetuneSettings(steps=20, batch_sites=40, validation_fraction=0.3)
    with caplog.at_level(logging.WARNING):
        found = train_ensemble(
            InitialNetwork(network, False),
            data,
            settings,
            EnsembleSettings(ensemble=3),
            tmp_path / "out",
            progress=False,
        )
    assert len(found.members) == 2 and not any(fitted.dead for fitted in found.members)
    assert "Left out of the ensemble, for their networks are dead: member_0" in caplog.text
    assert len(Predictor.open(tmp_path / "out").models) == 2


def test_a_training_that_had_no_time_is_never_dead(data, monkeypatch):
    """Whatever the judgement would be, it is asked from ``FEWEST_STEPS_TO_JUDGE`` steps on."""
    monkeypatch.setattr(module, "dead_targets", lambda *_: [0])
    for steps, dead in ((FEWEST_STEPS_TO_JUDGE - 1, ()), (FEWEST_STEPS_TO_JUDGE, ("y",))):
        settings = SHORT.model_copy(update={"steps": steps})
        assert fit_once(new_model(MODEL, 1, 0), data, settings).dead == dead


def test_a_dead_model_is_told_when_it_is_opened(data, tmp_path, capsys):
    initial = InitialNetwork(lambda seed: new_model(MODEL, 1, seed), pretrained=False)
    for rate, said in ((3.0, True), (1e-3, False)):
        train_one(initial, data, SHORT.model_copy(update={"learning_rate": rate}), tmp_path / str(rate), progress=False)
        capsys.readouterr()
        Predictor.open(tmp_path / str(rate))
        assert ("is dead: in training it gave one answer for all crystals" in capsys.readouterr().err) == said


def test_predictions_that_vary_by_just_one_percent_of_the_labels_are_no_single_answer():
    """Labels 0 and 100, spread 50; predictions 50.5 and 49.5, spread 0.5, err by 50.5, a constant by 50."""
    labels = np.array([[0.0], [100.0]])
    assert judged(np.array([[50.5], [49.5]]), labels, [], loss="l1") == []
    assert judged(np.array([[50.4], [49.6]]), labels, [], loss="l1") == [0]


def test_a_loss_that_is_just_a_constants_is_dead():
    """Labels 0 and 8: every constant between them errs by 4, and so do -2 and 2."""
    labels = np.array([[0.0], [8.0]])
    assert judged(np.array([[-2.0], [2.0]]), labels, loss="l1") == [0]
    assert judged(np.array([[-1.0], [2.0]]), labels, loss="l1") == []


def test_a_target_without_training_labels_has_no_loss_and_is_not_dead():
    """The goal was made of labels that are there; those of a held-out part may be missing."""
    goal = goal_of(np.array([[0.0, 1.0], [1.0, 2.0]]), loss="l1")
    labels = torch.tensor([[0.0, torch.nan], [1.0, torch.nan]], dtype=torch.float64)
    assert float(_constant_loss(goal, labels, 1)) == 0 and float(_constant_loss(goal, labels, 0)) == 0.5
    assert dead_targets(goal, torch.full_like(labels, 0.5), labels, []) == [0]
