"""The published leaderboard: scores of every entry, which of them may be compared, and their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from matgl_infomax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Ranked = Literal["merged", "comparable", "all"]

FLAGS = {
    "fold_0_only": "its score is that of fold 0 alone, not a mean over folds",
    "random_folds": "it used other folds than the official ones",
    "one_model": "one ready-trained model predicts all folds",
    "label_exposure": "what it starts from was trained on labels of this property, those of test materials among them",
    "test_as_validation": "it looked at the test fold while it was trained",
    "external_knowledge": "its predictions were corrected from the literature",
    "suspect": "its errors look as if it had seen the labels",
    "unverified": "no result file: the score is said, not checked",
}
"""Why an entry is not ranked by default, by the word in the column ``flag``."""


@cache
def _table(name: str) -> pd.DataFrame:
    """A table that comes with the package."""
    import pandas as pd

    with (files(__package__) / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values={"mean": [""], "std": [""], "folds": [""]})


def published_scores(task: str | None = None) -> pd.DataFrame:
    """Published entries of the nine tasks with structures, one line per task and algorithm, the best first.

    Columns: task (full name), algorithm, folder (of the results, without 'matbench_v0.1_'; empty for tables of
    papers), status (merged, open pull request, fork, author repository, paper), metric, mean and std over folds
    (population standard deviation, in the unit of the task), folds (how many), flag (a word of ``FLAGS`` or empty),
    reason, pretraining (yes, no, unknown), date (of the result file, or of the website; empty where unknown), source.

    Args:
        task: full name of a task; all of them when left out.
    """
    table = _table("published.csv")
    return (table if task is None else table[table["task"] == task]).reset_index(drop=True)


def published_folds(task: str | None = None) -> pd.DataFrame:
    """Published scores of single folds: task, algorithm, fold, score (mae in the task's unit, or rocauc).

    Args:
        task: full name of a task; all of them when left out.
    """
    table = _table("published_folds.csv")
    return (table if task is None else table[table["task"] == task]).reset_index(drop=True)


def ranked_rows(table: pd.DataFrame, ranked: Ranked) -> pd.Series:
    """Which published entries count for places.

    Args:
        table: what ``published_scores`` gave.
        ranked: 'merged' for accepted submissions without a flag, 'comparable' for all entries without a flag, 'all'
            for every entry whose score is a mean over all folds.
    """
    clean = table["flag"] == ""
    if ranked == "merged":
        return clean & (table["status"] == "merged")
    return clean if ranked == "comparable" else table["flag"] != "fold_0_only"


def chosen_rows(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Which published entries were asked for by name, whatever their flags.

    Args:
        table: what ``published_scores`` gave, all tasks.
        names: algorithms or folders, upper or lower case, such as 'alignn' or 'MODNet (v0.1.12)'.

    Raises:
        InputError: For a name that no entry has.
    """
    wanted = {name.lower().removeprefix("matbench_v0.1_") for name in names}
    algorithms, folders = table["algorithm"].str.lower(), table["folder"].str.lower()
    unknown = sorted(wanted - set(algorithms) - set(folders))
    if unknown:
        known = ", ".join(sorted(set(table.loc[table["status"] == "merged", "algorithm"]), key=str.lower))
        raise InputError(f"No published entry is called {unknown[0]!r}. Merged ones are: {known}.")
    return algorithms.isin(wanted) | folders.isin(wanted)
