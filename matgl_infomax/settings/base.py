"""From settings classes to command-line options and back; YAML files go the same way."""

from __future__ import annotations

import argparse
import re
import textwrap
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from matgl_infomax.errors import InputError, did_you_mean


class SettingsError(InputError):
    """Settings that are unknown, missing or out of range; all mistakes in one text."""


Heading = Literal[
    "Data", "Labels", "Corpus and source", "Model", "Learning curve", "Benchmark", "Force study", "Frozen vectors", "Probes",
    "Pretraining", "Fine-tuning", "Force field", "Optimiser", "Uncertainty", "Comparison", "Page", "Machine",
]  # fmt: skip
"""Headings of ``--help``, in the order in which they are printed."""


if typing.TYPE_CHECKING:
    _Base = BaseModel  # type checkers know the call of pydantic's models, and nothing of a class between
else:

    class _InSentences(type(BaseModel)):
        """What settings say of wrong values where they are made: a sentence, and not the lines of pydantic.

        A section within other settings is made by pydantic itself, so that its mistakes come under their full names.
        """

        def __call__(cls, *args: Any, **values: Any) -> Any:
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                raise SettingsError(_sentence(error, cls, dashes=False)) from error

    class _Base(BaseModel, metaclass=_InSentences):
        pass


class Settings(_Base):
    """Base of all settings: immutable, and an unknown key is an error.

    A setting on which no single result depends says so where it is declared, with
    ``json_schema_extra={"decides": False}``: ``deciding`` leaves it out of every claim and hash.
    A setting that almost everyone sets says so where it is declared, with ``json_schema_extra={"common": True}``: then
    ``--help`` shows it right after what is required. A setting of a section that has a short option of its own names
    it with ``json_schema_extra={"flag": "model"}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    heading: ClassVar[Heading] = "Data"
    """Heading in ``--help`` of the settings that a class declares first; a class below it may change their defaults."""

    def also_decides(self) -> dict[str, Any]:
        """What decides a result beside the values of these settings, by name, for claims and hashes; nothing here."""
        return {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse a change: who made the settings may still use them."""
        raise SettingsError(f"Settings do not change once they are made. Received {name} = {value!r}. Make new ones.")

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """One value where a list of one is meant; no truth value or ``1_5`` for a number, and no empty name."""
        kind, many = _kind(cls.model_fields[str(info.field_name)].annotation)
        if many and isinstance(value, str | int | float | Path):
            value = [value]
        for item in value if many and isinstance(value, list | tuple) else [value]:
            _refuse_odd(item, kind)
        return value

    @classmethod
    def declared_in(cls, name: str) -> type[Settings]:
        """The class that declares a setting first, however often classes below change its default or its bounds."""
        classes = [one for one in cls.__mro__ if issubclass(one, Settings) and name in one.__annotations__]
        return classes[-1]


LARGEST_INT = 2**62
"""Whole numbers beyond it do not fit into 64 bits once a little is added, as for the seeds of several models."""


def seed_of_32_bits(seed: int) -> int:
    """The seed for scikit-learn and UMAP, whose seeds have 32 bits: itself, or drawn from it where it is larger."""
    import numpy as np

    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


def _refuse_odd(value: Any, kind: Any) -> None:
    """Refuse a value that pydantic would turn into one of the kind, and that nobody means so."""
    if kind in (int, float):
        if isinstance(value, bool):
            raise PydanticCustomError("no_number", "a number is needed, not a truth value")
        if isinstance(value, str) and ("_" in value or not value.isascii()):
            raise PydanticCustomError("no_number", "this is no number to other programs than Python")
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise PydanticCustomError("too_large", "a whole number of at most 62 bits is needed")
    elif isinstance(value, str) and not value.strip() and kind in (str, Path):
        raise PydanticCustomError("empty", "it is empty")


