"""Colours of the page, in both schemes, against the contrast that WCAG 2.2 asks for."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from matgl_infomax.leaderboard.report.figures import NAMES

STYLE = (files("matgl_infomax.leaderboard.report") / "templates" / "report.css").read_text(encoding="utf-8")
TEXT = [("ink", "page"), ("soft", "page"), ("accent", "page"), ("ink", "hover"), ("soft", "hover"), ("better", "page"),
        ("worse", "page"), ("open", "page"), ("better", "hover"), ("worse", "hover"), ("better", "better-back"),
        ("worse", "worse-back"), ("open", "open-back")]  # fmt: skip
"""Colours of text and what is behind them."""
DRAWN = [name for name in NAMES if name not in ("ink", "line", "page")]


def schemes():
    """Variables of the light and of the dark scheme."""
    blocks = [
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    light, dark = blocks
    return {"light": light, "dark": dark}


def luminance(colour):
    """Relative luminance of '#rrggbb', WCAG 2.2."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    colours = schemes()[scheme]
    weak = {pair: contrast(*(colours[name] for name in pair)) for pair in TEXT}
    assert {pair: value for pair, value in weak.items() if value < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_and_dots_stand_out(scheme):
    colours = schemes()[scheme]
    weak = {name: contrast(colours[name], colours["page"]) for name in DRAWN}
    assert {name: value for name, value in weak.items() if value < 3} == {}


def test_both_schemes_know_every_colour_and_no_other_is_used():
    both = schemes()
    assert set(both["light"]) == set(both["dark"]) >= set(NAMES)
    body = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b", body) == []
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", body)) <= {*both["light"], "font"}
    assert {pair[0] for pair in TEXT} >= set(re.findall(r"(?<![-a-z])color: var\(--([a-z0-9-]+)\)", body))
