"""The numbers of a representation study: one line per fit, paired comparisons, and a page to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.statistics import Comparison, compare
from matgl_infomax.leaderboard.verdict import markdown_table
from matgl_infomax.record import RunCard

if TYPE_CHECKING:
    import pandas as pd

FIT_COLUMNS = [
    "task", "arm", "group", "head", "scaling", "labels", "seed", "fold", "dimensions", "imputed_train", "imputed_test",
    "mae", "rmse", "r2", "seconds",
]  # fmt: skip
SETTING = ["scaling", "head", "labels"]

Errors = dict[tuple[str, str, int], dict[str, NDArray[np.float64]]]
"""Absolute errors by scaling, head and number of labels, then by arm: draws in rows, test crystals in columns."""


def fit_frame(cards: Iterable[RunCard]) -> pd.DataFrame:
    """One line per fit, in the columns of ``fits.csv``.

    Args:
        cards: run cards of the fits.
    """
    import pandas as pd

    lines = [
        {
            "task": card.task,
            "arm": card.arm,
            "group": card.initial.name,
            "head": card.settings["head"],
            "scaling": card.settings["scaling"],
            "labels": card.mask.used,
            "seed": card.seed,
            "fold": card.fold,
            "dimensions": card.settings["dimensions"],
            "imputed_train": card.settings["imputed_train"],
            "imputed_test": card.settings["imputed_test"],
            **card.metrics.model_dump(),
            "seconds": card.cost.seconds,
        }
        for card in cards
    ]
    return pd.DataFrame(lines, columns=FIT_COLUMNS).astype({"r2": "float64"})


def comparisons(errors: Errors, groups: dict[str, str]) -> pd.DataFrame:
    """Compare the pretrained vectors with the floor and with every descriptor, draw by draw.

    The floor is the mean error over all untrained encoders. The interval covers other draws of labels and other test
    crystals (see ``compare``), not other random weights: so the pretrained vectors count as better only if they also
    have a smaller error than each of the untrained encoders, and as worse only if a larger one than each.

    Args:
        errors: absolute errors of all fits.
        groups: ``pretrained``, ``untrained`` or the descriptor, by arm.

    Returns:
        One line per scaling, head, number of labels and baseline: mae, baseline_mae, ratio, ratio_low, ratio_high,
        beaten (of the encoders of the baseline, or 1 of 1), of, answer ('better', 'worse' or 'cannot tell').
    """
    import pandas as pd

    lines = []
    heads = list(dict.fromkeys((scaling, head) for scaling, head, _ in errors))
    for scaling, head, labels in sorted(errors, key=lambda key: (heads.index(key[:2]), key[2])):
        by_arm = errors[scaling, head, labels]
        mine = by_arm["pretrained"]
        for group in dict.fromkeys(groups.values()):
            others = [by_arm[arm] for arm in by_arm if groups[arm] == group]
            if group == "pretrained" or not others:
                continue
            result = compare(mine, np.mean(others, axis=0))
            beaten = sum(float(mine.mean()) < float(other.mean()) for other in others)
            lines.append(
                {"scaling": scaling, "head": head, "labels": labels, "baseline": group, "mae": result.mae,
                 "baseline_mae": result.baseline_mae, "ratio": result.ratio, "ratio_low": result.ratio_low,
                 "ratio_high": result.ratio_high, "beaten": beaten, "of": len(others),
                 "answer": _answer(result, beaten, len(others))}
            )  # fmt: skip
    return pd.DataFrame(lines)


def _answer(result: Comparison, beaten: int, of: int) -> str:
    """Better, worse or cannot tell."""
    if result.better and beaten == of:
        return "better"
    return "worse" if result.worse and beaten == 0 else "cannot tell"


def by_group(fits: pd.DataFrame) -> pd.DataFrame:
    """Errors of each draw with the untrained encoders averaged: columns scaling, head, labels, group, seed, mae."""
    return fits.groupby([*SETTING, "group", "seed"], sort=False)["mae"].mean().reset_index()


def tables(fits: pd.DataFrame, compared: pd.DataFrame, unit: str | None) -> str:
    """Errors as Markdown, one table per scaling and head.

    Args:
        fits: the columns of ``fits.csv``.
        compared: what ``comparisons`` gives.
        unit: unit of the target, where known.
    """
    parts = []
    grouped = by_group(fits).rename(columns={"group": "arm", "labels": "labels_asked"})
    for key, part in grouped.groupby(["scaling", "head"], sort=False):
        scaling, head = cast(tuple[str, str], key)
        here = compared[(compared["scaling"] == scaling) & (compared["head"] == head)]
        floor = here[here["baseline"] == "untrained"].to_dict("records")
        ratios = {int(line["labels"]): _interval(line) for line in floor}
        title = f"## {head}" + ("" if scaling == "standard" else ", vectors not scaled")
        parts += [title, "", markdown_table(part, ratios, "pretrained / untrained (95 %)", unit), ""]
    return "\n".join(parts)


def sentences(compared: pd.DataFrame) -> list[str]:
    """What came out for each baseline, head by head."""
    said = []
    for line in compared.to_dict("records"):
        beaten = f", ahead of {line['beaten']} of {line['of']} encoders" if line["of"] > 1 else ""
        unscaled = "" if line["scaling"] == "standard" else ", not scaled"
        answer = f"{line['answer']} {'from' if line['answer'] == 'cannot tell' else 'than'} {line['baseline']}"
        said.append(f"{line['head']}{unscaled}, {line['labels']} labels: {answer} (error x {_interval(line)}{beaten})")
    return said


def overview(compared: pd.DataFrame) -> str:
    """How often the pretrained vectors were better or worse than each baseline, as one line of text per baseline."""
    lines = []
    for baseline, part in compared.groupby("baseline", sort=False):
        counts = part["answer"].value_counts()
        told = ", ".join(f"{name} {int(counts.get(name, 0))}" for name in ("better", "worse", "cannot tell"))
        lines.append(f"Pretrained against {baseline}: {told} (of {len(part)} heads x label counts).")
    return "\n".join(lines)


def failure_lines(failures: pd.DataFrame) -> list[str]:
    """How many crystals of each part have no descriptor, and why most of them."""
    lines = []
    for arm, part in failures.groupby("arm", sort=False):
        where = part["part"].value_counts()
        reason, n = part["reason"].value_counts().index[0], int(part["reason"].value_counts().iloc[0])
        lines.append(
            f"{arm}: {int(where.get('train', 0))} training and {int(where.get('test', 0))} test crystals have no "
            f"descriptor ({n} of them: {reason}). They stay in both parts with the mean of the unmasked crystals; "
            "all are listed in failures.csv."
        )
    return lines


def _interval(line: dict[Any, Any]) -> str:
    """'0.913 (0.871–0.958)'."""
    return f"{line['ratio']:.3f} ({line['ratio_low']:.3f}–{line['ratio_high']:.3f})"
