"""A study or a training with other processes is stopped: all of them end, one sentence is said, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.test_cli import PROGRAM, table, words  # noqa: F401 - a fixture among them

LONG = ["--model.supercell-atoms", "12"]
CURVE = ["--labels", "6", "--seeds", "4", "--arms", "scratch", "--finetune.steps", "100000", "--workers", "2", *LONG]
TWO = ["--steps", "100000", "--validate-every", "5", "--batch-sites", "40", "--processes", "2", *LONG]


def processes_of(session):
    """Ids of the living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def listen():
    """Where tests run in the background, children would inherit deafness to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def busy(session, children):
    """Whether that many children of a command have computed for a while: two seconds of their processor time."""
    ticks = 2 * os.sysconf("SC_CLK_TCK")
    count = 0
    for process in processes_of(session):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += process != session and int(fields[11]) + int(fields[12]) > ticks
    return count >= children


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("command", "number", "everyone"),
    [
        ("curve", signal.SIGINT, True),
        ("curve", signal.SIGTERM, True),
        ("curve", signal.SIGTERM, False),
        ("curve", signal.SIGHUP, True),
        ("pretrain", signal.SIGINT, True),
        ("pretrain", signal.SIGHUP, True),
    ],
    ids=["curve-int", "curve-term", "curve-kill", "curve-hup", "pretrain-int", "pretrain-hup"],
)
def test_all_processes_end_with_one_sentence(command, number, everyone, table, tmp_path):  # noqa: F811
    """A terminal and a queue tell all processes, ``kill`` tells one."""
    more = ["--target", "y", *CURVE] if command == "curve" else TWO
    program = [*PROGRAM, command, *words(table, tmp_path, "--out", tmp_path / "run", *more)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(program, start_new_session=True, preexec_fn=listen, **streams)
    try:
        deadline = time.monotonic() + 200
        checkpoint = tmp_path / "run" / "last.ckpt"
        while not (busy(process.pid, 2) and (command == "curve" or checkpoint.is_file())):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        (os.killpg if everyone else os.kill)(process.pid, number)
        _, error = process.communicate(timeout=60)
        deadline = time.monotonic() + 20
        while processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of(process.pid) == []
    finally:
        for left in processes_of(process.pid):
            os.kill(left, signal.SIGKILL)
    assert process.returncode == 130
    last = error.strip().splitlines()[-1]
    assert last.startswith("matgl-infomax: stopped. Kept: ")
    assert f"The same command goes on where it was: matgl-infomax {command} --data {table}" in last
    if command == "pretrain":
        assert f"Kept: {checkpoint}." in last
    assert not [word for word in ("Traceback", "leaked", "resource_tracker", "abruptly") if word in error]
    assert (tmp_path / "run" / "settings.yaml").is_file()
