"""Pretraining: an encoder and an objective, structures, a folder that MatGL can open."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax.console import say
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.forces import ForceLabels, energy_scale
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream, step_generator
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.io import check_sums, read_json
from matgl_infomax.nn.build import Encoder, new_encoder, save_model
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.objectives import Combined, Objective, new_objective
from matgl_infomax.objectives.base import collapsed, effective_rank, spread
from matgl_infomax.record import InFolder, claim_folder, spoken_time
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train.loop import CHECKPOINT, run_steps
from matgl_infomax.train.losses import check_force_labels
from matgl_infomax.train.module import StepModule
from matgl_infomax.train.predict import embed_rows
from matgl_infomax.train.probe import (
    FOLDS,
    Folds,
    Target,
    chosen_sites,
    cross_validate,
    crystal_targets,
    make_folds,
    site_targets,
)
from matgl_infomax.train.ranks import HeldOut, from_all, is_first, wait_for_all
from matgl_infomax.train.site_stiffness import potential_digest, site_stiffness

VALIDATION_STREAM = 1_000_003
RECORD = "pretrain.json"
"""Places in the random streams that no training step reaches."""
Parts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows to learn from, and rows held out."""


@dataclass(frozen=True, repr=False)
class Pretrained(InFolder):
    """A finished pretraining."""

    path: Path
    """Folder with the encoder (for ``matgl.load_model``), the objective's own weights and the record."""
    history: list[dict[str, float]]
    """Losses and collapse numbers at each validation."""
    seconds: float
    """Time of training in this process."""
    best_step: int
    """Step whose self-supervised validation loss was the lowest; its weights are the ones kept."""
    about: str = ""
    """What was learnt, by which network and from how many crystals."""

    def facts(self) -> tuple[str, dict[str, str]]:
        """What was learnt, what the held-out crystals say, and what to do next."""
        losses = {int(entry["step"]): entry["validation/loss"] for entry in self.history if "validation/loss" in entry}
        told = {"Learnt": self.about} if self.about else {}
        if losses:
            first, best = min(losses), losses.get(int(self.best_step), min(losses.values()))
            told["Loss on held-out crystals"] = (
                f"{losses[first]:.4g} after {first} steps, {best:.4g} at step {self.best_step:.0f}, which was kept"
            )
        if any(entry.get("validation/collapsed") for entry in self.history[-1:]):
            told["Warning"] = "the vectors of different crystals are nearly the same; choose another objective"
        next_step = f'finetune(crystals, targets, "model", init="{self.path}")'
        told |= {"Time": spoken_time(self.seconds), "Folder": str(self.path), "Next": next_step}
        return "Pretrained encoder", told


class PretrainModule(StepModule):
    """One step of learning; its validation sees no label but those that the objective names."""

    def __init__(
        self, encoder: Encoder, objective: Objective, settings: PretrainSettings, held_out: Sequence[SiteBatch]
    ) -> None:
        parameters = [*_without_head(encoder), *objective.parameters()]
        groups = [{"params": parameters, "lr": settings.learning_rate}]
        super().__init__(
            groups,
            steps=settings.steps,
            weight_decay=settings.weight_decay,
            warmup_fraction=settings.warmup_fraction,
            accumulate=settings.accumulate,
        )
        self.encoder = encoder
        self.objective = objective
        self.seed = settings.seed
        self.held_out = held_out
        self.probes: OnlineProbes | None = None

    def training_step(self, batch: SiteBatch, batch_idx: int) -> Tensor:
        """The objective's loss, with the randomness of this batch."""
        generator = step_generator(self.seed, self.batch_number(batch_idx))
        total, parts = self.objective.loss(self.encoder, batch, generator, self.share(batch))
        self.count({"loss": total, **parts})
        return total

    def validate(self) -> tuple[dict[str, float], torch.nn.Module]:
        """The same loss on held-out crystals with the same noise each time, and what the vectors look like."""
        mine = []
        for number, batch in self.own_batches(self.held_out):
            generator = step_generator(self.seed, VALIDATION_STREAM + number)
            total, parts = self.objective.loss(self.encoder, batch, generator)
            values: dict[str, Any] = {"loss": total, **parts, **self.objective.diagnose(batch, generator)}
            values |= pulls(self.encoder, self.objective, batch, step_generator(self.seed, VALIDATION_STREAM + number))
            encoding = self.encoder.encode(batch)
            numbers = {name: float(value) for name, value in values.items()}
            mine.append(_Validated(number, batch.n_crystals, numbers, encoding.site.cpu(), encoding.crystal.cpu()))
        found = sorted(from_all(mine), key=lambda entry: entry.number)
        crystals = sum(entry.n_crystals for entry in found)
        means = {
            name: sum(entry.numbers[name] * entry.n_crystals for entry in found) / crystals for name in found[0].numbers
        }
        site_vectors = torch.cat([entry.site for entry in found])  # (N, D)
        crystal_vectors = torch.cat([entry.crystal for entry in found])  # (B, C)
        for level, vectors in (("site", site_vectors), ("crystal", crystal_vectors)):
            means[f"{level}_spread"] = spread(vectors)
            means[f"{level}_rank"] = effective_rank(vectors)
        if self.probes is not None and self.probes.due(len(self.history) + 1):
            means |= from_all([self.probes.look(self.encoder) if is_first() else {}])[0]
        means["collapsed"] = float(collapsed(crystal_vectors))
        self._warn(means)
        return {**means, "score": means["loss"]}, _Both(self.encoder, self.objective)

    def _warn(self, means: dict[str, float]) -> None:
        """Say that the vectors collapsed, the first time that they did."""
        before = any(entry.get("validation/collapsed") for entry in self.history)
        if means["collapsed"] and not before and is_first():
            numbers = f"spread {means['crystal_spread']:.3f}, effective rank {means['crystal_rank']:.1f}"
            say(
                f"the crystal vectors collapsed ({numbers} after {self.global_step} steps): crystals can hardly be "
                "told apart. Choose another objective, add one that needs them apart (such as masked), or learn slower."
            )


