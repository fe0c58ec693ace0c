"""The folder of a fine-tuned model, and of an ensemble: how it comes to be, and what it predicts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import say
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, check_sums, read_json, write_sums
from matgl_infomax.nn.build import Encoder, load_encoder, save_model
from matgl_infomax.record import claim_folder
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings
from matgl_infomax.train.finetune import FEWEST_FOR_VALIDATION, Fitted, Labelled, fit, hold_out, with_held_out
from matgl_infomax.train.losses import METRICS, Metrics
from matgl_infomax.train.predict import predict_rows
from matgl_infomax.train.ranks import is_first

_LOG = logging.getLogger(__name__)
RECORD, ENSEMBLE_RECORD, FINAL_RECORD = "finetune.json", "ensemble.json", "final.json"
COVERAGE = 0.9


@dataclass(frozen=True)
class Calibration:
    """How the spread of the members becomes the uncertainty of one target."""

    method: str
    """"gaussian" or "conformal"."""
    factor: float
    """What the standard deviation over the members is multiplied with."""
    floor: float
    """Spread that is always added, in units of the target."""
    coverage: float
    """Share of labels that an interval was to hold: ``y`` plus or minus as many ``y_std`` as in a Gaussian."""
    observed: float
    """Share of held-out labels that were inside, each with a factor fitted without it."""
    unscaled: float
    """The same share without any factor."""
    n: int
    """Held-out labels."""

    def std(self, spread: Array) -> Array:
        """Calibrated standard deviation from that over the members, any shape, in units of the target."""
        return self.factor * np.hypot(spread, self.floor)


@dataclass(frozen=True)
class Ensemble:
    """Fine-tuned models that predict together."""

    members: tuple[Fitted, ...]
    calibration: dict[str, Calibration]
    """By target; empty for a classifier, whose spread is given as it is."""
    validation: dict[str, Metrics]
    """Of the mean prediction on the held-out labels, by target."""


@dataclass(frozen=True)
class InitialNetwork:
    """Where the weights of a fine-tuning come from."""

    network: Callable[[int], Encoder]
    """A network with its initial weights, from a seed."""
    pretrained: bool
    """Whether the encoder's were learnt before."""


def train_one(
    start: InitialNetwork,
    data: Labelled,
    settings: FinetuneSettings,
    out: Path,
    *,
    split_seed: int | None = None,
    progress: bool = True,
) -> tuple[Fitted, dict[str, Metrics]]:
    """Fine-tune one model and write its folder; the record that makes it complete comes last.

    Args:
        start: initial weights.
        data: labelled crystals.
        settings: training.
        out: folder of the model; a run that was stopped goes on where it was.
        split_seed: seed of the validation part; that of the settings when left out.
        progress: show a bar.

    Returns:
        The model, and its numbers on the held-out labels by target.
    """
    fitted = fit(
        start.network(settings.seed),
        data,
        settings,
        pretrained=start.pretrained,
        split_seed=split_seed,
        out=out,
        progress=progress,
    )
    predicted = predict_rows(fitted.model, data.store, data.rows[fitted.held_out])
    validation = _judge(data, fitted.held_out, predicted, settings.task)
    if is_first():
        about = {"targets": list(data.targets), "task": settings.task}
        names = ("best_step", "n_train", "n_validation", "seconds", "history")
        found = {name: getattr(fitted, name) for name in names}
        record = {**about, **found, "training": fitted.how(), "validation": validation}
        save_model(fitted.model, out, {"matgl_infomax": "fine-tuned", **about}, {RECORD: json.dumps(record)})
    return fitted, validation


def train_ensemble(
    start: InitialNetwork,
    data: Labelled,
    settings: FinetuneSettings,
    ensemble: EnsembleSettings,
    out: Path,
    *,
    progress: bool = True,
) -> Ensemble:
    """Fine-tune models that differ in their seed, one after the other, and fit the factor of their uncertainty.

    All share one validation part, for which the first seed decides: the factor needs labels that none was trained on.
    The same part chose each member's step, so the factor is a little too small where it holds few labels.

    Args:
        start: initial weights.
        data: labelled crystals.
        settings: training; seeds count up from its seed.
        ensemble: how many, and how the factor is fitted.
        out: folder of the ensemble, with one folder per member; members that are finished are not trained again.
        progress: show bars.

    Raises:
        InputError: If there are too few held-out labels, or the folder holds something else.
    """
    method, coverage = ensemble.calibration or "gaussian", ensemble.coverage or COVERAGE
    settings = with_held_out(settings)
    _, held_out = hold_out(len(data.labels), settings)
    if settings.task == "regression":
        _enough(data, held_out, method, coverage)
    # Size and calibration stay open: members can be added later.
    claim_folder(out, "ensemble", {"settings": deciding(settings)})
    names = [f"member_{k}" for k in range(ensemble.ensemble)]
    members: list[Fitted] = []
    for k, name in enumerate(names):
        own = settings.model_copy(update={"seed": settings.seed + k})
        members.append(train_one(start, data, own, out / name, split_seed=settings.seed, progress=progress)[0])
    names, members = _living(names, members)
    predicted = np.stack([predict_rows(m.model, data.store, data.rows[held_out]) for m in members])  # (M, n, T)
    calibration = {
        target: calibrate(data.labels[held_out, k], predicted[:, :, k], method, coverage)
        for k, target in enumerate(data.targets)
        if settings.task == "regression"
    }
    found = Ensemble(tuple(members), calibration, _judge(data, held_out, predicted.mean(axis=0), settings.task))
    if is_first():
        _write_record(out, found, {"targets": list(data.targets), "task": settings.task, "members": names})
    return found


