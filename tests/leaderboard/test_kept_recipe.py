"""What the texts say about the recipe is what its files say: ratios, and which bars were met."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from matgl_infomax.leaderboard.verdict import Verdict
from tests.helpers.kept_results import RESULTS, ROOT

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


HEADLINE = {
    "formation energy, eV/atom": "e_form",
    "band gap, eV": "gap",
    "bulk modulus, log10 GPa": "log_kvrh",
    "refractive index": "dielectric",
    "exfoliation energy, meV/atom": "jdft2d",
    "MEGNet: formation energy, eV/atom": "megnet_e_form",
}
"""Properties of the headline table and the studies that their numbers come from."""


def headline() -> list[list[str]]:
    """Cells of every row of the headline table in the README."""
    part = (ROOT / "README.md").read_text().split("\n## What pretraining gives with few labels\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in row.split("|")] for row in re.findall(r"^\| (.*) \|$", part, re.MULTILINE)[2:]]


def test_headline_names_every_property_and_nothing_else():
    assert {row[0] for row in headline()} == set(HEADLINE)


@pytest.mark.parametrize("row", headline(), ids=lambda row: " ".join(row[:2]))
def test_headline_tells_the_numbers_of_the_files(row):
    """Means over the seeds of the table of runs, as precise as they are written, and the ratio of the verdict."""
    name, labels = HEADLINE[row[0]], int(row[1].replace(",", ""))
    pretrained = "megnet" if name.startswith("megnet") else "strong"
    runs = pd.read_csv(RECIPE / name / "curve.csv").query("labels_asked == @labels")
    assert runs.groupby("arm")["seed"].nunique().min() == 8, "the text says that there are eight seeds"
    mean = runs.groupby("arm")["mae"].mean()
    for told, arm in zip(row[2:5], ("scratch", pretrained, "descriptors"), strict=True):
        assert told == f"{mean[arm]:.{len(told.partition('.')[2])}f}"
        assert len(told.replace(".", "").lstrip("0")) >= 3, "at least three figures"
    points = Verdict.model_validate_json((RECIPE / name / "verdict.json").read_text()).points
    point = next(p for p in points if (p.arm, p.against, p.labels) == (pretrained, "scratch", labels))
    assert row[5] == f"{point.ratio:.3f} ({point.ratio_low:.3f}–{point.ratio_high:.3f})"


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
