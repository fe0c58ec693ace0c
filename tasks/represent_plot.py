"""The picture of a representation study: error against number of labels, one panel per head."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.io import atomic_write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STYLE = {
    "pretrained": ("#d1495b", "o"),
    "untrained": ("#8d96a3", "^"),
    "magpie": ("#00798c", "s"),
    "orbital_field": ("#5f4bb6", "D"),
    "xrd": ("#b5651d", "v"),
}
"""Fixed colours and markers, so that an arm looks the same in every study."""
NAMES = {
    "orbital_field": "orbital-field matrix",
    "xrd": "XRD pattern",
    "magpie": "Magpie",
    "linear": "least squares",
    "mlp": "one hidden layer",
    "forest": "random forest",
}

ABOVE = 2.0
"""Errors beyond this multiple of a guess are not drawn: least squares can be off by any factor."""


def plot_heads(fits: pd.DataFrame, path: Path, *, target: str, unit: str | None, guess: float, title: str) -> None:
    """Draw the mean error over draws on logarithmic axes and write it as PNG.

    Bars span the sample standard deviation over draws. The grey band goes from the best to the worst of the untrained
    encoders, the grey line is their mean.

    Args:
        fits: the columns of ``fits.csv``, of one scaling.
        path: file to write.
        target: what was predicted.
        unit: its unit, where known.
        guess: error of always predicting the median of the test labels, drawn for scale.
        title: heading.

    Raises:
        InputError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    heads = list(dict.fromkeys(fits["head"]))
    figure = Figure(figsize=(3.1 * len(heads) + 0.9, 4.3), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    top = ABOVE * guess if guess > 0 else float(fits["mae"].max()) * 1.1
    for axes, head in zip(panels, heads, strict=True):
        part = fits[fits["head"] == head]
        for group in dict.fromkeys(part["group"]):
            _draw(axes, part[part["group"] == group], group)
        _label(axes, part, NAMES.get(head, head), guess, top)
    means = fits.groupby(["arm", "head", "labels"])["mae"].mean()
    panels[0].set_ylim(0.85 * float(fits["mae"].min()), min(top, 1.15 * float(means.max())))
    panels[0].set_ylabel(f"mean absolute error of {target}" + (f" ({unit})" if unit else ""))
    panels[0].annotate("guessing the median", (0.02, guess), xycoords=("axes fraction", "data"), va="bottom",
                       fontsize=7, color="0.45")  # fmt: skip
    figure.suptitle(title, fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _draw(axes: Axes, part: pd.DataFrame, group: str) -> None:
    """Mean and spread of one group of arms."""
    colour, marker = STYLE[group]
    per_arm = part.groupby(["labels", "arm"])["mae"].mean().unstack()
    per_draw = part.groupby(["labels", "seed"])["mae"].mean().unstack()
    counts = per_draw.index.to_numpy()
    mean, sd = per_draw.mean(axis=1).to_numpy(), per_draw.std(axis=1).fillna(0.0).to_numpy()
    label = NAMES.get(group, group)
    if per_arm.shape[1] > 1:
        low, high = per_arm.min(axis=1).to_numpy(), per_arm.max(axis=1).to_numpy()
        axes.fill_between(counts, low, high, color=colour, alpha=0.35, linewidth=0)
        label = f"{label}, {per_arm.shape[1]} encoders"
    down = np.minimum(sd, 0.5 * mean)  # a logarithmic axis has no place for zero
    axes.errorbar(counts, mean, yerr=[down, sd], color=colour, marker=marker, markersize=4.5, linewidth=1.5,
                  elinewidth=0.8, capsize=2, label=label)  # fmt: skip


def _label(axes: Axes, part: pd.DataFrame, head: str, guess: float, top: float) -> None:
    """Logarithmic axes with plain numbers, and a word on what lies above."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(part["labels"]))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(guess, color="0.6", linestyle=":", linewidth=1)
    means = part.groupby(["group", "labels"])["mae"].mean()
    beyond = int((means > top).sum())
    axes.set_title(head + (f" ({beyond} of {len(means)} above the frame)" if beyond else ""), fontsize=9)
    axes.set_xlabel("unmasked labels")
    axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
