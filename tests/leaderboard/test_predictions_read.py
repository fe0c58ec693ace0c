"""Scripts that name the readers of published predictions at their old address still run, and get the same functions."""

from __future__ import annotations

import matgl_infomax.leaderboard.predictions_read as old
from matgl_infomax.leaderboard import published


def test_the_old_address_leads_to_the_same_functions():
    assert {"official_folds", "read_predictions"} <= set(old.__all__)
    for name in old.__all__:
        assert getattr(old, name) is getattr(published, name)
