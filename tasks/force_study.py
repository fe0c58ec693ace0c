"""Does pretraining help force fields? Six elements, few frames to all of them, every arm on equal terms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, sha256_of
from matgl_infomax.leaderboard.results import CARDS
from matgl_infomax.record import RunCard
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import ForceStudyConfig
from matgl_infomax.tasks.arms import named_arms
from matgl_infomax.tasks.engine import CardGrid, Outcome, carry_out_all, hash_of, take_folder
from matgl_infomax.tasks.force_table import ForceTable, force_table
from matgl_infomax.tasks.matbench.task import nested_masks
from matgl_infomax.tasks.mlearn import Frames, check_known, load_frames, load_table

if TYPE_CHECKING:
    import pandas as pd

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""
FEWEST = 2
"""Frames that a force field needs at least."""


@dataclass(frozen=True)
class ForceRun:
    """One force field: one arm, element, share of the frames and seed."""

    arm: str
    element: str
    frames: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{self.element}-{self.arm}-n{self.frames}-s{self.seed}"


@dataclass(frozen=True)
class ForceStudy(CardGrid[ForceRun]):
    """Everything that the runs of a force study need."""

    kind: ClassVar[str] = "force-study"
    title: ClassVar[str] = "Force fields"

    config: ForceStudyConfig
    train: dict[str, Frames]
    test: dict[str, Frames]
    starts: dict[str, str]
    """Hash of the pretrained weights by arm."""

    @property
    def arms(self) -> dict[str, Path | None]:
        """Folder of weights by arm, none for scratch."""
        return named_arms(self.config.arms)

    def counts(self, element: str) -> list[int]:
        """Frames for each share, ascending."""
        n = len(self.train[element].crystals)
        return sorted({max(FEWEST, round(share * n)) for share in self.config.shares})

    @property
    def runs(self) -> list[ForceRun]:
        """All runs, seed by seed and the small ones first, so that something is to be seen soon."""
        first = self.config.forcefield.seed
        return [
            ForceRun(arm, element, self.counts(element)[k], seed)
            for seed in range(first, first + self.config.seeds)
            for k in range(len(set(self.config.shares)))
            for element in self.config.elements
            for arm in self.arms
        ]

    def mask(self, run: ForceRun) -> NDArray[np.int64]:
        """Training frames of a run, ascending."""
        ids = self.train[run.element].crystals.ids
        return np.sort(nested_masks(ids, np.arange(len(ids)), self.counts(run.element), run.seed)[run.frames])

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Hash of the training and test frames of each element with their labels."""
        return {e: sha256_of(_content(self.train[e]) + _content(self.test[e])) for e in self.config.elements}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        return deciding(self.config, apart=["forcefield.seed"])

    def run_hash(self, run: ForceRun) -> str:
        """Hash of everything that decides the result of a run."""
        start = self.starts.get(run.arm)
        mask = self.mask(run).tolist()
        return hash_of(CODE_VERSION, self.settings, self.hashes[run.element], mask, run.arm, start, run.seed)

    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in; shares, seeds and arms may be added later."""
        return {"settings": self.settings, "data": self.hashes}

    def carry_out(self, run: ForceRun) -> Outcome:
        """Train one force field and test it."""
        from matgl_infomax.tasks.force_runs import run_force_field

        return run_force_field(self, run)


def _content(frames: Frames) -> bytes:
    """Structures and labels of frames as bytes."""
    pieces = [np.ascontiguousarray(values).tobytes() for values in frames.labels.claim().values()]
    for crystal in frames.crystals:
        pieces += [crystal.id.encode(), crystal.lattice.tobytes(), crystal.numbers.tobytes(), crystal.frac.tobytes()]
    return b"\0".join(pieces)


def plan_force_study(config: ForceStudyConfig) -> ForceStudy:
    """Read the data and check the study before anything is computed.

    Raises:
        InputError: For unknown elements, arms or shares, or weights of another architecture than the scratch arm's.
    """
    check_known(config.elements)
    arms = named_arms(config.arms)
    wrong = [name for name, folder in arms.items() if folder is None and name != "scratch"]
    if wrong:
        raise InputError(f"A force study knows the arm scratch and NAME=FOLDER. Received: {', '.join(wrong)}.")
    if not all(0 < share <= 1 for share in config.shares):
        raise InputError(f"Shares of the frames are above 0 and at most 1. Received: {config.shares}.")
    table = load_table(config.data)
    train, test = ({e: load_frames(table, e, split) for e in config.elements} for split in ("train", "test"))
    return ForceStudy(config, train, test, _starts(config, arms, train))


def _starts(config: ForceStudyConfig, arms: dict[str, Path | None], train: dict[str, Frames]) -> dict[str, str]:
    """Hash of the weights of each pretrained arm, which has the architecture of the scratch arm."""
    from matgl_infomax.nn.build import load_encoder
    from matgl_infomax.tasks.arms import state_hash
    from matgl_infomax.train.forcefield import start_network

    elements = sorted({int(z) for frames in train.values() for crystal in frames.crystals for z in crystal.numbers})
    scratch = _shape(start_network(None, config.model, 0, elements)[0])
    found = {}
    for name, folder in arms.items():
        if folder is None:
            continue
        shape = _shape(start_network(folder, config.model, 0, elements)[0])
        different = [key for key in sorted(scratch | shape) if scratch.get(key) != shape.get(key)]
        if different:
            key = different[0]
            raise InputError(
                f"The arm {name} has {key}={shape.get(key)}, scratch has {scratch.get(key)}: that would compare "
                "networks. Give --model and --model.options of the pretrained encoder."
            )
        found[name] = state_hash(load_encoder(folder))
    return found


def _shape(network: Any) -> dict[str, Any]:
    """Constructor arguments that say what a network is, elements aside."""
    arguments = {key: str(value) for key, value in network._init_args.items() if key != "element_types"}
    return {"network": type(network).__name__, **arguments}


@dataclass(frozen=True)
class ForceStudyResult:
    """The numbers of a study."""

    table: ForceTable
    cards: tuple[RunCard, ...]
    out: Path

    def to_text(self) -> str:
        """The table to read, and where it lies."""
        return f"{self.table.to_markdown()}\n\n{len(self.cards)} run cards: {self.out / CARDS}"


def force_study(config: ForceStudyConfig, *, progress: bool = True) -> ForceStudyResult:
    """Train every force field, test it, and compare every arm with scratch; finished runs are never repeated.

    Args:
        config: data, arms, shares, seeds, training.
        progress: show a bar.

    Raises:
        InputError: If settings or data are wrong, the folder holds another study, or a run fails.
    """
    study = plan_force_study(config)
    take_folder(study)
    carry_out_all(study, progress=progress)
    cards = study.collect_cards()
    found = force_table(_lines(study))
    atomic_write(config.out / "table.json", json.dumps(found.to_dict(), indent=1))
    atomic_write(config.out / "summary.md", f"# Force fields: pretrained against scratch\n\n{found.to_markdown()}\n")
    return ForceStudyResult(found, cards, config.out)


def _lines(study: ForceStudy) -> pd.DataFrame:
    """The predictions of all runs, one line per run and test frame, with the share that a run was asked for."""
    import pandas as pd

    shares = sorted(set(study.config.shares))
    parts = []
    for run, table in zip(study.runs, study.tables(), strict=True):
        parts.append(table.assign(share=shares[study.counts(run.element).index(run.frames)]))
    return pd.concat(parts, ignore_index=True)
