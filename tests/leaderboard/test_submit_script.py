"""The script in a submission repeats the runs with their settings and arrives at the same results."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
import types

import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.submit import submit
from matgl_infomax.settings.commands import BenchmarkConfig, SubmitConfig
from tests.helpers.finished import PLACES, finished
from tests.leaderboard.test_submit import info_file, settings


@pytest.fixture
def asked(monkeypatch):
    """Benchmarks that are asked for are written down and answered at once."""
    calls: list[BenchmarkConfig] = []

    def benchmark(config):
        calls.append(config)
        finished(config.out, config.task, seeds=config.seeds, labels=config.labels, arm=config.arm)

    module = types.ModuleType("matgl_infomax.tasks.studies.benchmark")
    module.benchmark = benchmark
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def run(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")


def results(folder):
    return json.loads(gzip.decompress((folder / "results.json.gz").read_bytes()))


def test_script_repeats_the_runs_and_the_submission(tmp_path, asked, monkeypatch, capsys):
    runs = [finished(tmp_path / "a", "matbench_steels"), finished(tmp_path / "b", "matbench_glass")]
    first = submit(settings(tmp_path, *runs)).path
    run(first / "run.py", monkeypatch, tmp_path / "again", "--data-dir", tmp_path, "--workers", 3)
    assert "matbench_v0.1_invented: results.json.gz" in capsys.readouterr().out
    second = tmp_path / "again" / "matbench_v0.1_invented"
    assert results(second)["tasks"].keys() == results(first)["tasks"].keys()
    for name, task in results(first)["tasks"].items():
        for fold, entry in task["results"].items():
            assert results(second)["tasks"][name]["results"][fold] == entry
    assert (second / "run.py").read_text() == (first / "run.py").read_text()
    assert (second / "info.json").read_text() == (first / "info.json").read_text()
    said = [(call.task, call.seeds, call.workers) for call in asked]
    assert said == [("matbench_glass", 1, 3), ("matbench_steels", 1, 3)]
    assert all(call.data_dir == tmp_path and call.folds == [0, 1, 2, 3, 4] for call in asked)


def test_settings_come_back_as_they_were(tmp_path, asked, monkeypatch):
    made = BenchmarkConfig(
        task="matbench_steels", out="x", labels=100, seeds=2, learning_rates=[0.002], model={"name": "megnet"},
        finetune={"steps": 17, "seed": 5}, pretrain={"steps": 19},
    )  # fmt: skip
    kept = made.model_dump(mode="json", exclude=PLACES)
    runs = finished(tmp_path / "a", "matbench_steels", labels=100, settings=kept, model=kept["model"], seeds=[5, 6])
    first = submit(settings(tmp_path, runs, notes="100 labels")).path
    run(first / "run.py", monkeypatch, tmp_path / "again")
    assert asked[0].model_copy(update={"out": made.out, "arm": None}) == made


@pytest.mark.parametrize(("arm", "option"), [("corpus", "--corpus"), ("transferred", "--source"), ("frozen", "--init")])
def test_paths_that_nobody_else_knows_are_asked_for(tmp_path, asked, monkeypatch, capsys, arm, option):
    first = submit(settings(tmp_path, finished(tmp_path / "a", "matbench_steels", arm=arm))).path
    with pytest.raises(SystemExit):
        run(first / "run.py", monkeypatch, tmp_path / "again")
    assert f"required: {option}" in capsys.readouterr().err and not asked
    run(first / "run.py", monkeypatch, tmp_path / "again", option, tmp_path / "mine")
    assert str(getattr(asked[0], option[2:])) == str(tmp_path / "mine")


def test_settings_of_another_version_are_refused(tmp_path):
    other = finished(
        tmp_path / "a", "matbench_steels", settings={"finetune": {"patiens": 7}}, model={"name": "sitenet"}
    )
    with pytest.raises(InputError, match=r"not those of this version .*finetune.patiens"):
        submit(SubmitConfig(run=[other], info=info_file(tmp_path), out=tmp_path / "matbench_v0.1_x"))
