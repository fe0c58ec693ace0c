"""Forest plots: differences to published entries with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.leaderboard.standing import Duel, LeaderboardComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"better": "#00798c", "tie": "#8d96a3", "worse": "#d1495b", "untested": "#c8ccd1"}
"""Colours of findings."""
MARKERS = {"per material": "o", "per fold": "s"}


def forest(duels: Sequence[Duel], title: str) -> Figure:
    """One line per comparison: difference and 95 % interval, left of zero where ours is better.

    Args:
        duels: the comparisons.
        title: heading.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.4 + 0.28 * max(1, len(duels))), dpi=150, layout="constrained")
    _draw(figure.add_subplot(), duels, title)
    return figure


def forests(result: LeaderboardComparison) -> Figure:
    """The forest plots of all tasks, one panel below the other.

    Args:
        result: the comparison.
    """
    from matplotlib.figure import Figure

    panels = [[duel for run in task.runs for duel in run.duels] + list(task.own) for task in result.tasks]
    heights = [1 + 0.28 * max(1, len(duels)) for duels in panels]
    figure = Figure(figsize=(6.4, 0.4 + sum(heights)), dpi=150, layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for one, duels, task in zip(axes, panels, result.tasks, strict=True):
        _draw(one, duels, task.task)
    return figure


def _draw(axes: Axes, duels: Sequence[Duel], title: str) -> None:
    """One panel."""
    several = len({duel.ours for duel in duels}) > 1
    for y, duel in enumerate(duels):
        colour = COLOURS[duel.finding]
        if not np.isnan(duel.low):
            axes.plot([duel.low, duel.high], [y, y], color=colour, linewidth=1.5)
        # Open squares: five numbers against five, not material by material.
        axes.plot(duel.difference, y, MARKERS[duel.way], color=colour, markersize=5,
                  markerfacecolor=colour if duel.way == "per material" else "white")  # fmt: skip
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(duels)), [f"{d.ours} - {d.other}" if several else d.other for d in duels], fontsize=7)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("error of ours minus error of the other, 95 % interval", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
