"""Self-supervised pretraining for crystal property models: Deep InfoMax, Site-Net and MatGL.

The names below are loaded on first use: importing this package imports neither torch nor MatGL.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from matgl_infomax.errors import did_you_mean

if TYPE_CHECKING:
    from matgl_infomax.api import embed, finetune, forcefield, predict, pretrain
    from matgl_infomax.data.crystal import Crystal
    from matgl_infomax.data.read import Crystals, read_crystals
    from matgl_infomax.errors import InputError
    from matgl_infomax.estimators import CrystalClassifier, CrystalRegressor, CrystalVectors
    from matgl_infomax.nn.sitenet import SiteNet
    from matgl_infomax.tasks.studies.curve import learning_curve

__version__ = version("matgl-infomax")

__all__ = [
    "Crystal",
    "CrystalClassifier",
    "CrystalRegressor",
    "CrystalVectors",
    "Crystals",
    "InputError",
    "SiteNet",
    "embed",
    "finetune",
    "forcefield",
    "learning_curve",
    "predict",
    "pretrain",
    "read_crystals",
]

_HOME = {
    "Crystal": "matgl_infomax.data.crystal",
    "CrystalClassifier": "matgl_infomax.estimators",
    "CrystalRegressor": "matgl_infomax.estimators",
    "CrystalVectors": "matgl_infomax.estimators",
    "Crystals": "matgl_infomax.data.read",
    "InputError": "matgl_infomax.errors",
    "SiteNet": "matgl_infomax.nn.sitenet",
    "embed": "matgl_infomax.api",
    "finetune": "matgl_infomax.api",
    "forcefield": "matgl_infomax.api",
    "learning_curve": "matgl_infomax.tasks.studies.curve",
    "predict": "matgl_infomax.api",
    "pretrain": "matgl_infomax.api",
    "read_crystals": "matgl_infomax.data.read",
}


def __getattr__(name: str) -> Any:
    """Load a public name from where it lives."""
    if name not in _HOME:
        hint = "" if name.startswith("_") else did_you_mean(name, _HOME)
        raise AttributeError(f"module 'matgl_infomax' has no attribute {name!r}.{hint}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """The public names, which are not there before their first use, and what Python asks of a module."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
