"""``matgl-infomax compare``: our answers beside the published leaderboard, material by material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.arguments import read_settings
from matgl_infomax.config_tasks import CompareConfig
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.contest import Contest, hold_contest
from matgl_infomax.leaderboard.own_answers import OwnAnswer, read_answers
from matgl_infomax.leaderboard.paired_tests import holm, tie_groups
from matgl_infomax.leaderboard.places import entry_table, place_of, scores_on
from matgl_infomax.leaderboard.predictions_read import checked_entry, find_predictions, read_targets
from matgl_infomax.leaderboard.published import chosen_rows, published_scores, ranked_rows
from matgl_infomax.leaderboard.run_details import Details, run_details
from matgl_infomax.leaderboard.runs_read import N_FOLDS
from matgl_infomax.leaderboard.standing import Duel, LeaderboardComparison, RunStanding, TaskComparison
from matgl_infomax.tasks.matbench import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Published:
    """What is known of the published entries of one task."""

    table: pd.DataFrame
    """``published_scores`` of the task, with ``ranked`` and ``asked`` (to be compared with)."""
    predictions: dict[str, pd.Series]
    """Predictions by algorithm, as a series by id."""
    notes: tuple[str, ...]


def compare_with_published(config: CompareConfig | None = None, **options: Any) -> LeaderboardComparison:
    """Compare our answers with the published ones: places, paired differences, ties, strata, uncertainty.

    Args:
        config: what is compared; or give its fields as ``options``, such as ``run=["answer"], published="matbench"``.
        options: fields of ``CompareConfig``, instead of ``config``.

    Returns:
        All numbers, with ``to_markdown()``, ``to_frame()`` and ``plot()``; files are in the folder ``out``, if any.

    Raises:
        InputError: If a folder cannot be read, ids, folds, numbers or units of ours are wrong, there are no true
            values, an entry is unknown, or nothing can be written.
    """
    if config is None:
        config = read_settings(CompareConfig, options)
    elif options:
        raise InputError(f"Give a config or single options, not both. Received both: {', '.join(options)}.")
    answers = read_answers(config.run)
    if config.entries:
        chosen_rows(published_scores(), config.entries)  # an unknown name is refused before the long reading
    tasks = []
    for name in dict.fromkeys(answer.task.card.name for answer in answers):
        tasks += _compare_task([answer for answer in answers if answer.task.card.name == name], config)
    result = LeaderboardComparison(
        tasks=tuple(tasks),
        draws=config.draws,
        published=config.published.expanduser().resolve().name if config.published else "none",
        ranked=config.ranked,
    )
    if config.out is not None:
        from matgl_infomax.leaderboard.standing_files import write_comparison

        write_comparison(result, config.out.expanduser())
    return result


def _compare_task(answers: Sequence[OwnAnswer], config: CompareConfig) -> list[TaskComparison]:
    """Our answers to one task; those of other folds are compared apart."""
    task = answers[0].task
    truth = _truth(task, answers, config)
    answers = [answer.with_truth(truth) for answer in answers]
    published = _published(task, _all_known(task, answers, truth), config)
    found = []
    for folds in dict.fromkeys(answer.folds for answer in answers):
        same = [answer for answer in answers if answer.folds == folds]
        details = run_details(task, same[0], config)
        found.append(_compare_folds(task, same, published, details, config))
    return found


def _truth(task: Task, answers: Sequence[OwnAnswer], config: CompareConfig) -> pd.Series | None:
    """True values by id from the published folder, or else from the official data where they are needed or named.

    None where our answers were kept with theirs and no folder has others to check them.
    """
    found = read_targets(config.published.expanduser(), task) if config.published is not None else None
    kept = all(answer.table["target"].notna().all() for answer in answers)
    if found is not None or (kept and config.data_dir is None):
        return found
    found = read_targets(config.data_dir.expanduser(), task) if config.data_dir is not None else None
    if found is not None:
        return found
    import pandas as pd

    from matgl_infomax.tasks.task_data import task_crystals

    crystals = task_crystals(task, config.data_dir, config.cache)
    return pd.Series([crystal.labels[task.card.target] for crystal in crystals], index=crystals.ids)


def _all_known(task: Task, answers: Sequence[OwnAnswer], truth: pd.Series | None) -> pd.Series | None:
    """True values of all materials, for scoring published predictions again; None where only some are known."""
    import pandas as pd

    if truth is None:
        truth = pd.concat([answer.table.set_index("id")["target"] for answer in answers])
        truth = truth[~truth.index.duplicated()]
    return truth if len(truth) == task.card.n_rows else None


def _published(task: Task, truth: pd.Series | None, config: CompareConfig) -> Published:
    """Scores and predictions of the entries that ours are compared with; true values by id check the predictions."""
    table = published_scores(task.card.name)
    ranked = ranked_rows(table, config.ranked)
    asked = chosen_rows(published_scores(), config.entries)[(published_scores()["task"] == task.card.name).to_numpy()]
    table = table.assign(ranked=ranked, asked=asked.to_numpy() if config.entries else ranked)
    notes = []
    if not len(table):
        notes.append("No published scores of this task come with the package; only our answers are compared.")
    if config.published is None:
        return Published(table, {}, tuple(notes))
    files = find_predictions(config.published.expanduser(), task)
    predictions = {}
    for row in table[table["asked"]].to_dict("records"):
        file = files.get(row["folder"])
        if file is None or truth is None:
            continue
        try:
            found = checked_entry(file, row["folder"], task, truth)
        except InputError as error:
            notes.append(f"Predictions of {row['algorithm']} were left out: {error}")
            continue
        if found is not None:
            predictions[row["algorithm"]] = found.set_index("id")["prediction"]
    return Published(table, predictions, tuple(notes))


def _compare_folds(
    task: Task, answers: Sequence[OwnAnswer], published: Published, details: Details, config: CompareConfig
) -> TaskComparison:
    """Our answers of the same folds against each other and against the published ones."""
    card = task.card
    ids = answers[0].table["id"]
    entries = {name: column[ids].to_numpy(dtype=np.float64) for name, column in published.predictions.items()}
    contest = hold_contest(answers, entries, draws=config.draws, seed=config.seed)
    by_fold = scores_on(card.name, contest.folds)
    duels = _duels(contest, published, by_fold)
    order = np.argsort(contest.resampled.means, kind="stable")
    groups = _groups(contest, order)
    table = entry_table(contest, published.table, by_fold, groups)
    ours = [int(a) for a in order if a < len(answers)]
    best = next((int(a) for a in order if a >= len(answers)), None)
    strata = details.strata(contest, best)
    runs = [_standing(a, contest, duels[a], table, (strata[a], best), details) for a in ours]
    own = [contest.duel(a, b) for a, b in combinations(ours, 2)]
    notes = [*published.notes, *details.notes]
    if len(contest.folds) < N_FOLDS:
        said = ", ".join(map(str, contest.folds))
        notes.append(f"Only fold {said} was answered: places and differences are those of this part alone.")
    return TaskComparison(
        task=card.name,
        target=card.target,
        unit=card.unit,
        kind=card.kind,
        metric=card.metric,
        folds=contest.folds,
        materials=len(ids),
        runs=tuple(runs),
        own=tuple(_corrected(own)),
        table=table,
        groups=tuple(tuple(contest.names[k] for k in group) for group in groups),
        notes=tuple(notes),
    )


def _duels(contest: Contest, published: Published, by_fold: pd.DataFrame) -> list[list[Duel]]:
    """Each answer of ours against every entry asked for; corrected for their number, the best entry first."""
    place = {name: k for k, name in enumerate(contest.names)}
    asked = published.table.loc[published.table["asked"], "algorithm"]
    found = []
    for a in range(len(contest.own)):
        mine = [contest.duel(a, place[name]) for name in asked if name in published.predictions]
        mine += [contest.fold_duel(a, name, by_fold.loc[name].to_numpy(dtype=np.float64))
                 for name in asked if name not in published.predictions and name in by_fold.index]  # fmt: skip
        sign = 1 if contest.metric == "mae" else -1
        found.append(sorted(_corrected(mine), key=lambda duel: sign * duel.other_score))
    return found


def _corrected(duels: Sequence[Duel]) -> list[Duel]:
    """The p-values of one family, corrected by Holm."""
    return [replace(duel, p_holm=p) for duel, p in zip(duels, holm([duel.p for duel in duels]), strict=True)]


def _groups(contest: Contest, order: Any) -> list[list[int]]:
    """Tie groups of all answers with predictions, as positions in the contest."""
    n = len(contest.names)
    p = contest.p_values()
    upper = np.triu_indices(n, 1)
    corrected = np.ones((n, n))
    corrected[upper] = holm([float(value) for value in p[upper]])
    corrected = np.minimum(corrected, corrected.T)
    return [[int(order[k]) for k in group] for group in tie_groups(corrected[np.ix_(order, order)])]


def _standing(
    a: int,
    contest: Contest,
    duels: list[Duel],
    table: pd.DataFrame,
    strata: tuple[pd.DataFrame, int | None],
    details: Details,
) -> RunStanding:
    """One answer of ours with all that is known of it; strata come with the entry that they compare with."""
    answer, (kinds, best) = contest.own[a], strata
    predictions = answer.table.assign(error=contest.errors[a])
    return RunStanding(
        name=answer.name,
        folder=answer.folder,
        source=answer.source,
        arm=answer.arm,
        network=answer.network,
        labels=answer.labels,
        seeds=len(answer.seeds),
        score=float(contest.scores[a].mean()),
        std=float(contest.scores[a].std()),
        fold_scores=tuple(float(score) for score in contest.scores[a]),
        place=place_of(contest.names[a], table, duels),
        duels=tuple(duels),
        predictions=predictions,
        strata=kinds,
        reference=contest.names[best] if best is not None else "",
        worst=details.worst(contest, a, best),
        calibration=details.calibration(answer),
        notes=answer.notes,
    )
