"""Settings of the commands that ask questions of a model: what they need, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest

from matgl_infomax.settings import commands
from matgl_infomax.settings.base import SettingsError
from matgl_infomax.settings.commands import (
    BenchmarkConfig,
    CompareConfig,
    CurveConfig,
    ForceStudyConfig,
    OverlapConfig,
    ProbeConfig,
    PublishConfig,
    ReportConfig,
    RepresentConfig,
    SubmitConfig,
    WeightsConfig,
)

NEEDED = {
    CurveConfig: {"out": "o"},
    BenchmarkConfig: {"task": "t", "out": "o"},
    ForceStudyConfig: {"data": "d", "out": "o"},
    OverlapConfig: {"data": "d", "task": "t", "out": "o"},
    RepresentConfig: {"data": "d", "checkpoint": "c", "out": "o"},
    ProbeConfig: {"data": "d", "checkpoint": "c", "out": "o"},
    SubmitConfig: {"run": ["r"], "info": "i", "out": "o"},
    CompareConfig: {"run": ["r"]},
    ReportConfig: {"run": ["r"], "out": "o"},
    WeightsConfig: {},
    PublishConfig: {"name": "n", "out": "o"},
}
WRONG = [
    (CurveConfig, {"folds": 0}),
    (CurveConfig, {"seeds": 0}),
    (CurveConfig, {"split": "later"}),
    (CurveConfig, {"arms": []}),
    (CurveConfig, {"fold": 5}),
    (CurveConfig, {"seeds": 0}),
    (CurveConfig, {"corpus_size": 9}),
    (CurveConfig, {"launcher": "cloud"}),
    (CurveConfig, {"workers": 0}),
    (BenchmarkConfig, {"folds": []}),
    (BenchmarkConfig, {"arm": "clever"}),
    (BenchmarkConfig, {"labels": 1}),
    (ForceStudyConfig, {"elements": []}),
    (ForceStudyConfig, {"shares": []}),
    (RepresentConfig, {"untrained": 4}),
    (RepresentConfig, {"heads": ["oracle"]}),
    (ProbeConfig, {"sites": 4}),
    (ProbeConfig, {"probes": []}),
    (SubmitConfig, {"run": []}),
    (CompareConfig, {"draws": 99}),
    (CompareConfig, {"ranked": "mine"}),
    (ReportConfig, {"format": "pdf"}),
]


@pytest.mark.parametrize("kind", NEEDED, ids=lambda kind: kind.__name__)
def test_each_command_needs_these_and_refuses_others(kind):
    kind(**NEEDED[kind])
    for name in NEEDED[kind]:
        with pytest.raises(SettingsError, match=f"{name} is required"):
            kind(**{key: value for key, value in NEEDED[kind].items() if key != name})
    with pytest.raises(SettingsError, match="Unknown option 'tempature'"):
        kind(**NEEDED[kind], tempature=1)


@pytest.mark.parametrize(("kind", "wrong"), WRONG, ids=lambda value: getattr(value, "__name__", str(value)))
def test_values_that_make_no_sense_are_refused(kind, wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=rf"^Option {name}\b"):
        kind(**{**NEEDED[kind], **wrong})


def test_no_command_is_forgotten_here():
    found = {
        kind
        for name, kind in vars(commands).items()
        if name.endswith("Config") and kind.__module__ == commands.__name__
    }
    assert found == set(NEEDED)


def test_every_command_has_settings_of_its_own_for_training():
    curve, benchmark = CurveConfig(out="o"), BenchmarkConfig(task="t", out="o")
    assert (curve.finetune, curve.pretrain) == (benchmark.finetune, benchmark.pretrain)
    assert curve.data == "official" and curve.target == []
    assert benchmark.folds == [0, 1, 2, 3, 4], "a submission needs all five"
    assert ForceStudyConfig(data="d", out="o").model.name == "m3gnet"


def test_settings_of_commands_load_without_torch():
    code = "import sys, matgl_infomax.settings.commands; print([m for m in ('torch', 'matgl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
