"""The published leaderboard: scores of every entry, which of them may be compared, and their predictions."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.io import LARGEST, read_table
from matgl_infomax.leaderboard.matbench_format import BENCHMARK, check_ids
from matgl_infomax.leaderboard.scores import Kind, fold_scores
from matgl_infomax.tasks.matbench.task import N_FOLDS, Task

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


# Predictions and true values of published entries, from a checkout of Matbench's repository or a folder of tables.

RESULTS = "results.json.gz"
SAME = 1e-4
"""Largest difference between a printed score and the one computed again, relative above 1."""
LAYOUTS = (
    f"benchmarks/{BENCHMARK}_*/{RESULTS} with scripts/artifacts/*.json.bz2 (a checkout of materialsproject/matbench), "
    "or predictions/TASK__NAME.parquet with targets/TASK.parquet"
)
"""Folders that can be read."""


def official_folds(task: Task) -> pd.Series:
    """Test fold of each material of a task by its id, in official order."""
    import pandas as pd

    fold = np.empty(task.card.n_rows, dtype=np.int64)
    for k in range(N_FOLDS):
        fold[task.fold(k).test] = k
    return pd.Series(fold, index=pd.Index(task.ids, name="id"), name="fold")


def find_predictions(folder: Path, task: Task) -> dict[str, Path]:
    """Files that may hold predictions of a task, by name of the entry's folder without 'matbench_v0.1_'.

    Args:
        folder: a checkout or a folder of tables.
        task: the task.

    Raises:
        InputError: If the folder has neither form.
    """
    results = sorted((folder / "benchmarks").glob(f"{BENCHMARK}_*/{RESULTS}"))
    if results:
        return {path.parent.name.removeprefix(f"{BENCHMARK}_"): path for path in results}
    if not (folder / "predictions").is_dir():
        raise InputError(f"{folder} holds no published predictions. Needed: {LAYOUTS}.")
    tables = sorted((folder / "predictions").glob(f"{task.card.short_name}__*.parquet"))
    return {path.stem.partition("__")[2]: path for path in tables}


def read_predictions(file: Path, task: Task) -> pd.DataFrame | None:
    """Predictions of one entry: columns id, fold, prediction, std (NaN where there is none); None without this task.

    Args:
        file: a parquet table, or a result file of Matbench, compressed or plain.
        task: the task.

    Raises:
        InputError: If the file is damaged or holds an id twice.
    """
    if file.suffix == ".parquet":
        table = read_table(file, {})
        missing = [name for name in ("id", "fold", "prediction") if name not in table]
        if missing:
            raise InputError(f"{file} is no table of predictions: it lacks the column {missing[0]}.")
        return typed_predictions(table, str(file))[["id", "fold", "prediction"]].assign(std=np.nan)
    return results_table(read_result_file(file), task.card.name, str(file))


def read_result_file(file: Path) -> dict[str, Any]:
    """A result file of Matbench, whether it is really compressed or plain JSON under the same name.

    Raises:
        InputError: If it cannot be read, holds no tasks, or has the same name twice in one place.
    """
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        document = json.loads(content, object_pairs_hook=lambda pairs: _once(pairs, file))
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, RecursionError) as error:
        raise InputError(f"Cannot read {file} as a result file of Matbench: {error}.") from error
    tasks = document.get("tasks") if isinstance(document, dict) else None
    if not isinstance(tasks, dict) or not tasks:
        raise InputError(f"{file} is no result file of Matbench: it has no tasks.")
    return document


def _once(pairs: list[tuple[str, Any]], file: Path) -> dict[str, Any]:
    """A JSON object in which no name comes twice; the reader would keep the last of them without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        again = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{file}: {len(again)} of the ids are more than once there, such as {again[0]}.")
    return found


def results_table(document: Mapping[str, Any], name: str, where: str) -> pd.DataFrame | None:
    """Predictions of one task out of a result file: id, fold, prediction, std; None where it does not answer it.

    Args:
        document: content of the file.
        name: full name of the task.
        where: how messages call the file.

    Raises:
        InputError: If a fold has no predictions, or one of them is no number.
    """
    import pandas as pd

    if name not in document["tasks"]:
        return None
    task = document["tasks"][name]
    results = task.get("results") if isinstance(task, dict) else None
    if not isinstance(results, dict):
        raise InputError(f"{where}: {name} has no results.")
    parts = []
    for fold, entry in results.items():
        data = entry.get("data") if isinstance(entry, dict) else None
        if not isinstance(data, dict) or not data or not _FOLD.fullmatch(fold):
            raise InputError(f"{where}: {name}, {_shorten(fold)}, holds no predictions.")
        spread = entry.get("uncertainty") or {}
        if not isinstance(spread, dict):
            raise InputError(f"{where}: {name}, {fold}: the uncertainty must be a dictionary by id.")
        place = f"{where}: {name}, {fold}"
        std = [_std(spread.get(id), id, place) for id in data]
        values = [_number(value, id, place) for id, value in data.items()]
        number = int(fold.removeprefix("fold_"))
        parts.append(pd.DataFrame({"id": list(data), "fold": number, "prediction": values, "std": std}))
    if not parts:
        raise InputError(f"{where}: {name} has no fold.")
    return pd.concat(parts, ignore_index=True)


