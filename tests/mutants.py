"""Mutation testing: change one token of the source at a time, and see whether a test fails.

``python -m tests.mutants`` tries every mutant of ``TARGETS`` in a fixed random order and goes on where it was stopped;
so the part that is done is always a random sample of the whole. ``make mutants`` calls it, and CI calls it with
``--quick``. The mutants are those of cosmic-ray, and its session file keeps the results.

Cosmic Ray's own runner writes each mutant over the source file, which would leave damage after a kill, and starts a
fresh Python for it. ``tests/forked.py`` does neither.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from scipy.stats import binomtest
from tqdm import tqdm

from tests.forked import CONFTEST, IMPORT, TEST_SECONDS, Answer, import_all, run_forked
from tests.house import CORE, ROOT

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
    f"{CORE}/train/losses.py": (
        "train/test_finetune",
        "train/test_finetune_classes",
        "train/test_finetune_dead",
        "train/test_forcefield",
    ),
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


@lru_cache
def collected(tests: tuple[str, ...]) -> Answer:
    """The tests that there are in these files without any mutant, in ``what``, one per line."""
    return run_forked(["--collect-only", *tests])


@lru_cache
def without_mutant(test: str, path: str, seconds: float) -> Answer:
    """How a test ends on the source as it stands; said at once if it does not pass.

    Args:
        test: the test.
        path: file of the mutant. A file with compiled loops is served as its mutants are, with bounds checked.
        seconds: longest time of the processor.
    """
    served = (path, source(path)) if "@compiled" in source(path) else ("", "")
    found = run_forked([test], *served, test_seconds=seconds)
    if found.kind != "passed":
        tqdm.write(f"kills nothing: without any mutant, {test} ends so: {found.kind}, {found}")
    return found


def verdict(found: Answer, tests: Sequence[str], path: str) -> Answer:
    """What an answer says of the mutant itself: the same, or "not run" where the source as it stands does no better.

    Args:
        found: how the tests ended with the mutant.
        tests: those files.
        path: file of the mutant.
    """
    if found.kind == "import" or (found.kind == "crashed" and not found.what):
        plain = collected(tuple(tests))
        return (
            found
            if plain.kind == "passed"
            else Answer("not run", f"without any mutant, the tests of {path} end so: {plain}")
        )
    if found.kind in ("failed", "crashed"):
        # A loop without end is one only where the source as it stands ends much sooner.
        seconds = TEST_SECONDS / 5 if found.signal == "SIGXCPU" else TEST_SECONDS
        plain = without_mutant(found.what, path, seconds)
        return (
            found
            if plain.kind == "passed"
            else Answer("not run", f"without any mutant, {found.what} ends so: {plain.kind}, {plain}")
        )
    return found


def try_mutant(mutant: Mutant, first: Sequence[str] = ()) -> WorkResult:
    """Result of one mutant; its output names the test that killed it, or why none could be run.

    Args:
        mutant: the mutant.
        first: tests that are tried before all others, as those that killed its neighbours.
    """
    text, path = mutant.text, mutant.path
    why = left_out(source(path), text)
    if text is None or why:
        return WorkResult(WorkerOutcome.SKIPPED, output=why)
    found = verdict(run_forked(first, path, text), first, path) if first else Answer("not run")
    if found.kind not in ("failed", "crashed"):  # the first ones may be no more
        found = _by_all_tests(path, text)
    if found.kind == "not run":
        return WorkResult(WorkerOutcome.ABNORMAL, found.what)
    return WorkResult(
        WorkerOutcome.NORMAL, str(found), TestOutcome.SURVIVED if found.kind == "passed" else TestOutcome.KILLED
    )


def _by_all_tests(path: str, text: str) -> Answer:
    """What all tests of a file say, but for those that fail anyway."""
    tests, broken = tests_of(path), []
    while True:
        answer = run_forked(tests, path, text, without=broken)
        found = verdict(answer, tests, path)
        if answer.kind != "failed" or found.kind == "failed" or answer.what in broken:
            return found
        broken.append(answer.what)


def exists(killer: str, path: str) -> bool:
    """Whether the test that killed a mutant of this file is still there."""
    plain = collected(tuple(tests_of(path)))
    there = plain.what.split("\n") if plain.kind == "passed" else []
    if killer.endswith(IMPORT):
        file = killer.removesuffix(IMPORT)
        return file == CONFTEST or any(test.startswith(f"{file}::") for test in there)
    return any(killer == test or killer.startswith(f"{test} (SIG") for test in there)


def listed() -> list[dict[str, str]]:
    """Mutants that may survive: their change, what they are (``same`` or ``kept``), and the reason."""
    return yaml.safe_load(SURVIVORS.read_text()) or [] if SURVIVORS.exists() else []


def entry_of(mutant: Mutant, entries: Sequence[dict[str, str]]) -> dict[str, str] | None:
    """The listed entry of a mutant, if there is one."""
    if not any(e["file"] == mutant.path and e["within"] == mutant.within for e in entries):
        return None
    change = mutant.change
    return next((e for e in entries if all(e[name] == change[name] for name in change)), None)


def run(chosen: Sequence[Mutant], database: WorkDB, again: bool, hints: dict[str, str]) -> None:
    """Try each chosen mutant that has no result yet, and keep each result at once.

    Tests that killed mutants of the same function are tried first, the latest before the others.
    """
    known = {item.job_id for item in database.work_items}
    results = dict(database.results)
    killers = _Killers(hints)
    for mutant in tqdm(chosen, desc="mutants", mininterval=5):
        result = results.get(mutant.job)
        if result is not None and not _once_more(mutant, result, again):
            killers.add(mutant, result)
            continue
        if mutant.job not in known:
            place = MutationSpec(mutant.path, f"core/{mutant.operator}", mutant.occurrence, *mutant.place)
            database.add_work_item(WorkItem.single(mutant.job, place))
        result = try_mutant(mutant, killers.of(mutant))
        database.set_result(mutant.job, result)
        killers.add(mutant, result)
        if result.test_outcome == TestOutcome.SURVIVED and entry_of(mutant, listed()) is None:
            tqdm.write(f"survives: {described(mutant)}")
        if result.worker_outcome == WorkerOutcome.ABNORMAL:
            tqdm.write(f"not tried: {described(mutant)}\n    {result.output}")


def _once_more(mutant: Mutant, result: WorkResult, again: bool) -> bool:
    """Whether a result does not count any more: nothing was run, the test that killed has gone, or on request."""
    if result.test_outcome == TestOutcome.KILLED:
        return not exists(result.output or "", mutant.path)
    return result.worker_outcome == WorkerOutcome.ABNORMAL or (again and result.test_outcome == TestOutcome.SURVIVED)


class _Killers:
    """Tests that are tried first: they killed the mutant before, or mutants of the same function."""

    def __init__(self, hints: dict[str, str]) -> None:
        self.hints = hints
        self.by_place: dict[tuple[str, str], list[str]] = {}

    def add(self, mutant: Mutant, result: WorkResult) -> None:
        test = result.output or ""
        if result.test_outcome == TestOutcome.KILLED and "::" in test and " (" not in test:
            found = self.by_place.setdefault((mutant.path, mutant.within), [])
            found[:] = [test, *(t for t in found if t != test)][:5]

    def of(self, mutant: Mutant) -> list[str]:
        before = self.hints.get(mutant.key, "")
        if "::" in before and " (" not in before:
            return [before]
        return self.by_place.get((mutant.path, mutant.within), [])


def described(mutant: Mutant) -> str:
    """Where a mutant stands and what it changes, in a few lines."""
    change = mutant.change
    return f"{mutant.path}:{mutant.place[0][0]} {mutant.within}\n    - {change['was']}\n    + {change['now']}"


def report(chosen: Sequence[Mutant], database: WorkDB) -> bool:
    """Print the score of the mutants that have a result.

    Returns:
        True if each survivor is listed with a reason, and tests could be run for each.
    """
    results, entries = dict(database.results), listed()
    known = [(m, results[m.job]) for m in chosen if m.job in results]
    tried = [(m, r) for m, r in known if r.worker_outcome != WorkerOutcome.ABNORMAL]
    not_run = [(m, r) for m, r in known if r.worker_outcome == WorkerOutcome.ABNORMAL]
    counted = [(m, r) for m, r in tried if r.worker_outcome != WorkerOutcome.SKIPPED]
    alive = [m for m, r in counted if r.test_outcome == TestOutcome.SURVIVED]
    why = {m: entry_of(m, entries) for m in alive}
    by_file = Counter(m.path for m, _ in counted)
    for path, made in sorted(by_file.items()):
        print(f"{path:44} {made - sum(m.path == path for m in alive):5} of {made:5} killed")
    unlisted = [m for m in alive if why[m] is None]
    for mutant in unlisted:
        print(f"survives: {described(mutant)}")
    for mutant, result in not_run:
        print(f"not tried: {described(mutant)}\n    {result.output}")
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
    return not unlisted and not not_run


def main() -> int:
    """Run the mutants that the command line asks for; 1 if one survives that is not listed, or cannot be tried."""
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
    if options.write_killers and options.report:
        parser.error("--write-killers tries mutants whose killers have gone; leave out --report")
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
            if not options.report:
                import_all()
                run(chosen, database, options.again, hints)
            fine = report(chosen, database)
            results = dict(database.results)
    done = [(m, results[m.job]) for m in chosen if m.job in results]
    killers = {m.key: result.output or "" for m, result in done if result.test_outcome == TestOutcome.KILLED}
    if options.write_killers:
        first = list(killers.items())[: 2 * QUICK]
        KILLERS.write_text(json.dumps(dict(sorted(first)), indent=1) + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
