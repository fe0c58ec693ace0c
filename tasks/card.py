"""Task cards: what is known of each Matbench v0.1 task, one YAML file per task in ``cards/``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matgl_infomax.errors import InputError

_PREFIX = "matbench_"
_HASH = r"^[0-9a-f]{64}$"


class Card(BaseModel):
    """One task of Matbench v0.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^matbench_[a-z0-9_]+$")
    """Full name, such as matbench_jdft2d."""
    description: str = Field(min_length=20)
    """What is predicted from what, and which entries were left out."""
    target: str = Field(min_length=1)
    """Column of the property."""
    unit: str | None
    """Unit of the property; None for a pure number or a class."""
    kind: Literal["regression", "classification"]
    metric: Literal["mae", "rocauc"]
    """Score that ranks answers: mean absolute error, or Matbench's area under the ROC curve."""
    n_rows: int = Field(ge=5)
    mad: float | None = Field(gt=0)
    """Mean absolute deviation of the property from its mean, the error of always predicting the mean; regression."""
    fraction_true: float | None = Field(gt=0, lt=1)
    """Share of rows in class 1; classification."""
    input: Literal["structure", "composition"]
    """What a row holds besides its property."""
    source: str = Field(min_length=3)
    """Where the values come from."""
    licence: str = Field(min_length=3)
    """Terms of the source, as far as they are stated."""
    reference: str = Field(min_length=10)
    """Publication to cite."""
    url: str = Field(pattern=r"^https://")
    """Address of the original file."""
    sha256: str = Field(pattern=_HASH)
    """SHA-256 of the original file."""
    fold_sha256: str = Field(pattern=_HASH)
    """Fingerprint of the official folds, see ``folds.fold_sha256``."""
    content_sha256: str | None = Field(default=None, pattern=_HASH)
    """Fingerprint of the official rows, see ``official.py``; None where there are no structures to check."""

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        """Regression and classification have their own facts, and so have structures."""
        regression = self.kind == "regression"
        if (self.metric == "mae") != regression:
            raise ValueError(f"{self.kind} is not ranked by {self.metric}")
        if (self.mad is not None) != regression or (self.fraction_true is None) != regression:
            raise ValueError("regression states its mad, classification its fraction_true")
        if (self.content_sha256 is not None) != (self.input == "structure"):
            raise ValueError("tasks with structures, and only they, have a content_sha256")
        return self

    @property
    def short_name(self) -> str:
        """Name without 'matbench_'."""
        return self.name.removeprefix(_PREFIX)

    def mbid(self, row: int) -> str:
        """Matbench's own name of a row: row 0 of matbench_jdft2d is mb-jdft2d-001."""
        return f"mb-{self.short_name.replace('_', '-')}-{row + 1:0{len(str(self.n_rows))}d}"


def card_names() -> list[str]:
    """Full names of all tasks, in alphabetical order."""
    folder = files(__package__) / "cards"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


@cache
def load_card(name: str) -> Card:
    """The card of a task, by its name with or without 'matbench_'.

    Raises:
        InputError: For an unknown task; all tasks are listed.
    """
    full = name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"
    names = card_names()
    if full not in names:
        raise InputError(f"There is no such Matbench task. Received: {name}. Known: {', '.join(names)}.")
    return read_card((files(__package__) / "cards" / f"{full}.yaml").read_text(encoding="utf-8"), f"{full}.yaml")


def read_card(text: str, place: str) -> Card:
    """A card from the text of its file, checked field by field.

    Args:
        text: YAML.
        place: name of the file; it is the name of the task, and stands in messages.

    Raises:
        InputError: If a field is missing, unknown or impossible.
    """
    try:
        card = Card.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{place} is no task card: {error}") from error
    if f"{card.name}.yaml" != place:
        raise InputError(f"{place} is no task card: it names the task {card.name}.")
    return card
