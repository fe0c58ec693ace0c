"""One resumable grid of runs, the same for every study: a finished run is never repeated.

A study is a ``Grid``: it names its runs, says what decides them, and carries one out. All else happens here: the folder
is claimed, what is finished is found by the hash in its card, the rest runs in this process, in several, or as jobs of
a cluster. Each run leaves its predictions first and its card last, so that a stopped study goes on where it was.
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, sha256_of, sweep_drafts
from matgl_infomax.leaderboard.results import CARDS
from matgl_infomax.record import RunCard, claim_folder, new_card, peak_memory_mb, read_card, write_card, write_cards
from matgl_infomax.settings.base import Settings, plain, read_settings
from matgl_infomax.workers import at_once

if TYPE_CHECKING:
    import pandas as pd

IN_MEMORY = "(given in Python)"
"""Stands for the path of the data where crystals came from no file."""

Chosen = TypeVar("Chosen", bound=Settings)


class Named(Protocol):
    """A run has a name, which is that of its files."""

    @property
    def name(self) -> str: ...  # noqa: D102


Run = TypeVar("Run", bound=Named)


@dataclass(frozen=True)
class Outcome:
    """What one run gives back."""

    predictions: pd.DataFrame
    """One line per test crystal."""
    card: dict[str, Any]
    """Fields of the run card; the engine adds the hashes of run and files, and the peak of memory."""
    held_out: pd.DataFrame | None = None
    """One line per label that was held out to calibrate an uncertainty; none where nothing was."""


@dataclass(frozen=True)
class RunFiles:
    """Where a run leaves its results."""

    card: Path
    predictions: Path
    held_out: Path


class Grid(ABC, Generic[Run]):
    """A study that was checked, as a grid of runs; it travels to worker processes."""

    kind: ClassVar[str]
    """What the folder holds, such as "curve"."""
    folder: ClassVar[str] = "runs"
    """Folder of the runs' files, within that of the study."""
    title: ClassVar[str] = "Runs"
    """Heading of the progress bar."""
    undeciding: ClassVar[Sequence[str]] = ()
    """Dotted names of the claim in which a folder of an earlier version may differ; the result is the same."""
    config: Any
    """Settings, among them ``out`` and, where several runs may happen at the same time, ``workers``, ``launcher``."""

    @property
    @abstractmethod
    def runs(self) -> Sequence[Run]:
        """All runs, in the order in which they are carried out."""

    @abstractmethod
    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in; what may be added later is not in it."""

    @abstractmethod
    def is_finished(self, run: Run) -> bool:
        """Whether the files of this very run are there, whole.

        Raises:
            InputError: If a file is there that is none of a run.
        """

    @abstractmethod
    def complete(self, run: Run) -> None:
        """Do one run and write its files, that which makes it count as finished last.

        Raises:
            InputError: If its input is wrong, its training diverged, or its files cannot be written.
        """


class CardGrid(Grid[Run]):
    """A grid each run of which leaves a table of predictions and a run card."""

    @abstractmethod
    def run_hash(self, run: Run) -> str:
        """Hash of everything that decides the result of a run."""

    @abstractmethod
    def carry_out(self, run: Run) -> Outcome:
        """Do one run; it writes nothing itself.

        Raises:
            InputError: If its input is wrong, or its training diverged.
        """

    @property
    def calibrated(self) -> bool:
        """Whether a run is finished only with predictions of held-out labels."""
        return False

    def is_of(self, card: RunCard, run: Run) -> bool:
        """Whether a card belongs to a run of this very study."""
        return card.hashes.run == self.run_hash(run)

    def files(self, run: Run) -> RunFiles:
        """Card, predictions of the test part, and predictions of held-out labels."""
        folder, held_out = self.config.out / self.folder, self.config.out / "held_out"
        return RunFiles(folder / f"{run.name}.json", folder / f"{run.name}.parquet", held_out / f"{run.name}.parquet")

    def is_finished(self, run: Run) -> bool:
        """Whether card and tables are there, of this very run and as they were written."""
        files = self.files(run)
        if not files.card.is_file() or not files.predictions.is_file():
            return False
        card = read_card(files.card)
        same = self.is_of(card, run) and card.hashes.predictions == sha256_of(files.predictions.read_bytes())
        if same and self.calibrated:
            same = files.held_out.is_file() and card.hashes.held_out == sha256_of(files.held_out.read_bytes())
        return same

    def complete(self, run: Run) -> None:
        """Carry out one run and write its tables, then its card."""
        outcome, files = self.carry_out(run), self.files(run)
        table = write_table(files.predictions, outcome.predictions)
        hashes = {"run": self.run_hash(run), "predictions": sha256_of(table)}
        if outcome.held_out is not None:
            hashes["held_out"] = sha256_of(write_table(files.held_out, outcome.held_out))
        card = {**outcome.card, "hashes": {**outcome.card["hashes"], **hashes}}
        card["cost"] = {**card["cost"], "peak_memory_mb": peak_memory_mb()}
        write_card(files.card, new_card(**card))

    def collect_cards(self, **labels: Any) -> tuple[RunCard, ...]:
        """The cards of all runs of a finished study, in the order of the runs; they are also written into one file.

        Args:
            labels: fields that decide nothing, such as the unit; they hold for all cards, also those of earlier runs.
        """
        cards = tuple(read_card(self.files(run).card).model_copy(update=labels) for run in self.runs)
        write_cards(self.config.out / CARDS, cards)
        return cards

    def tables(self, columns: Sequence[str] | None = None) -> list[pd.DataFrame]:
        """The predictions of all runs of a finished study, in the order of the runs.

        Args:
            columns: what is read; all when left out.
        """
        import pandas as pd

        wanted = None if columns is None else list(columns)
        return [pd.read_parquet(self.files(run).predictions, columns=wanted) for run in self.runs]


def take_folder(grid: Grid[Any]) -> None:
    """Claim the folder of a study, and clear away half files that a killed process left.

    Raises:
        InputError: If another study lives there (the first difference is named), or it cannot be written.
    """
    out = grid.config.out
    claim_folder(out, grid.kind, grid.claim(), undeciding=grid.undeciding)
    for name in (grid.folder, "held_out"):
        sweep_drafts(out / name)


def carry_out_all(grid: Grid[Any], *, check: Callable[[], None] = lambda: None, progress: bool = True) -> None:
    """Carry out the runs of a study that are not finished, here or on a cluster, as many at a time as its settings say.

    Args:
        grid: the study, its folder taken.
        check: called before the first and after each run; what it raises stops the study.
        progress: show a bar.

    Raises:
        InputError: If a run's input is wrong, its files cannot be written, or a worker process died.
        KeyboardInterrupt: After Ctrl-C; finished runs are kept.
    """
    config, runs = grid.config, grid.runs
    todo = [run for run in runs if not grid.is_finished(run)]
    check()
    done = at_once(
        partial(complete, grid),
        todo,
        workers=getattr(config, "workers", 1),
        launcher=getattr(config, "launcher", "local"),
        folder=config.out / grid.folder,
    )
    bar = progress_bar(total=len(runs), initial=len(runs) - len(todo), desc=grid.title, unit="run", shown=progress)
    with bar, closing(done):
        for run in done:
            bar.set_postfix_str(run.name, refresh=False)
            bar.update()
            check()


def complete(grid: Grid[Run], run: Run) -> Run:
    """Do one run of a study, in whichever process, and name it when its files are written."""
    grid.complete(run)
    return run


def write_table(file: Path, table: pd.DataFrame) -> bytes:
    """Write a table as parquet, whole or not at all, and return its bytes.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    atomic_write(file, buffer.getvalue())
    return buffer.getvalue()


