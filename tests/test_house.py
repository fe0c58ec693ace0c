"""Rules of passage of the house: who may import whom, how long things may be, what every public thing must say.

What is measured stands in ``tests/house.py``, where the table of ``make house`` is made of it. Every rule is tried on
a made-up house that breaks it, too: a rule that cannot fail keeps nothing.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests import house as measure
from tests.house import CORE, FLOORS, MANY_ARGUMENTS, ROOT, SAME_NAME, House, module_of

HOUSE = House()
HOST = {"matgl", "dgl", "torch_geometric"}
UPSTAIRS = ("matgl_infomax.tasks", "matgl_infomax.leaderboard")
# The doors open the upper floors only when asked.
DOORS = {"matgl_infomax/cli.py", "matgl_infomax/__init__.py"}


# What follows takes a house and gives sentences about what breaks a rule.


def imported(house: House, name: str, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """Every module a file imports, anywhere in it; 'from a import b' counts as a and a.b."""
    return {
        part for module, b in measure.imports_of(house, name, nodes) for part in (module, f"{module}.{b}" if b else "")
    }


def inside(module: str, *packages: str) -> bool:
    """Whether a module is one of these packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def offenders(house: House, folder: str, *forbidden: str, but: set[str] | None = None) -> list[str]:
    """Files under a folder that import what they must not."""
    names = [name for name in house.trees if name.startswith(folder) and name not in (but or set())]
    return sorted(f"{n} imports {m}" for n in names for m in imported(house, n) if inside(m, *forbidden))


def graph_libraries(house: House) -> list[str]:
    return offenders(house, "", *HOST, but={"matgl_infomax/host.py"})


def core_upstairs(house: House) -> list[str]:
    return offenders(house, "matgl_infomax/", *UPSTAIRS, but=DOORS)


def objectives_with_a_model(house: House) -> list[str]:
    return offenders(house, "matgl_infomax/objectives/", "matgl_infomax.nn.sitenet", "matgl_infomax.host")


def leaderboard_with_torch(house: House) -> list[str]:
    forbidden = ("torch", "lightning", "matgl_infomax.nn", "matgl_infomax.train", *HOST)
    return offenders(house, "leaderboard/", *forbidden)


def bare_folders(house: House) -> list[str]:
    return offenders(house, "", "tasks", "leaderboard")


def doors_not_lazy(house: House) -> list[str]:
    """Doors that import the upper floors, or anything heavy, while they are themselves imported."""
    heavy = (*UPSTAIRS, *HOST, "torch", "lightning", "pymatgen")
    return [
        f"{name} imports {module}"
        for name in sorted(DOORS & set(house.trees))
        for module in imported(house, name, _run_at_import(house.trees[name]))
        if inside(module, *heavy)
    ]


def _run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _run_at_import(node)


def circles(house: House) -> list[str]:
    return [" <-> ".join(group) for group in measure.circles(list(measure.arrows(house)))]


def names_twice(house: House) -> list[str]:
    return [f"{name}: {', '.join(at)}" for name, at in measure.twice(house).items() if name not in SAME_NAME]


def swallowed_errors(house: House) -> list[str]:
    """Bare excepts, and handlers that do nothing at all."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in house.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(line, ast.Pass) or _is_ellipsis(line) for line in node.body))
    ]


def _is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def without_docstring(house: House) -> list[str]:
    return [f"{name}: {what}" for name, tree in house.trees.items() for what in _silent(tree)]


def _silent(tree: ast.Module) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring; an empty __init__.py may be silent."""
    if tree.body and not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        # The members of a protocol are described by their class.
        own = isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(base) for base in node.bases)
        for thing in [node, *(node.body if own else [])]:
            named = isinstance(thing, (ast.ClassDef, ast.FunctionDef)) and not thing.name.startswith("_")
            if named and not ast.get_docstring(thing) and "overload" not in map(ast.unparse, thing.decorator_list):
                yield f"{thing.name} (line {thing.lineno})"


