"""YAML as a user means it: no numbers in disguise, no key twice, and nothing that grows without end."""

from __future__ import annotations

import re
from typing import Any

import yaml

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
