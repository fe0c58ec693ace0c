"""Classes instead of numbers: cross-entropy on logits, probabilities out, metrics that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax import api
from matgl_infomax.data.read import to_label
from matgl_infomax.errors import InputError
from matgl_infomax.host import load_model
from matgl_infomax.nn.build import load_encoder, new_model, with_new_head
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.finetune import Labelled, fit
from matgl_infomax.train.losses import (
    check_goal,
)
from matgl_infomax.train.predict import predict_rows
from tests.helpers.build import many, store_of
from tests.helpers.kill import killed_at

SMALL = ModelSettings(supercell_atoms=20)
CLASSES = FinetuneSettings(task="classification", steps=20, validate_every=8, batch_sites=20, validation_fraction=0.25)


@pytest.fixture
def items(crystals):
    """Sixty crystals: those with a large volume per site are of class 1."""
    found = many(crystals, 60)
    middle = np.median([c.labels["y"] for c in found])
    return [replace(c, labels={"big": float(c.labels["y"] > middle)}) for c in found]


@pytest.fixture
def data(items, tmp_path):
    return store_of(items, tmp_path / "cache"), np.array([[c.labels["big"]] for c in items])


def run(data, settings=CLASSES, labels=None, network=SMALL, **more):
    labels = data[1] if labels is None else labels
    return fit(new_model(network, labels.shape[1], 0), Labelled(data[0], np.arange(60), labels), settings, **more)


def test_learns_what_can_be_learnt(data):
    changes = {"steps": 200, "batch_sites": 60, "learning_rate": 3e-3, "validate_every": 50}
    fitted = run(data, CLASSES.model_copy(update=changes))
    probability = predict_rows(fitted.model, data[0], np.arange(60))
    assert ((probability > 0) & (probability < 1)).all()
    assert ((probability > 0.5) == data[1]).mean() > 0.85


def test_validation_numbers_are_those_of_the_predictions(data):
    from sklearn import metrics

    fitted = run(data, CLASSES.model_copy(update={"ema_decay": 0.0, "learning_rate": 3e-3}))
    best = next(entry for entry in fitted.history if entry["step"] == fitted.best_step)
    truth = data[1][fitted.held_out, 0]
    probability = predict_rows(fitted.model, data[0], fitted.held_out)[:, 0]
    assert best["validation/roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, probability))
    assert best["validation/balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(truth, probability > 0.5)
    )
    assert best["validation/score"] == pytest.approx(metrics.log_loss(truth, probability), rel=1e-4)


def test_balanced_weights_find_more_of_the_rare_class(data):
    rare = data[1] * (np.arange(60) % 3 == 0)[:, None]
    settings = CLASSES.model_copy(update={"steps": 60, "learning_rate": 3e-3, "batch_sites": 60})
    kinds = [settings.model_copy(update={"class_weight": kind}) for kind in ("none", "balanced")]
    # A network that soon tells the classes apart has no need of weights.
    slow = SMALL.model_copy(update={"preset": "compact"})
    mean = [predict_rows(run(data, kind, rare, slow).model, data[0], np.arange(60)).mean() for kind in kinds]
    assert mean[1] > mean[0] + 0.1


def test_several_targets_with_batches_that_have_none_of_one(data):
    both = np.concatenate([data[1], np.full((60, 1), np.nan)], axis=1)
    train, _ = module.hold_out(60, CLASSES)
    both[train[:2], 1] = [0.0, 1.0]
    fitted = run(data, CLASSES.model_copy(update={"batch_sites": 4}), both)
    assert all(torch.isfinite(value).all() for value in fitted.model.state_dict().values())
    assert np.isfinite([list(entry.values()) for entry in fitted.history]).all()
    assert fitted.best_step and "validation/roc_auc" in fitted.history[-1]


def test_one_class_alone_divides_nothing_by_zero(data):
    fitted = run(data, CLASSES.model_copy(update={"class_weight": "balanced", "steps": 40}), np.ones((60, 1)))
    assert np.isfinite(predict_rows(fitted.model, data[0], np.arange(60))).all()
    assert "validation/score" in fitted.history[-1] and "validation/roc_auc" not in fitted.history[-1]


@pytest.mark.parametrize("step", [3, 12])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, data, tmp_path):
    settings = CLASSES.model_copy(update={"class_weight": "balanced"})
    whole = run(data, settings, out=tmp_path / "whole")
    with killed_at(step, module.FinetuneModule):
        run(data, settings, out=tmp_path / "cut")
    resumed = run(data, settings, out=tmp_path / "cut")
    assert resumed.history == whole.history
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_two_processes_classify_like_one(data):
    settings = CLASSES.model_copy(update={"class_weight": "balanced"})
    one, two = (run(data, settings.model_copy(update={"processes": n})) for n in (1, 2))
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_true_and_false_are_labels():
    assert [to_label(value) for value in ("true", "False", " TRUE ", True, False, "1")] == [1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "classification", "loss": "mse"}, "loss = mse is no loss for classification.* take: bce"),
        ({"loss": "bce"}, "loss = bce is no loss for regression.* take: l1, mse, huber"),
        ({"class_weight": "balanced"}, "class_weight = balanced weighs classes, and regression has none"),
    ],
)
def test_settings_that_contradict_the_task_get_a_sentence(changes, sentence, data):
    settings = FinetuneSettings(**changes)
    with pytest.raises(InputError, match=sentence):
        check_goal(settings)
    with pytest.raises(InputError, match=sentence):
        run(data, settings)
    check_goal(FinetuneSettings(task="classification", loss="bce", class_weight="balanced"))


def test_classifier_that_gives_no_negative_logits_is_refused(data):
    model = SiteNet.from_preset("compact", output="transparent_relu")
    with pytest.raises(InputError, match="cannot classify"):
        fit(model, Labelled(data[0], np.arange(60), data[1]), CLASSES)


def tuned(items, tmp_path, targets="big", **more):
    options = {"model": SMALL, "settings": CLASSES, "cache": tmp_path, "progress": False} | more
    return api.finetune(items, targets, tmp_path / "model", **options)


def test_saved_classifier_gives_probabilities_wherever_it_is_opened(items, tmp_path):
    result = tuned(items, tmp_path)
    assert set(result.validation["big"]) == {"balanced_accuracy", "roc_auc", "log_loss"}
    table = api.predict(items, result.path, cache=tmp_path, progress=False)
    assert list(table.columns) == ["id", "big"] and table["big"].between(0, 1).all()
    opened = load_model(result.path)
    for crystal, value in zip(items[:5], table["big"], strict=False):
        assert float(opened.predict_structure(crystal.to_structure())) == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_encoder_of_a_classifier_learns_a_number(items, data, tmp_path):
    encoder = load_encoder(tuned(items, tmp_path).path)
    assert encoder.output == "probability"
    model = with_new_head(encoder, 1, seed=0)
    large = Labelled(data[0], np.arange(60), data[1] * 100)
    fitted = fit(model, large, CLASSES.model_copy(update={"task": "regression"}))
    assert fitted.model.output == fitted.model.init_args["output"] == "identity"
    assert predict_rows(fitted.model, data[0], np.arange(60)).max() > 1.5
