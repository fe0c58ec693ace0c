"""Processes that do jobs for this one: plain interpreters that talk through pipes and end when this process ends.

Python's own pools run the caller's script again in every process, so a script without the guard
``if __name__ == "__main__"`` fails; and when the caller is killed, their processes wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import wait
from typing import IO, Any, cast

from matgl_infomax.errors import InputError


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], processes: int) -> Iterator[Any]:
    """Call a function for many arguments in other processes; results come in the order in which they are ready.

    Args:
        function: a function of a module.
        jobs: its arguments, one tuple per call; made one by one, never all at once.
        processes: processes at the same time.

    Raises:
        InputError: If a process was killed, for example because memory ran out.
        Exception: What the function raised.
    """
    waiting = iter(jobs)
    with contextlib.ExitStack() as stack:
        busy: dict[Any, subprocess.Popen[bytes]] = {}
        for job in islice(waiting, processes):
            process = stack.enter_context(_started())
            _send(process, (function, *job))
            busy[process.stdout] = process
        # One job is held ready, so that nobody waits while it is made.
        following = next(waiting, None)
        while busy:
            for ready in cast("list[Any]", wait(list(busy))):
                process = busy.pop(ready)
                result = _received(process)
                if following is not None:
                    _send(process, (function, *following))
                    busy[ready] = process
                    following = next(waiting, None)
                yield result


@contextlib.contextmanager
def _started() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for jobs, killed on the way out whatever happened."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # One thread each: there is a process for every core.
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "matgl_infomax.data.crew"]
    # A session of its own: Ctrl-C reaches this process alone, which then ends the others.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        process.wait()


def _close(pipe: IO[bytes] | None) -> None:
    """Close a pipe; what could not be sent any more is of no interest."""
    with contextlib.suppress(OSError):
        if pipe is not None:
            pipe.close()


def _send(process: subprocess.Popen[bytes], job: tuple[Any, ...]) -> None:
    """Hand over a job; a process that is gone is noticed when its answer is read."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(job, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()


def _received(process: subprocess.Popen[bytes]) -> Any:
    """The answer of a process, or the error it met."""
    assert process.stdout is not None
    try:
        good, value = pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        code = process.wait()
        raise InputError(
            f"A process that prepares crystals was stopped (exit code {code}). If memory ran out, "
            "prepare with fewer at a time (--prepare-processes). What is finished is kept."
        ) from error
    if not good:
        raise value
    return value


def _serve() -> None:
    """Do jobs until nobody sends any."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    while True:
        try:
            function, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised again by the receiver
            answer = (False, error)
        try:
            data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - some errors cannot travel; their text can
            data = pickle.dumps((False, RuntimeError(repr(answer[1]))), pickle.HIGHEST_PROTOCOL)
        answers.write(data)
        answers.flush()


if __name__ == "__main__":
    _serve()
