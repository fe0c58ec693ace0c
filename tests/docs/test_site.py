"""The built site in a browser: read, searched, copied from, on a telephone, in the dark; nothing leaves this machine.

``make docs`` builds it; where nobody has done so, the fixture does.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading

import pytest

from tests.docs.pages import DOCS
from tests.helpers.chromium import open_browser, require_chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SITE = DOCS / "_build" / "html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that writes no log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site():
    """The folder of the built site."""
    if not (SITE / "index.html").is_file():
        if importlib.util.find_spec("sphinx") is None:
            pytest.skip("the site is not built and Sphinx is not installed here: make docs does both")
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-n", "-W", "--keep-going", "-q", str(DOCS), str(SITE)]
        subprocess.run(command, check=True, env={**os.environ, "MPLBACKEND": "Agg"})
    return SITE


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served: on this machine only."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests, with a profile of its own."""
    require_chromium()
    with open_browser(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def page(browser, address):
    """A tab; afterwards it must have asked nobody else for anything, missed nothing and complained of nothing."""
    tab, asked, said, missed = browser.new_page(), [], [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("response", lambda response: missed.append(response.url) if response.status >= 400 else None)
    tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.set_viewport_size({"width": 1400, "height": 900})
    yield tab
    tab.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert missed == [] and said == []


def names(site):
    """Every page of the site, by its address below the root."""
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_the_site_has_its_parts(site):
    there = set(names(site))
    assert {"index.html", "getting_started.html", "limits.html", "search.html", "sitenet.html"} <= there
    assert {
        f"methods/{name}.html" for name in ("infomax", "masked", "denoise", "dual", "twins", "fingerprint")
    } <= there
    assert {
        f"results/{name}.html"
        for name in ("recipe", "label_masking", "methods", "matgl_models", "matbench", "resampled_intervals")
    } <= there
    assert {f"generated/settings/{name}.html" for name in ("curve", "pretrain", "finetune", "objectives")} <= there
    assert sum(name.startswith("examples/") for name in there) >= 2


@pytest.mark.parametrize("name", ["own_measurements", "megnet_head_start", "matbench_hand_in"])
def test_a_tutorial_shows_what_it_computed_and_can_be_downloaded(page, address, name):
    page.goto(f"{address}/tutorials/index.html")
    page.locator(f"article a[href='{name}.html']").click()
    assert page.locator(".cell_output").count() >= 4
    sizes = page.evaluate("[...document.querySelectorAll('.cell_output img')].map((one) => one.naturalWidth)")
    assert sizes and min(sizes) > 200
    with page.expect_download() as asked:
        page.locator("article a[download]", has_text=f"{name}.ipynb").click()
    notebook = json.loads(asked.value.path().read_text())
    assert any(cell.get("outputs") for cell in notebook["cells"])


def test_navigation_leads_to_every_part(page, address):
    page.goto(f"{address}/index.html")
    for link, heading in (("Getting started", "Getting started"), ("Limits", "Limits"), ("Site-Net", "Site-Net")):
        page.locator(".sidebar-tree").get_by_role("link", name=link, exact=True).click()
        assert page.locator("h1").first.inner_text().rstrip("¶#") == heading
    page.locator(".sidebar-tree").get_by_role("link", name="Pretraining methods").click()
    page.locator(".sidebar-tree").get_by_role("link", name="Crystal Twins").click()
    assert "npj Comput. Mater." in page.locator("article").inner_text()
    page.locator(".next-page").click()
    assert page.url.endswith("methods/dual.html")


def test_search_finds_a_word(page, address):
    page.goto(f"{address}/index.html")
    page.fill(".sidebar-search", "Barlow")
    page.press(".sidebar-search", "Enter")
    page.wait_for_selector("#search-results li a")
    assert any("twins.html" in str(link.get_attribute("href")) for link in page.locator("#search-results li a").all())


def test_code_is_copied_without_a_prompt(page, address):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page.goto(f"{address}/getting_started.html")
    block = page.locator("div.highlight-bash", has_text="matgl-infomax check").first
    block.hover()
    block.locator("button.copybtn").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.length > 0)")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == "matgl-infomax check --data my_cifs --labels-file energies.csv --target energy"


def test_no_page_is_wider_than_a_telephone(page, address, site):
    page.set_viewport_size({"width": 400, "height": 800})
    wide = {}
    for name in names(site):
        page.goto(f"{address}/{name}", wait_until="domcontentloaded")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 400:
            wide[name] = width
    assert wide == {}


def test_a_wide_table_and_a_wide_formula_move_inside_their_frames(page, address):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{address}/results/recipe.html")
    moves = "(name) => [...document.querySelectorAll(name)].some((one) => one.scrollWidth > one.clientWidth)"
    assert page.evaluate(moves, ".table-wrapper")
    page.goto(f"{address}/methods/supervised.html")
    assert page.evaluate(moves, ".formula-block")


def test_on_a_telephone_the_menu_opens(page, address):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{address}/index.html")
    link = page.locator(".sidebar-tree").get_by_role("link", name="Limits", exact=True)
    assert not link.evaluate("(one) => one.getBoundingClientRect().left >= 0")
    page.locator("label.nav-overlay-icon").first.click()
    page.wait_for_function("document.querySelector('.sidebar-tree a').getBoundingClientRect().left >= 0")
    link.click()
    assert page.url.endswith("limits.html")


def colours(page):
    """Background, text and ink of the first formula."""
    return page.evaluate("""[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector('.formula-block path')).fill]""")


def test_the_dark_switch_turns_everything(page, address):
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}/methods/denoise.html")
    light = colours(page)
    switch = page.locator("button.theme-toggle").locator("visible=true").first
    for _ in range(3):
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
        switch.click()
    assert page.evaluate("document.body.dataset.theme") == "dark"
    dark = colours(page)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert dark[1] == dark[2], "a formula has the colour of the text"


