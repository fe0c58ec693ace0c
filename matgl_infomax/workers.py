"""Many short jobs at the same time: processes of this machine, or jobs of a SLURM cluster; one thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import IO, Any, TypeVar, cast

from matgl_infomax.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

LONGEST_HOURS = 12
"""Time limit of a job on a cluster, where the environment variable SBATCH_TIMELIMIT names no other."""

ARRAY = 1000
"""Jobs handed in together; clusters refuse much longer arrays."""

LOOK_SECONDS = 5.0
"""Time between two looks for finished jobs of a cluster."""


def at_once(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int, launcher: str, folder: Path
) -> Generator[Result, None, None]:
    """Carry out jobs, several at a time, and give their results as they come.

    Closing the generator ends what is under way.

    Args:
        function: does one job; with more than one worker it has to be picklable.
        jobs: what to do.
        workers: jobs at the same time.
        launcher: ``local`` for processes of this machine (with one worker this very process, one job after the
            other), ``slurm`` for jobs of a cluster through submitit. There the folder has to be seen by all machines;
            partition, account, memory and time limit are those of SLURM's own variables, such as SBATCH_PARTITION.
        folder: where the jobs write; drafts that ended jobs left there are removed.

    Raises:
        InputError: If a job says so, a process or a job on the cluster ended abruptly, or submitit is missing.
    """
    if not jobs:
        return
    if launcher == "slurm":
        found = _on_cluster(function, jobs, workers, folder)
    elif workers == 1:
        found = (function(job) for job in jobs)
    else:
        found = _in_processes(function, jobs, min(workers, len(jobs)), folder)
    yield from found


def workers_here(workers: int, launcher: str) -> int:
    """Processes for what is prepared on this machine before jobs go to a cluster: no more than it has cores."""
    return workers if launcher == "local" else min(workers, os.cpu_count() or 1)


def _in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, folder: Path
) -> Generator[Result, None, None]:
    """Several jobs at the same time, each in a process with one thread."""
    context = multiprocessing.get_context("spawn")
    with endings_wait():
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(function,))
    before = set(multiprocessing.active_children())
    done = False
    try:
        with endings_wait():
            futures = [pool.submit(_one, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
        done = True
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process ended abruptly, most often for lack of memory. Finished runs are kept: "
            f"start again with fewer --workers. Received: {workers}."
        ) from error
    finally:
        if not done:
            # Runs under way would go on for minutes after Ctrl-C or an error. Their files are whole or absent, and
            # Lightning would answer a polite signal only after some more steps.
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
        pool.shutdown(cancel_futures=True)
        for draft in folder.glob(".*") if not done else ():
            if draft.is_file():
                draft.unlink(missing_ok=True)


ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends a job from outside: Ctrl-C, a queue, a terminal that goes; Windows has no SIGHUP."""


@contextlib.contextmanager
def endings_wait() -> Iterator[None]:
    """Within the block, what ends a job is heard by nobody; afterwards by this process alone.

    Processes that are started here inherit it, the one that clears away semaphores among them: a terminal and a queue
    end all processes at once, and the children would go first, with tracebacks or as if memory had run out.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        # The process that clears away semaphores lets Ctrl-C through again when it is started: so it comes first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_function: Callable[[Any], Any] | None = None
"""In a worker process: what does its jobs. It comes once with the process, for a study may be large."""


def _start_worker(function: Callable[[Any], Any]) -> None:
    """One thread per process; endings are the parent's affair, and without a parent there is nothing left to do."""
    global _function
    _function = function
    leave_to_parent(ENDINGS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _one_thread()


def leave_to_parent(endings: Iterable[int]) -> None:
    """Do nothing about these signals in this process: its parent hears them too, and ends it."""
    for number in endings:
        signal.signal(number, _nothing)
        if hasattr(signal, "pthread_sigmask"):
            # It was blocked while this process started; what it starts itself has to hear it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing about a signal. Unlike one that is ignored, it is not passed on to what this process starts."""


def _one(job: Any) -> Any:
    """One job in a worker process."""
    if _function is None:
        raise ValueError("this process was not told what its jobs are")
    return _function(job)


def _one_thread() -> None:
    """Let this process, and those it starts, compute with one thread."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def _end_with_parent() -> None:
    """End this process when its parent was killed; idle workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _on_cluster(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, folder: Path
) -> Generator[Result, None, None]:
    """Jobs of a cluster; results are fetched as jobs end, and what is under way is cancelled when nobody waits."""
    executor = _executor(folder, workers)
    waiting: list[Any] = []
    try:
        for start in range(0, len(jobs), ARRAY):
            waiting += executor.map_array(partial(_alone, function), jobs[start : start + ARRAY])
        while waiting:
            ended = [job for job in waiting if job.done()]
            for job in ended:
                waiting.remove(job)
                yield _result(job)
            if waiting and not ended:
                time.sleep(LOOK_SECONDS)
    finally:
        for job in waiting:
            job.cancel()


def _executor(folder: Path, workers: int) -> Any:
    """What hands jobs to SLURM.

    Raises:
        InputError: If submitit is missing, or this machine does not belong to a cluster.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "Jobs go to SLURM through submitit, which is not installed: pip install 'matgl-infomax[slurm]'. "
            "Or leave out --launcher slurm."
        ) from error
    try:
        executor = submitit.AutoExecutor(folder / "slurm", cluster="slurm")
    except RuntimeError as error:
        raise InputError(f"SLURM was not found here ({error}). Start on a machine of the cluster.") from error
    executor.update_parameters(
        name="matgl-infomax",
        timeout_min=60 * LONGEST_HOURS,
        cpus_per_task=1,
        slurm_array_parallelism=workers,
        slurm_setup=[f"export {name}=1" for name in THREAD_VARIABLES],
    )
    return executor


def _alone(function: Callable[[Job], Result], job: Job) -> tuple[Result | None, str | None]:
    """One job in a process of its own on a cluster: its result, or what the user has to repair."""
    _one_thread()
    try:
        return function(job), None
    except InputError as error:
        return None, str(error)


def _result(job: Any) -> Any:
    """What a job on the cluster gave back.

    Raises:
        InputError: If it failed; where its log is.
    """
    error = job.exception()
    if error is not None:
        lines = [line for line in str(error).strip().splitlines() if line.strip(" -")]
        raise InputError(
            f"Job {job.job_id} failed on the cluster ({lines[0] if lines else type(error).__name__}). Finished runs "
            f"are kept. Its log: {job.paths.stderr}"
        )
    result, complaint = job.result()
    if complaint is not None:
        raise InputError(complaint)
    return result


# Processes that do jobs for this one: plain interpreters that talk through pipes and end when this process ends.
#
# Python's own pools run the caller's script again in every process, so a script without the guard
# ``if __name__ == "__main__"`` fails; and when the caller is killed, their processes wait for ever.


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], processes: int
) -> Generator[Any, None, None]:
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
    command = [sys.executable, "-m", "matgl_infomax.workers"]
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
            "take fewer at a time (--prepare-processes, or --workers of a study). What is finished is kept."
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
