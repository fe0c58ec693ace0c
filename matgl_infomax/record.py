"""The run card: everything that decided a result, beside the result, in one checked JSON file."""

from __future__ import annotations

import hashlib
import html
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write

PACKAGES = (
    "matgl-infomax", "matgl", "torch", "dgl", "torch-geometric", "lightning",
    "numpy", "pymatgen", "scikit-learn", "matminer",
)  # fmt: skip
"""Packages whose versions can change a result."""

HASH = r"^[0-9a-f]{16,64}$"


class Part(BaseModel):
    """Base of a card and its parts: immutable, unknown keys refused, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SelfDescribing:
    """A result that tells in a console or notebook what was done, how well, where it lies and what comes next."""

    def facts(self) -> tuple[str, dict[str, str]]:
        """A heading, and lines of text by what they are about."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """The facts as lines of text."""
        heading, lines = self.facts()
        width = max(map(len, lines), default=0)
        return "\n".join([heading, *(f"  {name:{width}}  {text}" for name, text in lines.items())])

    def _repr_html_(self) -> str:
        """The facts as a table for a notebook."""
        heading, lines = self.facts()
        left = "text-align: left; vertical-align: top"
        rows = "".join(
            f'<tr><th style="{left}">{html.escape(name)}</th><td style="{left}">{html.escape(text)}</td></tr>'
            for name, text in lines.items()
        )
        return f"<strong>{html.escape(heading)}</strong><table><tbody>{rows}</tbody></table>"


class InFolder(SelfDescribing):
    """A result that lies in a folder, and stands for it wherever a path is asked for."""

    path: Path

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.path)


def spoken_time(seconds: float) -> str:
    """A time as people tell it.

    Args:
        seconds: the time.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Versions(Part):
    """What it ran on."""

    python: str
    backend: Literal["DGL", "PYG"] | None = Field(description="Kind of graph MatGL used; None without MatGL.")
    packages: dict[str, str | None] = Field(description="Installed version by package; None where absent.")


class Hashes(Part):
    """Short names of content: the same hash, the same thing."""

    run: str = Field(pattern=HASH, description="Everything that decides this run's result.")
    data: str = Field(pattern=HASH, description="Crystals and all their labels of the target.")
    folds: str = Field(pattern=HASH, description="Ids of the training part and of the test part.")
    store: str | None = Field(description="Prepared crystals; None where the arm needs none.")
    predictions: str = Field(pattern=HASH, description="File of predictions beside the card.")
    held_out: str | None = Field(
        default=None, description="File of predictions of the labels held out to calibrate an ensemble; None without."
    )


class Mask(Part):
    """Which labels the model saw."""

    asked: int = Field(ge=1)
    used: int = Field(ge=1)
    sha256: str = Field(pattern=HASH, description="Of the sorted ids, one per line.")


class Initial(Part):
    """Where the weights started."""

    name: str = Field(
        description="'scratch', 'pretrained', 'corpus', 'transferred', an arm without network, or that of own weights."
    )
    sha256: str | None = Field(description="Of all weights before the first step; None where there are none.")
    pretraining: int = Field(
        default=0,
        ge=0,
        description="Which pretraining of the arm's recipe, from 0; 0 where there is one or none.",
    )
    facts: dict[str, int | float | str] = Field(
        default={}, description="What the weights were learnt from: sizes, and how many crystals were left out."
    )


class Tried(Part):
    """A learning rate and its error on the part of the mask that was held out for choosing."""

    learning_rate: float = Field(gt=0)
    mae: float | None = Field(default=None, ge=0, description="None for classes, or where the training failed.")
    log_loss: float | None = Field(default=None, ge=0, description="None for numbers, or where it failed.")


class Training(Part):
    """How the training of the network went."""

    learning_rate: float = Field(gt=0, description="Peak rate of the last training.")
    retries: int = Field(
        ge=0, description="How often the network was dead and was trained again, each time at half the rate before."
    )
    dead: bool = Field(
        description="Whether it is dead still: one answer for all crystals, or no better than a constant on its own "
        "training labels. Then the errors are those of a failed run, and are compared with nothing."
    )


