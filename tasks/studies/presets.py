"""Studies that come with the package: settings of a learning curve under a name, one YAML file each."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml
from pydantic import Field

from matgl_infomax.errors import InputError
from matgl_infomax.settings.base import Settings, read_settings
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.tasks.matbench.task import find_task
from matgl_infomax.tasks.studies.starts import located

OFFICIAL = "official"
"""Name of the data that come with a Matbench task."""


class StudyFile(Settings):
    """What a file in ``studies/`` holds."""

    about: str = Field(description="What is asked, and of whom it follows.")
    no_data: str | None = Field(default=None, description="Why no data can be had; then the user has to bring them.")
    settings: dict[str, Any] = Field(default={}, description="Fields of CurveConfig.")


def study_names() -> list[str]:
    """Names of all studies, sorted."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


def load_study(name: str) -> StudyFile:
    """A study by its name.

    Raises:
        InputError: For an unknown name; the known ones are listed, each with what it asks.
    """
    if name not in study_names():
        known = "\n".join(f"  {known}: {_read(known).about}" for known in study_names())
        raise InputError(f"There is no such study. Received: {name}. Known:\n{known}")
    return _read(name)


def with_study(settings: CurveConfig) -> CurveConfig:
    """The settings of the study that is asked for, overridden by those that were given.

    Args:
        settings: as they were given; without a study they stay as they are.

    Raises:
        InputError: For an unknown study, or one without data when none are given.
    """
    if settings.study is None:
        return settings
    study = load_study(settings.study)
    given = _given(settings)
    if study.no_data is not None and "data" not in given:
        raise InputError(
            f"No data can be had for the study {settings.study}: {study.no_data} "
            "If you have them, give --data FILE and --target COLUMN."
        )
    return read_settings(CurveConfig, _dotted(_merged(study.settings, given)))


def resolved_study(settings: CurveConfig) -> CurveConfig:
    """Settings with one target, and with data that lie where they say.

    Args:
        settings: of a learning curve, its study taken in.

    Raises:
        InputError: If it is not said which crystals or which property.
    """
    if settings.data == OFFICIAL and settings.task is None:
        raise InputError("Which crystals? Give --data FILE, or --task NAME for the official data of a Matbench task.")
    targets = settings.target
    if not targets and settings.task is not None:
        targets = [find_task(settings.task)[1].target]
    if len(targets) != 1:
        given = " ".join(targets) or "(none)"
        raise InputError(f"A learning curve is about one property. Received --target {given}.")
    data = settings.data if settings.data == OFFICIAL else located(settings.data, settings.data_dir)
    return settings.model_copy(update={"target": targets, "data": data})


def _folder() -> Any:
    """The folder of the files, wherever the package is installed."""
    return files("matgl_infomax.tasks.studies")


def _read(name: str) -> StudyFile:
    """One file, checked."""
    return StudyFile(**yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8")))


def _given(settings: Settings) -> dict[str, Any]:
    """The fields that were set, not those at their defaults; sections as dictionaries."""
    found = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {name: _given(value) if isinstance(value, Settings) else value for name, value in found.items()}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two sets of options, one section at a time; the second one wins."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict) and name in _sections():
            merged[name] = _merged(below[name], above[name])
    return merged


def _sections() -> set[str]:
    """Options that are sections of options; other dictionaries are values."""
    fields = CurveConfig.model_fields.items()
    return {
        name for name, field in fields if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    }


def _dotted(options: dict[str, Any]) -> dict[str, Any]:
    """Options by dotted name, as the command line gives them."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if name in _sections() and isinstance(value, dict):
            flat |= {f"{name}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[name] = value
    return flat
