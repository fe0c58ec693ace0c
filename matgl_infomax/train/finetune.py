"""Fine-tuning: a model learns from the few labels it may see, and from nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from matgl_infomax.config import FinetuneSettings
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives.share import at_least_single
from matgl_infomax.train.claim import claim_folder
from matgl_infomax.train.ema import WeightAverage
from matgl_infomax.train.groups import freeze, rate_groups
from matgl_infomax.train.loop import run_steps
from matgl_infomax.train.module import StepModule
from matgl_infomax.train.ranks import HeldOut, from_all
from matgl_infomax.train.scale import fit_scale

LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}
FEWEST_FOR_VALIDATION = 10
"""A validation part of fewer crystals is noise: then none is held out and the last weights count."""
VALIDATION_STREAM = 1_000_033


@dataclass(frozen=True)
class Fitted:
    """A finished fine-tuning."""

    model: SiteNet
    """The model with its best weights and its label normaliser; predicts in physical units."""
    history: list[dict[str, float]]
    """Loss of the training part, and error of the validation part where there is one, at each validation."""
    best_step: int
    """Step whose weights were kept."""
    seconds: float
    """Time of training in this process."""
    n_train: int
    """Labelled crystals that gave gradients."""
    n_validation: int
    """Labelled crystals that chose the checkpoint."""


class FinetuneModule(StepModule):
    """One step on labelled crystals; missing labels are left out of the loss."""

    def __init__(
        self, model: SiteNet, settings: FinetuneSettings, encoder_rate: float, held_out: Sequence[Any]
    ) -> None:
        groups = rate_groups(model, settings.learning_rate, encoder_rate)
        if not groups:
            raise InputError("Every layer group is frozen, so nothing can be trained. Leave one out of freeze.")
        super().__init__(
            groups,
            settings.steps,
            settings.weight_decay,
            settings.warmup_fraction,
            settings.patience,
            settings.accumulate,
        )
        self.model, self.loss = model, LOSSES[settings.loss]
        self.average = WeightAverage(model, settings.ema_decay)
        self.held_out = held_out

    def training_step(self, batch: tuple[SiteBatch, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """This process's share of the mean loss over the labels that are there, in units of the normaliser."""
        crystals, labels = batch
        share = self.share(crystals)
        own = labels[share.crystals]  # (b, T)
        present = ~own.isnan()  # (b, T)
        prediction = at_least_single(self.model.scaled(self.model.encode(share.own).crystal))  # (b, T)
        # A batch without labels still has to give a gradient, of zero.
        total = (~labels.isnan()).sum().clamp(min=1)
        loss = self.loss(prediction[present], own[present], reduction="sum") / total * share.ranks
        self.count({"loss": loss})
        return loss

    def on_fit_start(self) -> None:
        """The running average lives where the model does."""
        self.average.settle()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Take the new weights into the running average."""
        if self.completes_step(batch_idx):
            self.average.update()

    def validate(self) -> tuple[dict[str, float], torch.nn.Module]:
        """Mean absolute error of the averaged weights on held-out labels, in units of the normaliser."""
        mine = []
        for number, (crystals, labels) in self.own_batches(self.held_out):
            error = (self.model.scaled(self.model.encode(crystals).crystal) - labels).abs()  # (B, T)
            mine.append((number, error[~labels.isnan()].cpu()))
        errors = [error for _, error in sorted(from_all(mine), key=lambda entry: entry[0])]
        found = torch.cat(errors) if errors else torch.empty(0)
        return ({"score": float(found.mean())} if len(found) else {}), self.model

    def on_train_epoch_end(self) -> None:
        """Validate, and keep, the running average: it is what predicts in the end."""
        with self.average.applied():
            super().on_train_epoch_end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running average as well."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["average"] = self.average.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the running average up again."""
        super().on_load_checkpoint(checkpoint)
        self.average.restore(checkpoint["average"])


def fit(
    model: SiteNet,
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    labels: NDArray[np.float64],
    settings: FinetuneSettings = FinetuneSettings(),
    *,
    pretrained: bool = False,
    out: Path | None = None,
    progress: bool = False,
) -> Fitted:
    """Train a model on labelled crystals; normaliser, validation part and checkpoint come out of these alone.

    Args:
        model: trained in place.
        store: prepared crystals.
        rows: rows of the labelled crystals, (n,).
        labels: in physical units, NaN where missing, (n, T).
        settings: training.
        pretrained: whether the encoder's weights were learnt before; then they move at ``settings.encoder_rate``.
        out: folder for a resumable run; none keeps nothing on disk.
        progress: show a bar.

    Raises:
        InputError: If labels are missing altogether, shapes disagree, or the folder holds another run.
    """
    started = time.perf_counter()
    rows = np.asarray(rows, dtype=np.int64)
    labels = np.asarray(labels, dtype=np.float64).reshape(len(rows), -1)
    if labels.shape[1] != model.n_targets:
        raise InputError(f"The model predicts {model.n_targets} target(s). Received labels of {labels.shape[1]}.")
    if out is not None:
        _claim(out, model, store, rows, labels, settings)
    train, held_out = _split(len(rows), settings)
    scaled = _normalise(model, labels, train)
    freeze(model, settings.freeze)
    training = StoreBatches(store, rows[train], scaled[train], view="merged")
    validation = StoreBatches(store, rows[held_out], scaled[held_out], view="merged")
    fixed = group_by_sites(validation.sizes, np.arange(len(held_out)), 10 * settings.batch_sites)
    rate = settings.encoder_rate if pretrained else 1.0
    module = FinetuneModule(model, settings, rate, HeldOut(validation, fixed))
    bar = "Fine-tuning" if progress else None
    run_steps(module, training.loader(_order(training, settings)), settings, out=out, description=bar)
    model.load_state_dict(module.best_state)
    freeze(model, [])
    seconds = time.perf_counter() - started
    return Fitted(model.cpu().eval(), module.history, module.best_step, seconds, len(train), len(held_out))


def _claim(
    out: Path,
    model: SiteNet,
    store: Store,
    rows: NDArray[np.int64],
    labels: NDArray[np.float64],
    settings: FinetuneSettings,
) -> None:
    """Take the folder for this run: data, labels, settings and starting weights decide what it is."""
    start = [float(parameter.detach().double().sum()) for parameter in model.parameters()]
    # How many processes share the work decides nothing but rounding.
    claim = {"settings": settings.model_dump(exclude={"processes"}), "store": store.key, "rows": rows}
    claim_folder(out, "finetune", {**claim, "labels": labels, "start": start})


def _order(training: StoreBatches, settings: FinetuneSettings) -> StepOrder:
    """Which labelled crystals meet in which step."""
    batches, chunk = settings.steps * settings.accumulate, settings.validate_every * settings.accumulate
    return StepOrder(training.sizes, batches, chunk, settings.batch_sites, settings.seed)


def _normalise(model: SiteNet, labels: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fit the normaliser on the training part of the labels, store it in the model, and apply it to all, (n, T)."""
    mean, std = fit_scale(labels[train])
    model.target_mean.copy_(torch.from_numpy(mean))
    model.target_std.copy_(torch.from_numpy(std))
    return (labels - mean) / std


def _split(n: int, settings: FinetuneSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that give gradients, and positions that choose the checkpoint (none if they would be too few)."""
    order = random_stream(settings.seed, VALIDATION_STREAM).permutation(n)
    held_out = round(n * settings.validation_fraction)
    if held_out < FEWEST_FOR_VALIDATION:
        held_out = 0
    return np.sort(order[held_out:]), np.sort(order[:held_out])