def peak_memory_mb() -> float | None:
    """Largest memory of this process so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


class Cost(Part):
    """What it took."""

    seconds: float = Field(ge=0, description="This run, predictions included, pretraining not.")
    choosing_seconds: float | None = Field(
        default=None, ge=0, description="Search for the learning rate where the models of a fold share it; else None."
    )
    pretraining_seconds: float | None = Field(description="The pretraining that all runs of the study share.")
    peak_memory_mb: float | None = Field(description="Largest memory of the process up to the end of the run.")


class Metrics(Part):
    """Errors on the test part, in units of the target."""

    mae: float = Field(ge=0)
    rmse: float = Field(ge=0)
    r2: float | None = Field(description="None where the test labels do not vary.")


class ClassMetrics(Part):
    """How well the classes of the test part were found; 'rocauc' as Matbench computes it, from classes."""

    accuracy: float = Field(ge=0, le=1)
    balanced_accuracy: float = Field(ge=0, le=1)
    f1: float = Field(ge=0, le=1)
    rocauc: float = Field(ge=0, le=1)
    probability_rocauc: float = Field(ge=0, le=1, description="The same of the probabilities themselves.")
    log_loss: float = Field(ge=0)


class ForceMetrics(Part):
    """Errors of a force field on the test part."""

    energy: Metrics = Field(description="Energy, eV/atom.")
    forces: Metrics = Field(description="Force components, eV/angstrom.")
    stress: Metrics = Field(description="Stress components, GPa.")


class Interval(Part):
    """Where a final model expects a new value: its prediction plus and minus half a width."""

    coverage: float = Field(gt=0, lt=1, description="Share of new crystals that it is to hold.")
    half_width: float = Field(ge=0, description="In units of the target.")
    n: int = Field(ge=1, description="Crystals whose errors, by models that had not learnt from them, decided it.")


METRICS = (Metrics.__name__, ClassMetrics.__name__, ForceMetrics.__name__)


def versions() -> dict[str, Any]:
    """Versions of Python and of the packages that matter, found without importing any of them."""
    packages = {name: _installed(name) for name in PACKAGES}
    return {"python": platform.python_version(), "backend": _backend(packages), "packages": packages}


def _is_time(text: str) -> str:
    """The text, if it is a time."""
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no time: {error}") from error
    return text


class RunCard(Part):
    """One run of a study: one arm, one number of labels, one fold, one seed."""

    format: Literal[1] = 1
    created: Annotated[str, AfterValidator(_is_time)] = Field(description="Time of completion, UTC.")
    versions: Versions
    task: str
    target: str
    unit: str | None
    arm: str
    fold: int = Field(ge=0)
    seed: int = Field(ge=0, description="Decides the initial weights, the order of the data and, in a study, the mask.")
    mask: Mask
    n_test: int = Field(ge=1)
    initial: Initial
    settings: dict[str, Any] = Field(description="Settings of the study that matter for the result.")
    tried: list[Tried] = Field(description="Search for the learning rate, within the mask; empty without one.")
    training: Training | None = Field(
        default=None, description="None where no network was trained, and in cards of earlier versions."
    )
    hashes: Hashes
    cost: Cost
    metrics: Metrics | ClassMetrics | ForceMetrics
    interval: Interval | None = Field(default=None, description="Of a final model; None for a run of a study.")

    @property
    def dead(self) -> bool:
        """Whether this run has failed: its network is dead."""
        return self.training is not None and self.training.dead

    def errors(self) -> dict[str, Any]:
        """The metrics by name; those of a dead network are None, for a failed run has no error to compare."""
        found = self.metrics.model_dump()
        return dict.fromkeys(found) if self.dead else found


def new_card(**fields: Any) -> RunCard:
    """A card with the time and the versions of this process filled in.

    Args:
        fields: everything else that ``RunCard`` holds.

    Raises:
        pydantic.ValidationError: If a field is missing, unknown or wrong.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunCard.model_validate({"created": now, "versions": versions(), **fields})


