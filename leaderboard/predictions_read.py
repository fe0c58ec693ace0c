"""The old address of published predictions, which scripts of users still name; new code imports ``published``."""

from __future__ import annotations

from matgl_infomax.leaderboard.published import (
    LAYOUTS,
    checked_entry,
    find_predictions,
    official_folds,
    read_predictions,
    read_targets,
    results_table,
)

__all__ = [
    "LAYOUTS",
    "checked_entry",
    "find_predictions",
    "official_folds",
    "read_predictions",
    "read_targets",
    "results_table",
]
