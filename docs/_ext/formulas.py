"""Formulas become pictures while the site is built: no LaTeX, no script, no font is asked of a reader's browser."""

from __future__ import annotations

from html import escape
from typing import Any

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SIZE = 17.0
"""Height of a formula's letters, pixels; the text beside them has 16."""
TALLEST = 6 * SIZE
"""No line of a formula here is higher: brackets that grow around a sum are drawn as long as the page."""


def drawn(latex: str, *, inline: bool) -> tuple[str, float]:
    """A formula as SVG in the colour of the text around it, and how far it reaches below the line.

    Args:
        latex: the formula.
        inline: whether it stands within a line of text.
    """
    ziamath.config.svg2 = False  # outlines instead of symbols, whose names would meet on a page
    picture = ziamath.Latex(latex, size=SIZE, inline=inline, color="currentColor")
    if picture.getsize()[1] > TALLEST:
        raise ExtensionError(
            f"This formula is drawn {picture.getsize()[1]:.0f} pixels high: {latex}. Write \\Big for \\left."
        )
    svg = picture.svg().replace("<svg ", f'<svg role="img" aria-label="{escape(latex, quote=True)}" ', 1)
    return svg, picture.getyofst()


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    svg, below = drawn(node.astext(), inline=True)
    self.body.append(f'<span class="formula" style="vertical-align: {below:.2f}px">{svg}</span>')
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, one below the other where it has several."""
    lines = [line for line in node.astext().split("\n\n") if line.strip()]
    self.body.append('<div class="formula-block">')
    self.body.extend(f"<div>{drawn(line.strip(), inline=False)[0]}</div>" for line in lines)
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("formulas", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
