"""One training on several processes: who started them, what Lightning is told, and what they tell each other.

"Rank" is the number of a process. All ranks walk the same order of batches and hold the same weights.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from matgl_infomax.data.loader import StoreBatches
from matgl_infomax.errors import InputError


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
    found = _launcher()
    if found is None:
        _enough_gpus(processes)
        alone: dict[str, Any] = {"devices": processes, "plugins": [LightningEnvironment()]}
        return alone if processes == 1 else {**alone, "strategy": _ddp("spawn")}
    name, total, here = found
    if total != processes:
        raise InputError(
            f"{name} started {total} processes, but the setting processes is {processes}. "
            f"Give --processes {total}, or start without {name}."
        )
    _enough_gpus(here)
    return {"devices": here, "num_nodes": total // here, "strategy": _ddp("popen")}


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
        super().setup_environment()


def _ddp(start: Any) -> DDPStrategy:
    """What an objective or a preset never uses, such as the head in pretraining, is left without a gradient."""
    return _QuietDDP(start_method=start, find_unused_parameters=True)


def _enough_gpus(here: int) -> None:
    """One GPU for each process of this machine, if it has any."""
    gpus = torch.cuda.device_count()
    if 0 < gpus < here:
        raise InputError(
            f"This machine has {gpus} GPU(s), one per process. Received: {here} processes. "
            "Give --processes as many as there are, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU."
        )


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