def write_card(path: Path | str, card: RunCard) -> None:
    """Write a card as JSON, whole or not at all.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    atomic_write(path, card.model_dump_json(indent=1) + "\n")


def write_cards(path: Path | str, cards: Iterable[RunCard]) -> None:
    """Write cards into one file, one per line.

    Raises:
        InputError: If the file cannot be written.
    """
    atomic_write(path, "".join(card.model_dump_json() + "\n" for card in cards))


def read_card(path: Path | str) -> RunCard:
    """Read a card and check it.

    Raises:
        InputError: If the file is missing, or no valid card, with the reason.
    """
    try:
        return RunCard.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read the run card {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        # Pydantic counts the class of a union's member as a step; no file has it.
        steps = [str(step) for step in first["loc"] if step not in METRICS]
        place = ".".join(steps) or "the file"
        reason = f"{path} is no valid run card ({place}: {first['msg']})."
        raise InputError(f"{reason} Delete it, and the run is repeated.") from error


@cache
def _installed(name: str) -> str | None:
    """Version of a package, None where absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _backend(packages: dict[str, str | None]) -> str | None:
    """The graphs MatGL uses: the choice that the host has made, or the one it would make."""
    matgl = packages["matgl"]
    if matgl is None:
        return None
    if int(matgl.split(".")[0]) >= 4:
        return "PYG"
    chosen = os.environ.get("MATGL_BACKEND", "").strip().upper()
    return chosen if chosen in ("DGL", "PYG") else ("DGL" if packages["dgl"] else "PYG")


# A run's folder belongs to one set of settings and data: resuming is safe, mixing is refused.

HASHED = "sha256:"


def claim_folder(out: Path, kind: str, claim: dict[str, Any], *, undeciding: Sequence[str] = ()) -> None:
    """Take a folder for a run, or find that it is this very run's already.

    Args:
        out: folder of the run, made if absent.
        kind: what runs there, such as "pretrain".
        claim: everything that decides the result: plain values, and long lists or arrays, of which a hash is kept.
        undeciding: dotted names of entries that decide nothing, though earlier versions noted them as they were given;
            a folder that differs in them alone is this run's.

    Raises:
        InputError: If another run lives there (the first differing entry is named), or the folder cannot be written.
    """
    long = (list, np.ndarray)
    plain = {name: _digest(value) if isinstance(value, long) else value for name, value in claim.items()}
    plain = json.loads(json.dumps({"kind": kind, **plain}, default=str))
    file = out / "run.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except OSError as error:
        raise InputError(f"Cannot use the folder {out}: {error.strerror}. Choose another one.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}). Delete the folder, or choose another one.") from error
    if file.is_file() and not isinstance(earlier, dict):
        raise InputError(f"{file} is damaged: it says of no run. Delete the folder, or choose another one.")
    if earlier is None:
        atomic_write(file, json.dumps(plain, indent=1))
        return
    for dotted in undeciding:
        _set_as_in(plain, earlier, dotted.split("."))
    if earlier != plain:
        name, was, now = _first_difference(earlier, plain)
        hashed = any(str(value).startswith(HASHED) for value in (was, now))
        how = f"its {name} differ from this one's" if hashed else f"its {name} is {was}, this one's is {now}"
        raise InputError(f"{out} holds another run: {how}. Choose another folder, or delete that one.")


def _set_as_in(claim: dict[str, Any], earlier: dict[str, Any], path: list[str]) -> None:
    """Give an entry of an earlier claim the value that it has in this one, where both have it."""
    *sections, name = path
    for section in sections:
        claim, earlier = (found if isinstance(found := part.get(section), dict) else {} for part in (claim, earlier))
    if name in claim and name in earlier:
        earlier[name] = claim[name]


def _digest(values: list[Any] | np.ndarray[Any, Any]) -> str:
    """Short name of a long list, or of an array with its shape."""
    if isinstance(values, np.ndarray):
        content = f"{values.dtype.str}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    else:
        content = json.dumps(values).encode()
    return HASHED + hashlib.sha256(content).hexdigest()


def _first_difference(a: dict[str, Any], b: dict[str, Any], path: str = "") -> tuple[str, Any, Any]:
    """Where two nested records differ first."""
    for name in [*a, *(k for k in b if k not in a)]:
        left, right = a.get(name, "absent"), b.get(name, "absent")
        if left == right:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            return _first_difference(left, right, f"{path}{name}.")
        return f"{path}{name}", left, right
    raise ValueError("the records are equal")
