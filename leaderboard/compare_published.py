"""``matgl-infomax compare``: our answers beside the published leaderboard, material by material."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.comparison import (
    LeaderboardComparison,
    PairedDifference,
    Place,
    RunStanding,
    TaskComparison,
)
from matgl_infomax.leaderboard.published import (
    checked_entry,
    chosen_rows,
    find_predictions,
    official_folds,
    published_folds,
    published_scores,
    ranked_rows,
    read_targets,
)
from matgl_infomax.leaderboard.results import N_FOLDS, OwnAnswer, read_answers
from matgl_infomax.leaderboard.scores import CLASS_THRESHOLD, Kind, fold_scores
from matgl_infomax.leaderboard.statistics import (
    ALPHA,
    CalibrationQuality,
    Resampled,
    calibration_quality,
    fold_test,
    holm,
    resample,
    seed_deviations,
    sign_test,
    signed_rank_test,
    tie_groups,
    two_sided_p,
)
from matgl_infomax.leaderboard.strata import (
    STRATA_COLUMNS,
    Kinds,
    attribute_kinds,
    overlap_kinds,
    read_attributes,
    split_differences,
    value_kinds,
)
from matgl_infomax.settings.base import read_settings
from matgl_infomax.settings.commands import CompareConfig
from matgl_infomax.tasks.matbench.task import Task

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
        from matgl_infomax.leaderboard.comparison import write_comparison

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

    from matgl_infomax.tasks.matbench.data import task_crystals

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
    chosen = chosen_rows(published_scores(), config.entries)[(published_scores()["task"] == task.card.name).to_numpy()]
    table = table.assign(ranked=ranked, chosen=chosen.to_numpy() if config.entries else ranked)
    notes = []
    if not len(table):
        notes.append("No published scores of this task come with the package; only our answers are compared.")
    if config.published is None:
        return Published(table, {}, tuple(notes))
    files = find_predictions(config.published.expanduser(), task)
    predictions = {}
    for row in table[table["chosen"]].to_dict("records"):
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
    task_answers = gather_answers(answers, entries, draws=config.draws, seed=config.seed)
    by_fold = scores_on(card.name, task_answers.folds)
    duels = _duels(task_answers, published, by_fold)
    order = np.argsort(task_answers.resampled.means, kind="stable")
    groups = _groups(task_answers, order)
    table = entry_table(task_answers, published.table, by_fold, groups)
    ours = [int(a) for a in order if a < len(answers)]
    best = next((int(a) for a in order if a >= len(answers)), None)
    strata = details.strata(task_answers, best)
    runs = [_standing(a, task_answers, duels[a], table, (strata[a], best), details) for a in ours]
    own = [task_answers.difference(a, b) for a, b in combinations(ours, 2)]
    notes = [*published.notes, *details.notes]
    if len(task_answers.folds) < N_FOLDS:
        said = ", ".join(map(str, task_answers.folds))
        notes.append(f"Only fold {said} was answered: places and differences are those of this part alone.")
    return TaskComparison(
        task=card.name,
        target=card.target,
        unit=card.unit,
        kind=card.kind,
        metric=card.metric,
        folds=task_answers.folds,
        materials=len(ids),
        runs=tuple(runs),
        own=tuple(_corrected(own)),
        table=table,
        groups=tuple(tuple(task_answers.names[k] for k in group) for group in groups),
        notes=tuple(notes),
    )


def _duels(task_answers: ReadyBenchmarks, published: Published, by_fold: pd.DataFrame) -> list[list[PairedDifference]]:
    """Each answer of ours against every entry asked for; corrected for their number, the best entry first."""
    place = {name: k for k, name in enumerate(task_answers.names)}
    chosen = published.table.loc[published.table["chosen"], "algorithm"]
    found = []
    for a in range(len(task_answers.own)):
        mine = [task_answers.difference(a, place[name]) for name in chosen if name in published.predictions]
        mine += [task_answers.fold_difference(a, name, by_fold.loc[name].to_numpy(dtype=np.float64))
                 for name in chosen if name not in published.predictions and name in by_fold.index]  # fmt: skip
        sign = 1 if task_answers.metric == "mae" else -1
        found.append(sorted(_corrected(mine), key=lambda paired: sign * paired.other_score))
    return found


def _corrected(duels: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The p-values of one family, corrected by Holm."""
    return [replace(paired, p_holm=p) for paired, p in zip(duels, holm([paired.p for paired in duels]), strict=True)]


