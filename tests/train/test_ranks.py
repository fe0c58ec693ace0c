"""Several processes, several batches per step, half precision: the same training, or nearly, in other clothes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import load_encoder, new_model
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives.infomax import InfoMax
from matgl_infomax.settings.training import EnsembleSettings, FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.train import loop, ranks
from matgl_infomax.train import pretrain as pretraining
from matgl_infomax.train.ensemble import InitialNetwork, train_ensemble
from matgl_infomax.train.finetune import FinetuneModule, Labelled, fit
from matgl_infomax.train.predict import embed_rows, predict_rows
from matgl_infomax.train.pretrain import pretrain_encoder
from matgl_infomax.train.ranks import from_all, is_first, trainer_arguments
from tests.helpers.build import batch_of, generator, many, store_of

MODEL = ModelSettings(preset="compact", supercell_atoms=20)
PRETRAIN = PretrainSettings(objective="infomax", steps=36, validate_every=12, batch_sites=30, validation_fraction=0.2)
FINETUNE = FinetuneSettings(steps=32, validate_every=8, batch_sites=4, validation_fraction=0.25)


@pytest.fixture
def data(crystals, tmp_path):
    items = many(crystals, 60)
    return store_of(items, tmp_path / "cache"), np.array([[c.labels["y"]] for c in items])


def learn(data, out, settings=PRETRAIN, **changes):
    return pretrain_encoder(data[0], np.arange(60), out, settings.model_copy(update=changes), MODEL, progress=False)


def tune(data, out=None, labels=None, **changes):
    labels = data[1] if labels is None else labels
    settings = FINETUNE.model_copy(update=changes)
    return fit(new_model(MODEL, labels.shape[1], 0), Labelled(data[0], np.arange(60), labels), settings, out=out)


def assert_same_curve(ours, theirs, first=0):
    """Every number of every validation agrees to 1e-4 of its size."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours[first:], theirs[first:], strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"objective_preset": "published", "accumulate": 2}], ids=["default", "published"]
)
def test_pretraining_on_two_processes_has_the_loss_curve_of_one(options, data, tmp_path):
    one = learn(data, tmp_path / "one", **options)
    two = learn(data, tmp_path / "two", processes=2, **options)
    assert_same_curve(two.history, one.history)
    assert two.best_step == one.best_step
    # Weights that the loss does not depend on drift with the rounding, so outputs are compared.
    ours, theirs = (embed_rows(load_encoder(result.path), data[0], np.arange(60)) for result in (two, one))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not (tmp_path / "two" / loop.CHECKPOINT).exists()


@pytest.mark.slow
def test_run_of_one_process_goes_on_with_two(data, tmp_path, monkeypatch):
    whole = learn(data, tmp_path / "whole")
    original = pretraining.PretrainModule.training_step

    def dies(self, batch, batch_idx):
        if self.global_step == 15:
            raise KeyError("killed")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining.PretrainModule, "training_step", dies)
        with pytest.raises(KeyError, match="killed"):
            learn(data, tmp_path / "cut")
    resumed = learn(data, tmp_path / "cut", processes=2)
    assert resumed.history[0] == whole.history[0]  # from the checkpoint, not trained anew
    assert_same_curve(resumed.history, whole.history)


