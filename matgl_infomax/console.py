"""What the user sees while something runs: bars, remarks, results, and a log file that keeps all of it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from matgl_infomax.errors import InputError

SWITCH = "TQDM_DISABLE"
"""Environment variable by which tqdm itself hides bars; processes that are started inherit it."""
LINE_SECONDS = 30.0
"""Seconds between two lines about the same job, where no terminal can show a bar."""
FIRST_SECONDS = 1.0
"""Jobs that are done within this time get no line in a log."""
LINE = "{desc}: {n_fmt} of {total_fmt} ({unit}), {elapsed} gone, {remaining} left"

_verbosity = 0


def verbosity() -> int:
    """How much is told: -1 problems alone, 0 results, 1 their details too."""
    return _verbosity


def say(sentence: str) -> None:
    """Tell the user something that is no mistake, where it does not get into tables or pipes."""
    sys.stderr.write(f"matgl-infomax: {sentence}\n")


def announce(text: str, *, level: int = 0) -> None:
    """Tell what was done.

    Args:
        text: one or more lines for the standard output.
        level: least verbosity at which it is told.
    """
    if _verbosity >= level:
        sys.stdout.write(f"{text}\n")


def progress_bar(items: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> Any:
    """A bar of tqdm: drawn in a terminal or a notebook, told in whole lines anywhere else.

    Args:
        items: what is walked through; none for a bar that is moved by hand.
        shown: whether there is anything to see.
        options: those of tqdm, such as ``total``, ``desc`` and ``unit``.
    """
    hidden = not shown or os.environ.get(SWITCH, "").lower() in ("1", "true")
    drawn = "ipykernel" in sys.modules or sys.stderr.isatty()
    return _bars()["drawn" if drawn else "lines"](items, disable=hidden, **options)


@cache
def _bars() -> dict[str, Any]:
    """The kinds of bars. tqdm is imported when the first one is asked for: commands have to answer quickly."""
    base: Any = import_module("tqdm.auto" if "ipykernel" in sys.modules else "tqdm").tqdm

    class Drawn(base):
        """A bar whose lock is one of threads.

        tqdm's own is also one of processes, a semaphore of the system, which a process that is ended leaves behind.
        """

    class Lines(Drawn):
        """A bar for a file: now and then a whole line, without carriage returns."""

        disable: bool

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options |= {"mininterval": LINE_SECONDS, "miniters": 1, "delay": FIRST_SECONDS, "bar_format": LINE}
            super().__init__(*arguments, **options)

        def display(self, msg: str | None = None, pos: int | None = None) -> Any:  # noqa: ARG002 - tqdm's signature
            """Write where the job is."""
            self.fp.write(f"{self}\n")
            self.fp.flush()
            return True

        def close(self) -> None:
            """Write where it ended, if it took a while."""
            if self.disable:
                return
            self.disable = True
            self._decr_instances(self)
            if self._time() - self.start_t >= FIRST_SECONDS:
                self.display()

    Drawn.set_lock(threading.RLock())
    return {"drawn": Drawn, "lines": Lines}


@contextlib.contextmanager
def opened(
    *, verbose: bool = False, quiet: bool = False, progress: bool = True, log: Path | None = None
) -> Iterator[None]:
    """Within the block, tell as much as is asked for, and keep a copy in a file.

    Args:
        verbose: tell details too.
        quiet: tell problems alone; no bars either.
        progress: show bars.
        log: file to which everything is added, with times; it stays without the states of a bar in between.

    Raises:
        InputError: If verbose and quiet are both asked for, or the log file cannot be written.
    """
    global _verbosity
    if verbose and quiet:
        raise InputError("Give --verbose or --quiet, not both.")
    before = _verbosity, os.environ.get(SWITCH)
    _verbosity = int(verbose) - int(quiet)
    if quiet or not progress:
        os.environ[SWITCH] = "1"
    try:
        with contextlib.nullcontext() if log is None else _copied(log):
            yield
    finally:
        _verbosity = before[0]
        if before[1] is None:
            os.environ.pop(SWITCH, None)
        else:
            os.environ[SWITCH] = before[1]


@contextlib.contextmanager
def _copied(log: Path) -> Iterator[None]:
    """Within the block, what is written to the terminal is also added to a file, tracebacks included."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write the log file {log}: {error.strerror}. Give another --log-file.") from error
    streams = sys.stdout, sys.stderr
    with file:
        copies = [_Copy(stream, file) for stream in streams]
        sys.stdout, sys.stderr = copies
        try:
            yield
        except Exception:
            traceback.print_exc(file=copies[1].lines)
            raise
        finally:
            for copy in copies:
                copy.lines.end()
            sys.stdout, sys.stderr = streams


class _Lines:
    """Whole lines with times; of what a carriage return wrote over, the last state alone."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.rest = file, ""

    def write(self, text: str) -> int:
        """Take some text; lines that are complete are written down."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            last = line.rstrip("\r").rpartition("\r")[2].rstrip()
            if last:
                self.file.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {last}\n")
        self.rest = self.rest[self.rest.rstrip("\r").rfind("\r") + 1 :]  # a bar would make it ever longer
        self.file.flush()
        return len(text)

    def end(self) -> None:
        """Write down what has no end of line."""
        if self.rest.strip():
            self.write("\n")


class _Copy:
    """A stream that hands on what is written, and keeps a copy; in all else it is the stream itself."""

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self.stream, self.lines = stream, _Lines(file)

    def write(self, text: str) -> int:
        """Write to both."""
        self.lines.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
