"""The old address of the settings, which scripts of users still name; new code imports ``matgl_infomax.settings``."""

from __future__ import annotations

from matgl_infomax.settings.base import Settings
from matgl_infomax.settings.training import (
    EnsembleSettings,
    FinetuneSettings,
    ForceFieldSettings,
    ModelSettings,
    PretrainSettings,
)

__all__ = [
    "EnsembleSettings",
    "FinetuneSettings",
    "ForceFieldSettings",
    "ModelSettings",
    "PretrainSettings",
    "Settings",
]
