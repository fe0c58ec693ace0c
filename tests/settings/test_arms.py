"""Names of arms stand once: what carries an arm out, judges it or starts it knows the same names."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature
from typing import get_args

import pytest

from matgl_infomax.leaderboard.verdict import ALTERNATIVES
from matgl_infomax.settings.arms import ARM_FACTS, BASELINE, STARTS, WITHOUT_NETWORK, ArmName, explained
from matgl_infomax.settings.base import SettingsError
from matgl_infomax.settings.commands import BenchmarkSettings, CurveSettings
from matgl_infomax.tasks.studies import benchmark_grid
from matgl_infomax.tasks.studies.arms import ARMS, DESCRIBED


def test_every_named_arm_is_carried_out_and_no_other():
    assert list(ARMS) == list(ARM_FACTS) == list(get_args(ArmName))
    assert tuple(DESCRIBED) == WITHOUT_NETWORK
    assert set(CurveSettings().arms) <= set(ARM_FACTS) and BASELINE in ARM_FACTS


def test_kinds_are_what_the_arms_do():
    """An arm's function tells its kind: what trains, what regresses on vectors, what reads descriptors."""
    kinds = {"scratch": "trained", "finetuned": "trained", "frozen": "vectors", "untrained": "vectors"}
    for name, arm in ARMS.items():
        function = getattr(arm, "func", arm).__name__
        assert ARM_FACTS[name].kind == kinds.get(function, "descriptors"), name
        # `frozen` and `finetuned` open an encoder that was learnt before; nothing else does.
        assert (name in STARTS) == (function in ("finetuned", "frozen")), name
        assert signature(arm).return_annotation == "ArmAnswer"


def test_a_benchmark_chooses_rates_for_what_is_trained():
    trained = [name for name, facts in ARM_FACTS.items() if facts.kind == "trained"]
    assert sorted(benchmark_grid.TRAINED) == sorted(trained)
    once = [name for name, facts in ARM_FACTS.items() if facts.kind == "vectors" and facts.start]
    assert sorted(benchmark_grid.ONE_ANSWER) == sorted(once)


def test_a_verdict_advises_named_arms():
    assert set(ALTERNATIVES) == {*WITHOUT_NETWORK, "untrained", "frozen"}


def test_settings_explain_every_arm_and_refuse_others():
    text = CurveSettings.model_fields["arms"].description
    assert explained() in text
    assert [name for name in ARM_FACTS if f"{name}: " not in text] == []
    for name in ARM_FACTS:
        assert BenchmarkSettings(task="jdft2d", arm=name).arm == name
    with pytest.raises(SettingsError, match="Input should be 'scratch'"):
        BenchmarkSettings(task="jdft2d", arm="mine")


def test_names_come_without_torch():
    code = "import sys, matgl_infomax.settings.arms; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
