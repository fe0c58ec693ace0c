"""Fine-tuning: a model learns from the few labels it may see, and from nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream, step_generator
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import Encoder
from matgl_infomax.objectives.denoise import Denoise
from matgl_infomax.objectives.perturb import within
from matgl_infomax.record import claim_folder
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.training import FinetuneSettings
from matgl_infomax.train.loop import run_steps
from matgl_infomax.train.losses import GOALS, Goal, check_range, dead_targets, declare_output
from matgl_infomax.train.module import AveragedModule, WeightAverage
from matgl_infomax.train.predict import view_for
from matgl_infomax.train.ranks import HeldOut, from_all, is_first

_LOG = logging.getLogger(__name__)

FEWEST_FOR_VALIDATION = 10
"""A validation part of fewer crystals is noise: then none is held out and the last weights count."""
VALIDATION_STREAM = 1_000_033
NOISE_STREAM = 2_000_003
"""Streams of random numbers that are not those of the order of crystals."""
HALVINGS = 3
"""How often a dead network is trained again from its start, each time at half the rate before."""
LOOKED_AT = 1000
"""Training crystals, evenly spaced, on whose labels it is judged whether a network is dead."""
FEWEST_STEPS_TO_JUDGE = 20
"""Steps; a shorter training is a trial of the machinery, and is never called dead."""


@dataclass(frozen=True)
class Labelled:
    """Crystals with the labels to learn."""

    store: Store
    """Prepared crystals."""
    rows: NDArray[np.int64]
    """Rows of the labelled crystals, (n,)."""
    labels: NDArray[np.float64]
    """In physical units, or 0 and 1 for classes; NaN where missing, (n, T)."""
    targets: tuple[str, ...] = ()
    """Names of the labels, for messages, (T,); numbers when left out."""

    def checked(self, n_targets: int, task: str) -> Labelled:
        """The same with every target named.

        Raises:
            InputError: If there are labels of another number of targets, or numbers that cannot be scaled.
        """
        rows = np.asarray(self.rows, dtype=np.int64)
        labels = np.asarray(self.labels, dtype=np.float64).reshape(len(rows), -1)
        if labels.shape[1] != n_targets:
            raise InputError(f"The model predicts {n_targets} target(s). Received labels of {labels.shape[1]}.")
        names = tuple(self.targets) or tuple(f"number {k + 1}" for k in range(n_targets))
        if task == "regression":
            check_range(labels, names)
        return replace(self, rows=rows, labels=labels, targets=names)


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
    learning_rate: float
    """Peak learning rate of this training; after retries that of the last one."""
    dead: tuple[str, ...] = ()
    """Targets for which the network is dead: its errors are those of a failed run."""
    retries: int = 0
    """How often it was dead and was trained again, each time at half the rate before."""

    def how(self) -> dict[str, Any]:
        """Final learning rate, retries, and whether the network is dead, for run cards and records."""
        return {"learning_rate": self.learning_rate, "retries": self.retries, "dead": bool(self.dead)}


class FinetuneModule(AveragedModule):
    """One step on labelled crystals; missing labels are left out of the loss."""

    def __init__(
        self, model: Encoder, settings: FinetuneSettings, goal: Goal, held_out: Sequence[Any], pretrained: bool
    ) -> None:
        # Weights from scratch have nothing to be careful with: they move at the full rate, and all at once.
        groups = rate_groups(
            model,
            settings.learning_rate,
            encoder_rate=settings.encoder_rate if pretrained else 1.0,
            layer_decay=settings.layer_decay if pretrained else 1.0,
        )
        if not groups:
            raise InputError("Every layer group is frozen, so nothing can be trained. Leave one out of freeze.")
        noise = NoisyNodes(model, settings) if settings.noisy_nodes else None
        more = [] if noise is None else [{"params": list(noise.parameters()), "lr": settings.learning_rate}]
        super().__init__(
            [*groups, *more],
            steps=settings.steps,
            weight_decay=settings.weight_decay,
            warmup_fraction=settings.warmup_fraction,
            patience=settings.patience,
            accumulate=settings.accumulate,
        )
        self.model = model
        self.goal = goal
        self.noise = noise
        self.seed = settings.seed
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
            mine.append(_Predicted(number, prediction.cpu(), labels.cpu()))
        found = sorted(from_all(mine), key=lambda batch: batch.number)
        if not found:
            return {}, self.model
        prediction = torch.cat([batch.prediction for batch in found])  # (n, T)
        labels = torch.cat([batch.labels for batch in found])  # (n, T)
        numbers = self.goal.validation(prediction, labels) if (~labels.isnan()).any() else {}
        return numbers, self.model


@dataclass(frozen=True)
class _Predicted:
    """A validation batch of any process."""

    number: int
    prediction: Tensor  # (B, T) on the scale of the normaliser
    labels: Tensor  # (B, T)


def fit(
    model: Encoder,
    data: Labelled,
    settings: FinetuneSettings = FinetuneSettings(),
    *,
    pretrained: bool = False,
    split_seed: int | None = None,
    out: Path | None = None,
    progress: bool = False,
) -> Fitted:
    """Train a model on labelled crystals; normaliser, validation part and checkpoint come out of these alone.

    A dead network (see ``losses.dead_targets``) is trained again from its start at half the rate, at most
    ``HALVINGS`` times; what is still dead then is returned as it is, with its targets named.

    Args:
        model: trained in place.
        data: prepared crystals and their labels.
        settings: training.
        pretrained: whether the encoder's weights were learnt before: then they move as ``encoder_rate``,
            ``layer_decay`` and ``unfreeze_every`` say, else at the full rate from the start.
        split_seed: seed of the validation part; that of the settings when left out.
        out: folder for a resumable run; none keeps nothing on disk.
        progress: show a bar.

    Raises:
        InputError: If labels are missing or wrong, settings contradict each other, or the folder holds another run.
    """
    started = time.perf_counter()
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    options: dict[str, Any] = {"pretrained": pretrained, "split_seed": split_seed, "progress": progress}
    fitted = fit_once(model, data, settings, out=out, **options)
    while fitted.dead and fitted.retries < HALVINGS:
        retry, rate = fitted.retries + 1, fitted.learning_rate / 2
        _say(fitted, f"It is trained again at half the rate, {rate:g} ({retry} of {HALVINGS}).")
        model.load_state_dict(start)
        slower = settings.model_copy(update={"learning_rate": rate})
        folder = None if out is None else out / f"half_rate_{retry}"
        fitted = replace(fit_once(model, data, slower, out=folder, **options), retries=retry)
    if fitted.dead:
        _say(fitted, "This run has failed; its errors say nothing. Lower learning_rate, or look at the labels.")
    return replace(fitted, seconds=time.perf_counter() - started)


def _say(fitted: Fitted, then: str) -> None:
    """One line of the log about a dead network."""
    if is_first():
        which, rate = ", ".join(fitted.dead), fitted.learning_rate
        what = "it predicts the same for all crystals, or no better than a constant on its own training labels"
        _LOG.warning("Dead network (target %s) at learning rate %g: %s. %s", which, rate, what, then)


def fit_once(
    model: Encoder,
    data: Labelled,
    settings: FinetuneSettings = FinetuneSettings(),
    *,
    pretrained: bool = False,
    split_seed: int | None = None,
    out: Path | None = None,
    progress: bool = False,
) -> Fitted:
    """Train a model as ``fit`` does and with its arguments, without another try for a dead network.

    Raises:
        InputError: As ``fit``.
    """
    started = time.perf_counter()
    settings = resolved_finetuning(settings, len(data.rows), pretrained=pretrained)
    data = data.checked(model.n_targets, settings.task)
    train, held_out = hold_out(len(data.rows), settings, split_seed)
    goal = GOALS[settings.task](settings, data.labels[train], data.targets)
    declare_output(model, settings.task)
    scaled = replace(data, labels=_normalise(model, goal, data.labels, train))
    freeze(model, settings.freeze)
    training = _training_batches(scaled, train, model, settings)
    module = FinetuneModule(model, settings, goal, _fixed_batches(scaled, held_out, model, settings), pretrained)
    if out is not None:  # last: what is refused above leaves no folder behind
        _claim(out, model, data, settings, split_seed)
    run_steps(module, training, settings, out=out, description="Fine-tuning" if progress else None)
    model.load_state_dict(module.best_state)
    freeze(model, [])
    return Fitted(
        model=model.cpu().eval(),
        history=module.history,
        best_step=module.best_step,
        seconds=time.perf_counter() - started,
        n_train=len(train),
        n_validation=len(held_out),
        held_out=held_out,
        learning_rate=settings.learning_rate,
        dead=_dead(module, scaled, train, settings),
    )


def _dead(
    module: FinetuneModule, scaled: Labelled, train: NDArray[np.int64], settings: FinetuneSettings
) -> tuple[str, ...]:
    """Targets for which a trained network is dead, judged by at most ``LOOKED_AT`` of its training crystals.

    A training of fewer than ``FEWEST_STEPS_TO_JUDGE`` steps had no time to be better than a constant.
    """
    if settings.steps < FEWEST_STEPS_TO_JUDGE:
        return ()
    places = np.linspace(0, len(train) - 1, min(len(train), LOOKED_AT)).round().astype(np.int64)
    batches = _fixed_batches(scaled, train[places], module.model, settings)
    prediction, labels = _predicted(module.model, batches)  # (n, T) each
    found = dead_targets(module.goal.cpu(), prediction, labels, module.history)
    return tuple(scaled.targets[k] for k in found)


def _predicted(model: Encoder, batches: HeldOut) -> tuple[Tensor, Tensor]:
    """Predictions and labels of all crystals of some batches, in units of the normaliser, (n, T) each."""
    with torch.no_grad():
        found = [
            (at_least_single(model.scaled(model.encode(crystals).crystal)), labels) for crystals, labels in batches
        ]
    prediction, labels = zip(*found, strict=True)
    return torch.cat(prediction), torch.cat(labels)


def _training_batches(
    scaled: Labelled, train: NDArray[np.int64], model: Encoder, settings: FinetuneSettings
) -> DataLoader[Any]:
    """Batches of the training part, in the order of the run."""
    noisy = settings.noisy_nodes > 0
    batches = StoreBatches(
        scaled.store,
        scaled.rows[train],
        scaled.labels[train],
        view="full" if noisy else view_for(model),  # atoms that move are not equal
        geometry=noisy,
    )
    order = StepOrder(
        batches.sizes,
        steps=settings.steps * settings.accumulate,
        chunk=settings.validate_every * settings.accumulate,
        batch_sites=settings.batch_sites,
        seed=settings.seed,
    )
    return batches.loader(order)


def _fixed_batches(
    scaled: Labelled, positions: NDArray[np.int64], model: Encoder, settings: FinetuneSettings
) -> HeldOut:
    """Batches of some labelled crystals, such as the validation part, the same each time they are asked for."""
    batches = StoreBatches(scaled.store, scaled.rows[positions], scaled.labels[positions], view=view_for(model))
    return HeldOut(batches, group_by_sites(batches.sizes, np.arange(len(positions)), 10 * settings.batch_sites))


def _claim(out: Path, model: Encoder, data: Labelled, settings: FinetuneSettings, split_seed: int | None) -> None:
    """Take the folder for this run: data, labels, settings and starting weights decide what it is."""
    start = [float(parameter.detach().double().sum()) for parameter in model.parameters()]
    decides = deciding(settings, apart=["learning_rate"])
    claim: dict[str, Any] = {"settings": decides, "store": data.store.key, "rows": data.rows}
    claim |= {} if split_seed is None else {"split_seed": split_seed}
    # The rate may follow from the start, so the start is named first where both differ.
    rate = settings.learning_rate
    claim_folder(out, "finetune", {**claim, "labels": data.labels, "start": start, "learning rate": rate})


def _normalise(
    model: Encoder, goal: Goal, labels: NDArray[np.float64], train: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Fit the normaliser on the training part of the labels, store it in the model, and apply it to all, (n, T)."""
    mean, std = goal.scale(labels[train])
    model.target_mean.copy_(torch.from_numpy(mean))
    model.target_std.copy_(torch.from_numpy(std))
    return (labels - mean) / std