def _groups(task_answers: ReadyBenchmarks, order: Any) -> list[list[int]]:
    """Tie groups of all answers with predictions, as positions in the contest."""
    n = len(task_answers.names)
    p = task_answers.p_values()
    upper = np.triu_indices(n, 1)
    corrected = np.ones((n, n))
    corrected[upper] = holm([float(value) for value in p[upper]])
    corrected = np.minimum(corrected, corrected.T)
    return [[int(order[k]) for k in group] for group in tie_groups(corrected[np.ix_(order, order)])]


def _standing(
    a: int,
    task_answers: ReadyBenchmarks,
    duels: list[PairedDifference],
    table: pd.DataFrame,
    strata: tuple[pd.DataFrame, int | None],
    details: Details,
) -> RunStanding:
    """One answer of ours with all that is known of it; strata come with the entry that they compare with."""
    answer, (kinds, best) = task_answers.own[a], strata
    predictions = answer.table.assign(error=task_answers.errors[a])
    return RunStanding(
        name=answer.name,
        folder=answer.folder,
        source=answer.source,
        arm=answer.arm,
        network=answer.network,
        labels=answer.labels,
        seeds=len(answer.seeds),
        score=float(task_answers.scores[a].mean()),
        std=float(task_answers.scores[a].std()),
        fold_scores=tuple(float(score) for score in task_answers.scores[a]),
        place=place_of(task_answers.names[a], table, duels),
        duels=tuple(duels),
        predictions=predictions,
        strata=kinds,
        reference=task_answers.names[best] if best is not None else "",
        worst=details.worst(task_answers, a, best),
        calibration=details.calibration(answer),
        notes=answer.notes,
    )


# All answers to one task on the same materials: their errors, resampled together, and every pair compared.


@dataclass(frozen=True, eq=False)
class ReadyBenchmarks:
    """Answers to one task on the same folds; ours come first, then published ones."""

    kind: Kind
    metric: str
    names: tuple[str, ...]
    own: tuple[OwnAnswer, ...]
    folds: tuple[int, ...]
    fold: NDArray[np.int64]
    """Test fold of each material, (M,)."""
    errors: NDArray[np.float64]
    """Absolute errors, or 1 for a wrong class, (A, M)."""
    scores: NDArray[np.float64]
    """The score that ranks, by answer and fold, (A, K)."""
    resampled: Resampled
    seeds: NDArray[np.float64]
    """Deviations of our answers for other seeds, zero for published ones, (A, draws)."""
    generator: np.random.Generator

    def fold_errors(self, a: int) -> NDArray[np.float64]:
        """Error of an answer on each fold, lower is better, (K,)."""
        return as_errors(self.metric, self.scores[a])

    def deviations(self, a: int, b: int) -> NDArray[np.float64]:
        """Deviations of the difference of two answers for other materials and other seeds, (draws,).

        Where both are ours with the same seeds, these are compared seed by seed.
        """
        found = self.resampled.deviations[:, a] - self.resampled.deviations[:, b]
        if a < len(self.own) and b < len(self.own):
            one, other = self.own[a], self.own[b]
            if len(one.seeds) > 1 and one.seeds == other.seeds:
                return found + seed_deviations(one.seed_errors - other.seed_errors, len(found), self.generator)
        return found + self.seeds[a] - self.seeds[b]

    def difference(self, a: int, b: int) -> PairedDifference:
        """Answer a against answer b, material by material; not yet corrected for the number of comparisons."""
        difference, deviations = float(self.resampled.means[a] - self.resampled.means[b]), self.deviations(a, b)
        tails = [ALPHA / 2, 1 - ALPHA / 2]
        low, high = np.quantile(deviations, tails) + difference
        materials = self.resampled.deviations[:, a] - self.resampled.deviations[:, b]
        low_materials, high_materials = np.quantile(materials, tails) + difference
        p_sign, closer = sign_test(self.errors[a], self.errors[b])
        regression = self.kind == "regression"
        return PairedDifference(
            ours=self.names[a],
            other=self.names[b],
            way="per material",
            score=float(self.scores[a].mean()),
            other_score=float(self.scores[b].mean()),
            difference=difference,
            low=float(low),
            high=float(high),
            low_materials=float(low_materials),
            high_materials=float(high_materials),
            p=float(two_sided_p(np.array([difference]), deviations[:, None])[0]),
            p_holm=float("nan"),
            p_sign=p_sign,
            p_wilcoxon=signed_rank_test(self.errors[a], self.errors[b]) if regression else float("nan"),
            closer=closer,
            folds_won=int((self.fold_errors(a) < self.fold_errors(b)).sum()),
            folds=len(self.folds),
            materials=self.errors.shape[1],
        )

    def fold_difference(self, a: int, other: str, scores: NDArray[np.float64]) -> PairedDifference:
        """Answer a against an entry of which only the scores of the folds are known, (K,)."""
        theirs = as_errors(self.metric, scores)
        found = fold_test(self.fold_errors(a), theirs, test_share=1 / (N_FOLDS - 1))
        return PairedDifference(
            ours=self.names[a],
            other=other,
            way="per fold",
            score=float(self.scores[a].mean()),
            other_score=float(scores.mean()),
            difference=found.difference,
            low=found.low,
            high=found.high,
            low_materials=float("nan"),
            high_materials=float("nan"),
            p=found.p,
            p_holm=float("nan"),
            p_sign=float("nan"),
            p_wilcoxon=float("nan"),
            closer=float("nan"),
            folds_won=int((self.fold_errors(a) < theirs).sum()),
            folds=len(self.folds),
            materials=0,
        )

    def p_values(self) -> NDArray[np.float64]:
        """P-values of all pairs, not corrected, (A, A); 1 on the diagonal."""
        n = len(self.names)
        found = np.ones((n, n))
        for a in range(n - 1):
            rest = range(a + 1, n)
            deviations = np.stack([self.deviations(a, b) for b in rest], axis=1)  # (draws, pairs)
            p = two_sided_p(self.resampled.means[a] - self.resampled.means[a + 1 :], deviations)
            found[a, a + 1 :] = found[a + 1 :, a] = p
        return found