def machine_paths(house: House) -> list[str]:
    """Lines that name a folder of one machine, in source, tests, prose and build files."""
    roots = tuple(f"/{name}/" for name in ("work", "root", "home", "Users", "opt"))
    patterns = (
        "tests/**/*.py",
        "examples/**/*.py",
        "docs/**/*.py",
        "docs/**/*.md",
        "*.md",
        "*.cff",
        "*.yaml",
        ".*.yaml",
    )
    texts = {house.root / name for name in house.trees} | {path for one in patterns for path in house.root.glob(one)}
    texts |= {path for path in [house.root / "Makefile", *house.root.glob(".ci/*")] if path.is_file()}
    return [
        f"{path.relative_to(house.root).as_posix()}:{number}"
        for path in sorted(texts)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(root in line for root in roots)
    ]


def unformatted(house: House) -> list[str]:
    """Python files that ``ruff format`` would change."""
    style = f"--config={ROOT / 'pyproject.toml'}"
    words = [sys.executable, "-m", "ruff", "format", "--check", "--no-cache", style, "."]
    done = subprocess.run(words, cwd=house.root, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    found = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith(("Would reformat:", "-->"))]
    assert bool(found) == bool(done.returncode), done.stdout
    return found


RULES: dict[str, Callable[[House], list[str]]] = {
    "only host.py imports the graph libraries": graph_libraries,
    "the core never imports tasks or leaderboard": core_upstairs,
    "the doors open only when asked": doors_not_lazy,
    "an objective never imports a model": objectives_with_a_model,
    "the leaderboard names no torch": leaderboard_with_torch,
    "nobody imports the bare folders": bare_folders,
    "every file stands on a floor": measure.without_floor,
    "arrows point down": measure.upward,
    "no circles": circles,
    "only tests import contracts": measure.into_contracts,
    "files are short": measure.long_files,
    "functions are short": measure.long_functions,
    "functions have few arguments": measure.long_signatures,
    "no tuple is unpacked by position into a call": measure.packed_calls,
    "a public name stands once": names_twice,
    "every module has a test of its name": measure.untested,
    "no error is swallowed": swallowed_errors,
    "everything public says what it is": without_docstring,
    "no path of one machine is written down": machine_paths,
    "everything is formatted": unformatted,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule):
    found = RULES[rule](HOUSE)
    assert not found, "\n".join([f"{rule}:", *found])


DOC = '"""Says what it is."""\n'
MANY = ", ".join("abcdefgh")
RECORD = f"{DOC}from dataclasses import dataclass\n\n\n@dataclass\nclass Pair:\n    {DOC}\n    a: int\n    b: int\n"

