"""The README is one page of short sentences, and every file that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
MOST_BYTES, MOST_WORDS = 8192, 30
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def prose(page: str) -> list[str]:
    """Sentences of a page: those of paragraphs and lists, cells of tables, and texts of pictures; no code."""
    text = FENCE.sub("\n\n", (ROOT / page).read_text())
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*[-*#|] ?)|\n(?=\d+\. )| \| ", text)
    found = [sentence for block in blocks for sentence in re.split(r"(?<=[.?!:])\s+", " ".join(block.split()))]
    return [sentence.strip("|# ") for sentence in found if re.search(r"[a-z]", sentence)]


def links(page: str) -> list[str]:
    """Files that a page links to."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", (ROOT / page).read_text()))
    return sorted({link.partition("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)})


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_is_long(page):
    sentences = prose(page)
    assert len(sentences) > 20, "the page was not read"
    assert [s for s in sentences if len(s.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_to_is_there(page):
    assert [link for link in links(page) if not (ROOT / link).exists()] == []


def test_the_readme_links_to_the_site_and_has_a_picture():
    named = links("README.md")
    assert any(link.startswith("docs/") and link.endswith((".svg", ".png")) for link in named)
    wanted = {"docs/getting_started.md", "docs/guides/index.md", "docs/methods/index.md", "docs/results/index.md"}
    assert wanted | {"docs/limits.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"} <= set(named)


def test_the_sentences_are_counted():
    """The reader of pages finds a long sentence in a paragraph that is broken over lines."""
    assert max(len(s.split()) for s in prose("README.md")) > 15


def test_the_python_block_is_a_dozen_lines_and_runs():
    """``.ci/run_readme.py`` runs what stands below the mark; here only that it is marked and short."""
    (code,) = re.findall(r"^<!-- run -->\n+```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.M)
    assert 8 <= len([line for line in code.splitlines() if line.strip()]) <= 12


def test_no_claim_of_a_tie_as_a_gain():
    """Perovskites are a tie by the comparison of this repository, so no error there is called lower."""
    assert "perovskite" not in (ROOT / "README.md").read_text().lower()
