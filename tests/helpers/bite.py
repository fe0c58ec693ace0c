"""Running contracts against encoders with known faults."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from matgl_infomax.contracts import EncoderContract
from tests.helpers.broken import BREAKS, Sound
from tests.helpers.toy import ToyContract

IN_OTHER_PROCESSES = {"test_saved_and_loaded", "test_same_seed_in_another_process"}
TESTS = sorted(name for name in dir(EncoderContract) if name.startswith("test_"))


def contracts_of(module: str) -> list[str]:
    """Names of the contracts that a module of ``contracts`` holds."""
    return [name for name in TESTS if getattr(EncoderContract, name).__module__ == f"matgl_infomax.contracts.{module}"]


def run(kind: type[ToyContract], name: str, folder: Path) -> str | None:
    """What a contract says against an encoder; none if it holds."""
    test = getattr(kind(), name)
    folder.mkdir()
    try:
        with torch.random.fork_rng(devices=[]):  # some of them draw from the global random state, or seed it
            test(**({"tmp_path": folder} if "tmp_path" in inspect.signature(test).parameters else {}))
    except AssertionError as broken:
        return str(broken)
    return None


def failing(kind: type[ToyContract], names: list[str], folder: Path) -> dict[str, str]:
    """Sentences of the contracts that an encoder breaks."""
    found = {name: run(kind, name, folder / name) for name in names}
    return {name: sentence for name, sentence in found.items() if sentence is not None}


def assert_exactly_the_right_ones_fail(kind: type[ToyContract], module: str, folder: Path) -> None:
    """The contracts of a module within this process; of those in other processes the ones that must fail."""
    of_module = contracts_of(module)
    names = [name for name in of_module if name not in IN_OTHER_PROCESSES or name in BREAKS[kind] or kind is Sound]
    broken = failing(kind, names, folder)
    assert set(broken) == BREAKS[kind] & set(of_module), broken
    assert all(sentence[0].isupper() and ". " in sentence + " " for sentence in broken.values()), broken


def each_fault() -> pytest.MarkDecorator:
    """One test for each faulty encoder, and for one without a fault."""
    return pytest.mark.parametrize("kind", BREAKS, ids=lambda kind: kind.__name__)
