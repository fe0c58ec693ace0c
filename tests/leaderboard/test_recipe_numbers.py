"""What the texts say about the recipe is what its files say: ratios, and which bars were met."""

from __future__ import annotations

import re

import pytest

from matgl_infomax.leaderboard.verdict import Verdict
from tests.leaderboard.kept import RESULTS, ROOT

RECIPE = RESULTS / "recipe"
LABELS = (50, 100, 250, 1000, 10000)
PROPERTIES = ("e_form", "gap")


def ratio(labels: int, name: str) -> tuple[float, str] | None:
    """Error of the recipe in errors from scratch, bare and as texts write it; none where it was not run."""
    file = RECIPE / (f"{name}_10000" if labels == 10000 else name) / "verdict.json"
    if not file.is_file():
        return None
    points = Verdict.model_validate_json(file.read_text()).points
    point = next(p for p in points if (p.arm, p.against, p.labels) == ("strong", "scratch", labels))
    return point.ratio, f"{point.ratio:.3f} ({point.ratio_low:.3f}–{point.ratio_high:.3f})"


def cells(text: str, heading: str, labels: int) -> list[str]:
    """Cells of the row of a number of labels in the first table below a heading."""
    part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [cell.strip() for cell in re.findall(rf"^\| {labels:,} \|(.*)\|$", part, re.MULTILINE)[0].split("|")]


@pytest.mark.parametrize("labels", LABELS)
def test_readme_tells_the_ratios_of_the_files(labels):
    row = cells((ROOT / "README.md").read_text(), "What the default gives", labels)
    for told, name in zip((row[3], row[7]), PROPERTIES, strict=True):
        found = ratio(labels, name)
        assert told == ("" if found is None else found[1])


@pytest.mark.parametrize("labels", LABELS)
def test_bars_are_judged_by_the_files(labels):
    row = cells((RECIPE / "README.md").read_text(), "Against the bars of the issue", labels)
    for (told, bar, met), name in zip((row[:3], row[4:7]), PROPERTIES, strict=True):
        found = ratio(labels, name)
        if found is None:
            assert (told, met) == ("not run", "-")
            continue
        assert told == found[1]
        missed_by = found[0] - float(bar)
        assert met == ("yes" if missed_by <= 0 else f"no, by {missed_by:.3f}")