def _write_record(out: Path, found: Ensemble, about: dict[str, Any]) -> None:
    """Write what makes the folder of an ensemble complete, its hash first."""
    known = {name: asdict(entry) for name, entry in found.calibration.items()}
    record = json.dumps({**about, "calibration": known, "validation": found.validation})
    write_sums(out, [out / "run.json"], coming={ENSEMBLE_RECORD: record})
    atomic_write(out / ENSEMBLE_RECORD, record)


def _living(names: list[str], members: list[Fitted]) -> tuple[list[str], list[Fitted]]:
    """The members that predict together: all but dead ones, as long as two are alive; the log says who is left out."""
    living = [k for k, fitted in enumerate(members) if not fitted.dead]
    if len(living) == len(members):
        return names, members
    dead = ", ".join(name for k, name in enumerate(names) if k not in living)
    if len(living) < 2:
        _LOG.warning("Fewer than two members of the ensemble are alive: %s failed. Do not use its predictions.", dead)
        return names, members
    _LOG.warning("Left out of the ensemble, for their networks are dead: %s.", dead)
    return [names[k] for k in living], [members[k] for k in living]


def check_ensemble(settings: FinetuneSettings, ensemble: EnsembleSettings, targets: Sequence[str]) -> None:
    """Refuse settings of an ensemble that would do nothing, and names that would meet in its table.

    Raises:
        InputError: With what to change.
    """
    given = [name for name in ("calibration", "coverage") if getattr(ensemble, name) is not None]
    if given and ensemble.ensemble == 1:
        raise InputError(f"{given[0]} is about the spread of several models. Give ensemble = 2 or more, or drop it.")
    if given and settings.task == "classification":
        raise InputError(
            f"{given[0]} is for numbers: a label that is 0 or 1 has no interval. Leave it out; the spread of the "
            "probabilities is given as it is."
        )
    twice = [name for name in targets if f"{name}_std" in targets]
    if twice and ensemble.ensemble > 1:
        raise InputError(f"The uncertainty of {twice[0]} would be in column {twice[0]}_std, a target. Rename one.")


def _enough(data: Labelled, held_out: NDArray[np.int64], method: str, coverage: float) -> None:
    """Refuse a validation part that is too small for the factor, before anything is trained."""
    for k, target in enumerate(data.targets):
        found = int((~np.isnan(data.labels[held_out, k])).sum())
        needed = max(FEWEST_FOR_VALIDATION, fewest_labels(method, coverage))
        if found < needed:
            raise InputError(
                f"The uncertainty of {target} is fitted on held-out labels, at least {needed}. Received: {found} of "
                f"{len(data.labels)} labelled crystals. Raise validation_fraction, or give more labels."
            )


def _judge(
    data: Labelled, held_out: NDArray[np.int64], predicted: NDArray[np.float64], task: str
) -> dict[str, Metrics]:
    """Numbers on the held-out labels by target; none without such labels."""
    if not len(held_out):
        return {}
    truth = data.labels[held_out]
    return {target: METRICS[task](truth[:, k], predicted[:, k]) for k, target in enumerate(data.targets)}


