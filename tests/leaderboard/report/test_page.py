"""A report: what is on the page, what is not, how it reads; nothing that a user names can become markup."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import pytest

from matgl_infomax import cli
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report.page import report
from tests.helpers.kept_results import RESULTS
from tests.helpers.report_folders import EVIL, write_all, write_benchmark, write_study

VOID = {"meta", "link", "input", "wbr"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def whole(folder):
    return report([folder], title=f"All of it {EVIL}")


@pytest.fixture(scope="module")
def page(whole):
    return whole.to_html()


class Reader(HTMLParser):
    """Elements of a page with their attributes; complains where tags do not match."""

    def __init__(self):
        super().__init__()
        self.found, self.open, self.text = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.open[-1] if self.open else ""] = self.text.get(self.open[-1] if self.open else "", "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def elements(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_every_section_is_there_the_verdict_first(elements):
    ids = [attributes["id"] for attributes in elements.all("h2")]
    assert ids == ["verdict", "scores", "curves", "parity", "differences", "ties", "strata", "map", "overlap", "cost",
                   "glossary", "cards"]  # fmt: skip
    assert [a["href"] for a in elements.all("a")][1:] == [f"#{name}" for name in ids]


def test_numbers_are_kept_and_shown(whole, page):
    frame = whole.to_frame()
    assert len(frame) == 18 + 5 + 2 and set(frame["folder"]) == {"study", "answer", "vectors"}
    verdict = whole.studies[0].verdict
    assert verdict.text.replace(">", "&gt;") in page
    assert f"{whole.benchmarks[0].mean:.4f}" in page and "place 3 of 4 (2 to 3)" in page
    assert "place 3 of 4" in whole.to_markdown() and verdict.arm in whole.to_markdown()


def test_nothing_a_user_names_becomes_markup(page, elements):
    assert len(elements.all("script")) == page.count("<script>") == 1
    assert page.count("&lt;script&gt;") > 10 and "<b>" not in page
    # The one script that runs is ours, by its hash; none may be loaded.
    policy = next(a["content"] for a in elements.all("meta") if "content" in a and "default-src" in a["content"])
    assert "default-src 'none'" in policy and "sha256-" in policy


def test_nothing_is_loaded_from_anywhere(page, elements):
    loaded = {tag for tag, attributes in elements.found if {"src", "srcset", "poster"} & set(attributes)}
    assert loaded == set()
    assert [a["href"] for a in elements.all("link")] == ["data:,"]
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", page)
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/1999/xlink"}


def test_figures_are_described_and_follow_the_colours(page, elements):
    pictures = [a for a in elements.all("div") if a.get("role") == "img"]
    figures = page.count("<figure>")
    assert figures == len(pictures) == page.count("<figcaption>") == 1 + 4 + 4
    assert all(len(a["aria-label"]) > 40 for a in pictures)
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert all("aria-hidden" in svg for svg in drawn)
    assert re.findall(r"(?:fill|stroke): #[0-9a-f]+", "".join(drawn)) == [], "a fixed colour shows badly in the dark"


def test_names_are_unique_and_references_lead_somewhere(page, elements):
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'(?:href="#|url\(#|for="|aria-labelledby="|aria-describedby=")([^")]+)', page)
    assert set(wanted) <= set(ids)


def test_tables_have_buttons_in_their_heads_and_fields_have_labels(page, elements):
    heads = elements.all("th")
    assert len(heads) == page.count("<button") and all(a["scope"] == "col" for a in heads)
    assert {a["id"] for a in elements.all("input")} == {a["for"] for a in elements.all("label")}


def test_what_is_missing_is_said_in_one_line(tmp_path):
    made = report([write_benchmark(tmp_path / "only", truth=False)])
    said = [line for line in made.to_html().splitlines() if "Not on this page" in line]
    assert len(said) == 1
    for part in ("learning curves", "parity plots", "--truth", "tie groups", "embedding map", "overlap table"):
        assert part in said[0]
    assert "<figure>" not in made.to_html() and 'id="curves"' not in made.to_html()
    assert "no paired comparison" in made.to_html(), "an order of scores is no finding"
    assert said[0][3:-4] in made.to_markdown().replace("&quot;", '"')


def test_true_values_may_be_given(tmp_path):
    folder = write_benchmark(tmp_path / "only", truth=False)
    made = report([folder], truth=[folder / "truth.csv"])
    assert made.benchmarks[0].with_truth and "Predicted against true gap" in made.to_html()


def test_a_name_with_formula_marks_is_no_formula(tmp_path):
    folder = write_benchmark(tmp_path / "answer", target="a$x_{$b")
    assert "true a$x_{$b (eV)</text>" in report([folder]).to_html()


@pytest.mark.parametrize("kept", ["label_masking", "matbench"])
def test_kept_results_make_a_report(kept):
    made = report([RESULTS / kept])
    assert made.cards
    text = made.to_markdown()
    for study in made.studies:
        assert study.verdict.arm in text
    there = {file.parent.name for file in (RESULTS / kept).rglob("benchmark.json")}
    assert {one.name for one in made.benchmarks} == there


def test_markdown_keeps_its_tables(whole):
    text = whole.to_markdown()
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "<" not in text.replace("&lt;", "") and "\n\n\n" not in text
    assert "| drawn |" not in text, "bars cannot be drawn there"


def test_the_command_writes_the_form_that_is_asked_for(folder, tmp_path, capsys):
    for out, start in (("a.html", "<!DOCTYPE html>"), ("a.md", "# Report on ")):
        assert cli.main(["report", str(folder), "--out", str(tmp_path / out)]) == 0
        assert (tmp_path / out).read_text().startswith(start)
    assert "3 folders, 25 run cards" in capsys.readouterr().out
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "a.txt"), "--format", "markdown"]) == 0
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "a.md").read_text()
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "a.pdf")]) == 2
    assert "End the file's name with .html or .md" in capsys.readouterr().err


def test_folders_are_found_below_others_once_and_named_apart(tmp_path):
    write_study(tmp_path / "a" / "same")
    write_study(tmp_path / "b" / "same")
    shutil.copytree(tmp_path / "a" / "same", tmp_path / "a" / "same" / "runs" / "inner")
    made = report([tmp_path, tmp_path / "a" / "same"])
    assert [study.name for study in made.studies] == ["a/same", "b/same"]
    made = report([tmp_path / "a" / "same", tmp_path / "b" / "same"])
    assert [study.name for study in made.studies] == ["a/same", "b/same"]


def test_nothing_to_report_on_is_said(tmp_path):
    with pytest.raises(InputError, match="There is nothing to report on"):
        report([tmp_path])
    with pytest.raises(InputError, match="There is no such folder"):
        report([tmp_path / "missing"])
