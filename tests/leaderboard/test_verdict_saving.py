"""Label saving is read off the baseline's curve, and never beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgl_infomax.leaderboard.verdict import label_saving

POWER_LAW = {n: 5.0 * n**-0.5 for n in (50, 100, 250, 1000)}


@given(st.floats(50.5, 999.5))
def test_a_power_law_is_inverted_exactly(n):
    found = label_saving(100, 5.0 * n**-0.5, POWER_LAW)
    assert found.equals == pytest.approx(n)
    assert found.bound == f"= {found.equals:.0f}"


def test_measured_points_come_back():
    assert [label_saving(n, mae, POWER_LAW).equals for n, mae in POWER_LAW.items()] == pytest.approx([*POWER_LAW])


@pytest.mark.parametrize(("mae", "bound"), [(0.01, "> 1000"), (0.0, "> 1000"), (9.0, "< 50")])
def test_outside_the_measured_range_there_is_only_a_bound(mae, bound):
    found = label_saving(100, mae, POWER_LAW)
    assert (found.labels, found.equals, found.bound) == (100, None, bound)


def test_a_curve_that_goes_up_by_chance_has_one_answer():
    found = label_saving(10, 0.5, {10: 1.0, 20: 0.6, 40: 0.8, 80: 0.4})
    assert 40 < found.equals < 80
    assert label_saving(10, 0.6, {10: 1.0, 20: 0.6, 40: 0.6}).equals == pytest.approx(20)


def test_one_measured_number():
    assert label_saving(50, 1.0, {50: 1.0}).equals == 50
    assert label_saving(50, 0.9, {50: 1.0}).bound == "> 50"
