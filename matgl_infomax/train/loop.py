"""Run a training with Lightning: chunks of steps, a checkpoint after each, exact resume, one progress bar."""

from __future__ import annotations

import io
import logging
import signal
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader
from tqdm import tqdm

from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write
from matgl_infomax.plain import read_tensors
from matgl_infomax.train.module import StepModule

CHECKPOINT = "last.ckpt"


class AtomicCheckpoint(TorchCheckpointIO):
    """Write a checkpoint whole or not at all: Lightning's own leaves half a file over a good one on a full disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write beside the old checkpoint, then replace it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        atomic_write(Path(path), buffer.getvalue())


class StepBar(Callback):
    """One bar over all steps of a run, whatever Lightning calls an epoch."""

    def __init__(self, description: str, steps: int) -> None:
        self.description, self.steps = description, steps
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open the bar where the run starts or goes on."""
        self.bar = tqdm(total=self.steps, initial=trainer.global_step, desc=self.description, unit="step")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:  # noqa: ARG002
        """One step further."""
        if self.bar is not None:
            self.bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def run_steps(
    module: StepModule,
    training: DataLoader[Any],
    *,
    chunk: int,
    gradient_clip: float,
    out: Path | None,
    description: str | None,
) -> None:
    """Train to the end, from the checkpoint in ``out`` if there is one.

    Args:
        module: what is trained.
        training: batches, in chunks (see ``StepOrder``).
        chunk: steps between validations and checkpoints.
        gradient_clip: largest gradient norm.
        out: folder of the checkpoint; none keeps nothing.
        description: text of the progress bar; none shows no bar.

    Raises:
        InputError: If the checkpoint cannot be read, or not be written.
        KeyboardInterrupt: After Ctrl-C; the last checkpoint stays.
    """
    callbacks: list[Callback] = [StepBar(description, module.steps)] if description else []
    if out is not None:
        callbacks.append(
            ModelCheckpoint(
                out, filename=Path(CHECKPOINT).stem, save_on_train_epoch_end=True, enable_version_counter=False
            )
        )
    checkpoint = out / CHECKPOINT if out is not None and (out / CHECKPOINT).is_file() else None
    if checkpoint is not None:
        read_checkpoint(checkpoint)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _quiet():
            trainer = _trainer(-(-module.steps // chunk), gradient_clip, callbacks, out)
            trainer.fit(module, training, ckpt_path=checkpoint, weights_only=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"Cannot write the checkpoint in {out}: {reason}. Free some space and start again.") from error
    except SystemExit:
        # Lightning turns Ctrl-C into an exit and deafens the process to the next one; undo both.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _trainer(chunks: int, gradient_clip: float, callbacks: list[Callback], out: Path | None) -> Trainer:
    """Lightning without its own bars, loggers and summaries; on an accelerator where there is one."""
    return Trainer(
        max_epochs=chunks,
        accelerator="auto",
        devices=1,
        logger=False,
        callbacks=callbacks,
        plugins=[AtomicCheckpoint()],
        enable_checkpointing=out is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=gradient_clip,
        default_root_dir=out,
    )


class _quiet(warnings.catch_warnings):  # noqa: N801 - used like a function
    """Lightning's advice on workers, loggers and devices is for other programs; its warnings are kept out."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        self._levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *exc: Any) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        super().__exit__(*exc)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as plain tensors and numbers; nothing in it is executed.

    Raises:
        InputError: If the file is damaged or holds more than plain data.
    """
    try:
        return read_tensors(path)
    except InputError as error:
        raise InputError(f"{path} is no readable checkpoint. Delete it to start again. {error}") from error
