"""Answers of a representation study: paired by draw, and never by the grace of one unlucky untrained encoder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.tasks.studies.represent import by_group, comparisons, failure_lines, overview, sentences, tables

GROUPS = {"pretrained": "pretrained", "untrained-0": "untrained", "untrained-1": "untrained", "xrd": "xrd"}


def errors(*levels: float) -> dict[str, np.ndarray]:
    """Absolute errors of all arms, three draws of forty crystals, about these levels."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.8, 1.2, size=(3, 40))
    return {
        arm: level * base * rng.uniform(0.97, 1.03, size=base.shape) for arm, level in zip(GROUPS, levels, strict=True)
    }


@pytest.mark.parametrize(
    ("levels", "answer", "beaten"),
    [
        ((1.0, 2.0, 2.2, 1.0), "better", 2),
        ((1.0, 0.9, 3.0, 1.0), "cannot tell", 1),  # far below the mean of the floor, but one encoder is ahead
        ((2.0, 1.0, 1.1, 1.0), "worse", 0),
        ((1.0, 1.0, 1.0, 1.0), "cannot tell", None),
    ],
)
def test_better_means_better_than_every_untrained_encoder(levels, answer, beaten):
    table = comparisons({("standard", "ridge", 50): errors(*levels)}, GROUPS)
    floor = table[table["baseline"] == "untrained"].iloc[0]
    assert (floor["answer"], floor["of"]) == (answer, 2)
    assert beaten is None or floor["beaten"] == beaten
    assert floor["ratio_low"] < floor["ratio"] < floor["ratio_high"]
    assert floor["baseline_mae"] == pytest.approx(np.mean(levels[1:3]), rel=0.1)


def test_heads_stay_together_and_are_told():
    of = errors(1.0, 2.0, 2.0, 0.5)
    table = comparisons({("standard", head, n): of for n in (100, 50) for head in ("ridge", "mlp")}, GROUPS)
    order = list(dict.fromkeys(zip(table["head"], table["labels"], strict=True)))
    assert order == [("ridge", 50), ("ridge", 100), ("mlp", 50), ("mlp", 100)]
    said = sentences(table)
    assert said[0].startswith("ridge, 50 labels: better than untrained (error x 0.")
    assert said[0].endswith("ahead of 2 of 2 encoders)") and "encoders" not in said[1]
    assert said[1].startswith("ridge, 50 labels: worse than xrd")
    assert overview(table).splitlines() == [
        "Pretrained against untrained: better 4, worse 0, cannot tell 0 (of 4 heads x label counts).",
        "Pretrained against xrd: better 0, worse 4, cannot tell 0 (of 4 heads x label counts).",
    ]
    same = comparisons({("none", "ridge", 50): errors(1.0, 1.0, 1.0, 1.0)}, GROUPS)
    assert sentences(same)[0].startswith("ridge, not scaled, 50 labels: cannot tell from untrained")


def test_the_floor_is_the_mean_over_encoders_of_each_draw():
    lines = [
        {
            "scaling": "standard",
            "head": "ridge",
            "labels": 50,
            "arm": arm,
            "group": group,
            "seed": seed,
            "mae": mae + seed,
        }
        for arm, group, mae in [("pretrained", "pretrained", 1.0), ("u0", "untrained", 2.0), ("u1", "untrained", 4.0)]
        for seed in (0, 1)
    ]
    fits = pd.DataFrame(lines)
    grouped = by_group(fits)
    assert grouped[grouped["group"] == "untrained"]["mae"].tolist() == [3.0, 4.0]
    compared = comparisons({("standard", "ridge", 50): errors(1.0, 2.0, 2.0, 1.0)}, GROUPS)
    page = tables(fits, compared, "eV")
    assert "## ridge" in page and "| 50 | 1.500 ± 0.707 | 3.500 ± 0.707 | 0.5" in page and "(eV)" in page


def test_failures_are_counted_by_part():
    frame = pd.DataFrame(
        [("xrd", "a", "train", "no peak"), ("xrd", "b", "test", "no peak"), ("xrd", "c", "test", "other")],
        columns=["arm", "id", "part", "reason"],
    )
    (line,) = failure_lines(frame)
    assert line.startswith("xrd: 1 training and 2 test crystals have no descriptor (2 of them: no peak).")
    assert failure_lines(frame.iloc[:0]) == []
