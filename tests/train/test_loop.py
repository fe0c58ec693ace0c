"""The loop around Lightning: checkpoints whole or not at all, one bar, interrupts, sums in a fixed order."""

from __future__ import annotations

import hashlib
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from matgl_infomax.errors import InputError
from matgl_infomax.settings import training
from matgl_infomax.settings.training import LOGGER_PACKAGES, PretrainSettings
from matgl_infomax.train import loop
from matgl_infomax.train.loop import CHECKPOINT, AtomicCheckpoint, Findings, StepBar, read_checkpoint, run_steps
from matgl_infomax.train.module import StepModule

SETTINGS = PretrainSettings(steps=6, validate_every=4)


class Line(StepModule):
    """The slope of a line, learnt from its points; remembers the steps that it took."""

    def __init__(self):
        slope = nn.Parameter(torch.zeros(1))
        super().__init__([{"params": [slope], "lr": 0.1}], steps=6, weight_decay=0.0, warmup_fraction=0.0)
        self.slope, self.taken = slope, []

    def training_step(self, batch, batch_idx):
        self.taken.append(self.global_step)
        loss = (self.slope * batch - 2 * batch).square().mean()
        self.count({"loss": loss})
        return loss

    def validate(self):
        return {"score": float((self.slope - 2).abs())}, self


class Chunks(torch.utils.data.Sampler):
    """Batches of a chunk of four steps, of the last chunk two."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4 if self.epoch == 0 else 2

    def __iter__(self):
        for k in range(len(self)):
            yield [4 * self.epoch + k]


def points():
    return DataLoader(torch.linspace(1, 2, 6), sampler=Chunks(), batch_size=None)


def test_a_run_takes_its_steps_validates_after_each_chunk_and_keeps_a_checkpoint(tmp_path):
    module = Line()
    run_steps(module, points(), SETTINGS, out=tmp_path, description=None)
    assert module.taken == list(range(6)) and [entry["step"] for entry in module.history] == [4.0, 6.0]
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]
    checkpoint = read_checkpoint(tmp_path / CHECKPOINT)
    assert checkpoint["global_step"] == 6 and checkpoint["progress"]["history"] == module.history


def test_a_run_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path):
    whole = Line()
    run_steps(whole, points(), SETTINGS, out=None, description=None)

    class Dies(Line):
        def training_step(self, batch, batch_idx):
            if self.global_step == 5:
                raise KeyError("killed")
            return super().training_step(batch, batch_idx)

    with pytest.raises(KeyError, match="killed"):
        run_steps(Dies(), points(), SETTINGS, out=tmp_path, description=None)
    resumed = Line()
    run_steps(resumed, points(), SETTINGS, out=tmp_path, description=None)
    assert resumed.taken == [4, 5] and torch.equal(resumed.slope, whole.slope)
    assert resumed.history == whole.history and resumed.best_step == whole.best_step


def test_nothing_is_kept_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_steps(Line(), points(), SETTINGS, out=None, description=None)
    assert list(tmp_path.iterdir()) == []


def test_one_bar_over_all_steps(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run_steps(Line(), points(), SETTINGS, out=None, description="Drawing")
    shown = capsys.readouterr().err
    assert "Drawing: 100%" in shown and "6/6" in shown


def test_the_bar_starts_where_a_run_goes_on_and_one_process_shows_it(capsys):
    bar, trainer = StepBar("Drawing", 6), SimpleNamespace(is_global_zero=True, global_step=4)
    bar.on_train_start(trainer, None)
    assert bar.bar.n == 4
    trainer.global_step = 6
    bar.on_train_batch_end(trainer)
    assert bar.bar.n == 6
    bar.on_train_end(trainer, None)
    capsys.readouterr()
    other = StepBar("Drawing", 6)
    other.on_train_start(SimpleNamespace(is_global_zero=False, global_step=0), None)
    other.on_train_batch_end(trainer)
    other.on_train_end(trainer, None)
    assert other.bar is None and capsys.readouterr().err == ""


def test_half_a_checkpoint_never_replaces_a_good_one(tmp_path, monkeypatch):
    file = tmp_path / "last.ckpt"
    AtomicCheckpoint().save_checkpoint({"step": 1}, file)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space"):
        AtomicCheckpoint().save_checkpoint({"step": 2}, file)
    assert torch.load(file, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_one_flipped_bit_of_a_checkpoint_is_told_or_changes_nothing(tmp_path, capsys):
    """PyTorch itself reads other numbers from most of them. The word before the hash is the one thing that may go."""
    file, rng = tmp_path / CHECKPOINT, np.random.default_rng(3)
    saved = {"weights": torch.arange(40.0), "step": 7}
    AtomicCheckpoint().save_checkpoint(saved, file)
    whole = file.read_bytes()
    assert whole[-71:] == b"sha256:" + hashlib.sha256(whole[:-71]).hexdigest().encode()
    seal = range(8 * (len(whole) - 71), 8 * len(whole))
    for place in [*rng.integers(8 * len(whole), size=200).tolist(), *seal]:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        if 0 <= place // 8 - (len(whole) - 71) < 7:
            found = AtomicCheckpoint().load_checkpoint(file)
            assert torch.equal(found["weights"], saved["weights"]) and found["step"] == 7
            assert "ends without a hash" in capsys.readouterr().err
        else:
            with pytest.raises(InputError, match=r"no readable checkpoint\. Delete it .* Its SHA-256 begins with"):
                read_checkpoint(file)


def test_a_checkpoint_of_an_earlier_version_goes_on_with_a_word(tmp_path, capsys):
    torch.save({"step": 1}, tmp_path / CHECKPOINT)
    assert read_checkpoint(tmp_path / CHECKPOINT) == {"step": 1}
    assert "last.ckpt ends without a hash, as earlier versions wrote it" in capsys.readouterr().err


class Harmful:
    """Would write a file wherever it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    torch.save({"progress": Harmful(tmp_path / "owned")}, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=r"last\.ckpt is no readable checkpoint\. Delete it to start again\."):
        run_steps(Line(), points(), SETTINGS, out=tmp_path, description=None)
    assert not (tmp_path / "owned").exists()


