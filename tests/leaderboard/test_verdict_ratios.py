"""The table of all arms against scratch says what the verdict says."""

from __future__ import annotations

import numpy as np

from matgl_infomax.leaderboard.verdict import judge, ratio_table


def verdict(**factors):
    """A verdict over arms that make their factor of scratch's error, with two label counts and the last arm at one."""
    rng = np.random.default_rng(0)
    base = {n: rng.gamma(2, 1, size=300) * (1 + 0.02 * rng.normal(size=(4, 1))) for n in (10, 100)}
    errors = {("scratch", n): base[n] for n in base}
    for arm, factor in factors.items():
        errors |= {(arm, n): base[n] * factor * (1 + 0.02 * rng.normal(size=(4, 1))) for n in base}
    if len(factors) > 1:  # not every arm has runs everywhere
        del errors[list(factors)[-1], 100]
    return judge(errors, target="gap", draws=300)


def test_every_arm_has_its_line_and_clear_differences_are_bold():
    found = verdict(denoise=0.7, masked=1.0, twins=1.5)
    table = ratio_table(found).splitlines()
    assert table[0] == "| error / scratch (95 %) | 10 labels | 100 labels |"
    lines = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in table[2:5]}
    assert list(lines) == ["denoise", "masked", "twins"]
    pairs = {(p.arm, p.labels): p for p in (*found.points, *found.others) if p.against == "scratch"}
    for arm, cells in lines.items():
        for n, cell in zip((10, 100), cells, strict=False):
            pair = pairs[arm, n]
            assert cell.startswith("**") == (pair.finding != "open")
            assert cell.strip("*").startswith(f"{pair.ratio:.3f}") and f"{pair.ratio_high:.3f})" in cell
    assert all(cell.startswith("**0.") for cell in lines["denoise"]) and lines["twins"][0].startswith("**1.")
    assert not any(cell.startswith("**") for cell in lines["masked"])
    assert len(lines["twins"]) == 1 or lines["twins"][1] == ""


def test_one_arm_needs_no_second_table():
    assert ratio_table(verdict(denoise=0.7)) == ""
