"""Figures of a report: what is drawn where, in which colours, and what is said of it to those who do not see it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.report import figures
from matgl_infomax.leaderboard.report.figures import (
    MOST_DOTS,
    NAMES,
    arm_colours,
    colour,
    curve_picture,
    dots,
    drawing,
    map_pictures,
    parity_picture,
    shortened,
    to_svg,
)


def parsed(svg):
    """The elements of a figure; fails where it is no XML."""
    return ET.fromstring(svg)


def texts(svg):
    return ["".join(element.itertext()).strip() for element in parsed(svg).iter() if element.tag.endswith("text")]


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is drawn, before it becomes text."""
    kept = []
    original = figures.to_svg
    monkeypatch.setattr(figures, "to_svg", lambda figure, key: kept.append(figure) or original(figure, key))
    return kept


def study(labels=(50, 100), seeds=3, unit="eV"):
    """A curve of two arms whose errors are known: 1 / labels times 40 and 20, seeds apart by a hundredth."""
    rows = [
        {"arm": arm, "labels_asked": n, "labels": n, "seed": seed, "fold": 0, "mae": scale / n + 0.01 * seed}
        for arm, scale in (("scratch", 40.0), ("a very long name of an arm", 20.0))
        for n in labels
        for seed in range(seeds)
    ]
    verdict = SimpleNamespace(
        unit=unit, target="gap", test_crystals=1234, seeds=seeds, baseline="scratch", points=(), others=()
    )
    curve = pd.DataFrame(rows)
    return SimpleNamespace(verdict=verdict, curve=curve, pooled=curve, name="the study")


def test_curves_join_the_means_over_seeds(drawn):
    made = curve_picture(study(), "k")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert list(lines) == ["scratch", "a very long name of…"]
    for line, scale in zip(lines.values(), (40.0, 20.0), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [50, 100])
        np.testing.assert_allclose(line.get_ydata(), [scale / 50 + 0.01, scale / 100 + 0.01])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {"50", "100", "unmasked labels", "mean absolute error (eV)"} <= set(texts(made.svg))
    assert made.alt == (
        "Learning curves of gap for 2 arms from 50 to 100 labels. Mean absolute error at 100 labels: "
        "scratch 0.410, a very long name of an arm 0.210 eV."
    )
    assert "on 1,234 test crystals" in made.caption and "means over 3 seeds" in made.caption


def test_one_number_of_labels_makes_a_line_for_each_arm(drawn):
    made = curve_picture(study(labels=(50,), seeds=1, unit=None), "k")
    (axes,) = drawn[0].axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["scratch", "a very long name of an arm"] and "mean absolute error" in texts(made.svg)
    dots = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert dots == pytest.approx([40 / 50, 20 / 50])
    assert made.alt.startswith("Errors of gap for 2 arms at 50 labels.")
    assert made.alt.endswith("a very long name of an arm 0.400.")


def parity(truth, prediction, **more):
    about = {"what": "ours", "target": "gap", "unit": "eV", "arm": "scratch", "key": "p"}
    return parity_picture(np.asarray(truth, float), np.asarray(prediction, float), **{**about, **more})


def test_parity_says_error_bias_and_correlation(drawn):
    truth, prediction = [0.0, 1.0, 2.0, 3.0], [0.5, 1.0, 3.0, 3.0]
    made = parity(truth, prediction)
    r = np.corrcoef(truth, prediction)[0, 1]
    assert (
        made.caption == f"ours: 4 predictions, mean absolute error 0.375 eV, mean error 0.38 eV, correlation {r:.3f}."
    )
    assert "The dashed line is equality" in made.alt
    (axes,) = drawn[0].axes
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-0.12, 3.12))
    points = axes.get_lines()[1].get_xydata()
    found = {tuple(point) for point in points if not np.isnan(point).any()}
    assert found == set(zip(truth, prediction, strict=True))


def test_equal_values_have_an_axis_and_no_correlation():
    assert "correlation –" in parity([2.0, 2.0], [2.0, 2.0]).caption
    assert "mean absolute error 0.500, mean" in parity([2.0], [2.5], unit=None).caption


