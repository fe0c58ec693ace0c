"""Exit codes: what a user can repair is one sentence and 2, Ctrl-C is 130, and a programming error stays one."""

from __future__ import annotations

import errno
import shlex
import signal
import subprocess
import sys

import pytest

from matgl_infomax.errors import InputError, did_you_mean, exit_code


def raising(error: BaseException):
    def job() -> None:
        raise error

    return job


def test_a_job_that_is_done_says_nothing(capsys):
    done = []
    assert exit_code("prog", lambda: done.append(1)) == 0
    assert done == [1] and capsys.readouterr() == ("", "")


def test_a_mistake_is_one_sentence(capsys):
    assert exit_code("prog", raising(InputError("Received: 3. Give 4."))) == 2
    assert capsys.readouterr() == ("", "prog: Received: 3. Give 4.\n")
    assert issubclass(InputError, ValueError)


def test_ctrl_c_says_that_the_run_goes_on(capsys):
    assert exit_code("prog", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\nprog: stopped. The same command goes on where it was.\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_place_that_takes_no_file_is_told(number, capsys):
    assert exit_code("prog", raising(OSError(number, "No room", "/somewhere"))) == 2
    assert capsys.readouterr().err == "prog: cannot write /somewhere: No room.\n"
    assert exit_code("prog", raising(OSError(number, "No room"))) == 2
    assert capsys.readouterr().err == "prog: cannot write a file: No room.\n"


def test_no_home_folder_is_told(capsys):
    assert exit_code("prog", raising(RuntimeError("Could not determine home directory."))) == 2
    assert capsys.readouterr().err == "prog: no home folder is known. Set HOME to a folder, and give --cache.\n"


PROGRAM = """
import os, signal, sys, time
from matgl_infomax.errors import exit_code
def job():
    print("begun", flush=True)
    {body}
sys.exit(exit_code("prog", job))
"""


def started(body, **streams):
    # A job in the background of a shell ignores Ctrl-C, and its children would inherit that.
    streams.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    words = [sys.executable, "-c", PROGRAM.format(body=body)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **streams)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=["term", "hup", "int"])
def test_the_end_of_a_queue_or_terminal_is_that_of_ctrl_c(number):
    with started("time.sleep(60)") as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "\nprog: stopped. The same command goes on where it was.\n"


def test_what_nohup_ignores_stays_ignored():
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with started("os.kill(os.getpid(), signal.SIGHUP)", **ignore) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_reader_that_left_gets_no_traceback():
    with started("time.sleep(1); print('more ' * 100000)") as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141 and err == ""


def test_closed_streams_are_no_mistake():
    code = PROGRAM.format(body="print('x', file=sys.stderr); print('y')")
    words = ["sh", "-c", f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} >&- 2>&-"]
    assert subprocess.run(words, check=False).returncode == 0


def test_signals_are_handed_back():
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code("prog", lambda: None) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_misspelt_word_is_asked_for():
    assert did_you_mean("finetun", ["curve", "finetune"]) == " Did you mean 'finetune'?"
    assert did_you_mean("xyz", ["curve", "finetune"]) == ""


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("five"), SystemExit(3)])
def test_what_nobody_can_repair_is_not_hidden(error, capsys):
    with pytest.raises(type(error)) as found:
        exit_code("prog", raising(error))
    assert found.value is error and capsys.readouterr().err == ""
