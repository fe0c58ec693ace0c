"""The tool behind ``make mutants``: what it changes, what it leaves out, and that it harms nothing."""

from __future__ import annotations

import json
import os
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
import json
from tests import mutants
path = "leaderboard/statistics.py"
mutants.import_all()
text = mutants.source(path)
tests = ["tests/leaderboard/test_statistics.py"]
broken = mutants.run_forked(tests, path, text + "\\nraise KeyError('mutant')\\n")
print(json.dumps([str(mutants.run_forked(tests, path, text)), str(mutants.verdict(broken, tests, path))]))
"""


@pytest.mark.slow
def test_mutant_fails_its_tests_and_the_working_tree_stays_as_it_is():
    before = {path: (ROOT / path).read_bytes() for path in mutants.targets()}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == ["passed", "tests/leaderboard/test_statistics.py (import)"]
    assert before == {path: (ROOT / path).read_bytes() for path in mutants.targets()}


ENDS = """
import os, signal, sys, pytest
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_asks_for_all_memory(): bytearray(1 << 45)
def test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_crashes(): os.kill(os.getpid(), signal.SIGSEGV)
def test_leaves(): os._exit(0)
def test_never_ends():
    while True: pass
def test_is_skipped(): pytest.skip("no data")
def test_holds():
    from matgl_infomax.leaderboard import statistics
    assert statistics.DRAWS == 2000
"""
FORKS = """
import json, sys
from tests import forked, mutants
mutants.TEST_SECONDS = 5
told = {test: vars(mutants.run_forked([test], test_seconds=1)) for test in json.loads(sys.argv[1])}
judged = [str(mutants.verdict(mutants.Answer(*words), ["test_ends.py"], path).kind) for words, path in
          ((words, "leaderboard/statistics.py") for words in json.loads(sys.argv[2]))]
broken = mutants.verdict(mutants.Answer("import", "test_no.py"), ["test_no.py"], "leaderboard/statistics.py").kind
mutant = next(m for m in mutants.mutants_of("leaderboard/statistics.py") if m.line == "DRAWS = 2000")
tried = []
for tests in (["test_ends.py::test_fails", "test_ends.py::test_holds"], ["test_ends.py::test_passes"],
              ["test_ends.py::test_fails"], ["test_no.py"], ["test_ends.py::test_is_skipped"]):
    mutants.tests_of = lambda path: tests
    result = mutants.try_mutant(mutant, ["test_ends.py::test_that_never_was"])
    tried.append([result.worker_outcome.name, result.test_outcome and result.test_outcome.name, result.output])
print(json.dumps([told, judged, broken, tried]))
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """What forks of one process say of tests that end in every way, and what is made of it."""
    folder = tmp_path_factory.mktemp("forks")
    (folder / "test_ends.py").write_text(ENDS)
    (folder / "test_no.py").write_text("import nothing_of_this_name")
    tests = [*(f"test_ends.py::{line[4:].split('(')[0]}" for line in ENDS.splitlines() if line.startswith("def ")),
             "test_no.py", "test_ends.py::test_that_never_was"]  # fmt: skip
    fine, endless = "test_ends.py::test_passes", "test_ends.py::test_never_ends"
    words = [
        *(("failed", fine), ("failed", "test_ends.py::test_fails"), ("import", "test_ends.py")),
        *(("crashed", "", "SIGSEGV"), ("crashed", fine, "SIGSEGV"), ("crashed", fine, "SIGXCPU")),
        *(("crashed", endless, "SIGXCPU"), ("not run", "why"), ("passed",)),
    ]
    command = [sys.executable, "-c", FORKS, json.dumps(tests), json.dumps(words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("test", "kind", "signal"),
    [
        ("test_ends.py::test_passes", "passed", ""),
        ("test_ends.py::test_holds", "passed", ""),
        ("test_ends.py::test_fails", "failed", ""),
        ("test_ends.py::test_asks_for_all_memory", "not run", ""),
        ("test_ends.py::test_is_killed", "not run", ""),
        ("test_ends.py::test_leaves", "not run", ""),
        ("test_ends.py::test_is_skipped", "not run", ""),
        ("test_ends.py::test_crashes", "crashed", "SIGSEGV"),
        ("test_ends.py::test_never_ends", "crashed", "SIGXCPU"),
        ("test_no.py", "import", ""),
        ("test_ends.py::test_that_never_was", "import", ""),
    ],
)
def test_what_the_machine_does_is_no_answer_of_a_test(forks, test, kind, signal):
    found = forks[0][test]
    assert (found["kind"], found["signal"]) == (kind, signal)
    if kind in ("failed", "crashed") or "memory" in test or "killed" in test:
        assert test in found["what"], "it is named"


def test_only_what_the_source_as_it_stands_does_not_do_counts_for_a_mutant(forks):
    _, judged, broken, _ = forks
    assert judged == ["failed", "not run", "import", "crashed", "crashed", "crashed", "not run", "not run", "passed"]
    assert broken == "not run", "the tests cannot be imported without any mutant either"


def test_a_mutant_is_killed_survives_or_was_not_tried(forks):
    killed, survived, *not_tried = forks[3]
    assert killed == ["NORMAL", "KILLED", "test_ends.py::test_holds"], "the first test fails anyway"
    assert survived[:2] == ["NORMAL", "SURVIVED"]
    assert [outcome[:2] for outcome in not_tried] == [["ABNORMAL", None]] * 3
    assert "test_no.py" in not_tried[1][2]


def test_a_killer_that_has_gone_is_taken_back_and_found_anew(tmp_path, monkeypatch):
    """Also one whose parameters are others now; a broken import counts as long as its file is there."""
    path = "leaderboard/statistics.py"
    chosen = [m for m, _ in zip(mutants.mutants_of(path), range(5), strict=False)]
    there = mutants.Answer("passed", "a.py::test_one[1]\na.py::test_two")
    monkeypatch.setattr(mutants, "collected", lambda tests: there)
    old = ["a.py::test_one[1]", "a.py::test_one[2]", "b.py (import)", "a.py (import)", "a.py::test_two (SIGSEGV)"]
    tried = []

    def again(mutant, first):
        tried.append(mutant)
        return mutants.WorkResult(mutants.WorkerOutcome.NORMAL, "a.py::test_two", mutants.TestOutcome.KILLED)

    monkeypatch.setattr(mutants, "try_mutant", again)
    with mutants.use_db(str(tmp_path / "session.sqlite"), mutants.WorkDB.Mode.create) as database:
        for mutant, killer in zip(chosen, old, strict=True):
            place = mutants.MutationSpec(path, f"core/{mutant.operator}", mutant.occurrence, *mutant.place)
            database.add_work_item(mutants.WorkItem.single(mutant.job, place))
            result = mutants.WorkResult(mutants.WorkerOutcome.NORMAL, killer, mutants.TestOutcome.KILLED)
            database.set_result(mutant.job, result)
        mutants.run(chosen, database, again=False, hints={})
        results = dict(database.results)
    assert tried == chosen[1:3]
    assert [results[m.job].output for m in chosen] == [old[0], "a.py::test_two", "a.py::test_two", *old[3:]]


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path):
    def run(*options: str) -> str:
        command = [sys.executable, "-m", "tests.mutants", "--session", str(tmp_path), "--only", "statistics", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert "Tried 2 of 2 mutants" in run("--first", "2")
    assert "Tried 2 of 4 mutants" in run("--first", "4", "--report")
    assert "Tried 4 of 4 mutants" in run("--first", "4")
