"""Numbers or classes: how labels are checked and scaled, what a step minimises, and what a validation says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from matgl_infomax.data.forces import ForceLabels
from matgl_infomax.errors import InputError
from matgl_infomax.settings.training import FinetuneSettings

REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}
SHOWN = 5
"""Wrong labels that a message names."""


class Goal(nn.Module, ABC):
    """What fine-tuning is after; holds no weights.

    Args:
        settings: fine-tuning settings.
        labels: of the training part, NaN where missing, (n, T).
        names: of the targets.

    Raises:
        InputError: If the settings or the labels make no sense together.
    """

    def __init__(self, settings: FinetuneSettings, labels: NDArray[np.float64], names: Sequence[str]) -> None:
        super().__init__()
        refuse_empty(labels, names)
        check_goal(settings)

    @abstractmethod
    def scale(self, labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean (T,) and standard deviation (T,) of the normaliser, from the training part of the labels, (n, T)."""

    @abstractmethod
    def total(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Sum of the loss over the labels that are there, from two (b, T) in units of the normaliser."""

    @abstractmethod
    def validation(self, prediction: Tensor, labels: Tensor) -> dict[str, float]:
        """``score`` (lower is better) and other numbers of a validation, from two (n, T) in those units."""

    def shown(self, prediction: Tensor) -> Tensor:
        """Predictions in units in which they can be compared with labels, (n, T)."""
        return prediction


class Regression(Goal):
    """Learn numbers: the error in units of the normaliser."""

    def __init__(self, settings: FinetuneSettings, labels: NDArray[np.float64], names: Sequence[str]) -> None:
        super().__init__(settings, labels, names)
        self.loss = REGRESSION_LOSSES[settings.loss or "l1"]

    def scale(self, labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Those of the labels."""
        return fit_scale(labels)

    def total(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """The chosen error."""
        present = ~labels.isnan()
        return self.loss(prediction[present], labels[present], reduction="sum")

    def validation(self, prediction: Tensor, labels: Tensor) -> dict[str, float]:
        """Mean absolute error."""
        return {"score": float((prediction - labels).abs()[~labels.isnan()].mean())}


class Classification(Goal):
    """Learn classes 0 and 1: binary cross-entropy on logits."""

    weight: Tensor  # (2, T) of class 0 and of class 1

    def __init__(self, settings: FinetuneSettings, labels: NDArray[np.float64], names: Sequence[str]) -> None:
        super().__init__(settings, labels, names)
        check_classes(labels, names)
        balanced = settings.class_weight == "balanced"
        weight = balanced_weights(labels) if balanced else np.ones((2, labels.shape[1]))
        self.register_buffer("weight", torch.from_numpy(weight).float(), persistent=False)

    def scale(self, labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """None: logits have no unit."""
        return np.zeros(labels.shape[1]), np.ones(labels.shape[1])

    def total(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Weighted binary cross-entropy."""
        present = ~labels.isnan()
        of_class = self.weight.to(prediction.device)  # a validation is put together on the CPU
        weight = torch.where(labels > 0.5, of_class[1], of_class[0])[present]
        loss = functional.binary_cross_entropy_with_logits
        return loss(prediction[present], labels[present], weight, reduction="sum")

    def validation(self, prediction: Tensor, labels: Tensor) -> dict[str, float]:
        """The loss as score; balanced accuracy and area under the ROC curve as means over targets that define them."""
        score = self.total(prediction, labels) / (~labels.isnan()).sum()
        logits, truth = prediction.double().numpy(), labels.double().numpy()
        # Logits, not probabilities: no two of them become equal by rounding.
        of_targets = [score_metrics(truth[:, k], logits[:, k], 0.0) for k in range(truth.shape[1])]
        found = {"score": float(score)}
        for name in of_targets[0]:
            values = [entry[name] for entry in of_targets]
            defined = [value for value in values if value is not None]
            found |= {name: float(np.mean(defined))} if defined else {}
        return found

    def shown(self, prediction: Tensor) -> Tensor:
        """Probabilities of class 1."""
        return prediction.sigmoid()


GOALS: dict[str, type[Goal]] = {"regression": Regression, "classification": Classification}


# Is a network dead? It gives one answer for all crystals, or is no better than a constant on its own training labels.

FLAT = 0.01
"""Predictions that vary by less than this share of the labels' spread count as one answer for all crystals."""
FEWEST_STEPS = 100
"""Before so many steps, a loss that is not below a constant's may only mean that the training was short."""
LOGIT = 30.0
"""Largest logit of a constant; the probability of the other class is below 1e-13 then."""


def dead_targets(goal: Goal, prediction: Tensor, labels: Tensor, history: Sequence[dict[str, float]]) -> list[int]:
    """Targets for which a trained network is dead, judged by its own training labels.

    A target is dead if the loss is not below 99 % of a constant's and predictions (of a classifier: probabilities)
    have less than 1 % of the labels' standard deviation. It is dead too if the loss is not below a constant's,
    neither at the end nor in any part of a training of 100 steps or more. The constant is the one of least loss.

    Args:
        goal: what was minimised.
        prediction: of labelled training crystals, in units of the normaliser, (n, T).
        labels: theirs in the same units, NaN where missing, (n, T).
        history: records of the training, with ``step`` and ``train/loss``.

    Returns:
        Positions of the dead targets. A target with fewer than two different labels is never dead: one answer is right.
    """
    present = ~labels.isnan()  # (n, T)
    constant = torch.stack([_constant_loss(goal, labels, k) for k in range(labels.shape[1])])  # (T,)
    found = torch.stack([_loss_of(goal, prediction, labels, k) for k in range(labels.shape[1])])  # (T,)
    counts = present.sum(dim=0)  # (T,)
    overall = float((constant * counts).sum() / counts.sum().clamp(min=1))
    losses = [entry["train/loss"] for entry in history if "train/loss" in entry]
    short = not history or history[-1]["step"] < FEWEST_STEPS
    never = not short and all(loss >= overall for loss in losses)
    dead = []
    for k in range(labels.shape[1]):
        truth, said = labels[present[:, k], k], goal.shown(prediction)[present[:, k], k]
        if len(truth) < 2 or float(truth.std(correction=0)) <= ROUNDING * float(truth.abs().max()):
            continue
        flat = float(said.std(correction=0)) < FLAT * float(truth.std(correction=0))
        if (flat and found[k] > (1 - FLAT) * constant[k]) or (never and found[k] >= constant[k]):
            dead.append(k)
    return dead


def _loss_of(goal: Goal, prediction: Tensor, labels: Tensor, target: int) -> Tensor:
    """Mean loss of one target over the labels that are there, from two (n, T)."""
    only = torch.full_like(labels, torch.nan)
    only[:, target] = labels[:, target]
    return goal.total(prediction, only).double() / (~only.isnan()).sum().clamp(min=1)


def _constant_loss(goal: Goal, labels: Tensor, target: int) -> Tensor:
    """The same of the constant prediction for which it is least; all losses are convex."""
    from scipy.optimize import minimize_scalar

    known = labels[~labels[:, target].isnan(), target]
    if not len(known):
        return torch.zeros((), dtype=torch.float64)
    bounds = (float(known.min()), float(known.max()))
    if isinstance(goal, Classification):
        bounds = (-LOGIT, LOGIT)

    def loss(constant: float) -> float:
        return float(_loss_of(goal, torch.full_like(labels, constant), labels, target))

    if bounds[0] == bounds[1]:
        return torch.tensor(loss(bounds[0]), dtype=torch.float64)
    return torch.tensor(float(minimize_scalar(loss, bounds=bounds, method="bounded").fun), dtype=torch.float64)


# How good predictions are, for one target; missing labels are left out.

Metrics = dict[str, float | None]
"""Numbers by name; None where the labels do not define one, such as R² of a constant."""


def regression_metrics(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Metrics:
    """Mean absolute error, root mean square error and R², in units of the target.

    Args:
        truth: labels, NaN where missing, (n,).
        prediction: predicted values, (n,).
    """
    from sklearn import metrics

    truth, prediction = _known(truth, prediction)
    if not len(truth):
        return {"mae": None, "rmse": None, "r2": None}
    varies = len(np.unique(truth)) > 1
    return {
        "mae": float(metrics.mean_absolute_error(truth, prediction)),
        "rmse": float(metrics.root_mean_squared_error(truth, prediction)),
        "r2": float(metrics.r2_score(truth, prediction)) if varies else None,
    }


def classification_metrics(truth: NDArray[np.float64], probability: NDArray[np.float64]) -> Metrics:
    """Balanced accuracy at probability one half, area under the ROC curve of the probabilities, and log loss.

    Args:
        truth: labels 0 and 1, NaN where missing, (n,).
        probability: predicted probability of 1, (n,).
    """
    from sklearn import metrics

    truth, probability = _known(truth, probability)
    loss = float(metrics.log_loss(truth, probability, labels=[0, 1])) if len(truth) else None
    return {**score_metrics(truth, probability, 0.5), "log_loss": loss}


METRICS: dict[str, Callable[[Any, Any], Metrics]] = {
    "regression": regression_metrics,
    "classification": classification_metrics,
}


def check_goal(settings: FinetuneSettings) -> None:
    """Refuse a loss or class weights that the task does not know.

    Raises:
        InputError: With the ones it does know.
    """
    known = list(REGRESSION_LOSSES) if settings.task == "regression" else ["bce"]
    if settings.loss is not None and settings.loss not in known:
        what = f"loss = {settings.loss} is no loss for {settings.task}"
        raise InputError(f"{what}. Leave it out, or take: {', '.join(known)}.")
    if settings.task == "regression" and settings.class_weight != "none":
        raise InputError(
            f"class_weight = {settings.class_weight} weighs classes, and regression has none. "
            "Leave it out, or choose task = classification."
        )


def check_classes(labels: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse labels (n, T) that are neither 0 nor 1 nor missing.

    Raises:
        InputError: With the target and the values.
    """
    for name, column in zip(names, labels.T, strict=True):
        wrong = np.unique(column[~(np.isnan(column) | np.isin(column, (0.0, 1.0)))])
        if len(wrong):
            shown = ", ".join(f"{value:g}" for value in wrong[:SHOWN])
            more = f" and {len(wrong) - SHOWN} other values" if len(wrong) > SHOWN else ""
            raise InputError(
                f"Target {name}: a class is labelled 0 or 1 (or false or true). Received: {shown}{more}. "
                "Make two classes of it, or choose task = regression."
            )


def balanced_weights(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of class 0 and class 1 of each target, (2, T): with them both classes count the same, and 1 on average.

    Args:
        labels: 0, 1, NaN where missing, (n, T).
    """
    counts = np.stack([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])  # (2, T)
    # A class that does not occur needs no weight, and has none to divide by.
    return np.where(counts > 0, counts.sum(axis=0) / (2 * np.maximum(counts, 1)), 1.0)


def declare_output(model: Any, task: str) -> None:
    """Let a model say what comes out of it, also when it is saved: a classifier gives probabilities.

    Args:
        model: network with an ``output`` among its constructor's arguments.
        task: "regression" or "classification".

    Raises:
        InputError: If a classifier is asked of a network whose output is made for something else.
    """
    output = model.output
    if task == "classification":
        if output == "transparent_relu":
            raise InputError(
                "A network with output = transparent_relu gives no negative numbers, so it cannot classify. "
                "Choose output = identity."
            )
        output = "probability"
    elif output == "probability":  # the encoder of a classifier learns a number
        output = "identity"
    model.output = model._init_args["output"] = output  # MatGL saves the constructor's arguments


def score_metrics(truth: NDArray[np.float64], score: NDArray[np.float64], threshold: float) -> Metrics:
    """Balanced accuracy of ``score > threshold``, and area under the ROC curve of the scores themselves.

    Args:
        truth: labels 0 and 1, NaN where missing, (n,).
        score: the higher, the likelier is 1, (n,).
        threshold: where the decision changes.

    Returns:
        None for both where only one class is there: neither is defined then.
    """
    from sklearn import metrics

    truth, score = _known(truth, score)
    if len(np.unique(truth)) < 2:
        return {"balanced_accuracy": None, "roc_auc": None}
    return {
        "balanced_accuracy": float(metrics.balanced_accuracy_score(truth, score > threshold)),
        "roc_auc": float(metrics.roc_auc_score(truth, score)),
    }


def _known(truth: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The entries that have a label."""
    present = ~np.isnan(truth)
    return truth[present], other[present]


# The label normaliser: fitted on the unmasked training labels only, stored in the model.


ROUNDING = 1e-12
"""Labels that differ by less than this share of their mean count as one value."""
LARGEST_LABEL, SMALLEST_LABEL = 1e30, 1e-30
"""Single precision reaches from 1e-38 to 3e38; labels have to leave room for what is computed with them."""
LARGEST_OFFSET = 1e5
"""Mean of the labels in units of their spread: beyond it, rounding alone would be over 0.6 % of the spread."""
ENOUGH = 10
"""Labels from which on their spread says something."""


def fit_scale(labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each target over the labels that are there.

    Args:
        labels: NaN where missing, (n, T).

    Returns:
        Mean (T,) and standard deviation (T,); a target with one distinct value gets 1.
    """
    mean, std = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    return mean, np.where(std > ROUNDING * np.abs(mean), std, 1.0)


def check_range(labels: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse labels that single precision, in which networks compute, cannot hold or tell apart.

    Args:
        labels: in physical units, NaN where missing, (n, T).
        names: of the targets.

    Raises:
        InputError: With the target and what to do.
    """
    for name, column in zip(names, labels.T, strict=True):
        check_size(column, name)
        values = column[~np.isnan(column)]
        mean, spread = (float(function(values)) if len(values) else 0.0 for function in (np.mean, np.std))
        if len(values) >= ENOUGH and ROUNDING * abs(mean) < spread < abs(mean) / LARGEST_OFFSET:
            raise InputError(
                f"Target {name}: labels lie around {mean:.6g} and vary by {spread:.3g} only, which single precision "
                "cannot tell apart. Subtract a constant from all of them."
            )


def check_size(values: NDArray[np.float64], name: str) -> None:
    """Refuse labels that single precision cannot scale, because they are too large, infinite or too small.

    Args:
        values: in physical units, NaN where missing, any shape.
        name: of the target.

    Raises:
        InputError: With the target and what to do.
    """
    size = float(np.abs(values[~np.isnan(values)]).max(initial=0.0))
    if size > LARGEST_LABEL:
        raise InputError(
            f"Target {name}: labels reach {size:.3g}, more than single precision can scale. "
            "If that stands for a missing value, leave the cell empty; else choose another unit."
        )
    if 0 < size < SMALLEST_LABEL:
        raise InputError(
            f"Target {name}: labels are at most {size:.3g}, less than single precision can scale. Choose another unit."
        )


def check_force_labels(labels: ForceLabels) -> None:
    """Refuse energies, forces and stresses that single precision cannot scale.

    Args:
        labels: in eV and angstrom.

    Raises:
        InputError: With their kind and what to do.
    """
    kinds = {"energy": labels.energy, "forces": np.concatenate(labels.forces), "stress": labels.stress}
    for name, values in kinds.items():
        check_size(values, name)


def refuse_empty(labels: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse a target without any label in the training part.

    Args:
        labels: of the training part, NaN where missing, (n, T).
        names: of the targets.

    Raises:
        InputError: With the target's name.
    """
    empty = np.isnan(labels).all(axis=0)
    if empty.any():
        name = names[int(np.argmax(empty))]
        what = f"Target {name} has no label among the {len(labels)} crystals that train"
        raise InputError(f"{what} (others are held out for validation). Leave it out, or give more labels.")
