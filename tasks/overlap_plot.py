"""The picture of an overlap: how much of each test fold the corpus holds, and the error on each kind of crystal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.io import atomic_write
from matgl_infomax.tasks.matbench.task import Task
from matgl_infomax.tasks.overlap import LEVELS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = {"novel": "#c9d6df", "formula": "#8fb8c9", "twin": "#edae49", "match": "#d1495b"}
NAMES = {"novel": "novel", "formula": "same formula", "twin": "same formula and space group", "match": "same structure"}
ARMS = ["#4d4d4d", "#d1495b", "#00798c", "#edae49", "#5f4bb6", "#66a182", "#b5651d", "#2e86ab"]
MARKERS = "osD^vPX*"


def plot_overlap(folds: pd.DataFrame, scores: pd.DataFrame, path: Path, *, task: Task, corpus: str) -> None:
    """Draw the shares of each test fold and, with benchmarks, their errors by kind of crystal, and write a PNG.

    Args:
        folds: table of the folds.
        scores: table of the scores; may be empty.
        path: file to write.
        task: the task.
        corpus: name of the corpus.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    both = len(scores) > 0
    figure = Figure(figsize=(10.4 if both else 5.6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    _draw_shares(panels[0], folds)
    panels[0].set_title(f"{task.card.name}: what {corpus} holds of it", fontsize=10)
    if both:
        _draw_errors(panels[1], scores)
        regression = task.card.kind == "regression"
        unit = f" ({task.card.unit})" if task.card.unit else ""
        panels[1].set_ylabel(f"mean absolute error{unit}" if regression else "share of wrong classes")
        panels[1].set_title("error by kind of test crystal", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _draw_shares(axes: Axes, folds: pd.DataFrame) -> None:
    """One bar per fold, from novel to match."""
    place = np.arange(len(folds))
    total = np.maximum(folds["crystals"].to_numpy(dtype=float), 1)
    left = np.zeros(len(folds))
    for level in LEVELS:
        count = folds[level].to_numpy()
        share = 100 * count / total
        axes.barh(place, share, left=left, color=COLOURS[level], label=NAMES[level], height=0.7)
        for y, x, width, n in zip(place, left, share, count, strict=True):
            if width > 7:  # a narrower piece has no room for its number
                axes.annotate(f"{n:,}", (x + width / 2, y), ha="center", va="center", fontsize=8)
        left += share
    for y, line in zip(place, folds.to_dict("records"), strict=True):
        known = 100 * (line["crystals"] - line["novel"]) / max(line["crystals"], 1)
        # Often the pieces that matter are too narrow to be read.
        text = f"{known:.1f} % seen\n{line['match']:,} match"
        axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(place, [f"fold {name}" if name != "all" else "all" for name in folds["fold"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the test crystals (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_errors(axes: Axes, scores: pd.DataFrame) -> None:
    """One point per benchmark and kind of crystal, with its interval; a dash where a guess would lie."""
    kinds = [
        kind for kind in dict.fromkeys(scores["level"]) if (scores.loc[scores["level"] == kind, "crystals"] > 0).any()
    ]
    names = list(dict.fromkeys(scores["benchmark"]))
    for number, name in enumerate(names):
        part = scores[scores["benchmark"] == name].set_index("level").loc[kinds]
        x = np.arange(len(kinds)) + 0.6 * ((number + 0.5) / len(names) - 0.5)
        error = part["error"].to_numpy()
        sides = np.nan_to_num(np.stack([error - part["low"].to_numpy(), part["high"].to_numpy() - error]))  # (2, kinds)
        arm = part["arm"].iloc[0]
        label = name if name == arm else f"{name} ({arm})"
        axes.errorbar(x, error, yerr=sides, color=ARMS[number % len(ARMS)], marker=MARKERS[number % len(MARKERS)],
                      markersize=5, linestyle="", capsize=2, linewidth=1.2, label=label)  # fmt: skip
        guess = part["guess"].to_numpy()
        axes.plot(
            x, guess, "_", color="0.6", markersize=9, label="knowing nothing" if number == len(names) - 1 else None
        )
    first = scores[scores["benchmark"] == names[0]].set_index("level")["crystals"]
    axes.set_xticks(np.arange(len(kinds)), [f"{kind}\n{first[kind]:,}" for kind in kinds], fontsize=9)
    _scale(axes, scores)
    axes.grid(True, axis="y", linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _scale(axes: Axes, scores: pd.DataFrame) -> None:
    """Logarithmic where there is no zero: a guess can be ten times worse than every benchmark."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lowest = scores.loc[scores["crystals"] > 0, ["error", "low", "guess"]].min().min()
    if not lowest > 0:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
