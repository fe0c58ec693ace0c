"""The page in a browser: opened, clicked, printed; nothing is asked of anyone, nothing complains."""

from __future__ import annotations

import pytest

from matgl_infomax.leaderboard.report.page import report
from tests.helpers.chromium import open_browser, require_chromium
from tests.helpers.report_folders import write_all

TABLE = "#cards-f1-1-filter"
"""Filter of the table of the first folder's run cards, eighteen lines."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests, with a profile of its own."""
    require_chromium()
    with open_browser(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of one folder of each kind, hostile names included."""
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(report([write_all(folder / "results")]).to_html(), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def page(browser, address):
    """The page freshly opened; afterwards it must have asked for nothing and said nothing."""
    tab, asked, said = browser.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.set_viewport_size({"width": 1200, "height": 900})
    tab.goto(address)
    yield tab
    title = tab.title()
    tab.close()
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
    assert said == [] and title == "Report on results"


def column(page, position):
    """Texts of a column of the table of run cards, as shown."""
    cells = page.locator(f"[aria-labelledby=cards-f1-1-caption] tbody tr:not([hidden]) td:nth-child({position})")
    return cells.all_inner_texts()


@pytest.fixture
def cards(page):
    """The table of run cards, opened with the keyboard."""
    page.locator("#cards ~ details summary").first.focus()
    page.keyboard.press("Enter")
    return page


def head(page, name):
    return page.locator("table[aria-labelledby=cards-f1-1-caption] th", has_text=name)


def test_tables_sort_by_numbers_and_by_words(cards):
    head(cards, "mae").get_by_role("button").click()
    values = [float(text) for text in column(cards, 5)]
    assert len(values) == 18 and values == sorted(values)
    assert head(cards, "mae").get_attribute("aria-sort") == "ascending"
    head(cards, "mae").get_by_role("button").click()
    assert [float(text) for text in column(cards, 5)] == sorted(values, reverse=True)
    assert head(cards, "mae").get_attribute("aria-sort") == "descending"
    head(cards, "arm").get_by_role("button").click()
    assert column(cards, 1) == sorted(column(cards, 1))
    assert head(cards, "mae").get_attribute("aria-sort") is None


def test_everything_can_be_done_with_the_keyboard(cards):
    button = head(cards, "seed").get_by_role("button")
    button.focus()
    for key in ("Enter", "Space"):
        cards.keyboard.press(key)
    assert head(cards, "seed").get_attribute("aria-sort") == "descending"
    cards.keyboard.press("Tab")
    assert cards.evaluate("document.activeElement.textContent").startswith("mae")
    assert cards.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_filter_hides_lines_and_counts_them(cards):
    cards.fill(TABLE, "finetuned 100")
    assert column(cards, 1) == ["finetuned"] * 3
    assert cards.locator("#cards-f1-1-count").inner_text() == "3 of 18 lines"
    head(cards, "mae").get_by_role("button").click()
    assert len(column(cards, 1)) == 3, "sorting keeps what the filter hides"
    cards.fill(TABLE, "no such thing")
    assert column(cards, 1) == []
    cards.fill(TABLE, "")
    assert len(column(cards, 1)) == 18


def test_a_dash_is_sorted_last_in_both_directions(page):
    """The cost table knows no pretraining of the two arms from scratch."""
    times = page.locator("table[aria-labelledby=cost-t1-caption] tbody td:nth-child(7)")
    button = page.locator("table[aria-labelledby=cost-t1-caption] th", has_text="pretraining").get_by_role("button")
    for _ in range(2):
        button.click()
        assert [text == "–" for text in times.all_inner_texts()] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("width", [400, 320])
def test_a_telephone_shows_all_of_it(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll') && !one.closest('svg')
              && one.getBoundingClientRect().right > innerWidth + 1).length"""
    assert page.evaluate(wide) == 0
    # A table that is too wide moves inside its own frame.
    assert page.evaluate("[...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)")
    small = "Math.min(...[...document.querySelectorAll('figure svg')].map((one) => one.getBoundingClientRect().width))"
    assert page.evaluate(small) > 0.7 * width


def colours(page):
    """Background, ink, and what a curve of a figure is drawn in."""
    return page.evaluate("""[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector('figure svg text')).fill]""")


def test_dark_light_and_paper(page):
    page.emulate_media(color_scheme="light")
    light = colours(page)
    assert light[0] == "rgb(255, 255, 255)" and light[2] != light[0]
    page.emulate_media(color_scheme="dark")
    dark = colours(page)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(color_scheme="dark", media="print")
    assert colours(page) == light, "paper is white"
    assert not page.locator("nav").is_visible() and not page.locator(".tools").first.is_visible()


def test_paper_gets_the_folded_tables(page):
    assert not page.locator("table[aria-labelledby=cards-f1-1-caption]").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("table[aria-labelledby=cards-f1-1-caption]").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("table[aria-labelledby=cards-f1-1-caption]").is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_links_lead_to_sections_and_hostile_names_do_nothing(page):
    page.get_by_role("link", name="Tie groups").click()
    assert page.url.endswith("#ties")
    assert page.title() == "Report on results"
    assert page.locator("script").count() == 1
