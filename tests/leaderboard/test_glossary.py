"""Every arm, metric and interval that a reader meets has a sentence."""

from __future__ import annotations

import pytest

from matgl_infomax.leaderboard.glossary import COMPARISON_INTERVALS, INTERVALS, METRICS, STUDY_INTERVALS, glossary
from matgl_infomax.leaderboard.report.page import report, sections
from matgl_infomax.leaderboard.scores import SCORES
from matgl_infomax.record import ClassMetrics, ForceMetrics, Metrics
from matgl_infomax.settings.arms import ARM_FACTS
from tests.helpers.report_folders import write_all


def test_every_arm_is_told_in_the_words_of_the_settings():
    told = dict(glossary(ARM_FACTS))
    assert list(told) == list(ARM_FACTS)
    for arm, facts in ARM_FACTS.items():
        assert told[arm].lower() == f"{facts.sentence}.".lower()
    assert dict(glossary(["mine"])) == {"mine": "As finetuned, from weights that the user gave under this name."}


def test_every_metric_of_a_run_card_is_told():
    for card in (Metrics, ClassMetrics, ForceMetrics):
        assert set(card.model_fields) <= set(METRICS)
    for names in SCORES.values():
        assert set(names) <= set(METRICS)


def test_every_interval_is_told_once():
    assert set(STUDY_INTERVALS) | set(COMPARISON_INTERVALS) <= set(INTERVALS)
    told = glossary([], intervals=[*STUDY_INTERVALS, *COMPARISON_INTERVALS])
    assert len(told) == len(set(STUDY_INTERVALS) | set(COMPARISON_INTERVALS))
    with pytest.raises(KeyError):
        glossary([], metrics=["unheard of"])


def test_every_column_of_a_report_that_tells_an_interval_is_in_its_glossary(tmp_path):
    made = report([write_all(tmp_path / "results")])
    parts = sections(made)
    told = {name for part in parts if part.key == "glossary" for name, _ in part.terms}
    tables = [
        table for part in parts
        for table in (*part.tables, *(a.table for a in part.answers), *(t for _, many in part.folded for t in many))
        if table is not None
    ]  # fmt: skip
    columns = {name for table in tables for name in table.columns}
    assert {"ratio", "95 % interval", "p (Holm)", "difference", "a guess", "95 % intervals hold"} <= columns & told
    assert {card.arm for _, cards in made.cards for card in cards} <= told
    assert {"mae", "rmse", "r2"} <= told
