"""Jobs in other processes: answers, errors, deaths, and no hold on the caller's script."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.workers import run_jobs


def square(number):
    print("a library that prints")
    return os.getpid(), number * number


def fail(kind):
    if kind == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if kind == "stranger":
        raise type("Stranger", (Exception,), {})("cannot travel")
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_answer_comes_once_from_other_processes():
    answers = list(run_jobs(square, ((k,) for k in range(20)), 2))
    assert sorted(value for _, value in answers) == [k * k for k in range(20)]
    assert len({pid for pid, _ in answers} - {os.getpid()}) == 2


def test_jobs_are_made_as_they_are_needed():
    made = []
    jobs = ((made.append(k) or k,) for k in range(50))
    answers = run_jobs(square, jobs, 2)
    next(answers)
    assert len(made) <= 5
    answers.close()


def test_no_jobs_need_no_processes():
    assert list(run_jobs(square, iter([]), 2)) == []


def test_errors_come_back_as_they_were():
    with pytest.raises(OSError, match="No space left") as found:
        list(run_jobs(fail, [("disk",)], 1))
    assert found.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match="cannot travel"):
        list(run_jobs(fail, [("stranger",)], 1))


def test_killed_process_gets_a_sentence():
    with pytest.raises(InputError, match=r"exit code -9.*--prepare-processes"):
        list(run_jobs(fail, [("kill",)], 1))


def test_script_without_a_guard_may_use_all_cores(tmp_path):
    """With Python's own pools the processes would run this script again, and fail."""
    script = tmp_path / "script.py"
    script.write_text(
        "import json\n"
        "from matgl_infomax.workers import run_jobs\n"
        "print(list(run_jobs(json.dumps, [(k,) for k in range(3)], 1)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['0', '1', '2']\n", done.stderr
