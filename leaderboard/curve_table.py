"""Learning curves as tables: one line per run, errors per crystal, and a summary to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

CURVE_COLUMNS = ["task", "arm", "labels_asked", "labels_used", "seed", "fold", "mae", "rmse", "r2", "seconds"]
PREDICTION_COLUMNS = ["task", "arm", "labels", "seed", "fold", "id", "target", "prediction"]


def curve_frame(cards: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One line per run card, in the columns of ``curve.csv``.

    Args:
        cards: run cards as dictionaries.
    """
    import pandas as pd

    lines = [
        {
            "task": card["task"],
            "arm": card["arm"],
            "labels_asked": card["mask"]["asked"],
            "labels_used": card["mask"]["used"],
            "seed": card["seed"],
            "fold": card["fold"],
            **card["metrics"],
            "seconds": card["cost"]["seconds"],
        }
        for card in cards
    ]
    return pd.DataFrame(lines, columns=CURVE_COLUMNS).astype({"r2": "float64"})


def absolute_errors(predictions: pd.DataFrame) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Absolute errors by arm and number of labels, seeds in rows and crystals in columns, (S, M).

    Args:
        predictions: the columns of ``predictions.parquet``.

    Raises:
        ValueError: If arms were run with different seeds or tested on different crystals: no pairs can be made.
    """
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    keys: tuple[Any, Any] | None = None
    for key, part in predictions.groupby(["arm", "labels"], sort=False, observed=True):
        arm, labels = cast(tuple[str, int], key)
        error = (part["prediction"] - part["target"]).abs()
        table = error.groupby([part["seed"], part["id"]], observed=True).mean().unstack()
        mine = (list(table.index), list(table.columns))
        if keys is not None and mine != keys:
            raise ValueError(f"{arm} at {labels} labels was run with other seeds or crystals than the arms before it")
        keys = mine
        found[arm, int(labels)] = table.to_numpy(dtype=np.float64)
    return found


def summarise(curve: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation of the error over seeds: columns arm, labels, mean, sd, seeds."""
    grouped = curve.groupby(["arm", "labels_asked"], sort=False)["mae"]
    table = grouped.agg(mean="mean", sd="std", seeds="count").reset_index()
    return table.rename(columns={"labels_asked": "labels"})


def markdown_table(curve: pd.DataFrame, ratios: Mapping[int, str], title: str, unit: str | None) -> str:
    """Errors of all arms, one line per number of labels, as mean ± standard deviation over seeds.

    Args:
        curve: the columns of ``curve.csv``.
        ratios: last column by number of labels: how the pretrained arm compares.
        title: head of that column.
        unit: unit of the target, where known.
    """
    summary = summarise(curve)
    arms = list(dict.fromkeys(summary["arm"]))
    columns = [summary[name].tolist() for name in ("arm", "labels", "mean", "sd")]
    cells = {(arm, n): _cell(mean, sd) for arm, n, mean, sd in zip(*columns, strict=True)}
    head = ["labels", *arms, *([title] if ratios else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for n in sorted(set(summary["labels"])):
        last = [ratios.get(n, "")] if ratios else []
        lines.append([str(n), *(cells.get((arm, n), "") for arm in arms), *last])
    caption = f"Mean absolute error{f' ({unit})' if unit else ''} on the test part, mean ± sd over seeds."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _cell(mean: float, sd: float) -> str:
    """'0.513 ± 0.043', with three or four meaningful digits."""
    digits = max(0, 3 - int(np.floor(np.log10(mean)))) if mean > 0 else 3
    digits = min(digits, 6)
    return f"{mean:.{digits}f}" + ("" if np.isnan(sd) else f" ± {sd:.{digits}f}")
