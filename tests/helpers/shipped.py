"""Weights made on the spot that stand where those of the package stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matgl_infomax import weights
from matgl_infomax.data.corpus_index import CORPORA, CorpusIndex
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.build import new_model, save_model
from matgl_infomax.publish import ship
from matgl_infomax.settings.training import ModelSettings

GAIN = {
    "property": "energy", "unit": "eV", "labels": 100, "error": 0.8, "scratch": 1.0, "descriptors": 0.9,
    "ratio": 0.8, "low": 0.7, "high": 0.9, "seeds": 8, "source": "some/file.csv",
}  # fmt: skip


def card_content(name: str, **changes: Any) -> dict[str, Any]:
    """What stands on a card, but for hashes and answers."""
    corpus = {"name": "small", "crystals": 2, "source": "textbooks", "licence": "CC-BY-4.0", "left_out": "the rest",
              "elements": ["Na", "Cl", "Mg", "O"]}  # fmt: skip
    return {
        "name": name, "summary": "For tests.", "network": "sitenet", "use": "own data", "weights": 55777,
        "objective": "denoise", "corpus": corpus, "made": "2026-12-01", "commit": "abcdef0",
        "saw": {"structures": True, "energies": False, "forces": False, "target": False},
        "command": "matgl-infomax pretrain", "seed": 0, "steps": 5, "minutes": 0.1, "validation_loss": 0.5,
        "site_rank": 3.0, "crystal_rank": 2.0, "licence": "CC-BY-4.0", "gains": [GAIN],
        "limits": ["They know nothing."], **changes,
    }  # fmt: skip


def ship_small(shipped: Path, held: Sequence[Crystal], name: str = "sitenet-small", **changes: Any) -> Path:
    """Ship a small Site-Net with random weights under a name; its corpus holds the crystals given."""
    made = shipped.parent / f"made-{name}"
    save_model(new_model(ModelSettings(preset="compact"), 1, seed=3), made, {})
    (shipped / CORPORA).mkdir(parents=True, exist_ok=True)
    CorpusIndex.of(held).save(shipped / CORPORA / "small.npz")
    return ship(made, card_content(name, **changes), shipped)


def stand_in(monkeypatch: Any, shipped: Path) -> None:
    """Let a folder take the place of the package's weights."""
    monkeypatch.setattr(weights, "SHIPPED", shipped)
