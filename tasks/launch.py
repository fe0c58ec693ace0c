"""Many short jobs at the same time: processes of this machine, or jobs of a SLURM cluster; one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(function,))
    before = set(multiprocessing.active_children())
    done = False
    try:
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


_function: Callable[[Any], Any] | None = None
"""In a worker process: what does its jobs. It comes once with the process, for a study may be large."""


def _start_worker(function: Callable[[Any], Any]) -> None:
    """One thread per process; Ctrl-C is the parent's affair, and without a parent there is nothing left to do."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _one_thread()


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
