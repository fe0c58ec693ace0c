"""What of the settings decides a result: the marks stand where settings are declared, and every claim reads them."""

from __future__ import annotations

import pytest

from matgl_infomax.settings.base import Settings, deciding
from matgl_infomax.settings.commands import BenchmarkConfig, CurveConfig, ForceStudyConfig, ProbeConfig, RepresentConfig
from matgl_infomax.settings.training import FinetuneSettings, ForceFieldConfig, ModelSettings, PretrainSettings

COMMANDS = [
    CurveConfig(out="o"),
    BenchmarkConfig(task="t", out="o"),
    ForceStudyConfig(data="d", out="o"),
    RepresentConfig(data="d", checkpoint="c", out="o"),
    ProbeConfig(data="d", checkpoint="c", out="o"),
    ForceFieldConfig(data="d", out="o"),
]


def changed(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


@pytest.mark.parametrize("settings", [PretrainSettings(), FinetuneSettings()])
def test_sharing_the_work_decides_nothing(settings):
    assert deciding(changed(settings, processes=2)) == deciding(settings)
    for change in ({"steps": 7}, {"seed": 1}, {"accumulate": 2}, {"precision": "bf16"}):
        assert deciding(changed(settings, **change)) != deciding(settings)


def test_looking_on_decides_nothing():
    assert deciding(PretrainSettings(probe_every=3)) == deciding(PretrainSettings())


@pytest.mark.parametrize("settings", COMMANDS, ids=lambda settings: type(settings).__name__)
def test_no_path_and_no_machine_decides(settings):
    """Where things lie and how many work on them is marked in every command."""
    found = deciding(settings)
    fields = type(settings).model_fields
    places = [name for name, field in fields.items() if "Path" in str(field.annotation) or name == "data"]
    assert {"out"} <= set(places)
    assert not {*places, "workers", "launcher", "processes", "prepare_processes"} & set(found)
    assert all("processes" not in found[name] for name in ("pretrain", "finetune") if name in found)


def test_what_is_told_otherwise_is_left_out_by_name():
    settings = CurveConfig(out="o", finetune=FinetuneSettings(seed=5), target=["y"])
    found = deciding(settings, apart=["target", "finetune.seed"])
    assert "target" not in found and "seed" not in found["finetune"] and found["pretrain"]["seed"] == 0
    with pytest.raises(KeyError, match="sed"):
        deciding(settings, apart=["finetune.sed"])


def test_everything_else_is_there():
    assert deciding(ModelSettings(name="megnet")) == ModelSettings(name="megnet").model_dump()
    found = deciding(FinetuneSettings())
    assert set(FinetuneSettings.model_fields) - set(found) == {"processes", "logger"}
    left_out = set(PretrainSettings.model_fields) - set(deciding(PretrainSettings()))
    assert left_out == {"processes", "probe_every", "logger"}


def test_the_vectors_of_the_supercell_decide_where_they_are_not_the_given_ones():
    """A study from before the reduced vectors, whose claim does not name them, is not gone on with."""
    niggli = {"supercell vectors": "niggli"}
    for preset, more in (("rich", niggli), ("compact", niggli), ("published", {})):
        settings = ModelSettings(preset=preset)
        assert deciding(settings) == settings.model_dump() | more
        assert deciding(CurveConfig(out="o", model=settings))["model"] == settings.model_dump() | more
    given = ModelSettings(options={"standard_cell": False})
    assert deciding(given) == given.model_dump()