def gather_answers(
    own: Sequence[OwnAnswer],
    entries: Mapping[str, NDArray[np.float64]],
    *,
    draws: int,
    seed: int = 0,
) -> ReadyBenchmarks:
    """Bring answers together on the same materials.

    Args:
        own: our answers to one task, all of the same folds, with true values.
        entries: predictions of published ones by name, in the order of the materials of ours, (M,) each.
        draws: resamplings.
        seed: seed of the resampling.
    """
    first = own[0]
    card = first.task.card
    truth = first.table["target"].to_numpy(dtype=np.float64)  # (M,)
    fold = first.table["fold"].to_numpy(dtype=np.int64)  # (M,)
    ours = [answer.table["prediction"].to_numpy(dtype=np.float64) for answer in own]
    predictions = [*ours, *entries.values()]
    errors = np.stack([material_errors(card.kind, truth, one) for one in predictions])  # (A, M)
    generator = np.random.default_rng(seed)
    scores = [[fold_scores(card.kind, truth[fold == k], one[fold == k])[card.metric] for k in first.folds]
              for one in predictions]  # fmt: skip
    # Each class of a fold is a cell of its own: the mean over cells is then 1 - balanced accuracy.
    cells = fold if card.kind == "regression" else 2 * fold + (truth > CLASS_THRESHOLD)
    return ReadyBenchmarks(
        kind=card.kind,
        metric=card.metric,
        names=(*(answer.name for answer in own), *entries),
        own=tuple(own),
        folds=first.folds,
        fold=fold,
        errors=errors,
        scores=np.array(scores),
        resampled=resample(errors, cells, draws=draws, generator=generator),
        seeds=np.stack([*(seed_deviations(answer.seed_errors, draws, generator) for answer in own),
                        *(np.zeros(draws) for _ in entries)]),
        generator=generator,
    )  # fmt: skip


