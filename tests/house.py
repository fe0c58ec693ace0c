"""Measure the house: how many files, floors, arrows and circles it has, and how many rooms a command enters.

``python -m tests.house`` prints one row per rule with today's value and its target; ``make house`` adds the rooms per
command, for which it runs a small ``finetune`` and a small ``curve``, each in a fresh process. The exit code is 1 if a
target is missed and no reason stands in ``REASONS``. ``tests/test_house.py`` keeps the rules with the same functions.

Every function of the static part takes a :class:`House`, read from any folder that is laid out like this repository.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from inspect import CO_OPTIMIZED
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
CORE = "matgl_infomax"
PACKAGES = {CORE: CORE, "tasks": f"{CORE}.tasks", "leaderboard": f"{CORE}.leaderboard"}
"""Folder at the top of the repository -> package under which it installs."""

FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "ground",
        tuple(f"{CORE}/{name}.py" for name in ("errors", "io", "jit", "workers", "record", "console", "weights")),
    ),
    ("settings", (f"{CORE}/settings/", f"{CORE}/config.py")),
    ("data", (f"{CORE}/data/",)),
    ("host", (f"{CORE}/host.py", f"{CORE}/graphs.py")),
    ("nn", (f"{CORE}/nn/",)),
    ("objectives", (f"{CORE}/objectives/",)),
    ("train", (f"{CORE}/train/",)),
    ("tasks.matbench", ("tasks/__init__.py", "tasks/matbench/")),
    ("leaderboard", ("leaderboard/",)),
    ("tasks.studies", ("tasks/studies/",)),
    # The shipped tests of encoders stand at the top too: they use the rooms below, and only tests use them.
    (
        "api and cli",
        (
            f"{CORE}/__init__.py",
            f"{CORE}/__main__.py",
            f"{CORE}/api.py",
            f"{CORE}/publish.py",
            f"{CORE}/estimators.py",
            f"{CORE}/cli.py",
            f"{CORE}/contracts/",
        ),
    ),
)
"""The layered order, lowest floor first: name and the files or folders on it. An arrow points down or stays level."""

MOST_FILES = 110
ARROWS = 600
MOST_LINES = 700
MOST_FUNCTION_LINES = 50
MOST_ARGUMENTS = 7

MANY_ARGUMENTS = {
    f"{CORE}/api.py: finetune": "public call: every argument is one decision of the user, named at the call",
    f"{CORE}/data/read.py: read_crystals": "public call, as finetune",
}
"""Functions that may have more arguments than the limit, each with the reason."""

SAME_NAME = {
    "main": "entry point of every file that runs by itself",
}
"""Public names that may stand in more than one file, each with the reason; fewer than 15."""

REASONS: dict[str, str] = {
    "source files": "106 after the moves; reading rightly 4, old addresses 2, kept tables, console, python -m, inputs "
    "in memory, named studies, few labels 3 (intervals, folds, final model), glossary, shipped weights 3 (names and "
    "cards, index of a corpus, the way in and out), estimators",
    "import arrows": "these files brought 21; results are checked in one place; one kind of bar for eleven files 14; "
    "the four of few labels 31",
    "files that one curve runs through": "49 before it tested every crystal, kept its errors, named an arm, explained "
    "its words and fitted the final model: intervals, folds, kept errors, glossary, console, named studies",
    "files that the settings of one curve enter": "one more: console, which is asked for the device and the loggers",
}
"""Row of the table whose target is missed -> why that is right. A row without a reason makes the exit code 1."""

Arrow = tuple[str, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """The source of a repository laid out like this one, read once.

    Attributes:
        root: folder that holds ``matgl_infomax``, ``tasks`` and ``leaderboard``.
    """

    root: Path = ROOT

    @cached_property
    def texts(self) -> dict[str, str]:
        """Text of every source file, by its path from the root; tests are no source."""
        # Scripts beside kept results were run once; they are no part of the package.
        paths = sorted(
            path
            for folder in PACKAGES
            for path in (self.root / folder).rglob("*.py")
            if "results" not in path.relative_to(self.root).parts
        )
        return {path.relative_to(self.root).as_posix(): path.read_text() for path in paths}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Syntax tree of every source file."""
        return {name: ast.parse(text) for name, text in self.texts.items()}

    @cached_property
    def files(self) -> dict[str, str]:
        """Source file of every module."""
        return {module_of(name): name for name in self.trees}

    @cached_property
    def bindings(self) -> dict[str, dict[str, tuple[str, str | None]]]:
        """By file, what its top level imports: the local name -> (module, name in it or None for the module)."""
        return {name: _bindings(tree, module_of(name)) for name, tree in self.trees.items()}

    @cached_property
    def own(self) -> dict[str, set[str]]:
        """By file, the names that its top level defines or assigns."""
        return {name: set(_defined(tree)) for name, tree in self.trees.items()}


