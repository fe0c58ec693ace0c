"""Tables and bars of a report: how numbers are printed and sorted, and where on its axis a bar lies."""

from __future__ import annotations

import math

import pytest

from matgl_infomax.leaderboard.report.table import (
    Axis,
    Bar,
    Cell,
    axis_for,
    duration,
    interval,
    make_table,
    number,
    shown,
    word,
)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, "–"),
        (math.nan, 4, "–"),
        (0.0, 4, "0"),
        (3.0, 2, "3"),
        (132_752.0, 4, "132,752"),
        (-2.0, 4, "−2"),
        (0.123456, 4, "0.1235"),
        (0.0123456, 3, "0.0123"),
        (45.3612, 4, "45.36"),
        (1234.567, 3, "1,235"),
        (-0.5, 2, "−0.50"),
        (1.2345e-6, 3, "1.23e−06"),
        (0.99996, 4, "1.0000"),
    ],
)
def test_numbers_as_they_are_printed(value, digits, text):
    assert shown(value, digits) == text


def test_an_interval_has_both_ends():
    assert interval(0.7123, 0.8694) == "0.712 to 0.869"
    assert interval(-0.1234, math.nan) == "−0.123 to –"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0, "0 s"), (59.94, "59.9 s"), (60.0, "1 min"), (90.0, "1.50 min"), (3599.0, "60.0 min"),
     (3600.0, "1 h"), (9000.0, "2.50 h")],
)  # fmt: skip
def test_durations_have_the_largest_unit_that_fits(seconds, text):
    cell = duration(seconds)
    assert cell.text == text and cell.value == (math.inf if seconds is None else seconds)


def test_cells_sort_by_what_they_mean():
    assert word("Titanium") == Cell("Titanium", "titanium") and word("Titanium").key == "titanium"
    assert number(0.123456789, 3) == Cell("0.123", 0.123456789)
    assert [number(x).key for x in (0.1, None, math.nan, -3.0)] == ["0.1", "", "", "-3"], "what is unknown comes last"


def bar():
    return Bar(50.0, 40.0, 60.0, 30.0, "better")


def test_a_table_knows_its_words_and_loses_its_drawn_columns():
    rows = [[word("a"), Cell("", 0.1, bar()), number(k)] for k in range(3)]
    table = make_table("Errors", ["arm", "drawn", "mae"], rows, words=["arm"], axis=[(0.0, "0")], note="Read it.")
    assert table.words == {"arm"} and table.axis == ((0.0, "0"),) and not table.filtered
    plain = table.without_bars()
    assert plain.columns == ("arm", "mae") and [len(row) for row in plain.rows] == [2, 2, 2]
    assert plain.note == "Read it." and table.columns == ("arm", "drawn", "mae")


def test_a_column_is_drawn_if_one_line_has_a_bar():
    rows = [[word("a"), Cell("–", math.inf)], [word("b"), Cell("", 0.1, bar())]]
    assert make_table("", ["arm", "drawn"], rows).without_bars().columns == ("arm",)
    assert make_table("", ["arm", "drawn"], []).without_bars().columns == ("arm", "drawn")


@pytest.mark.parametrize(("lines", "filtered"), [(0, False), (8, False), (9, True)])
def test_long_tables_get_a_filter(lines, filtered):
    assert make_table("", ["a"], [[word("x")]] * lines).filtered == filtered


def test_a_line_with_another_number_of_cells_is_an_error():
    with pytest.raises(ValueError, match=r"^Errors: 2 columns, and a line of 1 cells$"):
        make_table("Errors", ["a", "b"], [[word("x"), word("y")], [word("x")]])


def test_places_on_a_plain_axis():
    axis = Axis(-1.0, 3.0, ratios=False)
    assert [axis.place(x) for x in (-1.0, 0.0, 1.0, 3.0)] == [0.0, 25.0, 50.0, 100.0]
    assert (axis.place(-9.0), axis.place(9.0)) == (0.0, 100.0), "kept inside"
    assert axis.bar(1.0, 0.0, 2.0, "open") == Bar(50.0, 25.0, 75.0, 25.0, "open")


def test_ratios_lie_on_a_logarithmic_axis():
    axis = Axis(0.25, 4.0, ratios=True)
    assert [axis.place(x) for x in (0.25, 0.5, 1.0, 2.0, 4.0)] == pytest.approx([0, 25, 50, 75, 100])
    assert axis.place(0.0) == 0.0, "a ratio of zero has no logarithm"
    assert axis.bar(0.5, 0.25, 1.0, "better").zero == pytest.approx(50.0)


@pytest.mark.parametrize("ratios", [False, True])
@pytest.mark.parametrize(
    ("lows", "highs"), [([0.4, 0.9], [0.8, 1.3]), ([2.0], [3.0]), ([0.2], [0.3]), ([], []), ([1.0], [1.0])]
)
def test_an_axis_holds_all_intervals_and_the_place_where_nothing_differs(ratios, lows, highs):
    axis, nothing = axis_for(lows, highs, ratios=ratios), 1.0 if ratios else 0.0
    for value in [*lows, *highs, nothing]:
        assert axis.low < value < axis.high
        assert 0 < axis.place(value) < 100
    if ratios:
        assert axis.low > 0


def test_a_ratio_of_zero_still_has_an_axis():
    axis = axis_for([0.0], [2.0], ratios=True)
    assert 0 < axis.low < 1e-11 and axis.place(2.0) < 100


@pytest.mark.parametrize(
    ("axis", "nothing"), [(Axis(-0.3, 1.9, False), "0"), (Axis(0.4, 2.6, True), "1"), (Axis(0.01, 5.0, True), "1")]
)
def test_ticks_are_round_numbers_and_the_one_where_nothing_differs_is_always_there(axis, nothing):
    ticks = axis.ticks()
    places, texts = [place for place, _ in ticks], [text for _, text in ticks]
    assert places == sorted(places) and all(0 <= place <= 100 for place in places)
    assert nothing in texts and len(ticks) >= 2
    here = places[texts.index(nothing)]
    assert all(abs(place - here) > 15 for place, text in ticks if text != nothing), "no text over another"
    assert [axis.place(float(text.replace("−", "-"))) for text in texts] == pytest.approx(places)
