"""The final model: fitted on all labels, opened by ``predict``, with the error and the interval of the folds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax import cli
from matgl_infomax.api import predict
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.record import read_card
from matgl_infomax.tasks.studies.arms import ArmTask, predict_from, scratch
from matgl_infomax.tasks.studies.curve import learning_curve, plan_curve, prepare_curve
from matgl_infomax.tasks.studies.demo import write_crystals
from matgl_infomax.tasks.studies.descriptors import descriptors, read_descriptors
from matgl_infomax.tasks.studies.final import CARD, COVERAGE, FinalModel, cross_conformal
from tests.helpers.build import many
from tests.helpers.small_curve import FAST, config

Z = 1.6448536269514722
"""Half the width of a Gaussian's 90 % interval."""


def study(items, folder, arms, **changes):
    settings = {"folds": 3, "labels": [], "group": "none", "arms": arms, "fit_final": True, **changes}
    return learning_curve(items, "y", config(folder, **settings), progress=False)


def oof(errors):
    """Out-of-fold predictions whose errors are given, a row per seed, (R, n)."""
    n = errors.shape[1]
    parts = [
        pd.DataFrame({"seed": seed, "id": [f"c{k}" for k in range(n)], "target": 1.0, "prediction": 1.0 + row})
        for seed, row in enumerate(errors)
    ]
    return pd.concat(parts)


def test_the_interval_is_the_conformal_quantile():
    """Of 19 errors 1 to 19 the 18th, for (19 + 1) 0.9 = 18; of two repeats the mean of both."""
    one = cross_conformal(oof(np.arange(1.0, 20.0)[None]))
    assert one.std(np.zeros(1))[0] * Z == pytest.approx(18)
    assert (one.method, one.coverage, one.n) == ("conformal", COVERAGE, 19)
    two = cross_conformal(oof(np.stack([np.arange(1.0, 20.0), 3 * np.arange(1.0, 20.0)])))
    assert two.std(np.zeros(1))[0] * Z == pytest.approx((18 + 54) / 2)


def test_the_interval_holds_nine_of_ten_new_crystals():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        width = cross_conformal(oof(np.abs(rng.standard_t(3, size=(2, 60))))).floor * Z
        held.append(np.mean(np.abs(rng.standard_t(3, size=500)) <= width))
    # Each repeat's quantile holds 55 of 61 on average (Vovk et al. 2005, proposition 2.3), which 400 studies measure.
    assert np.mean(held) == pytest.approx(55 / 61, abs=0.015)


def test_descriptors_learn_from_all_labels(crystals, tmp_path):
    items = [replace(c, labels={}) if k % 4 == 0 else c for k, c in enumerate(many(crystals, 40))]
    result = study(items, tmp_path, ["descriptors"])
    folder = tmp_path / "out" / "final"
    table = FinalModel.open(folder).predict(items, tmp_path / "cache", progress=False)
    with pytest.raises(InputError, match=r"holds the arm descriptors of a learning curve, which is no trained network"):
        predict(items, folder, cache=tmp_path / "cache", progress=False)
    features = read_descriptors(descriptors(items, tmp_path / "cache", progress=False))
    rows = [k for k in range(40) if k % 4]
    labels = np.array([items[row].labels["y"] for row in rows])
    assert np.array_equal(table["y"], predict_from("trees", features[rows], labels, features, 0))
    assert list(table.columns) == ["id", "y", "y_std"] and table["id"].tolist() == [c.id for c in items]
    card = read_card(folder / CARD)
    assert (card.arm, card.mask.used, card.n_test) == ("descriptors", 30, 30)
    error = (result.predictions["prediction"] - result.predictions["target"]).abs()
    most = result.predictions["labels"] == result.verdict.choice.labels
    assert card.metrics.mae == pytest.approx(error[most].mean())
    assert card.interval.half_width == pytest.approx(table["y_std"][0] * Z)
    assert result.notes[-1].startswith("Final model: descriptors on all 30 labels")


