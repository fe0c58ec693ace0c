"""Pretraining: an encoder and an objective, structures without labels, a folder that MatGL can open."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax.config import ModelSettings, PretrainSettings
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.loader import StepOrder, StoreBatches, group_by_sites, random_stream, step_generator
from matgl_infomax.data.store import Store
from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES, Objective
from matgl_infomax.objectives.health import effective_rank, spread
from matgl_infomax.train.claim import claim_folder
from matgl_infomax.train.loop import CHECKPOINT, run_steps
from matgl_infomax.train.module import StepModule
from matgl_infomax.train.weights import new_model, save_model

VALIDATION_STREAM = 1_000_003
"""Places in the random streams that no training step reaches."""


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining."""

    path: Path
    """Folder with the encoder (for ``matgl.load_model``), the objective's own weights and the record."""
    history: list[dict[str, float]]
    """Losses and collapse numbers at each validation."""
    seconds: float
    """Time of training in this process."""
    best_step: int
    """Step whose self-supervised validation loss was the lowest; its weights are the ones kept."""


class PretrainModule(StepModule):
    """One step of self-supervised learning; its validation never sees a label."""

    def __init__(
        self, encoder: SiteNet, objective: Objective, settings: PretrainSettings, held_out: Iterable[SiteBatch]
    ) -> None:
        parameters = [*_without_head(encoder), *objective.parameters()]
        groups = [{"params": parameters, "lr": settings.learning_rate}]
        super().__init__(groups, settings.steps, settings.weight_decay, settings.warmup_fraction)
        self.encoder, self.objective, self.seed = encoder, objective, settings.seed
        self.held_out = held_out

    def training_step(self, batch: SiteBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """The objective's loss, with the randomness of this step."""
        total, parts = self.objective.loss(self.encoder, batch, step_generator(self.seed, self.global_step))
        self.count({"loss": total, **parts})
        return total

    def validate(self) -> tuple[dict[str, float], torch.nn.Module]:
        """The same loss on held-out crystals with the same noise each time, and what the vectors look like."""
        sums: dict[str, float] = {}
        crystals = 0
        encodings = []
        for number, batch in enumerate(self.on_device(self.held_out)):
            generator = step_generator(self.seed, VALIDATION_STREAM + number)
            total, parts = self.objective.loss(self.encoder, batch, generator)
            numbers: dict[str, Any] = {"loss": total, **parts, **self.objective.diagnose(batch, generator)}
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + float(value) * batch.n_crystals
            crystals += batch.n_crystals
            encodings.append(self.encoder.encode(batch))
        means = {name: value / crystals for name, value in sums.items()}
        for level, vectors in (("site", [e.site for e in encodings]), ("crystal", [e.crystal for e in encodings])):
            means[f"{level}_spread"] = spread(torch.cat(vectors))
            means[f"{level}_rank"] = effective_rank(torch.cat(vectors))
        return {**means, "score": means["loss"]}, _Both(self.encoder, self.objective)


class _Both(torch.nn.Module):
    """Encoder and objective under fixed names, as the best weights are kept."""

    def __init__(self, encoder: SiteNet, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective


def pretrain(
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    out: Path,
    settings: PretrainSettings = PretrainSettings(),
    model: ModelSettings = ModelSettings(),
    *,
    progress: bool = True,
) -> Pretrained:
    """Teach an encoder from structures alone.

    A run that was stopped goes on from its last checkpoint and ends with the same weights, bit for bit on the CPU.
    The weights kept are those of the lowest self-supervised validation loss.

    Args:
        store: prepared crystals.
        rows: rows of the store to learn from; a share of them is held out for validation.
        out: folder of the run.
        settings: objective and training.
        model: encoder.
        progress: show a bar.

    Raises:
        InputError: If the folder holds another run, cannot be written, or there are fewer than four crystals.
    """
    out, rows = Path(out), np.asarray(rows, dtype=np.int64)
    started = time.perf_counter()
    claim = {"settings": settings.model_dump(), "model": model.model_dump(), "store": store.key, "rows": rows.tolist()}
    claim_folder(out, "pretrain", claim)
    if (out / "pretrain.json").is_file():
        return _finished(out)
    train, held_out = _split(rows, settings)
    encoder = new_model(model, 1, settings.seed)
    training, validation = StoreBatches(store, train), StoreBatches(store, held_out)
    order = StepOrder(
        training.sizes, settings.steps, settings.validate_every, settings.batch_sites, settings.seed, least=2
    )
    fixed = group_by_sites(validation.sizes, np.arange(len(held_out)), settings.batch_sites, least=2)
    module = PretrainModule(encoder, _new_objective(encoder, settings), settings, validation.loader(fixed))
    run_steps(
        module,
        training.loader(order),
        chunk=settings.validate_every,
        gradient_clip=settings.gradient_clip,
        out=out,
        description="Pretraining" if progress else None,
    )
    return _save(module, out, time.perf_counter() - started)


def _new_objective(encoder: SiteNet, settings: PretrainSettings) -> Objective:
    """The objective with critics for this encoder, initialised by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        kind = OBJECTIVES[settings.objective]
        return kind.for_encoder(encoder, settings.objective_preset, settings.objective_options)


def _split(rows: NDArray[np.int64], settings: PretrainSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation rows; at least two crystals in each, since InfoMax needs a foreign one."""
    if len(rows) < 4:
        raise InputError(f"Pretraining needs at least 4 crystals, two of them for validation. Received: {len(rows)}.")
    order = random_stream(settings.seed, VALIDATION_STREAM).permutation(len(rows))
    n = min(max(2, round(len(rows) * settings.validation_fraction)), len(rows) - 2)
    return rows[np.sort(order[n:])], rows[np.sort(order[:n])]


def _without_head(encoder: SiteNet) -> list[torch.nn.Parameter]:
    """Everything but the head, which no label-free objective trains."""
    return [p for name, group in encoder.layer_groups().items() if name != "head" for p in group]


def _save(module: PretrainModule, out: Path, seconds: float) -> Pretrained:
    """Write the best weights in MatGL's format, the objective's own weights beside them, and the record last."""
    best = module.best_state
    module.encoder.load_state_dict(_under("encoder.", best))
    module.objective.load_state_dict(_under("objective.", best))
    save_model(module.encoder.cpu(), out, {"matgl_infomax": "pretrained", "step": module.best_step})
    buffer = io.BytesIO()
    torch.save(module.objective.cpu().state_dict(), buffer)
    atomic_write(out / "objective.pt", buffer.getvalue())
    record = {"history": module.history, "best_step": module.best_step, "seconds": seconds}
    atomic_write(out / "pretrain.json", json.dumps(record))
    (out / CHECKPOINT).unlink(missing_ok=True)
    return Pretrained(out, module.history, seconds, module.best_step)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _finished(out: Path) -> Pretrained:
    """A run that was completed earlier."""
    record: dict[str, Any] = json.loads((out / "pretrain.json").read_text())
    return Pretrained(out, record["history"], record["seconds"], record["best_step"])
