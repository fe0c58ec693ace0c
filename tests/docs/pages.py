"""The pages of the site as they are written, and the code blocks on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = {"_build", "_ext", "generated", "examples"}
"""Folders that hold no page written by hand."""

FENCE = re.compile(
    r"^(?:% not run: *(?P<reason>[^\n]*)\n)?```(?P<language>bash|python)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One piece of code on a page."""

    language: str
    code: str
    reason: str | None
    """Why it does not run; none for one that does."""


def pages() -> list[Path]:
    """All pages that are written by hand."""
    return [path for path in sorted(DOCS.rglob("*.md")) if not MADE.intersection(path.relative_to(DOCS).parts)]


def blocks(text: str) -> list[Block]:
    """The bash and python blocks of a page, in order."""
    return [Block(found["language"], found["code"], found["reason"]) for found in FENCE.finditer(text)]


def setup_words(text: str) -> list[str]:
    """What a page asks for before its first block: ``% setup: crystals encoder`` as its first line."""
    found = re.match(r"% setup: ([\w ]+)\n", text)
    return found[1].split() if found else []
