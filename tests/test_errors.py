"""Exit codes: what a user can repair is one sentence and 2, Ctrl-C is 130, and a programming error stays one."""

from __future__ import annotations

import errno

import pytest

from matgl_infomax.errors import InputError, exit_code


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


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("five"), SystemExit(3)])
def test_what_nobody_can_repair_is_not_hidden(error, capsys):
    with pytest.raises(type(error)) as found:
        exit_code("prog", raising(error))
    assert found.value is error and capsys.readouterr().err == ""
