"""Mutation testing: change one token of the source at a time, and see whether a test fails.

``python -m tests.mutants`` tries every mutant of ``TARGETS`` in a fixed random order and goes on where it was stopped;
so the part that is done is always a random sample of the whole. ``make mutants`` calls it, and CI calls it with
``--quick``. The mutants are those of cosmic-ray, and its session file keeps the results.

Cosmic Ray's own runner writes each mutant over the source file and starts a fresh Python for it, which would leave
damage after a kill and spend six seconds on imports. Here one process imports the libraries once; a fork of it loads
the mutant from a temporary file, under the name of the real module, and runs pytest. The working tree stays as it is.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from scipy.stats import binomtest
from tqdm import tqdm

from tests.house import ROOT, House, module_of

CORE = "matgl_infomax"
TARGETS = (f"{CORE}/objectives/*.py", f"{CORE}/train/*.py", f"{CORE}/data/supercell.py", "leaderboard/statistics.py")
"""Files that are mutated, as patterns from the root."""

SESSION = ROOT / ".mutants"
"""Folder of the session file; git ignores it."""

SURVIVORS = Path(__file__).with_name("mutants_survivors.yaml")
"""Mutants that may survive, each with a reason."""

KILLERS = Path(__file__).with_name("mutants_killers.json")
"""The test that killed each of CI's mutants: it is tried first, and others only if it does not fail."""

QUICK = 40
"""Mutants that CI tries."""

SECONDS = 400
"""Longest time for one mutant. Loops that a mutant made endless end here; compiled ones hear no other signal."""

