"""From settings to options and back: YAML files and the command line agree, and what is unknown is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import Field

from matgl_infomax import cli
from matgl_infomax.errors import InputError
from matgl_infomax.settings import base, commands
from matgl_infomax.settings.base import Settings


def parsed(settings_class: type[Settings], *words: str) -> Any:
    """Settings as the command line gives them."""
    given = vars(base.build_parser({"job": (settings_class, "")}).parse_args(["job", *words]))
    given.pop("command")
    return base.read_settings(settings_class, given)


@pytest.mark.parametrize("order", [["a", "b", "--info", "i", "--out", "o"], ["--info", "i", "--out", "o", "a", "b"]])
def test_folders_of_submit_are_plain_words(order, tmp_path):
    parser = base.build_parser({"submit": (commands.SubmitConfig, "")})
    given = vars(parser.parse_args(["submit", *order]))
    assert given.pop("command") == "submit"
    settings = base.read_settings(commands.SubmitConfig, given)
    assert (settings.run, settings.info, settings.out) == ([Path("a"), Path("b")], Path("i"), Path("o"))


def test_every_field_is_an_option_and_every_option_a_field():
    parser = base.build_parser({name: (cls, "") for name, (cls, _) in cli.COMMANDS.items()})
    text = ["curve", "--data", "d", "--out", "o", "--labels", "5", "7", "--model", "sitenet", "--finetune.steps", "9"]
    given = vars(parser.parse_args(text))
    assert given.pop("command") == "curve"
    settings = base.read_settings(commands.CurveConfig, given)
    assert (settings.labels, settings.finetune.steps, settings.model.name) == ([5, 7], 9, "sitenet")


def test_yaml_and_options_agree_and_options_win(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"data": "a", "out": "b", "labels": [5], "finetune": {"steps": 3, "loss": "mse"}}))
    settings = base.read_settings(commands.CurveConfig, {"config": file, "finetune.steps": 4})
    assert (settings.finetune.steps, settings.finetune.loss, settings.labels) == (4, "mse", [5])


class Inner(Settings):
    """A section."""

    depth: int = Field(default=2, ge=1, description="How deep.")
    kind: str | None = Field(default=None, description="Of which kind.")


class Job(Settings):
    """One option of each type."""

    out: Path = Field(description="Where to.")
    share: float = Field(default=0.5, ge=0, lt=1, description="How much, 50% for instance.")
    fast: bool = Field(default=False, description="Whether.")
    names: list[str] = Field(default=[], description="Which.")
    extra: dict[str, Any] = Field(default={}, description="What else.")
    inner: Inner = Inner()


def test_every_type_of_option_is_read():
    words = ["--out", "o", "--share", "0.25", "--fast", "--names", "a", "b", "--inner.depth", "3", "--inner.kind", "x"]
    found = parsed(Job, *words, "--extra", "a=1", "b=[1, two]", "c=null", "d=k=v")
    assert found == Job(
        out=Path("o"), share=0.25, fast=True, names=["a", "b"], inner=Inner(depth=3, kind="x"),
        extra={"a": 1, "b": [1, "two"], "c": None, "d": "k=v"},
    )  # fmt: skip
    assert parsed(Job, "--out", "o", "--no-fast") == parsed(Job, "--out", "o") == Job(out=Path("o"))


def test_a_file_and_words_give_the_same_settings(tmp_path):
    file = tmp_path / "job.yaml"
    content = {"out": "o", "share": 0.25, "fast": True, "names": ["a"], "extra": {"k": 1}, "inner": {"depth": 3}}
    file.write_text(yaml.safe_dump(content))
    words = ["--out", "o", "--share", "0.25", "--fast", "--names", "a", "--extra", "k=1", "--inner.depth", "3"]
    assert parsed(Job, "--config", str(file)) == parsed(Job, *words)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("out: o\nshrae: 0.1", "Unknown option 'shrae'; known: out, share, fast, names, extra, inner."),
        ("out: o\ninner: {dept: 3}", "Unknown option 'inner.dept'; known: depth, kind."),
        ("share: 2", "--out is required; option share = 2 is refused: Input should be less than 1."),
        ("out: o\nshare: .nan", "option share = nan is refused"),
        ("out: o\ninner: 3", "option inner = 3 is refused"),
        ("3", "must hold options as 'name: value' lines. Received: int."),
        ("out: [", "is no valid YAML"),
        ("", "Received: NoneType."),
        ("out: o\nout: p", "'out' is there twice"),
        ("out: o\n3: p", "the name '3' is no text"),
        ("out: o\nyes: p", "the name 'yes' is no text"),
        ("out: o\nextra: {1: 2}", "the name '1' is no text"),
        ("out: o\nshare: true", "option share = True is refused: a number is needed, not a truth value"),
        ("out: o\ninner: {depth: true}", "option inner.depth = True is refused: a number is needed"),
        ("out: o\ninner: {depth: 1_5}", "'1_5' would be read as another number"),
        ("out: o\ninner: {depth: '1_5'}", "option inner.depth = '1_5' is refused"),
        (f"out: o\ninner: {{depth: {10**30}}}", "a whole number of at most 62 bits is needed"),
        ("out: ''", "Option out is empty."),
        ("out: o\nnames: ['']", "option names is empty"),
        ("out: o\nshrae: 0.1", "Did you mean 'share'?"),
    ],
)
def test_a_wrong_file_gets_one_sentence_with_all_mistakes(content, sentence, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as found:
        base.read_settings(Job, {"config": file})
    assert sentence.lower() in str(found.value).lower()


def test_a_file_that_is_no_text_gets_a_sentence(tmp_path):
    (tmp_path / "job.yaml").write_bytes(b"out: \xff\xfe")
    with pytest.raises(InputError, match="is no valid YAML"):
        base.read_settings(Job, {"config": tmp_path / "job.yaml"})
    with pytest.raises(InputError, match="Cannot read the settings file"):
        base.read_settings(Job, {"config": tmp_path / "missing.yaml"})


def test_a_value_where_a_section_belongs_is_told(tmp_path):
    (tmp_path / "job.yaml").write_text("out: o\ninner: 3")
    with pytest.raises(InputError, match=r"The YAML file's 'inner' must be a section of options\. Received: 3\."):
        base.read_settings(Job, {"config": tmp_path / "job.yaml", "inner.depth": 4})


@pytest.mark.parametrize("words", [["--out", ""], ["--out", "  "], ["--out="]], ids=["empty", "blank", "equals"])
def test_an_empty_name_is_not_the_working_folder(words):
    with pytest.raises(InputError, match=r"Option out is empty\."):
        parsed(Job, *words)
    assert parsed(Job, "--out", ".").out == Path(".")


def test_one_value_is_a_list_of_one(tmp_path):
    (tmp_path / "job.yaml").write_text("out: o\nnames: energy")
    assert parsed(Job, "--config", str(tmp_path / "job.yaml")).names == ["energy"]
    settings = {"out": "o", "data": "d", "labels": 40, "target": "energy", "learning_rates": 0.001}
    found = commands.CurveConfig(**settings)
    assert (found.labels, found.target, found.learning_rates) == ([40], ["energy"], [0.001])


def test_a_misspelt_command_or_choice_is_asked_for():
    parser = base.build_parser({name: (cls, "") for name, (cls, _) in cli.COMMANDS.items()})
    with pytest.raises(InputError, match=r"Did you mean 'finetune'\?"):
        parser.parse_args(["finetun"])
    with pytest.raises(InputError, match=r"Did you mean 'tensornet'\?"):
        parser.parse_args(["curve", "--model", "tensornt"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--shar", "0.1"], "Unrecognized arguments: --shar 0.1"),
        (["--share", "much"], "invalid float value: 'much'"),
        (["--extra", "k"], "Expected KEY=VALUE, received 'k'"),
        (["--inner.depth", "1.5"], "invalid int value: '1.5'"),
        (["--inner.depth", "1_0"], "invalid int value: '1_0'"),
        (["--share", "0_5"], "invalid float value: '0_5'"),
        (["--shar", "0.1"], "Did you mean '--share'?"),
        (["--inner.dept", "3"], "Did you mean '--inner.depth'?"),
        (["--zzzz", "3"], "Unrecognized arguments: --zzzz 3. It needs --out."),
        (["--share", "0.1", "--share", "0.2"], "--share is given twice"),
        (["--names", "a", "--names", "b"], "--names is given twice"),
        (["--fast", "--no-fast"], "--no-fast is given twice"),
        (["--extra", "a=1", "--extra", "b=2"], "--extra is given twice"),
        (["--extra", "a=1", "a=2"], "A is given twice in --extra"),
        (["--extra", "=1"], "Expected KEY=VALUE, received '=1'"),
        (["--extra", "units=[64,", "32]"], "Quote what has spaces or brackets: --extra 'units=[1, 2]'"),
        (["--extra", "a=1_5"], "'1_5' would be read as another number"),
        (["--config", ""], "it is empty"),
    ],
)
def test_wrong_words_get_a_sentence_that_names_the_help(words, sentence):
    with pytest.raises(InputError) as found:
        parsed(Job, "--out", "o", *words)
    assert sentence in str(found.value) and "--help`" in str(found.value)


PRESETS = {"default": {}, "deep": {"depth": 7, "kind": "b"}}


def test_options_go_over_those_of_a_preset():
    assert base.chosen("dig", Inner, PRESETS, "default", {}) == Inner()
    assert base.chosen("dig", Inner, PRESETS, "deep", {"kind": "c"}) == Inner(depth=7, kind="c")


@pytest.mark.parametrize(
    ("preset", "options", "sentence"),
    [
        ("clever", {}, r"Unknown dig preset 'clever'\. Choose one of: default, deep\."),
        ("deep", {"dept": 1}, r"dig option 'dept': .*Known options: depth, kind\."),
        ("deep", {"depth": 0}, r"dig option 'depth': Input should be greater than or equal to 1"),
    ],
)
def test_unknown_presets_and_options_are_refused(preset, options, sentence):
    with pytest.raises(InputError, match=sentence):
        base.chosen("dig", Inner, PRESETS, preset, options)


def test_settings_are_taken_from_any_mapping_and_keywords_win():
    """OmegaConf's containers are mappings and sequences of their own; pydantic alone takes no such list."""
    from collections import UserDict, UserList

    from matgl_infomax.settings.base import settings_from
    from matgl_infomax.settings.training import FinetuneSettings, ModelSettings

    given = UserDict({"steps": 5, "freeze": UserList(["input"]), "seed": np.int64(3)})
    wanted = FinetuneSettings(steps=7, freeze=["input"], seed=3)
    assert settings_from(FinetuneSettings, given, {"steps": 7}, "settings") == wanted
    assert (
        settings_from(FinetuneSettings, FinetuneSettings(steps=5, freeze=["input"], seed=3), {"steps": 7}, "s")
        == wanted
    )
    assert settings_from(FinetuneSettings, None, {}, "settings") == FinetuneSettings()
    assert settings_from(FinetuneSettings, wanted, {}, "settings") is wanted
    for wrong in (ModelSettings(), 5, "fast", [1]):
        with pytest.raises(InputError, match=r"^settings takes FinetuneSettings or a dictionary of its fields\."):
            settings_from(FinetuneSettings, wrong, {}, "settings")


def test_a_section_within_settings_is_refused_under_its_full_name():
    from matgl_infomax.settings.commands import CurveConfig

    with pytest.raises(InputError, match=r"Unknown option 'finetune\.stepz'.*Did you mean 'steps'"):
        CurveConfig(out="o", finetune={"stepz": 1})
