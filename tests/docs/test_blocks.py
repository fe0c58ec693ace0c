"""Every code block of the site runs, page by page, on generated crystals and with few steps."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from matgl_infomax import cli
from tests.docs.pages import DOCS, blocks, pages, setup_words

pytestmark = pytest.mark.slow

SMALLER = {
    r"(--(?:\w+\.)?steps) \d+": r"\1 4",
    r"(--(?:\w+\.)?validate-every) \d+": r"\1 2",
    r"\bsteps(=|: )\d+": r"steps\g<1>4",
    r"--seeds \d+": "--seeds 2",
    r"--labels 20 40": "--labels 20",
    r"demo_crystals\(150": "demo_crystals(60",
}
"""What is made smaller, so that all pages together take a minute; nothing else of a block is changed."""

RUNNABLE = [page for page in pages() if any(block.reason is None for block in blocks(page.read_text()))]


def smaller(code: str) -> str:
    for pattern, replacement in SMALLER.items():
        code = re.sub(pattern, replacement, code)
    return code


def commands(code: str) -> list[list[str]] | None:
    """The words of each command, if all of them are ``matgl-infomax`` and need no shell; else None."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [w[1:] for w in words] if all(w and w[0] == "matgl-infomax" for w in words) else None


def run_bash(code: str) -> None:
    """In this process where no shell is needed, which spares the start; else in bash."""
    found = commands(code)
    if found is None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, env={**os.environ, "PATH": path})
        return
    for words in found:
        assert cli.main(words) == 0, f"failed: matgl-infomax {shlex.join(words)}"


def write_crystals(folder: Path) -> None:
    """Sixty crystals in ``my_cifs`` and their energies in ``energies.csv``."""
    from matgl_infomax.tasks.studies.demo import demo_crystals

    (folder / "my_cifs").mkdir()
    lines = ["id,energy"]
    for number, crystal in enumerate(demo_crystals(60, seed=1, progress=False)):
        crystal.to_structure().to(str(folder / "my_cifs" / f"crystal{number}.cif"))
        lines.append(f"crystal{number},{crystal.labels['ewald_energy_ev_per_atom']}")
    (folder / "energies.csv").write_text("\n".join(lines))


def write_encoder(folder: Path) -> None:
    """A pretrained encoder in ``encoder``."""
    data = shlex.quote(str(folder / "my_cifs"))
    run_bash(f"matgl-infomax pretrain --data {data} --steps 2 --validate-every 1 --out {folder / 'encoder'}")


def write_frames(folder: Path) -> None:
    """Shaken copper with energies and forces in ``frames.extxyz``."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.io import write

    frames, rng = [], np.random.default_rng(0)
    for _ in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(folder / "frames.extxyz", frames)


WRITERS = {"crystals": write_crystals, "encoder": write_encoder, "frames": write_frames}


@pytest.fixture(scope="module")
def beginning(tmp_path_factory) -> Path:
    """What pages may ask for, made once: a folder for each word."""
    folder = tmp_path_factory.mktemp("beginning")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setenv("HOME", str(folder))
        for write in WRITERS.values():
            write(folder)
    return folder


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_blocks_of_a_page_run_in_order(page, beginning, tmp_path, monkeypatch):
    text = page.read_text()
    for word in setup_words(text):
        for name in {"crystals": ["my_cifs", "energies.csv"], "frames": ["frames.extxyz"]}.get(word, [word]):
            source = beginning / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(beginning))  # prepared crystals are shared by all pages
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(text):
        if block.reason is not None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            if block.language == "bash":
                run_bash(smaller(block.code))
            else:
                exec(compile(smaller(block.code), str(page), "exec"), names)
    if "getting_started" in page.name:
        assert (tmp_path / "study" / "verdict.json").is_file()
        assert len((tmp_path / "predicted.csv").read_text().splitlines()) == 61


def test_a_block_that_does_not_run_says_why():
    bare = [page.name for page in pages() for block in blocks(page.read_text()) if block.reason == ""]
    assert bare == []


def test_only_blocks_that_need_something_else_are_left_out():
    """Most blocks run; the others need official data, a cluster, or an environment that is being built."""
    all_blocks = [block for page in pages() for block in blocks(page.read_text())]
    left_out = [block for block in all_blocks if block.reason]
    assert len(all_blocks) - len(left_out) >= 15
    assert all(len(block.reason.split()) >= 5 for block in left_out)


def test_every_language_that_a_page_shows_is_known():
    """A fence with another language, or none, would never run unnoticed."""
    shown = {
        language
        for page in pages()
        for language in re.findall(r"^```(\S*)\n(?!\Z)", page.read_text(), re.MULTILINE)
        if not language.startswith("{")
    }
    assert shown <= {"", "bash", "python", "text", "yaml"}


def test_what_is_made_smaller_is_there():
    """A pattern that fits nothing would be forgotten."""
    text = "\n".join(page.read_text() for page in pages())
    assert [pattern for pattern in SMALLER if not re.search(pattern, text)] == []
