"""CONTRIBUTING.md followed to the letter, in a copy of the repository: what it adds works and passes the contracts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from matgl_infomax.tasks.studies.demo import TARGET, demo_crystals, write_crystals

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FILE_BLOCK = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def section(name: str) -> list[tuple[str, str, str]]:
    """Blocks of a section: the file that a block stands for (none for one that is run), its language, its text."""
    text = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    return FILE_BLOCK.findall(text)


def change(file: Path, diff: str) -> None:
    """Apply a block of kept, old and new lines: a new line follows the line above it, or takes the old one's place."""
    lines = file.read_text().splitlines()
    place = None
    for line in diff.splitlines():
        sign, text = line[0], line[1:]
        if sign == "+":
            assert place is not None, f"no line above {text!r}"
            lines.insert(place, text)
            place += 1
            continue
        assert lines.count(text) == 1, f"{file.name} has {lines.count(text)} lines {text!r}"
        place = lines.index(text) + 1
        if sign == "-":
            place -= 1
            del lines[place]
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the repository in which ``matgl_infomax`` holds all three packages, with data to work on."""
    root = tmp_path_factory.mktemp("clone")
    skip = shutil.ignore_patterns("__pycache__", "results", "*.nbi", "*.nbc")
    for name in ("matgl_infomax", "tasks", "leaderboard", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", root)
    for name in ("tasks", "leaderboard"):
        (root / "matgl_infomax" / name).symlink_to(root / name)
    crystals = demo_crystals(40, seed=0, progress=False)
    write_crystals(crystals, root / "crystals.parquet")
    table = pd.read_parquet(root / "crystals.parquet").drop(columns="id")
    names = [f"mb-melting-{row + 1:02d}" for row in range(len(table))]
    table = table.rename(columns={TARGET: "melting_point"}).assign(mbid=names)
    table.to_parquet(root / "melting.parquet")
    return root


def follow(root: Path, name: str) -> str:
    """Do what a section says, block by block; what the commands printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "HOME": str(root)}
    environment |= {"NUMBA_CACHE_DIR": str(root / "numba"), "PYTHONPATH": str(root)}
    program = f'python() {{ "{sys.executable}" "$@"; }}; matgl-infomax() {{ python -m matgl_infomax.cli "$@"; }}\n'
    said = ""
    for file, language, text in section(name):
        if language == "diff":
            change(root / file, text)
        elif file:
            assert not (root / file).exists(), f"{file} is there already"
            (root / file).write_text(text)
        else:
            code = {"bash": ["bash", "-euc", program + text], "python": [sys.executable, "-c", text]}[language]
            done = subprocess.run(code, cwd=root, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            said += done.stdout
    return said


@pytest.mark.slow
def test_an_objective_is_added(clone):
    said = follow(clone, "Add an objective")
    assert re.search(r"^1[24] passed", said, re.MULTILINE), said
    assert (clone / "neighbours" / "model.json").is_file()


@pytest.mark.slow
def test_an_encoder_is_added(clone):
    said = follow(clone, "Add an encoder")
    contracts = re.search(r"(\d+) passed", said)
    assert contracts and int(contracts[1]) >= 15 and "failed" not in said
    assert "(40, 9)" in said, "a column for the id and eight numbers for each crystal"


@pytest.mark.slow
def test_a_task_and_its_study_are_added(clone):
    follow(clone, "Add a task")
    follow(clone, "Add a study")
    for name in ("melting", "melting_few"):
        runs = pd.read_csv(clone / name / "curve.csv")
        assert set(runs["task"]) == {"matbench_melting"} and set(runs["labels_asked"]) == {10}
        assert len(runs) == 4 and (runs["mae"] > 0).all()
    # The same task, masks and arms by name or by options: the same numbers.
    first, second = (pd.read_csv(clone / name / "curve.csv")["mae"] for name in ("melting", "melting_few"))
    assert first.tolist() == second.tolist()


def test_a_change_that_does_not_fit_is_refused(tmp_path):
    """The reader of the page notices a line that the file does not have: the page would be out of date."""
    (tmp_path / "a.py").write_text("one\ntwo\n")
    change(tmp_path / "a.py", " one\n+new\n-two\n+2\n")
    assert (tmp_path / "a.py").read_text() == "one\nnew\n2\n"
    with pytest.raises(AssertionError, match="has 0 lines 'two'"):
        change(tmp_path / "a.py", " two\n+three\n")