_FOLD = re.compile(r"fold_\d{1,3}", re.ASCII)


def _shorten(value: Any) -> str:
    """A value for a message; nested lists may be long."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    text = plain if isinstance(plain, str) else repr(plain)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: Any, id: str, where: str) -> float:
    """A prediction as a number, NaN where it is null; words and lists are refused.

    Raises:
        InputError: With the id and what was received.
    """
    if value is None:
        return float("nan")
    if isinstance(value, int | float) and not LARGEST < abs(value) < float("inf"):
        return float(value)
    remedy = " Record an array of shape (n,), not (n, 1)." if isinstance(value, list | np.ndarray) else ""
    raise InputError(f"{where}: the prediction of {id} is no number: {_shorten(value)}.{remedy}")


def _std(interval: Any, id: str, where: str) -> float:
    """Standard deviation out of Matbench's uncertainty of one material."""
    return _number(interval["std"], id, where) if isinstance(interval, dict) and "std" in interval else float("nan")


def typed_predictions(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """A table of predictions with ids as text, folds as whole numbers and predictions as numbers.

    Args:
        table: columns id, fold, prediction, and others.
        where: how messages call the file.

    Raises:
        InputError: Naming the column, the row and what it holds.
    """
    fold = [value if _is_whole(value) else None for value in table["fold"].tolist()]
    for row, (id, whole) in enumerate(zip(table["id"].tolist(), fold, strict=True)):
        if not isinstance(id, str):
            raise InputError(f"{where}: the id in row {row} is no text: {_shorten(id)}.")
        if whole is None:
            raise InputError(f"{where}: the fold of {id} is no whole number: {_shorten(table['fold'].iloc[row])}.")
    values = [_number(value, id, where) for id, value in zip(table["id"], table["prediction"].tolist(), strict=True)]
    return table.assign(fold=np.array(fold, dtype=np.int64), prediction=np.array(values, dtype=np.float64))


def _is_whole(value: Any) -> bool:
    """Whether a cell is a small whole number; a column with gaps holds floats."""
    return isinstance(value, int | float) and float(value).is_integer() and abs(value) < 1000


def read_targets(folder: Path, task: Task) -> pd.Series | None:
    """True values of a task by id, in official order; None where the folder has none.

    Args:
        folder: a checkout, a folder of tables, or a folder with ``targets/``.
        task: the task.

    Raises:
        InputError: If a file is damaged, or its ids are not exactly the official ones.
    """
    import pandas as pd

    card = task.card
    places = [folder / "targets" / f"{card.short_name}.parquet", folder / "targets" / f"{card.name}.json.bz2",
              folder / "scripts" / "artifacts" / f"{card.name}.json.bz2"]  # fmt: skip
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_json(file)
        table = table.rename(columns={"mbid": "id"})
        found = pd.Series(table["target"].to_numpy(dtype=np.float64), index=table["id"].astype(str), name="target")
    except Exception as error:  # damage raises errors of bz2, pyarrow, pandas and Python
        raise InputError(f"{file} is no table of true values ({' '.join(str(error).split())}).") from error
    if set(found.index) != set(task.ids) or len(found) != card.n_rows or not (found.abs() <= LARGEST).all():
        raise InputError(f"{file} does not hold one true value for each material of {card.name}.")
    return found[task.ids]


def checked_entry(file: Path, name: str, task: Task, truth: pd.Series) -> pd.DataFrame | None:
    """Predictions of a published entry, checked, and scored again: they have to give the printed scores.

    Args:
        file: where they are.
        name: name of the entry's folder without 'matbench_v0.1_'.
        task: the task.
        truth: true values by id.

    Returns:
        As ``read_predictions``, in official order of ids.

    Raises:
        InputError: If ids, folds, numbers or unit are wrong, or a fold's score is not the printed one.
    """
    table = read_predictions(file, task)
    if table is None:
        return None
    card, where = task.card, f"{name}, {task.card.name}"
    fold_of = official_folds(task)
    check_predictions(where, table, fold_of, card.kind)
    if len(table) != card.n_rows:
        raise InputError(f"{where}: {table['fold'].nunique()} of {N_FOLDS} folds are there, and all are needed.")
    table = table.set_index("id").loc[fold_of.index].reset_index()
    known = truth[table["id"]].to_numpy(dtype=np.float64)
    if card.kind == "regression":
        check_unit(where, table["prediction"].to_numpy(dtype=np.float64), known, card.unit)
    printed = _printed(name, card.name)
    numbers = table["fold"].to_numpy(dtype=np.int64)
    for fold in range(N_FOLDS):
        rows = np.flatnonzero(numbers == fold)
        again = fold_scores(card.kind, known[rows], table["prediction"].to_numpy(dtype=np.float64)[rows])[card.metric]
        said = printed.get(fold)
        if said is not None and abs(again - said) > SAME * max(1, abs(said)):
            raise InputError(f"{where}: the {card.metric} of fold {fold} is {again:.6g}, and {said:.6g} is printed.")
    return table


def _printed(name: str, task: str) -> dict[int, float]:
    """Printed scores of an entry by fold; none where the entry is not in the table."""
    table = published_scores(task)
    algorithm = set(table.loc[table["folder"] == name, "algorithm"])
    folds = published_folds(task)
    folds = folds[folds["algorithm"].isin(algorithm)]
    return dict(zip(folds["fold"].astype(int).tolist(), folds["score"].astype(float).tolist(), strict=True))


# Are these predictions comparable at all? Ids, folds, missing numbers and units, each fault named.

UNITS = {"eV instead of meV, or the like": 1e-3, "meV instead of eV, or the like": 1e3}
"""Mistakes in the unit by how many times too large the numbers are."""
_NEAR = 5.0


def check_predictions(where: str, table: pd.DataFrame, fold_of: pd.Series, kind: Kind) -> None:
    """Refuse predictions that are not exactly those of the official test parts of their folds.

    Args:
        where: how messages call them.
        table: columns id, fold, prediction; the folds that occur have to be complete.
        fold_of: official fold by id, all materials of the task.
        kind: kind of the task.

    Raises:
        InputError: Naming repeated, foreign or missing ids, a material in another fold, a prediction that is no
            number, or no probability for classes; one example and how many.
    """
    folds = np.unique(table["fold"])
    given = table["id"].tolist()
    own = fold_of.reindex(given)
    moved = own.notna().to_numpy() & (own.to_numpy() != table["fold"].to_numpy())
    if moved.any() and not table["id"].duplicated().any():
        first = table[moved].iloc[0]
        raise InputError(
            f"{where}: {int(moved.sum())} predictions are in a wrong fold, such as {first['id']} (fold {first['fold']} "
            f"there, officially test fold {int(fold_of[first['id']])}). These are not Matbench's folds."
        )
    check_ids(where, given, fold_of.index[fold_of.isin(folds)].tolist())
    values = table["prediction"].to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = table["id"][wrong].iloc[0]
        raise InputError(f"{where}: {int(wrong.sum())} predictions are no number, such as {first}.")
    if kind == "classification" and ((values < 0) | (values > 1)).any():
        first = table["id"][(values < 0) | (values > 1)].iloc[0]
        raise InputError(f"{where}: the prediction of {first} is no probability of a class.")


def check_unit(where: str, prediction: NDArray[np.float64], truth: NDArray[np.float64], unit: str | None) -> None:
    """Refuse predictions that are a thousand times too small or too large, and fit when that is undone.

    Args:
        where: how the message calls them.
        prediction: predictions, (M,).
        truth: true values in the unit of the task, (M,).
        unit: that unit.

    Raises:
        InputError: If they look like values in another unit.
    """
    size = float(np.mean(np.abs(prediction))) / max(float(np.mean(np.abs(truth))), 1e-300)
    error = float(np.mean(np.abs(prediction - truth)))
    for what, factor in UNITS.items():
        again = float(np.mean(np.abs(prediction / factor - truth)))
        if factor / _NEAR < size < factor * _NEAR and again < error:
            raise InputError(
                f"{where}: the predictions are {size:.3g} times the size of the true values, as if they were in "
                f"another unit ({what}). The unit of the task is {unit or 'none'}: divided by {factor:g} "
                f"their mean absolute error is {again:.4g} instead of {error:.4g}."
            )
