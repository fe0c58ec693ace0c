"""Settings of everything that trains: refused together where they contradict each other, unchangeable once made."""

from __future__ import annotations

from pathlib import Path

import pytest

from matgl_infomax.objectives import OBJECTIVES
from matgl_infomax.settings.base import SettingsError
from matgl_infomax.settings.training import (
    OBJECTIVE_NAMES,
    DataSettings,
    FinetuneConfig,
    FinetuneSettings,
    ForceFieldConfig,
    ForceFieldSettings,
    LabelColumns,
    ModelSettings,
    PretrainConfig,
    PretrainSettings,
)

ALL = {
    DataSettings: {"data": "d"},
    ModelSettings: {},
    PretrainSettings: {},
    FinetuneSettings: {},
    ForceFieldSettings: {},
    LabelColumns: {},
    PretrainConfig: {"data": "d", "out": "o"},
    FinetuneConfig: {"data": "d", "out": "o"},
    ForceFieldConfig: {"data": "d", "out": "o"},
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_settings_refuse_unknown_names_and_cannot_be_changed(kind):
    made = kind(**ALL[kind])
    with pytest.raises(SettingsError, match="Unknown option 'tempature'"):
        kind(**ALL[kind], tempature=0.1)
    name = next(iter(kind.model_fields))
    with pytest.raises(SettingsError, match="do not change once they are made"):
        setattr(made, name, getattr(made, name))


@pytest.mark.parametrize("kind", [PretrainSettings, FinetuneSettings, ForceFieldSettings])
@pytest.mark.parametrize(
    "wrong",
    [{"steps": -1}, {"warmup_fraction": 1.0}, {"gradient_clip": 0.0}, {"weight_decay": -0.1}, {"learning_rate": -1.0},
     {"learning_rate": float("nan")}, {"weight_decay": float("inf")}, {"batch_sites": 0}],
    ids=str,
)  # fmt: skip
def test_numbers_out_of_range_are_refused(kind, wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize(
    "options", [{"preset": "compact"}, {"supercell_atoms": 30}, {"primitive": False}, {"merge_angstrom": 0.0}], ids=str
)
def test_settings_of_sitenet_mean_nothing_to_other_networks(options):
    (name,) = options
    assert getattr(ModelSettings(**options), name) == options[name]
    with pytest.raises(SettingsError, match=f"{name} is for sitenet. With megnet leave it out"):
        ModelSettings(name="megnet", **options)


def test_values_as_they_are_left_out_may_be_given_to_any_network():
    given = {"preset": "rich", "supercell_atoms": 50, "primitive": True, "merge_angstrom": 1e-4}
    assert ModelSettings(name="megnet", **given).name == "megnet"


def test_every_part_of_a_combination_is_known():
    assert tuple(OBJECTIVES) == OBJECTIVE_NAMES, "named without torch, and the same"
    assert PretrainSettings(objective="masked+denoise").objective == "masked+denoise"
    for wrong in ("telepathy", "masked+telepathy", "masked+", ""):
        with pytest.raises(SettingsError, match=r"Unknown objective|objective is empty"):
            PretrainSettings(objective=wrong)


def test_patience_without_held_out_labels_would_do_nothing():
    with pytest.raises(ValueError, match="patience waits for an error on held-out labels"):
        FinetuneSettings(patience=2, validation_fraction=0.0)


def test_strength_of_noise_that_nobody_adds_is_refused():
    with pytest.raises(SettingsError, match="noise_angstrom is for Noisy Nodes"):
        FinetuneSettings(noise_angstrom=0.1)
    assert FinetuneSettings(noise_angstrom=0.1, noisy_nodes=0.5).noise_angstrom == 0.1


def test_patience_with_held_out_labels_is_welcome():
    assert FinetuneSettings(patience=2, validation_fraction=0.1).patience == 2
    assert FinetuneSettings(patience=2).validation_fraction is None, "left out: the number of labels decides"


def test_label_columns_are_told_apart_by_shape():
    assert LabelColumns(energy="e", forces="f", stress="s").names == (["e"], ["f", "s"])
    assert LabelColumns(forces="f").names == ([], ["f"])
    assert LabelColumns().names == ([], [])


def test_force_fields_start_from_a_network_that_makes_them():
    made = ForceFieldConfig(data="d", out="o")
    assert made.model.name == "m3gnet" and made.out == Path("o")
    # Read by the loop of all trainings, and no choice here.
    assert (made.processes, made.accumulate, made.precision) == (1, 1, "32")
    assert not {"processes", "accumulate", "precision"} & set(ForceFieldConfig.model_fields)
