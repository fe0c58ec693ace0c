"""Weights that come with the package, by name: where they lie, what they learnt from, and what they gave.

Each folder below ``shipped/`` holds one network in MatGL's own format, as plain tensors, with its card ``card.yaml``.
The hashes of the files stand in the card and are checked whenever weights are opened.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgl_infomax.errors import InputError, did_you_mean
from matgl_infomax.io import SUMS, check_sums, sha256_of

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = Path(__file__).with_name("shipped")
"""Folder that holds one folder for each name, and ``corpora/`` with one index for each corpus."""
CARD = "card.yaml"
MODEL = ("model.json", "model.pt", "state.pt")
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """A part of a card; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(_Part):
    """The crystals of a pretraining."""

    name: str
    """Name of the index in ``shipped/corpora``."""
    crystals: int = Field(gt=0)
    source: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    left_out: str = Field(min_length=1)
    """Which crystals it does not hold, so that they may be tests."""
    elements: list[str] = Field(min_length=1)
    """Symbols of the elements in it."""


class Saw(_Part):
    """What the pretraining was shown."""

    structures: bool
    energies: bool
    forces: bool
    target: bool
    """Labels of a property that somebody may fine-tune for."""


class Gain(_Part):
    """What the weights gave on one property."""

    property: str
    unit: str
    labels: int = Field(gt=0)
    error: float = Field(gt=0)
    """Mean absolute error after fine-tuning, mean of the seeds."""
    scratch: float = Field(gt=0)
    """The same network from scratch, on the same labels."""
    descriptors: float = Field(gt=0)
    """Extra trees on element statistics, on the same labels."""
    ratio: float = Field(gt=0)
    """Error divided by that from scratch, paired."""
    low: float
    high: float
    """Ends of the interval of 95 % of the ratio."""
    seeds: int = Field(gt=1)
    source: str = Field(min_length=1)
    """File of the repository that the numbers come from."""


class Answer(_Part):
    """The vector of one known crystal, for a test that the weights still compute what they did."""

    crystal: str
    vector: list[float] = Field(min_length=1)
    """The first numbers of the crystal vector."""


class WeightsCard(_Part):
    """What somebody has to know about weights before using them."""

    name: str
    summary: str = Field(min_length=1)
    network: str
    """Its name in the settings, such as ``sitenet``."""
    use: Literal["own data", "benchmarks"]
    """What it is for: benchmarks need weights that have not seen the test crystals."""
    weights: int = Field(gt=0)
    """How many numbers the network learns."""
    objective: str
    corpus: Corpus
    saw: Saw
    made: str
    """Date on which they were made, year-month-day."""
    commit: str = Field(pattern=r"^[0-9a-f]{7,40}$")
    command: str = Field(min_length=1)
    seed: int
    steps: int = Field(gt=0)
    minutes: float = Field(gt=0)
    """Time of the pretraining on one CPU core."""
    validation_loss: float
    site_rank: float
    crystal_rank: float
    """Effective rank of the vectors of held-out sites and crystals."""
    licence: str
    sha256: dict[str, Hash]
    answers: list[Answer]
    gains: list[Gain]
    limits: list[str] = Field(min_length=1)


def names() -> list[str]:
    """The names of all weights that come with the package, in the order of the alphabet."""
    return sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD}"))


def available() -> pd.DataFrame:
    """A table of the weights that come with the package.

    Returns:
        One row for each name: network, objective, corpus, crystals in it, megabytes, and what it saw.
    """
    import pandas as pd

    rows = []
    for name in names():
        found = card(name)
        rows.append(
            {
                "name": name,
                "network": found.network,
                "objective": found.objective,
                "corpus": found.corpus.name,
                "crystals": found.corpus.crystals,
                "megabytes": round(sum((SHIPPED / name / file).stat().st_size for file in MODEL) / 1e6, 2),
                "saw": ", ".join(what for what, seen in found.saw.model_dump().items() if seen),
            }
        )
    columns = ["name", "network", "objective", "corpus", "crystals", "megabytes", "saw"]
    return pd.DataFrame(rows, columns=columns).set_index("name")


