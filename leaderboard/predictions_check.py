"""Are these predictions comparable at all? Ids, folds, missing numbers and units, each fault named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.matbench_format import check_ids
from matgl_infomax.leaderboard.scores import Kind

if TYPE_CHECKING:
    import pandas as pd

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