@dataclass(frozen=True)
class _Validated:
    """A validation batch of any process."""

    number: int
    n_crystals: int
    numbers: dict[str, float]
    """Losses and what the objective says of itself, means over the crystals of the batch."""
    site: Tensor  # (N, D)
    crystal: Tensor  # (B, C)


class _Both(torch.nn.Module):
    """Encoder and objective under fixed names, as the best weights are kept."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective


def pretrain_encoder(
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    out: Path,
    settings: PretrainSettings = PretrainSettings(),
    model: ModelSettings = ModelSettings(),
    *,
    labels: ForceLabels | None = None,
    progress: bool = True,
) -> Pretrained:
    """Teach an encoder from structures alone, or from the labels that its objective names.

    A run that was stopped goes on from its last checkpoint and ends with the same weights, bit for bit on the CPU.
    The weights kept are those of the lowest self-supervised validation loss.

    Args:
        store: prepared crystals.
        rows: rows of the store to learn from; a share of them is held out for validation.
        out: folder of the run.
        settings: objective and training.
        model: encoder.
        labels: energies, forces and stresses of all crystals of the store, for an objective that names some.
        progress: show a bar.

    Raises:
        InputError: If labels are named and not given, the folder holds another run, cannot be written, there are
            fewer than four crystals, or the store's pairs are not those of the network.
    """
    out, rows = Path(out), np.asarray(rows, dtype=np.int64)
    started = time.perf_counter()
    # Mistakes first: the folder is claimed by a run that can begin.
    train, held_out = _split(rows, settings)
    encoder = new_encoder(model, 1, settings.seed, store.elements(rows))
    store.check_rule(encoder.edges)
    objective = _new_objective(encoder, settings)
    physics, scale = _named_labels(objective, labels, store, train)
    probes = OnlineProbes(store, held_out, settings.probe_every, settings.seed) if settings.probe_every else None
    _claim(out, store, rows, settings, model, objective, labels)
    if (out / RECORD).is_file():
        return _finished(out)
    training, validation = _batches(objective, store, (train, held_out), physics, progress)
    fixed = group_by_sites(validation.sizes, np.arange(len(held_out)), settings.batch_sites, least=2)
    module = PretrainModule(encoder, objective, settings, HeldOut(validation, fixed))
    module.probes = probes
    loader = training.loader(_order(training, settings))
    run_steps(module, loader, settings, out=out, description="Pretraining" if progress else None)
    return _save(module, out, time.perf_counter() - started, scale)


def _order(training: StoreBatches, settings: PretrainSettings) -> StepOrder:
    """The batches of the whole run; at least two crystals in each, since InfoMax needs a foreign one."""
    return StepOrder(
        training.sizes,
        steps=settings.steps * settings.accumulate,
        chunk=settings.validate_every * settings.accumulate,
        batch_sites=settings.batch_sites,
        seed=settings.seed,
        least=2,
    )


def _new_objective(encoder: Encoder, settings: PretrainSettings) -> Objective:
    """The objective with critics for this encoder, initialised by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        return new_objective(
            encoder,
            settings.objective,
            preset=settings.objective_preset,
            options=settings.objective_options,
            weights=settings.objective_weights,
        )


