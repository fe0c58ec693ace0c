"""Tests in a fork of this process, with another text in the place of one source file.

A fresh Python would spend six seconds on imports. Here one process imports the libraries once; a fork of it loads the
other text from a temporary file, under the name of the real module, and runs pytest. The working tree stays as it is.

What the machine does to a fork is told from what its tests say. Only a test that fails, an import that breaks, or a
process that crashes or never ends by its own fault is an answer.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from tests.house import CORE, ROOT, House, module_of

TEST_SECONDS = 60
"""Longest time of one test, of the processor. Loops that a mutant made endless end here, compiled ones too."""

SECONDS = 1200
"""Longest time for one mutant, by the clock. Who waits that long was held up by the machine, as far as one can tell."""

MEMORY_BYTES = 8 << 30
"""Most memory of one mutant."""

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU)
"""Signals by which the process of a mutant ends through its own fault; the last one says that its time is over."""

CONFTEST = "conftest"
"""Stands in the place of a file of tests where not even ``conftest.py`` can be imported."""

IMPORT = " (import)"
"""Stands behind the file whose import a mutant breaks."""


@dataclass(frozen=True)
class Answer:
    """How tests ended.

    Attributes:
        kind: "passed"; "failed", a test did; "import", a file of tests cannot be imported; "crashed", the process did;
            or "not run", which says nothing about a mutant.
        what: the test, the file, or the reason.
        signal: by which the process crashed.
    """

    kind: str
    what: str = ""
    signal: str = ""

    def __str__(self) -> str:
        if self.kind == "import":
            return f"{self.what}{IMPORT}"
        return f"{self.what} ({self.signal})" if self.signal else self.what or self.kind


class _Served:
    """Finder of modules that gives the mutant's file under the real module's name."""

    def __init__(self, path: str, file: Path) -> None:
        self.name, self.file = module_of(path), file
        self.folder = [str((ROOT / path).parent)] if path.endswith("__init__.py") else None

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, submodule_search_locations=self.folder)


class _Watch:
    """Pytest plugin: notes which tests there are, which one runs, and the first that failed.

    A test that wants more memory than there is has not failed: that is a matter of the machine.
    """

    def __init__(self, scratch: Path, seconds: float) -> None:
        self.running, self.seconds = scratch / "running", seconds
        self.there: list[str] = []
        self.passed, self.failed, self.imports, self.memory = 0, "", "", ""

    def pytest_collection_finish(self, session: Any) -> None:
        self.there = [item.nodeid for item in session.items]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running.write_text(nodeid)
        _give_seconds(self.seconds)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        value = call.excinfo and call.excinfo.value
        if isinstance(value, MemoryError) or "can't allocate memory" in str(value):
            self.memory = self.memory or item.nodeid

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.passed += report.passed and report.when == "call"
        if report.failed and report.nodeid != self.memory:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and "MemoryError" in str(report.longrepr):
            self.memory = self.memory or report.nodeid
        elif report.failed:
            self.imports = self.imports or report.nodeid

    def answer(self, code: int) -> Answer:
        """How it ended.

        Args:
            code: what pytest returned. With 4 not even ``conftest.py`` could be imported, or a test is not there.
        """
        if self.failed:
            return Answer("failed", self.failed)
        if self.memory:
            return Answer("not run", f"{self.memory} needs more memory than there is")
        if self.imports or code == pytest.ExitCode.USAGE_ERROR:
            return Answer("import", self.imports or CONFTEST)
        if code == pytest.ExitCode.OK and self.passed:
            return Answer("passed")
        return Answer("not run", f"pytest ended with {int(code)}, and {self.passed} tests passed")


def _give_seconds(more: float) -> None:
    """End this process when it has used so much more time of the processor."""
    until = int(time.process_time() + more) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


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


def run_forked(
    tests: Sequence[str],
    path: str = "",
    text: str = "",
    *,
    test_seconds: float = TEST_SECONDS,
    without: Sequence[str] = (),
) -> Answer:
    """Run tests in a fork of this process.

    Args:
        tests: files or single tests, in their order; the first failure ends the run.
        path: file of the source that is replaced; empty for none.
        text: what stands in its place.
        test_seconds: longest time of one test, of the processor: on a busy machine it is no shorter.
        without: tests that are left out.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        scratch = Path(folder)
        answer, running = scratch / "answer", scratch / "running"
        try:
            child = os.fork()
        except OSError as error:
            return Answer("not run", f"no further process: {error}")
        if child == 0:
            _in_fork([*tests, *(f"--deselect={test}" for test in without)], path, text, scratch, test_seconds)
        until, late = time.monotonic() + SECONDS, ""
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                ended, late = os.waitpid(child, 0), f", after {SECONDS} s by the clock"
                break
            time.sleep(0.02)
        status = os.waitstatus_to_exitcode(ended[1])
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it started and did not end
        now = running.read_text() if running.exists() else ""
        if answer.exists():
            found = Answer(**json.loads(answer.read_text()))
        elif -status in CRASHES:
            found = Answer("crashed", now, signal.Signals(-status).name)
        else:
            found = Answer("not run", f"ended with {status} in {now or 'no test'}{late}")
        shutil.rmtree(scratch / "tmp", ignore_errors=True)
    return found


def _in_fork(arguments: Sequence[str], path: str, text: str, scratch: Path, test_seconds: float) -> None:
    """Run the tests in the forked process, which ends here."""
    try:
        os.setsid()
        log = os.open(scratch / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _give_seconds(test_seconds)  # for the imports
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # What a mutant asks for without end is refused here, before the machine ends other processes for it.
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
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
        watch = _Watch(scratch, test_seconds)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        # A test has its time of the processor instead.
        options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=0"]
        # Further processes, which some tests start, do not have the mutant.
        options += ["-m", "not slow", "-k", "not two_processes", "--basetemp", str(scratch / "tmp")]
        code = pytest.main([*options, *arguments], plugins=[watch])
        if "--collect-only" in arguments and code == pytest.ExitCode.OK:
            found = Answer("passed", "\n".join(watch.there))
        else:
            found = watch.answer(code)
        # In one step: a process that is ended while it writes has given no answer.
        (scratch / "draft").write_text(json.dumps(asdict(found)))
        (scratch / "draft").rename(scratch / "answer")
    finally:
        os._exit(0)
