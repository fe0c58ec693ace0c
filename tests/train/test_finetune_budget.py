"""How long to fine-tune, how fast, and on how many labels, where nobody says."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.nn.build import new_model
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune
from matgl_infomax.train import finetune as budget
from matgl_infomax.train.finetune import (
    Labelled,
    fit,
    hold_out,
    rate_groups,
    resolved_finetuning,
    steps_for,
    with_held_out,
)
from tests.helpers.build import many, store_of


@pytest.mark.parametrize(
    ("labels", "steps"), [(2, 600), (250, 600), (251, 1800), (2500, 1800), (10000, 3000), (10**5, 10000)]
)
def test_more_labels_more_steps(labels, steps):
    assert steps_for(labels) == steps
    settings = resolved_finetuning(FinetuneSettings(), labels, pretrained=False)
    assert (settings.steps, settings.validate_every) == (steps, steps // 10)


def test_what_the_user_says_counts():
    settings = resolved_finetuning(FinetuneSettings(steps=7, validate_every=3), 50, pretrained=False)
    assert (settings.steps, settings.validate_every) == (7, 3)
    assert resolved_finetuning(FinetuneSettings(steps=7), 50, pretrained=False).validate_every == 1  # not 0
    assert resolved_finetuning(FinetuneSettings(validate_every=50), 50, pretrained=False).steps == 600


def test_training_takes_the_steps_of_its_labels(crystals, tmp_path, monkeypatch):
    """All labelled crystals count, those held out to choose the checkpoint included."""
    monkeypatch.setattr(budget, "STEPS", ((19, 4), (40, 30)))
    store = store_of(many(crystals, 24), tmp_path)
    for labels, steps in ((19, 4), (20, 30)):
        model = new_model(ModelSettings(supercell_atoms=20), 1, 0)
        data = Labelled(store, np.arange(labels), np.arange(float(labels)))
        fitted = fit(model, data, FinetuneSettings(validation_fraction=0.4))
        seen = [entry["step"] for entry in fitted.history]
        assert seen[-1] == steps and len(seen) == (4 if steps == 4 else 10)


@pytest.mark.parametrize(("pretrained", "expected"), [(False, 1e-3), (True, 2e-3)])
@pytest.mark.parametrize("asked", [0.0, 5e-4])
def test_rate_goes_by_the_start_unless_one_is_given(crystals, tmp_path, monkeypatch, pretrained, expected, asked):
    rates: list[float] = []

    def groups(model, learning_rate, **shares):
        rates.append(learning_rate)
        return rate_groups(model, learning_rate, **shares)

    monkeypatch.setattr(finetune, "rate_groups", groups)
    model = new_model(ModelSettings(supercell_atoms=12), 1, 0)
    settings = FinetuneSettings(steps=1, learning_rate=asked)
    data = Labelled(store_of(many(crystals, 3), tmp_path), np.arange(3), np.arange(3.0))
    fit(model, data, settings, pretrained=pretrained)
    assert rates == [asked or expected]


@pytest.mark.parametrize(
    ("labels", "asked", "held_out"),
    [
        (100, {}, 0),
        (2500, {}, 0),
        (2501, {}, 250),
        (100, {"patience": 3}, 10),
        (100, {"validation_fraction": 0.2}, 20),
        (5000, {"validation_fraction": 0.0}, 0),
        (99, {"validation_fraction": 0.09}, 0),  # 9 crystals would say nothing
    ],
)
def test_labels_are_held_out_where_they_can_be_spared_or_are_needed(labels, asked, held_out):
    settings = FinetuneSettings(**asked)
    train, held = hold_out(labels, settings)
    assert len(held) == held_out and sorted([*train, *held]) == list(range(labels))
    # The same once everything is settled, so that both ways of asking are one run.
    assert len(hold_out(labels, resolved_finetuning(settings, labels, pretrained=False))[1]) == held_out


def test_an_uncertainty_gets_labels_held_out_unless_the_user_said_how_many():
    assert with_held_out(FinetuneSettings()).validation_fraction == budget.HELD_OUT
    assert with_held_out(FinetuneSettings(validation_fraction=0.0)).validation_fraction == 0.0