@pytest.mark.slow
def test_finetuning_on_two_processes_has_the_loss_curve_of_one(data, tmp_path):
    """Batches of one crystal leave a process without any; labels are missing; batches are accumulated."""
    labels = np.concatenate([data[1], 1 - data[1]], axis=1)
    labels[::2, 1] = np.nan
    assert data[0].n_sites.max() > FINETUNE.batch_sites
    one, two = (tune(data, tmp_path / f"{n}", labels, accumulate=2, processes=n) for n in (1, 2))
    assert_same_curve(two.history, one.history)
    assert two.best_step == one.best_step
    ours, theirs = (predict_rows(fitted.model, data[0], np.arange(60)) for fitted in (two, one))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_finished_training_on_two_processes_is_found_and_not_repeated(data, tmp_path, monkeypatch):
    """There is nothing left that processes would have to be started for, and the same comes out, bit for bit."""
    first = tune(data, tmp_path / "run", processes=2, steps=4, validate_every=2, batch_sites=30)
    monkeypatch.setattr(loop, "_fit", lambda *_: pytest.fail("it was trained again"))
    again = tune(data, tmp_path / "run", processes=2, steps=4, validate_every=2, batch_sites=30)
    assert (again.history, again.best_step) == (first.history, first.best_step)
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("steps", "best", "patience", "over"),
    [([], 0, 0, False), ([2, 4], 4, 0, False), ([2, 4, 6], 2, 0, True), ([2, 4], 2, 1, True), ([2, 4], 2, 2, False)],
)
def test_a_training_is_over_when_its_steps_or_its_patience_are(steps, best, patience, over):
    settings = FINETUNE.model_copy(update={"steps": 6, "patience": patience, "learning_rate": 1e-3})
    module = FinetuneModule(new_model(MODEL, 1, 0), settings, None, [], pretrained=False)
    assert module.is_over({"history": [{"step": float(step)} for step in steps], "best_step": best}) == over


def test_an_ensemble_trained_on_two_processes_grows(data, tmp_path, monkeypatch):
    """A third member joins two that are finished; those are read, not trained."""
    settings = FINETUNE.model_copy(update={"processes": 2, "steps": 4, "validate_every": 2, "batch_sites": 30})
    start = InitialNetwork(lambda seed: new_model(MODEL, 1, seed), pretrained=False)
    labelled, trained, fit_ = Labelled(data[0], np.arange(60), data[1], ("y",)), [], loop._fit

    def grow(size):
        several = EnsembleSettings(ensemble=size)
        return train_ensemble(start, labelled, settings, several, tmp_path / "run", progress=False)

    two = grow(2)
    monkeypatch.setattr(loop, "_fit", lambda *given: trained.append(given) or fit_(*given))
    three = grow(3)
    assert len(trained) == 1 and len(three.members) == 3
    for old, new in zip(two.members, three.members, strict=False):
        assert old.history == new.history
    record = json.loads((tmp_path / "run" / "ensemble.json").read_text())
    assert record["members"] == ["member_0", "member_1", "member_2"]


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.data.store import Store
from matgl_infomax.train.pretrain import pretrain_encoder
if __name__ == "__main__":
    store, out, settings = Store.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
    settings = PretrainSettings.model_validate_json(settings)
    model = ModelSettings(preset="compact", supercell_atoms=20)
    result = pretrain_encoder(store, np.arange(60), out, settings, model, progress=False)
    assert (out / "pretrain.json").is_file() and result.history