def _claim(
    out: Path,
    store: Store,
    rows: NDArray[np.int64],
    settings: PretrainSettings,
    model: ModelSettings,
    objective: Objective,
    labels: ForceLabels | None,
) -> None:
    """Take the folder for this run: structures, settings, and whatever else an objective reads decide what it is."""
    decides = {"settings": deciding(settings), "model": deciding(model)}
    claim: dict[str, Any] = {**decides, "store": store.key, "rows": rows}
    claim |= {} if labels is None else labels.claim()
    claim |= {} if objective.asks is None else {"potential": potential_digest(objective.asks.potential)}
    claim |= {} if objective.form is None else {"form": objective.form}
    claim_folder(out, "pretrain", claim)


def _batches(
    objective: Objective, store: Store, parts: Parts, physics: ForceLabels | None, progress: bool
) -> list[StoreBatches]:
    """Batches of the training part and of what is held out, with what the objective reads beside structures."""
    asks = objective.asks
    site_property = None if asks is None else site_stiffness(store, asks.kind, asks.potential, progress=progress)
    shown: dict[str, Any] = {"view": objective.view, "geometry": objective.geometry, "site_property": site_property}
    return [StoreBatches(store, p, **shown, physics=None if physics is None else physics.pick(p)) for p in parts]


def _split(rows: NDArray[np.int64], settings: PretrainSettings) -> Parts:
    """Training and validation rows; at least two crystals in each, since InfoMax needs a foreign one."""
    if len(rows) < 4:
        raise InputError(f"Pretraining needs at least 4 crystals, two of them for validation. Received: {len(rows)}.")
    order = random_stream(settings.seed, VALIDATION_STREAM).permutation(len(rows))
    n = min(max(2, round(len(rows) * settings.validation_fraction)), len(rows) - 2)
    return rows[np.sort(order[n:])], rows[np.sort(order[:n])]


def _without_head(encoder: Encoder) -> list[torch.nn.Parameter]:
    """Everything but the head, which no label-free objective trains."""
    return [p for name, group in encoder.layer_groups().items() if name != "head" for p in group]


def _named_labels(
    objective: Objective, labels: ForceLabels | None, store: Store, train: NDArray[np.int64]
) -> tuple[ForceLabels | None, dict[str, Any]]:
    """The labels that an objective names, in its units, and what these units are; fitted on the training rows alone."""
    if objective.columns is None:
        return None, {}
    if labels is None or len(labels) != len(store):
        raise InputError(
            "This objective learns from labels, and was given none here. Name them where crystals are read: "
            "matgl-infomax pretrain --objective-options energy=COLUMN."
        )
    check_force_labels(labels)
    numbers = [store.numbers(row) for row in range(len(store))]
    scale = energy_scale(labels.pick(train), [numbers[row] for row in train])
    known = {str(z): float(e) for z, e in enumerate(scale.reference) if e}
    noted = {"energy_scale": {"mean": scale.mean, "unit": scale.unit, "reference": known}}
    return scale.scaled(labels, numbers), noted


def _save(module: PretrainModule, out: Path, seconds: float, scale: dict[str, Any]) -> Pretrained:
    """Write the best weights in MatGL's format, the objective's own weights beside them, and the record last."""
    best = module.best_state
    module.encoder.load_state_dict(_under("encoder.", best))
    module.objective.load_state_dict(_under("objective.", best))
    if is_first():
        encoder = module.encoder.cpu()
        # MatGL's network is saved by itself: it opens where this package is unknown, and has no head of ours.
        native = encoder.network if isinstance(encoder, MatGLNet) else encoder
        buffer = io.BytesIO()
        torch.save(module.objective.cpu().state_dict(), buffer)
        record = {"history": module.history, "best_step": module.best_step, "seconds": seconds, **scale}
        beside: dict[str, str | bytes] = {"objective.pt": buffer.getvalue(), RECORD: json.dumps(record)}
        save_model(native, out, {"matgl_infomax": "pretrained", "step": module.best_step}, beside)
        (out / CHECKPOINT).unlink(missing_ok=True)
    wait_for_all()
    return Pretrained(out, module.history, seconds, module.best_step)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _finished(out: Path) -> Pretrained:
    """A run that was completed earlier."""
    check_sums(out, (RECORD,))
    record = read_json(out / RECORD)
    try:
        return Pretrained(out, record["history"], record["seconds"], record["best_step"])
    except KeyError as error:
        raise InputError(f"{out / RECORD} lacks {error}. Choose another folder, or delete that one.") from error


