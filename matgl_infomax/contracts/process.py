"""The same encoder in another process: its initial weights, and its predictions once it was saved."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matgl_infomax.contracts.case import SINGLE, EncoderCase


@dataclass(frozen=True)
class Elsewhere:
    """What this process and a fresh one make of the same encoder."""

    ours: list[Tensor]
    """Predictions before the encoder was saved."""
    found: dict[str, Any]
    """Of the fresh process, as far as it came: "weights", hashes by name, and "predictions" of the saved encoder."""
    problem: str
    """What stopped it."""


def elsewhere(case: EncoderCase) -> Elsewhere:
    """What a fresh process makes of this encoder; one process for each test class."""
    kind = type(case)
    assert "<locals>" not in kind.__qualname__, f"Keep {kind.__name__} at the top of its file."
    return _elsewhere(kind.__module__, kind.__qualname__)


@functools.cache
def _elsewhere(module: str, name: str) -> Elsewhere:
    """Save an encoder with changed weights and open it in a process with another hash seed.

    The hash seed orders sets of strings, and so whatever is made out of such a set.
    """
    case = _case(module, name)
    model = moved(case.make(3, SINGLE))
    command = f"from {__name__} import child; child()"
    hash_seed = "12" if os.environ.get("PYTHONHASHSEED") == "11" else "11"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed}
    with tempfile.TemporaryDirectory() as folder:
        case.save(model, Path(folder) / "model")
        arguments = [module, name, folder, str(torch.get_num_threads())]
        done = subprocess.run(
            [sys.executable, "-c", command, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        file = Path(folder) / "found.pt"
        found = torch.load(file, weights_only=True) if file.exists() else {}
    problem = f"The encoder does not work in a fresh process:\n{done.stderr}"
    return Elsewhere(predictions(case, model), found, problem)


def child() -> None:
    """The fresh process: hash the weights that a seed gives, then open the saved model and predict."""
    module, name, folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    case = _case(module, name)
    found: dict[str, Any] = {"weights": fingerprint(case.make(5, SINGLE))}
    torch.save(found, Path(folder) / "found.pt")
    found["predictions"] = predictions(case, case.load(Path(folder) / "model"))
    torch.save(found, Path(folder) / "found.pt")


def _case(module: str, name: str) -> EncoderCase:
    """A test class by where it is."""
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    case: EncoderCase = found()
    return case


def moved(model: Any) -> Any:
    """The model with all weights, and the label normaliser if it has one, moved away from where they began."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in [*model.parameters(), *(v for k, v in model.named_buffers() if k.startswith("target_"))]:
            weight.add_(0.01 * torch.randn(weight.shape, generator=source, dtype=weight.dtype).abs())
    return model


def predictions(case: EncoderCase, model: Any) -> list[Tensor]:
    """Predictions, site vectors and crystal vectors in single precision."""
    batch = case.inputs(case.crystals(), SINGLE)
    with torch.no_grad():
        encoding = model.eval().encode(batch)
        return [model(batch), encoding.site, encoding.crystal]


def fingerprint(model: Any) -> dict[str, str]:
    """A hash of each weight by its name."""
    return hashes(dict(model.named_parameters()))


def hashes(tensors: dict[str, Tensor]) -> dict[str, str]:
    """A hash of each tensor."""
    plain = {name: value.detach().contiguous().numpy() for name, value in tensors.items()}
    return {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in plain.items()}
