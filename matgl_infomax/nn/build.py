"""Where a model's weights come from: a seed, or a folder."""

from __future__ import annotations

import inspect
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matgl_infomax.console import say
from matgl_infomax.data.elements import unknown_elements
from matgl_infomax.data.radius import EdgeRule
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from matgl_infomax.host import MODEL_FILES, MatGLModel, Potential, load_model
from matgl_infomax.io import SUMS, write_sums
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import ELEMENTS, PRESETS, SiteNet
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.weights import existing_folder_of

Encoder = SiteNet | MatGLNet
"""What can be trained here."""


def new_model(model: ModelSettings, n_targets: int, seed: int, element_types: Sequence[str] = ELEMENTS) -> Encoder:
    """A freshly initialised model as the settings ask for it.

    Args:
        model: which network, and its options.
        n_targets: number of properties.
        seed: seed of the initial weights.
        element_types: elements that the model knows.

    Raises:
        InputError: For an option that the network does not have.
    """
    if model.name != "sitenet":
        return MatGLNet.new(
            model.name, element_types=element_types, n_targets=n_targets, seed=seed, options=model.options
        )
    known = [name for name in inspect.signature(SiteNet).parameters if name not in ("element_types", "n_targets")]
    unknown = [name for name in model.options if name not in known]
    if unknown:
        raise InputError(f"SiteNet has no option {', '.join(unknown)}. Options: {', '.join(known)}.")
    arguments = {"max_atoms": model.supercell_atoms, "primitive": model.primitive, **model.options}
    return SiteNet.from_preset(
        model.preset, n_targets=n_targets, seed=seed, element_types=tuple(element_types), **arguments
    )


def load_encoder(path: Path | str) -> Encoder:
    """Open weights that come with the package, or a folder written by ``pretrain``, ``finetune`` or MatGL.

    Args:
        path: a name such as ``sitenet-mp``, or a folder with a property model or a potential.

    Raises:
        InputError: If the folder holds something else, or weights are missing; their names are listed.
    """
    model = load_model(existing_folder_of(path))
    return model if isinstance(model, SiteNet | MatGLNet) else MatGLNet.from_native(model)


def save_model(
    model: MatGLModel | Potential, out: Path, metadata: dict[str, Any], beside: Mapping[str, str | bytes] | None = None
) -> None:
    """Write a model in MatGL's format, with the hashes of its files; each file is whole or absent.

    A folder with ``model.json`` has all that makes a model. Where a model is written over another and the writing is
    cut short, the hashes do not fit, and the folder does not open until the same command has ended.

    Args:
        model: what is written.
        out: folder of the model.
        metadata: free facts for ``model.json``.
        beside: further files by name, written after the model in this order; the last one says that all is complete.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    further = beside or {}
    draft = out / f".draft-{uuid.uuid4().hex[:8]}"
    try:
        model.save(draft, metadata=metadata)
        for name, content in further.items():
            (draft / name).write_bytes(content.encode() if isinstance(content, str) else content)
        claim = [out / "run.json"] if (out / "run.json").is_file() else []
        write_sums(draft, [*(draft / name for name in (*MODEL_FILES, *further)), *claim])
        for name in ("model.pt", "state.pt", SUMS, "model.json", *further):
            os.replace(draft / name, out / name)
    except (OSError, RuntimeError) as error:  # torch tells a full disk as a RuntimeError
        raise InputError(f"Cannot write the model in {out}: {error}. Free some space and start again.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def with_new_head(encoder: Encoder, n_targets: int, seed: int) -> Encoder:
    """A model with the encoder's weights and a freshly initialised head.

    Args:
        encoder: pretrained weights; left as it is.
        n_targets: number of properties.
        seed: seed of the head.

    Raises:
        InputError: If the encoder's weights are not those of the network that its arguments describe.
    """
    arguments = {**encoder.init_args, "n_targets": n_targets}
    model: Encoder
    if isinstance(encoder, MatGLNet):
        model = MatGLNet.seeded(seed, **arguments)
    else:
        model = SiteNet.from_preset("compact", seed=seed, **arguments)
    weights = {name: value for name, value in encoder.state_dict().items() if not name.startswith(("head.", "target_"))}
    own = model.state_dict()
    other = [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
    if other:
        raise InputError(f"The encoder's weights do not fit: {', '.join(other)} have another shape.")
    left = model.load_state_dict(weights, strict=False)
    unexpected = [name for name in left.missing_keys if not name.startswith(("head.", "target_"))]
    if unexpected or left.unexpected_keys:
        raise InputError(f"The encoder's weights do not fit: {', '.join([*unexpected, *left.unexpected_keys])}.")
    return model


def edge_rule(model: ModelSettings) -> EdgeRule:
    """How crystals have to be prepared for a network that is made from these settings."""
    if model.name == "sitenet":
        standard = {**PRESETS[model.preset], **model.options}.get("standard_cell", False)
        return SupercellRule(model.supercell_atoms, model.primitive, model.merge_angstrom, standard)
    return new_model(model, 1, 0).edges


def new_encoder(model: ModelSettings, n_targets: int, seed: int, elements: Iterable[int]) -> Encoder:
    """A fresh network that knows all usual elements, and those of the data.

    Args:
        model: which network.
        n_targets: number of properties.
        seed: seed of the initial weights.
        elements: atomic numbers in the data.
    """
    more = unknown_elements(elements, ELEMENTS)
    if more:
        say(f"the data hold {', '.join(more)}: the network gets vectors for them beside those of the usual elements.")
    return new_model(model, n_targets, seed, (*ELEMENTS, *more))
