"""The picture of a report in the README, of results that are kept in the repository.

python -m tests.helpers.report_picture docs/report.png leaderboard/results/label_masking/mp_gap \
    leaderboard/results/matbench
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from matgl_infomax.leaderboard.report.page import report
from tests.helpers.chromium import open_browser

WIDTH = 1180
PARTS = ("header", "article >> nth=0", "article >> nth=1", "section[aria-labelledby=curves] .gallery",
         "section[aria-labelledby=differences] .table >> nth=0")  # fmt: skip
"""What is shown, from top to bottom."""
FILTER = "section[aria-labelledby=differences] input"
MARGIN = 20
COLOURS = 128
"""Enough for text and curves, a third of the size."""


def picture(folders: list[str], out: Path) -> None:
    """Draw the chosen parts of a report below one another.

    Args:
        folders: results.
        out: PNG file to write.
    """
    with TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        page.write_text(report(folders, title="Does pretraining help, and where does it stand?").to_html())
        with open_browser(Path(place) / "profile") as browser:
            tab = browser.new_page()
            tab.set_viewport_size({"width": WIDTH, "height": 900})
            tab.goto(page.as_uri())
            tab.locator(FILTER).first.fill("sitenet")
            shots = [Image.open(io.BytesIO(tab.locator(part).screenshot())) for part in PARTS]
    whole = Image.new("RGB", (WIDTH, sum(shot.height + MARGIN for shot in shots)), "white")
    top = 0
    for shot in shots:
        whole.paste(shot, ((WIDTH - shot.width) // 2, top))
        top += shot.height + MARGIN
    whole.quantize(COLOURS).save(out, optimize=True)
    print(f"{out}: {whole.width} x {whole.height}, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    picture(sys.argv[2:], Path(sys.argv[1]))
