"""Scripts beside kept results say where they come from, their imports still exist, and they explain themselves."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.helpers.kept_results import RESULTS, ROOT

SCRIPTS = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.py"))


def run(script: str, *words: object) -> str:
    command = [sys.executable, str(RESULTS / script), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scripts_are_python_files():
    assert {"recipe/corpus.py", "recipe/screen.py"} <= set(SCRIPTS)
    assert list(RESULTS.rglob("*.py.txt")) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_when_and_with_what_it_was_run(script):
    said = ast.get_docstring(ast.parse((RESULTS / script).read_text())) or ""
    assert "of commit " in said and "It needs" in said.replace("\n", " ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_still_imports_and_explains_itself(script):
    """``--help`` comes after all imports, so it fails where a module of ours has moved away."""
    assert run(script, "--help").startswith("usage: ")


@pytest.mark.slow
def test_the_corpus_is_made_again_as_it_was(shared, tmp_path):
    """The counts that the text gives."""
    run("recipe/corpus.py", shared / "data", "--out", tmp_path)
    rows = {name: len(pd.read_parquet(tmp_path / f"{name}.parquet")) for name in ("corpus", "screen", "corpus2")}
    assert rows == {"corpus": 27166, "screen": 2500, "corpus2": 24666}
    text = (RESULTS / "recipe" / "README.md").read_text()
    assert all(f"{rows[name]:,}" in text for name in rows)


@pytest.mark.slow
def test_the_screening_runs_on_a_few_crystals(tmp_path):
    """Pretraining, frozen vectors and one fine-tuning by the parts that a campaign starts."""
    from matgl_infomax.tasks.matbench.task import kfolds
    from matgl_infomax.tasks.studies.demo import TARGET, demo_crystals, write_crystals

    write_crystals(demo_crystals(90, seed=0, progress=False), tmp_path / "made.parquet")
    frame = pd.read_parquet(tmp_path / "made.parquet").rename(columns={"id": "mbid", TARGET: "e_form"})
    index = np.concatenate([kfolds(132752)[fold].test[:30] for fold in (1, 2, 3)])
    frame.assign(index=index, **{"gap pbe": 1.0 + np.arange(90.0)}).to_parquet(tmp_path / "joined.parquet")
    places = [tmp_path / "lab", "MODE", tmp_path / "joined.parquet"]

    def part(mode: str, *more: object) -> str:
        return run("recipe/screen.py", places[0], mode, places[2], *more)

    assert "4 steps" in part("pretrain", "d", '{"objective": "denoise", "batch_sites": 40, "steps": 4, "seconds": 99}')
    part("frozen", "d", "{}")
    (tmp_path / "jobs.json").write_text(
        '[{"id": 0, "name": "d", "prop": "e", "n": 20, "seed": 0, "ft": {"steps": 4, "validate_every": 2}}]'
    )
    part("finetune", tmp_path / "jobs.json", 0, 1)
    frozen = pd.read_json(tmp_path / "lab" / "frozen-d.json")
    assert set(frozen["n"]) == {50} and len(frozen) == 2 * 8 and (frozen[["ridge", "gp"]] > 0).all(axis=None)
    assert pd.read_json(tmp_path / "lab" / "ft-0.json", typ="series")["mae"] > 0


def test_results_are_not_shipped():
    """The list of what a wheel leaves out names them."""
    assert '"results"' in (ROOT / ".ci" / "check_wheel.py").read_text()
