"""Results in the repository: every number has a card, and the text beside them shows what the files say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as t_distribution

from matgl_infomax.io import check_sums
from matgl_infomax.leaderboard.verdict import Verdict
from tests.helpers.kept_results import RESULTS, cards

FEWEST_SEEDS = {"label_masking": 5, "matgl_models": 3, "methods": 3, "recipe": 8, "recipe_standard_cell": 8}
"""By folder: a training of M3GNet takes minutes, one of Site-Net seconds."""
STUDIES = sorted(path.parent for path in RESULTS.rglob("verdict.json"))


def test_there_are_results():
    assert {"mp_e_form", "mp_gap"} <= {study.name for study in STUDIES}


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_row_has_its_card(study):
    frame = pd.read_csv(study / "curve.csv")
    by_run = {(card.arm, card.mask.asked, card.seed, card.initial.pretraining): card for card in cards(study)}
    assert len(by_run) == len(frame)
    for row in frame.itertuples():
        card = by_run[row.arm, row.labels_asked, row.seed, getattr(row, "pretraining", 0)]
        assert card.metrics.mae == pytest.approx(row.mae) and card.mask.used == row.labels_used


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_arms_met_on_equal_terms(study):
    """The same masks, the same test crystals and the same settings for every arm of a label count and seed."""
    groups: dict[tuple[int, int], set[tuple[str, ...]]] = {}
    for card in cards(study):
        terms = (card.mask.sha256, card.hashes.folds, card.hashes.data, str(card.settings))
        groups.setdefault((card.mask.asked, card.seed), set()).add(terms)
    assert all(len(terms) == 1 for terms in groups.values())
    assert len({seed for _, seed in groups}) >= FEWEST_SEEDS[study.parent.name]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_verdict_agrees_with_the_table(study):
    verdict = Verdict.model_validate_json((study / "verdict.json").read_text())
    mean = pd.read_csv(study / "curve.csv").groupby(["arm", "labels_asked"])["mae"].mean()
    for point in verdict.points:
        assert point.mae == pytest.approx(mean[point.arm, point.labels])
        assert point.ratio == pytest.approx(mean[point.arm, point.labels] / mean[point.against, point.labels])


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_some_text_shows_the_table_of_the_file(study):
    """Each table of it stands in the text beside the results."""
    blocks = [block.splitlines() for block in (study / "summary.md").read_text().split("\n\n")]
    tables = [block for block in blocks if all(line.startswith("| ") for line in block)]
    text = (study.parent / "README.md").read_text()
    assert tables
    for table in tables:
        assert len(table) >= 3 and "\n".join(table) in text


def test_every_kept_file_is_the_one_that_was_written():
    """Pictures, scripts and pages that people write are not vouched for."""
    there = {
        path for path in RESULTS.rglob("*") if path.suffix in (".csv", ".json", ".jsonl", ".md", ".parquet", ".pt")
    }
    folders = {path.parent for path in there if path.name != "README.md"}
    assert len(folders) > 60
    for folder in folders:
        names = sorted(path.name for path in there if path.parent == folder and path.name != "README.md")
        assert check_sums(folder, names), f"cd {folder} && sha256sum {' '.join(names)} > SHA256SUMS"


def test_intervals_that_disagree_are_named_with_the_one_that_holds():
    """The old rule drew ratio and difference apart. From the seeds alone: t(S - 1) times the standard error of
    x_s / mean(x) - y_s / mean(y), on the logarithm of the ratio."""
    found = {}
    for study in STUDIES:
        verdict = Verdict.model_validate_json((study / "verdict.json").read_text())
        for pair in (*verdict.points, *verdict.others):
            by_ratio = (pair.ratio_low > 1) - (pair.ratio_high < 1)
            if by_ratio != (pair.difference_low > 0) - (pair.difference_high < 0):
                found[study.name] = (study, pair)
    assert set(found) == {"sitenet_e_form", "megnet_mp_gap"}
    for study, pair in found.values():
        frame = pd.read_csv(study / "curve.csv").query("labels_asked == @pair.labels").set_index("seed")
        x, y = (frame.loc[frame["arm"] == arm, "mae"].sort_index() for arm in (pair.arm, pair.against))
        spread = (x / x.mean() - y / y.mean()).std(ddof=1) / len(x) ** 0.5
        half = t_distribution.ppf(0.975, len(x) - 1) * spread
        low, high = pair.ratio * np.exp([-half, half])
        text = " ".join((study.parent / "README.md").read_text().split())
        assert (
            f"{study.name}/verdict.json` compares `{pair.arm}` with `{pair.against}` at {pair.labels:,} labels" in text
        )
        assert f"ratio {pair.ratio:.3f} ({pair.ratio_low:.3f} to {pair.ratio_high:.3f})" in text
        assert f"gives {low:.3f} to {high:.3f} for the ratio by today's formula" in text
        assert "**The interval of the ratio holds**" in text
