"""Compiled loops are kept on disk, and still work where no folder can be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matgl_infomax

CODE = """
import numpy as np
from matgl_infomax.data.supercell import supercell_pairs
pairs = supercell_pairs(np.eye(3) * 3.0, np.zeros((1, 3)), 8)
print(len(pairs.src), sorted({round(float(d), 3) for d in pairs.distance}))
"""


def run(cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cache_folder_of_numba_is_used(tmp_path):
    first = run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    kept = list((tmp_path / "cache").rglob("*.nbc"))
    assert kept, "nothing was kept: every process would compile for itself"
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == times


def test_without_a_folder_to_write_to_it_still_works(tmp_path):
    """A system-wide installation used by somebody without a home: numba finds no place for its cache."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    home = str(blocked / "home")
    # The package's own folder is writable here, so numba must be told to look elsewhere: into a file.
    out = run(tmp_path, NUMBA_CACHE_DIR=str(blocked / "cache"), HOME=home, XDG_CACHE_HOME=home)
    assert out.startswith("8 [0.0, 3.0, 4.243, 5.196]")
    assert Path(matgl_infomax.__file__).is_file()
