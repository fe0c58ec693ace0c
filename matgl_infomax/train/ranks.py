"""One training on several processes: who started them, what Lightning is told, and what they tell each other.

"Rank" is the number of a process. All ranks walk the same order of batches and hold the same weights.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn

from matgl_infomax.data.loader import StoreBatches
from matgl_infomax.errors import InputError
from matgl_infomax.workers import ENDINGS, leave_to_parent


class HeldOut(Sequence[Any]):
    """Batches that are the same at every validation, by number.

    Args:
        data: crystals to choose from.
        batches: positions of the crystals of each batch.
    """

    def __init__(self, data: StoreBatches, batches: list[list[int]]) -> None:
        self.data, self.batches = data, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: Any) -> Any:
        return self.data[self.batches[number]]


def spawns(processes: int) -> bool:
    """Whether this process has to start the others: not where torchrun or SLURM already did."""
    return processes > 1 and _launcher() is None


def trainer_arguments(processes: int) -> dict[str, Any]:
    """What Lightning's trainer is told about devices and processes.

    Args:
        processes: processes of the whole training, over all machines.

    Raises:
        InputError: If torchrun or SLURM started another number of processes, or there are too few GPUs.
    """
    kind, number = chosen_device()
    found = _launcher()
    if number is not None and (processes > 1 or found is not None):
        raise InputError(f"One GPU by its number is for one process. Received: {kind}:{number}. Give --device {kind}.")
    hardware: dict[str, Any] = {"accelerator": kind}
    if found is None:
        _enough_gpus(processes)
        alone = {**hardware, "devices": processes if number is None else [number], "plugins": [LightningEnvironment()]}
        return alone if processes == 1 else {**alone, "strategy": _ddp("spawn")}
    name, total, here = found
    if total != processes:
        raise InputError(
            f"{name} started {total} processes, but the setting processes is {processes}. "
            f"Give --processes {total}, or start without {name}."
        )
    _enough_gpus(here)
    return {**hardware, "devices": here, "num_nodes": total // here, "strategy": _ddp("popen")}


def is_first() -> bool:
    """Whether this process is the one that writes files: the only one, or rank 0."""
    return not _together() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Go on when all ranks have come here."""
    if _together():
        distributed.barrier()


def from_all(items: list[Any]) -> list[Any]:
    """The items of all ranks, those of rank 0 first; tensors travel by way of the CPU."""
    if not _together():
        return items
    found: list[list[Any]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(found, items)
    return [item for part in found for item in part]


def _together() -> bool:
    """Whether other ranks are there to talk to."""
    return distributed.is_available() and distributed.is_initialized()


def _launcher() -> tuple[str, int, int] | None:
    """Name of what started this run's processes, how many in all and how many on this machine; none if nothing did."""
    if TorchElasticEnvironment.detect():
        total = int(os.environ["WORLD_SIZE"])
        return ("torchrun", total, int(os.environ.get("LOCAL_WORLD_SIZE", total))) if total > 1 else None
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        total = int(os.environ["SLURM_NTASKS"])
        return ("SLURM", total, total // int(os.environ.get("SLURM_NNODES", 1))) if total > 1 else None
    return None


class _QuietDDP(DDPStrategy):
    """Lightning's DDP, which in a process of its own also keeps its advice to itself."""

    def setup_environment(self) -> None:
        """Meet the other ranks, quietly."""
        if self._start_method == "spawn":
            quiet().__enter__()  # for good: this process does nothing else
            # Ctrl-C stays as it is: torch sends it where the parent was killed.
            leave_to_parent(ending for ending in ENDINGS if ending != signal.SIGINT)
        super().setup_environment()


def _ddp(start: Any) -> DDPStrategy:
    """What an objective or a preset never uses, such as the head in pretraining, is left without a gradient."""
    return _QuietDDP(start_method=start, find_unused_parameters=True)


def _enough_gpus(here: int) -> None:
    """One GPU for each process of this machine, if it has any."""
    gpus = torch.cuda.device_count()
    if chosen_device()[0] != "cpu" and 0 < gpus < here:
        raise InputError(
            f"This machine has {gpus} GPU(s), one per process. Received: {here} processes. "
            "Give --processes as many as there are, or --device cpu."
        )


# The hardware that is asked for: the same in this process and in those that it starts, so the environment carries it.

DEVICE = "MATGL_INFOMAX_DEVICE"
"""Environment variable: auto (when unset), cpu, cuda, cuda:N or mps."""
ACCELERATORS = {"auto": None, "cpu": CPUAccelerator, "cuda": CUDAAccelerator, "mps": MPSAccelerator}


def chosen_device() -> tuple[str, int | None]:
    """The hardware that is asked for, under Lightning's name, and the number of the one GPU that is meant.

    Raises:
        InputError: If the name is unknown, or there is no such hardware.
    """
    name = os.environ.get(DEVICE, "auto")
    kind, _, number = name.partition(":")
    if kind not in ACCELERATORS or (number and (kind != "cuda" or not number.isdecimal())):
        raise InputError(f"The device is auto, cpu, cuda, cuda:N or mps. Received: {name}.")
    accelerator = ACCELERATORS[kind]
    if accelerator is None:
        return kind, None
    there = accelerator.auto_device_count() if accelerator.is_available() else 0
    if there <= int(number or 0):
        has = [other for other, one in ACCELERATORS.items() if one is not None and one.is_available()]
        held = f"{there} GPU(s), counted from cuda:0" if there and kind == "cuda" else ", ".join(has)
        raise InputError(
            f"There is no device {name} on this machine. It has: {held}. Give --device auto, or one of these."
        )
    return kind, int(number) if number else None


@contextlib.contextmanager
def computing_on(model: nn.Module) -> Iterator[torch.device]:
    """Within the block, a network is on the hardware that was asked for; with auto it stays where it is."""
    before: torch.device = next(model.parameters()).device
    kind, number = chosen_device()
    device = before if kind == "auto" else torch.device(kind, number) if number is not None else torch.device(kind)
    model.to(device)
    try:
        yield device
    finally:
        model.to(before)


# Lightning without its advice, in this process and in those that it starts.

LOGGERS = ("lightning.pytorch", "lightning.fabric")


class quiet(warnings.catch_warnings):  # noqa: N801 - used like a function
    """Lightning's advice on workers, loggers and devices is for other programs; its warnings are kept out."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        # Processes started from here: torch's advice on DDP comes from C++, which reads this once, at its start.
        self._torch = os.environ.get("TORCH_CPP_LOG_LEVEL")
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    def __exit__(self, *exc: Any) -> None:
        if self._torch is None:
            os.environ.pop("TORCH_CPP_LOG_LEVEL", None)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        super().__exit__(*exc)
