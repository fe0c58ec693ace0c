"""Self-supervised pretraining for crystal property models: Deep InfoMax, Site-Net and MatGL.

The names below are loaded on first use: importing this package imports neither torch nor MatGL.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matgl_infomax.api import embed, finetune, forcefield, predict, pretrain
    from matgl_infomax.data.read import read_crystals
    from matgl_infomax.errors import InputError
    from matgl_infomax.nn.sitenet import SiteNet
    from matgl_infomax.tasks.studies.curve import learning_curve

__version__ = version("matgl-infomax")

__all__ = [
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
        raise AttributeError(f"module 'matgl_infomax' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
