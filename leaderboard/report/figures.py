"""What the figures of a report show: learning curves, predictions against true values, maps of vectors."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.report.read import METHODS, MapNumbers, StudyNumbers
from matgl_infomax.leaderboard.report.table import shown
from matgl_infomax.leaderboard.verdict import Verdict, against_scratch, summarise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARKERS = "osD^vPX*"
MOST_DOTS = 1500
"""More points than these are counted in squares; in a map, so many are drawn."""
SQUARES = 56
"""Squares along each axis of a figure of counts."""

ROW_NAME = 2.4
"""Most inches that the name of a row may take; longer ones are broken."""

_LONGEST = 20


def curve_picture(study: StudyNumbers, key: str) -> Picture:
    """Error against number of labels on logarithmic axes, one curve per arm.

    Args:
        study: the study.
        key: prefix of the ids in the figure.
    """
    v, curve = study.verdict, study.pooled
    arms = list(dict.fromkeys(curve["arm"]))
    names = arm_colours(arms)
    counts = sorted(set(curve["labels_asked"]))
    single = len(counts) == 1
    error = f"mean absolute error{f' ({v.unit})' if v.unit else ''}"
    with drawing(7.2, 1.3 + 0.34 * len(arms) if single else 3.9) as figure:
        axes = figure.add_subplot()
        if single:
            draw_arms(axes, curve, v, {arm: colour(names[arm]) for arm in arms})
            axes.set_xlabel(wrapped(error, 4.2, 9.5))
        else:
            for arm, marker in zip(arms, MARKERS * len(arms), strict=False):
                _one_arm(axes, curve[curve["arm"] == arm], arm, colour(names[arm]), marker)
            log_axes(axes, curve["labels_asked"])
            axes.set_ylabel(wrapped(error, 2.8, 9.5))
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        svg = to_svg(figure, key)
    ends = summarise(curve)
    last = ends[ends["labels"] == ends["labels"].max()]
    said = ", ".join(f"{arm} {shown(mean, 3)}" for arm, mean in zip(last["arm"], last["mean"], strict=True))
    unit = f" {v.unit}" if v.unit else ""
    spans = f"at {counts[0]}" if single else f"from {counts[0]} to {counts[-1]}"
    alt = (
        f"{'Errors' if single else 'Learning curves'} of {v.target} for {len(arms)} arms {spans} labels. "
        f"Mean absolute error at {ends['labels'].max()} labels: {said}{unit}."
    )
    error = f"{study.name}: error of {v.target} on {v.test_crystals:,} test crystals"
    if single:
        caption = (
            f"{error} at {counts[0]} labels. Dots are means over {v.seeds} seeds, small strokes single runs. Bars are "
            f"95 % intervals of the comparison with {v.baseline} (dashed): an arm whose bar does not reach it differs."
        )
    else:
        caption = (
            f"{error} against unmasked labels. Lines join the means over {v.seeds} seeds, bands span the standard "
            "deviation, small dots are single runs."
        )
    return Picture(svg, alt, caption)


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


def log_axes(axes: Axes, counts: Iterable[int]) -> None:
    """Logarithmic axes with plain numbers.

    Args:
        axes: where.
        counts: numbers of labels that are marked.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(counts))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("unmasked labels")
    axes.grid(True, which="major", linewidth=0.7, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_arms(axes: Axes, curve: pd.DataFrame, verdict: Verdict, colours: Mapping[str, str]) -> None:
    """One line per arm with its error at one number of labels: the mean, single runs, and the verdict's interval.

    The bar is the 95 % interval of the arm's error over the baseline's, times the baseline's error: it lies to one side
    of the dashed line exactly where the verdict says better or worse. An arm that was not compared has no bar.

    Args:
        axes: where.
        curve: the columns of ``curve.csv``, at one number of labels.
        verdict: that of the study.
        colours: colour of each arm, in the order of the lines.
    """
    found = {arm: pair for (arm, n), pair in against_scratch(verdict).items() if n == curve["labels_asked"].max()}
    means = curve.groupby("arm")["mae"].mean()
    for row, (arm, drawn) in enumerate(colours.items()):
        runs = curve.loc[curve["arm"] == arm, "mae"]
        if arm == verdict.baseline:
            axes.axvline(means[arm], color=drawn, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if (pair := found.get(arm)) is not None:
            ends = [pair.against_mae * pair.ratio_low, pair.against_mae * pair.ratio_high]
            axes.plot(ends, [row, row], color=drawn, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(runs, np.full(len(runs), row), "|", color=drawn, markersize=9, alpha=0.8)
        axes.plot([means[arm]], [row], "o", color=drawn, markersize=7)
    neutral: dict[str, Any] = {"color": colours.get(verdict.baseline, "0.5"), "alpha": 0.8}
    axes.plot([], [], "|", markersize=9, label="single runs", **neutral)
    if found:
        said = f"95 % interval, against {shortened(verdict.baseline)}"
        axes.plot([], [], linewidth=5, label=said, **{**neutral, "alpha": 0.35})
    axes.set_yticks(range(len(colours)), [wrapped(arm, ROW_NAME, 10) for arm in colours])
    axes.set_ylim(len(colours) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    axes.grid(True, axis="x", linewidth=0.7, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def wrapped(text: str, inches: float, points: float) -> str:
    """A text broken into lines that fit, so that no picture cuts it.

    Args:
        text: any text.
        inches: room along a line.
        points: size of the letters; on average they are 0.6 times as wide.
    """
    most = max(8, int(72 * inches / (0.6 * points)))
    return "\n".join(_Lines(width=most).wrap(text))


class _Lines(textwrap.TextWrapper):
    """It breaks at spaces, and in names behind signs that join words."""

    wordsep_re = re.compile(r"(\s+|(?<=[_/.-])(?=\w))")


def legend_columns(names: Sequence[str], inches: float, points: float) -> int:
    """Columns of a legend that fit beside one another, at most three.

    Args:
        names: its entries.
        inches: width of the figure.
        points: size of the letters.
    """
    longest = max(map(len, names), default=0)
    return max(1, min(3, int(72 * inches / (0.6 * points * longest + 4 * points))))


FORMATS = ("png", "svg", "pdf")
"""Formats of pictures, by the ending of the file."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's ending; without an ending, beside one another as PNG and SVG.

    Args:
        figure: what was drawn.
        path: the file.

    Raises:
        InputError: If the ending is none of ``FORMATS``, or a file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    endings = [path.suffix[1:].lower()] if path.suffix else ["png", "svg"]
    if endings[0] not in FORMATS:
        raise InputError(f"A picture ends with .png, .svg or .pdf. Received: {path.name}.")
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with two dollars in it is no formula
    for ending in endings:
        # No date and no chance in it: the same picture, the same file. In an SVG text stays text, which is small too.
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
        buffer = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "matgl-infomax", "svg.fonttype": "none"}):
            figure.savefig(buffer, format=ending, metadata=undated)
        atomic_write(path.with_suffix(f".{ending}"), buffer.getvalue())


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
        axes.set_xlabel(wrapped(f"true {shortened(target)}{f' ({unit})' if unit else ''}", 2.7, 9.5))
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
