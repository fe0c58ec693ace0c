"""Ensembles: members that resume one by one, one table, and an uncertainty that holds what it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax import api, cli
from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings, ModelSettings
from matgl_infomax.train import finetune as module
from matgl_infomax.train.ensemble import FLOOR, calibrate, combine, fewest_labels, interval_width
from tests.helpers.build import many

SMALL = ModelSettings(supercell_atoms=12)
SHORT = FinetuneSettings(steps=6, validate_every=3, batch_sites=40, validation_fraction=0.3)
TWO = EnsembleSettings(ensemble=2)


@pytest.fixture
def items(crystals):
    return [replace(c, labels={"y": c.labels["y"], "big": float(c.labels["y"] > 3)}) for c in many(crystals, 40)]


def tuned(items, tmp_path, name="model", targets="y", **more):
    options = {"model": SMALL, "settings": SHORT, "ensemble": TWO, "cache": tmp_path, "progress": False} | more
    return api.finetune(items, targets, tmp_path / name, **options)


def table(items, path, tmp_path):
    return api.predict(items, path, cache=tmp_path, progress=False)


def draws(n, members=5, scale=3.0, seed=0):
    """Labels whose error is ``scale`` times what the members' spread says, the spread differing between labels."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 2.0, n)
    predicted = rng.normal(size=(members, n))
    predicted = (predicted - predicted.mean(axis=0)) / predicted.std(axis=0, ddof=1) * spread
    return scale * spread * rng.normal(size=n), predicted


def test_factor_is_the_likeliest_under_a_gaussian():
    truth, predicted = draws(4000)
    found = calibrate(truth, predicted, "gaussian", 0.9)
    assert found.factor == pytest.approx(3.0, rel=0.05)
    mean, spread = combine(predicted)

    def likelihood(factor):
        std = factor * np.hypot(spread, found.floor)
        return float(np.sum(-0.5 * ((truth - mean) / std) ** 2 - np.log(std)))

    best = likelihood(found.factor)
    assert best > likelihood(found.factor * 1.01) and best > likelihood(found.factor * 0.99)
    assert found.observed == pytest.approx(0.9, abs=0.02) and found.unscaled < 0.6


@pytest.mark.parametrize("method", ["gaussian", "conformal"])
def test_coverage_is_judged_without_the_label_itself(method):
    differs = []
    for seed in range(30):
        truth, predicted = draws(12, seed=seed)
        found = calibrate(truth, predicted, method, 0.8)
        mean, spread = combine(predicted)
        width = np.hypot(spread, found.floor)
        ratio = np.abs(truth - mean) / width
        inside = []
        for k in range(12):
            rest = np.delete(ratio, k)
            gaussian = interval_width(0.8) * np.sqrt((rest**2).mean())
            half = gaussian if method == "gaussian" else np.sort(rest)[math.ceil(12 * 0.8) - 1]
            inside.append(ratio[k] <= half)
        assert found.observed == pytest.approx(np.mean(inside))
        differs.append(found.observed != np.mean(ratio <= interval_width(0.8) * found.factor))
    assert any(differs)


def test_conformal_intervals_hold_new_labels_whatever_their_distribution():
    held = []
    for seed in range(300):
        truth, predicted = draws(20, seed=seed)
        truth = np.sign(truth) * np.abs(truth) ** 3  # far from a Gaussian
        known = calibrate(truth[:19], predicted[:, :19], "conformal", 0.8)
        mean, spread = combine(predicted[:, 19:])
        half = interval_width(0.8) * known.std(spread)
        held.append(abs(truth[19] - mean[0]) <= half[0])
    assert np.mean(held) == pytest.approx(0.8, abs=0.06)


def test_conformal_factor_is_a_quantile():
    truth, predicted = np.arange(1.0, 11.0), np.stack([np.full(10, -1.0), np.full(10, 1.0)])
    found = calibrate(truth, predicted, "conformal", 0.9)
    half = interval_width(0.9) * found.std(combine(predicted)[1])
    np.testing.assert_allclose(half, 10.0)  # the 10th of 10, as (10 + 1) * 0.9 rounds up to it
    assert fewest_labels("conformal", 0.9) == 9 and fewest_labels("conformal", 0.99) == 99


