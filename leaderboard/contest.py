"""All answers to one task on the same materials: their errors, resampled together, and every pair compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.fold_bootstrap import Resampled, resample, two_sided_p
from matgl_infomax.leaderboard.own_answers import OwnAnswer
from matgl_infomax.leaderboard.paired_tests import ALPHA, fold_test, sign_test, signed_rank_test
from matgl_infomax.leaderboard.runs_read import N_FOLDS
from matgl_infomax.leaderboard.scores import CLASS_THRESHOLD, Kind, fold_scores
from matgl_infomax.leaderboard.seed_chance import seed_deviations
from matgl_infomax.leaderboard.standing import Duel


@dataclass(frozen=True, eq=False)
class Contest:
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

    def duel(self, a: int, b: int) -> Duel:
        """Answer a against answer b, material by material; not yet corrected for the number of comparisons."""
        difference, deviations = float(self.resampled.means[a] - self.resampled.means[b]), self.deviations(a, b)
        tails = [ALPHA / 2, 1 - ALPHA / 2]
        low, high = np.quantile(deviations, tails) + difference
        materials = self.resampled.deviations[:, a] - self.resampled.deviations[:, b]
        low_materials, high_materials = np.quantile(materials, tails) + difference
        p_sign, closer = sign_test(self.errors[a], self.errors[b])
        regression = self.kind == "regression"
        return Duel(
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

    def fold_duel(self, a: int, other: str, scores: NDArray[np.float64]) -> Duel:
        """Answer a against an entry of which only the scores of the folds are known, (K,)."""
        theirs = as_errors(self.metric, scores)
        found = fold_test(self.fold_errors(a), theirs, test_share=1 / (N_FOLDS - 1))
        return Duel(
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


def hold_contest(
    own: Sequence[OwnAnswer],
    entries: Mapping[str, NDArray[np.float64]],
    *,
    draws: int,
    seed: int = 0,
) -> Contest:
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
    return Contest(
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

