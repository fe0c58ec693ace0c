"""Bars, remarks and the log file: nothing is drawn where nobody sees it, and a log holds whole lines."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from matgl_infomax import console
from matgl_infomax.errors import InputError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_log_gets_whole_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(console, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    console._bars.cache_clear()
    assert list(console.progress_bar(range(3), desc="Reading", unit="file")) == [0, 1, 2]
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue() and lines[-1].startswith("Reading: 3 of 3 (file), 00:00 gone")


def test_short_jobs_are_not_worth_a_line(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    list(console.progress_bar(range(3)))
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    list(console.progress_bar(range(3), desc="Reading"))
    assert "\r" in seen.getvalue() and "3/3" in seen.getvalue()


@pytest.mark.parametrize("options", [{"quiet": True}, {"progress": False}])
def test_bars_are_switched_off_and_on_again(options, monkeypatch):
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    with console.opened(**options):
        list(console.progress_bar(range(3)))
    assert seen.getvalue() == ""
    list(console.progress_bar(range(3)))
    assert seen.getvalue() != ""


def test_no_bar_makes_a_semaphore():
    """A semaphore of a process that is killed would be reported as leaked."""
    code = (
        "import multiprocessing.resource_tracker as tracker\n"
        "names = []\n"
        "tracker.register = lambda name, kind: names.append(name)\n"
        "from matgl_infomax.console import progress_bar\n"
        "list(progress_bar(range(3)))\n"
        "print(names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_details_and_results_are_told_by_level(capsys):
    for options, expected in (({}, "result\n"), ({"verbose": True}, "result\ndetail\n"), ({"quiet": True}, "")):
        with console.opened(**options):
            console.announce("result")
            console.announce("detail", level=1)
        assert capsys.readouterr().out == expected
    assert console.verbosity() == 0


def test_loud_and_quiet_at_once_is_refused():
    with pytest.raises(InputError, match="not both"), console.opened(verbose=True, quiet=True):
        pass


def test_the_log_file_holds_all_that_was_told(tmp_path, monkeypatch, capsys):
    file = tmp_path / "new" / "log.txt"
    streams = sys.stdout, sys.stderr

    def job():
        console.announce("a result")
        console.say("a remark")
        sys.stderr.write("\r10 %\r20 %")
        sys.stderr.write("\r100 %\n")
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError), console.opened(log=file):
        job()
    assert (sys.stdout, sys.stderr) == streams
    lines = file.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  .*\S", line) for line in lines)
    told = [line[21:] for line in lines]
    assert told[:3] == ["a result", "matgl-infomax: a remark", "100 %"] and "a mistake of ours" in told[-1]
    shown = capsys.readouterr()
    assert shown.out == "a result\n" and shown.err.startswith("matgl-infomax: a remark\n\r10 %\r20 %\r100 %\n")
    with console.opened(log=file):
        console.announce("more")
    assert file.read_text().splitlines()[: len(lines)] == lines, "a log is added to"


def test_a_log_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match="Give another --log-file"), console.opened(log=tmp_path):
        pass
