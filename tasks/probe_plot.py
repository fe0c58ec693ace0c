"""The picture of a study with probes: one row per target, what each kind of vectors scores."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from matgl_infomax.io import atomic_write
from matgl_infomax.tasks.represent_plot import STYLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COMPOSITION = ("#00798c", "s")
LOWEST = -0.25
"""Scores below are drawn at the edge: R² has no lower end."""
NAMES = {"linear": "linear", "knn": "5 nearest"}


def plot_probes(scores: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the scores of all arms, sites on the left and crystals on the right, and write them as PNG.

    The grey bar goes from the lowest to the highest of the untrained encoders, the short line is chance.

    Args:
        scores: the columns of ``scores.csv``.
        path: file to write.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    levels = list(dict.fromkeys(scores["level"]))
    rows = max(len(part.groupby(["target", "probe"])) for _, part in scores.groupby("level"))
    figure = Figure(figsize=(4.9 * len(levels) + 0.4, 0.28 * rows + 1.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        _draw(axes, scores[scores["level"] == level])
        axes.set_title(f"{level} vectors", fontsize=9)
    figure.suptitle(title, fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _draw(axes: Axes, part: pd.DataFrame) -> None:
    """One level: a row for every target and probe."""
    ticks = []
    styles = {"composition": COMPOSITION, "pretrained": STYLE["pretrained"]}
    for place, (key, line) in enumerate(part.groupby(["target", "probe"], sort=False)):
        target, probe = cast(tuple[str, str], key)
        measure = "R²" if line["kind"].iloc[0] == "number" else "accuracy"
        ticks.append(f"{target.replace('_', ' ')} ({measure}), {NAMES[probe]}")
        named = place == 0
        floor = line.loc[line["group"] == "untrained", "score"].clip(lower=LOWEST)
        axes.plot([floor.min(), floor.max()], [place, place], color=STYLE["untrained"][0], linewidth=7, alpha=0.55,
                  solid_capstyle="round", label=f"untrained, {len(floor)} encoders" if named else None)  # fmt: skip
        chance = float(line["chance"].iloc[0])
        axes.plot([chance, chance], [place - 0.33, place + 0.33], color="0.45", linewidth=1.2, linestyle="-",
                  label="chance" if named else None)  # fmt: skip
        for group, (colour, marker) in styles.items():
            value = max(float(line.loc[line["group"] == group, "score"].iloc[0]), LOWEST)
            axes.plot([value], [place], color=colour, marker=marker, markersize=5.5, linestyle="none",
                      label=group if named else None)  # fmt: skip
    axes.set_yticks(np.arange(len(ticks)), ticks, fontsize=7.5)
    axes.set_ylim(len(ticks) - 0.4, -0.6)
    axes.set_xlim(min(-0.03, float(part["score"].clip(lower=LOWEST).min()) - 0.03), 1.03)
    axes.set_xlabel("score on crystals not seen", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(True, axis="x", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
