"""The picture of ratios shows every arm at every number of labels, and is there only where it is needed."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes

from matgl_infomax.tasks.studies import plots as module
from tests.leaderboard.test_verdict_ratios import verdict


@pytest.fixture
def drawn(monkeypatch):
    """Numbers that were drawn as a dot, by their form."""
    found = []
    plain = Axes.plot

    def plot(axes, x, y, *args, **options):
        if options.get("linestyle") == "none":
            found.append((options["marker"], float(x[0]), axes.get_title()))
        return plain(axes, x, y, *args, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    return found


def test_every_ratio_is_drawn_as_what_it_says(tmp_path, drawn):
    found = verdict(denoise=0.7, masked=1.0, twins=1.5)
    module.plot_ratios(found, tmp_path / "ratios.png", title="four seeds")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
    pairs = module.against_scratch(found)
    wanted = sorted((module.FINDING_MARKERS[pair.finding], pair.ratio) for pair in pairs.values())
    assert len(wanted) == 5  # the last arm has one number of labels only
    assert sorted((marker, ratio) for marker, ratio, _ in drawn) == wanted


def test_without_arms_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no ratios to draw"):
        module.plot_ratios(verdict(), tmp_path / "ratios.png", title="nothing")
