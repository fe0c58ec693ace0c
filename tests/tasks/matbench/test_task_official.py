"""The fingerprints are those of the official targets, and survive rounding but no change."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pytest

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.tasks.matbench.data import difference
from matgl_infomax.tasks.matbench.task import (
    ROUNDING,
    SAME_CRYSTALS,
    STEP,
    card_names,
    load_card,
    official_classes,
    read_official,
    steps,
)
from tests.helpers.make_official import TARGETS, cell_text, fingerprints, official_rows

LARGE = {"matbench_mp_e_form", "matbench_mp_gap", "matbench_mp_is_metal"}
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in card_names()]
STRUCTURES = [
    pytest.param(*name.values, marks=name.marks) for name in NAMES if load_card(name.values[0]).content_sha256
]


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_are_made_from_the_official_targets(shared, name):
    card = load_card(name)
    assert card.target == TARGETS[name]
    rows = official_rows(shared / "data" / "matbench", name)
    assert rows["mbid"] == [card.mbid(row) for row in range(card.n_rows)]
    arrays, content = fingerprints(rows, card.target)
    assert content == card.content_sha256
    for what in set(arrays) - {"classes"}:
        np.testing.assert_array_equal(read_official(name, what), arrays[what])
    if card.kind == "classification":
        assert official_classes(card).tolist() == rows[card.target]
        assert official_classes(card).mean() == pytest.approx(card.fraction_true, abs=1e-12)


def test_nothing_else_is_shipped():
    with as_file(files("matgl_infomax.tasks.matbench") / "cards" / "official.npz") as path, np.load(path) as table:
        shipped = set(table.files)
    cards = [load_card(name) for name in card_names()]
    with_structure = {card.name for card in cards if card.input == "structure"}
    wanted = {f"{name}/targets" for name in with_structure}
    wanted |= {f"{name}/compositions" for name in with_structure - set(SAME_CRYSTALS)}
    assert shipped == wanted | {f"{card.name}/classes" for card in cards if card.kind == "classification"}


@pytest.mark.parametrize("name", STRUCTURES)
def test_official_rows_pass_also_where_rounded_and_none_passes_changed(shared, name):
    """Crystals with the official cell contents and targets; positions are not part of the fingerprints."""
    card = load_card(name)
    rows = official_rows(shared / "data" / "matbench", name)
    generator = np.random.default_rng(0)
    noise = generator.uniform(-0.5, 0.5, card.n_rows) * 1e-10  # what the official list has been rounded by
    crystals = [
        crystal(card.mbid(k), formula, {card.target: float(value) + float(noise[k])})
        for k, (formula, value) in enumerate(zip(rows["composition"], rows[card.target], strict=True))
    ]
    assert difference(card, crystals) is None
    row = int(generator.integers(card.n_rows))
    crystals[row].labels[card.target] += 10 * STEP
    assert f"in row {row} ({card.mbid(row)}): its {card.target} (" in (difference(card, crystals) or "")


def crystal(id: str, formula: str, labels: dict[str, float]) -> Crystal:
    """A crystal with a cell content and nothing else."""
    counts = [part.split(":") for part in cell_text(formula).split()]
    numbers = np.repeat([int(z) for z, _ in counts], [int(n) for _, n in counts])
    return Crystal(id, numbers, np.eye(3), np.zeros((len(numbers), 3)), labels)


def test_a_value_between_two_steps_may_be_either():
    nearest, other = steps([2.0, 2.5 * STEP, 2.5 * STEP + 0.4 * ROUNDING, 2.5 * STEP - 0.4 * ROUNDING, -1e300, 1e300])
    assert nearest.tolist() == [200_000_000, 2, 3, 2, -(10**17), 10**17]
    assert other.tolist() == [200_000_000, 3, 2, 3, -(10**17), 10**17]
