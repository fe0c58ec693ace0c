"""What a submission says about itself: ``info.json``, and the facts its authors must not leave unsaid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.matbench_format import VERSION
from matgl_infomax.leaderboard.runs_read import BenchmarkResult

EXAMPLE = """authors: A. Chemist, B. Physicist
algorithm: Site-Net, Deep InfoMax
algorithm_long: What it is and how it was trained.
bibtex_refs: "@article{...}"
notes: Anything else a reader should know."""
"""The shortest ``info.yaml``."""

FACTS = "Facts written by matgl-infomax from the run cards:"
"""What follows in the notes is not the authors' text."""


class Info(BaseModel):
    """The fields of ``info.json``; Matbench wants all of them, and all but the notes filled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authors: str = Field(min_length=1)
    algorithm: str = Field(min_length=1, description="A name that no other submission has.")
    algorithm_long: str = Field(min_length=1)
    bibtex_refs: str | list[str] = Field(min_length=1)
    notes: str = ""
    requirements: dict[str, list[str]] | None = Field(
        default=None, min_length=1, description="Such as {python: [torch==2.9.0]}; from the run cards when left out."
    )

    @field_validator("authors", mode="before")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        """A list of names becomes one line, as in the published submissions."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    @field_validator("authors", "algorithm", "algorithm_long")
    @classmethod
    def _filled(cls, value: str) -> str:
        """Blanks are no text."""
        if not value.strip():
            raise ValueError("it is empty")
        return value.strip()

    @field_validator("notes", mode="before")
    @classmethod
    def _no_notes(cls, value: Any) -> Any:
        """'notes:' without anything after it is an empty text."""
        return "" if value is None else value


def read_info(file: Path) -> Info:
    """Read the authors' ``info.yaml`` (JSON is fine too).

    Raises:
        InputError: If it cannot be read, or fields are missing, unknown or empty, naming all of them.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}. It needs:\n{EXAMPLE}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold 'name: value' lines:\n{EXAMPLE}")
    try:
        return Info.model_validate(content)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors()]
        raise InputError(f"{file} is refused: {'; '.join(parts)}. It needs:\n{EXAMPLE}") from error


def make_info(info: Info, runs: Sequence[BenchmarkResult]) -> dict[str, Any]:
    """The content of ``info.json``: the authors' words, then the facts of the run cards.

    Args:
        info: what the authors say.
        runs: the benchmarks of the submission.

    Raises:
        InputError: If a label-masked run is not declared in the notes.
    """
    own = info.notes.partition(FACTS)[0].strip()  # a submission written again starts from its own info.json
    for run in runs:
        _declared(own, run)
    facts = f"{FACTS} {' '.join(map(facts_of, runs))}"
    return {
        "authors": info.authors,
        "algorithm": info.algorithm,
        "algorithm_long": info.algorithm_long,
        "bibtex_refs": info.bibtex_refs,
        "notes": f"{own}\n\n{facts}".strip(),
        "requirements": info.requirements or {"python": _installed(runs)},
    }


def facts_of(run: BenchmarkResult) -> str:
    """One run in a few plain sentences, the awkward ones included."""
    asked = run.asked
    masked = (
        "all labels of each training part" if asked.labels is None else _words(asked.labels) + " of each training part"
    )
    models = f"mean of {len(asked.seeds)} models per fold" if len(asked.seeds) > 1 else "one model per fold"
    about = f"{asked.task}: {asked.network}, arm {asked.arm}, {masked}, {models}."
    return " ".join([about, *run.notes()])


def _words(labels: int) -> str:
    """'100 labels'."""
    return f"{labels} labels"


def _declared(notes: str, run: BenchmarkResult) -> None:
    """A run with few labels stands beside entries that used all of them: its authors have to say so themselves."""
    labels = run.asked.labels
    if labels is not None and not re.search(rf"(?<![\d.,]){labels} labels\b", notes):
        raise InputError(
            f"{run.asked.task} was trained with {labels} labels of each training part, and everything else on the "
            f"leaderboard with all of them. Say so in the notes of info.yaml, with the words '{_words(labels)}', or "
            "submit a benchmark without --labels."
        )


def _installed(runs: Sequence[BenchmarkResult]) -> list[str]:
    """The packages that made the runs, and the Matbench whose format this is; '+cpu' and the like are on no index."""
    found = {f"{name}=={version.partition('+')[0]}" for run in runs for card in run.cards
             for name, version in card.versions.packages.items() if version}  # fmt: skip
    return [*sorted(found), f"matbench=={VERSION}"]