def test_formulas_are_pictures_with_words(page, address):
    page.goto(f"{address}/methods/twins.html")
    formulas = page.locator(".formula-block svg[role=img]")
    assert formulas.count() == 2
    assert all("mathcal" in str(one.get_attribute("aria-label")) for one in formulas.all())
    height = formulas.first.evaluate("(one) => one.getBoundingClientRect().height")
    assert 25 < height < 90


def test_numbers_on_the_site_are_those_of_the_files(page, address):
    """The headline is read from a file of results a second time, here."""
    import json

    folder = DOCS.parent / "leaderboard" / "results" / "recipe" / "e_form"
    points = json.loads((folder / "verdict.json").read_text())["points"]
    ratio = next(point["ratio"] for point in points if point["labels"] == 100 and point["arm"] == "strong")
    page.goto(f"{address}/index.html")
    row = page.locator("article table tr", has=page.get_by_role("cell", name="100", exact=True)).inner_text()
    assert f"{ratio:.3f}" in row


def test_every_option_is_in_the_reference(page, address):
    from matgl_infomax.cli import COMMANDS

    page.goto(f"{address}/generated/settings/finetune.html")
    text = page.locator("article").inner_text()
    for name in COMMANDS["finetune"][0].model_fields:
        assert f"--{name.replace('_', '-')}" in text, name
    assert "Optimiser steps" in text


def test_no_link_is_broken(page, address, site):
    """Every link to a page of the site, and to a place on it, leads somewhere."""
    found, places = {}, {}
    for name in names(site):
        page.goto(f"{address}/{name}", wait_until="domcontentloaded")
        places[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)"))
        links = page.evaluate("[...document.querySelectorAll('a[href]')].map((one) => one.href)")
        found[name] = {link.removeprefix(f"{address}/") for link in links if link.startswith(address)}
    broken = []
    for name, links in found.items():
        for link in links:
            target, _, place = link.partition("#")
            target = target.partition("?")[0] or "index.html"
            there = target in places or (site / target).is_file()
            if not there or (place and target in places and place not in places[target]):
                broken.append(f"{name}: {link}")
    assert broken == []