# Rule, files of a made-up house that break it, and what has to be said.
BROKEN: list[tuple[str, dict[str, str], str]] = [
    (
        "only host.py imports the graph libraries",
        {"tasks/a.py": "def f():\n    import dgl\n"},
        "tasks/a.py imports dgl",
    ),
    ("only host.py imports the graph libraries", {"tasks/a.py": 'x = import_module("matgl.x")\n'}, "imports matgl.x"),
    (
        "the core never imports tasks or leaderboard",
        {"matgl_infomax/api.py": "from matgl_infomax import tasks\n"},
        "api",
    ),
    ("the doors open only when asked", {"matgl_infomax/cli.py": "import torch\n"}, "cli.py imports torch"),
    ("the doors open only when asked", {"matgl_infomax/cli.py": "if 1:\n    import matgl_infomax.tasks\n"}, "tasks"),
    (
        "an objective never imports a model",
        {"matgl_infomax/objectives/a.py": "from matgl_infomax import host\n"},
        "objectives/a.py imports matgl_infomax.host",
    ),
    ("the leaderboard names no torch", {"leaderboard/a.py": "def f():\n    from torch import nn\n"}, "imports torch"),
    ("nobody imports the bare folders", {"leaderboard/a.py": "from tasks.matbench import task\n"}, "imports tasks"),
    ("every file stands on a floor", {"matgl_infomax/attic.py": "x = 1\n"}, "matgl_infomax/attic.py"),
    (
        "arrows point down",
        {
            "matgl_infomax/data/a.py": "def f():\n    from matgl_infomax.nn.b import c\n",
            "matgl_infomax/nn/b.py": "c = 1\n",
        },
        "matgl_infomax/data/a.py (data) imports c from matgl_infomax/nn/b.py (nn)",
    ),
    (
        "arrows point down",  # a name that a package passes on counts to the file that defines it
        {
            "matgl_infomax/nn/a.py": "if TYPE_CHECKING:\n    from matgl_infomax import c\n",
            "matgl_infomax/__init__.py": "from matgl_infomax.train.b import c\n",
            "matgl_infomax/train/b.py": "class c:\n    pass\n",
        },
        "imports c from matgl_infomax/train/b.py (train)",
    ),
    (
        "arrows point down",
        {"leaderboard/a.py": "from matgl_infomax.tasks.studies import b\n", "tasks/studies/b.py": "c = 1\n"},
        "leaderboard/a.py (leaderboard)",
    ),
    (
        "arrows point down",
        {"tasks/matbench/a.py": "from ..studies.b import c\n", "tasks/studies/b.py": "c = 1\n"},
        "tasks/matbench/a.py (tasks.matbench)",
    ),
    (
        "no circles",
        {
            "matgl_infomax/nn/a.py": "from matgl_infomax.nn.b import x\n",
            "matgl_infomax/nn/b.py": "def f():\n    from matgl_infomax.nn import c\n",
            "matgl_infomax/nn/c.py": "if TYPE_CHECKING:\n    from matgl_infomax.nn.a import y\n",
        },
        "matgl_infomax/nn/a.py <-> matgl_infomax/nn/b.py <-> matgl_infomax/nn/c.py",
    ),
    (
        "only tests import contracts",
        {"matgl_infomax/api.py": "from matgl_infomax.contracts import a\n", "matgl_infomax/contracts/a.py": "x = 1\n"},
        "matgl_infomax/api.py imports matgl_infomax/contracts/a.py",
    ),
    ("files are short", {"tasks/matbench/a.py": "x = 1\n" * 701}, "tasks/matbench/a.py: 701 lines"),
    ("functions are short", {"leaderboard/a.py": "def f():\n" + "    x = 1\n" * 50}, "leaderboard/a.py: f, 51 lines"),
    ("functions have few arguments", {"leaderboard/a.py": f"def f({MANY}):\n    pass\n"}, "f, 8 arguments"),
    ("functions have few arguments", {"leaderboard/a.py": "def f(a, b, /, c, *d, e, f, g, **h):\n    pass\n"}, "f, 8"),
    (
        "functions have few arguments",
        {"leaderboard/a.py": f"class A:\n    def m(self, {MANY}):\n        pass\n"},
        "A.m, 8",
    ),
    (
        "functions have few arguments",
        {"matgl_infomax/nn/a.py": f"class A:\n    def forward(self, {MANY}):\n        pass\n"},
        "A.forward",
    ),
    (
        "no tuple is unpacked by position into a call",
        {"leaderboard/a.py": f"{RECORD}\n\nx = Pair(*pair)\n"},
        ":13: Pair",
    ),
    (
        "no tuple is unpacked by position into a call",
        {"leaderboard/a.py": RECORD, "tasks/b.py": "from matgl_infomax.leaderboard.a import Pair as P\nx = P(*pair)\n"},
        "tasks/b.py:2: P(*...)",
    ),
    (
        "no tuple is unpacked by position into a call",
        {"leaderboard/a.py": "def f(a, b):\n    pass\nf(1, *c)\n"},
        ":3: f",
    ),
    (
        "a public name stands once",
        {"leaderboard/a.py": "class A:\n    pass\n", "tasks/b.py": "def A():\n    pass\n"},
        "A: ",
    ),
    ("every module has a test of its name", {"matgl_infomax/data/a.py": "x = 1\n"}, "no tests/data/test_a.py"),
    ("every module has a test of its name", {"matgl_infomax/a.py": "x = 1\n"}, "no tests/test_a.py"),
    ("every module has a test of its name", {"tasks/studies/a.py": "x = 1\n"}, "no tests/tasks/studies/test_a.py"),
    ("every module has a test of its name", {"leaderboard/report/a.py": ""}, "no tests/leaderboard/report/test_a.py"),
    ("no error is swallowed", {"tasks/a.py": "try:\n    f()\nexcept OSError:\n    pass\n"}, "tasks/a.py:3"),
    ("no error is swallowed", {"tasks/a.py": "try:\n    f()\nexcept:\n    g()\n"}, "tasks/a.py:3"),
    ("everything public says what it is", {"tasks/a.py": "x = 1\n"}, "tasks/a.py: the module"),
    (
        "everything public says what it is",
        {"tasks/a.py": f"{DOC}class A:\n    {DOC}\n    def f(self): ...\n"},
        "f (line 5)",
    ),
    ("no path of one machine is written down", {"docs/a.md": f"see /{'home'}/me\n"}, "docs/a.md:1"),
    ("no path of one machine is written down", {"tasks/a.py": f"\nx = '/{'work'}/x'\n"}, "tasks/a.py:2"),
    ("everything is formatted", {"tasks/a.py": "x  =  1\n"}, "a.py"),
]


