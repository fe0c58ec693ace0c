"""Results that are kept in the repository, for the tests that look at them."""

from __future__ import annotations

from pathlib import Path

from matgl_infomax.record import RunCard

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "leaderboard" / "results"


def cards(folder: Path) -> list[RunCard]:
    """All run cards of a study or an answer."""
    return [RunCard.model_validate_json(line) for line in (folder / "cards.jsonl").read_text().splitlines()]
