"""The map of a representation study as a report shows it: test crystals in the plane, with the cards of its fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report_study import same
from matgl_infomax.leaderboard.results import read_cards
from matgl_infomax.record import Metrics, RunCard

if TYPE_CHECKING:
    import pandas as pd

MAP, FITS, CARDS = "map.csv", "fits.csv", "cards.jsonl"
FACTS = ("arm", "id", "target", "crystal_system", "element")
METHODS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}
"""Kinds of maps, the most telling one first."""


@dataclass(frozen=True, eq=False)
class MapNumbers:
    """Where frozen vectors put the test crystals."""

    name: str
    points: pd.DataFrame
    """One line per arm and crystal: arm, id, target, crystal_system, element, and two coordinates per method."""
    method: str
    """Map that is shown: tsne, umap or pca."""
    fits: pd.DataFrame
    """One line per fit: arm, head, labels, seed, mae, ..."""
    cards: tuple[RunCard, ...]


def read_map(folder: Path, name: str) -> MapNumbers:
    """Open the folder that ``matgl-infomax represent`` wrote.

    Args:
        folder: the study's ``--out``.
        name: what the report calls it.

    Raises:
        InputError: If a file is missing or damaged, a fit has no card, or its card says another error.
    """
    import pandas as pd

    cards = read_cards(folder / CARDS)
    try:
        points, fits = pd.read_csv(folder / MAP), pd.read_csv(folder / FITS)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no finished representation study ({error}). Run it again.") from error
    method = next((one for one in METHODS if {f"{one}_1", f"{one}_2"} <= set(points.columns)), None)
    if not cards or method is None or not set(FACTS) <= set(points.columns):
        raise InputError(f"{folder / MAP} is no map with run cards beside it. Run the representation study again.")
    _fits_have_cards(folder, fits, cards)
    return MapNumbers(name, points, method, fits, cards)


def _fits_have_cards(folder: Path, fits: pd.DataFrame, cards: tuple[RunCard, ...]) -> None:
    """Each fit has its card, with the same error."""
    known = {(c.arm, c.settings.get("head"), c.settings.get("scaling"), c.mask.used, c.seed): c for c in cards}
    if not {"arm", "head", "scaling", "labels", "seed", "mae"} <= set(fits.columns):
        raise InputError(f"{folder / FITS} is no table of fits. Run the representation study again.")
    for line in fits.to_dict("records"):
        fit = (line["arm"], line["head"], line["scaling"], int(line["labels"]), int(line["seed"]))
        card = known.get(fit)
        words = f"arm {fit[0]}, head {fit[1]}, {fit[3]} labels, draw {fit[4]}"
        if card is None or not isinstance(card.metrics, Metrics):
            raise InputError(f"{folder / FITS}: {words} has no run card in {CARDS}. No number without a card.")
        if not same(line["mae"], card.metrics.mae):
            raise InputError(f"{folder / FITS}: the error of {words} is {line['mae']}, its card says another.")
