"""The pages of results show every study that is kept, and refuse what no file says."""

from __future__ import annotations

import re
import sys

import pytest

from matgl_infomax.io import vouch_for
from tests.docs.pages import DOCS

pytest.importorskip("sphinx", reason="Sphinx is not installed here: make docs installs it")
sys.path.insert(0, str(DOCS / "_ext"))
import pages as written
import project_pages
import results
from sphinx.errors import ExtensionError

SHOWN = "\n".join(page.read_text() for page in sorted((DOCS / "results").glob("*.md")))


def test_every_kept_study_is_shown():
    kept = {path.parent.relative_to(results.RESULTS).as_posix() for path in results.RESULTS.rglob("verdict.json")}
    shown = set(re.findall(r"\{results-study\} (\S+)", SHOWN))
    assert len(kept) > 20 and shown == kept


def test_every_record_is_linked():
    for page in results.RESULTS.glob("*/README.md"):
        assert f"../generated/records/{page.parent.name}.md" in SHOWN


def test_what_no_file_says_cannot_be_quoted():
    with pytest.raises(ExtensionError, match="compares no strong with scratch at 77 labels"):
        results.comparison("recipe/e_form", "strong", 77)
    with pytest.raises(ExtensionError, match="cannot be read"):
        results.verdict("recipe/no_such_study")


def test_tables_of_a_page_are_found_whole():
    text = "# Head\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\ntext | with a bar\n\n| c |\n| - |\n"
    assert results.tables(text) == [["| a | b |", "| - | - |", "| 1 | 2 |"], ["| c |", "| - |"]]


@pytest.mark.parametrize(
    ("cell", "shown"), [("0.123456", "0.1235"), ("1200", "1200"), ("2.19", "2.19"), ("", ""), ("60.105814284", "60.11")]
)
def test_only_long_numbers_are_rounded(cell, shown):
    assert results.rounded(cell) == shown


def test_links_of_the_repository_become_links_of_the_site():
    text = "[a](docs/encoders.md) [b](CHANGELOG.md) [c](tasks/x.py) [d](https://example.org)"
    assert project_pages.linked(text) == "[a](../../encoders.md) [b](changelog.md) c [d](https://example.org)"


def test_code_is_left_alone_when_links_are_rewritten():
    text = "[a](tasks/x.py)\n\n```python\nf = table[key](argument)\n```\n\n[b](tasks/y.py)\n"
    assert written.outside_code(text, project_pages.linked) == "a\n\n```python\nf = table[key](argument)\n```\n\nb\n"


def test_a_changed_number_does_not_reach_the_site(tmp_path, monkeypatch):
    whole = (results.RESULTS / "recipe" / "e_form" / "verdict.json").read_bytes()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "verdict.json").write_bytes(whole)
    vouch_for(tmp_path / "study", ["verdict.json"])
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.verdict("study")["points"]
    (tmp_path / "study" / "verdict.json").write_bytes(whole.replace(b"0.8", b"0.7", 1))
    with pytest.raises(ExtensionError, match=r"verdict\.json is not the file that was written"):
        results.verdict("study")
