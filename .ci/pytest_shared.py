"""A pytest plugin for CI: how many tests ran on the shared data; a failure when they were skipped though it is there.

A test counts when it asks for the fixture ``shared`` or is skipped for want of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
_ran: set[str] = set()
_skipped: dict[str, str] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if "shared" in reason.lower():
        _skipped[item.nodeid] = reason
    elif report.when == "call" and not report.skipped and "shared" in getattr(item, "fixturenames", ()):
        _ran.add(item.nodeid)


def pytest_collectreport(report):
    """A whole file may be skipped for want of the data."""
    if report.skipped and isinstance(report.longrepr, tuple) and "shared" in report.longrepr[2].lower():
        _skipped[report.nodeid] = report.longrepr[2]


def pytest_sessionfinish(session, exitstatus):
    if SHARED.is_dir() and _skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    there = "is there" if SHARED.is_dir() else "is NOT there"
    line = f"SHARED DATA {there}: {len(_ran)} tests ran on it, {len(_skipped)} were skipped for want of it"
    bad = SHARED.is_dir() and bool(_skipped)
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{line}{': FAILED' if bad else ''}", red=bad, bold=True)
    for name, reason in _skipped.items() if bad else ():
        terminalreporter.write_line(f"  {name}: {reason}")
