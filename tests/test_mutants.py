"""The tool behind ``make mutants``: what it changes, what it leaves out, and that it harms nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutants
from tests.house import ROOT

TEXT = '''"""A module of 2 parts."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nothing import at_all


@compiled()
def mean(a: int | None, *, b: float = 2) -> float | None:
    """Mean of 2 numbers."""
    if a is None:
        raise ValueError(f"expected {1 + 1} numbers")
    warnings.warn(f"slow below {3}")
    pairs = list(zip([a], [b], strict=True))
    return (a + b) / 2
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("int | None,", "int & None,"),
        ("-> float | None", "-> float & None"),
        ("if TYPE_CHECKING", "if not TYPE_CHECKING"),
        ("{1 + 1}", "{1 - 1}"),
        ("{3}", "{4}"),
        ("strict=True", "strict=False"),
        ("@compiled()\n", ""),
        ("*, b", "/, b"),
        ("(a + b)", "((a) + (b))"),
    ],
)
def test_rule_leaves_out_what_no_test_has_to_hold(before, after):
    assert TEXT.count(before) == 1
    assert mutants.left_out(TEXT, TEXT.replace(before, after)) == "changes nothing that a test has to hold"


@pytest.mark.parametrize(
    ("before", "after"),
    [("b: float = 2", "b: float = 3"), ("a is None", "a is not None"), ("a + b", "a - b"), ("/ 2\n", "/ 3\n")],
)
def test_no_rule_leaves_out_what_the_program_does(before, after):
    assert TEXT.count(before) == 1
    assert mutants.left_out(TEXT, TEXT.replace(before, after)) is None


def test_what_is_no_python_is_left_out():
    assert mutants.left_out(TEXT, TEXT.replace("(a + b)", "(a +* b)")) == "is no Python"
    assert mutants.left_out(TEXT, None) == "cannot be made"


def test_every_mutant_has_a_key_of_its_own_that_other_lines_leave_alone(monkeypatch):
    path = "matgl_infomax/objectives/denoise.py"
    found = [(m.key, m.job) for m in mutants.mutants_of(path)]
    text = (ROOT / path).read_text()
    monkeypatch.setattr(mutants, "source", lambda _: "# One more line.\n" + text)
    again = [(m.key, m.job) for m in mutants.mutants_of(path)]
    assert len({key for key, _ in found}) == len(found) > 100
    assert [key for key, _ in again] == [key for key, _ in found]
    assert not {job for _, job in again} & {job for _, job in found}, "results of another text do not count"


def test_change_is_told_by_the_lines_before_and_after():
    found = [m.change for m in mutants.mutants_of("matgl_infomax/objectives/denoise.py")]
    assert {
        "file": "matgl_infomax/objectives/denoise.py",
        "within": "expected_change",
        "was": "return (2.0 * size_angstrom**2 + (strain * distance) ** 2).sqrt()",
        "now": "return (2.0 * size_angstrom**2 - (strain * distance) ** 2).sqrt()",
    } in found


def test_every_target_has_tests():
    assert {t.partition("/")[0] for t in mutants.targets()} == {"matgl_infomax", "leaderboard"}
    for path in mutants.targets():
        files = mutants.tests_of(path)
        assert (files or not (ROOT / path).read_text()) and all(
            (ROOT / f.partition("::")[0]).is_file() for f in files
        ), path


def test_listed_survivors_have_a_reason_and_are_still_there():
    for entry in mutants.listed():
        assert set(entry) == {"file", "within", "was", "now", "kind", "reason"}, entry
        assert entry["kind"] in ("same", "kept") and len(entry["reason"].split()) > 3, entry
        here = (m for m in mutants.mutants_of(entry["file"]) if m.within == entry["within"])
        near = (m for m in here if " ".join(m.line.split()) in entry["was"])
        assert any(mutants.entry_of(m, [entry]) for m in near), f"no mutant does this any more: {entry}"


SCRIPT = """
import json, sys
from tests import mutants
path = "leaderboard/statistics.py"
mutants.import_all()
text = mutants.source(path)
tests = ["tests/leaderboard/test_statistics.py"]
print(json.dumps([mutants.run_forked(tests, path, t) for t in (text, text + "\\nraise KeyError('mutant')\\n")]))
print(json.dumps(mutants.failing_without([(path, tests[0] + "::test_that_never_was")])))
"""


@pytest.mark.slow
def test_mutant_fails_its_tests_and_the_working_tree_stays_as_it_is():
    before = {path: (ROOT / path).read_bytes() for path in mutants.targets()}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    (as_it_is, broken), nothing = map(json.loads, done.stdout.splitlines()[-2:])
    assert as_it_is == "" and nothing == []
    assert broken == "tests/leaderboard/test_statistics.py (import)"
    assert before == {path: (ROOT / path).read_bytes() for path in mutants.targets()}


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path):
    def run(*options: str) -> str:
        command = [sys.executable, "-m", "tests.mutants", "--session", str(tmp_path), "--only", "statistics", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert "Tried 2 of 2 mutants" in run("--first", "2")
    assert "Tried 2 of 4 mutants" in run("--first", "4", "--report")
    assert "Tried 4 of 4 mutants" in run("--first", "4")
