"""The pages are written in short sentences, and every number of a result comes from a file."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, pages

LONGEST = 30
"""Words in a sentence."""
OLDER = {"performance.md", "performance_table.md", "encoders.md"}
"""Pages from before the site; they are read by developers."""
WRITTEN = [page for page in pages() if page.name not in OLDER]


def sentences(text: str) -> list[str]:
    """Sentences of the prose of a page: no code, formulas, tables, directives or comments."""
    text = re.sub(r"^(```|:::).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\$\$.*?^\$\$$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(%|\||\(.*\)=|#).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{\w+\}`[^`]*`|`[^`]*`|\$[^$]*\$", "X", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    parts = [part for block in re.split(r"\n\s*\n|^\s*(?:-|\d+\.) ", text, flags=re.MULTILINE) for part in [block]]
    return [" ".join(s.split()) for part in parts for s in re.split(r"(?<=[.!?:])[\s*]+", part) if s.strip()]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_no_sentence_is_long(page):
    long = [s for s in sentences(page.read_text()) if len(s.split()) > LONGEST]
    assert long == []


def test_a_long_sentence_would_be_found():
    assert max(len(s.split()) for s in sentences("One two. " + "word " * 31 + "end.\n\n`code` is one")) == 32


def test_results_are_quoted_and_never_typed():
    """A ratio with its interval, such as 0.810 (0.768-0.859), stands on no page: directives and roles write it."""
    typed = re.compile(r"\d\.\d+ ?[(\[]\d\.\d+ ?[–-] ?\d\.\d+[)\]]|\d ± \d")
    assert {page.name: typed.findall(page.read_text()) for page in WRITTEN if typed.search(page.read_text())} == {}
