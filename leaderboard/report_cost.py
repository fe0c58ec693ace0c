"""What the runs of a report took, and the cards that stand for its numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from matgl_infomax.leaderboard.report_table import Cell, Table, duration, make_table, number, word
from matgl_infomax.record import ClassMetrics, ForceMetrics, Metrics, RunCard

Named = tuple[str, tuple[RunCard, ...]]
"""Name of a folder and its cards."""


def cost_table(folders: Sequence[Named]) -> Table:
    """Times and memory, one line per folder and arm.

    Args:
        folders: cards by folder.
    """
    rows = []
    for name, cards in folders:
        for arm in dict.fromkeys(card.arm for card in cards):
            rows.append(_cost(name, arm, [card for card in cards if card.arm == arm]))
    columns = ("folder", "arm", "runs", "each run", "all runs", "search for rates", "pretraining", "peak memory (MB)")
    note = (
        "Times on the wall, of the machine that the runs were made on. A pretraining that runs share counts once; "
        "a dash where there was none, or where it is not known."
    )
    return make_table("Time and memory", columns, rows, words=("folder", "arm"), note=note)


def _cost(name: str, arm: str, cards: Sequence[RunCard]) -> list[Cell]:
    """One line."""
    seconds = [card.cost.seconds for card in cards]
    # Models of a fold share one search; runs of a study, or folds with one corpus, share one pretraining.
    searches = {(card.fold, card.cost.choosing_seconds) for card in cards if card.cost.choosing_seconds is not None}
    pretrainings = {card.cost.pretraining_seconds for card in cards if card.cost.pretraining_seconds is not None}
    memory = [card.cost.peak_memory_mb for card in cards if card.cost.peak_memory_mb is not None]
    return [
        word(name), word(arm), number(len(cards)), duration(sum(seconds) / len(seconds)), duration(sum(seconds)),
        duration(sum(time for _, time in searches) if searches else None),
        duration(sum(pretrainings) if pretrainings else None),
        number(float(round(max(memory))) if memory else None),
    ]  # fmt: skip


def card_table(name: str, cards: Sequence[RunCard]) -> Table:
    """What differs from run to run.

    Args:
        name: the folder.
        cards: its cards.
    """
    classes = isinstance(cards[0].metrics, ClassMetrics)
    rows = []
    for card in cards:
        score = _score(card.metrics)
        head = card.settings.get("head")
        rows.append([
            word(card.arm if head is None else f"{card.arm}, {head}"), number(card.mask.used), number(card.fold),
            number(card.seed), number(score), number(card.n_test), word(card.initial.name), _rate(card),
            duration(card.cost.seconds), word(card.created[:10]), word(card.hashes.run[:12]),
            word(card.hashes.predictions[:12]),
        ])  # fmt: skip
    unit = f" ({cards[0].unit})" if cards[0].unit and not classes else ""
    columns = ("arm", "labels", "fold", "seed", f"{'rocauc' if classes else 'mae'}{unit}", "tested on", "start",
               "rate", "time", "finished", "run hash", "predictions")  # fmt: skip
    words = ("arm", "start", "finished", "run hash", "predictions")
    return make_table(f"{name}: {len(cards)} run cards", columns, rows, words=words)


def _score(metrics: Metrics | ClassMetrics | ForceMetrics) -> float | None:
    """The number of a run that a line has room for; of a force field that of its forces, eV/angstrom."""
    if isinstance(metrics, ClassMetrics):
        return metrics.rocauc
    return metrics.forces.mae if isinstance(metrics, ForceMetrics) else metrics.mae


def _rate(card: RunCard) -> Cell:
    """The learning rate with the smallest error of those tried; a dash where none were."""
    known = [(t.mae if t.mae is not None else t.log_loss, t.learning_rate) for t in card.tried]
    tried = [(error, rate) for error, rate in known if error is not None]
    return number(min(tried)[1], 2) if tried else number(None)


def common_table(name: str, cards: Sequence[RunCard]) -> Table:
    """What the cards of a folder share; several values stand side by side.

    Args:
        name: the folder.
        cards: its cards.
    """
    facts: dict[str, dict[str, None]] = {}
    for card in cards:
        shared: dict[str, Any] = {"task": card.task, "target": card.target, "unit": card.unit}
        # A head and its scaling differ from fit to fit and stand in the other table.
        shared |= _flat(card.settings, "settings")
        shared |= {"data": card.hashes.data, "folds": card.hashes.folds, "store": card.hashes.store}
        shared |= {"Python": card.versions.python, "graphs": card.versions.backend}
        shared |= card.versions.packages
        for fact, value in shared.items():
            facts.setdefault(fact, {})[value if isinstance(value, str) else json.dumps(value)] = None
    rows = [[word(fact), word(" | ".join(values))] for fact, values in facts.items() if list(values) != ["null"]]
    return make_table(f"{name}: what its runs share", ("what", "value"), rows, words=("what", "value"))


def _flat(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{path}.{key}") if isinstance(value, dict) and value else {f"{path}.{key}": value}
    return found