def test_many_points_are_counted_in_squares(drawn):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=MOST_DOTS + 1)
    parity(truth, truth + 0.1 * rng.normal(size=len(truth)))
    parity(truth[:-1], truth[:-1])
    many, few = (figure.axes[0].get_lines()[1:] for figure in drawn)
    assert len(few) == 1 and 1 < len(many) <= 5
    squares = sum(np.isfinite(line.get_xdata()).sum() // 2 for line in many)
    table, *_ = np.histogram2d(truth, truth, bins=10)
    assert 10 < squares < len(truth)
    assert [line.get_alpha() for line in many] == sorted(line.get_alpha() for line in many), "the darker the more"
    assert table.sum() == len(truth)


def points(n, systems=("cubic", "hexagonal")):
    rng = np.random.default_rng(1)
    return pd.DataFrame({
        "arm": ["one"] * n, "pca_1": rng.normal(size=n), "pca_2": rng.normal(size=n), "target": np.arange(n) * 1.0,
        "crystal_system": [systems[k % len(systems)] for k in range(n)],
    })  # fmt: skip


def map_of(table):
    return SimpleNamespace(points=table, cards=[SimpleNamespace(target="gap", unit="eV")], method="pca", name="vectors")


def test_each_arm_has_a_map_by_target_and_one_by_crystal_system(drawn):
    two = pd.concat([points(40), points(40).assign(arm="two")])
    made = map_pictures(map_of(two), "m")
    assert len(made) == 4 and [("arm one" in p.caption, "crystal system" in p.caption) for p in made] == [
        (True, False), (True, True), (False, False), (False, True)]  # fmt: skip
    assert "coloured by gap (eV) in 6 groups" in made[0].alt and "in 2 groups" in made[1].alt
    labels = texts(made[1].svg)
    assert "cubic (20)" in labels and "hexagonal (20)" in labels
    shown = [line.get_xydata() for line in drawn[0].axes[0].get_lines() if len(line.get_xdata())]
    everyone = {tuple(p) for line in shown for p in line if not np.isnan(p).any()}
    assert everyone == set(map(tuple, points(40)[["pca_1", "pca_2"]].to_numpy()))


def test_groups_by_value_are_of_one_size_and_go_from_low_to_high():
    groups = figures._by_value(np.random.default_rng(0).permutation(60) * 1.0)
    assert [int(rows.sum()) for *_, rows in groups] == [10] * 6
    assert [name for name, *_ in groups] == [f"{10 * k} to {10 * k + 9}" for k in range(6)]
    assert [drawn for _, drawn, _ in groups] == [f"step-{k}" for k in range(1, 7)]
    ((name, _, rows),) = figures._by_value(np.full(5, 2.0))
    assert name == "2 to 2" and rows.all()


def test_rare_names_are_grey_and_lie_below():
    names = np.repeat([f"n{k}" for k in range(9)], [9, 8, 7, 6, 5, 4, 3, 2, 1])
    groups = figures._by_name(names)
    assert groups[0][:2] == ("other (3)", "untrained") and len(groups) == 8
    assert [name for name, *_ in groups[1:]] == [f"n{k} ({9 - k})" for k in range(7)]
    assert sum(int(rows.sum()) for *_, rows in groups) == len(names)


def test_large_maps_are_thinned():
    made = map_pictures(map_of(points(MOST_DOTS + 500)), "m")
    assert f"{MOST_DOTS:,} test crystals" in made[0].caption


def test_an_arm_has_one_colour_in_every_figure():
    found = arm_colours(["mine", "scratch", "yours", "a", "b", "c"])
    assert found == {"mine": "own-1", "scratch": "scratch", "yours": "own-2", "a": "own-3", "b": "own-4", "c": "own-1"}
    assert set(found.values()) <= set(NAMES)
    assert len({colour(name) for name in NAMES}) == len(NAMES)


def test_long_names_are_cut_for_the_legend():
    assert shortened("x" * 20) == "x" * 20 and shortened("x" * 21) == "x" * 19 + "…"


def small_figure(key="k", text="a < b & $x$"):
    with drawing(2, 1) as figure:
        axes = figure.add_subplot()
        dots(axes, np.array([0.123456, 1.0]), np.array([0.0, 1.0]), "scratch", size=3.0)
        axes.set_title(text)
        return to_svg(figure, key)


def test_svg_follows_the_colours_of_the_page_and_has_its_own_names():
    svg = small_figure()
    assert "var(--scratch)" in svg and "#a10c" not in svg
    assert re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg) == []
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids and all(name.startswith("k-") for name in ids)
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= set(ids)
    assert "font-family: var(--font)" in svg and "aria-hidden" in svg and "<metadata" not in svg and "<style" not in svg
    assert "a < b & $x$" in texts(svg), "text stays text, and no formula"


def test_the_same_picture_is_the_same_text_and_fine_digits_are_dropped():
    assert small_figure() == small_figure() and small_figure("k") != small_figure("other")
    assert not re.search(r"<[^>]*\d+\.\d{3,}[^>]*>", small_figure())
    assert "3.14159" in texts(small_figure(text="3.14159")), "numbers that a reader sees are left alone"


def test_a_dot_is_a_line_of_no_length_and_dots_are_not_joined():
    with drawing(2, 1) as figure:
        axes = figure.add_subplot()
        dots(axes, np.array([1.0, 2.0]), np.array([3.0, 4.0]), "ink", size=5.0, alpha=0.5, square=True)
        (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [1, 1, np.nan, 2, 2, np.nan])
    np.testing.assert_array_equal(line.get_ydata(), [3, 3, np.nan, 4, 4, np.nan])
    assert line.get_solid_capstyle() == "projecting" and line.get_linewidth() == 5.0 and line.get_alpha() == 0.5
