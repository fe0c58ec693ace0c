"""Every objective pretrains Site-Net and a network of MatGL from crystals to a folder; collapse is said."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from matgl_infomax import cli
from matgl_infomax.api import pretrain
from matgl_infomax.nn.build import load_encoder, new_encoder
from matgl_infomax.settings.training import OBJECTIVE_NAMES, ModelSettings, PretrainSettings
from tests.helpers.build import many

SHORT = PretrainSettings(objective="infomax", steps=3, validate_every=3, batch_sites=20, validation_fraction=0.3)
MODELS = {
    "sitenet": ModelSettings(preset="compact", supercell_atoms=10),
    "megnet": ModelSettings(
        name="megnet",
        options={"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1},
    ),
}
SELF_SUPERVISED = [name for name in OBJECTIVE_NAMES if name != "supervised"]


@pytest.fixture
def run(crystals, tmp_path):
    def start(name, model, labels=0.0, **changes):
        settings = SHORT.model_copy(update={"objective": name, **changes})
        data = [replace(crystal, labels={"y": labels * k}) for k, crystal in enumerate(many(crystals, 12))]
        out = tmp_path / f"{name}-{model}-{labels}-{len(changes)}"
        return pretrain(data, out, model=MODELS[model], settings=settings, cache=tmp_path / "cache", progress=False)

    return start


def weights(result):
    return torch.load(result.path / "state.pt", weights_only=True)


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("name", [*SELF_SUPERVISED, "masked+denoise+twins"])
def test_objective_pretrains_a_network_that_opens_again(name, model, run):
    result = run(name, model)
    entry = result.history[-1]
    assert all(math.isfinite(value) for value in entry.values())
    assert entry["step"] == 3 and {"train/loss", "validation/loss", "validation/collapsed"} <= entry.keys()
    assert ("validation/pull/masked-denoise" in entry) == ("+" in name)
    opened, initial = load_encoder(result.path), new_encoder(MODELS[model], 1, SHORT.seed, [])
    groups = (network.layer_groups() for network in (opened, initial))
    learnt, start = (torch.cat([p.flatten() for k, g in group.items() if k != "head" for p in g]) for group in groups)
    assert learnt.shape == start.shape and not torch.equal(learnt, start)


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_labels_cannot_matter(name, run):
    plain, poisoned = (weights(run(name, "sitenet", labels)) for labels in (0.0, 1e9))
    assert all(torch.equal(plain[key], poisoned[key]) for key in plain)


def test_weights_of_a_combination_matter_and_runs_repeat(run):
    name = "masked+denoise"
    first, again = (run(name, "megnet", labels) for labels in (0.0, 1.0))
    assert all(torch.equal(weights(first)[key], weights(again)[key]) for key in weights(first))
    other = run(name, "megnet", objective_weights={"masked": 5.0})
    assert other.history[-1]["validation/loss"] != first.history[-1]["validation/loss"]


def test_collapse_is_recorded_and_said_once(run, capsys):
    """The published contrast alone knows no other crystal: one vector for all is its best answer."""
    options = {"mask_weight": 0.0}
    changes = {"objective_preset": "published", "steps": 30, "validate_every": 10, "learning_rate": 5e-3}
    result = run("dual", "sitenet", objective_options=options, **changes)
    assert [entry["validation/collapsed"] for entry in result.history][-1] == 1.0
    said = capsys.readouterr().err
    assert said.count("the crystal vectors collapsed (spread 0.0") == 1
    sound = run("dual", "sitenet", **{**changes, "objective_preset": "default"})
    assert [entry["validation/collapsed"] for entry in sound.history] == [0.0, 0.0, 0.0]
    assert "collapsed" not in capsys.readouterr().err


def test_command_line_takes_a_combination_and_its_options(crystals, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for crystal in crystals[:6]:
        crystal.to_structure().to(filename=str(folder / f"{crystal.id}.cif"))
    config = tmp_path / "run.yaml"
    config.write_text(
        json.dumps(
            {
                "data": str(folder), "out": str(tmp_path / "out"), "cache": str(tmp_path / "cache"), "steps": 2,
                "objective": "fingerprint+dual", "objective_options": {"dual": {"micro": "stiffness"}},
                "objective_weights": {"dual": 0.5}, "model": {"supercell_atoms": 10},
            }
        )
    )  # fmt: skip
    assert cli.main(["pretrain", "--config", str(config)]) == 0
    history = json.loads((tmp_path / "out" / "pretrain.json").read_text())["history"]
    assert {"train/dual/micro", "train/fingerprint/fingerprint"} <= history[-1].keys()
