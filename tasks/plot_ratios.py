"""The picture for many arms: each one's error beside scratch, with its interval, a panel per number of labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.verdict import Paired, Verdict, against_scratch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"better": "#00798c", "worse": "#d1495b", "open": "#8d96a3"}
MARKERS = {"better": "o", "worse": "s", "open": "D"}
"""Findings differ in form too, for readers who do not tell the colours apart."""
SAID = {"better": "better than {} (95 %)", "worse": "worse than {} (95 %)", "open": "cannot tell"}


def plot_ratios(verdict: Verdict, path: Path, *, title: str) -> None:
    """Draw the error ratio of every arm against scratch with its 95 % interval and write it as PNG.

    Args:
        verdict: that of a study with at least one arm beside scratch.
        path: file to write.
        title: heading.

    Raises:
        ValueError: If nothing was compared with scratch.
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    found = against_scratch(verdict)
    if not found:
        raise ValueError("the verdict compares no arm with scratch, so there are no ratios to draw")
    arms = list(dict.fromkeys(arm for arm, _ in found))
    counts = sorted({labels for _, labels in found})
    size = (1.6 + 2.4 * len(counts), 1.5 + 0.3 * len(arms))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, labels in zip(panels, counts, strict=True):
        _draw(axes, [found.get((arm, labels)) for arm in arms])
        axes.set_title(f"{labels} labels", fontsize=9)
        axes.set_xlabel(f"error / {verdict.baseline}", fontsize=9)
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    handles = [
        Line2D([], [], color=COLOURS[name], marker=MARKERS[name], label=SAID[name].format(verdict.baseline))
        for name in COLOURS
        if any(pair.finding == name for pair in found.values())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _draw(axes: Axes, pairs: list[Paired | None]) -> None:
    """One panel: a line of one, and a bar per arm."""
    axes.axvline(1.0, color="0.6", linewidth=1)
    for row, pair in enumerate(pairs):
        if pair is None:
            continue
        colour = COLOURS[pair.finding]
        axes.plot([pair.ratio_low, pair.ratio_high], [row, row], color=colour, linewidth=1.6)
        axes.plot([pair.ratio], [row], color=colour, marker=MARKERS[pair.finding], markersize=5, linestyle="none")
    axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.margins(y=0.08)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