Chosen = TypeVar("Chosen", bound=Settings)


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one sentence, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        hint = self._hint(message)
        raise InputError(f"{message[:1].upper()}{message[1:]}.{hint} See `{self.prog} --help`.")

    def _hint(self, message: str) -> str:
        """What a misspelt choice or option was to be, where it is like one that there is."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            return did_you_mean(choice[1], re.findall(r"[^\s',]+", choice[2]))
        words = re.findall(r"--[^\s=]+", message) if message.startswith("unrecognized") else []
        known = [option for option in self._option_string_actions if option not in ("-h", "--help")]
        actions = (a for group in self._action_groups if group.title == REQUIRED for a in group._group_actions)
        required = [action.option_strings[-1] for action in actions if action.option_strings]
        needs = f" It needs {', '.join(required)}." if required else ""
        return "".join(did_you_mean(word, known) or needs for word in words[:1])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here, where all options of the command are at hand to name the one meant."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


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
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        default=argparse.SUPPRESS,
        help="Print what a shell needs to complete commands, options and choices.",
    )
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (settings_class, help_text) in commands.items():
        options = _options(settings_class)
        sub = choices.add_parser(
            name,
            help=help_text,
            description=help_text,
            usage=_usage(f"{parser.prog} {name}", options),
            allow_abbrev=False,
            add_help=False,
        )
        _add_groups(sub, options)
    return parser


class _Version(argparse.Action):
    """Read the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(version("matgl-infomax"))
        parser.exit()


SHELLS = ("bash", "zsh", "tcsh")


class _Completion(argparse.Action):
    """Print a script for a shell; what is no choice in a strict sense is offered beside files and folders."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, option: str | None = None) -> None:  # noqa: ARG002
        import shtab

        subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        for command in subparsers.choices.values():
            for action in command._actions:
                offered = getattr(action, "offered", None)
                if isinstance(offered, list):
                    action.choices = offered
                elif offered is not None:
                    action.complete = {"file": shtab.FILE, "folder": shtab.DIRECTORY}[offered]
        print(shtab.complete(parser, shell=values))
        parser.exit()


def _offered(option: Option) -> list[str] | str | None:
    """What a shell may complete for an option: words, files or folders."""
    suggested, need = mark(option.field, "suggest"), mark(option.field, "path") or mark(option.field, "offer")
    if suggested is not None:
        return [str(word) for word in suggested]
    if need is None:
        return None
    return "folder" if need in ("folder", "model", "new folder") else "file"


def read_settings(settings_class: type[Chosen], words: dict[str, Any], *, dashes: bool = True) -> Chosen:
    """Settings from a YAML file, overridden by the command line.

    Args:
        settings_class: the command's settings.
        words: parsed options by dotted name; only those that were given, and ``config``.
        dashes: whether what is missing is named as the command line spells it.

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
    except SettingsError as error:
        raise SettingsError(_sentence(_of_pydantic(error), settings_class, dashes=dashes)) from error


def settings_from(settings_class: type[Chosen], given: Any, options: Mapping[str, Any], name: str) -> Chosen:
    """Settings as they are given in Python, overridden by single ones.

    Args:
        settings_class: their class.
        given: the settings, any mapping such as one of OmegaConf, or None for the defaults.
        options: single settings; they win over ``given``, as those of a command line over those of a file.
        name: what the caller calls ``given``, for messages.

    Raises:
        InputError: If ``given`` is something else, or a setting is unknown or wrong.
    """
    if isinstance(given, Settings):
        if not isinstance(given, settings_class):
            kind = type(given).__name__
            raise SettingsError(
                f"{name} takes {settings_class.__name__} or a dictionary of its fields. Received: {kind}."
            )
        if not options:
            return given
        given = {field: getattr(given, field) for field in given.model_fields_set}
    if given is not None and not isinstance(given, Mapping):
        kinds = f"{settings_class.__name__} or a dictionary of its fields"
        raise SettingsError(f"{name} takes {kinds}. Received: {type(given).__name__}.")
    return settings_class(**{str(key): value for key, value in {**plain(given or {}), **plain(options)}.items()})


