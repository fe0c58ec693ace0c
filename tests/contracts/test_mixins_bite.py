"""The contracts catch what they are there for: each faulty encoder breaks exactly the contracts it should."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from matgl_infomax.contracts import EncoderContract
from tests.helpers.broken import BREAKS, Sound, SumsInsteadOfMeans
from tests.helpers.toy import ToyContract

IN_OTHER_PROCESSES = {"test_saved_and_loaded", "test_same_seed_in_another_process"}
TESTS = sorted(name for name in dir(EncoderContract) if name.startswith("test_"))


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


@pytest.mark.parametrize("kind", BREAKS, ids=lambda kind: kind.__name__)
def test_exactly_the_right_contract_fails(kind, tmp_path):
    """All contracts within this process; of those in other processes the ones that must fail."""
    names = [name for name in TESTS if name not in IN_OTHER_PROCESSES or name in BREAKS[kind] or kind is Sound]
    broken = failing(kind, names, tmp_path)
    assert set(broken) == BREAKS[kind], broken
    assert all(sentence[0].isupper() and ". " in sentence + " " for sentence in broken.values()), broken


@pytest.mark.slow
@pytest.mark.parametrize("kind", BREAKS, ids=lambda kind: kind.__name__)
def test_other_processes_find_nothing_more(kind, tmp_path):
    broken = failing(kind, sorted(IN_OTHER_PROCESSES), tmp_path)
    assert set(broken) == BREAKS[kind] & IN_OTHER_PROCESSES, broken


def test_every_contract_is_broken_by_somebody():
    assert set().union(*BREAKS.values()) == set(TESTS)


def test_a_known_limit_is_an_expected_failure_and_nothing_more(tmp_path):
    class Declared(SumsInsteadOfMeans):
        limits = {"test_supercell": "it is a sum"}

    with pytest.raises(pytest.xfail.Exception, match=r"known limit: it is a sum \(A crystal in a cell twice as long"):
        Declared().test_supercell()
    assert run(Declared, "test_conventional_cell", tmp_path / "other") is not None


def test_a_limit_that_is_none_must_not_be_declared(tmp_path):
    class Modest(Sound):
        limits = {"test_rotation": "it knows where north is"}

    assert "declared a limit but holds: it knows where north is" in run(Modest, "test_rotation", tmp_path / "a")


def test_limits_of_tests_that_are_not_there_are_refused():
    with pytest.raises(TypeError, match="names tests that there are not: test_roration"):
        type("Mistyped", (Sound,), {"limits": {"test_roration": "north"}})


def test_an_encoder_that_tells_nothing_apart_is_found(tmp_path):
    class Blind(Sound):
        def encode(self, model, crystals, dtype=torch.float64):
            encoding = super().encode(model, crystals, dtype)
            return SimpleNamespace(site=0 * encoding.site, crystal=0 * encoding.crystal)

    assert "same vector" in run(Blind, "test_rotation", tmp_path / "blind")


def test_importing_the_contracts_needs_no_pytest():
    code = "import sys, matgl_infomax.contracts; assert 'pytest' not in sys.modules and 'matgl' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_class_that_no_other_process_can_find_gets_a_sentence(tmp_path):
    class Hidden(Sound):
        pass

    assert "Keep Hidden at the top of its file" in run(Hidden, "test_saved_and_loaded", tmp_path / "a")