def hold_out(
    n: int, settings: FinetuneSettings, seed: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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


# How fast each layer group moves, and from which step on.
#
# Lightning's ``BaseFinetuning`` thaws at epochs and adds parameter groups on the way, which a schedule of fixed
# length
# does not know of; here all groups are in the optimiser from the start, and the step alone decides which ones move.

ParameterGroup = dict[str, Any]


def rate_groups(
    model: Grouped, learning_rate: float, encoder_rate: float = 1.0, layer_decay: float = 1.0
) -> list[ParameterGroup]:
    """Parameter groups for an optimiser, the head first: the deeper a group, the slower it moves.

    Args:
        model: the model, its groups in the order from the input to the head; frozen parameters are left out.
        learning_rate: of the head.
        encoder_rate: share of it for all other groups.
        layer_decay: further factor, once for each group between this one and the end.
    """
    names = list(model.layer_groups())
    found: list[ParameterGroup] = []
    for place, (name, parameters) in enumerate(model.layer_groups().items()):
        share = 1.0 if name == "head" else encoder_rate * layer_decay ** (len(names) - 1 - place)
        moving = [parameter for parameter in parameters if parameter.requires_grad]
        if moving:
            found.append({"name": name, "params": moving, "lr": learning_rate * share})
    return sorted(found, key=lambda group: group["name"] != "head")  # stable: the others keep their order


class Thawing:
    """Gradual unfreezing: the group nearest to the prediction moves first, one more joins every so many steps.

    A group that has not joined has no gradient, so the optimiser leaves it alone: no step, no decay, no momentum.

    Args:
        groups: parameter groups from ``rate_groups``: the head, then from the input upwards.
        every: optimiser steps until the next group joins; 0 lets all move from the start.
        steps: optimiser steps of the whole run.

    Raises:
        InputError: If a group would still be frozen at the end.
    """

    def __init__(self, groups: Sequence[ParameterGroup], every: int, steps: int) -> None:
        head = [group for group in groups if group["name"] == "head"]
        self.order = [*head, *(group for group in reversed(groups) if group["name"] != "head")]
        self.every = every
        last = every * (len(self.order) - 1)
        if last >= steps:
            most = (steps - 1) // (len(self.order) - 1)
            what = f"unfreeze_every = {every} lets the group {self.order[-1]['name']} move from step {last} on"
            remedy = f"Choose at most {most}, or freeze the group" if most else "Take more steps"
            raise InputError(f"{what}, but the run has {steps} steps. {remedy}.")

    def moving(self, step: int) -> list[str]:
        """Names of the groups that move in a step, in the order in which they joined."""
        count = 1 + step // self.every if self.every else len(self.order)
        return [group["name"] for group in self.order[:count]]

    def settle(self, step: int) -> None:
        """Make the groups of a step trainable and no others; a function of the step alone, so a resumed run agrees."""
        if not self.every:
            return
        names = self.moving(step)
        for group in self.order:
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in names)


