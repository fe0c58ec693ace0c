"""Places on the published table, and which of them the comparisons leave open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgl_infomax.leaderboard.contest import Contest
from matgl_infomax.leaderboard.published import published_folds
from matgl_infomax.leaderboard.runs_read import N_FOLDS
from matgl_infomax.leaderboard.standing import Duel, Place

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("entry", "own", "score", "std", "ranked", "place", "group", "predictions", "status", "flag", "reason",
                 "source", "date")  # fmt: skip
"""Columns of the table of all answers to a task."""


def scores_on(task: str, folds: Sequence[int]) -> pd.DataFrame:
    """Published scores of some folds, one line per entry that has them all, one column per fold.

    Args:
        task: full name of the task.
        folds: the folds.
    """
    table = published_folds(task).pivot(index="algorithm", columns="fold", values="score")
    return table.reindex(columns=list(folds)).dropna()


def entry_table(
    contest: Contest, published: pd.DataFrame, by_fold: pd.DataFrame, groups: Sequence[Sequence[int]]
) -> pd.DataFrame:
    """All answers to a task, the best first.

    With fewer than five folds the scores are those of these folds, and entries whose folds are not known have none.

    Args:
        contest: answers with predictions, ours first.
        published: scores of the published ones, with ``ranked``.
        by_fold: their scores on the folds of the contest.
        groups: tie groups, as positions in the contest.

    Returns:
        The columns ``TABLE_COLUMNS``. Places are those among ranked entries; one of ours counts itself, not the others
        of ours.
    """
    import pandas as pd

    group = {contest.names[a]: number for number, members in enumerate(groups, 1) for a in members}
    lines = []
    for row in published.to_dict("records"):
        name = row["algorithm"]
        score, std = row["mean"], row["std"]
        if len(contest.folds) < N_FOLDS:
            known = by_fold.loc[name].to_numpy(dtype=np.float64) if name in by_fold.index else np.array([np.nan])
            score, std = float(known.mean()), float(known.std())
        facts = {key: row[key] for key in ("status", "flag", "reason", "source", "date")}
        ranked = bool(row["ranked"]) and not np.isnan(score)
        lines.append({"entry": name, "own": False, "score": score, "std": std, "ranked": ranked, **facts})
    for a, answer in enumerate(contest.own):
        facts = {"status": "ours", "flag": "", "reason": "", "source": answer.source, "date": ""}
        score, std = float(contest.scores[a].mean()), float(contest.scores[a].std())
        lines.append({"entry": answer.name, "own": True, "score": score, "std": std, "ranked": False, **facts})
    table = pd.DataFrame(lines)
    table["group"] = [group.get(name, 0) for name in table["entry"]]
    table["predictions"] = table["entry"].isin(contest.names)
    rank = table["score"] if contest.metric == "mae" else -table["score"]
    better = [int((table["ranked"] & (rank < value)).sum()) for value in rank]
    counts = table["ranked"] | table["own"]
    table["place"] = [1 + n if here else 0 for n, here in zip(better, counts, strict=True)]
    order = rank.sort_values(kind="stable").index
    return table.loc[order, list(TABLE_COLUMNS)].reset_index(drop=True)


def place_of(name: str, table: pd.DataFrame, duels: Sequence[Duel]) -> Place:
    """The place of one answer of ours, and the places that its comparisons leave open.

    Args:
        name: the answer.
        table: what ``entry_table`` gave.
        duels: its comparisons with published entries.
    """
    ranked = set(table.loc[table["ranked"], "entry"])
    of = len(ranked) + 1
    better = sum(duel.finding == "worse" for duel in duels if duel.other in ranked)  # entries that beat ours
    worse = sum(duel.finding == "better" for duel in duels if duel.other in ranked)
    place = int(table.loc[table["own"] & (table["entry"] == name), "place"].iloc[0])
    return Place(place=place, of=of, best=1 + better, worst=of - worse)