@dataclass(frozen=True)
class Predictor:
    """What ``finetune`` wrote, opened."""

    targets: tuple[str, ...]
    models: tuple[Encoder, ...]
    calibration: dict[str, Calibration]

    @classmethod
    def open(cls, path: Path) -> Predictor:
        """Open the folder of a model or of an ensemble.

        Raises:
            InputError: If it holds neither, or not yet.
        """
        file = path / ENSEMBLE_RECORD
        several = file.is_file()
        final = read_json(path / FINAL_RECORD) if (path / FINAL_RECORD).is_file() else None
        if final is not None and not (path / RECORD).is_file():
            raise InputError(
                f"{path} holds the arm {final.get('arm')} of a learning curve, which is no trained network. "
                "`matgl-infomax predict` opens it; in Python, matgl_infomax.tasks.studies.final.FinalModel."
            )
        if not several:
            file = path / RECORD
            if not file.is_file():
                raise InputError(f"{path} holds no fine-tuned model (no {RECORD}). Make one with `finetune`.")
        check_sums(path, (file.name,))
        record = read_json(file)
        try:
            targets = tuple(str(name) for name in record["targets"])
            folders = [path / str(name) for name in record["members"]] if several else [path]
            entries = record["calibration"].items() if several else ()
            known = {name: Calibration(**entry) for name, entry in entries}
            known |= {name: Calibration(**final["calibration"]) for name in targets} if final is not None else {}
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{file} is no record of a fine-tuning ({error}). Fine-tune again.") from error
        if not several and dict(record.get("training") or {}).get("dead"):
            say(
                f"The network in {path} is dead: in training it gave one answer for all crystals, or was no better "
                "than a constant. Do not use its predictions. Fine-tune again with a lower learning rate."
            )
        models = tuple(load_encoder(folder) for folder in folders)
        for model, folder in zip(models, folders, strict=True):
            if model.n_targets != len(targets):
                raise InputError(f"{folder} predicts {model.n_targets} targets, and {file} names {len(targets)}.")
        return cls(targets, models, known)

    def columns(self, store: Store, *, progress: bool = True) -> dict[str, Any]:
        """Predictions of all crystals of a store by the name of their column, (n,) each.

        An ensemble gives the mean ``y`` and the uncertainty ``y_std`` of each target ``y``; the final model of a
        learning curve has one uncertainty for all crystals.
        """
        rows = np.arange(len(store))
        values = np.stack([predict_rows(model, store, rows, progress=progress) for model in self.models])  # (M, n, T)
        if len(self.models) == 1:
            alone: dict[str, Any] = {}
            for k, name in enumerate(self.targets):
                alone[name] = values[0][:, k]
                if name in self.calibration:
                    alone[f"{name}_std"] = self.calibration[name].std(np.zeros(len(store)))
            return alone
        mean, spread = combine(values)  # (n, T)
        found: dict[str, Any] = {}
        for k, name in enumerate(self.targets):
            known = self.calibration.get(name)
            found |= {name: mean[:, k], f"{name}_std": known.std(spread[:, k]) if known else spread[:, k]}
        return found


# From the spread of an ensemble to an uncertainty that can be trusted: one factor, fitted on held-out labels.

Array = NDArray[np.float64]
FLOOR = 0.01
"""Members that agree more closely than this share of their usual error count as differing by that much: several
networks can give the very same wrong number, such as a band gap of zero."""


def combine(members: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over the members (first axis, M of them), with M - 1 degrees of freedom."""
    return members.mean(axis=0), members.std(axis=0, ddof=1)


def calibrate(truth: Array, members: Array, method: str, coverage: float) -> Calibration:
    """Fit the factor on labels that no member was trained on.

    Args:
        truth: labels, NaN where missing, (n,).
        members: predictions of the M members, (M, n).
        method: "gaussian" (maximum likelihood) or "conformal" (the quantile that gives the coverage).
        coverage: share of labels that an interval is to hold.
    """
    present = ~np.isnan(truth)
    mean, spread = combine(members[:, present])  # (n,) each
    error = np.abs(truth[present] - mean)
    floor = FLOOR * float(np.sqrt(np.mean(error**2)))
    width = np.hypot(spread, floor)
    ratio = np.divide(error, width, out=np.zeros_like(error), where=width > 0)
    z = interval_width(coverage)
    factor, without = FACTORS[method](ratio, coverage)
    return Calibration(
        method=method,
        factor=factor,
        floor=floor,
        coverage=coverage,
        observed=float(np.mean(ratio / z <= without)),
        unscaled=float(np.mean(error <= z * spread)),
        n=len(error),
    )


def interval_width(coverage: float) -> float:
    """Half the width of a Gaussian's central interval of some coverage, in standard deviations."""
    return NormalDist().inv_cdf(0.5 + coverage / 2)


def fewest_labels(method: str, coverage: float) -> int:
    """Held-out labels that the factor needs: two to have one left over, more for a quantile far out."""
    return 2 if method == "gaussian" else max(2, math.ceil(coverage / (1 - coverage) - 1e-9))


def _gaussian(ratio: Array, coverage: float) -> tuple[float, Array]:
    """The factor of highest likelihood under a Gaussian, and those without each one of the labels, (n,)."""
    square = ratio**2
    others = np.maximum(square.sum() - square, 0.0) / (len(ratio) - 1)
    return float(np.sqrt(square.mean())), np.sqrt(others)


def _conformal(ratio: Array, coverage: float) -> tuple[float, Array]:
    """The factor whose intervals hold a new label with the wanted probability, and what tells the same of each label.

    The second, (n,), decides as the factor fitted without that label would.
    """
    n, z = len(ratio), interval_width(coverage)
    ordered = np.sort(ratio)
    place, fewer = (math.ceil((count + 1) * coverage - 1e-9) for count in (n, n - 1))
    # Leaving out a label at or below this place moves the quantile up, and the label was inside before; leaving out
    # one above does not move it. So one bound tells for each label whether the others' intervals hold it.
    return float(ordered[place - 1] / z), np.full(n, ordered[fewer - 1] / z)


FACTORS: dict[str, Callable[[Array, float], tuple[float, Array]]] = {"gaussian": _gaussian, "conformal": _conformal}
