"""What the command line does with files: quick errors, and settings that are written and read back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from matgl_infomax import cli
from matgl_infomax.settings import base, commands, training
from tests.test_cli import FAST, PROGRAM, table, words  # noqa: F401 - a fixture among them

QUICK_SECONDS = 1.5
"""Bar for the processor's time, which other processes disturb less than the clock; 0.3 seconds where nothing else runs,
and the clock shows no more. With torch and MatGL it is about five."""
SMALL = {"steps": 4, "validate_every": 2, "batch_sites": 40}


def processor_seconds():
    """Processor's time of all processes that this one has started and that have ended."""
    return sum(os.times()[2:4])


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["pretrain", "--data", "nope", "--out", "o"], "There is no such file or folder. Received: nope."),
        (["finetune", "--data", "d.cif", "--init", "nope", "--out", "o"], "There is no folder nope (--init)."),
        (["predict", "--data", "d.cif", "--checkpoint", "d", "--out", "p.csv"], "There is no folder d (--checkpoint)."),
        (
            ["curve", "--data", "nope", "--target", "y", "--out", "o"],
            "There is no such file or folder. Received: nope.",
        ),
        (["report", "nope", "--out", "page.html"], "There is no folder nope (DIR)."),
        (["pretrain", "--data", "d.cif", "--out", "d.cif"], "--out needs a folder. A file is there: d.cif."),
        (["pretrain", "--data", "d.cif", "--out", "o", "--device", "gpu"], "option device = 'gpu' is refused"),
    ],
)
def test_errors_that_need_nothing_are_quick(command, sentence, tmp_path):
    (tmp_path / "d.cif").write_text("data_\n")
    before = {*tmp_path.iterdir()}
    took = []
    for _ in range(3):  # the quickest counts: other processes may slow one down
        start = processor_seconds()
        done = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, cwd=tmp_path)
        took.append(processor_seconds() - start)
        assert done.returncode == 2 and sentence.lower() in done.stderr.lower() and "Traceback" not in done.stderr
        if min(took) < QUICK_SECONDS:
            break
    assert min(took) < QUICK_SECONDS
    assert {*tmp_path.iterdir()} == before, "nothing is left behind"


def test_a_missing_logger_is_told_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    (tmp_path / "d.cif").write_text("data_\n")
    assert (
        cli.main(["pretrain", "--data", str(tmp_path / "d.cif"), "--out", str(tmp_path / "o"), "--logger", "wandb"])
        == 2
    )
    assert "pip install wandb" in capsys.readouterr().err and not (tmp_path / "o").exists()


def run(command, *more):
    assert cli.main([command, *map(str, more)]) == 0


def read_back(command, folder):
    """The settings that ``--config`` reads from what a run has left."""
    return base.read_settings(cli.COMMANDS[command][0], {"config": folder / "settings.yaml"})


def test_settings_of_a_pretraining_come_back(table, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    given = ["--out", out, *FAST, "--objective", "masked", "--logger", "csv", "--seed", "3", "--device", "cpu"]
    run("pretrain", *words(table, tmp_path, *given))
    kept = read_back("pretrain", out)
    assert (kept.steps, kept.objective, kept.logger, kept.seed, kept.out) == (6, "masked", ["csv"], 3, out)
    assert kept.model.supercell_atoms == 12 and kept.device == "cpu"
    everything = yaml.safe_load((out / "settings.yaml").read_text())
    assert {*everything} == {*training.PretrainConfig.model_fields}, "all settings, defaults too"
    before = (out / "state.pt").read_bytes()
    run("pretrain", "--config", out / "settings.yaml")  # the very run: it is finished
    run("pretrain", "--config", out / "settings.yaml", "--out", tmp_path / "again", "--logger", "csv")
    assert (out / "state.pt").read_bytes() == before == (tmp_path / "again" / "state.pt").read_bytes()
    logged = (out / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    assert logged[0].startswith("step,") and "validation/loss" in logged[0] and len(logged) == 3


def test_settings_of_a_finetuning_come_back(table, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    run("finetune", *words(table, tmp_path, "--target", "y", "--out", out, *FAST, "--ensemble", "1", "-v"))
    said = capsys.readouterr().out
    assert "Loss on the training labels" in said and "step 6: train/loss" in said and f"Model: {out}" in said
    kept = read_back("finetune", out)
    assert kept.target == ["y"] and kept.learning_rate == 0 and kept.init is None
    run("finetune", "--config", out / "settings.yaml", "-q")
    assert capsys.readouterr() == ("", "")


def test_settings_of_a_curve_come_back(table, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    small = [
        f"--{part}.{name.replace('_', '-')}={value}"
        for part in ("pretrain", "finetune")
        for name, value in SMALL.items()
    ]
    given = ["--target", "y", "--labels", "4", "--seeds", "2", "--arms", "scratch", "descriptors", "--out", out]
    run("curve", *words(table, tmp_path, *given, "--model.supercell-atoms", "12", *small))
    kept = read_back("curve", out)
    assert kept.labels == [4] and kept.finetune.steps == 4 and kept.pretrain.batch_sites == 40
    assert kept == commands.CurveConfig(**yaml.safe_load((out / "settings.yaml").read_text()))
    cards = {file: file.read_bytes() for file in (out / "runs").glob("*.json")}
    run("curve", "--config", out / "settings.yaml")
    assert cards and {file: file.read_bytes() for file in (out / "runs").glob("*.json")} == cards, "no run is repeated"


def test_a_folder_of_another_run_keeps_its_settings(table, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    run("pretrain", *words(table, tmp_path, "--out", out, *FAST))
    before = (out / "settings.yaml").read_bytes()
    assert cli.main(["pretrain", *words(table, tmp_path, "--out", out, *FAST, "--seed", "9")]) == 2
    assert "holds another run" in capsys.readouterr().err and (out / "settings.yaml").read_bytes() == before


def test_what_decides_nothing_changes_no_run(table, tmp_path, capsys):  # noqa: F811
    """Device, loggers and loudness are no part of what a run is."""
    out = tmp_path / "run"
    run("pretrain", *words(table, tmp_path, "--out", out, *FAST))
    run("pretrain", *words(table, tmp_path, "--out", out, *FAST, "--device", "cpu", "--logger", "csv", "-v"))
    assert Path(out / "pretrain.json").is_file()


def test_check_tells_minutes_and_memory(table, tmp_path, capsys):  # noqa: F811
    run("check", *words(table, tmp_path, "--target", "y"))
    said = capsys.readouterr().out
    assert "Time            pretrain: about" in said and "finetune on y: about" in said and "Memory" in said
    assert "30 of the crystals" in said
    run("check", *words(table, tmp_path, "--target", "y", "--no-measure"))
    assert "Time" not in capsys.readouterr().out
