"""Jobs happen in this process, in processes of one thread, or on a cluster; the cluster here only pretends."""

from __future__ import annotations

import os
import stat
import sys
import textwrap
import time
from pathlib import Path

import pytest

from matgl_infomax import workers
from matgl_infomax.errors import InputError
from matgl_infomax.workers import at_once, workers_here


def square(job):
    if job < 0:
        raise InputError(f"There is no root of {job}.")
    return job * job


def where(job):
    """Process of a job, and the threads that it may use."""
    import torch

    return job, os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def abrupt(job):
    os._exit(3)


def linger(job):
    time.sleep(300)


def test_one_worker_is_this_process(tmp_path):
    jobs = at_once(lambda job: (job, os.getpid()), [3, 1, 2], workers=1, launcher="local", folder=tmp_path)
    assert list(jobs) == [(job, os.getpid()) for job in (3, 1, 2)]


def test_several_workers_have_one_thread_each(tmp_path):
    found = sorted(at_once(where, [1, 2, 3], workers=2, launcher="local", folder=tmp_path))
    assert [job for job, *_ in found] == [1, 2, 3]
    assert {(threads, variable) for *_, threads, variable in found} == {(1, "1")}
    assert os.getpid() not in {process for _, process, *_ in found}


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_no_jobs_start_nothing(tmp_path, launcher):
    assert list(at_once(square, [], workers=4, launcher=launcher, folder=tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_a_folder_among_the_drafts_is_left_alone(tmp_path):
    (tmp_path / ".kept").mkdir()
    (tmp_path / ".draft").write_text("half")
    with pytest.raises(InputError, match="no root of -1"):
        list(at_once(square, [-1, 2], workers=2, launcher="local", folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".kept"]


def test_a_cluster_needs_few_processes_at_home():
    assert workers_here(3, "local") == 3
    assert workers_here(100_000, "slurm") == os.cpu_count()


def test_without_submitit_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'matgl-infomax\[slurm\]'"):
        list(at_once(square, [1], workers=2, launcher="slurm", folder=tmp_path))


def test_without_a_cluster_it_is_said(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="SLURM was not found here"):
        list(at_once(square, [1], workers=2, launcher="slurm", folder=tmp_path))


def test_what_a_job_refuses_travels_as_words(monkeypatch):
    """A cluster's job gives back words, for an error of ours would arrive as a trace."""
    import torch

    threads = torch.get_num_threads()
    for name in workers.THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    try:
        assert workers._alone(square, 3) == (9, None)
        assert workers._alone(square, -2) == (None, "There is no root of -2.")
        assert torch.get_num_threads() == 1 and {os.environ[name] for name in workers.THREAD_VARIABLES} == {"1"}
    finally:
        torch.set_num_threads(threads)


SBATCH = """
import os, re, subprocess, sys
script = sys.argv[1]
text = open(script).read()
open(os.path.join(HOME, "script"), "w").write(text)
found = re.search(r"--array=0-([0-9]+)%([0-9]+)", text)
tasks = range(int(found.group(1)) + 1) if found else [None]
for task in tasks:
    name = {"SLURM_JOB_ID": "77"} if task is None else {
        "SLURM_JOB_ID": str(78 + task), "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task)}
    place = {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "here",
             "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    process = subprocess.Popen(["bash", script], env={**os.environ, **place, **name}, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    label = "77" if task is None else f"77_{task}"
    open(os.path.join(HOME, label), "w").write(str(process.pid))
print("Submitted batch job 77")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
command = words[words.index("--unbuffered") + 1 + 2 * sum(word in ("--output", "--error") for word in words):]
os.execvp(command[0], command)
"""
SACCT = """
import os
print("JobID|State|NodeList")
for name in os.listdir(HOME):
    if name.startswith("77"):
        process = open(os.path.join(HOME, name)).read()
        try:
            state = open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            state = "Z"
        print(f"{name}|{'FAILED' if state == 'Z' else 'RUNNING'}|here")
"""
SCANCEL = """
import os, signal, sys
open(os.path.join(HOME, "cancelled"), "a").write(sys.argv[1] + "\\n")
try:
    os.killpg(int(open(os.path.join(HOME, sys.argv[1])).read()), signal.SIGKILL)
except ProcessLookupError:
    print("already gone")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """SLURM's commands, each of which only pretends; the folder of what they note."""
    submitit_slurm = pytest.importorskip("submitit.slurm.slurm")
    home, tools = tmp_path / "cluster", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    for name, code in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", SCANCEL)):
        text = f"#!{sys.executable}\nHOME = {str(home)!r}\n{textwrap.dedent(code)}"
        (tools / name).write_text(text)
        (tools / name).chmod((tools / name).stat().st_mode | stat.S_IXUSR)
    root = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.1)
    watcher = submitit_slurm.SlurmInfoWatcher(delay_s=1)
    monkeypatch.setattr(submitit_slurm.SlurmJob, "watcher", watcher)
    return home


def test_jobs_of_a_cluster_give_their_results(tmp_path, cluster):
    found = sorted(at_once(where, [4, 5], workers=7, launcher="slurm", folder=tmp_path / "out"))
    assert [(job, threads, variable) for job, _, threads, variable in found] == [(4, 1, "1"), (5, 1, "1")]
    assert os.getpid() not in {process for _, process, *_ in found}
    script = (cluster / "script").read_text()
    assert "--cpus-per-task=1" in script and "export OMP_NUM_THREADS=1" in script
    assert "--array=0-1%2" in script and "--time=720" in script
    assert not (cluster / "cancelled").exists()


def test_what_a_job_refuses_is_said_and_the_others_are_cancelled(tmp_path, cluster):
    with pytest.raises(InputError, match=r"^There is no root of -3\.$"):
        list(at_once(square_or_wait, [-3, 9], workers=2, launcher="slurm", folder=tmp_path / "out"))
    assert (cluster / "cancelled").read_text() == "77_1\n"


def square_or_wait(job):
    return square(job) if job < 5 else linger(job)


@pytest.mark.slow
def test_a_job_that_dies_on_the_cluster_is_said(tmp_path, cluster):
    with pytest.raises(InputError, match=r"Job 77(_0)? failed on the cluster .* Its log: .*err"):
        list(at_once(abrupt, [1], workers=2, launcher="slurm", folder=tmp_path / "out"))
