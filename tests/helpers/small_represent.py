"""A representation study small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matgl_infomax.data.read import Crystals
from matgl_infomax.nn.build import new_model, save_model
from matgl_infomax.settings.commands import RepresentConfig
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.tasks.studies.represent import RepresentResult, represent


def small_encoder(folder: Path) -> Path:
    """Save a small encoder; training it would show nothing more here."""
    save_model(new_model(ModelSettings(preset="compact", supercell_atoms=12), 1, seed=77), folder, {})
    return folder


def config(folder: Path, encoder: Path, **changes: Any) -> RepresentConfig:
    """Settings of a small study."""
    settings: dict[str, Any] = {
        "data": "none",
        "target": ["y"],
        "checkpoint": encoder,
        "labels": [6, 12],
        "repeats": 2,
        "heads": ["ridge"],
        "descriptors": ["xrd", "magpie"],
        "map": "none",
        "out": folder / "out",
        "cache": folder / "cache",
    }
    return RepresentConfig(**{**settings, **changes})


def run(items: Crystals, settings: RepresentConfig) -> RepresentResult:
    """The study, without bars."""
    return represent(items, settings, progress=False)