def test_members_that_agree_on_a_wrong_number_are_not_certain():
    truth, predicted = draws(30)
    predicted[:, :3] = 0.0
    for method in ("gaussian", "conformal"):
        found = calibrate(truth, predicted, method, 0.9)
        error = np.sqrt(np.mean((truth - predicted.mean(axis=0)) ** 2))
        assert found.floor == pytest.approx(FLOOR * error)
        assert (found.std(combine(predicted)[1]) > 0).all() and np.isfinite(found.factor)


def test_perfect_members_divide_nothing_by_zero():
    found = calibrate(np.zeros(12), np.zeros((3, 12)), "gaussian", 0.9)
    assert (found.factor, found.floor, found.observed) == (0.0, 0.0, 1.0)


def test_missing_labels_are_left_out():
    truth, predicted = draws(30)
    gaps = np.where(np.arange(30) % 3 == 0, np.nan, truth)
    known = ~np.isnan(gaps)
    assert calibrate(gaps, predicted, "gaussian", 0.9) == calibrate(truth[known], predicted[:, known], "gaussian", 0.9)


def test_table_is_mean_and_scaled_spread_of_the_members(items, tmp_path):
    result = tuned(items, tmp_path, targets=["y", "big"])
    both = table(items, result.path, tmp_path)
    assert list(both.columns) == ["id", "y", "y_std", "big", "big_std"]
    members = [table(items, result.path / f"member_{k}", tmp_path) for k in range(2)]
    assert not np.allclose(members[0]["y"], members[1]["y"])
    for target in ("y", "big"):
        alone = np.stack([member[target] for member in members])
        np.testing.assert_allclose(both[target], alone.mean(axis=0))
        known = result.ensemble.calibration[target]
        spread = np.abs(alone[0] - alone[1]) / math.sqrt(2)
        np.testing.assert_allclose(both[f"{target}_std"], known.factor * np.hypot(spread, known.floor))
    written = json.loads((result.path / "ensemble.json").read_text())
    assert written["calibration"]["y"]["n"] == 12 and written["validation"]["y"]["mae"] > 0


def test_members_share_the_labels_that_none_was_trained_on(items, tmp_path):
    members = tuned(items, tmp_path, ensemble=EnsembleSettings(ensemble=3)).ensemble.members
    assert len({tuple(fitted.held_out) for fitted in members}) == 1
    assert len({float(fitted.history[0]["train/loss"]) for fitted in members}) == 3


def test_members_resume_one_by_one_bit_for_bit(items, tmp_path, monkeypatch):
    whole = tuned(items, tmp_path, "whole")
    steps = []
    original = module.FinetuneModule.training_step

    def counted(self, batch, batch_idx):
        steps.append(self.global_step)
        if killing and len(steps) == 11:
            raise KeyError("killed")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.FinetuneModule, "training_step", counted)
    killing = True
    with pytest.raises(KeyError, match="killed"):
        tuned(items, tmp_path, "cut")
    assert not (tmp_path / "cut" / "ensemble.json").exists()
    assert (tmp_path / "cut" / "member_0" / "finetune.json").is_file()
    killing = False
    steps.clear()
    resumed = tuned(items, tmp_path, "cut")
    assert steps == [3, 4, 5]  # of the second member alone, from its checkpoint
    pd.testing.assert_frame_equal(table(items, resumed.path, tmp_path), table(items, whole.path, tmp_path))
    assert resumed.ensemble.calibration == whole.ensemble.calibration


def test_ensemble_grows_and_is_calibrated_anew_without_training_again(items, tmp_path, monkeypatch):
    tuned(items, tmp_path)
    steps = []
    original = module.FinetuneModule.training_step

    def counted(self, batch, batch_idx):
        steps.append(self.global_step)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.FinetuneModule, "training_step", counted)
    three = tuned(items, tmp_path, ensemble=EnsembleSettings(ensemble=3, calibration="conformal", coverage=0.8))
    assert steps == [0, 1, 2, 3, 4, 5] and len(three.ensemble.members) == 3
    assert three.ensemble.calibration["y"].method == "conformal"


def test_single_model_in_the_folder_of_an_ensemble_is_refused(items, tmp_path):
    tuned(items, tmp_path)
    with pytest.raises(InputError, match="its kind is ensemble, this one's is finetune"):
        tuned(items, tmp_path, ensemble=EnsembleSettings())
    with pytest.raises(InputError, match=r"its settings\.steps is 6, this one's is 9"):
        tuned(items, tmp_path, settings=SHORT.model_copy(update={"steps": 9}))


