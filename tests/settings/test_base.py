"""The printed help: what is required first, then what almost everyone sets, then groups; each option once."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from matgl_infomax import cli
from matgl_infomax.settings.base import Heading
from matgl_infomax.settings.training import PretrainConfig

SECTIONS = ("model", "pretrain", "finetune", "forcefield")
OTHER = ["--config", "-v", "-q", "--no-progress", "--log-file", "-h"]
SUFFIXES = ("", *(f" ({heading.lower()})" for heading in get_args(Heading)))


def printed_help(command, capsys, monkeypatch, columns):
    """What ``--help`` prints: the usage, and the options by heading in the order in which they stand."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    groups, heading = {}, None
    for line in text.splitlines():
        if found := re.fullmatch(r"([A-Z][A-Za-z -]+(?: \([a-z -]+\))?):", line):
            heading = found[1]
            assert heading not in groups, "a heading stands once"
            groups[heading] = []
        elif heading and (found := re.match(r"  (-\w\b|--[\w.-]+|[A-Z]+\b)", line)):
            groups[heading].append(found[1])
    return text, groups


def spelt(settings_class, prefix=""):
    """Every option of a command by the name of its field, with the field."""
    found = {}
    for name, field in settings_class.model_fields.items():
        if not prefix and name in SECTIONS:
            found |= spelt(field.annotation, f"{name}.")
        else:
            word = (field.json_schema_extra or {}).get("positional")
            found[word or f"--{prefix}{name}".replace("_", "-")] = field
    if "--model.name" in found:
        found["--model"] = found.pop("--model.name")
    return found


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_goes_from_required_to_common_to_groups(command, columns, capsys, monkeypatch):
    text, groups = printed_help(command, capsys, monkeypatch, columns)
    options = spelt(cli.COMMANDS[command][0])
    shown = [word for group in groups.values() for word in group]
    assert sorted(shown) == sorted([*options, *OTHER]), "each option stands once"
    assert set(groups.get("Required", [])) == {word for word, field in options.items() if field.is_required()}
    top = {word: field for word, field in options.items() if "." not in word and not field.is_required()}
    common = {word for word, field in top.items() if (field.json_schema_extra or {}).get("common")}
    assert set(groups.get("Common", [])) == common
    assert groups["Other"] == OTHER
    order = ["Required", "Common", *(name + more for name in get_args(Heading) for more in SUFFIXES), "Other"]
    places = [order.index(heading) for heading in groups]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= columns


def test_usage_names_what_is_required_and_no_more(capsys, monkeypatch):
    text, _ = printed_help("submit", capsys, monkeypatch, 80)
    assert text.splitlines()[0] == "usage: matgl-infomax submit DIR ... --info PATH --out PATH [options]"


def test_settings_of_a_section_stand_under_its_heading(capsys, monkeypatch):
    _, groups = printed_help("curve", capsys, monkeypatch, 80)
    assert "--pretrain.steps" in groups["Pretraining (optimiser)"]
    assert "--finetune.patience" in groups["Fine-tuning"]
    assert "--model.preset" in groups["Model"] and "--model" in groups["Common"]
    _, alone = printed_help("pretrain", capsys, monkeypatch, 80)
    assert "--gradient-clip" in alone["Optimiser"] and "--steps" in alone["Common"]


def test_a_class_below_changes_a_default_and_not_the_place():
    assert PretrainConfig.declared_in("validation_fraction").__name__ == "OptimiserSettings"
    assert PretrainConfig.declared_in("out") is PretrainConfig