def material_errors(kind: Kind, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute errors in the unit of the target, or 1 for each wrong class (probabilities cut at one half), (M,)."""
    if kind == "regression":
        return np.abs(prediction - truth)
    return ((prediction > CLASS_THRESHOLD) != (truth > CLASS_THRESHOLD)).astype(np.float64)


def as_errors(metric: str, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as errors, lower is better: 1 minus an area under the curve, errors as they are."""
    return scores if metric == "mae" else 1 - scores


# Places on the published table, and which of them the comparisons leave open.

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
    task_answers: ReadyBenchmarks, published: pd.DataFrame, by_fold: pd.DataFrame, groups: Sequence[Sequence[int]]
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

    group = {task_answers.names[a]: number for number, members in enumerate(groups, 1) for a in members}
    lines = []
    for row in published.to_dict("records"):
        name = row["algorithm"]
        score, std = row["mean"], row["std"]
        if len(task_answers.folds) < N_FOLDS:
            known = by_fold.loc[name].to_numpy(dtype=np.float64) if name in by_fold.index else np.array([np.nan])
            score, std = float(known.mean()), float(known.std())
        facts = {key: row[key] for key in ("status", "flag", "reason", "source", "date")}
        ranked = bool(row["ranked"]) and not np.isnan(score)
        lines.append({"entry": name, "own": False, "score": score, "std": std, "ranked": ranked, **facts})
    for a, answer in enumerate(task_answers.own):
        facts = {"status": "ours", "flag": "", "reason": "", "source": answer.source, "date": ""}
        score, std = float(task_answers.scores[a].mean()), float(task_answers.scores[a].std())
        lines.append({"entry": answer.name, "own": True, "score": score, "std": std, "ranked": False, **facts})
    table = pd.DataFrame(lines)
    table["group"] = [group.get(name, 0) for name in table["entry"]]
    table["predictions"] = table["entry"].isin(task_answers.names)
    rank = table["score"] if task_answers.metric == "mae" else -table["score"]
    better = [int((table["ranked"] & (rank < value)).sum()) for value in rank]
    counts = table["ranked"] | table["own"]
    table["place"] = [1 + n if here else 0 for n, here in zip(better, counts, strict=True)]
    order = rank.sort_values(kind="stable").index
    return table.loc[order, list(TABLE_COLUMNS)].reset_index(drop=True)


def place_of(name: str, table: pd.DataFrame, duels: Sequence[PairedDifference]) -> Place:
    """The place of one answer of ours, and the places that its comparisons leave open.

    Args:
        name: the answer.
        table: what ``entry_table`` gave.
        duels: its comparisons with published entries.
    """
    ranked = set(table.loc[table["ranked"], "entry"])
    of = len(ranked) + 1
    better = sum(paired.finding == "worse" for paired in duels if paired.other in ranked)  # entries that beat ours
    worse = sum(paired.finding == "better" for paired in duels if paired.other in ranked)
    place = int(table.loc[table["own"] & (table["entry"] == name), "place"].iloc[0])
    return Place(place=place, of=of, best=1 + better, worst=of - worse)


# What else there is to know of an answer: where it wins and loses, its largest errors, its uncertainties.

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

    def strata(self, task_answers: ReadyBenchmarks, reference: int | None) -> list[pd.DataFrame]:
        """Where each answer of ours wins and loses against a reference; empty tables without one."""
        import pandas as pd

        own = task_answers.errors[: len(task_answers.own)]
        if reference is None:
            return [pd.DataFrame(columns=list(STRATA_COLUMNS)) for _ in own]
        return split_differences(own, task_answers.errors[reference], self.guess, self.kinds, seed=self.seed)

    def worst(self, task_answers: ReadyBenchmarks, a: int, reference: int | None) -> pd.DataFrame:
        """The largest errors of an answer; none for classes."""
        import pandas as pd

        errors = task_answers.errors[a]
        if task_answers.kind == "classification":
            return pd.DataFrame(columns=["id", "fold", "error", "times_mean", "reference_error"])
        rows = np.argsort(-errors, kind="stable")[:WORST]
        worst = pd.DataFrame({
            "id": [self.ids[row] for row in rows],
            "fold": task_answers.fold[rows],
            "error": errors[rows],
            "times_mean": errors[rows] / max(float(errors.mean()), 1e-300),
            "reference_error": task_answers.errors[reference][rows] if reference is not None else np.nan,
        })  # fmt: skip
        if self.attributes is not None:
            facts = self.attributes.iloc[rows].reset_index(drop=True)
            worst = pd.concat([worst, facts[[name for name in facts if name not in worst]]], axis=1)
        return worst

    def calibration(self, answer: OwnAnswer) -> CalibrationQuality | None:
        """How honest the uncertainties of an answer are; None where it has none."""
        truth, prediction, std = (answer.table[name].to_numpy(dtype=np.float64)
                                  for name in ("target", "prediction", "std"))  # fmt: skip
        if answer.task.card.kind != "regression" or not np.isfinite(std).all():
            return None
        return calibration_quality(truth, prediction, std)


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
    from matgl_infomax.tasks.matbench.data import attribute_table, task_crystals

    crystals = task_crystals(task, config.data_dir, config.cache)
    return attribute_table(crystals, progress=True).set_index("id").loc[task.ids]