def test_a_damaged_checkpoint_gets_a_sentence(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half of it")
    with pytest.raises(InputError, match="is no readable checkpoint"):
        read_checkpoint(tmp_path / CHECKPOINT)


def failing(monkeypatch, error):
    """A trainer that fails so, and the signals that its launcher sends."""
    sent = []

    class Fails:
        default_root_dir = "the folder"
        strategy = SimpleNamespace(launcher=SimpleNamespace(kill=sent.append))

        def fit(self, *_, **__):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise error

    monkeypatch.setattr(loop, "_trainer", lambda *_: Fails())
    return sent


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device"), "Cannot write the checkpoint in the folder: No space left on device"),
        (ProcessExitedException("signal 9", 0, 1, -9), "A process of the training ended early.*smaller batch_sites"),
        (ProcessRaisedException("Trace\nmatgl_infomax.errors.InputError: Give 4.\n", 0, 1), "^Give 4\\.$"),
    ],
)
def test_what_a_user_can_repair_is_a_sentence(error, sentence, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    sent = failing(monkeypatch, error)
    try:
        with pytest.raises(InputError, match=sentence):
            run_steps(Line(), points(), SETTINGS, out=None, description=None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent == [signal.SIGKILL], "no process is left behind"


def test_other_errors_of_processes_stay_what_they_are(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    failing(monkeypatch, ProcessRaisedException("Trace\nKeyError: 3\n", 0, 1))
    try:
        with pytest.raises(ProcessRaisedException, match="KeyError"):
            run_steps(Line(), points(), SETTINGS, out=None, description=None)
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_one_again_and_the_next_is_heard(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    failing(monkeypatch, SystemExit(0))
    try:
        with pytest.raises(KeyboardInterrupt):
            run_steps(Line(), points(), SETTINGS, out=None, description=None)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_findings_go_from_the_first_process_to_the_one_that_started_it(tmp_path):
    module, file = Line(), tmp_path / "findings.pt"
    module.history, module.best_step, module.best_score = [{"step": 4.0}], 4, 0.5
    Findings(file).on_train_end(SimpleNamespace(is_global_zero=False), module)
    assert not file.exists()
    Findings(file).on_train_end(SimpleNamespace(is_global_zero=True), module)
    other = Line()
    other.take_up(torch.load(file, weights_only=True))
    assert other.progress() == module.progress()


def test_training_sums_in_an_order_that_does_not_change(monkeypatch):
    """M3GNet's scatter with two threads gave other bits each time."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not torch.are_deterministic_algorithms_enabled()
    with loop.repeatable():
        assert torch.are_deterministic_algorithms_enabled() != torch.cuda.is_available()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_one_thread_has_one_order_already(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with loop.repeatable():
        assert not torch.are_deterministic_algorithms_enabled()


def test_loggers_get_every_validation(tmp_path):
    """Lightning's table holds what the history holds; a run that goes on begins a table of its own."""
    settings = SETTINGS.model_copy(update={"logger": ["csv"]})
    line = Line()
    run_steps(line, points(), settings, out=tmp_path, description=None)
    table = pd.read_csv(tmp_path / "logs" / "version_0" / "metrics.csv")
    assert list(table["step"]) == [entry["step"] for entry in line.history]
    assert list(table["validation/score"]) == [entry["validation/score"] for entry in line.history]
    assert list(table["train/loss"]) == pytest.approx([entry["train/loss"] for entry in line.history])


@pytest.mark.parametrize("name", LOGGER_PACKAGES)
def test_a_logger_without_its_package_gets_a_sentence(name, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=f"--logger {name} needs a package .* pip install {LOGGER_PACKAGES[name][0]}"):
        training.check_loggers([name])
    training.check_loggers(["csv"])


def test_csv_gets_the_settings(tmp_path):
    settings = SETTINGS.model_copy(update={"logger": ["csv"]})
    run_steps(Line(), points(), settings, out=tmp_path, description=None)
    told = yaml.safe_load((tmp_path / "logs" / "version_0" / "hparams.yaml").read_text())
    assert told == settings.model_dump(mode="json")


def test_a_logger_that_cannot_start_gets_a_sentence(tmp_path, monkeypatch):
    def refuse(out):
        raise ModuleNotFoundError("No module named 'nowhere'")

    monkeypatch.setitem(loop.LOGGERS, "csv", refuse)
    settings = SETTINGS.model_copy(update={"logger": ["csv"]})
    with pytest.raises(InputError, match=r"--logger csv cannot start: No module named 'nowhere'"):
        run_steps(Line(), points(), settings, out=tmp_path, description=None)


def test_tensorboard_gets_every_validation(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = SETTINGS.model_copy(update={"logger": ["tensorboard"]})
    line = Line()
    run_steps(line, points(), settings, out=tmp_path, description=None)
    events = EventAccumulator(str(tmp_path / "logs" / "version_0"))
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("validation/score")}
    assert told == pytest.approx({entry["step"]: entry["validation/score"] for entry in line.history})


@pytest.mark.filterwarnings("ignore")  # those of MLflow's own database
def test_mlflow_gets_every_validation_and_the_settings(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    pytest.importorskip("sqlalchemy", reason="MLflow's database needs SQLAlchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = SETTINGS.model_copy(update={"logger": ["mlflow"]})
    line = Line()
    run_steps(line, points(), settings, out=tmp_path, description=None)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("matgl-infomax").experiment_id])
    told = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "validation/score")}
    assert told == pytest.approx({entry["step"]: entry["validation/score"] for entry in line.history})
    assert run.data.params["steps"] == str(settings.steps)


def test_wandb_gets_a_run_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = SETTINGS.model_copy(update={"logger": ["wandb"]})
    run_steps(Line(), points(), settings, out=tmp_path, description=None)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
