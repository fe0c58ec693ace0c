"""The settings reference: every command and every option, asked of the command line itself."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import write_page
from sphinx.application import Sphinx

PARSER = "matgl_infomax.settings.base:build_parser"
COMMANDS = "matgl_infomax.cli:COMMANDS"
OBJECTIVES = {
    "infomax": "matgl_infomax.objectives.infomax:InfoMaxSettings",
    "masked": "matgl_infomax.objectives.masked:MaskedSettings",
    "denoise": "matgl_infomax.objectives.denoise:DenoiseSettings",
    "fingerprint": "matgl_infomax.objectives.fingerprint:FingerprintSettings",
    "twins": "matgl_infomax.objectives.twins:TwinsSettings",
    "dual": "matgl_infomax.objectives.dual:DualSettings",
    "supervised": "matgl_infomax.objectives.supervised:SupervisedSettings",
}
"""Options of each pretraining method, for --objective-options."""
PRESETS = {
    "infomax": "matgl_infomax.objectives.infomax:INFOMAX_PRESETS",
    "masked": "matgl_infomax.objectives.masked:MASKED_PRESETS",
    "denoise": "matgl_infomax.objectives.denoise:DENOISE_PRESETS",
    "fingerprint": "matgl_infomax.objectives.fingerprint:FINGERPRINT_PRESETS",
    "twins": "matgl_infomax.objectives.twins:TWINS_PRESETS",
    "dual": "matgl_infomax.objectives.dual:DUAL_PRESETS",
    "supervised": "matgl_infomax.objectives.supervised:SUPERVISED_PRESETS",
}
"""Sets of these options, for --objective-preset."""


def named(place: str) -> Any:
    """What stands at ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, as the program itself makes them."""
    table = named(COMMANDS)
    parser = named(PARSER)({name: (settings, run.__doc__ or "") for name, (settings, run) in table.items()})
    choices = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices.choices)


def command_page(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """The page of one command, group by group as in its help."""
    yield from (f"# `{name}`", "", parser.description or "", "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if not actions:
            continue
        title = (group.title or "options").capitalize()
        yield from (f"## {title}", "", *([group.description, ""] if group.description else []))
        for action in actions:
            yield from option(action)


def option(action: argparse.Action) -> Iterator[str]:
    """One option: its words, what may follow them, and its help, which ends with its default."""
    words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.choices:
        value = " " + "\\|".join(map(str, action.choices)).replace("\\|", "|")
    elif action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction) or not action.option_strings:
        value = ""
    else:
        value = f" {action.metavar or ''}"
    several = " ..." if action.nargs in ("+", "*") and action.option_strings else ""
    yield from (f"`{words}{value}{several}`", f": {escaped((action.help or '').replace('%%', '%'))}", "")


def escaped(text: str) -> str:
    """Text that Markdown would otherwise read as formatting."""
    for sign in ("\\", "*", "_", "<", "$", "`"):
        text = text.replace(sign, f"\\{sign}")
    return re.sub(r"(?<!\w)(--[a-z][\w.-]*\w)", r"`\1`", text)


def objective_page() -> Iterator[str]:
    """Options and presets of every pretraining method."""
    yield from ("# Options of the pretraining methods", "")
    yield from ("Give them as `--objective-options name=value`, or by part for a combination.", "")
    for name, place in OBJECTIVES.items():
        yield from (f"## `{name}`", "", escaped(named(place).__doc__ or ""), "")
        for key, field in named(place).model_fields.items():
            default = "" if field.default is None else f" (default: {field.default})"
            yield from (f"`{key}`", f": {escaped(f'{field.description}{default}')}", "")
        yield from ("Presets:", "")
        for preset, values in named(PRESETS[name]).items():
            shown = ", ".join(f"`{key}={value}`" for key, value in values.items()) or "the defaults above"
            yield f"- `{preset}`: {shown}"
        yield ""


def write_pages(app: Sphinx) -> None:
    """One page per command, one for the methods, and a list of them all."""
    folder = Path(app.srcdir) / "generated" / "settings"
    parsers = commands()
    for name, parser in parsers.items():
        write_page(folder / f"{name}.md", "\n".join(command_page(name, parser)))
    write_page(folder / "objectives.md", "\n".join(objective_page()))
    lines = ["# Settings reference", "", "Every option of every command, as the program itself lists them.", ""]
    lines += ["| command | what it does |", "| --- | --- |"]
    lines += [f"| [`{name}`]({name}.md) | {parser.description} |" for name, parser in parsers.items()]
    lines += ["", "Every option can stand in a YAML file, given with `--config`. Unknown options are refused.", ""]
    lines += ["```{toctree}", ":hidden:", "", *parsers, "objectives", "```", ""]
    write_page(folder / "index.md", "\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before any is read."""
    app.connect("builder-inited", write_pages, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
