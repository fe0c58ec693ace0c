"""``python -m matgl_infomax`` is the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("words", "code", "said"), [(["--version"], 0, "0."), (["fly"], 2, "invalid choice: 'fly'")])
def test_the_package_runs_as_a_module(words, code, said):
    done = subprocess.run([sys.executable, "-m", "matgl_infomax", *words], capture_output=True, text=True)
    assert done.returncode == code and said in (done.stdout + done.stderr).lower()
