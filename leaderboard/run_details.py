"""What else there is to know of an answer: where it wins and loses, its largest errors, its uncertainties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.config_tasks import CompareConfig
from matgl_infomax.leaderboard.contest import Contest, material_errors
from matgl_infomax.leaderboard.kinds import Kinds, attribute_kinds, overlap_kinds, read_attributes, value_kinds
from matgl_infomax.leaderboard.own_answers import OwnAnswer
from matgl_infomax.leaderboard.predictions_read import official_folds
from matgl_infomax.leaderboard.strata import STRATA_COLUMNS, split_differences
from matgl_infomax.leaderboard.uncertainty import Calibration, calibrate
from matgl_infomax.tasks.matbench import Task

if TYPE_CHECKING:
    import pandas as pd

STRUCTURES = "structures"
"""Word that stands for a table of attributes made from the official structures."""
WORST = 10


@dataclass(frozen=True, eq=False)
class Details:
    """Kinds of the materials of a contest, and facts about them."""

    ids: tuple[str, ...]
    kinds: Kinds
    attributes: pd.DataFrame | None
    guess: NDArray[np.float64]
    """Error of an answer that knows nothing: the median of all true values, or the more frequent class, (M,)."""
    seed: int
    notes: tuple[str, ...]

    def strata(self, contest: Contest, reference: int | None) -> list[pd.DataFrame]:
        """Where each answer of ours wins and loses against a reference; empty tables without one."""
        import pandas as pd

        own = contest.errors[: len(contest.own)]
        if reference is None:
            return [pd.DataFrame(columns=list(STRATA_COLUMNS)) for _ in own]
        return split_differences(own, contest.errors[reference], self.guess, self.kinds, seed=self.seed)

    def worst(self, contest: Contest, a: int, reference: int | None) -> pd.DataFrame:
        """The largest errors of an answer; none for classes."""
        import pandas as pd

        errors = contest.errors[a]
        if contest.kind == "classification":
            return pd.DataFrame(columns=["id", "fold", "error", "times_mean", "reference_error"])
        rows = np.argsort(-errors, kind="stable")[:WORST]
        worst = pd.DataFrame({
            "id": [self.ids[row] for row in rows],
            "fold": contest.fold[rows],
            "error": errors[rows],
            "times_mean": errors[rows] / max(float(errors.mean()), 1e-300),
            "reference_error": contest.errors[reference][rows] if reference is not None else np.nan,
        })  # fmt: skip
        if self.attributes is not None:
            facts = self.attributes.iloc[rows].reset_index(drop=True)
            worst = pd.concat([worst, facts[[name for name in facts if name not in worst]]], axis=1)
        return worst

    def calibration(self, answer: OwnAnswer) -> Calibration | None:
        """How honest the uncertainties of an answer are; None where it has none."""
        truth, prediction, std = (answer.table[name].to_numpy(dtype=np.float64)
                                  for name in ("target", "prediction", "std"))  # fmt: skip
        if answer.task.card.kind != "regression" or not np.isfinite(std).all():
            return None
        return calibrate(truth, prediction, std)


def run_details(task: Task, answer: OwnAnswer, config: CompareConfig) -> Details:
    """Kinds of materials by true value, attributes and overlap, for answers of the same folds.

    Args:
        task: the task.
        answer: one of the answers, with true values.
        config: tables of attributes and of overlap reports.

    Raises:
        InputError: If a table cannot be read or lacks a material.
    """
    truth = answer.table["target"].to_numpy(dtype=np.float64)
    ids = answer.table["id"].tolist()
    notes = []
    table = None
    kinds: Kinds = {("all", "all"): np.ones(len(ids), dtype=np.bool_)}
    if task.card.kind == "regression":
        kinds |= value_kinds(truth)
    else:
        kinds |= {("true class", str(bool(k))): truth == k for k in (0, 1)}
    if config.attributes is not None:
        every = _attributes(task, config)
        table = every.loc[ids]
        here = every.index.isin(ids)
        kinds |= {key: rows[here] for key, rows in attribute_kinds(every, official_folds(task).to_numpy()).items()}
    else:
        notes.append("Strata by formula, crystal system and size need --attributes (a table, or 'structures').")
    kinds |= overlap_kinds([path.expanduser() for path in config.overlap], ids)
    guess = material_errors(task.card.kind, truth, np.full(len(truth), np.median(truth)))
    return Details(tuple(ids), kinds, table, guess, config.seed, tuple(notes))


def _attributes(task: Task, config: CompareConfig) -> pd.DataFrame:
    """Facts about all materials of a task, in official order: formulas of the training part count as seen."""
    if config.attributes != STRUCTURES:
        return read_attributes(Path(str(config.attributes)).expanduser(), task.ids)
    from matgl_infomax.tasks.attributes import attribute_table
    from matgl_infomax.tasks.task_data import task_crystals

    crystals = task_crystals(task, config.data_dir, config.cache)
    return attribute_table(crystals, progress=True).set_index("id").loc[task.ids]

