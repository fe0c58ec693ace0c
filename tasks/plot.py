"""The picture of a study: error against number of labels, one curve per arm."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_infomax.io import atomic_write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = {
    "scratch": "#4d4d4d",
    "finetuned": "#d1495b",
    "frozen": "#edae49",
    "untrained": "#8d96a3",
    "descriptors": "#00798c",
}
"""Fixed colours, so that an arm looks the same in every study."""
OTHERS = ["#5f4bb6", "#66a182", "#b5651d", "#2e86ab", "#c77cbb", "#9a8c1f", "#1b4332", "#e07a5f"]
MOST_BANDS = 5
"""With more arms the bands lie on each other and hide the lines; ``ratios.png`` tells such arms apart."""
MARKERS = "osD^vPX*"


def plot_curve(curve: pd.DataFrame, path: Path, *, target: str, unit: str | None, guess: float, title: str) -> None:
    """Draw the learning curves on logarithmic axes and write them as PNG.

    Lines join the means over seeds, small dots are single runs; with few arms bands span the sample standard deviation.

    Args:
        curve: the columns of ``curve.csv``.
        path: file to write.
        target: what was predicted.
        unit: its unit, where known.
        guess: error of always predicting the median of the test labels, drawn for scale.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    arms = list(dict.fromkeys(curve["arm"]))
    own = iter(OTHERS * len(arms))
    for arm, marker in zip(arms, MARKERS * len(arms), strict=False):
        colour = COLOURS.get(arm) or next(own)
        _draw_arm(axes, curve[curve["arm"] == arm], arm, colour, marker, band=len(arms) <= MOST_BANDS)
    if 0 < guess < 4 * float(curve["mae"].max()):
        axes.axhline(guess, color="0.7", linestyle=":", linewidth=1)
        axes.annotate("always guessing the median", (1, guess), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", fontsize=8, color="0.5")  # fmt: skip
    _label_axes(axes, curve, target, unit)
    axes.set_title(title, fontsize=10)
    # Below the axes: inside, some arm always runs through it.
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _draw_arm(axes: Axes, runs: pd.DataFrame, arm: str, colour: str, marker: str, *, band: bool) -> None:
    """Mean, spread and single runs of one arm."""
    grouped = runs.groupby("labels_asked")["mae"]
    mean, sd = grouped.mean(), grouped.std().fillna(0.0)
    low = (mean - sd).clip(lower=grouped.min() * 0.5)  # a logarithmic axis has no place for zero
    if band:
        axes.fill_between(mean.index, low, mean + sd, color=colour, alpha=0.15, linewidth=0)
    axes.plot(mean.index, mean, color=colour, marker=marker, markersize=5, linewidth=1.6, label=arm)
    axes.plot(runs["labels_asked"], runs["mae"], ".", color=colour, alpha=0.35, markersize=4)


def _label_axes(axes: Axes, curve: pd.DataFrame, target: str, unit: str | None) -> None:
    """Logarithmic axes with plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    counts = sorted(set(curve["labels_asked"]))
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("unmasked labels")
    axes.set_ylabel(f"mean absolute error of {target}" + (f" ({unit})" if unit else ""))
    axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
