"""Pages for the files at the top of the repository that a reader of the site wants: contributing, changes, licence."""

from __future__ import annotations

import re
from pathlib import Path

from pages import outside_code, write_page
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
FILES = {"CONTRIBUTING.md": "Contributing", "CHANGELOG.md": "Changes"}
QUOTED = {"CITATION.cff": ("Citation", "yaml"), "LICENSE": ("Licence", "text")}


def linked(markdown: str) -> str:
    """Links into docs/ lead to the site's pages; those to other files of the repository become their names."""
    markdown = re.sub(r"\]\(docs/([\w/.-]+\.md)((?:#[\w-]+)?)\)", r"](../../\1\2)", markdown)
    known = "|".join(re.escape(name) for name in FILES)
    markdown = re.sub(rf"\]\(({known})\)", lambda found: f"]({found[1].lower()})", markdown)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!http|#|\.\./\.\./|contributing\.md|changelog\.md)[^)]*\)", r"\1", markdown)


def write_pages(app: Sphinx) -> None:
    """One page per file that there is, and a list of them."""
    folder = Path(app.srcdir) / "generated" / "project"
    there = [name for name in FILES if (ROOT / name).is_file()]
    for name in there:
        write_page(folder / name.lower(), outside_code((ROOT / name).read_text(encoding="utf-8"), linked))
    lines = [
        "# The project",
        "",
        "MIT licence. Written from the formulas of the papers; no code of theirs is used.",
        "",
    ]
    lines += [f"- [{FILES[name]}]({name.lower()})" for name in there]
    for name, (title, language) in QUOTED.items():
        if (ROOT / name).is_file():
            lines += [
                "",
                f"## {title}",
                "",
                f"````{{literalinclude}} ../../../{name}",
                f":language: {language}",
                "````",
            ]
    if there:
        lines += ["", "```{toctree}", ":hidden:", "", *(Path(name.lower()).stem for name in there), "```"]
    write_page(folder / "index.md", "\n".join([*lines, ""]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before any is read."""
    app.connect("builder-inited", write_pages, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
