"""One page for each of the weights that come with the package, from its card."""

from __future__ import annotations

from pathlib import Path

from pages import write_page
from sphinx.application import Sphinx

from matgl_infomax import weights
from matgl_infomax.publish import model_page


def page(name: str) -> str:
    """The card as the hub would show it, without the lines that only a hub reads."""
    return model_page(weights.card(name)).split("---\n", 2)[2].lstrip()


def overview() -> str:
    """All names on one page, with what each gave."""
    lines = [
        "# All weights",
        "",
        "| name | network | objective | for | crystals | error / scratch with few labels |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    for name in weights.names():
        card = weights.card(name)
        gains = ", ".join(f"{gain.property} {gain.ratio:.2f}" for gain in card.gains) or "not measured"
        what = f"{card.network} | {card.objective} | {card.use} | {card.corpus.crystals:,}"
        lines.append(f"| [{name}]({name}.md) | {what} | {gains} |")
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *weights.names(), "```", ""])


def write_pages(app: Sphinx) -> None:
    """A page for each name, and the list of them."""
    folder = Path(app.srcdir) / "generated" / "weights"
    for name in weights.names():
        write_page(folder / f"{name}.md", page(name))
    write_page(folder / "index.md", overview())


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before any is read."""
    app.connect("builder-inited", write_pages, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
