"""Where a model's weights come from: a seed, or a folder."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from matgl_infomax.config import ModelSettings
from matgl_infomax.errors import InputError
from matgl_infomax.host import load_model
from matgl_infomax.nn.sitenet import SiteNet

ENCODERS: dict[str, type[SiteNet]] = {"sitenet": SiteNet}
"""Architectures by the name that ``--model`` takes."""


def new_model(model: ModelSettings, n_targets: int, seed: int) -> SiteNet:
    """A freshly initialised model as the settings ask for it."""
    return ENCODERS[model.name].from_preset(
        model.preset, n_targets=n_targets, seed=seed, max_atoms=model.supercell_atoms, primitive=model.primitive
    )


def load_encoder(path: Path | str) -> SiteNet:
    """Open a folder written by ``pretrain`` or ``finetune``.

    Raises:
        InputError: If the folder holds something else.
    """
    model = load_model(Path(path))
    if not isinstance(model, SiteNet):
        raise InputError(f"{path} holds a {type(model).__name__}, but a SiteNet is needed here.")
    return model


def save_model(model: SiteNet, out: Path, metadata: dict[str, Any]) -> None:
    """Write a model in MatGL's format; each file is whole or absent, and ``model.json`` comes last.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    draft = out / f".draft-{uuid.uuid4().hex[:8]}"
    try:
        model.save(draft, metadata=metadata)
        for name in ("model.pt", "state.pt", "model.json"):
            os.replace(draft / name, out / name)
    except (OSError, RuntimeError) as error:  # torch tells a full disk as a RuntimeError
        raise InputError(f"Cannot write the model in {out}: {error}. Free some space and start again.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def with_new_head(encoder: SiteNet, n_targets: int, seed: int) -> SiteNet:
    """A model with the encoder's weights and a freshly initialised head.

    Args:
        encoder: pretrained weights; left as it is.
        n_targets: number of properties.
        seed: seed of the head.
    """
    arguments = {**encoder.init_args, "n_targets": n_targets}
    model = SiteNet.from_preset("compact", seed=seed, **arguments)
    weights = {name: value for name, value in encoder.state_dict().items() if not name.startswith(("head.", "target_"))}
    left = model.load_state_dict(weights, strict=False)
    unexpected = [name for name in left.missing_keys if not name.startswith(("head.", "target_"))]
    if unexpected or left.unexpected_keys:
        raise InputError(f"The encoder's weights do not fit: {', '.join([*unexpected, *left.unexpected_keys])}.")
    return model