def card(name: str) -> WeightsCard:
    """The card of weights.

    Raises:
        InputError: If no weights have this name, or the card is damaged.
    """
    return _read_card(_known(name) / CARD)


@functools.cache
def _read_card(file: Path) -> WeightsCard:
    """A card, read once."""
    try:
        return WeightsCard.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise InputError(f"The card {file} is damaged: {error}. Install the package again.") from error


def folder_of(given: Path | str) -> Path:
    """The folder of weights that somebody named: one of the shipped ones by its name, or a folder as it was given.

    A name that is known means the shipped weights. ``./sitenet-mp`` means a folder of that name.

    Raises:
        InputError: If the shipped weights are damaged.
    """
    text = str(given)
    if text in names():
        check(text)
        return SHIPPED / text
    return Path(given).expanduser()


def existing_folder_of(given: Path | str) -> Path:
    """As ``folder_of``, for weights that are opened now.

    Raises:
        InputError: If a single word is neither the name of weights nor a folder; the names are listed.
    """
    path = folder_of(given)
    if not path.exists() and (said := no_such_name(given)):
        raise InputError(f"There is no folder {path}.{said}")
    return path


def shipped_name(folder: Path | str) -> str | None:
    """The name of shipped weights, from their folder; None for any other folder."""
    path = Path(folder)
    return path.name if path.parent == SHIPPED and path.name in names() else None


def spoken(folder: Path | str) -> str:
    """How a folder of weights is named in tables and messages: by its name where it has one."""
    return shipped_name(folder) or str(folder)


def hint(network: str) -> str | None:
    """A sentence for somebody who starts from scratch, where there are weights that saved labels; None otherwise.

    Args:
        network: name of the network, as in the settings.
    """
    fitting = [found for found in map(card, names()) if found.network == network and found.use == "own data"]
    better = {found.name: [gain for gain in found.gains if gain.high < 1] for found in fitting}
    better = {name: gains for name, gains in better.items() if gains}
    if not better:
        return None
    name = min(better, key=lambda name: sum(gain.ratio for gain in better[name]) / len(better[name]))
    less = sorted({round(100 - 100 * gain.ratio) for gain in better[name]})
    which = "one property" if len(better[name]) == 1 else f"{len(better[name])} properties"
    return (
        f"Pretrained weights come with the package: --init {name}. With {better[name][0].labels} labels they lowered "
        f"the error of {which} by {' to '.join(str(part) for part in {less[0]: None, less[-1]: None})}%."
    )


def check(name: str) -> None:
    """Compare the files of weights with the hashes in their folder and on their card.

    Raises:
        InputError: If a file is missing, or is not the one that was shipped.
    """
    folder, said = _known(name), card(name).sha256
    missing = [file for file in MODEL if file not in said]
    if missing or not check_sums(folder, MODEL):
        raise InputError(f"{folder} holds no hash of {', '.join(missing) or SUMS}. Install the package again.")
    for file, digest in said.items():
        if sha256_of((folder / file).read_bytes()) != digest:
            raise InputError(f"{folder / file} is not the file of the card of {name}. Install the package again.")


def no_such_name(given: Path | str) -> str:
    """What to tell of a missing folder whose name could be that of weights, after a sentence about it; else nothing."""
    text, known = str(given), names()
    if not text or Path(text).name != text or text.startswith(("~", ".")):
        return ""
    if not known:
        return " This installation holds no weights that have names."
    return f" No weights have this name.{did_you_mean(text, known)} Names: {', '.join(known)}."


def _known(name: str) -> Path:
    """The folder of a name.

    Raises:
        InputError: If no weights have this name.
    """
    if name in names():
        return SHIPPED / name
    raise InputError(f"There are no weights {name!r}.{no_such_name(name)}")


def as_card(content: dict[str, Any]) -> str:
    """A card as YAML, checked.

    Raises:
        ValidationError: If the content is no card.
    """
    return yaml.safe_dump(
        WeightsCard.model_validate(content).model_dump(), sort_keys=False, allow_unicode=True, width=100
    )