def made_up(folder: Path, files: dict[str, str]) -> House:
    """A house of the given files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return House(folder)


@pytest.mark.parametrize(("rule", "files", "said"), BROKEN, ids=[f"{rule}-{said}" for rule, _, said in BROKEN])
def test_the_rule_bites(tmp_path, rule, files, said):
    found = RULES[rule](made_up(tmp_path, files))
    assert any(said in sentence for sentence in found), found


def test_every_rule_is_tried_on_a_house_that_breaks_it():
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


SOUND = {
    "matgl_infomax/__init__.py": f"{DOC}if TYPE_CHECKING:\n    from matgl_infomax.nn.net import Net\n",
    "matgl_infomax/jit.py": f"{DOC}\n\n@njit(cache=True)\ndef loop({MANY}):\n    {DOC}\n\nloop(*arrays)\n",
    "matgl_infomax/nn/net.py": (
        f"{DOC}from matgl_infomax import jit\nfrom ..data.batch import Batch\n\n"
        f"class Net:\n    {DOC}\n    def __init__(self, {MANY}):\n        self.batch = Batch(*self.parts)\n"
    ),
    "matgl_infomax/data/batch.py": f"{DOC}class Batch:\n    {DOC}\n    def __init__(self, *parts):\n        f(*x)\n",
    "tests/test_jit.py": "",
    "tests/nn/test_net.py": "",
    "tests/data/test_batch.py": "",
}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "everything is formatted"])
def test_a_sound_house_is_left_alone(tmp_path, rule):
    assert RULES[rule](made_up(tmp_path, SOUND)) == []


def test_the_walk_sees_the_house():
    assert {"matgl_infomax/host.py", "matgl_infomax/nn/sitenet.py", "tasks/__init__.py"} <= set(HOUSE.trees)
    assert inside("matgl.models", "matgl")
    assert not inside("matgl_infomax.data", "matgl")
    assert any(inside(m, *HOST) for m in imported(HOUSE, "matgl_infomax/host.py")), "host.py imports no MatGL at all"
    assert ("matgl_infomax/nn/sitenet.py", "matgl_infomax/host.py") in measure.arrows(HOUSE)


def test_arrows_are_counted_once_and_name_what_is_taken(tmp_path):
    files = {
        "matgl_infomax/io.py": "def f():\n    pass\n\n\ndef g():\n    pass\n",
        "matgl_infomax/api.py": "from matgl_infomax.io import f\n\n\ndef h():\n    from matgl_infomax.io import g\n",
    }
    assert measure.arrows(made_up(tmp_path, files)) == {("matgl_infomax/api.py", "matgl_infomax/io.py"): {"f", "g"}}


def test_two_circles_are_two_and_a_tail_belongs_to_none():
    edges = [("a", "b"), ("b", "a"), ("b", "c"), ("d", "e"), ("e", "f"), ("f", "d"), ("x", "a")]
    assert measure.circles(edges) == [["d", "e", "f"], ["a", "b"]]


def test_a_floor_has_one_place_in_the_order():
    places = [place for _, on_it in FLOORS for place in on_it]
    assert len(places) == len(set(places))
    assert measure.floor_of("matgl_infomax/errors.py") == 0
    assert measure.floor_of("matgl_infomax/cli.py") == len(FLOORS) - 1
    assert measure.floor_of("matgl_infomax/data/deep/inside.py") == 2


def test_every_exception_is_needed():
    """An allowance that nothing uses any more is taken back."""
    assert set(SAME_NAME) - set(measure.twice(HOUSE)) == set()
    assert len(SAME_NAME) < 15
    large = {f"{n}: {c}" for n, c, f in measure.functions(HOUSE) if measure.argument_count(f) > measure.MOST_ARGUMENTS}
    assert set(MANY_ARGUMENTS) - large == set()


def test_leaderboard_works_without_torch():
    """Everything a leaderboard module drags in, not only what it names, does without torch."""
    modules = [module_of(name) for name in HOUSE.trees if name.startswith("leaderboard/")]
    code = f"""
