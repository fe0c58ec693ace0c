"""Every example runs as it stands in a fresh process, prints what it promises and leaves a picture to look at."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
SAYS = {
    "finetune_own_crystals": r"60 crystals, 40 with a measured energy\n.* on 20 new crystals: (?P<error>\S+) eV/atom",
    "pretrain_and_finetune": r"weights of step \d+ are kept.*\nLiCl rocksalt: predicted -\d.*, true -4.90 eV/atom",
    "megnet_head_start": r"MatGL opened a matgl MEGNet, untrained head says -?\d",
    "map_of_crystals": r"60 crystals, 128 numbers each\ntwo components hold \d+% of the variance",
    "compare_two_arms": r"(?s)\| 20 \|.*(Yes|No|Cannot tell).*- 20 labels: finetuned .* ratio \d",
    "force_field_with_ase": r"force error (?P<error>\S+) eV/angstrom, mean size of a component (?P<bar>\S+)",
    "own_objective": r"loss (?P<bar>\S+) at the first step, (?P<error>\S+) in the last ten",
}
"""What an example prints, with an error and the bar that it stays under where it names them."""
MEDIAN_GUESS = 0.53
"""Error of the median of the energies of the sixty salts, eV/atom: what needs no model."""
RUN = """
import json, runpy, sys, warnings
import matplotlib.pyplot as plt
shown = []
plt.show = lambda: shown.extend(figure.axes[0].has_data() for figure in map(plt.figure, plt.get_fignums()))
runpy.run_path(sys.argv[1], run_name="__main__")
print(json.dumps(shown))
"""
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_every_example_is_known_here():
    assert set(EXAMPLES) == set(SAYS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_page_of_the_gallery(name):
    """A title underlined, cells with text, a warning about its size, and no more than a page or so."""
    text = (FOLDER / f"{name}.py").read_text()
    title, line, *rest = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert set(line) == {"="} and len(line) == len(title) and len(" ".join(rest)) > 100
    assert text.count("\n# %%\n# ") >= 2
    # Lines of code and comment: neither blank ones nor the text above the first import count.
    below = text.split('"""', 2)[2].splitlines()
    assert 20 <= sum(bool(line.strip()) for line in below) <= 60
    sentences = re.split(r"(?<=[.?!:])\s+", " ".join(" ".join(rest).split()))
    assert [s for s in sentences if len(s.split()) > 30] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_shows_something(name, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(FOLDER / f"{name}.py")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = re.search(SAYS[name], done.stdout)
    assert said, done.stdout
    numbers = {key: float(value) for key, value in said.groupdict().items()}
    assert numbers.get("error", 0.0) < numbers.get("bar", MEDIAN_GUESS)
    assert json.loads(done.stdout.splitlines()[-1]) == [True], "one picture with something in it"
