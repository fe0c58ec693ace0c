"""Run a training with Lightning: chunks of steps, a checkpoint after each, exact resume, one progress bar."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, loggers
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from matgl_infomax.console import progress_bar, say
from matgl_infomax.errors import DivergedError, InputError
from matgl_infomax.io import atomic_write, read_tensors, sha256_of
from matgl_infomax.settings.training import FinetuneSettings, ForceFieldSettings, PretrainSettings
from matgl_infomax.train.module import StepModule
from matgl_infomax.train.ranks import chosen_device, quiet, spawns, trainer_arguments
from matgl_infomax.workers import endings_wait

AnySettings = PretrainSettings | FinetuneSettings | ForceFieldSettings
CHECKPOINT = "last.ckpt"
PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed"}
"""Lightning's names; bf16 is for matrix products, while weights, softmax and losses stay in single precision."""


LOGGERS: dict[str, Callable[[Path], Logger]] = {
    "csv": lambda out: loggers.CSVLogger(out, name="logs", flush_logs_every_n_steps=1),
    "tensorboard": lambda out: loggers.TensorBoardLogger(out, name="logs"),
    "wandb": lambda out: loggers.WandbLogger(project="matgl-infomax", name=out.name, save_dir=out),
    # MLflow 3 writes no folders of files any more: a database beside the run, or the server that the user named.
    "mlflow": lambda out: loggers.MLFlowLogger(
        "matgl-infomax",
        run_name=out.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.resolve() / 'mlflow.db'}",
        artifact_location=str(out.resolve() / "mlflow"),
    ),
}
"""Lightning's loggers by the name of the setting, each for the folder of a run."""


SEAL = b"sha256:"
"""Ends a checkpoint, before the hash of all that is in front; PyTorch reads the file with or without it."""


class AtomicCheckpoint(TorchCheckpointIO):
    """Write a checkpoint whole or not at all: Lightning's own leaves half a file over a good one on a full disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write beside the old checkpoint, then replace it."""
        buffer = io.BytesIO()
        # Callbacks would only leave the absolute paths of this machine; what a run needs is in ``progress``.
        torch.save({**checkpoint, "callbacks": {}} if "callbacks" in checkpoint else checkpoint, buffer)
        content = buffer.getvalue()
        # In the same file: after a crash a hash of its own file could be that of the step before.
        atomic_write(Path(path), content + SEAL + sha256_of(content).encode())

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Plain tensors and numbers, on the CPU, whose hash was checked."""
        return read_checkpoint(Path(path))


class StepBar(Callback):
    """One bar over all steps of a run, whatever Lightning calls an epoch."""

    def __init__(self, description: str, steps: int) -> None:
        self.description, self.steps = description, steps
        self.bar: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open the bar where the run starts or goes on; one process shows it."""
        if not trainer.is_global_zero:
            return
        self.bar = progress_bar(total=self.steps, initial=trainer.global_step, desc=self.description, unit="step")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """On to the step that is reached."""
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Close it before anything is said about what went wrong."""
        self.on_train_end(trainer, pl_module)


class Findings(Callback):
    """Hand history and best weights from the process that trained to the one that started it.

    Args:
        file: where rank 0 leaves them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them down."""
        if trainer.is_global_zero and isinstance(pl_module, StepModule):
            torch.save(pl_module.progress(), self.file)


def run_steps(
    module: StepModule,
    training: DataLoader[Any],
    settings: AnySettings,
    *,
    out: Path | None,
    description: str | None,
) -> None:
    """Train to the end, from the checkpoint in ``out`` if there is one.

    Args:
        module: what is trained; it holds history and best weights in the end, whichever process found them.
        training: batches, in chunks (see ``StepOrder``), the same on every process.
        settings: steps between validations, gradient norm, precision, processes.
        out: folder of the checkpoint; none keeps nothing.
        description: text of the progress bar; none shows no bar.

    Raises:
        InputError: If the checkpoint cannot be read, or not be written, or the processes cannot be had.
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
    saved = None if checkpoint is None else read_checkpoint(checkpoint)
    alone = not spawns(settings.processes)
    if saved is not None and not alone and module.is_over(saved["progress"]):
        # Processes that find nothing left to do would end without a word to the one that started them.
        module.take_up(saved["progress"])
        return
    with quiet(), repeatable(), tempfile.TemporaryDirectory() as folder:
        findings = Path(folder) / "findings.pt"
        callbacks += [] if alone else [Findings(findings)]
        if not alone:
            with endings_wait():
                pass  # the process that clears away semaphores is there, and hears no end of a terminal
        _fit(_trainer(settings, callbacks, out), module, training, checkpoint)
        if not alone:
            module.take_up(read_tensors(findings))


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """On a CPU with several threads, sums in an order that does not change: M3GNet's scatter would take any.

    A GPU is left as it is: some operations have no such order there and would be refused.
    """
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    on_cpu = chosen_device()[0] == "cpu" or not torch.cuda.is_available()
    if on_cpu and torch.get_num_threads() > 1:
        torch.use_deterministic_algorithms(True)
        # Nobody reads memory before it is written: it need not be filled.
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]


