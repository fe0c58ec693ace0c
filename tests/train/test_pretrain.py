"""Pretraining: exact resume, checkpoint by self-supervised loss alone, a folder for MatGL, settings that all matter."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.errors import InputError
from matgl_infomax.host import load_model
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train import pretrain as module
from matgl_infomax.train.loop import CHECKPOINT, read_checkpoint
from matgl_infomax.train.pretrain import pretrain_encoder
from tests.helpers.build import many, store_of
from tests.helpers.kill import Killed, killed_at

SHORT = PretrainSettings(steps=10, validate_every=4, batch_sites=30, validation_fraction=0.2)
MODEL = ModelSettings(supercell_atoms=20)


@pytest.fixture
def store(crystals, tmp_path):
    return store_of(many(crystals, 24), tmp_path / "cache")


def run(store, out, settings=SHORT, model=MODEL, rows=None):
    return pretrain_encoder(
        store, np.arange(len(store)) if rows is None else rows, out, settings, model, progress=False
    )


def weights(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("step", [1, 5, 9], ids=["before-checkpoint", "mid-chunk", "last-chunk"])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, store, tmp_path):
    whole = run(store, tmp_path / "whole")
    with killed_at(step, module.PretrainModule):
        run(store, tmp_path / "cut")
    resumed = run(store, tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert whole.history == resumed.history
    assert [entry["step"] for entry in whole.history] == [4, 8, 10]


def test_resume_really_goes_on_instead_of_starting_again(store, tmp_path, monkeypatch):
    steps = []
    original = module.PretrainModule.training_step

    def watched(self, batch, batch_idx):
        steps.append(self.global_step)
        if len(steps) == 7:
            raise Killed
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module.PretrainModule, "training_step", watched)
    with pytest.raises(Killed):
        run(store, tmp_path / "run")
    run(store, tmp_path / "run")
    assert steps == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9]


def test_checkpoint_holds_plain_data_only(store, tmp_path, monkeypatch):
    def dies(self, out, seconds, scale):
        raise Killed

    monkeypatch.setattr(module, "_save", dies)
    with pytest.raises(Killed):
        run(store, tmp_path / "run")
    checkpoint = read_checkpoint(tmp_path / "run" / CHECKPOINT)  # weights_only
    assert checkpoint["progress"]["history"][-1]["step"] == 10


def test_full_disk_keeps_the_last_good_checkpoint(store, tmp_path, monkeypatch):
    """The disk fills up during the second checkpoint: a sentence, and the run goes on from the first one later."""
    whole = run(store, tmp_path / "whole")
    original, written = os.fsync, []

    def full(handle):
        original(handle)
        if f"{CHECKPOINT}" in os.readlink(f"/proc/self/fd/{handle}"):
            written.append(handle)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(store, tmp_path / "full")
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "full" / CHECKPOINT)["global_step"] == 4
    assert {file.name for file in (tmp_path / "full").iterdir()} == {CHECKPOINT, "run.json"}
    run(store, tmp_path / "full")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "full")) and whole.best_step


def test_full_disk_while_the_model_is_saved_leaves_no_model(store, tmp_path, monkeypatch):
    def full(self, path, **_):
        path.mkdir()
        (path / "model.pt").write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    with monkeypatch.context() as patch:
        patch.setattr("matgl_infomax.nn.sitenet.SiteNet.save", full)
        with pytest.raises(InputError, match="Cannot write the model"):
            run(store, tmp_path / "run")
    assert {file.name for file in (tmp_path / "run").iterdir()} == {CHECKPOINT, "run.json"}
    assert len(run(store, tmp_path / "run").history) == 3


def test_damaged_checkpoint_gets_a_sentence(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_save", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        run(store, tmp_path / "run")
    monkeypatch.undo()
    file = tmp_path / "run" / CHECKPOINT
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="no readable checkpoint"):
        run(store, tmp_path / "run")


def test_folder_opens_in_matgl_with_the_best_weights(store, tmp_path):
    result = run(store, tmp_path / "run")
    losses = [entry["validation/loss"] for entry in result.history]
    assert result.best_step == result.history[int(np.argmin(losses))]["step"]
    model = load_model(result.path)
    assert same(model.state_dict(), weights(result.path))
    assert (result.path / "objective.pt").is_file() and not (result.path / CHECKPOINT).exists()


def test_finished_run_is_not_repeated(store, tmp_path, monkeypatch):
    first = run(store, tmp_path / "run")
    monkeypatch.setattr(module, "run_steps", lambda *_, **__: pytest.fail("trained again"))
    again = run(store, tmp_path / "run")
    assert again.history == first.history


def test_another_run_in_the_same_folder_is_refused_by_name(store, tmp_path):
    run(store, tmp_path / "run")
    with pytest.raises(InputError, match=r"settings.steps is 10, this one's is 11"):
        run(store, tmp_path / "run", SHORT.model_copy(update={"steps": 11}))
    with pytest.raises(InputError, match="holds another run: its rows differ from this one's"):
        run(store, tmp_path / "run", rows=np.arange(20))


def test_labels_cannot_matter(crystals, tmp_path):
    """The same crystals with other labels give the same weights: a store has no room for labels."""
    plain = many(crystals, 24)
    poisoned = [replace(c, labels={"y": 1e9 * k}) for k, c in enumerate(plain)]
    run(store_of(plain, tmp_path / "a"), tmp_path / "plain")
    run(store_of(poisoned, tmp_path / "b"), tmp_path / "poisoned")
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "poisoned"))


def test_collapse_numbers_twins_and_losses_are_logged(store, tmp_path):
    entry = run(store, tmp_path / "run", SHORT.model_copy(update={"objective": "infomax"})).history[-1]
    wanted = {"site_spread", "site_rank", "crystal_spread", "crystal_rank", "loss", "local", "global", "local_kl"}
    assert {f"validation/{name}" for name in wanted} <= entry.keys()
    assert sum(name.startswith("validation/twins/") for name in entry) == 7
    assert all(math.isfinite(value) for value in entry.values())
    assert json.loads((tmp_path / "run" / "pretrain.json").read_text())["history"][-1] == entry


def test_too_few_crystals_get_a_sentence(store, tmp_path):
    with pytest.raises(InputError, match="at least 4 crystals"):
        run(store, tmp_path / "run", rows=np.arange(3))


def test_published_infomax_of_an_earlier_version_is_not_mixed_with_this_one(store, tmp_path):
    """The same settings once made other negatives; their folders hold no form."""
    settings = SHORT.model_copy(update={"objective": "infomax", "objective_preset": "published"})
    out = tmp_path / "run"
    first = run(store, out, settings)
    assert run(store, out, settings).history == first.history
    claim = json.loads((out / "run.json").read_text())
    claim.pop("form")
    (out / "run.json").write_text(json.dumps(claim))
    with pytest.raises(InputError, match=r"holds another run: its form is .*site features rolled"):
        run(store, out, settings)


OTHER = {
    "objective": "masked",
    "objective_preset": "published",
    "objective_options": {"strain": 0.1},
    "steps": 11,
    "batch_sites": 15,
    "learning_rate": 2e-3,
    "weight_decay": 0.5,
    "warmup_fraction": 0.5,
    "gradient_clip": 0.01,
    "validation_fraction": 0.4,
    "validate_every": 5,
    "probe_every": 1,
    "seed": 1,
    "accumulate": 2,
    "precision": "bf16",
}


def test_every_setting_is_tried():
    # Weights are for combinations: see test_pretrain_objectives.py. Processes must not change anything: test_ranks.py.
    assert {*OTHER, "objective_weights", "processes", "logger"} == set(PretrainSettings.model_fields)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_setting_does_something(name, store, tmp_path):
    plain = run(store, tmp_path / "plain").history
    other = run(store, tmp_path / "other", SHORT.model_copy(update={name: OTHER[name]})).history
    assert plain != other


def test_held_out_crystals_give_no_gradient(store, tmp_path, monkeypatch):
    """The rows of the training batches and those that choose the checkpoint share no crystal, and are all there are."""
    sets, real = [], module.StoreBatches

    def watched(store, rows, *given, **more):
        sets.append(set(np.array(rows).tolist()))
        return real(store, rows, *given, **more)

    monkeypatch.setattr(module, "StoreBatches", watched)
    run(store, tmp_path / "run", rows=np.arange(3, 23))
    training, held_out = sets
    assert len(held_out) == 4  # a fifth of twenty
    assert not training & held_out and training | held_out == set(range(3, 23))


@pytest.mark.parametrize(("crystals", "fraction", "held_out"), [(4, 0.01, 2), (20, 0.01, 2), (20, 0.3, 6), (5, 0.9, 3)])
def test_at_least_two_crystals_train_and_two_validate(crystals, fraction, held_out):
    """A foreign crystal is needed in each part; in between it is the share that was asked for."""
    train, validation = module._split(np.arange(crystals), SHORT.model_copy(update={"validation_fraction": fraction}))
    assert len(validation) == held_out and sorted([*train, *validation]) == list(range(crystals))


@pytest.mark.parametrize("about", ["", "denoising, by Site-Net, from 80 crystals"])
def test_a_result_tells_what_was_learnt_where_it_is_known(tmp_path, about):
    _, told = module.Pretrained(tmp_path, [], 1.0, 0, about).facts()
    assert told.get("Learnt", "") == about and ("Learnt" in told) == bool(about)
