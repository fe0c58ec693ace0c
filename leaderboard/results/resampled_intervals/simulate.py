"""Simulate studies of two equally good arms and see which rule for an interval holds its level, and what it can tell.

Run on 30 November 2026 beside the code of commit f1f01aa and ``leaderboard/resampled.py``, in a minute on one core.
It needs nothing but the environment of this package. It writes ``levels.csv``, ``power.csv`` and ``intervals.png``
beside itself:

    python leaderboard/results/resampled_intervals/simulate.py

Its last line gives the constants of ``detectable_difference``; ``--draw`` draws the picture again from the tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binom

from matgl_infomax.leaderboard.resampled import (
    POWER,
    RULES,
    Making,
    detectable_difference,
    smallest_told,
    told_share,
    trials,
    wrong_share,
)

SIZES = (30, 60, 120, 250)
KINDS = {
    "usual": {},
    "half of the labels": {"share": 0.5},
    "a quarter of the labels": {"share": 0.25},
    "twins": {"twins": 2},
    "three repeats": {"repeats": 3},
    "ten folds": {"folds": 10},
    "no training luck": {"luck": 0.0},
    "twice the training luck": {"luck": 2.0},
}
ASKED = 500
"""Studies whose share of wrong intervals has to lie in its binomial band."""
DIFFERENCES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)


def levels(studies: int, seed: int) -> pd.DataFrame:
    """Type-1 errors: one line per rule, kind of study and number of crystals."""
    low, high = binom.interval(0.95, ASKED, 0.05)
    lines = []
    for kind, changes in KINDS.items():
        for n in SIZES:
            for rule, found in trials(Making(n, **changes), studies, seed).items():
                few = wrong_share(found[:ASKED])
                lines.append(
                    {
                        "rule": rule, "kind": kind, "crystals": n, "wrong": few,
                        "in_band": low / ASKED <= few <= high / ASKED, "wrong_of_all": wrong_share(found),
                        "studies": studies,
                    }
                )  # fmt: skip
    return pd.DataFrame(lines)


def powers(studies: int, seed: int) -> pd.DataFrame:
    """Power of every rule by number of crystals and difference, and the smallest difference told."""
    lines = []
    for n in (*SIZES, 500):
        for rule, found in trials(Making(n), studies, seed).items():
            told = {f"at_{100 * difference:.0f}": told_share(found, difference) for difference in DIFFERENCES}
            smallest = {f"told_by_{100 * power:.0f}": smallest_told(found, power) for power in (0.5, POWER)}
            lines.append({"rule": rule, "crystals": n, **told, **smallest, "studies": studies})
    return pd.DataFrame(lines)


def constants(table: pd.DataFrame) -> dict[float, tuple[float, float]]:
    """Constants of ``detectable_difference``: least squares on the squared log ratio, relative to its size."""
    kept = table[table["rule"] == "calibrated"]
    n, found = kept["crystals"].to_numpy(), {}
    for power in (0.5, POWER):
        square = np.log1p(-kept[f"told_by_{100 * power:.0f}"].to_numpy()) ** 2
        terms = np.stack([1 / n, 1 / np.sqrt(n)], axis=1)
        a, b = np.linalg.lstsq(terms / square[:, None], np.ones(len(n)), rcond=None)[0]
        found[power] = (round(float(a), 2), round(float(b), 3))
    return found


def draw(level: pd.DataFrame, power: pd.DataFrame, out: Path) -> None:
    """Two panels: type-1 error of the rules, and what the chosen one can tell."""
    colours = dict(zip(RULES, ("#00798c", "#8d96a3", "#d1495b"), strict=True))
    figure = Figure(figsize=(9, 3.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = (edge / ASKED for edge in binom.interval(0.95, ASKED, 0.05))
    left.axhspan(low, high, color="0.9", label=f"5 %, band of {ASKED} studies")
    for rule, colour in colours.items():
        usual = level[(level["rule"] == rule) & (level["kind"] == "usual")]
        left.plot(usual["crystals"], usual["wrong"], "o-", color=colour, label=rule)
        double = level[(level["rule"] == rule) & (level["kind"] == "twice the training luck")]
        left.plot(double["crystals"], double["wrong_of_all"], "o:", color=colour, markerfacecolor="white")
    left.plot([], [], "o:", color="0.3", markerfacecolor="white", label="with twice the training luck")
    left.set(xscale="log", ylim=(0, 0.3), xlabel="labelled crystals", ylabel="wrong intervals (share of studies)")
    for rule, colour in colours.items():
        if rule != "crystals alone":
            mine = power[power["rule"] == rule]
            told = 100 * mine[f"told_by_{100 * POWER:.0f}"]
            right.plot(mine["crystals"], told, "o", color=colour, label=f"{rule}, 80 % of studies")
    n = np.geomspace(25, 600)
    for share, style in ((POWER, "-"), (0.5, "--")):
        line = [100 * detectable_difference(int(k), power=share) for k in n]
        right.plot(
            n, line, style, color=colours["calibrated"], label=f"detectable_difference, {100 * share:.0f} % of studies"
        )
    right.set(
        xscale="log", ylim=(0, 50), xlabel="labelled crystals", ylabel="smallest difference told (% of the error)"
    )
    for axes, sizes in ((left, SIZES), (right, (*SIZES, 500))):
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(out)


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description="Simulate the intervals of resampled studies.")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--draw", action="store_true", help="only draw the tables that are there")
    asked = parser.parse_args()
    if not asked.draw:
        asked.out.mkdir(parents=True, exist_ok=True)
        table = levels(asked.studies, asked.seed)
        table.to_csv(asked.out / "levels.csv", index=False, float_format="%.4f")
        powers(asked.studies, asked.seed + 1).to_csv(asked.out / "power.csv", index=False, float_format="%.4f")
    level, power = pd.read_csv(asked.out / "levels.csv"), pd.read_csv(asked.out / "power.csv")
    draw(level, power, asked.out / "intervals.png")
    print(level[level["rule"] == "calibrated"].to_string(index=False))
    print(power.to_string(index=False))
    print(f"DETECTABLE = {constants(power)}")


if __name__ == "__main__":
    main()