def _fit(trainer: Trainer, module: StepModule, training: DataLoader[Any], checkpoint: Path | None) -> None:
    """Let Lightning train, and turn its ways to stop into ours."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, training, ckpt_path=checkpoint, weights_only=True)
    except OSError as error:
        reason, out = error.strerror or str(error), trainer.default_root_dir
        raise InputError(f"Cannot write the checkpoint in {out}: {reason}. Free some space and start again.") from error
    except ProcessRaisedException as error:
        # Only text comes back from another process: what the user can repair is the last line, after the class.
        for kind in (DivergedError, InputError):
            _, found, sentence = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
            if found:
                raise kind(sentence.strip()) from error
        raise
    except ProcessExitedException as error:
        raise InputError(
            f"A process of the training ended early: {error}. If memory ran out, take smaller batch_sites or fewer "
            "processes. A script of your own has to start the training below `if __name__ == '__main__':`."
        ) from error
    except SystemExit:
        # Lightning turns Ctrl-C into an exit and deafens the process to the next one; undo both.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    finally:
        launcher = trainer.strategy.launcher
        if launcher is not None:  # after Ctrl-C: others may not have heard it, or wait for one that has
            launcher.kill(signal.SIGKILL)


def _trainer(settings: AnySettings, callbacks: list[Callback], out: Path | None) -> Trainer:
    """Lightning without its own bars, loggers and summaries; on an accelerator where there is one."""
    arguments = trainer_arguments(settings.processes)
    plugins = [AtomicCheckpoint(), *arguments.pop("plugins", [])]
    return Trainer(
        **arguments,
        plugins=plugins,
        max_epochs=-(-settings.steps // settings.validate_every),
        precision=PRECISION[settings.precision],
        accumulate_grad_batches=settings.accumulate,
        logger=_started(settings, out) if out is not None else False,
        callbacks=callbacks,
        enable_checkpointing=out is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=settings.gradient_clip,
        use_distributed_sampler=False,  # every rank loads the same batches and takes its share of each
        default_root_dir=out,
    )


def _started(settings: AnySettings, out: Path) -> list[Logger]:
    """The loggers that were asked for, told of all settings.

    Raises:
        InputError: If one cannot start, with its own words.
    """
    found = []
    for name in settings.logger:
        try:
            logger = LOGGERS[name](out)
            logger.log_hyperparams(settings.model_dump(mode="json"))
        except Exception as error:  # each of them has errors of its own
            said = str(error).partition("\n")[0]
            raise InputError(
                f"--logger {name} cannot start: {said} Mend that, or take csv, which needs nothing."
            ) from error
        found.append(logger)
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as plain tensors and numbers; nothing in it is executed.

    Raises:
        InputError: If the file is damaged, which its hash tells, or holds more than plain data.
    """
    try:
        content = path.read_bytes()
        size = len(content) - len(SEAL) - 64  # hexadecimal digits of a SHA-256
        body, seal = content[: max(size, 0)], content[max(size, 0) :]
        if not seal.startswith(SEAL):
            say(f"{path} ends without a hash, as earlier versions wrote it: damage to it would not be noticed.")
            return read_tensors(path, content)
        is_now, said = sha256_of(body), seal.removeprefix(SEAL).decode(errors="replace")
        if is_now != said:
            raise InputError(f"Its SHA-256 begins with {is_now[:12]}, and {said[:12]} was written.")
        return read_tensors(path, body)
    except OSError as error:
        raise InputError(f"Cannot read the checkpoint {path}: {error.strerror or error}.") from error
    except InputError as error:
        raise InputError(f"{path} is no readable checkpoint. Delete it to start again. {error}") from error
