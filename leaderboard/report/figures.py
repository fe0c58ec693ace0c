"""What the figures of a report show: learning curves, predictions against true values, maps of vectors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.report.read import METHODS, MapNumbers, StudyNumbers
from matgl_infomax.leaderboard.report.table import shown
from matgl_infomax.leaderboard.verdict import PRETRAINING, pooled_runs, summarise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARKERS = "osD^vPX*"
MOST_DOTS = 1500
"""More points than these are counted in squares; in a map, so many are drawn."""
SQUARES = 56
"""Squares along each axis of a figure of counts."""

_LONGEST = 20


def curve_picture(study: StudyNumbers, key: str) -> Picture:
    """Error against number of labels on logarithmic axes, one curve per arm.

    Args:
        study: the study.
        key: prefix of the ids in the figure.
    """
    v, curve = study.verdict, _one_per_seed(study)
    arms = list(dict.fromkeys(curve["arm"]))
    names = arm_colours(arms)
    with drawing(5.4, 3.9) as figure:
        axes = figure.add_subplot()
        for arm, marker in zip(arms, MARKERS * len(arms), strict=False):
            _one_arm(axes, curve[curve["arm"] == arm], arm, colour(names[arm]), marker)
        _log_axes(axes, curve)
        axes.set_ylabel(f"mean absolute error{f' ({v.unit})' if v.unit else ''}")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        svg = to_svg(figure, key)
    ends = summarise(curve)
    last = ends[ends["labels"] == ends["labels"].max()]
    said = ", ".join(f"{arm} {shown(mean, 3)}" for arm, mean in zip(last["arm"], last["mean"], strict=True))
    unit = f" {v.unit}" if v.unit else ""
    alt = (
        f"Learning curves of {v.target} for {len(arms)} arms from {ends['labels'].min()} to {ends['labels'].max()} "
        f"labels. Mean absolute error at {ends['labels'].max()} labels: {said}{unit}."
    )
    caption = (
        f"{study.name}: error of {v.target} on {v.test_crystals:,} test crystals against unmasked labels. Lines join "
        f"the means over {v.seeds} seeds, bands span the standard deviation, small dots are single runs."
    )
    return Picture(svg, alt, caption)


def _one_per_seed(study: StudyNumbers) -> pd.DataFrame:
    """Errors of a study, those of a seed's folds pooled."""
    names = [name for name in ("arm", "labels_asked", "seed", PRETRAINING) if name in study.curve]
    if not study.curve.duplicated(names).any():
        return study.curve
    return pooled_runs(card.model_dump() for card in study.cards)


def _one_arm(axes: Axes, runs: pd.DataFrame, arm: str, drawn: str, marker: str) -> None:
    """Mean, spread and single runs."""
    grouped = runs.groupby("labels_asked")["mae"]
    mean, sd = grouped.mean(), grouped.std().fillna(0.0)
    low = (mean - sd).clip(lower=grouped.min() * 0.5)  # a logarithmic axis has no place for zero
    axes.fill_between(mean.index, low, mean + sd, color=drawn, alpha=0.16, linewidth=0)
    axes.plot(mean.index, mean, color=drawn, marker=marker, markersize=5, linewidth=1.7, label=shortened(arm))
    axes.plot(runs["labels_asked"], runs["mae"], ".", color=drawn, alpha=0.45, markersize=4)


