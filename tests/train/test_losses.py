"""Numbers and classes: labels checked and scaled, losses from their formulas, metrics that mean what they say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import FinetuneSettings
from matgl_infomax.train.losses import (
    GOALS,
    balanced_weights,
    check_range,
    classification_metrics,
    declare_output,
    fit_scale,
    refuse_empty,
    regression_metrics,
    score_metrics,
)

CLASSES = FinetuneSettings(task="classification")


def goal(labels, **changes):
    labels = np.asarray(labels, dtype=float)
    return GOALS["classification"](CLASSES.model_copy(update=changes), labels, ["a", "b"][: labels.shape[1]])


def test_area_under_the_curve_is_of_scores_and_not_of_decisions():
    truth, score = np.array([0.0, 0.0, 1.0, 1.0, np.nan]), np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    found = classification_metrics(truth, score)
    assert found["roc_auc"] == 1.0 and found["balanced_accuracy"] == 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in (0.3, 0.3) for b in (0.3, 0.1)]
    tied = score_metrics(np.array([1.0, 1, 0, 0]), np.array([0.3, 0.3, 0.3, 0.1]), 0.5)
    assert tied["roc_auc"] == pytest.approx(np.mean(pairs))


def test_undefined_numbers_are_none():
    one_class = classification_metrics(np.ones(3), np.array([0.2, 0.5, 1.0]))
    assert one_class["roc_auc"] is None and one_class["balanced_accuracy"] is None and one_class["log_loss"] > 0
    assert set(classification_metrics(np.full(3, np.nan), np.zeros(3)).values()) == {None}
    assert regression_metrics(np.full(3, 2.0), np.array([1.0, 2.0, 3.0]))["r2"] is None
    assert set(regression_metrics(np.full(3, np.nan), np.zeros(3)).values()) == {None}


def test_numbers_of_regression():
    truth, prediction = np.array([0.0, 1, 2, np.nan]), np.array([0.0, 1, 5, 9])
    found = regression_metrics(truth, prediction)
    assert found == pytest.approx({"mae": 1.0, "rmse": 3**0.5, "r2": 1 - 9 / 2})


def test_loss_is_cross_entropy_of_the_labels_that_are_there():
    labels = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    logits = torch.tensor([[2.0, 9.0], [1.0, -1.0]])
    expected = [functional.softplus(torch.tensor(x)) for x in (-2.0, 1.0, 1.0)]
    assert float(goal(labels.numpy()).total(logits, labels)) == pytest.approx(float(sum(expected)))


def test_balanced_classes_count_the_same_and_one_on_average():
    labels = np.array([[0.0, 1], [0, 1], [0, 1], [1, np.nan]])
    weight = balanced_weights(labels)
    np.testing.assert_allclose(weight[:, 0], [4 / 6, 2.0])
    np.testing.assert_allclose(weight[:, 1], [1.0, 0.5])  # a class that does not occur
    even = goal(labels, class_weight="balanced").total(torch.zeros(4, 2), torch.from_numpy(labels).float())
    assert float(even) == pytest.approx((4 + 1.5) * np.log(2))
    plain, balanced = (
        goal(labels[:, :1], class_weight=kind).total(torch.tensor([[0.0], [0], [0], [-3]]), torch.tensor(labels[:, :1]))
        for kind in ("none", "balanced")
    )
    assert float(balanced - plain) == pytest.approx((4 / 6 - 1) * 3 * np.log(2) + np.log1p(np.exp(3)), rel=1e-5)


def test_other_labels_are_shown():
    with pytest.raises(InputError, match=r"Target b: .* 0 or 1 .*Received: -1, 0.5, 2\. Make two classes"):
        goal([[0, 0.5], [1, 2.0], [0, -1.0], [1, 1.0]])
    with pytest.raises(InputError, match=r"Target a: .*Received: 2, 3, 4, 5, 6 and 3 other values"):
        goal(np.arange(2.0, 10.0)[:, None])


def test_scale_ignores_missing_and_survives_constants():
    mean, std = fit_scale(np.array([[1.0, 5.0], [3.0, np.nan], [np.nan, 5.0]]))
    np.testing.assert_allclose(mean, [2.0, 5.0])
    np.testing.assert_allclose(std, [1.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "value"),
    [(None, 0.5 + 3.0 + 2.0), ("l1", 0.5 + 3.0 + 2.0), ("mse", 0.25 + 9.0 + 4.0), ("huber", 0.125 + 2.5 + 1.5)],
)
def test_regression_sums_the_chosen_error_over_labels_that_are_there(loss, value):
    labels = torch.tensor([[1.0, float("nan")], [-2.0, 4.0]])
    told = torch.tensor([[1.5, 9.0], [1.0, 2.0]])
    regression = GOALS["regression"](FinetuneSettings(loss=loss), labels.numpy(), ["a", "b"])
    assert float(regression.total(told, labels)) == pytest.approx(value)
    assert regression.validation(told, labels) == {"score": pytest.approx(5.5 / 3)}, "always the absolute error"
    nothing = torch.full((2, 2), float("nan"))
    assert float(regression.total(told, nothing)) == 0.0


def test_classes_have_no_unit():
    mean, std = goal([[0.0, 1.0], [1.0, np.nan]]).scale(np.array([[0.0, 1.0], [1.0, np.nan]]))
    assert mean.tolist() == [0.0, 0.0] and std.tolist() == [1.0, 1.0]


def test_validation_of_classes_is_a_mean_over_targets_that_define_it():
    labels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, float("nan")]])
    logits = torch.tensor([[-1.0, 2.0], [3.0, 1.0], [-2.0, 0.0]])
    found = goal(labels.numpy()).validation(logits, labels)
    losses = [np.log1p(np.exp(x)) for x in (-1.0, -3.0, 2.0, -2.0, -1.0)]
    assert found["score"] == pytest.approx(np.mean(losses))
    # The second target has one class: its area under the curve is not defined, so the first one's counts alone.
    assert found["roc_auc"] == 0.5 and found["balanced_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert set(goal(np.ones((3, 1))).validation(logits[:, :1], torch.ones(3, 1))) == {"score"}


def test_scale_of_hardly_different_numbers_stays_one():
    mean, std = fit_scale(np.array([[1e6, 1e-3], [1e6 + 1e-7, 2e-3]]))
    np.testing.assert_allclose(mean, [1e6, 1.5e-3])
    assert std[0] == 1.0 and std[1] == pytest.approx(5e-4)


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**-90, 2.0**60], ids=["small", "smaller", "large"])
def test_scale_follows_the_unit(unit):
    labels = np.array([[1.0], [2.0], [4.5]])
    mean, std = fit_scale(labels * unit)
    assert mean[0] == 2.5 * unit
    assert std[0] == fit_scale(labels)[1][0] * unit, "a power of two changes no digit"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.linspace(-1, 1, 20) * 1e39, r"Target y: labels reach 1e\+39, more than single precision"),
        (np.linspace(-1, 1, 20) * 1e300, r"labels reach 1e\+300, more than single precision"),
        (np.append(np.linspace(-1, 1, 20), 9.97e36), r"labels reach 9\.97e\+36.*leave the cell empty"),
        (np.linspace(1, 2, 20) * 1e-40, r"labels are at most 2e-40, less than single precision"),
        (-1e6 + np.linspace(-0.05, 0.05, 20), r"lie around -1e\+06 and vary by 0\.03.*Subtract a constant"),
    ],
    ids=["1e39", "1e300", "fill-value", "1e-40", "offset"],
)
def test_labels_that_single_precision_cannot_hold_are_refused(labels, said):
    with pytest.raises(InputError, match=said):
        check_range(labels[:, None], ["y"])


def test_labels_that_single_precision_can_hold_pass():
    n = np.linspace(-1, 1, 20)
    fine = [n, n * 1.6e-19 - 1e-18, n * 1e29, n * 0.05 - 1000, n * 0, n * 0 - 1e6, np.full(20, np.nan), n[:0]]
    for labels in fine:
        check_range(labels[:, None], ["y"])


def test_a_target_without_labels_is_named():
    refuse_empty(np.array([[1.0, np.nan], [np.nan, 2.0]]), ["a", "gap"])
    with pytest.raises(InputError, match="Target gap has no label among the 2 crystals that train"):
        refuse_empty(np.array([[1.0, np.nan], [2.0, np.nan]]), ["a", "gap"])
    with pytest.raises(InputError, match="Target a has no label"):
        GOALS["regression"](FinetuneSettings(), np.full((3, 1), np.nan), ["a"])


@pytest.mark.parametrize(
    ("before", "task", "after"),
    [
        ("identity", "regression", "identity"),
        ("identity", "classification", "probability"),
        ("probability", "classification", "probability"),
        ("probability", "regression", "identity"),
        ("transparent_relu", "regression", "transparent_relu"),
    ],
)
def test_a_model_says_what_comes_out_of_it_also_when_saved(before, task, after):
    model = SimpleNamespace(output=before, _init_args={"output": before, "n": 1})
    declare_output(model, task)
    assert model.output == after and model._init_args == {"output": after, "n": 1}


def test_a_network_without_negative_numbers_cannot_classify():
    model = SimpleNamespace(output="transparent_relu", _init_args={})
    with pytest.raises(InputError, match=r"gives no negative numbers, so it cannot classify.*output = identity"):
        declare_output(model, "classification")
    assert model.output == "transparent_relu"
