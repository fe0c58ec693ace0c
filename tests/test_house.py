"""Rules of passage of the house: who may import whom, how long a file may be, what every public thing must say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = "matgl_infomax"
PACKAGES = {CORE: CORE, "tasks": f"{CORE}.tasks", "leaderboard": f"{CORE}.leaderboard"}
HOST = {"matgl", "dgl", "torch_geometric"}
UPSTAIRS = ("matgl_infomax.tasks", "matgl_infomax.leaderboard")
# The doors open the upper floors only when asked.
DOORS = {"matgl_infomax/cli.py", "matgl_infomax/cli_tasks.py", "matgl_infomax/__init__.py"}
# Scripts beside kept results were run once; they are no part of the package.
FILES = sorted(p for folder in PACKAGES for p in (ROOT / folder).rglob("*.py") if "results" not in p.parts)
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}


def module_of(name: str) -> str:
    """Module under which a file of the house is imported."""
    folder, _, rest = name.removesuffix(".py").removesuffix("/__init__").partition("/")
    return ".".join([PACKAGES[folder], *filter(None, rest.split("/"))])


def imported(name: str, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """Every module a file imports, anywhere in it; 'from a import b' counts as a and a.b, import_module("a") as a."""
    found: set[str] = set()
    package = module_of(name) if name.endswith("/__init__.py") else module_of(name).rpartition(".")[0]
    for node in nodes or ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(filter(None, [*above, base]))
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                found.add(str(node.args[0].value))
    return found


def inside(module: str, *packages: str) -> bool:
    """Whether a module is one of these packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def part(folder: str) -> list[str]:
    return [name for name in TREES if name.startswith(f"{folder}/")]


def offenders(names: list[str], *forbidden: str) -> list[str]:
    return sorted(f"{n} imports {m}" for n in names for m in imported(n) if inside(m, *forbidden))


def test_the_walk_sees_the_house():
    assert {"matgl_infomax/host.py", "matgl_infomax/nn/sitenet.py", "tasks/demo.py"} <= set(TREES)
    assert inside("matgl.models", "matgl")
    assert not inside("matgl_infomax.data", "matgl")
    assert any(inside(m, *HOST) for m in imported("matgl_infomax/host.py")), "the walk finds no import of MatGL at all"


def test_only_host_imports_the_graph_libraries():
    assert offenders([n for n in TREES if n != "matgl_infomax/host.py"], *HOST) == []


def test_core_never_imports_tasks_or_leaderboard():
    assert offenders([n for n in part("matgl_infomax") if n not in DOORS], *UPSTAIRS) == []


@pytest.mark.parametrize("name", sorted(DOORS))
def test_the_doors_open_only_when_asked(name):
    """Neither door imports the upper floors, or anything heavy, while it is itself imported."""
    at_import = imported(name, _run_at_import(TREES[name]))
    assert [m for m in at_import if inside(m, *UPSTAIRS, *HOST, "torch", "lightning", "pymatgen")] == []


def _run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _run_at_import(node)


def test_an_objective_never_imports_a_model():
    assert offenders(part("matgl_infomax/objectives"), "matgl_infomax.nn.sitenet", "matgl_infomax.host") == []


def test_leaderboard_names_no_torch():
    assert offenders(part("leaderboard"), "torch", "lightning", "matgl_infomax.nn", "matgl_infomax.train", *HOST) == []


def test_leaderboard_works_without_torch():
    """Everything a leaderboard module drags in, not only what it names, does without torch."""
    modules = [module_of(n) for n in part("leaderboard")]
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


def test_nobody_imports_the_bare_folders():
    assert offenders(list(TREES), "tasks", "leaderboard") == []


def test_files_are_short():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 700} == {}


def test_functions_are_short():
    long = [
        f"{name}: {node.name}, {lines} lines"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > 50
    ]
    assert not long, "\n".join(long)


def test_no_error_is_swallowed():
    """No bare except, and no handler that does nothing at all."""
    bad = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(line, ast.Pass) or _is_ellipsis(line) for line in node.body))
    ]
    assert not bad, "\n".join(bad)


def _is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def test_everything_public_says_what_it_is():
    silent = [f"{name}: {what}" for name, tree in TREES.items() for what in _silent(tree, name)]
    assert not silent, "\n".join(silent)


def _silent(tree: ast.Module, name: str) -> Iterator[str]:
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


def settings_classes() -> list[type]:
    from matgl_infomax import config, config_tasks  # noqa: F401 (its classes are found below)

    found, todo = set(), [config.Settings]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_unknown_settings_are_refused(kind):
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["frozen"]


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_every_setting_is_explained_and_read_somewhere(kind):
    """A field that no line of the house ever reads would be a dead setting."""
    read = {node.attr for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    fields = kind.model_fields
    assert [name for name in fields if name not in read] == []
    sections = {"model", "pretrain", "finetune"}
    assert [name for name, field in fields.items() if not field.description and name not in sections] == []


def test_no_path_of_one_machine_is_written_down():
    roots = tuple(f"/{name}/" for name in ("work", "root", "home", "Users", "opt"))
    texts = [*FILES, *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts += [ROOT / "Makefile", *(ROOT / ".ci").glob("*")]
    bad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(root in line for root in roots)
    ]
    assert not bad, "\n".join(bad)
