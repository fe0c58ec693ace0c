"""A fine-tuned folder with one flipped bit gives a sentence and exit code 2, never other numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax import api, cli
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.train.ensemble import Predictor
from tests.helpers.build import many

SMALL = ModelSettings(preset="compact", supercell_atoms=12)
SHORT = FinetuneSettings(steps=2, validate_every=2, batch_sites=40, validation_fraction=0.4)
NOT_READ = ("last.ckpt",)
"""Only a training that goes on reads it; it carries its own hash."""
ATTEMPTS = "half_rate_"
"""Folders of further attempts, after two steps a network counts as dead; a model is not read from there."""


def salts() -> list[Crystal]:
    """Forty rock salts, each strained another way."""
    frac = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    fcc = 5.64 * np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    return many([Crystal("NaCl", np.array([11, 17]), fcc, frac, {"y": 0.0})], 40)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """An encoder, a model that starts from it, and an ensemble of two, in one folder."""
    folder = tmp_path_factory.mktemp("models")
    places = {"cache": folder / "cache", "progress": False}
    training = PretrainSettings(steps=2, validate_every=2, batch_sites=40, validation_fraction=0.2)
    api.pretrain(salts(), folder / "encoder", model=SMALL, settings=training, **places)
    api.finetune(salts(), "y", folder / "one", init=folder / "encoder", settings=SHORT, **places)
    two = EnsembleSettings(ensemble=2)
    api.finetune(salts(), "y", folder / "two", model=SMALL, settings=SHORT, ensemble=two, **places)
    return folder


def flipped(folder: Path, seed: int, times: int):
    """Bits of the folder's files, flipped one at a time and set back; each file is as likely as the others."""
    rng = np.random.default_rng(seed)
    there = (path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_READ)
    files = sorted(path for path in there if ATTEMPTS not in str(path.relative_to(folder)))
    for number in range(times):
        file = files[number % len(files)]
        whole = file.read_bytes()
        place = int(rng.integers(8 * len(whole)))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        yield file
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["one", "two"])
def test_one_flipped_bit_anywhere_is_refused(models, name):
    seen = set()
    for file in flipped(models / name, 5, 40):
        seen.add(file.name)
        with pytest.raises(InputError, match=r"SHA256SUMS|Cannot read"):
            Predictor.open(models / name)
    wanted = {"model.json", "model.pt", "state.pt", "finetune.json", "run.json", SUMS}
    assert seen == wanted | ({"ensemble.json"} if name == "two" else set())


def test_commands_end_with_exit_code_2(models, tmp_path, capsys):
    pd.DataFrame({"id": [c.id for c in salts()], "structure": [c.to_structure().as_dict() for c in salts()],
                  "y": [c.labels["y"] for c in salts()]}).to_json(tmp_path / "data.json", orient="records")  # fmt: skip
    data = ["--data", str(tmp_path / "data.json"), "--cache", str(models / "cache")]
    training = ["--target", "y", "--steps", "2", "--out", str(tmp_path / "new"), "--init", str(models / "encoder")]
    asked = {
        "one": ["predict", *data, "--checkpoint", str(models / "one"), "--out", str(tmp_path / "p.csv")],
        "two": ["predict", *data, "--checkpoint", str(models / "two"), "--out", str(tmp_path / "p.csv")],
        "encoder": ["embed", *data, "--checkpoint", str(models / "encoder"), "--out", str(tmp_path / "v.csv")],
    }
    for name, words in asked.items():
        assert cli.main(words) == 0, name
        assert SUMS not in capsys.readouterr().err  # nothing to complain of
        Path(words[-1]).unlink()
        for _ in flipped(models / name, 7, 2):
            assert cli.main(words) == 2
            assert SUMS in capsys.readouterr().err and not Path(words[-1]).exists()
    for _ in flipped(models / "encoder", 8, 2):
        assert cli.main(["finetune", *data, *training]) == 2
        assert SUMS in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_finished_pretraining_is_checked_when_it_is_asked_for_again(models):
    training = PretrainSettings(steps=2, validate_every=2, batch_sites=40, validation_fraction=0.2)
    again = {"model": SMALL, "settings": training, "cache": models / "cache", "progress": False}
    api.pretrain(salts(), models / "encoder", **again)
    for file in flipped(models / "encoder", 9, 7):
        with pytest.raises(InputError, match=r"SHA256SUMS|run\.json is damaged|holds another run"):
            api.pretrain(salts(), models / "encoder", **again)
        assert file.is_file()


def test_a_folder_of_an_earlier_version_opens_with_a_word(models, tmp_path, capsys):
    shutil.copytree(models / "one", tmp_path / "old")
    (tmp_path / "old" / SUMS).unlink()
    found = [Predictor.open(folder).models[0].state_dict() for folder in (tmp_path / "old", models / "one")]
    assert all(bool((value == found[1][name]).all()) for name, value in found[0].items())
    said = capsys.readouterr().err
    assert said.count("old holds no SHA256SUMS") == 1 and "sha256sum model.json model.pt state.pt > SHA256SUMS" in said
    Predictor.open(tmp_path / "old")
    assert capsys.readouterr().err == ""  # once


@pytest.mark.parametrize("record", ["[]", "{}", '{"targets": 5}', '{"targets": ["y", "z"]}', "{", "\udcff"])
def test_a_record_without_hashes_that_says_nothing_is_refused(models, tmp_path, record):
    shutil.copytree(models / "one", tmp_path / "old")
    (tmp_path / "old" / SUMS).unlink()
    (tmp_path / "old" / "finetune.json").write_text(record, errors="surrogateescape")
    with pytest.raises(InputError, match=r"finetune\.json"):
        Predictor.open(tmp_path / "old")


def test_a_crash_between_the_files_of_a_model_leaves_a_folder_that_is_refused(models, tmp_path):
    """The second training replaced the weights, and the hashes are still those of the first."""
    shutil.copytree(models / "two" / "member_0", tmp_path / "model")
    shutil.copy(models / "two" / "member_1" / "state.pt", tmp_path / "model" / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt is not the file that was written"):
        Predictor.open(tmp_path / "model")