# Do the parts of a combination pull together? The gradient of each on the encoder, and the angles between them.


@torch.enable_grad()
def pulls(encoder: Encoder, objective: Objective, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:
    """Length of each part's gradient, and the cosine of each two: below zero one undoes what the other does.

    Args:
        encoder: the network that is trained; its gradients are left as they are.
        objective: what it learns; of a single objective nothing is told.
        batch: crystals.
        generator: source of randomness.
    """
    if not isinstance(objective, Combined):
        return {}
    weights = [p for name, group in encoder.layer_groups().items() if name != "head" for p in group if p.requires_grad]
    losses, _ = objective.losses(encoder, batch, generator)
    gradient = {name: _flat(loss, weights) for name, loss in losses.items()}
    found = {f"pull/{name}": float(value.norm()) for name, value in gradient.items()}
    for one, other in combinations(gradient, 2):
        cosine = torch.nn.functional.cosine_similarity(gradient[one], gradient[other], dim=0)
        found[f"pull/{one}-{other}"] = float(cosine)
    return found


def _flat(loss: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    """Gradient with respect to all weights, one after the other, (P,)."""
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    pieces = [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]
    return torch.cat([piece.flatten() for piece in pieces])


# Probes on held-out crystals while an encoder learns: they read its vectors, and nothing goes back.

MOST = 500
"""Held-out sites, and crystals, that are asked at most: seconds, whatever the size of the data."""


class OnlineProbes:
    """Linear probes of what the structures themselves say (never a label), the same crystals and folds each time.

    Args:
        store: prepared crystals.
        rows: held-out rows.
        every: validations from one look to the next.
        seed: seed of the choice of sites and of the folds.

    Raises:
        InputError: If fewer crystals are held out than there are folds.
    """

    def __init__(self, store: Store, rows: Sequence[int] | NDArray[np.int64], every: int, seed: int) -> None:
        if len(rows) < FOLDS:
            raise InputError(
                f"probe_every needs at least {FOLDS} held-out crystals, one per fold. Held out: {len(rows)}. "
                "Raise validation_fraction, or leave probe_every out."
            )
        drawn = random_stream(seed, 0).permutation(len(rows))[:MOST]
        self.store = store
        self.every = every
        self.rows = np.sort(np.asarray(rows, dtype=np.int64)[drawn])
        crystals = [store.crystal(int(row)) for row in self.rows]
        self.sites, owner = chosen_sites(store.n_sites[self.rows], MOST, seed)
        of_crystal = np.arange(len(crystals))
        self.probed: list[tuple[Target, Folds]] = []
        for target in [*(t.of(self.sites) for t in site_targets(crystals)), *crystal_targets(crystals)]:
            try:
                folds = make_folds(target, owner if target.level == "site" else of_crystal, seed)
            except InputError:  # the same everywhere, or of too few classes here
                continue
            self.probed.append((target, folds))

    def due(self, validation: int) -> bool:
        """Whether it is time, at the validation of this number (the first is 1)."""
        return validation % self.every == 0

    def look(self, encoder: Encoder) -> dict[str, float]:
        """R² (numbers) or accuracy (classes) of every target, such as ``probe/site/element``.

        Args:
            encoder: the network as it is; no gradient is kept, and its weights and mode stay.

        Raises:
            InputError: If a vector holds no finite number.
        """
        site = np.concatenate(embed_rows(encoder, self.store, self.rows, level="site"))[self.sites]  # (N, D)
        vectors = {"site": site, "crystal": embed_rows(encoder, self.store, self.rows)}  # (N, D), (B, C)
        return {
            f"probe/{target.level}/{target.name}": cross_validate(vectors[target.level], target, folds, "linear").value
            for target, folds in self.probed
        }
