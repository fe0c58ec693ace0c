"""The command line: quick help, one plain sentence and exit code 2 for every mistake, YAML and options as one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from matgl_infomax import cli
from matgl_infomax.errors import InputError
from matgl_infomax.settings import base, commands, training
from tests.helpers.build import many

PROGRAM = [sys.executable, "-m", "matgl_infomax.cli"]
FAST = ["--steps", "6", "--validate-every", "3", "--batch-sites", "40", "--model.supercell-atoms", "12"]


@pytest.fixture
def table(crystals, tmp_path):
    """Thirty crystals in the parquet encoding, half of them labelled."""
    items = many(crystals, 30)
    rows = [
        {
            "id": c.id,
            "lattice": c.lattice.ravel(),
            "atomic_numbers": c.numbers,
            "frac_coords": c.frac.ravel(),
            "y": c.labels["y"] if k % 2 else None,
        }
        for k, c in enumerate(items)
    ]
    path = tmp_path / "crystals.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def words(table, tmp_path, *more):
    return ["--data", str(table), "--cache", str(tmp_path / "cache"), *map(str, more)]


def refused(capsys, *command):
    assert cli.main([str(word) for word in command]) == 2
    text = capsys.readouterr().err.strip()
    last = text.splitlines()[-1]  # progress bars come before it
    assert "Traceback" not in text and last.startswith("matgl-infomax: ")
    return last


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_is_quick_and_complete(command):
    start = time.perf_counter()
    done = subprocess.run([*PROGRAM, *command.split(), "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 2
    wanted = ["--config", *options_of(cli.COMMANDS[command][0])] if command else cli.COMMANDS
    assert [word for word in wanted if not re.search(rf"(?m)^ +{re.escape(word)}\b", done.stdout)] == []


def options_of(settings_class):
    """How the command line spells every field of a command, sections aside."""
    fields = settings_class.model_fields.items()
    plain = {name: field for name, field in fields if name not in ("model", "pretrain", "finetune")}
    words = {name: (field.json_schema_extra or {}).get("positional") for name, field in plain.items()}
    return [word or f"--{name.replace('_', '-')}" for name, word in words.items()]


def test_plain_words_may_stand_in_the_settings_file(tmp_path, capsys):
    file = tmp_path / "submit.yaml"
    file.write_text("run: [a, b]\ninfo: i\n")
    parser = base.build_parser({"submit": (commands.SubmitConfig, "")})
    given = vars(parser.parse_args(["submit", "--config", str(file), "--out", "o"]))
    given.pop("command")
    assert base.read_settings(commands.SubmitConfig, given).run == [Path("a"), Path("b")]
    assert refused(capsys, "submit", "--info", "i").endswith("DIR is required; --out is required.")


def test_help_imports_no_heavy_library():
    code = "import sys; from matgl_infomax import cli\ntry: cli.main(['curve', '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'matgl', 'pymatgen', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("data: a\nout: b\nlables: [5]", "Unknown option 'lables'; known: "),
        ("data: a\nout: b\nfinetune: {stepz: 5}", "Unknown option 'finetune.stepz'; known: steps"),
        ("data: a\nout: b\nfinetune: {steps: many}", "finetune.steps = 'many' is refused"),
        ("data: a", "--out is required"),
        ("[1, 2]", "must hold options"),
        ("a: [", "no valid YAML"),
        ("data: a\nout: b\nseeds: 0", "seeds = 0 is refused"),
    ],
    ids=["unknown", "unknown-in-section", "wrong-type", "missing", "no-mapping", "no-yaml", "out-of-range"],
)
def test_wrong_settings_file_gets_a_sentence(content, sentence, tmp_path, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(content)
    assert sentence in refused(capsys, "curve", "--config", file)


def test_missing_settings_file_gets_a_sentence(tmp_path, capsys):
    assert "Cannot read the settings file" in refused(capsys, "curve", "--config", tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["curve", "--lables", "5"], "Unrecognized arguments: --lables 5"),
        (["curve", "--labels", "few"], "invalid int value: 'few'"),
        (["pretrain", "--objective-options", "kl"], "Expected KEY=VALUE"),
        (["pretrain", "--data", "a", "--out", "b", "--objective", "masked+telepathy"], "Unknown objective 'telepathy'"),
    ],
    ids=["nothing", "no-command", "misspelt", "no-number", "no-pair", "no-objective"],
)
def test_wrong_words_get_a_sentence(command, sentence, capsys):
    assert sentence in refused(capsys, *command)


def test_missing_data_gets_a_sentence(tmp_path, capsys):
    assert "absent.cif" in refused(capsys, "check", "--data", tmp_path / "absent.cif")


def test_curve_is_about_one_property(table, tmp_path, capsys):
    error = refused(capsys, "curve", *words(table, tmp_path, "--out", tmp_path / "o", "--target", "y", "y2"))
    assert "y2" in error


def test_whole_way_from_structures_to_predictions(table, tmp_path, capsys):
    encoder, model, out = tmp_path / "encoder", tmp_path / "model", tmp_path / "predicted.csv"
    assert cli.main(["check", *words(table, tmp_path, "--target", "y")]) == 0
    assert "30" in capsys.readouterr().out
    assert cli.main(["pretrain", *words(table, tmp_path, "--out", encoder), *FAST]) == 0
    said = capsys.readouterr().out
    assert "Loss on crystals that were held out" in said and "rank" not in said
    finetune = ["finetune", *words(table, tmp_path, "--target", "y", "--init", encoder, "--out", model), *FAST]
    assert cli.main(finetune) == 0
    said = capsys.readouterr().out
    assert "Fine-tuned on 15 crystals" in said and "no error is known" in said
    assert cli.main(["predict", *words(table, tmp_path, "--checkpoint", model, "--out", out)]) == 0
    predicted = pd.read_csv(out)
    assert list(predicted.columns) == ["id", "y"] and len(predicted) == 30 and predicted["y"].notna().all()
    for level, rows in (("crystal", 30), ("site", None)):
        file = tmp_path / f"{level}.parquet"
        options = words(table, tmp_path, "--checkpoint", encoder, "--level", level, "--out", file)
        assert cli.main(["embed", *options]) == 0
        vectors = pd.read_parquet(file)
        assert rows is None or len(vectors) == rows
        assert {"id", "v0"} <= set(vectors.columns)


def test_prediction_needs_a_finetuned_model(table, tmp_path, capsys):
    error = refused(capsys, "predict", *words(table, tmp_path, "--checkpoint", tmp_path, "--out", tmp_path / "p.csv"))
    assert "holds no saved model" in error


def test_table_of_unknown_format_is_refused(table, tmp_path, capsys):
    cli.main(["pretrain", *words(table, tmp_path, "--out", tmp_path / "e"), *FAST])
    error = refused(
        capsys, "embed", *words(table, tmp_path, "--checkpoint", tmp_path / "e", "--out", tmp_path / "v.xlsx")
    )
    assert ".csv, .parquet" in error


def test_interrupt_is_told_and_exits_130(monkeypatch, capsys, table):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "check", (training.CheckConfig, interrupt))
    assert cli.main(["check", "--data", str(table)]) == 130
    assert "goes on where it was" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out[0].isdigit()


def test_public_names_are_there():
    import matgl_infomax

    assert all(getattr(matgl_infomax, name) is not None for name in matgl_infomax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = matgl_infomax.magic
    assert issubclass(matgl_infomax.InputError, ValueError) and matgl_infomax.InputError is InputError


def test_stopped_pretraining_leaves_a_resumable_folder(table, tmp_path):
    """Ctrl-C in a real process: exit code 130, no traceback, and the same command finishes."""
    command = [*PROGRAM, "pretrain", *words(table, tmp_path, "--out", tmp_path / "run"), *FAST]
    command[command.index("6")] = "4000"
    # Where the tests run in the background, children would inherit deafness to Ctrl-C.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert not (tmp_path / "run" / "pretrain.json").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["kind"] == "pretrain"
    assert Path(tmp_path / "run" / "last.ckpt").stat().st_size > 1000


def test_settings_of_another_network_are_refused(tmp_path, capsys):
    """Nothing is ignored in silence: Site-Net's preset means nothing to MEGNet."""
    words = ["pretrain", "--data", "x", "--model", "megnet", "--model.preset", "published", "--out", str(tmp_path)]
    assert cli.main(words) == 2
    assert "preset is for sitenet" in capsys.readouterr().err