# Which weights stay as they are: read from the groups that the model itself declares.


class Grouped(Protocol):
    """A model that names its parameters by depth, from the input to the head."""

    def layer_groups(self) -> dict[str, list[nn.Parameter]]: ...  # noqa: D102 - described by the class


def freeze(model: Grouped, names: Sequence[str]) -> None:
    """Keep the named groups as they are, and all others trainable.

    Raises:
        InputError: For a group the model does not have.
    """
    groups = model.layer_groups()
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise InputError(f"Unknown layer groups to freeze: {', '.join(unknown)}. This model has: {', '.join(groups)}.")
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(name not in names)


# Noisy Nodes: fine-tune on crystals whose atoms are moved a little, and have the sites tell by how much.
#
# Godwin et al., ICLR 2022 (arXiv 2106.07971): one pass over the noisy crystal gives the property, which is still that
# of
# the clean one, and the site vectors from which the noise is told. What it predicts in the end, it predicts from
# clean
# crystals.

NOISE_ANGSTROM = 0.02
"""Small enough that a relaxed crystal keeps its properties; as an auxiliary loss 0.005 to 0.04 has been published."""


class NoisyNodes(nn.Module):
    """The noise of a fine-tuning and the head that tells clean distances; thrown away afterwards.

    Args:
        model: the network that is fine-tuned; only its width is read here.
        settings: weight and strength of the noise, and the seed of the head.
    """

    def __init__(self, model: Encoder, settings: FinetuneSettings) -> None:
        super().__init__()
        self.weight = settings.noisy_nodes
        size = NOISE_ANGSTROM if settings.noise_angstrom is None else settings.noise_angstrom
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 2)
            options = {"least_angstrom": size, "most_angstrom": size, "strain": 0.0}
            self.denoise = Denoise.for_encoder(model, "default", options)

    def forward(self, model: Encoder, share: Share, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Vectors of the own noisy crystals, (b, C), and the weighted loss of the noise.

        Args:
            model: the network.
            share: which crystals are this process's own.
            generator: source of the noise, the same on every process.
        """
        noise = self.denoise.noise(share.whole, generator)
        shown: SiteBatch = share.cut(within(noise.noisy, model.reach_angstrom))
        encoding = model.encode(shown)
        loss, _ = self.denoise.denoising_loss(encoding.site, noise, share)
        return encoding.crystal, self.weight * loss


# How long, how fast and on how many labels to fine-tune: what a number of labels and a start were found to need.

STEPS = ((250, 600), (2500, 1800), (25000, 3000))
"""Most labels and their steps, in batches of 400 sites. More steps made scratch worse on 100 labels, fewer on 1,000
(leaderboard/results/recipe)."""
BEYOND = 10000
VALIDATIONS = 10
RATES = {"scratch": 1e-3, "pretrained": 2e-3}
"""Peak learning rate, each the best for its start on crystals set aside for such choices: weights from scratch did no
better at half or twice of it (leaderboard/results/recipe)."""
ALL_TRAIN = 2500
"""Up to so many labels all of them train: the last, averaged weights are better than those that a few held-out labels
choose among less trained ones (leaderboard/results/recipe)."""
HELD_OUT = 0.1
"""Share held out beyond that, and wherever something needs labels that were not trained on."""


def steps_for(labels: int) -> int:
    """Optimiser steps for a number of labelled crystals.

    Args:
        labels: crystals with labels, those held out included.
    """
    return next((steps for most, steps in STEPS if labels <= most), BEYOND)


def validation_share(settings: FinetuneSettings, labels: int) -> float:
    """Share of the labelled crystals that are held out to choose the checkpoint.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
    """
    if settings.validation_fraction is not None:
        return settings.validation_fraction
    return HELD_OUT if labels > ALL_TRAIN or settings.patience else 0.0


def with_held_out(settings: FinetuneSettings) -> FinetuneSettings:
    """The settings, with labels held out unless the user said how many: an uncertainty is fitted on them."""
    if settings.validation_fraction is not None:
        return settings
    return settings.model_copy(update={"validation_fraction": HELD_OUT})


def resolved_finetuning(settings: FinetuneSettings, labels: int, *, pretrained: bool) -> FinetuneSettings:
    """The settings with nothing left open: steps and held-out labels by their number, the learning rate by the start.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
        pretrained: whether the encoder's weights were learnt before.
    """
    steps = settings.steps or steps_for(labels)
    every = settings.validate_every or max(1, steps // VALIDATIONS)
    rate = settings.learning_rate or RATES["pretrained" if pretrained else "scratch"]
    budget = {"steps": steps, "validate_every": every, "learning_rate": rate}
    return settings.model_copy(update={**budget, "validation_fraction": validation_share(settings, labels)})
