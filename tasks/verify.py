"""Whether crystals are the official rows of a task, and which row is the first that is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import BadEntry, Crystal
from matgl_infomax.tasks.card import Card
from matgl_infomax.tasks.official import composition_text, content_sha256, digest, read_official, steps


def difference(card: Card, rows: Sequence[Crystal | BadEntry]) -> str | None:
    """The first row that is not the official one and what is wrong with it; None where all rows are official.

    Args:
        card: card of a task with structures.
        rows: rows of the data in their order; a bad entry is a row that cannot be used.
    """
    n = min(len(rows), card.n_rows)
    first = next((k for k, row in enumerate(rows[:n]) if isinstance(row, BadEntry)), n)
    crystals = [row for row in rows[:first] if isinstance(row, Crystal)]
    compositions = [_content(row) for row in crystals]
    nearest, other = steps([row.labels[card.target] for row in crystals])
    official = _Official(card)
    same_composition = _digests(compositions) == official.compositions[:first]
    same_nearest, same_other = (_digests(values) == official.targets[:first] for values in (nearest, other))
    wrong = np.flatnonzero(~(same_composition & (same_nearest | same_other)))
    if len(wrong):
        k = int(wrong[0])
        return f"{_name(card, k)}: {official.what_differs(crystals[k], k)}"
    bad = rows[first] if first < n else None
    if isinstance(bad, BadEntry):
        return f"{_name(card, first)}: {bad.reason}."
    if len(rows) != card.n_rows:
        more = "is missing" if len(rows) < card.n_rows else "is one too many"
        return f"{_name(card, n)}: it {more}. Received {len(rows)} rows, official are {card.n_rows}."
    if content_sha256(compositions, np.where(same_nearest, nearest, other).tolist()) != card.content_sha256:
        return "A composition or target differs in a row that cannot be named."
    return None


def _name(card: Card, row: int) -> str:
    """How a row is called in messages."""
    id = f" ({card.mbid(row)})" if row < card.n_rows else ""
    return f"The first difference is in row {row}{id}"


def _content(crystal: Crystal) -> str:
    """What the cell holds, in the spelling of the fingerprints."""
    return composition_text(Counter(crystal.numbers.tolist()))


def _digests(values: Sequence[object] | NDArray[np.int64]) -> NDArray[np.uint16]:
    """Fingerprint of each composition, or of each target in steps."""
    return np.array([digest(str(value)) for value in values], dtype=np.uint16)


class _Official:
    """Fingerprints of the official rows."""

    def __init__(self, card: Card) -> None:
        self.target = card.target
        self.compositions = read_official(card.name, "compositions")
        self.targets = read_official(card.name, "targets")

    def what_differs(self, crystal: Crystal, k: int) -> str:
        """How a row that is not the official row k differs from it, and which official row it could be."""
        value = crystal.labels[self.target]
        same = self.compositions == _digests([_content(crystal)])
        equal = np.isin(self.targets, np.concatenate([_digests(step) for step in steps([value])]))
        wrong = [] if same[k] else [f"its composition ({crystal.reduced_formula}, {crystal.n_sites} atoms)"]
        wrong += [] if equal[k] else [f"its {self.target} ({value})"]
        text = f"{' and '.join(wrong)} {'differs' if len(wrong) == 1 else 'differ'}"
        elsewhere = np.flatnonzero(same & equal)
        return f"{text}; row {elsewhere[0]} would fit, so is the order another one?" if len(elsewhere) else f"{text}."