def shortened(name: str) -> str:
    """A name that fits into a legend; the whole of it stands in the tables."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _log_axes(axes: Axes, curve: pd.DataFrame) -> None:
    """Logarithmic axes with plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    counts = sorted(set(curve["labels_asked"]))
    if len(counts) == 1:
        axes.set_xlim(counts[0] / 1.6, counts[0] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 7, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("unmasked labels")
    axes.grid(True, which="major", linewidth=0.7)
    axes.set_axisbelow(True)


def parity_picture(
    truth: NDArray[np.float64], prediction: NDArray[np.float64], *, what: str, target: str, unit: str | None,
    arm: str, key: str,
) -> Picture:  # fmt: skip
    """Predictions against true values; many of them as counts in squares, the darker the more.

    Args:
        truth: true values, (n,).
        prediction: predictions, (n,).
        what: whose predictions these are.
        target: what was predicted.
        unit: its unit, where known.
        arm: name of the colour.
        key: prefix of the ids in the figure.
    """
    error = prediction - truth
    both = np.concatenate([truth, prediction])
    low, high = float(both.min()), float(both.max())
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin
    with drawing(3.5, 3.3) as figure:
        axes = figure.add_subplot()
        axes.plot([low, high], [low, high], color=colour("soft"), linewidth=1, linestyle=(0, (4, 3)))
        if len(truth) > MOST_DOTS:
            _counts(axes, truth, prediction, (low, high), arm)
        else:
            dots(axes, truth, prediction, arm, size=3.6, alpha=0.55)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
        axes.set_xlabel(f"true {shortened(target)}{f' ({unit})' if unit else ''}")
        axes.set_ylabel("predicted")
        svg = to_svg(figure, key)
    mae, bias = float(np.abs(error).mean()), float(error.mean())
    unit = f" {unit}" if unit else ""
    r = float(np.corrcoef(truth, prediction)[0, 1]) if np.ptp(truth) > 0 and np.ptp(prediction) > 0 else float("nan")
    said = f"mean absolute error {shown(mae, 3)}{unit}, mean error {shown(bias, 2)}{unit}, correlation {shown(r, 3)}"
    alt = f"Predicted against true {target}, {len(truth):,} points of {what}: {said}. The dashed line is equality."
    return Picture(svg, alt, f"{what}: {len(truth):,} predictions, {said}.")


def _counts(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], ends: tuple[float, float], name: str) -> None:
    """Counts in squares, drawn at five strengths."""
    table, edges, _ = np.histogram2d(x, y, bins=SQUARES, range=[ends, ends])
    middle = (edges[:-1] + edges[1:]) / 2
    strength = np.ceil(5 * np.log1p(table) / np.log1p(table.max())).astype(int)
    for level in range(1, 6):
        column, row = np.nonzero(strength == level)
        dots(axes, middle[column], middle[row], name, size=3.2, alpha=(0.25, 0.4, 0.6, 0.8, 1.0)[level - 1],
             square=True)  # fmt: skip


def map_pictures(numbers: MapNumbers, key: str) -> list[Picture]:
    """Maps of the vectors: for each arm one coloured by the target and one by the crystal system.

    Args:
        numbers: the representation study.
        key: prefix of the ids in the figures.
    """
    found, card = [], numbers.cards[0]
    for k, (arm, part) in enumerate(numbers.points.groupby("arm", sort=False)):
        if len(part) > MOST_DOTS:
            part = part.iloc[np.linspace(0, len(part) - 1, MOST_DOTS).astype(int)]
        place = part[[f"{numbers.method}_1", f"{numbers.method}_2"]].to_numpy(dtype=np.float64)
        unit = f" ({card.unit})" if card.unit else ""
        kinds = {f"{card.target}{unit}": _by_value(part["target"].to_numpy(dtype=np.float64)),
                 "crystal system": _by_name(part["crystal_system"].astype(str).to_numpy())}  # fmt: skip
        for m, (title, groups) in enumerate(kinds.items()):
            about = f"{METHODS[numbers.method]} of the vectors of {len(part):,} test crystals, arm {arm}"
            alt = f"{about}, coloured by {title} in {len(groups)} groups; near one another where the vectors are alike."
            svg = _map(place, groups, title, f"{key}{k}{m}")
            found.append(Picture(svg, alt, f"{numbers.name}: {about}, by {title}."))
    return found


Groups = list[tuple[str, str, NDArray[np.bool_]]]
"""Name, colour and members."""


def _map(place: NDArray[np.float64], groups: Groups, title: str, key: str) -> str:
    """One map."""
    with drawing(4.4, 4.1) as figure:
        axes = figure.add_subplot()
        handles: dict[str, Any] = {}
        for name, drawn, rows in groups:
            dots(axes, place[rows, 0], place[rows, 1], drawn, size=3.8, alpha=0.8)
            handles[shortened(name)] = axes.plot([], [], "o", color=colour(drawn), markersize=5)[0]
        axes.set_xticks([])  # the axes of a map have no meaning of their own
        axes.set_yticks([])
        axes.spines[:].set(visible=True, color=colour("line"))
        figure.legend(list(handles.values()), list(handles), title=title, loc="outside lower center", ncols=3,
                      frameon=False, fontsize=8.5, title_fontsize=9, handlelength=1.0)  # fmt: skip
        return to_svg(figure, key)