def test_a_network_is_trained_on_all_labels_from_its_start(crystals, tmp_path):
    items = many(crystals, 24)
    study(items, tmp_path, ["scratch"], seeds=1)
    table = predict(items, tmp_path / "out" / "final", cache=tmp_path / "cache", progress=False)
    opened = FinalModel.open(tmp_path / "out" / "final").predict(items, tmp_path / "cache", progress=False)
    pd.testing.assert_frame_equal(table, opened)
    settings = config(tmp_path, arms=["scratch"], folds=3, group="none", labels=[])
    plan = prepare_curve(plan_curve(Crystals(items), "y", settings), Crystals(items), progress=False)
    rows = np.arange(24)
    task = ArmTask(rows, plan.labels, rows, 0, settings.model, settings.finetune, (), settings.cache, plan.store)
    assert np.allclose(table["y"], scratch(task).prediction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("arm", ["untrained", "frozen", "finetuned"])
def test_arms_with_weights_predict_from_their_folder_alone(crystals, tmp_path, arm):
    items = many(crystals, 24)
    study(items, tmp_path, [arm], seeds=1, labels=[8])
    folder = tmp_path / "out" / "final"
    (tmp_path / "out").rename(tmp_path / "moved")
    opened = FinalModel.open(tmp_path / "moved" / "final")
    table = opened.predict(items[:5], tmp_path / "other", progress=False)
    again = opened.predict(items, tmp_path / "cache", progress=False)
    assert np.isfinite(table["y"]).all() and np.allclose(table["y"], again["y"][:5], atol=1e-6)
    assert not folder.exists()
    card = read_card(tmp_path / "moved" / "final" / CARD)
    assert card.initial.name == ("scratch" if arm == "untrained" else "pretrained")
    if arm != "untrained":
        assert card.initial.facts["crystals"] == 24, "no crystal is tested any more"


def test_a_finished_model_is_kept_and_another_one_is_not_overwritten(crystals, tmp_path):
    items = many(crystals, 40)
    study(items, tmp_path, ["descriptors"])
    record = tmp_path / "out" / "final" / "final.json"
    before = record.stat().st_mtime_ns
    study(items, tmp_path, ["descriptors"])
    assert record.stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"earlier state of this study \(arm descriptors\). Move or delete"):
        study(items, tmp_path, ["descriptors"], seeds=3)
    assert record.stat().st_mtime_ns == before


def test_changed_training_data_are_refused(crystals, tmp_path):
    items = many(crystals, 40)
    study(items, tmp_path, ["descriptors"])
    folder = tmp_path / "out" / "final"
    assert FinalModel.open(tmp_path) is None
    (folder / "training.npz").write_bytes(b"other")
    with pytest.raises(InputError, match="not the file it was written as"):
        FinalModel.open(folder)


def test_the_chosen_learning_rate_is_that_of_the_folds(crystals, tmp_path):
    """The rate with the lowest mean error on the held-out parts of the masks, read from the run cards."""
    items = many(crystals, 24)
    rates = [1e-5, 1e-2]
    result = study(
        items, tmp_path, ["scratch"], seeds=1, labels=[12], learning_rates=rates, finetune={**FAST, "steps": 8}
    )
    tried = {rate: np.mean([t.mae for c in result.cards for t in c.tried if t.learning_rate == rate]) for rate in rates}
    claim = json.loads((tmp_path / "out" / "final" / "run.json").read_text())
    assert claim["learning rate"] == min(tried, key=tried.get)


def test_the_command_predicts_with_a_final_model_of_any_kind(crystals, tmp_path):
    """From the files of a user to a table: the command looks at the folder before it reads anything."""
    items = many(crystals, 30)
    write_crystals(items, tmp_path / "crystals.parquet")
    study(items, tmp_path, ["descriptors"], seeds=1, labels=[10])
    words = ["predict", "--data", str(tmp_path / "crystals.parquet"), "--checkpoint", str(tmp_path / "out" / "final")]
    assert cli.main([*words, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "p.parquet")]) == 0
    known = FinalModel.open(tmp_path / "out" / "final").predict(items, tmp_path / "cache", progress=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), known)