def hash_of(*parts: Any) -> str:
    """SHA-256 of plain values: the same values, the same hash, on every machine."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def settings_of(
    settings_class: type[Chosen], config: Chosen | Mapping[str, Any] | None, options: Mapping[str, Any]
) -> Chosen:
    """The settings of a study that is asked for in Python.

    Args:
        settings_class: their class.
        config: the settings themselves, any mapping of them such as one of OmegaConf, or none.
        options: fields of the class, given instead; over a mapping they win.

    Raises:
        InputError: If settings and options are given, or an option is unknown or wrong.
    """
    if config is None or isinstance(config, Mapping):
        return read_settings(settings_class, {**plain(config or {}), **plain(options)}, dashes=False)
    if not isinstance(config, settings_class):
        kind = type(config).__name__
        raise InputError(f"config takes {settings_class.__name__} or a dictionary of its fields. Received: {kind}.")
    if options:
        raise InputError(f"Give a config or single options, not both. Received both: {', '.join(options)}.")
    return config


def error_metrics(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean absolute error, root mean square error and R² on the test part; R² is none where the truth is constant.

    Args:
        truth: labels, (m,).
        prediction: of the same crystals, (m,).
    """
    error = prediction - truth
    variance = float(np.mean((truth - truth.mean()) ** 2))
    mse = float(np.mean(error**2))
    r2 = 1 - mse / variance if variance > 0 else None
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt(mse)), "r2": r2}