COMPARISONS = {
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
ARITHMETIC = {
    "Add": ("Sub",),
    "Sub": ("Add",),
    "Mul": ("Div",),
    "Div": ("Mul",),
    "FloorDiv": ("Mul",),
    "Mod": ("Mul",),
    "Pow": ("Mul",),
    "BitOr": ("BitAnd",),
    "BitAnd": ("BitOr",),
    "BitXor": ("BitOr",),
    "LShift": ("RShift",),
    "RShift": ("LShift",),
}
OPERATORS = (
    # One neighbour of each sign, and the boundary and the opposite of each comparison: Cosmic Ray would put every other
    # sign in its place, eleven for a plus, and most of those fail at once.
    *(f"ReplaceBinaryOperator_{a}_{b}" for a, others in ARITHMETIC.items() for b in others),
    *(f"ReplaceComparisonOperator_{a}_{b}" for a, others in COMPARISONS.items() for b in others),
    *("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_Invert"),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer"),
    *("RemoveDecorator", "ZeroIterationForLoop"),
)
"""Cosmic Ray's operators that are applied."""

LOOKS = ("figsize", "dpi", "markersize", "linewidth", "fontsize", "alpha")
"""Arguments that only change the look of a figure."""

ALSO: dict[str, tuple[str, ...]] = {
    f"{CORE}/objectives/__init__.py": ("objectives/test_combine", "objectives/test_supervised"),
    f"{CORE}/objectives/base.py": ("objectives/test_infomax", "objectives/test_dual", "objectives/test_edge_cases"),
    f"{CORE}/objectives/infomax.py": ("objectives/test_edge_cases", "objectives/test_ranks_objectives"),
    f"{CORE}/objectives/infomax_critic.py": ("objectives/test_infomax_reference", "objectives/test_infomax_formulas"),
    f"{CORE}/objectives/negatives.py": ("objectives/test_infomax_geometric", "objectives/test_infomax_formulas"),
    f"{CORE}/objectives/perturb.py": (
        "objectives/test_negatives",
        "objectives/test_infomax_formulas",
        "objectives/test_infomax_published",
        "objectives/test_denoise",
    ),
    f"{CORE}/objectives/two_views.py": ("objectives/test_twins", "objectives/test_dual"),
    f"{CORE}/train/loop.py": ("train/test_finetune", "train/test_pretrain"),
    f"{CORE}/train/losses.py": ("train/test_finetune", "train/test_finetune_classes", "train/test_forcefield"),
    f"{CORE}/train/module.py": (
        "train/test_finetune",
        "train/test_pretrain",
        "train/test_finetune_rates",
        "train/test_ranks::test_a_training_is_over_when_its_steps_or_its_patience_are",
    ),
    f"{CORE}/train/predict.py": ("train/test_ensemble", "train/test_finetune_classes"),
    "leaderboard/statistics.py": ("leaderboard/test_comparison",),
}
"""Tests that cover a file beside those of its own name, tried after them, by the file's path from the root."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: file from the root.
        operator: name of Cosmic Ray's operator.
        occurrence: how often the operator has found a place in this file before.
        place: line and column of the first and behind the last changed character.
        within: the function or class that holds it, with dots.
        line: the first changed line as it stands, stripped.
        key: hash of file, operator, function, line and count; other changes of the file leave it alone.
    """

    path: str
    operator: str
    occurrence: int
    place: tuple[tuple[int, int], tuple[int, int]]
    within: str
    line: str
    key: str

    @property
    def job(self) -> str:
        """Name of its result, which holds for this text of the file only."""
        return f"{self.key}-{sha256(source(self.path).encode()).hexdigest()[:12]}"

    @cached_property
    def text(self) -> str | None:
        """The whole file with the change in it; None where it cannot be made."""
        try:
            return mutate_code(source(self.path), get_operator(f"core/{self.operator}")(), self.occurrence)
        except (AssertionError, ValueError, IndexError):
            return None

    @property
    def change(self) -> dict[str, str]:
        """How the list of survivors names it: the file, the function, the lines before and after."""
        before, after = source(self.path).splitlines(), (self.text or "").splitlines()
        start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        end = next((i for i, (a, b) in enumerate(zip(before[::-1], after[::-1], strict=False)) if a != b), 0)
        was, now = (" ".join(" ".join(t[start : max(len(t) - end, start)]).split()) for t in (before, after))
        return {"file": self.path, "within": self.within, "was": was, "now": now}


@lru_cache
def source(path: str) -> str:
    """Text of a file of the repository."""
    return (ROOT / path).read_text()


def targets() -> list[str]:
    """Files that are mutated."""
    return sorted(p.relative_to(ROOT).as_posix() for pattern in TARGETS for p in ROOT.glob(pattern))


def mutants_of(path: str) -> Iterator[Mutant]:
    """All mutants of a file, those that a rule leaves out included."""
    tree, lines, count = get_ast(source(path)), source(path).splitlines(), Counter[tuple[str, ...]]()
    nodes = list(ast_nodes(tree))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = ((node, place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (node, place) in enumerate(places):
            line, within = lines[place[0][0] - 1].strip(), _within(node)
            count[name, within, line] += 1
            words = (path, name, within, line, str(count[name, within, line]))
            key = sha256("\0".join(words).encode()).hexdigest()[:16]
            yield Mutant(path, name, occurrence, place, within, line, key)


def _within(node: Any) -> str:
    names = []
    while node is not None:
        if node.type in ("funcdef", "classdef"):
            names.append(node.name.value)
        node = node.parent
    return ".".join(reversed(names))


class _WhatCounts(ast.NodeTransformer):
    """A tree without what no test has to hold: see :func:`left_out`."""

    def _function(self, node: Any) -> Any:
        node.decorator_list = [d for d in node.decorator_list if "compiled" not in ast.unparse(d)]
        node.returns = None
        given = node.args
        # Whether arguments may be given by place or by name.
        given.args, given.posonlyargs, given.kwonlyargs = [*given.posonlyargs, *given.args, *given.kwonlyargs], [], []
        given.defaults, given.kw_defaults = [*given.defaults, *filter(None, given.kw_defaults)], []
        return self._body(node)

    def _body(self, node: Any) -> Any:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815
    visit_Module = visit_ClassDef = _body  # noqa: N815

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> Any:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        if name in ("print", "warnings.warn") or name.startswith("log."):
            return ast.Constant(name)
        guard = {"zip": "strict", "dataclass": "frozen"}.get(name)
        node.keywords = [k for k in node.keywords if k.arg is None or k.arg not in (guard, *LOOKS)]
        return self.generic_visit(node)


def left_out(before: str, after: str | None) -> str | None:
    """Why a rule leaves a mutant out: it is no Python, or changes only what no test has to hold; else None.

    That is: annotations and docstrings; arguments of an exception, of a warning, of ``print`` and of a log, which are
    texts; ``zip(strict=)`` and ``dataclass(frozen=)``, which guard against mistakes in the code itself; ``compiled``,
    which changes the speed alone; imports for type checkers; sizes and the like in figures; and the star before
    arguments that go by name.

    Args:
        before: text of the file.
        after: the same with the change; None if the change could not be made.
    """
    try:
        tree = ast.parse(after or "")
    except SyntaxError:
        return "is no Python"
    if after is None:
        return "cannot be made"
    return (
        "changes nothing that a test has to hold" if ast.dump(_WhatCounts().visit(tree)) == _reduced(before) else None
    )


@lru_cache
def _reduced(text: str) -> str:
    return ast.dump(_WhatCounts().visit(ast.parse(text)))


def tests_of(path: str) -> list[str]:
    """Test files of a file of the source: those of its own name in the mirrored room, then those of ``ALSO``."""
    file = Path(path.removeprefix(f"{CORE}/"))
    own = sorted((ROOT / "tests" / file.parent).glob(f"test_{file.stem}*.py"))
    others = ["tests/{}.py{}{}".format(*name.partition("::")) for name in ALSO.get(path, ())]
    options = ["tests/objectives/test_objective_options.py"] if file.parent.name == "objectives" else []
    return list(dict.fromkeys([*(p.relative_to(ROOT).as_posix() for p in own), *others, *options]))


class _Served:
    """Finder of modules that gives the mutant's file under the real module's name."""

    def __init__(self, path: str, file: Path) -> None:
        self.name, self.file = module_of(path), file
        self.folder = [str((ROOT / path).parent)] if path.endswith("__init__.py") else None

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, submodule_search_locations=self.folder)


class _First:
    """Pytest plugin: remembers the first test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or f"{report.nodeid} (import)"


def import_all() -> None:
    """Import every library that the package and its tests use, then forget the package's own modules."""
    for module in (*sorted(House().files), "hypothesis", "pytest_timeout", "torch._dynamo"):
        importlib.import_module(module)
    for module in list(sys.modules):
        if module.partition(".")[0] == CORE or module.startswith("tests."):
            del sys.modules[module]
    _warm_up()
    # Else each fork would look through all that was imported, twice, and copy it.
    gc.collect()
    gc.freeze()


def _warm_up() -> None:
    """First calls that start a library inside, which take a second together."""
    import torch
    from numba import njit

    torch.set_num_threads(1)  # threads do not survive a fork
    njit(lambda x: x + 1)(1)
    for kind in (torch.float32, torch.float64):
        x = torch.ones(64, 64, dtype=kind, requires_grad=True)
        y = torch.nn.functional.linear(x, x)
        y = torch.nn.functional.layer_norm(torch.nn.functional.mish(y), [64])
        y = y.new_zeros(64, 64).index_add(0, torch.arange(64), y) @ torch.linalg.inv(torch.eye(64, dtype=kind))
        y.sum().backward()


def run_forked(tests: Sequence[str], path: str = "", text: str = "", seconds: float = SECONDS) -> str:
    """Run tests in a fork of this process.

    Args:
        tests: files or single tests, in their order; the first failure ends the run.
        path: file of the source that is replaced; empty for none.
        text: what stands in its place.
        seconds: longest time.

    Returns:
        Name of the first test that failed, empty if none did. "no answer" if the process was ended for its time or
        crashed; how pytest ended if it could not run these tests.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        answer, scratch = Path(folder) / "answer", Path(folder)
        child = os.fork()
        if child == 0:
            _in_fork(tests, path, text, scratch)
        until = time.monotonic() + seconds
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it started and did not end
        first = answer.read_text() if answer.exists() else "no answer"
        shutil.rmtree(scratch / "tmp", ignore_errors=True)
    return first


def _in_fork(tests: Sequence[str], path: str, text: str, scratch: Path) -> None:
    """Run the tests in the forked process, which ends here."""
    try:
        os.setsid()
        log = os.open(scratch / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None
        if path:
            file = scratch / Path(path).name
            file.write_text(text)
            sys.meta_path.insert(0, _Served(path, file))  # type: ignore[arg-type]
            if "@compiled" in text:
                # Machine code of other files may hold a copy of the mutant's: it must not reach their kept code. A read
                # behind the end of an array gives any number, often the right one; here it is an error.
                from numba import config

                os.environ |= {"NUMBA_CACHE_DIR": str(scratch / "numba"), "NUMBA_BOUNDSCHECK": "1"}
                config.reload_config()
        first = _First()
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=200"]
        # Further processes, which some tests start, do not have the mutant.
        options += ["-m", "not slow", "-k", "not two_processes", "--basetemp", str(scratch / "tmp")]
        code = pytest.main([*options, *tests], plugins=[first])
        (scratch / "answer").write_text(first.failed or (f"pytest ended with {code}" if code else ""))
    finally:
        os._exit(0)


def try_mutant(mutant: Mutant, hint: str | None = None) -> WorkResult:
    """Result of one mutant; its output names the test that killed it.

    Args:
        mutant: the mutant.
        hint: a test that killed it before, tried first.
    """
    text = mutant.text
    why = left_out(source(mutant.path), text)
    if text is None or why:
        return WorkResult(WorkerOutcome.SKIPPED, output=why)
    first = run_forked([hint], mutant.path, text) if hint and exists(hint) else ""
    if not first or first.startswith("pytest ended"):  # a hint may name parameters that are no more
        first = run_forked(tests_of(mutant.path), mutant.path, text)
    return WorkResult(WorkerOutcome.NORMAL, first, TestOutcome.KILLED if first else TestOutcome.SURVIVED)


def exists(test: str) -> bool:
    """Whether a test of this name still stands in its file; its parameters are not looked at."""
    file, _, name = test.partition("::")
    return (ROOT / file).is_file() and f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def listed() -> list[dict[str, str]]:
    """Mutants that may survive: their change, what they are (``same`` or ``kept``), and the reason."""
    return yaml.safe_load(SURVIVORS.read_text()) or [] if SURVIVORS.exists() else []


def entry_of(mutant: Mutant, entries: Sequence[dict[str, str]]) -> dict[str, str] | None:
    """The listed entry of a mutant, if there is one."""
    if not any(e["file"] == mutant.path and e["within"] == mutant.within for e in entries):
        return None
    change = mutant.change
    return next((e for e in entries if all(e[name] == change[name] for name in change)), None)


def failing_without(killers: Sequence[tuple[str, str]]) -> list[str]:
    """Tests that fail on the source as it stands, of those that killed a mutant: they kill nothing.

    Args:
        killers: file of the source, and the test that killed a mutant of it.
    """
    groups: dict[str, set[str]] = {}
    for path, test in killers:
        if "::" in test and "(import)" not in test and exists(test):
            # A file with compiled loops is served as its mutants are, with its arrays' bounds checked.
            groups.setdefault(path if "@compiled" in source(path) else "", set()).add(test)
    broken = []
    for path, tests in groups.items():
        text, longest = source(path) if path else "", SECONDS * len(tests)
        while tests and (first := run_forked(sorted(tests), path, text, longest)):
            broken.append(first)
            if first not in tests:  # no test failed: pytest could not run them
                break
            tests.remove(first)
    return broken


def take_back(chosen: Sequence[Mutant], database: WorkDB) -> list[str]:
    """Take back what was killed by tests that fail without any mutant too; these mutants are tried again next time."""
    results = dict(database.results)
    killed = [m for m in chosen if m.job in results and results[m.job].test_outcome == TestOutcome.KILLED]
    broken = failing_without([(m.path, results[m.job].output) for m in killed])
    for mutant in killed:
        if results[mutant.job].output in broken:
            database.set_result(mutant.job, WorkResult(WorkerOutcome.ABNORMAL, results[mutant.job].output))
    return broken


def run(chosen: Sequence[Mutant], database: WorkDB, again: bool, hints: dict[str, str]) -> None:
    """Try each chosen mutant that has no result yet, and keep each result at once."""
    known = {item.job_id for item in database.work_items}
    results = dict(database.results)
    for mutant in tqdm(chosen, desc="mutants", mininterval=5):
        result = results.get(mutant.job)
        taken_back = result is not None and result.worker_outcome == WorkerOutcome.ABNORMAL
        if result is not None and not taken_back and not (again and result.test_outcome == TestOutcome.SURVIVED):
            continue
        if mutant.job not in known:
            place = MutationSpec(mutant.path, f"core/{mutant.operator}", mutant.occurrence, *mutant.place)
            database.add_work_item(WorkItem.single(mutant.job, place))
        result = try_mutant(mutant, hints.get(mutant.key))
        database.set_result(mutant.job, result)
        if result.test_outcome == TestOutcome.SURVIVED and entry_of(mutant, listed()) is None:
            tqdm.write(f"survives: {described(mutant)}")


def described(mutant: Mutant) -> str:
    """Where a mutant stands and what it changes, in a few lines."""
    change = mutant.change
    return f"{mutant.path}:{mutant.place[0][0]} {mutant.within}\n    - {change['was']}\n    + {change['now']}"


def report(chosen: Sequence[Mutant], database: WorkDB) -> bool:
    """Print the score of the mutants that have a result; True if each survivor is listed with a reason."""
    results, entries = dict(database.results), listed()
    known = [(m, results[m.job]) for m in chosen if m.job in results]
    tried = [(m, r) for m, r in known if r.worker_outcome != WorkerOutcome.ABNORMAL]
    counted = [(m, r) for m, r in tried if r.worker_outcome != WorkerOutcome.SKIPPED]
    alive = [m for m, r in counted if r.test_outcome == TestOutcome.SURVIVED]
    why = {m: entry_of(m, entries) for m in alive}
    by_file = Counter(m.path for m, _ in counted)
    for path, made in sorted(by_file.items()):
        print(f"{path:44} {made - sum(m.path == path for m in alive):5} of {made:5} killed")
    unlisted = [m for m in alive if why[m] is None]
    for mutant in unlisted:
        print(f"survives: {described(mutant)}")
    same = sum((e or {}).get("kind") == "same" for e in why.values())
    made, killed = len(counted) - same, len(counted) - len(alive)
    others, reasoned = len(alive) - same, len(alive) - same - len(unlisted)
    print(f"Tried {len(tried)} of {len(chosen)} mutants; a rule left out {len(tried) - len(counted)}.")
    print(
        f"Survivors: {same} listed as doing the same as the source, {others} others, {reasoned} of them with a reason."
    )
    if made:
        low, high = binomtest(killed, made).proportion_ci(method="wilson")
        print(f"Score: {killed} of {made} killed, {killed / made:.1%}, 95 % interval {low:.1%} to {high:.1%} (Wilson).")
    return not unlisted


def main() -> int:
    """Run the mutants that the command line asks for; 1 if one survives that is not listed, or a test fails anyway."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, metavar="N", help="only the first N in the fixed random order")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="only files whose path holds one of these"
    )
    parser.add_argument("--again", action="store_true", help="try survivors again, after tests were added")
    parser.add_argument("--report", action="store_true", help="only print the score of what was tried")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK}, nothing kept, as CI does")
    parser.add_argument("--write-killers", action="store_true", help="keep the tests that killed the first ones for CI")
    parser.add_argument("--session", type=Path, default=SESSION, metavar="FOLDER", help="where results are kept")
    options = parser.parse_args()
    hints = json.loads(KILLERS.read_text()) if KILLERS.exists() else {}
    chosen = sorted(
        (m for p in targets() if any(t in p for t in options.only) for m in mutants_of(p)), key=lambda m: m.key
    )
    if options.quick:
        entries = listed()
        fit = (m for m in chosen if left_out(source(m.path), m.text) is None and entry_of(m, entries) is None)
        chosen = [m for m, _ in zip(fit, range(QUICK), strict=False)]
    chosen = chosen[: options.first]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if options.quick else options.session
        folder.mkdir(exist_ok=True)
        with use_db(str(folder / "session.sqlite"), WorkDB.Mode.create) as database:
            broken = []
            if not options.report:
                import_all()
                run(chosen, database, options.again, hints)
                broken = take_back(chosen, database)
            fine = report(chosen, database)
            results = dict(database.results)
    for test in broken:
        print(f"{test} fails without any mutant: what it killed was taken back.")
    done = [(m, results[m.job]) for m in chosen if m.job in results]
    killers = {m.key: result.output or "" for m, result in done if result.test_outcome == TestOutcome.KILLED}
    if options.write_killers:
        first = list(killers.items())[: 2 * QUICK]
        KILLERS.write_text(json.dumps(dict(sorted(first)), indent=1) + "\n")
    return 0 if fine and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