def test_ensemble_of_classifiers_gives_mean_probability_and_spread_as_it_is(items, tmp_path):
    settings = SHORT.model_copy(update={"task": "classification"})
    result = tuned(items, tmp_path, targets="big", settings=settings)
    both = table(items, result.path, tmp_path)
    members = np.stack([table(items, result.path / f"member_{k}", tmp_path)["big"] for k in range(2)])
    np.testing.assert_allclose(both["big"], members.mean(axis=0))
    np.testing.assert_allclose(both["big_std"], members.std(axis=0, ddof=1))
    assert result.ensemble.calibration == {} and result.validation["big"]["roc_auc"] is not None


def test_an_ensemble_holds_labels_out_unasked(crystals, tmp_path):
    many_labels = [replace(c, labels={"y": c.labels["y"]}) for c in many(crystals, 100)]
    result = tuned(many_labels, tmp_path, settings=SHORT.model_copy(update={"validation_fraction": None}))
    assert result.ensemble.calibration["y"].n == 10 and result.fitted.n_train == 90


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ensemble": EnsembleSettings(calibration="gaussian")}, "calibration is about the spread of several models"),
        ({"ensemble": EnsembleSettings(coverage=0.5)}, "coverage is about the spread"),
        (
            {
                "ensemble": EnsembleSettings(ensemble=2, coverage=0.5),
                "settings": SHORT.model_copy(update={"task": "classification"}),
            },
            "coverage is for numbers",
        ),
        ({"targets": ["y", "y_std"]}, "would be in column y_std, a target"),
        (
            {"settings": SHORT.model_copy(update={"validation_fraction": 0.1})},
            r"The uncertainty of y is fitted on held-out labels, at least 10\. Received: 0 of 40",
        ),
        (
            {"ensemble": EnsembleSettings(ensemble=2, calibration="conformal", coverage=0.95)},
            r"at least 19\. Received: 12 of 40",
        ),
    ],
    ids=["calibration", "coverage", "classes", "name", "few", "far-out"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(changes, sentence, items, tmp_path):
    if "targets" in changes:
        items = [replace(c, labels={**c.labels, "y_std": 1.0}) for c in items]
    with pytest.raises(InputError, match=sentence):
        tuned(items, tmp_path, **changes)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["encoder_rate", "layer_decay", "unfreeze_every"])
def test_care_for_pretrained_weights_needs_some(name, items, tmp_path):
    value = {"encoder_rate": 0.1, "layer_decay": 0.5, "unfreeze_every": 1}[name]
    with pytest.raises(InputError, match=rf"{name} = {value} is for pretrained weights.* Give init"):
        tuned(items, tmp_path, settings=SHORT.model_copy(update={name: value}))


def test_command_line_reports_the_coverage(items, tmp_path, capsys):
    rows = [
        {"lattice": c.lattice.ravel(), "atomic_numbers": c.numbers, "frac_coords": c.frac.ravel(), **c.labels}
        for c in items
    ]
    pd.DataFrame(rows).assign(id=[c.id for c in items]).to_parquet(tmp_path / "crystals.parquet")
    shared = ["--data", str(tmp_path / "crystals.parquet"), "--cache", str(tmp_path / "cache")]
    train = ["--target", "y", "--out", str(tmp_path / "m"), "--model.supercell-atoms", "12", "--steps", "6"]
    more = ["--validation-fraction", "0.3", "--ensemble", "2", "--calibration", "conformal", "--coverage", "0.8"]
    assert cli.main(["finetune", *shared, *train, *more]) == 0
    text = capsys.readouterr().out
    assert "Fine-tuned 2 models on 28 crystals (12 held out)" in text
    assert "On held-out labels, y: mean absolute error" in text and "80% intervals hold" in text
    assert cli.main(["predict", *shared, "--checkpoint", str(tmp_path / "m"), "--out", str(tmp_path / "p.csv")]) == 0
    assert list(pd.read_csv(tmp_path / "p.csv").columns) == ["id", "y", "y_std"]
    assert cli.main(["finetune", *shared, *train, "--loss", "bce"]) == 2
    assert "no loss for regression" in capsys.readouterr().err