def plain(value: Any) -> Any:
    """Mappings as dictionaries and sequences as lists, at every level: OmegaConf and NumPy have kinds of their own."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | tuple):
        return [plain(inner) for inner in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


REQUIRED = "Required"
COMMON = "Common"
OTHER = "Other"
"""Headings of the help beside those of the classes: what has to be given, what nearly everyone sets, and the rest."""
HEADINGS = (REQUIRED, COMMON, *typing.get_args(Heading))
WIDEST_CHOICES = 60
"""Characters; more choices than fit beside an option are listed in its help, which is broken into lines."""


@dataclass(frozen=True)
class Option:
    """A setting as the command line shows it."""

    flag: str
    """How it is spelt, with underscores and without the dashes in front."""
    dest: str
    """Its name in a settings file; a dot separates a section from the setting in it."""
    field: FieldInfo
    heading: str
    """Heading of the help under which it stands."""
    place: tuple[int, int]
    """Where it stands among the others; lower comes first."""


def _options(settings_class: type[Settings]) -> list[Option]:
    """All settings of a command in the order of its help: required, common, and the rest heading by heading."""
    found: list[Option] = []
    for name, field in settings_class.model_fields.items():
        section = _section(field)
        if section is not None:
            found += _section_options(name, section)
            continue
        own = settings_class.declared_in(name).heading
        heading = REQUIRED if field.is_required() else COMMON if mark(field, "common") else own
        found.append(Option(flag=name, dest=name, field=field, heading=heading, place=_place(heading, own)))
    return sorted(found, key=lambda option: option.place)  # stable: below one heading as they are declared


def _section_options(name: str, section: type[Settings]) -> Iterator[Option]:
    """The settings of a section, under its own heading and one for each class above it."""
    for inner, field in section.model_fields.items():
        dest, own = f"{name}.{inner}", section.declared_in(inner).heading
        flag = mark(field, "flag")
        if flag:
            # What everyone sets of a section has a short name: `--model sitenet` instead of `--model.name sitenet`.
            yield Option(flag=str(flag), dest=dest, field=field, heading=COMMON, place=_place(COMMON, own))
            continue
        same = own == section.heading
        heading = section.heading if same else f"{section.heading} ({own.lower()})"
        place = (HEADINGS.index(section.heading), -1 if same else HEADINGS.index(own))
        yield Option(flag=dest, dest=dest, field=field, heading=heading, place=place)


def _place(heading: str, own: str) -> tuple[int, int]:
    """Where a setting stands: by its heading, and below the first two in the order of the headings it would have."""
    return HEADINGS.index(heading), HEADINGS.index(own)


def _section(field: FieldInfo) -> type[Settings] | None:
    """The class of a section of settings; None for a single one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _usage(command: str, options: Iterable[Option]) -> str:
    """What a command cannot do without, in lines of 80 characters; everything else is in the groups below."""
    words = [command]
    for option in options:
        if option.heading == REQUIRED:
            kind, many = _kind(option.field.annotation)
            value = positional(option.field) or f"--{option.flag.replace('_', '-')} {_metavar(kind)}"
            words.append(f"{value} ..." if many else value)
    # No line ends within an option: a hard space holds it together meanwhile.
    line = " ".join(word.replace(" ", "\xa0") for word in [*words, "[options]"])
    before = "usage: "
    wrapped = textwrap.fill(line, 80 - len(before), subsequent_indent=" " * len(before), break_on_hyphens=False)
    return wrapped.replace("\xa0", " ")


