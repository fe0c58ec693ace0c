"""A study small enough for a test: eighty strained crystals, tiny networks' budgets, or arms that only pretend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.tasks.studies.arms import ArmAnswer, ArmTask
from tests.helpers.build import many

FAST = {"steps": 4, "validate_every": 2, "batch_sites": 40}


def config(folder: Path, **changes: Any) -> CurveConfig:
    """Settings of a small study."""
    settings: dict[str, Any] = {
        "data": "none",
        "target": ["y"],
        "labels": [6, 12],
        "seeds": 2,
        "folds": 1,
        "out": folder / "out",
        "cache": folder / "cache",
        "model": {"supercell_atoms": 12},
        "pretrain": FAST,
        "finetune": FAST,
    }
    return CurveConfig(**{**settings, **changes})


def jdft2d(crystals: list[Crystal], n: int = 80) -> list[Crystal]:
    """Crystals under the ids of a Matbench task."""
    return [replace(crystal, id=f"mb-jdft2d-{k + 1:03d}") for k, crystal in enumerate(many(crystals, n))]


def weights(folder: Path, *names: str, **changes: Any) -> None:
    """Folders of untrained encoders, each with other weights, in place of pretrained ones."""
    from matgl_infomax.nn.build import new_encoder, save_model
    from matgl_infomax.settings.training import ModelSettings

    for seed, name in enumerate(names):
        (folder / name).mkdir()
        model = ModelSettings(supercell_atoms=12, **changes)
        save_model(new_encoder(model, 1, seed, [29, 13]), folder / name, {"matgl_infomax": "pretrained"})


class Pretender:
    """An arm that writes down what it was given and answers at once."""

    def __init__(self, fail_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.tasks: list[ArmTask] = []
        self.fail_at, self.error = fail_at, error

    def __call__(self, task: ArmTask) -> ArmAnswer:
        """Predict the mean of the labels, shifted a little by the seed."""
        self.tasks.append(task)
        if len(self.tasks) == self.fail_at:
            raise self.error("on purpose")
        return ArmAnswer(np.full(len(task.test), task.labels.mean() + 0.01 * task.seed))
