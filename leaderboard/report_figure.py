"""Figures of a report: matplotlib's SVG, made to follow the page's colours, light or dark, on screen or paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARMS = ("scratch", "finetuned", "frozen", "untrained", "descriptors")
"""Arms with a colour of their own on every page; others take the next of ``own-1`` to ``own-4``."""
STEPS = 6
"""Colours of a scale from low to high."""
NAMES = ("ink", "soft", "line", "page", *ARMS, *(f"own-{k}" for k in range(1, 5)),
         *(f"step-{k}" for k in range(1, STEPS + 1)))  # fmt: skip
"""Colours that the page defines as CSS variables, in both schemes."""
_PLACEHOLDER = {name: f"#{0xA10C00 + k:06x}" for k, name in enumerate(NAMES)}
# Drawn in these hexadecimal colours, which nothing else uses, and replaced by the variables.

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
