"""Writing pages that are made while the site is built."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


def write_page(path: Path, text: str) -> None:
    """Write a page unless it already says this, so that a second build reads nothing anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Change the prose of a page and leave its code blocks as they are.

    Args:
        markdown: the page.
        change: what to do with each piece between two code blocks.
    """
    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(piece if piece.startswith("```") else change(piece) for piece in pieces)
