"""From settings classes to command-line options and back; YAML files go the same way."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from matgl_infomax.config import ModelSettings, Settings
from matgl_infomax.errors import InputError

Chosen = TypeVar("Chosen", bound=Settings)


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one sentence, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise InputError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")


def build_parser(commands: Mapping[str, tuple[type[Settings], str]]) -> Parser:
    """A parser with one sub-command per entry.

    Args:
        commands: settings class and a sentence of help, by name.
    """
    parser = Parser(
        prog="matgl-infomax",
        description="Self-supervised pretraining for crystal property models.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="Show the version.")
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (settings_class, help_text) in commands.items():
        sub = choices.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        sub.add_argument("--config", type=Path, metavar="FILE", help="YAML file with any of the options below.")
        _add_options(sub, settings_class, prefix="")
    return parser


class _Version(argparse.Action):
    """Read the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import matgl_infomax

        print(matgl_infomax.__version__)
        parser.exit()


def read_settings(settings_class: type[Chosen], words: dict[str, Any]) -> Chosen:
    """Settings from a YAML file, overridden by the command line.

    Args:
        settings_class: the command's settings.
        words: parsed options by dotted name; only those that were given, and ``config``.

    Raises:
        InputError: For an unreadable file, an unknown key or a wrong value, naming all of them.
    """
    values = _read_yaml(words.pop("config", None))
    for dotted, value in words.items():
        place = values
        *path, name = dotted.split(".")
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise InputError(f"The YAML file's {step!r} must be a section of options. Received: {place!r}.")
        place[name] = value
    try:
        return settings_class(**values)
    except ValidationError as error:
        raise InputError(_sentence(error, settings_class)) from error


def _add_options(parser: argparse.ArgumentParser, settings_class: type[Settings], prefix: str) -> None:
    """One option per field; the fields of a section get its name in front."""
    for name, field in settings_class.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            if field.annotation is ModelSettings:
                # The architecture is what everyone sets: `--model sitenet` instead of `--model.name sitenet`.
                _add_option(parser, "model", f"{name}.name", ModelSettings.model_fields["name"])
            _add_options(parser, field.annotation, prefix=f"{prefix}{name}.")
        elif not (settings_class is ModelSettings and name == "name"):
            _add_option(parser, f"{prefix}{name}", f"{prefix}{name}", field)


def _add_option(parser: argparse.ArgumentParser, flag: str, dest: str, field: FieldInfo) -> None:
    """One option; its type, choices and help come from the field."""
    option = f"--{flag.replace('_', '-')}"
    kind, many = _kind(field.annotation)
    text = (field.description or "").replace("%", "%%")
    word = _positional(field)
    if word:
        # Never required here: a settings file may name it, and what is missing is told with all else that is wrong.
        count = "*" if many else "?"
        text += f" ('{dest}' in a settings file)"
        parser.add_argument(dest, type=kind, nargs=count, metavar=word, default=argparse.SUPPRESS, help=text)
        return
    if not field.is_required() and field.default not in (None, [], {}):
        text += f" (default: {' '.join(map(str, field.default)) if many else field.default})"
    common: dict[str, Any] = {"dest": dest, "default": argparse.SUPPRESS, "help": text}
    if kind is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, **common)
    elif kind is dict:
        parser.add_argument(option, action=_KeyValues, nargs="+", metavar="KEY=VALUE", **common)
    elif typing.get_origin(kind) is typing.Literal:
        parser.add_argument(option, choices=typing.get_args(kind), nargs="+" if many else None, **common)
    else:
        metavar = {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")
        parser.add_argument(option, type=kind, nargs="+" if many else None, metavar=metavar, **common)


def _positional(field: FieldInfo | None) -> str | None:
    """What a plain word without '--' stands for, such as DIR; None for a field that is an option."""
    extra = field.json_schema_extra if field is not None else None
    return str(extra["positional"]) if isinstance(extra, dict) and "positional" in extra else None


class _KeyValues(argparse.Action):
    """Words of the form key=value become a dictionary; the values are read as YAML."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        pairs = {}
        for word in values:
            key, separator, value = word.partition("=")
            if not separator:
                parser.error(f"expected KEY=VALUE, received {word!r}")
            pairs[key] = yaml.safe_load(value)
        setattr(namespace, self.dest, pairs)


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be several."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    origin = typing.get_origin(annotation)
    if origin is list:
        return typing.get_args(annotation)[0], True
    return (dict if origin is dict else annotation), False


def _read_yaml(path: Path | None) -> dict[str, Any]:
    """The options of a YAML file; none without a file."""
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"Cannot read the settings file {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold options as 'name: value' lines. Received: {type(values).__name__}.")
    return values


def _sentence(error: ValidationError, settings_class: type[Settings]) -> str:
    """All mistakes of a settings object in plain words."""
    parts = []
    for mistake in error.errors():
        name = ".".join(str(step) for step in mistake["loc"]) or "settings"
        if mistake["type"] == "extra_forbidden":
            parts.append(f"unknown option {name!r}; known: {', '.join(_known(settings_class, mistake['loc'][:-1]))}")
        elif mistake["type"] == "missing":
            word = _positional(settings_class.model_fields.get(name)) or f"--{name.replace('_', '-')}"
            parts.append(f"{word} is required")
        else:
            parts.append(f"option {name} = {mistake['input']!r} is refused: {mistake['msg']}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _known(settings_class: Any, path: tuple[Any, ...]) -> list[str]:
    """The options of a section."""
    for step in path:
        settings_class = settings_class.model_fields[step].annotation
    return list(settings_class.model_fields)
