"""Contracts with users: every weight learns, and seeds, files and restarts give the same numbers again."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matgl_infomax.contracts.case import DOUBLE, SINGLE, EncoderCase, contract

NOISE = 1e-11
"""Gradients below this share of the largest one are rounding."""


class Gradients(EncoderCase):
    """Every weight is declared once, and learns."""

    @contract
    def test_every_weight_learns(self) -> None:
        """Predictions have a gradient with respect to every weight of every layer group."""
        model = self.make(3, DOUBLE).train()
        model(self.inputs(self.crystals())).square().sum().backward()
        size = {name: 0.0 if p.grad is None else float(p.grad.abs().max()) for name, p in model.named_parameters()}
        limit = NOISE * max(size.values())
        dead = {name for name, value in size.items() if value <= limit}
        declared = {name for name in size if name.startswith(self.unread)}
        assert not dead - declared, f"Weights that no prediction depends on: {', '.join(sorted(dead - declared))}."
        assert not declared - dead, f"Declared unread, but read after all: {', '.join(sorted(declared - dead))}."

    @contract
    def test_groups_hold_every_weight_once(self) -> None:
        """The layer groups together are the weights of the model."""
        model = self.make(3, SINGLE)
        names = {id(p): name for name, p in model.named_parameters()}
        held = [id(p) for group in model.layer_groups().values() for p in group]
        lost = [name for key, name in names.items() if key not in held]
        twice = sorted({names.get(key, "a foreign weight") for key in held if held.count(key) > 1 or key not in names})
        assert not lost, f"Weights in no layer group: {', '.join(lost)}."
        assert not twice, f"Weights in more than one layer group, or not of this model: {', '.join(twice)}."


class Saving(EncoderCase):
    """A saved encoder is the same encoder."""

    @contract
    def test_saved_and_loaded(self) -> None:
        """Weights that were changed since they were made give the same predictions, bit for bit, in a fresh process."""
        there = elsewhere(self)
        assert "predictions" in there.found, there.problem
        names = ("predictions", "site vectors", "crystal vectors")
        for name, ours, theirs in zip(names, there.ours, there.found["predictions"], strict=True):
            assert torch.equal(ours, theirs), f"Saved and opened again, the encoder gives other {name}."


class Seeds(EncoderCase):
    """The seed decides the initial weights, and nothing else does."""

    @contract
    def test_same_seed_same_weights(self) -> None:
        """Twice in one process; the global random state counts for nothing and is left alone."""
        first = fingerprint(self.make(5, SINGLE))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(99)
            before = torch.random.get_rng_state()
            second = fingerprint(self.make(5, SINGLE))
            untouched = torch.equal(before, torch.random.get_rng_state())
        assert first == second, f"The same seed gives other weights: {_differing(first, second)}."
        assert untouched, "Making an encoder changes torch's global random state."

    @contract
    def test_same_seed_in_another_process(self) -> None:
        """Another process with another PYTHONHASHSEED."""
        here, there = fingerprint(self.make(5, SINGLE)), elsewhere(self)
        assert "weights" in there.found, there.problem
        other = _differing(here, there.found["weights"])
        assert not other, f"In another process the same seed gives other weights: {other}."

    @contract
    def test_other_seed_other_weights(self) -> None:
        """In every layer group that starts at random, the head included."""
        model = self.make(5, SINGLE)
        names = {id(p): name for name, p in model.named_parameters()}
        first, other = fingerprint(model), fingerprint(self.make(6, SINGLE))
        for group, weights in model.layer_groups().items():
            drawn = [names[id(p)] for p in weights if p.dim() > 1 and len(p.unique()) > 1]
            same = drawn and all(first[name] == other[name] for name in drawn)
            assert not same, f"Another seed gives the same weights in layer group {group!r}: {', '.join(drawn)}."


class Restart(EncoderCase):
    """A training that was stopped and taken up again ends where one without a stop does."""

    @contract
    def test_restart(self, tmp_path: Path) -> None:
        """Four steps in one go, and two and two with a checkpoint between them, give the same weights bit for bit."""
        start = {"model": self.make(3, SINGLE).state_dict()}
        through = self._trained(start, range(4))["model"]
        torch.save(self._trained(start, range(2)), tmp_path / "checkpoint.pt")
        checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        again = self._trained(checkpoint, range(2, 4))["model"]
        ours, theirs = hashes(through), hashes(again)
        assert ours == theirs, f"After a restart training ends with other weights: {_differing(ours, theirs)}."

    @contract
    def test_same_training_twice(self) -> None:
        """Training repeats bit for bit."""
        start = {"model": self.make(3, SINGLE).state_dict()}
        ours, theirs = (hashes(self._trained(start, range(3))["model"]) for _ in range(2))
        assert ours == theirs, f"The same training twice gives other weights: {_differing(ours, theirs)}."

    def _trained(self, start: dict[str, Any], steps: range) -> dict[str, Any]:
        """The checkpoint after a few steps, each on one half of the crystals."""
        model = self.make(4, SINGLE).train()
        model.load_state_dict(start["model"])
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        if "optimiser" in start:
            optimiser.load_state_dict(start["optimiser"])
        half = len(self.crystals()) // 2
        with _repeatable():
            for step in steps:
                part = self.crystals()[half:] if step % 2 else self.crystals()[:half]
                optimiser.zero_grad()
                (model(self.inputs(part, SINGLE)) - 1).square().mean().backward()
                optimiser.step()
        return {"model": model.state_dict(), "optimiser": optimiser.state_dict()}


@contextmanager
def _repeatable() -> Iterator[None]:
    """Torch as a training that repeats bit for bit needs it: several threads else add up gradients in any order."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _differing(first: dict[str, str], second: dict[str, str]) -> str:
    """Names whose weights differ, at most five of them."""
    names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# The same encoder in another process: its initial weights, and its predictions once it was saved.


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
    model = moved_weights(case.make(3, SINGLE))
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


def moved_weights(model: Any) -> Any:
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
