"""Weights that come with the package in studies: what their corpus holds of the test crystals is told, or refused."""

from __future__ import annotations

import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies.curve import learning_curve
from matgl_infomax.tasks.studies.starts import seen_facts
from tests.helpers import small_curve
from tests.helpers.build import many
from tests.helpers.shipped import ship_small, stand_in
from tests.helpers.small_benchmark import numbers, run

NAME = "sitenet-small"
COMPACT = {"preset": "compact", "supercell_atoms": 50}
"""The network of the small shipped weights."""


@pytest.fixture
def shipped(tmp_path, crystals, monkeypatch):
    """Weights whose corpus holds rock salt and magnesia."""
    folder = tmp_path / "shipped"
    ship_small(folder, crystals[2:4])
    stand_in(monkeypatch, folder)
    return folder


def test_facts_count_the_test_crystals(shipped, crystals, tmp_path):
    found = seen_facts(shipped / NAME, crystals[2:6])
    assert found == {"weights_name": NAME, "tested": 4, "seen_structures": 2, "seen_formulas": 2}
    assert seen_facts(tmp_path, crystals) == {}


def test_a_benchmark_refuses_weights_that_have_seen_test_crystals(shipped, crystals, tmp_path):
    asked = numbers(crystals[2:6])
    given = {"init": NAME, "arm": "frozen", "folds": [0], "model": COMPACT}
    with pytest.raises(InputError, match=r"The corpus of sitenet-small holds \d+ of the 16 test crystals of fold 0\. "):
        run(asked, tmp_path, **given)
    assert not (tmp_path / "out").exists()
    result = run(asked, tmp_path, **given, allow_seen=True)
    (card,) = result.cards
    _, items = asked
    tested = [items[row] for row in asked[0].fold(0).test]
    seen = sum(set(crystal.numbers) in ({11, 17}, {12, 8}) for crystal in tested)
    assert 0 < seen < 16
    assert (card.initial.facts["seen_structures"], card.initial.facts["seen_formulas"]) == (seen, seen)
    assert f"starts from sitenet-small, whose corpus holds {seen} of 16 test crystals by structure" in result.to_text()
    assert "Nobody checked" not in result.to_text()


def test_a_benchmark_takes_weights_that_have_seen_none(shipped, crystals, tmp_path):
    result = run(numbers(crystals[4:8]), tmp_path, init=NAME, arm="frozen", folds=[0], model=COMPACT)
    assert result.cards[0].initial.facts["seen_structures"] == 0


def test_a_curve_says_what_was_seen_and_by_whom(shipped, crystals, tmp_path):
    arms = ["scratch", f"pretrained={NAME}"]
    config = small_curve.config(tmp_path, arms=arms, labels=[6], seeds=2, model=COMPACT)
    result = learning_curve(many(crystals[2:6], 40), "y", config)
    (told,) = [note for note in result.notes if "whose corpus holds" in note]
    assert told.startswith("pretrained: starts from sitenet-small, whose corpus holds ")
    assert not any("nobody checked" in note for note in result.notes)
