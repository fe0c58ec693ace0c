"""Which backend MatGL gets, decided before it is imported."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from matgl_infomax import host
from matgl_infomax.errors import InputError
from matgl_infomax.host import choose_backend

Run = Callable[..., subprocess.CompletedProcess[str]]
IS_4 = host.MATGL_VERSION.startswith("4.")
SAY = "from matgl_infomax import host; print(host.BACKEND, host.MATGL_VERSION)"


def fine() -> None:
    """DGL works."""


def absent() -> str:
    """DGL does not."""
    return "dgl is not installed"


@pytest.mark.parametrize(
    ("wanted", "version", "problem", "chosen"),
    [
        (None, "3.0.5", fine, "DGL"),
        (None, "3.0.5", absent, "PYG"),
        ("", "3.0.5", fine, "DGL"),
        ("PYG", "3.0.5", fine, "PYG"),
        ("pyg", "3.0.5", fine, "PYG"),
        ("DGL", "3.0.5", fine, "DGL"),
        (None, "4.1.2", fine, "PYG"),
        ("PYG", "4.1.2", absent, "PYG"),
    ],
)
def test_choice(wanted: str | None, version: str, problem: Callable[[], str | None], chosen: str) -> None:
    assert choose_backend(wanted, version, problem, (3, 11)) == chosen


@pytest.mark.parametrize("python", [(3, 12), (3, 13)])
def test_matgl_3_without_dgl_on_a_python_that_has_none(python: tuple[int, int]) -> None:
    """Nobody asked for MatGL 3 on PyG there: it is what is left when DGL cannot be installed."""
    with pytest.raises(InputError, match=r"has no release for Python 3\.1[23], .* Install 'matgl-infomax\[pyg\]'"):
        choose_backend(None, "3.0.5", absent, python)
    assert choose_backend("PYG", "3.0.5", absent, python) == "PYG"
    assert choose_backend(None, "3.0.5", fine, python) == "DGL"
    assert choose_backend(None, "4.1.2", absent, python) == "PYG"


@pytest.mark.skipif(IS_4, reason="MatGL 4 asks for no DGL")
def test_the_command_says_so_and_exits_with_2(fresh_process: Run, tmp_path: Path) -> None:
    code = (
        "import sys\nimport matgl_infomax.graphs\nfrom matgl_infomax.errors import exit_code\n"
        "sys.modules['dgl'] = None\nsys.version_info = (3, 12, 0, 'final', 0)\n"
        "def job():\n    from matgl_infomax import host\n"
        "sys.exit(exit_code('matgl-infomax', job))"
    )
    done = fresh_process(code)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("matgl-infomax: MatGL 3.")
    assert "has no release for Python 3.12" in done.stderr


@pytest.mark.parametrize(
    ("wanted", "version", "problem", "says"),
    [
        ("JAX", "3.0.5", fine, "must be DGL or PYG. Received: 'JAX'"),
        ("JAX", "4.1.2", fine, "must be DGL or PYG"),
        ("DGL", "3.0.5", absent, r"dgl is not installed. Install dgl==1.1.3"),
        ("DGL", "4.1.2", fine, "MatGL 4.1.2 knows only PyG"),
    ],
)
def test_refusal(wanted: str, version: str, problem: Callable[[], str | None], says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_backend(wanted, version, problem)


def test_pyg_is_never_asked_whether_dgl_works() -> None:
    def unexpected() -> str:
        raise AssertionError("DGL was looked for")

    assert choose_backend("PYG", "3.0.5", unexpected) == "PYG"
    assert choose_backend(None, "4.1.2", unexpected) == "PYG"


def test_the_default_is_quiet_and_leaves_the_home_folder_alone(fresh_process: Run, tmp_path: Path) -> None:
    code = f"{SAY}\nimport warnings\nwarnings.warn('later ones are shown', DeprecationWarning)"
    done = fresh_process(code, "-W", "always")
    expected = "PYG" if IS_4 or find_spec("dgl") is None else "DGL"
    assert done.stdout == f"{expected} {host.MATGL_VERSION}\n"
    assert done.stderr == "<string>:3: DeprecationWarning: later ones are shown\n"
    assert not (tmp_path / "home" / ".dgl").exists()


def test_nonsense_is_refused(fresh_process: Run) -> None:
    done = fresh_process(SAY, MATGL_BACKEND="tensorflow")
    assert done.returncode != 0
    assert "InputError: MATGL_BACKEND must be DGL or PYG. Received: 'tensorflow'" in done.stderr


def test_a_matgl_that_runs_already_keeps_its_backend(fresh_process: Run) -> None:
    code = f"import matgl\nimport os\nos.environ['MATGL_BACKEND'] = 'DGL'\n{SAY}\nprint(os.environ['MATGL_BACKEND'])"
    done = fresh_process(code)
    assert done.stdout.split() == ["PYG", host.MATGL_VERSION, "PYG"], done.stderr


def test_dgl_asked_for_but_missing(fresh_process: Run) -> None:
    done = fresh_process(f"import sys\nsys.modules['dgl'] = None\n{SAY}", MATGL_BACKEND="DGL")
    assert "InputError: MATGL_BACKEND=DGL, but" in done.stderr
    assert "dgl==1.1.3" in done.stderr


def test_a_home_folder_that_cannot_be_written_gives_a_sentence(fresh_process: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = fresh_process(SAY, HOME=str(tmp_path / "file"))
    assert "InputError: MatGL could not start" in done.stderr
    assert "home folder" in done.stderr


def test_worker_processes_inherit_the_choice() -> None:
    assert os.environ["MATGL_BACKEND"] == host.BACKEND