import sys
from importlib import import_module

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted({"torch", "lightning", *HOST})}:
            raise ModuleNotFoundError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
for name in {modules}:
    import_module(name)
print("imported")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "imported\n", done.stderr


def settings_classes() -> list[type]:
    base = measure.settings_base(HOUSE)
    for name in HOUSE.trees:
        if name.startswith((f"{CORE}/settings/", f"{CORE}/config", f"{CORE}/objectives/")):
            import_module(module_of(name))
    found, todo = set(), [base]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        found.add(kind)
    return sorted((kind for kind in found if kind.__module__.startswith(CORE)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_unknown_settings_are_refused(kind):
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["frozen"]


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_every_setting_is_explained_and_read_somewhere(kind):
    """A field that no line of the house ever reads would be a dead setting."""
    read = {node.attr for tree in HOUSE.trees.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    fields = kind.model_fields
    assert [name for name in fields if name not in read] == []
    sections = {"model", "pretrain", "finetune"}
    assert [name for name, field in fields.items() if not field.description and name not in sections] == []


ROOM = '''
"""A room."""
def ran_while_imported(): ...
ran_while_imported()
def with_settings(settings): ...
def without(number, *, given=None): ...
class Body:
    def method(self): ...
'''


def test_the_watch_sees_the_rooms_that_a_command_enters(tmp_path, monkeypatch):
    """By hand: five rooms are imported, two only run, one gets settings, one gets them by keyword in a thread."""
    house = made_up(tmp_path, {f"tasks/room_{letter}.py": ROOM for letter in "abcde"})
    monkeypatch.syspath_prepend(tmp_path / "tasks")

    class Chosen:
        pass

    def command():
        import threading

        a, b, c, d, _ = (import_module(f"room_{letter}") for letter in "abcde")
        a.without(1)
        b.with_settings(Chosen())
        c.Body().method()
        thread = threading.Thread(target=d.without, args=(1,), kwargs={"given": Chosen()})
        thread.start()
        thread.join()

    with measure.Watch(house.root, Chosen) as entered:
        command()
    assert entered.run == {f"tasks/room_{letter}.py" for letter in "abcd"}
    assert entered.settled == {"tasks/room_b.py", "tasks/room_d.py"}
    for letter in "abcde":
        sys.modules.pop(f"room_{letter}")


def test_the_table_has_a_row_for_everything_and_says_what_is_missed(tmp_path, monkeypatch):
    house = made_up(
        tmp_path, {"matgl_infomax/io.py": "x = 1\n" * 701, "matgl_infomax/api.py": "import matgl_infomax.io\n"}
    )
    rows = {row.name: row for row in measure.table(house)}
    assert (rows["source files"].value, rows["import arrows"].value, rows["arrows per file"].value) == ("2", "1", "0.5")
    assert (rows["floors"].value, rows["floors"].target) == ("2", "11")
    assert not rows["files over 700 lines"].met
    assert not rows["modules with a test of their name"].met
    monkeypatch.setattr(measure, "REASONS", {"files over 700 lines": "Because."})
    lines = measure.as_text(list(rows.values()), details=True).splitlines()
    assert next(line for line in lines if line.startswith("files over")).endswith("MISSED  Because.")
    assert "    matgl_infomax/io.py: 701 lines" in lines


@pytest.mark.parametrize(("reasons", "code"), [({}, 1), ({"a row": "Because."}, 0)], ids=["no reason", "a reason"])
def test_a_missed_target_needs_a_reason(monkeypatch, capsys, reasons, code):
    monkeypatch.setattr(measure, "table", lambda house: [measure.Row("a row", "2", "1", False)])
    monkeypatch.setattr(measure, "REASONS", reasons)
    assert measure.main([]) == code
    assert "MISSED" in capsys.readouterr().out
