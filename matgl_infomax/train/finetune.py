"""Fine-tuning: a model learns from the few labels it may see, and from nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from matgl_infomax.config import FinetuneSettings, deciding
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream, step_generator
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.objectives.share import at_least_single
from matgl_infomax.train.averaged import AveragedModule
from matgl_infomax.train.budget import resolved, validation_share
from matgl_infomax.train.claim import claim_folder
from matgl_infomax.train.ema import WeightAverage
from matgl_infomax.train.groups import freeze
from matgl_infomax.train.loop import run_steps
from matgl_infomax.train.losses import GOALS, Goal, declare_output
from matgl_infomax.train.noisy_nodes import NoisyNodes
from matgl_infomax.train.ranks import HeldOut, from_all
from matgl_infomax.train.rates import Thawing, rate_groups
from matgl_infomax.train.views import view_for
from matgl_infomax.train.weights import Encoder

FEWEST_FOR_VALIDATION = 10
"""A validation part of fewer crystals is noise: then none is held out and the last weights count."""
VALIDATION_STREAM = 1_000_033
NOISE_STREAM = 2_000_003
"""Streams of random numbers that are not those of the order of crystals."""


@dataclass(frozen=True)
class Fitted:
    """A finished fine-tuning."""

    model: Encoder
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
    held_out: NDArray[np.int64]
    """Their positions among the labelled crystals, (n_validation,)."""


class FinetuneModule(AveragedModule):
    """One step on labelled crystals; missing labels are left out of the loss."""

    def __init__(
        self, model: Encoder, settings: FinetuneSettings, goal: Goal, held_out: Sequence[Any], pretrained: bool
    ) -> None:
        # Weights from scratch have nothing to be careful with: they move at the full rate, and all at once.
        rates = (settings.encoder_rate, settings.layer_decay) if pretrained else (1.0, 1.0)
        groups = rate_groups(model, settings.learning_rate, *rates)
        if not groups:
            raise InputError("Every layer group is frozen, so nothing can be trained. Leave one out of freeze.")
        noise = NoisyNodes(model, settings) if settings.noisy_nodes else None
        more = [] if noise is None else [{"params": list(noise.parameters()), "lr": settings.learning_rate}]
        s = settings
        schedule = s.steps, s.weight_decay, s.warmup_fraction, s.patience, s.accumulate
        super().__init__([*groups, *more], *schedule)
        self.model, self.goal, self.noise, self.seed = model, goal, noise, settings.seed
        self.thawing = Thawing(groups, settings.unfreeze_every if pretrained else 0, settings.steps)
        self.average = WeightAverage(model, settings.ema_decay)
        self.held_out = held_out

    def training_step(self, batch: tuple[SiteBatch, Tensor], batch_idx: int) -> Tensor:
        """This process's share of the mean loss over the labels that are there, in units of the normaliser."""
        crystals, labels = batch
        share = self.share(crystals)
        own = labels[share.crystals]  # (b, T)
        if self.noise is None:
            vectors, denoising = self.model.encode(share.own).crystal, None  # (b, C)
        else:
            generator = step_generator(self.seed, NOISE_STREAM + self.batch_number(batch_idx))
            vectors, denoising = self.noise(self.model, share, generator)
        prediction = at_least_single(self.model.scaled(vectors))  # (b, T)
        # A batch without labels still has to give a gradient, of zero.
        total = (~labels.isnan()).sum().clamp(min=1)
        loss = self.goal.total(prediction, own) / total * share.ranks
        if denoising is None:
            self.count({"loss": loss})
            return loss
        self.count({"loss": loss, "denoising": denoising})
        return loss + denoising

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Let the groups move whose turn it is."""
        self.thawing.settle(self.global_step)

    def validate(self) -> tuple[dict[str, float], torch.nn.Module]:
        """How the averaged weights do on held-out labels."""
        mine = []
        for number, (crystals, labels) in self.own_batches(self.held_out):
            prediction = at_least_single(self.model.scaled(self.model.encode(crystals).crystal))  # (B, T)
            mine.append((number, prediction.cpu(), labels.cpu()))
        found = sorted(from_all(mine), key=lambda entry: entry[0])
        if not found:
            return {}, self.model
        prediction, labels = (torch.cat([entry[k] for entry in found]) for k in (1, 2))  # (n, T)
        return (self.goal.validation(prediction, labels) if (~labels.isnan()).any() else {}), self.model



def fit(
    model: Encoder,
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    labels: NDArray[np.float64],
    settings: FinetuneSettings = FinetuneSettings(),
    *,
    pretrained: bool = False,
    targets: Sequence[str] = (),
    split_seed: int | None = None,
    out: Path | None = None,
    progress: bool = False,
) -> Fitted:
    """Train a model on labelled crystals; normaliser, validation part and checkpoint come out of these alone.

    Args:
        model: trained in place.
        store: prepared crystals.
        rows: rows of the labelled crystals, (n,).
        labels: in physical units, or 0 and 1 for classes; NaN where missing, (n, T).
        settings: training.
        pretrained: whether the encoder's weights were learnt before: then they move as ``encoder_rate``,
            ``layer_decay`` and ``unfreeze_every`` say, else at the full rate from the start.
        targets: names of the labels, for messages, (T,); numbers when left out.
        split_seed: seed of the validation part; that of the settings when left out.
        out: folder for a resumable run; none keeps nothing on disk.
        progress: show a bar.

    Raises:
        InputError: If labels are missing or wrong, settings contradict each other, or the folder holds another run.
    """
    started = time.perf_counter()
    rows = np.asarray(rows, dtype=np.int64)
    settings = resolved(settings, len(rows), pretrained=pretrained)
    labels = np.asarray(labels, dtype=np.float64).reshape(len(rows), -1)
    if labels.shape[1] != model.n_targets:
        raise InputError(f"The model predicts {model.n_targets} target(s). Received labels of {labels.shape[1]}.")
    names = targets or [f"number {k + 1}" for k in range(model.n_targets)]
    parts = split(len(rows), settings, split_seed)
    goal = GOALS[settings.task](settings, labels[parts[0]], names)
    declare_output(model, settings.task)
    scaled = _normalise(model, goal, labels, parts[0])
    module, training = _prepare(model, goal, store, rows, scaled, parts, settings, pretrained)
    if out is not None:  # last: what is refused above leaves no folder behind
        _claim(out, model, store, rows, labels, settings, split_seed)
    run_steps(module, training, settings, out=out, description="Fine-tuning" if progress else None)
    model.load_state_dict(module.best_state)
    freeze(model, [])
    found = module.history, module.best_step, time.perf_counter() - started
    return Fitted(model.cpu().eval(), *found, len(parts[0]), len(parts[1]), parts[1])


Parts = tuple[NDArray[np.int64], NDArray[np.int64]]


def _prepare(
    model: Encoder,
    goal: Goal,
    store: Store,
    rows: NDArray[np.int64],
    scaled: NDArray[np.float64],
    parts: Parts,
    settings: FinetuneSettings,
    pretrained: bool,
) -> tuple[FinetuneModule, DataLoader[Any]]:
    """What is trained and the batches it sees: those of the training part, and those held out."""
    freeze(model, settings.freeze)
    view = view_for(model)
    noisy: dict[str, Any] = {"view": "full", "geometry": True} if settings.noisy_nodes else {"view": view}
    training = StoreBatches(store, rows[parts[0]], scaled[parts[0]], **noisy)  # atoms that move are not equal
    validation = StoreBatches(store, rows[parts[1]], scaled[parts[1]], view=view)
    fixed = group_by_sites(validation.sizes, np.arange(len(parts[1])), 10 * settings.batch_sites)
    module = FinetuneModule(model, settings, goal, HeldOut(validation, fixed), pretrained)
    batches, chunk = settings.steps * settings.accumulate, settings.validate_every * settings.accumulate
    order = StepOrder(training.sizes, batches, chunk, settings.batch_sites, settings.seed)
    return module, training.loader(order)


def _claim(
    out: Path,
    model: Encoder,
    store: Store,
    rows: NDArray[np.int64],
    labels: NDArray[np.float64],
    settings: FinetuneSettings,
    split_seed: int | None,
) -> None:
    """Take the folder for this run: data, labels, settings and starting weights decide what it is."""
    start = [float(parameter.detach().double().sum()) for parameter in model.parameters()]
    claim: dict[str, Any] = {"settings": deciding(settings, apart=["learning_rate"]), "store": store.key, "rows": rows}
    claim |= {} if split_seed is None else {"split_seed": split_seed}
    # The rate may follow from the start, so the start is named first where both differ.
    rate = settings.learning_rate
    claim_folder(out, "finetune", {**claim, "labels": labels, "start": start, "learning rate": rate})


def _normalise(
    model: Encoder, goal: Goal, labels: NDArray[np.float64], train: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Fit the normaliser on the training part of the labels, store it in the model, and apply it to all, (n, T)."""
    mean, std = goal.scale(labels[train])
    model.target_mean.copy_(torch.from_numpy(mean))
    model.target_std.copy_(torch.from_numpy(std))
    return (labels - mean) / std


def split(n: int, settings: FinetuneSettings, seed: int | None = None) -> Parts:
    """Positions that give gradients, and positions that choose the checkpoint (none if they would be too few).

    Args:
        n: labelled crystals.
        settings: how many are held out.
        seed: decides which; that of the settings when left out.
    """
    order = random_stream(settings.seed if seed is None else seed, VALIDATION_STREAM).permutation(n)
    held_out = round(n * validation_share(settings, n))
    if held_out < FEWEST_FOR_VALIDATION:
        held_out = 0
    return np.sort(order[held_out:]), np.sort(order[:held_out])