def module_of(name: str) -> str:
    """Module under which a file of the house is imported."""
    folder, _, rest = name.removesuffix(".py").removesuffix("/__init__").partition("/")
    return ".".join([PACKAGES[folder], *filter(None, rest.split("/"))])


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Absolute name of the module that a ``from`` import names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = len(parts) - node.level + (1 if is_package else 0)
    return ".".join(filter(None, [*parts[:kept], node.module or ""]))


def _bindings(tree: ast.Module, module: str) -> dict[str, tuple[str, str | None]]:
    """Names that imports at the top level bind, those for type checkers included."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in _top_level(tree):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, False)
            found |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: (alias.name, None) for alias in node.names if alias.asname}
    return found


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of the top level, those inside its ``if`` and ``try`` included."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop(0)
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            todo += [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
            todo += [line for handler in getattr(node, "handlers", []) for line in handler.body]


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that the top level defines or assigns."""
    for node in _top_level(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def imports_of(house: House, name: str, nodes: Iterator[ast.AST] | None = None) -> Iterator[tuple[str, str | None]]:
    """Every import of a file, anywhere in it: (module, name in it or None for the module itself).

    ``import_module("a")`` and ``__import__("a")`` count as ``import a``.

    Args:
        house: the source.
        name: the file.
        nodes: parts of its syntax to look at; all of it when left out.
    """
    for node in nodes or ast.walk(house.trees[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module_of(name), name.endswith("/__init__.py"))
            yield from ((base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value), None


def home(house: House, module: str, name: str | None) -> str | None:
    """File of the house that defines what an import names; None for other packages.

    A name that a package only passes on counts to the module that defines it.
    """
    if name is not None and f"{module}.{name}" in house.files:
        return house.files[f"{module}.{name}"]
    file = house.files.get(module)
    if file is None or name is None or name in house.own[file]:
        return file
    passed_on = house.bindings[file].get(name)
    return (home(house, *passed_on) if passed_on else None) or file


def arrows(house: House) -> dict[Arrow, set[str]]:
    """Which file imports which, and the names it takes; each pair once, deferred and typing imports included."""
    found: dict[Arrow, set[str]] = defaultdict(set)
    for file in house.trees:
        for module, name in imports_of(house, file):
            target = home(house, module, name)
            if target is not None and target != file:
                found[file, target].add(name or module)
    return dict(found)


def circles(edges: Sequence[Arrow]) -> list[list[str]]:
    """Groups of files that import each other around a circle (Tarjan 1972), the largest first."""
    after: dict[str, list[str]] = defaultdict(list)
    for start, end in sorted(edges):
        after[start].append(end)
    reach = {file: _reachable(file, after) for file in after}
    groups = {tuple(sorted(f for f in reach[file] if file in reach.get(f, ()))) for file in after}
    return sorted((list(group) for group in groups if len(group) > 1), key=lambda group: (-len(group), group))


def _reachable(start: str, after: dict[str, list[str]]) -> set[str]:
    """Everything that a file reaches along arrows; itself only around a circle."""
    found: set[str] = set()
    todo = list(after.get(start, ()))
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += after.get(file, ())
    return found


def floor_of(name: str) -> int | None:
    """Number of the floor on which a file stands, 0 for the ground; None if it stands on none."""
    for number, (_, places) in enumerate(FLOORS):
        if any(name == place or (place.endswith("/") and name.startswith(place)) for place in places):
            return number
    return None


def floors(house: House) -> set[int]:
    """Floors on which at least one file stands."""
    return {floor for name in house.trees if (floor := floor_of(name)) is not None}


def without_floor(house: House) -> list[str]:
    """Files for which the ground plan has no floor."""
    return [name for name in house.trees if floor_of(name) is None]


def upward(house: House) -> list[str]:
    """Arrows from a floor to a higher one, as sentences."""
    found = []
    for (start, end), names in sorted(arrows(house).items()):
        low, high = floor_of(start), floor_of(end)
        if low is not None and high is not None and low < high:
            said = f"{start} ({FLOORS[low][0]}) imports {', '.join(sorted(names))} from {end} ({FLOORS[high][0]})"
            found.append(said)
    return found


def into_contracts(house: House) -> list[str]:
    """Files of the source that import the shipped tests of encoders."""
    room = f"{CORE}/contracts/"
    return [f"{a} imports {b}" for a, b in sorted(arrows(house)) if b.startswith(room) and not a.startswith(room)]


def long_files(house: House) -> list[str]:
    """Files over the limit of lines."""
    lengths = {name: len(text.splitlines()) for name, text in house.texts.items()}
    return [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > MOST_LINES]


def functions(house: House) -> Iterator[tuple[str, str, Function]]:
    """Every function and method: its file, its name with its classes and functions in front, and its syntax."""
    for name, tree in house.trees.items():
        todo: list[tuple[str, ast.AST]] = [("", tree)]
        while todo:
            above, node = todo.pop()
            for child in ast.iter_child_nodes(node):
                named = isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
                inner = f"{above}{child.name}" if named else above
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield name, inner, child
                todo.append((f"{inner}." if named else above, child))


def long_functions(house: House) -> list[str]:
    """Functions over the limit of lines."""
    lengths = [(name, called, (f.end_lineno or 0) - f.lineno + 1) for name, called, f in functions(house)]
    return sorted(f"{name}: {called}, {lines} lines" for name, called, lines in lengths if lines > MOST_FUNCTION_LINES)


def long_signatures(house: House) -> list[str]:
    """Functions over the limit of arguments, ``self`` and ``cls`` not counted.

    A constructor of a network may have more, for its arguments are the architecture; a compiled kernel may, for it
    takes arrays and no objects; and so may what stands in ``MANY_ARGUMENTS``.
    """
    found = []
    for name, called, function in functions(house):
        network = name.startswith(f"{CORE}/nn/") and function.name == "__init__"
        free = network or _is_kernel(function) or f"{name}: {called}" in MANY_ARGUMENTS
        count = argument_count(function)
        if count > MOST_ARGUMENTS and not free:
            found.append(f"{name}: {called}, {count} arguments")
    return sorted(found)


def _is_kernel(function: Function) -> bool:
    """Whether numba compiles a function."""
    marks = [ast.unparse(mark).partition("(")[0].rpartition(".")[2] for mark in function.decorator_list]
    return bool({"compiled", "njit"} & set(marks))


def argument_count(function: Function) -> int:
    """Number of arguments, ``*args`` and ``**kwargs`` as one each."""
    given = function.args
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    own = 1 if positional[:1] in (["self"], ["cls"]) else 0
    return len(positional) - own + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def place_of_test(name: str) -> str:
    """Where the test of a module lies: the tests mirror the house."""
    room, _, file = name.removeprefix(f"{CORE}/").rpartition("/")
    return "/".join(filter(None, ["tests", room, f"test_{file}"]))


def modules(house: House) -> list[str]:
    """Source files that should have a test of their name: all but ``__init__.py``."""
    return [name for name in house.trees if not name.endswith("__init__.py")]


def untested(house: House) -> list[str]:
    """Modules without a test of their own name, and where it should lie."""
    return [
        f"{name}: no {place_of_test(name)}"
        for name in modules(house)
        if not (house.root / place_of_test(name)).is_file()
    ]


def twice(house: House) -> dict[str, list[str]]:
    """Public classes and functions whose name stands at the top level of more than one file, with the files."""
    places: dict[str, set[str]] = defaultdict(set)
    for name, tree in house.trees.items():
        for node in _top_level(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[0] != "_":
                places[node.name].add(name)
    return {name: sorted(files) for name, files in sorted(places.items()) if len(files) > 1}


def packed_calls(house: House) -> list[str]:
    """Calls that unpack a tuple by position into a function or class of the house with a fixed list of arguments.

    Told only where the called name leads to a definition of the house; methods are not followed. A function that
    takes ``*args`` is meant to be called so, and a compiled kernel takes arrays that have no better order.
    """
    found = []
    for name, tree in house.trees.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            starred = any(isinstance(argument, ast.Starred) for argument in call.args)
            if starred and isinstance(call.func, ast.Name) and _takes_a_fixed_list(house, name, call.func.id):
                found.append(f"{name}:{call.lineno}: {call.func.id}(*...)")
    return found


def _takes_a_fixed_list(house: House, file: str, called: str) -> bool:
    """Whether a name used in a file is a function or class of the house that takes no ``*args``."""
    if called not in house.own[file]:
        module, name = house.bindings[file].get(called, ("", None))
        at = home(house, module, name) if name else None
        return at is not None and at != file and _takes_a_fixed_list(house, at, str(name))
    for node in _top_level(house.trees[file]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == called:
            return node.args.vararg is None and not _is_kernel(node)
        if isinstance(node, ast.ClassDef) and node.name == called:
            made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            marked = any(
                ast.unparse(mark).startswith(("dataclass", "dataclasses.dataclass")) for mark in node.decorator_list
            )
            record = marked or any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)
            return made[0].args.vararg is None if made else record
    return False


@dataclass
class Entered:
    """The rooms that a command entered.

    Attributes:
        run: files in which the body of a function ran.
        settled: files in which a called function received a settings object.
    """

    run: set[str]
    settled: set[str]


class Watch:
    """Notes every function of the house that runs, in all threads; to be used in a ``with`` statement.

    What runs while a module is imported does not count: it belongs to the module, not to the command. Loops that numba
    compiles and processes that are started do not show; the commands below work in one process.

    Args:
        root: folder of the repository.
        settings: base class of the settings.
    """

    def __init__(self, root: Path, settings: type) -> None:
        self.root, self.settings = str(root.resolve()), settings
        self.entered = Entered(set(), set())
        # By file and not by code object: two equal functions in two files are equal code objects.
        self._known: dict[str, str | None] = {}

    def __enter__(self) -> Entered:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self.entered

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename not in self._known:
            self._known[code.co_filename] = self._in_the_house(code.co_filename)
        file = self._known[code.co_filename]
        # A file in both sets has nothing more to tell.
        if file is None or (file in self.entered.run and file in self.entered.settled):
            return
        # Bodies of modules and classes are no functions.
        if not code.co_flags & CO_OPTIMIZED or _importing(frame):
            return
        self.entered.run.add(file)
        count = code.co_argcount + code.co_kwonlyargcount
        given = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        if any(isinstance(value, self.settings) for value in given):
            self.entered.settled.add(file)

    def _in_the_house(self, filename: str) -> str | None:
        """Path of a source file from the root; None for other packages."""
        if not Path(filename).is_relative_to(self.root):
            return None
        name = Path(filename).relative_to(self.root).as_posix()
        return name if name.partition("/")[0] in PACKAGES else None


def _importing(frame: FrameType) -> bool:
    """Whether a call is made by a module or class body that is being executed by an import."""
    above = frame.f_back
    while above is not None:
        if above.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        above = above.f_back
    return False


def settings_base(house: House) -> type:
    """The class ``Settings`` from which all settings derive, wherever the core defines it."""
    homes = [
        module_of(name)
        for name, tree in house.trees.items()
        if any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in tree.body)
    ]
    if len(homes) != 1:
        raise LookupError(f"One file must define the class Settings. Found: {homes}.")
    found: type = import_module(homes[0]).Settings
    return found


COMMANDS: dict[str, tuple[int, int, str]] = {
    "finetune": (39, 14, "--steps 4 --validate-every 2"),
    "curve": (
        49,
        16,
        "--labels 10 20 --seeds 1 --pretrain.steps 4 --pretrain.validate-every 2"
        " --finetune.steps 4 --finetune.validate-every 2",
    ),
}
"""Command -> most files that run, most files that receive settings, and options that keep it small."""


def generated_crystals(file: Path) -> None:
    """Write 60 rock salts and their like with a number to learn, as extended XYZ; they are made up.

    Args:
        file: where to write.
    """
    from ase.build import bulk
    from ase.io import write

    cations, anions = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Ag"), ("F", "Cl", "Br", "O", "S", "Se")
    made = []
    for i, cation in enumerate(cations):
        for j, anion in enumerate(anions):
            atoms = bulk(cation + anion, "rocksalt", a=4.2 + 0.2 * i + 0.15 * j)
            atoms.info = {"id": f"{cation}{anion}", "y": 0.1 * i - 0.3 * j}
            made.append(atoms)
    write(file, made, format="extxyz")


def rooms(root: Path, command: str) -> Entered:
    """Run one small command in this process and say which rooms it entered.

    A second command in the same process enters fewer: what is compiled or cached is not done again.

    Args:
        root: folder of the repository, whose installed package runs.
        command: a key of ``COMMANDS``.

    Raises:
        RuntimeError: If the command does not end well.
    """
    main: Callable[[Sequence[str]], int] = import_module(f"{CORE}.cli").main
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "crystals.extxyz")
        generated_crystals(data)
        words = [command, "--data", str(data), "--target", "y", "--out", f"{folder}/out", "--cache", f"{folder}/cache"]
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said), Watch(root, settings_base(House(root))) as entered:
            code = main([*words, *COMMANDS[command][2].split()])
    if code != 0:
        raise RuntimeError(
            f"The small {command} ended with exit code {code}, so its rooms are unknown. {said.getvalue()}"
        )
    return entered


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        value: today's value, as it is printed.
        target: the target, as it is printed.
        met: whether it is met.
        offenders: what stands in the way, one sentence each.
    """

    name: str
    value: str
    target: str
    met: bool
    offenders: tuple[str, ...] = ()


def _none(name: str, offenders: Sequence[str]) -> Row:
    """A row whose target is that there is nothing."""
    return Row(name, str(len(offenders)), "0", not offenders, tuple(offenders))


def table(house: House) -> list[Row]:
    """The rows that reading the source is enough for."""
    edges = arrows(house)
    files, share, same = len(house.trees), len(edges) / max(len(house.trees), 1), twice(house)
    around = [" <-> ".join(group) for group in circles(list(edges))]
    open_modules, named = untested(house), modules(house)
    return [
        Row("source files", str(files), "about 100", files <= MOST_FILES),
        Row("floors", str(len(floors(house))), str(len(FLOORS)), not without_floor(house), tuple(without_floor(house))),
        _none("arrows that point up", upward(house)),
        Row("import arrows", str(len(edges)), f"under {ARROWS}", len(edges) < ARROWS),
        Row("arrows per file", f"{share:.1f}", f"under {ARROWS / 100:.1f}", share < ARROWS / 100),
        _none("circles", around),
        _none(f"files over {MOST_LINES} lines", long_files(house)),
        _none(f"functions over {MOST_FUNCTION_LINES} lines", long_functions(house)),
        _none(f"functions over {MOST_ARGUMENTS} arguments", long_signatures(house)),
        _none("calls that unpack a tuple by position", packed_calls(house)),
        Row(
            "modules with a test of their name",
            f"{len(named) - len(open_modules)} of {len(named)}", "all", not open_modules, tuple(open_modules),
        ),
        Row(
            "public names in more than one file",
            str(len(same)), "under 15", len(same) < 15, tuple(f"{name}: {', '.join(at)}" for name, at in same.items()),
        ),
    ]  # fmt: skip


def command_table(house: House) -> list[Row]:
    """The rows for which commands have to run."""
    rows = []
    for command, (most_run, most_settled, _) in COMMANDS.items():
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as fresh:
            entered = fresh.submit(rooms, house.root, command).result()
        run, settled = len(entered.run), len(entered.settled)
        rows += [
            Row(f"files that one {command} runs through", str(run), f"under {most_run + 1}", run <= most_run,
                tuple(sorted(entered.run))),
            Row(f"files that the settings of one {command} enter", str(settled), f"at most {most_settled}",
                settled <= most_settled, tuple(sorted(entered.settled))),
        ]  # fmt: skip
    return rows


def as_text(rows: Sequence[Row], details: bool) -> str:
    """The table as aligned text.

    Args:
        rows: what was measured.
        details: list what stands in the way below each row whose target is missed.
    """
    cells = [("", "today", "target", ""), *((r.name, r.value, r.target, "met" if r.met else "MISSED") for r in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(4)]
    lines = []
    for row, line in zip([None, *rows], cells, strict=True):
        name, value, target, verdict = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        reason = REASONS.get(row.name, "") if row is not None and not row.met else ""
        lines.append(f"{name}  {value}  {target}  {verdict}  {reason}".rstrip())
        if details and row is not None and not row.met:
            lines += [f"    {offender}" for offender in row.offenders]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table.

    Args:
        arguments: words after the program's name; those of this process when left out.

    Returns:
        0 if every target is met or has a reason, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="Measure the house.")
    parser.add_argument(
        "--commands", action="store_true", help="Also run a small finetune and curve: the rooms they enter."
    )
    parser.add_argument("--details", action="store_true", help="List what stands in the way of each target missed.")
    asked = parser.parse_args(arguments)
    house = House()
    rows = table(house) + (command_table(house) if asked.commands else [])
    print(as_text(rows, asked.details))
    return 0 if all(row.met or row.name in REASONS for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