"""


@pytest.mark.slow
def test_torchrun_starts_the_processes_itself(data, tmp_path):
    one = learn(data, tmp_path / "one")
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = PRETRAIN.model_copy(update={"processes": 2}).model_dump_json()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, tmp_path / "script.py", data[0].path, tmp_path / "two", settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert_same_curve(json.loads((tmp_path / "two" / "pretrain.json").read_text())["history"], one.history)


@pytest.mark.slow
def test_stopping_one_process_stops_all(data, tmp_path):
    """Ctrl-C that only the first process hears: it ends soon, the others with it, and the checkpoint stays."""
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = PRETRAIN.model_copy(update={"processes": 2, "steps": 100_000, "validate_every": 4}).model_dump_json()
    command = [sys.executable, tmp_path / "script.py", data[0].path, tmp_path / "run", settings]

    # A background shell deafens what it starts to Ctrl-C; a session of its own shows whom it leaves behind.
    def listen():
        signal.signal(signal.SIGINT, signal.default_int_handler)

    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=listen)
    try:
        for _ in range(1200):
            if (tmp_path / "run" / loop.CHECKPOINT).exists():
                break
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)  # also waits for those that hold the pipe: the other processes
        assert "KeyboardInterrupt" in errors
        assert loop.read_checkpoint(tmp_path / "run" / loop.CHECKPOINT)["global_step"] >= 4
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize("started", ["torchrun", "SLURM"])
def test_other_number_of_processes_than_were_started_gets_a_sentence(started, monkeypatch):
    there = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    if started == "SLURM":
        there = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}
        monkeypatch.setattr("lightning.fabric.plugins.environments.slurm.shutil.which", lambda _: None)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{started} started 4 processes, but the setting processes is 1"):
        trainer_arguments(1)
    arguments = trainer_arguments(4)
    assert (arguments["devices"], arguments["num_nodes"]) == (2, 2)
    assert arguments["strategy"]._start_method == "popen"


def test_more_processes_than_gpus_get_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"has 1 GPU\(s\), one per process. Received: 2 processes"):
        trainer_arguments(2)
    assert trainer_arguments(1)["devices"] == 1


def test_one_process_alone_is_the_first_and_has_everything():
    assert is_first() and from_all([3]) == [3]


@pytest.mark.parametrize("own", [True, False])
def test_sentence_of_another_process_arrives(own):
    text = "-- Process 1 terminated with the following error:\nTraceback ...\n"
    text += "matgl_infomax.errors.InputError: Free some space.\n" if own else "ValueError: a bug\n"

    def fails(*_, **__):
        raise ProcessRaisedException(text, 1, 7)

    trainer = SimpleNamespace(fit=fails, strategy=SimpleNamespace(launcher=None))
    with pytest.raises(InputError, match=r"^Free some space\.$") if own else pytest.raises(ProcessRaisedException):
        loop._fit(trainer, None, None, None)


def test_death_of_another_process_gets_a_sentence():
    def fails(*_, **__):
        raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 7, -9, "SIGKILL")

    trainer = SimpleNamespace(fit=fails, strategy=SimpleNamespace(launcher=None))
    with pytest.raises(InputError, match=r"signal SIGKILL\. If memory ran out"):
        loop._fit(trainer, None, None, None)


def test_accumulated_step_follows_the_mean_gradient_of_its_batches(data, monkeypatch):
    """One step of plain gradient descent over three batches, beside the gradient worked out here."""

    def descent(self):
        return torch.optim.SGD(self.groups, lr=1.0)

    seen = []
    original = FinetuneModule.training_step

    def watched(self, batch, batch_idx):
        seen.append(batch)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "configure_optimizers", descent)
    monkeypatch.setattr(FinetuneModule, "training_step", watched)
    changes = {"steps": 1, "accumulate": 3, "batch_sites": 20, "learning_rate": 1.0}
    fitted = tune(data, gradient_clip=1e9, ema_decay=0.0, validation_fraction=0.0, **changes)
    assert len(seen) == 3 and fitted.history[-1]["step"] == 1
    start = new_model(MODEL, 1, 0)
    losses = [(start.scaled(start.encode(crystals).crystal) - labels).abs().mean() for crystals, labels in seen]
    assert fitted.history[-1]["train/loss"] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-5)
    torch.stack(losses).mean().backward()
    end = dict(fitted.model.named_parameters())
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(end[name], parameter - parameter.grad, rtol=1e-4, atol=1e-5)


def test_every_accumulated_batch_has_its_own_noise(data, tmp_path, monkeypatch):
    numbers = []

    def watched(seed, number):
        numbers.append(number)
        return generator(number)

    monkeypatch.setattr(pretraining, "step_generator", watched)
    learn(data, tmp_path / "run", steps=4, validate_every=2, accumulate=3)
    assert [n for n in numbers if n < pretraining.VALIDATION_STREAM] == list(range(12))


@pytest.mark.parametrize("preset", ["default", "published"])
def test_half_precision_keeps_losses_and_gradients(preset, crystals, tmp_path):
    """Under autocast losses stay in single precision, and every gradient points where it did."""
    batch = batch_of(crystals, tmp_path)
    gradients = []
    for half in (False, True):
        encoder = SiteNet.from_preset("compact", seed=0)
        torch.manual_seed(0)
        objective = InfoMax.for_encoder(encoder, preset, {"greedy": False})
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, parts = objective.loss(encoder, batch, generator())
        assert {value.dtype for value in (loss, *parts.values())} == {torch.float32}
        loss.backward()
        networks = {"encoder": encoder, "objective": objective}
        named = {f"{o}.{n}": p.grad for o, network in networks.items() for n, p in network.named_parameters()}
        gradients.append({"loss": loss.detach().view(1), **{n: g for n, g in named.items() if g is not None}})
    single, half = gradients
    assert single.keys() == half.keys()
    assert float(half["loss"]) == pytest.approx(float(single["loss"]), rel=0.02)
    size = max(float(g.norm()) for g in single.values())
    for name, gradient in single.items():
        assert float((half[name] - gradient).norm()) < 0.1 * float(gradient.norm()) + 0.01 * size, name


def test_half_precision_trains_about_as_well(data, tmp_path):
    single, half = (tune(data, precision=p, steps=48, batch_sites=60) for p in ("32", "bf16"))
    assert half.history[-1]["train/loss"] == pytest.approx(single.history[-1]["train/loss"], rel=0.2)
    assert single.history != half.history
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_long_arrays_are_claimed_by_their_hash(data, tmp_path):
    tune(data, tmp_path / "run")
    assert (tmp_path / "run" / "run.json").stat().st_size < 2000
    with pytest.raises(InputError, match="holds another run: its labels differ from this one's"):
        tune(data, tmp_path / "run", labels=data[1] + 1)


def test_device_is_the_one_asked_for(monkeypatch):
    assert trainer_arguments(1)["accelerator"] == "auto" and ranks.chosen_device() == ("auto", None)
    monkeypatch.setenv(ranks.DEVICE, "cpu")
    arguments = trainer_arguments(1)
    assert (arguments["accelerator"], arguments["devices"]) == ("cpu", 1)
    monkeypatch.setattr(ranks.CUDAAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(ranks.CUDAAccelerator, "auto_device_count", staticmethod(lambda: 2))
    monkeypatch.setenv(ranks.DEVICE, "cuda:1")
    arguments = trainer_arguments(1)
    assert (arguments["accelerator"], arguments["devices"]) == ("cuda", [1])
    with pytest.raises(InputError, match="One GPU by its number is for one process"):
        trainer_arguments(2)
    monkeypatch.setenv(ranks.DEVICE, "cuda:2")
    with pytest.raises(InputError, match=r"no device cuda:2 on this machine. It has: 2 GPU\(s\), counted from cuda:0"):
        trainer_arguments(1)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_hardware_gets_a_sentence(name, monkeypatch):
    for accelerator in (ranks.CUDAAccelerator, ranks.MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", staticmethod(lambda: False))
    monkeypatch.setenv(ranks.DEVICE, name)
    with pytest.raises(InputError, match=f"There is no device {name} on this machine. It has: cpu."):
        ranks.chosen_device()


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", ""])
def test_unknown_hardware_is_refused(name, monkeypatch):
    monkeypatch.setenv(ranks.DEVICE, name)
    with pytest.raises(InputError, match="The device is auto, cpu, cuda, cuda:N or mps"):
        ranks.chosen_device()


def test_a_network_goes_to_the_device_and_comes_back(monkeypatch):
    network = torch.nn.Linear(2, 1)
    with ranks.computing_on(network) as device:
        assert device.type == "cpu"
    monkeypatch.setenv(ranks.DEVICE, "cpu")
    with ranks.computing_on(network) as device:
        assert device.type == "cpu" and network.weight.device.type == "cpu"


@pytest.mark.parametrize("start", ["spawn", "popen"])
def test_a_process_of_its_own_leaves_endings_to_its_parent_but_ctrl_c(monkeypatch, start):
    """Torch sends Ctrl-C where the parent was killed, so a rank hears it."""
    left: list[int] = []
    monkeypatch.setattr(ranks, "quiet", contextlib.nullcontext)
    monkeypatch.setattr(ranks, "leave_to_parent", left.extend)
    monkeypatch.setattr(ranks.DDPStrategy, "setup_environment", lambda self: None)
    ranks._ddp(start).setup_environment()
    assert set(left) == ({signal.SIGTERM, signal.SIGHUP} if start == "spawn" else set())