def _add_groups(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """The options under their headings, and those that every command has."""
    groups: dict[str, Any] = {heading: parser.add_argument_group(heading) for heading in (REQUIRED, COMMON)}
    for option in options:
        if option.heading not in groups:
            groups[option.heading] = parser.add_argument_group(option.heading)
        _add_option(groups[option.heading], option)
    other = parser.add_argument_group(OTHER)
    other.add_argument("--config", type=_file, metavar="FILE", help="YAML file with any of the options above.")
    quiet: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
    other.add_argument("-v", "--verbose", **quiet, help="Tell details too: every number of the training.")
    other.add_argument("-q", "--quiet", **quiet, help="Tell problems alone; without bars.")
    other.add_argument(
        "--no-progress", **quiet, help="Show no bars. A log that is no terminal gets whole lines anyway."
    )
    other.add_argument(
        "--log-file",
        type=_file,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="File to which everything that is told is added, with times.",
    )
    other.add_argument("-h", "--help", action="help", help="Show this help and exit.")


def _add_option(group: Any, option: Option) -> None:
    """One option; its type, choices and help come from the field."""
    field = option.field
    kind, many = _kind(field.annotation)
    text = (field.description or "").replace("%", "%%")
    word = positional(field)
    if word:
        # Never required here: a settings file may name it, and what is missing is told with all else that is wrong.
        count = "*" if many else "?"
        text += f" ('{option.dest}' in a settings file)"
        action = group.add_argument(
            option.dest, type=_reader(kind), nargs=count, metavar=word, default=argparse.SUPPRESS, help=text
        )
        action.offered = _offered(option)
        return
    if not field.is_required() and field.default not in (None, [], {}):
        text += f" (default: {' '.join(map(str, field.default)) if many else field.default})"
    spelt = f"--{option.flag.replace('_', '-')}"
    shared: dict[str, Any] = {"dest": option.dest, "default": argparse.SUPPRESS, "help": text}
    if kind is bool:
        action = group.add_argument(spelt, action=_OnceOrNot, **shared)
    elif kind is dict:
        action = group.add_argument(spelt, action=_KeyValues, nargs="+", metavar=_metavar(kind), **shared)
    elif typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        once = ",".join(choices)
        if len(f"{once} [{once} ...]" if many else once) > WIDEST_CHOICES:
            shared |= {"metavar": "NAME", "help": f"{text} One of: {', '.join(choices)}."}
        action = group.add_argument(spelt, action=_Once, choices=choices, nargs="+" if many else None, **shared)
    else:
        shared |= {"nargs": "+" if many else None, "metavar": _metavar(kind)}
        action = group.add_argument(spelt, action=_Once, type=_reader(kind), **shared)
    action.offered = _offered(option)


def _file(word: str) -> Path:
    """The path of a file; an empty word is no path."""
    if not word.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return Path(word)


def _metavar(kind: Any) -> str:
    """What stands for a value of some kind in the help."""
    return {int: "N", float: "X", Path: "PATH", dict: "KEY=VALUE"}.get(kind, "TEXT")


def mark(field: FieldInfo | None, name: str) -> Any:
    """What a setting says of itself beside its type and help, such as ``common``; None where it says nothing."""
    extra = field.json_schema_extra if field is not None else None
    return extra.get(name) if isinstance(extra, dict) else None


def positional(field: FieldInfo | None) -> str | None:
    """What a plain word without '--' stands for, such as DIR; None for a field that is an option."""
    word = mark(field, "positional")
    return None if word is None else str(word)


def _reader(kind: Any) -> Any:
    """What turns a word into a value; names of files stay words, since an empty one would become the working folder."""
    if kind is Path:
        return str
    if kind not in (int, float):
        return kind

    def number(word: str) -> Any:
        if "_" in word or not word.isascii():  # only Python takes 1_5 for a number
            raise ValueError(word)
        return kind(word)

    number.__name__ = kind.__name__  # argparse names it in its message
    return number


def _refuse_second(parser: argparse.ArgumentParser, namespace: Any, dest: str, option: str | None) -> None:
    """Refuse an option that was given before: the first one would be forgotten without a word."""
    if hasattr(namespace, dest):
        parser.error(f"{option} is given twice")


class _Once(argparse.Action):
    """Keep a value, or several, of an option that is given once."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        _refuse_second(parser, namespace, self.dest, option)
        setattr(namespace, self.dest, values)


class _OnceOrNot(argparse.BooleanOptionalAction):
    """An option with its opposite, of which one is given once."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        _refuse_second(parser, namespace, self.dest, option)
        super().__call__(parser, namespace, values, option)


class _KeyValues(argparse.Action):
    """Words of the form key=value become a dictionary; the values are read as YAML."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        _refuse_second(parser, namespace, self.dest, option)
        pairs: dict[str, Any] = {}
        for word in values:
            key, separator, value = word.partition("=")
            if not separator or not key:
                parser.error(f"expected KEY=VALUE, received {word!r}")
            if key in pairs:
                parser.error(f"{key} is given twice in {option}")
            try:
                pairs[key] = load_yaml(value)
            except ValueError as error:
                hint = f"Quote what has spaces or brackets: {option} '{key}=[1, 2]'"
                parser.error(f"cannot read {word!r}: {error}. {hint}")
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
        values = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read the settings file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold options as 'name: value' lines. Received: {type(values).__name__}.")
    return values


def _of_pydantic(error: SettingsError) -> ValidationError:
    """What pydantic said of the mistakes."""
    if not isinstance(error.__cause__, ValidationError):
        raise error
    return error.__cause__


def _sentence(error: ValidationError, settings_class: type[Settings], *, dashes: bool) -> str:
    """All mistakes of a settings object in plain words."""
    parts: list[str] = []
    hints: list[str] = []
    for mistake in error.errors():
        name = ".".join(str(step) for step in mistake["loc"]) or "settings"
        if mistake["type"] == "extra_forbidden":
            known = _known(settings_class, mistake["loc"][:-1])
            near = did_you_mean(str(mistake["loc"][-1]), known)
            hints += [near] if near else []
            parts.append(f"unknown option {name!r}; known: {', '.join(known)}")
        elif mistake["type"] == "missing":
            word = positional(settings_class.model_fields.get(name)) or f"--{name.replace('_', '-')}"
            parts.append(f"{word} is required" if dashes else f"option {name} is required")
        elif mistake["type"] == "empty":
            parts.append(f"option {name} is empty")
        else:
            parts.append(f"option {name} = {mistake['input']!r} is refused: {mistake['msg']}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}.{''.join(hints)}"


def _known(settings_class: Any, path: tuple[Any, ...]) -> list[str]:
    """The options of a section."""
    for step in path:
        settings_class = settings_class.model_fields[step].annotation
    return list(settings_class.model_fields)


Kind = TypeVar("Kind", bound=Settings)
Presets = Mapping[str, Mapping[str, Any]]


def chosen(title: str, kind: type[Kind], presets: Presets, preset: str, options: Mapping[str, Any]) -> Kind:
    """The settings of a preset, with the user's options over it.

    Args:
        title: name of the objective, for messages.
        kind: class of its settings.
        presets: its presets by name.
        preset: the one to start from.
        options: options that differ from it.

    Raises:
        InputError: For an unknown preset, an unknown option, or a value that an option cannot have.
    """
    if preset not in presets:
        raise InputError(f"Unknown {title} preset {preset!r}. Choose one of: {', '.join(presets)}.")
    try:
        return kind(**{**presets[preset], **options})
    except SettingsError as error:
        first = _of_pydantic(error).errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields)
        raise InputError(f"{title} option {name!r}: {first['msg']}. Known options: {known}.") from error


def deciding(settings: Settings, *, apart: Collection[str] = ()) -> dict[str, Any]:
    """What of some settings decides a result, as plain values for a claim or a hash.

    Left out is what is marked ``decides: False`` where it is declared: where things lie, how the work is shared, what
    only looks on, and which runs there are. What lies in a file is told by a hash of its content.

    Args:
        settings: of any command, with its sections.
        apart: more that is left out, because the caller tells it otherwise; of a section such as "finetune.seed".

    Returns:
        Values by name; a section is a dictionary of its own.
    """
    found: dict[str, Any] = settings.model_dump(mode="json", exclude=_undeciding(type(settings)))
    found |= settings.also_decides()
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if isinstance(section, Settings) and name in found:
            found[name] |= section.also_decides()
    for dotted in apart:
        *path, name = dotted.split(".")
        section = found
        for step in path:
            section = section[step]
        del section[name]
    return found


def _undeciding(settings_class: type[Settings]) -> dict[str, Any]:
    """The marked settings of a class and of its sections, in the form that pydantic's ``exclude`` takes."""
    found: dict[str, Any] = {}
    for name, field in settings_class.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("decides") is False:
            found[name] = True
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found[name] = _undeciding(field.annotation)
    return {name: what for name, what in found.items() if what}


# YAML as a user means it: no numbers in disguise, no key twice, and nothing that grows without end.

DEEPEST = 20
"""Levels of lists and sections within each other; settings have three."""
MOST_NODES = 100_000
"""Values after all aliases are written out; a few lines of aliases can stand for billions."""
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_DISGUISED = re.compile(r"[+-]?0\d+|.*[_:].*")
"""Numbers to YAML 1.1 that are none to a reader: 010 is 8, 1_5 is 15, 1:30 is 90."""


def load_yaml(text: str) -> Any:
    """The content of a YAML text as plain values.

    Args:
        text: YAML.

    Raises:
        ValueError: If it is no YAML, names a key twice or with something else than text, nests too deeply, grows too
            large, or holds a number that would be read as another one. The text is one line.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        _check(node, {}, DEEPEST)
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def _check(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Number of values below a node, aliases written out; what is wrong with it is raised."""
    if depth < 0:
        raise ValueError(f"it nests deeper than {DEEPEST} levels, or contains itself")
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and _DISGUISED.fullmatch(node.value):
            raise ValueError(f"{node.value!r} would be read as another number; write it plainly, or quote a text")
        return 1
    if id(node) not in sizes:
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        sizes[id(node)] = 1 + sum(_check(part, sizes, depth - 1) for part in parts)
    if sizes[id(node)] > MOST_NODES:
        raise ValueError(f"it holds more than {MOST_NODES} values once its aliases are written out")
    return sizes[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse keys that are no text, and keys that come twice: the last one alone would count."""
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag not in (_TEXT, _MERGE):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or section"
            raise ValueError(f"the name {shown!r} is no text; quote it")
        if key.value in seen:
            raise ValueError(f"{key.value!r} is there twice")
        seen.add(key.value)