def _by_value(values: NDArray[np.float64]) -> Groups:
    """Six groups of about the same size, from low to high."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, STEPS + 1)))
    group = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(0, len(edges) - 2))
    found = []
    for k in sorted(set(group.tolist())):
        low, high = values[group == k].min(), values[group == k].max()
        found.append((f"{shown(low, 3)} to {shown(high, 3)}", f"step-{k + 1}", group == k))
    return found


def _by_name(names: NDArray[Any]) -> Groups:
    """The most frequent names, each with a colour; the rest is grey and lies below."""
    drawn = ["finetuned", "descriptors", "frozen", "own-1", "own-2", "own-3", "own-4"]
    values, sizes = np.unique(names, return_counts=True)
    frequent = [name for _, name in sorted(zip(-sizes, values, strict=True))][: len(drawn)]
    rest = ~np.isin(names, frequent)
    groups = [(f"other ({rest.sum()})", "untrained", rest)] if rest.any() else []
    return [*groups, *((f"{n} ({(names == n).sum()})", c, names == n) for n, c in zip(frequent, drawn, strict=False))]


# Figures of a report: matplotlib's SVG, made to follow the page's colours, light or dark, on screen or paper.

ARMS = ("scratch", "finetuned", "frozen", "untrained", "descriptors")
"""Arms with a colour of their own on every page; others take the next of ``own-1`` to ``own-4``."""
STEPS = 6
"""Colours of a scale from low to high."""
NAMES = ("ink", "soft", "line", "page", *ARMS, *(f"own-{k}" for k in range(1, 5)),
         *(f"step-{k}" for k in range(1, STEPS + 1)))  # fmt: skip
"""Colours that the page defines as CSS variables, in both schemes."""
_PLACEHOLDER = {name: f"#{0xA10C00 + k:06x}" for k, name in enumerate(NAMES)}

_DRAWN = {
    "svg.fonttype": "none",  # text stays text: it can be found, and takes the page's font
    "svg.hashsalt": "matgl-infomax",  # the same picture, the same file
    "text.parse_math": False,  # a name with two dollars in it is no formula
    "path.simplify": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    svg: str
    """Inline SVG whose colours are CSS variables."""
    alt: str
    """What it shows, for those who do not see it."""
    caption: str


def colour(name: str) -> str:
    """The colour to draw with for one of ``NAMES``."""
    return _PLACEHOLDER[name]


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Names of the colours of arms: an arm looks the same in every figure of a study."""
    others = [arm for arm in arms if arm not in ARMS]
    return {arm: arm if arm in ARMS else f"own-{others.index(arm) % 4 + 1}" for arm in arms}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, in the colours of the page.

    Args:
        width: inches; 72 of its units are one, and the page shows it no wider than one and a half times that.
        height: inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink = {f"{part}.labelcolor": colour("ink") for part in ("axes", "xtick", "ytick")}
    lines = {"axes.edgecolor": colour("soft"), "xtick.color": colour("soft"), "ytick.color": colour("soft")}
    grid = {"grid.color": colour("line"), "text.color": colour("ink"), "axes.facecolor": "none"}
    style: dict[Any, Any] = {**_DRAWN, **ink, **lines, **grid}
    with mpl.rc_context(style):
        yield Figure(figsize=(width, height), layout="constrained", facecolor="none")


def to_svg(figure: Figure, key: str) -> str:
    """The figure as inline SVG; call it inside ``drawing``.

    Args:
        figure: what was drawn.
        key: letters and digits, unique on the page: they go in front of every id.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{key}-", text)
    links = "http://www.w3.org/1999/xlink"  # a name, not an address: nothing is loaded
    head = rf'<svg xmlns:xlink="{links}" \1 aria-hidden="true" focusable="false">'
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', head, text, count=1)
    text = text.replace("font-family: 'DejaVu Sans'", "font-family: var(--font)")
    # A tenth of a point is finer than any screen; what stands between tags is text for the reader.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d)\d{2,}", r"\1", tag[0]), text)
    for name, placeholder in _PLACEHOLDER.items():
        text = text.replace(placeholder, f"var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", text)


def dots(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], name: str, *, size: float, alpha: float = 1.0, square: bool = False
) -> None:
    """Points as one path, a tenth of the size of matplotlib's own markers.

    Args:
        axes: where.
        x: places, (n,).
        y: places, (n,).
        name: one of ``NAMES``.
        size: diameter, points.
        alpha: opacity.
        square: squares instead of circles.
    """
    nothing = np.full(len(x), np.nan)
    # A line of no length with a round cap is a dot.
    across, up = (np.stack([v, v, nothing], axis=1).ravel() for v in (x, y))  # (3n,)
    axes.plot(across, up, color=colour(name), linewidth=size, alpha=alpha,
              solid_capstyle="projecting" if square else "round")  # fmt: skip
