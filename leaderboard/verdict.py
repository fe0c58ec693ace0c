"""The answer to "does pretraining help?": yes, no, or cannot tell, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.leaderboard.statistics import DRAWS, Comparison, compare, sufficient_seeds
from matgl_infomax.record import Part, RunCard
from matgl_infomax.settings.arms import ARM_FACTS, BASELINE

if TYPE_CHECKING:
    import pandas as pd


Errors = Mapping[tuple[str, int], NDArray[np.float64]]
"""Absolute errors by arm and number of labels, one row per seed and one column per test crystal, (S, M); those of an
arm with several pretrainings are (P, S, M)."""

Dead = Mapping[tuple[str, int], NDArray[np.bool_]]
"""Seeds with a dead network, by arm and number of labels, (S,)."""

FEWEST_PAIRS = 2
"""Fewer living pairs of one seed say nothing about other seeds."""

WORTH = 0.05
"""A gain smaller than this share is not worth a pretraining."""

RULE = (
    "yes: the 95 % interval of the error ratio lies below 1 at more than half of the label counts and above 1 at none. "
    f"no: it lies below 1 at none, and it lies above 1 at one or more or rules out a gain of {WORTH:.0%} at more than "
    "half. cannot tell: everything else, and any study with one seed or without both arms. Seeds with a dead network "
    "are no pair; a label count with fewer than two pairs is undecided."
)

ALTERNATIVES = {
    "descriptors": "Use the descriptors instead: trees on composition statistics beat both networks",
    "descriptors_forest": "Use the descriptors instead: a random forest on composition beats both networks",
    "descriptors_gaussian": "Use the descriptors instead: a Gaussian process on composition beats both networks",
    "orbital_field": "Use the descriptors instead: trees on the orbital-field matrix beat both networks",
    "untrained": "Neither network learns enough: ridge regression on an untrained encoder beats both",
    "frozen": "Use the frozen encoder: ridge regression on its vectors beats both trained networks",
}


class Paired(Part):
    """One arm against another at one number of labels, with 95 % intervals; ratios below 1 favour the arm.

    Both intervals come from the same draws and agree on which arm is better (see ``statistics.compare``).
    """

    arm: str
    against: str
    labels: int
    mae: float
    against_mae: float
    ratio: float
    ratio_low: float
    ratio_high: float
    difference: float
    difference_low: float
    difference_high: float
    pretrainings: int = 1
    finding: Literal["better", "worse", "open"]
    sentence: str
    seeds_needed: int | None = None
    """Seeds with which an open comparison is likely to be decided (see ``statistics.sufficient_seeds``)."""
    dead: int = 0
    """Seeds left out because the network of one arm is dead."""


class Equivalent(Part):
    """How many labels the baseline needs for the same error; None, with a bound, outside the measured range."""

    labels: int
    equals: float | None
    sentence: str


class Verdict(Part):
    """Does pretraining help, at these numbers of labels?"""

    answer: Literal["yes", "no", "cannot tell"]
    text: str
    arm: str
    baseline: str
    target: str
    unit: str | None
    seeds: int
    test_crystals: int
    pretrainings: int = 1
    """Pretrainings of the arm, crossed with the seeds; with one, every interval speaks of this one alone."""
    points: list[Paired]
    savings: list[Equivalent]
    advice: list[str]
    others: list[Paired]
    rule: str = RULE
    failed: list[str] = []
    """Sentences about dead networks: their runs have failed, and their errors are compared with nothing."""


def judge(
    errors: Errors,
    *,
    target: str,
    unit: str | None = None,
    dead: Dead | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Verdict:
    """Compare the pretrained arm with the one from scratch at each number of labels and answer by ``RULE``.

    Args:
        errors: absolute errors of all arms; seeds and crystals in the same order everywhere.
        target: what was predicted.
        unit: its unit, where known.
        dead: networks whose errors are those of failed runs; their seeds are left out of each comparison.
        draws: resamplings per comparison.
        seed: seed of the resampling.

    Raises:
        ValueError: If there are no errors.
    """
    if not errors:
        raise ValueError("a verdict needs errors of at least one arm")
    names = list(dict.fromkeys(arm for arm, _ in errors))
    arm = _pretrained(names)
    shape = next(iter(errors.values())).shape[-2:]
    pairing = _Pairing(errors, dead or {}, unit, draws, seed)
    points = pairing.pairs(arm, BASELINE) if arm else []
    others = pairing.others(names, arm)
    lost = pairing.lost(arm, BASELINE) if arm else []
    savings, failed = _savings(points), _failed(dead or {}, lost, arm)
    answer = _answer(points, shape[0], len(points) + len(lost))
    advice = _advice(others, pairing.counts, bool(points))
    return Verdict(
        answer=answer,
        text=" ".join([_text(answer, points, savings, shape[0], arm, lost), *failed, *advice]),
        arm=arm or "none",
        baseline=BASELINE,
        target=target,
        unit=unit,
        seeds=shape[0],
        test_crystals=shape[1],
        pretrainings=max([point.pretrainings for point in points], default=1),
        points=points,
        savings=savings,
        advice=advice,
        others=others,
        failed=failed,
    )


def scope(verdict: Verdict) -> str:
    """What the intervals of a verdict cover, and what they do not, in one sentence; empty without a pretrained arm.

    Args:
        verdict: that of a study.
    """
    if not verdict.points:
        return ""
    if verdict.pretrainings > 1:
        return (
            f"The intervals cover other test crystals, other seeds and other pretrainings of {verdict.arm} "
            f"({verdict.pretrainings} were made)."
        )
    return (
        "The intervals cover other test crystals and other seeds. They hold for one pretraining of "
        f"{verdict.arm} only: another one of the same recipe may come out elsewhere. NAME=FOLDER,FOLDER takes several."
    )


def findings(verdict: Verdict) -> list[str]:
    """Answer, intervals, savings, and what they rest on, as lines of Markdown.

    Args:
        verdict: that of a study.
    """
    lines = [f"**{verdict.text}**", ""]
    lines += [f"- {point.sentence}" for point in verdict.points]
    lines += [f"- {saving.sentence}." for saving in verdict.savings]
    lines += ["", ratios] if (ratios := ratio_table(verdict)) else []
    tested = f"Tested on {verdict.test_crystals} crystals with {verdict.seeds} seed(s)."
    return [*lines, "", " ".join(part for part in (tested, scope(verdict), f"Rule: {verdict.rule}") if part)]


@dataclass(frozen=True)
class _Pairing:
    """Comparisons of two arms of a study, seeds with a dead network left out."""

    errors: Errors
    dead: Dead
    unit: str | None
    draws: int
    seed: int

    @property
    def counts(self) -> list[int]:
        """Numbers of labels, ascending."""
        return sorted({n for _, n in self.errors})

    def pairs(self, one: str, other: str) -> list[Paired]:
        """One arm against another at each number of labels that has enough living pairs."""
        return [self._pair(one, other, n) for n in self._both(one, other) if self._enough(one, other, n)]

    def others(self, names: Iterable[str], arm: str | None) -> list[Paired]:
        """Every arm beside those of the question, against each of the two."""
        refs = [ref for ref in (BASELINE, arm) if ref]
        return [found for name in names if name not in refs for ref in refs for found in self.pairs(name, ref)]

    def lost(self, one: str, other: str) -> list[int]:
        """Numbers of labels at which both arms were run, and too few pairs are alive."""
        return [n for n in self._both(one, other) if not self._enough(one, other, n)]

    def _both(self, one: str, other: str) -> list[int]:
        """Numbers of labels at which both arms were run."""
        return [n for n in self.counts if (one, n) in self.errors and (other, n) in self.errors]

    def _dead(self, one: str, other: str, n: int) -> NDArray[np.bool_]:
        """Seeds with a dead network on one side, (S,)."""
        none = np.zeros(self.errors[one, n].shape[-2], dtype=np.bool_)
        return self.dead.get((one, n), none) | self.dead.get((other, n), none)

    def _enough(self, one: str, other: str, n: int) -> bool:
        """Whether no pair is dead, or enough others are alive."""
        dead = self._dead(one, other, n)
        return not dead.any() or int((~dead).sum()) >= FEWEST_PAIRS

    def _pair(self, one: str, other: str, n: int) -> Paired:
        """The comparison of the living pairs at one number of labels."""
        dead = self._dead(one, other, n)
        errors, baseline = (self.errors[name, n][..., ~dead, :] for name in (one, other))
        found = compare(errors, baseline, draws=self.draws, seed=self.seed)
        return _paired(one, other, n, found, self.unit, int(dead.sum()))


def _failed(dead: Dead, lost: list[int], arm: str | None) -> list[str]:
    """Sentences about dead networks, by arm and number of labels, and about label counts without enough pairs."""
    said = []
    for (name, n), seeds in dead.items():
        if seeds.any():
            said.append(
                f"{name} at {n} labels: dead networks in {int(seeds.sum())} of {len(seeds)} seeds. Such a run has "
                "failed and gives no error to compare; these seeds are left out."
            )
    if lost:
        where = ", ".join(map(str, lost))
        said.append(f"Too few living pairs of {arm} and {BASELINE} at {where} labels: nothing can be compared there.")
    return said


def _pretrained(names: list[str]) -> str | None:
    """The arm that the question is about.

    It is ``finetuned`` where there is one, else ``corpus``, else weights of one's own, else ``transferred``, else
    ``frozen`` or ``corpus_frozen``.
    """
    first, last = ["finetuned", "corpus"], ["transferred", "frozen", "corpus_frozen"]
    own = [name for name in names if name not in ARM_FACTS]
    return next((name for name in [*first, *own, *last] if name in names), None)


def _paired(arm: str, against: str, labels: int, c: Comparison, unit: str | None, dead: int) -> Paired:
    """A comparison in numbers and as a sentence.

    An open comparison says "too few seeds" where the ratio is at least ``WORTH`` from 1 and ``sufficient_seeds``
    finds that more seeds would do.
    """
    finding: Literal["better", "worse", "open"] = "better" if c.better else "worse" if c.worse else "open"
    needed = sufficient_seeds(c, WORTH)
    needed = None if needed is None else needed + dead
    said = {"better": f"{arm} is better", "worse": f"{arm} is worse", "open": "no clear difference"}[finding]
    if needed is not None:
        said = f"too few seeds to tell; {needed} should suffice"
    said += f" ({dead} seed{'s' if dead > 1 else ''} with a dead network left out)" if dead else ""
    sentence = (
        f"{labels} labels: {arm} {c.mae:.4g}, {against} {c.baseline_mae:.4g}{f' {unit}' if unit else ''}; "
        f"ratio {c.ratio:.3f} ({c.ratio_low:.3f} to {c.ratio_high:.3f}): {said}."
    )
    return Paired(
        arm=arm, against=against, labels=labels, mae=c.mae, against_mae=c.baseline_mae,
        ratio=c.ratio, ratio_low=c.ratio_low, ratio_high=c.ratio_high,
        difference=c.difference, difference_low=c.difference_low, difference_high=c.difference_high,
        pretrainings=c.pretrainings, finding=finding, sentence=sentence, seeds_needed=needed, dead=dead,
    )  # fmt: skip


def _savings(points: list[Paired]) -> list[Equivalent]:
    """Label saving at each number of labels."""
    curve = {point.labels: point.against_mae for point in points}
    found = [label_saving(point.labels, point.mae, curve) for point in points]
    return [
        Equivalent(
            labels=saving.labels,
            equals=saving.equals,
            sentence=_saving_sentence(points[0].arm, saving.labels, saving.equals, saving.bound),
        )
        for saving in found
    ]


def _saving_sentence(arm: str, labels: int, equals: float | None, bound: str) -> str:
    """'finetuned at 100 labels equals scratch at about 178', or why no number can be given."""
    if equals is not None:
        return f"{arm} at {labels} labels equals {BASELINE} at about {equals:.0f}"
    said = "better" if bound.startswith(">") else "worse"
    return f"{arm} at {labels} labels is {said} than {BASELINE} at any measured count (equals {bound})"


def _answer(points: list[Paired], n_seeds: int, n: int) -> Literal["yes", "no", "cannot tell"]:
    """The rule, as written in ``RULE``, for n label counts, of which those without points are undecided."""
    if not points or n_seeds < 2:
        return "cannot tell"
    better = sum(point.finding == "better" for point in points)
    worse = sum(point.finding == "worse" for point in points)
    no_gain = sum(point.ratio_low > 1 - WORTH for point in points)
    if better > n / 2 and not worse:
        return "yes"
    if not better and (worse or no_gain > n / 2):
        return "no"
    return "cannot tell"


def _text(
    answer: str, points: list[Paired], savings: list[Equivalent], n_seeds: int, arm: str | None, lost: list[int]
) -> str:
    """The verdict in one sentence; ``lost`` are the label counts that too many dead networks leave without a pair."""
    if not points and lost:
        return f"Cannot tell: too many networks of {arm} or {BASELINE} are dead, so no two errors can be compared."
    if not points:
        missing = f"the arm {BASELINE}" if arm else "a pretrained arm"
        return f"Cannot tell: the study lacks {missing}, so there is nothing to compare."
    if n_seeds < 2:
        return "Cannot tell: one seed says nothing about other label masks and initial weights; use at least 5."
    n = len(points) + len(lost)
    better = [point for point in points if point.finding == "better"]
    worse = [point for point in points if point.finding == "worse"]
    where = f"of {n} label count{'s' if n > 1 else ''}"
    if answer == "yes":
        best = min(better, key=lambda point: point.ratio)
        gained = next(saving.sentence for saving in savings if saving.labels == best.labels)
        return (
            f"Yes, pretraining helps: it lowers the error at {len(better)} {where}, most at {best.labels} labels "
            f"(by {1 - best.ratio:.0%}; {gained})."
        )
    if answer == "no" and worse:
        worst = max(worse, key=lambda point: point.ratio)
        return (
            f"No, pretraining does not help: it raises the error at {len(worse)} {where}, most at {worst.labels} "
            f"labels (by {worst.ratio - 1:.0%}), and clearly lowers it at none."
        )
    if answer == "no":
        return f"No, pretraining does not help: a gain of {WORTH:.0%} is ruled out at most label counts."
    few = [point for point in points if point.seeds_needed is not None]
    if few:
        return _too_few_seeds(few, n_seeds)
    if not better and not worse:
        return f"Cannot tell: no clear difference at any of {n} label count{'s' if n > 1 else ''}."
    return (
        f"Cannot tell: pretraining is better at {len(better)}, worse at {len(worse)} and not clearly different at "
        f"{n - len(better) - len(worse)} {where}."
    )


def _too_few_seeds(few: list[Paired], n_seeds: int) -> str:
    """More seeds are what is missing: how many, and what for."""
    best = max(few, key=lambda point: abs(np.log(point.ratio)))
    change = f"{1 - best.ratio:.0%} lower" if best.ratio < 1 else f"{best.ratio - 1:.0%} higher"
    needed = max(point.seeds_needed or 0 for point in few)
    where = ", ".join(str(point.labels) for point in few)
    return (
        f"Cannot tell yet: too few seeds. At {best.labels} labels the error is {change}, but {n_seeds} seeds scatter "
        f"too much to be sure. Add --seeds {needed} (it should suffice at {where} labels if ratio and scatter stay); "
        "the study goes on where it is."
    )


def _advice(others: list[Paired], counts: list[int], judged: bool) -> list[str]:
    """What does better than both arms of the question, at more than half of the label counts."""
    found = []
    for name, sentence in ALTERNATIVES.items():
        wins = [n for n in counts if _beats_all([p for p in others if p.arm == name and p.labels == n])]
        if judged and len(wins) > len(counts) / 2:
            found.append(f"{sentence} at {', '.join(map(str, wins))} labels.")
    return found


def _beats_all(pairs: list[Paired]) -> bool:
    """Better than the pretrained arm and than the baseline."""
    return len(pairs) == 2 and all(pair.finding == "better" for pair in pairs)


# What pretraining is worth in labels: how many of them the baseline would need for the same error.


@dataclass(frozen=True)
class LabelSaving:
    """One number of labels with pretraining, and what it equals without."""

    labels: int
    equals: float | None
    """Labels the baseline needs for the same error; None where its measured curve does not reach it."""
    bound: str
    """'= 178', or '> 1000' and '< 50' where the curve ends."""


def label_saving(labels: int, mae: float, baseline: Mapping[int, float]) -> LabelSaving:
    """Read off the baseline's learning curve where it has this error; a point estimate without an interval.

    Between two measured numbers of labels the curve is a straight line in logarithms of both. Where more labels came
    out worse by chance, the best error so far counts, so that there is one answer.

    Args:
        labels: number of labels of the pretrained arm.
        mae: its mean absolute error.
        baseline: mean absolute error of the baseline by number of labels.
    """
    counts = np.array(sorted(baseline), dtype=float)  # (K,)
    curve = np.minimum.accumulate([baseline[int(n)] for n in counts])  # (K,)
    if mae > curve[0]:
        return LabelSaving(labels, None, f"< {counts[0]:.0f}")
    if mae < curve[-1]:
        return LabelSaving(labels, None, f"> {counts[-1]:.0f}")
    k = int(np.argmax(curve <= mae))
    if k == 0 or mae <= 0:
        return LabelSaving(labels, float(counts[k]), f"= {counts[k]:.0f}")
    share = np.log(curve[k - 1] / mae) / np.log(curve[k - 1] / max(curve[k], 1e-300))
    equals = float(np.exp(np.log(counts[k - 1]) + share * np.log(counts[k] / counts[k - 1])))
    return LabelSaving(labels, equals, f"= {equals:.0f}")


# Every arm against the one from scratch, as one table to read: who gained, who lost, at which number of labels.

FEWEST_ARMS = 2
"""One arm against scratch has its column beside the errors already."""


def against_scratch(verdict: Verdict) -> dict[tuple[str, int], Paired]:
    """The verdict's comparisons with its baseline, by arm and number of labels."""
    pairs = (*verdict.points, *verdict.others)
    return {(pair.arm, pair.labels): pair for pair in pairs if pair.against == verdict.baseline}


def has_several(verdict: Verdict) -> bool:
    """Whether more than one arm was compared with scratch."""
    return len({arm for arm, _ in against_scratch(verdict)}) >= FEWEST_ARMS


def ratio_table(verdict: Verdict) -> str:
    """Error ratios of all arms against scratch with 95 % intervals; clear ones in bold; nothing for a single arm.

    Args:
        verdict: that of a study; only its comparisons with its baseline are shown.
    """
    if not has_several(verdict):
        return ""
    found = against_scratch(verdict)
    counts = sorted({labels for _, labels in found})
    lines = [[f"error / {verdict.baseline} (95 %)", *(f"{n} labels" for n in counts)], ["---", *["---:"] * len(counts)]]
    lines += [
        [arm, *(_ratio_cell(found.get((arm, n))) for n in counts)] for arm in dict.fromkeys(arm for arm, _ in found)
    ]
    caption = "Below 1 the arm makes the smaller error; bold where the interval says which is better."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _ratio_cell(pair: Paired | None) -> str:
    """'**0.805** (0.757–0.859)'; empty where that arm has no runs."""
    if pair is None:
        return ""
    ratio = f"{pair.ratio:.3f}" if pair.finding == "open" else f"**{pair.ratio:.3f}**"
    return f"{ratio} ({pair.ratio_low:.3f}–{pair.ratio_high:.3f})"


# Learning curves as tables: one line per run, errors per crystal, and a summary to read.

CURVE_COLUMNS = ["task", "arm", "labels_asked", "labels_used", "seed", "fold", "mae", "rmse", "r2", "seconds"]
PREDICTION_COLUMNS = ["task", "arm", "labels", "seed", "fold", "id", "target", "prediction"]
PRETRAINING = "pretraining"
"""Last column of both tables where an arm has several pretrainings: which one, counted from 0."""


def curve_frame(cards: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One line per run card, in the columns of ``curve.csv``; a dead network has no errors, for its run failed.

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
            **(dict.fromkeys(card["metrics"]) if (card.get("training") or {}).get("dead") else card["metrics"]),
            "seconds": card["cost"]["seconds"],
            PRETRAINING: card.get("initial", {}).get("pretraining", 0),
        }
        for card in cards
    ]
    several = any(line[PRETRAINING] for line in lines)
    columns = [*CURVE_COLUMNS, PRETRAINING] if several else CURVE_COLUMNS
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(("mae", "rmse", "r2"), "float64"))


def absolute_errors(predictions: pd.DataFrame) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Absolute errors by arm and number of labels, seeds in rows and crystals in columns, (S, M).

    Those of an arm with several pretrainings are (P, S, M).

    Args:
        predictions: the columns of ``predictions.parquet``.

    Raises:
        ValueError: If arms were run with different seeds or tested on different crystals: no pairs can be made.
    """
    predictions = predictions.assign(**{PRETRAINING: predictions.get(PRETRAINING, 0)}).reset_index(drop=True)
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    keys: tuple[Any, Any] | None = None
    for key, part in predictions.groupby(["arm", "labels"], sort=False, observed=True):
        arm, labels = cast(tuple[str, int], key)
        error = (part["prediction"] - part["target"]).abs()
        tables = []
        for _, one in error.groupby(part[PRETRAINING]):
            here = part.loc[one.index]
            table = one.groupby([here["seed"], here["id"]], observed=True).mean().unstack()
            mine = (list(table.index), list(table.columns))
            if keys is not None and mine != keys:
                raise ValueError(
                    f"{arm} at {labels} labels was run with other seeds or crystals than the arms before it"
                )
            keys = mine
            tables.append(table.to_numpy(dtype=np.float64))
        found[arm, int(labels)] = np.stack(tables) if len(tables) > 1 else tables[0]
    return found


def compare_runs(
    studies: Sequence[tuple[pd.DataFrame, str]], labels: int, *, draws: int = 50 * DRAWS, seed: int = 0
) -> Comparison:
    """Compare several pretrainings of one recipe with the baseline, from the tables of runs alone.

    For studies whose predictions were not kept. The interval covers other seeds and other pretrainings; the test
    crystals are taken as they are, which is little where there are thousands of them.

    Args:
        studies: the columns of ``curve.csv`` and the name of the arm, for each pretraining; the baseline is the same.
        labels: number of labels.
        draws: draws behind the interval.
        seed: seed of the draws.

    Raises:
        ValueError: If an arm has no runs, or runs of the studies are not of the same seeds or baseline.
    """

    def by_seed(table: pd.DataFrame, arm: str) -> pd.Series[float]:
        here = table[(table["arm"] == arm) & (table["labels_asked"] == labels)]
        return here.set_index("seed")["mae"].sort_index()

    baseline = by_seed(studies[0][0], BASELINE)
    runs = [by_seed(table, arm) for table, arm in studies]
    if not len(baseline) or any(not by_seed(table, BASELINE).equals(baseline) for table, _ in studies):
        raise ValueError(f"the studies have other runs of {BASELINE} at {labels} labels, or none")
    if any(not run.index.equals(baseline.index) for run in runs):
        raise ValueError(f"the pretrainings were not run with the same seeds at {labels} labels")
    errors = np.stack([run.to_numpy(dtype=np.float64) for run in runs])[:, :, None]  # (P, S, 1)
    return compare(errors, baseline.to_numpy(dtype=np.float64)[:, None], draws=draws, seed=seed)


def dead_networks(cards: Iterable[RunCard]) -> dict[tuple[str, int], NDArray[np.bool_]]:
    """Seeds with a dead network, by arm and number of labels, (S,) in ascending order as in ``absolute_errors``.

    Args:
        cards: run cards of a study.
    """
    found: dict[tuple[str, int], dict[int, bool]] = {}
    for card in cards:
        seeds = found.setdefault((card.arm, card.mask.asked), {})
        seeds[card.seed] = card.dead or seeds.get(card.seed, False)
    return {key: np.array([seeds[seed] for seed in sorted(seeds)]) for key, seeds in found.items()}


def retried(cards: Iterable[RunCard]) -> str:
    """A sentence on networks that were dead at first and learnt at a lower rate; empty without any.

    Args:
        cards: run cards of a study.
    """
    again = [(card, card.training) for card in cards if card.training and card.training.retries and not card.dead]
    runs = [
        f"{card.arm} at {card.mask.asked} labels, seed {card.seed}, at {how.learning_rate:g}" for card, how in again
    ]
    return f"Dead at first, trained again at a lower learning rate: {'; '.join(runs)}." if runs else ""


def summarise(curve: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation of the error over seeds: columns arm, labels, mean, sd, seeds.

    Where an arm has several pretrainings, the error of a seed is the mean over them.
    """
    if PRETRAINING in curve:
        curve = curve.groupby(["arm", "labels_asked", "seed"], sort=False)["mae"].mean().reset_index()
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
    cells = {(arm, n): _mean_and_spread(mean, sd) for arm, n, mean, sd in zip(*columns, strict=True)}
    head = ["labels", *arms, *([title] if ratios else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for n in sorted(set(summary["labels"])):
        last = [ratios.get(n, "")] if ratios else []
        lines.append([str(n), *(cells.get((arm, n), "") for arm in arms), *last])
    caption = f"Mean absolute error{f' ({unit})' if unit else ''} on the test part, mean ± sd over seeds."
    if curve["mae"].isna().any():
        caption += " Runs with a dead network have failed and are left out."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _mean_and_spread(mean: float, sd: float) -> str:
    """'0.513 ± 0.043', with three or four meaningful digits; 'failed' where all networks are dead."""
    if np.isnan(mean):
        return "failed"
    digits = max(0, 3 - int(np.floor(np.log10(mean)))) if mean > 0 else 3
    digits = min(digits, 6)
    return f"{mean:.{digits}f}" + ("" if np.isnan(sd) else f" ± {sd:.{digits}f}")


def run_name(arm: str, labels: int, seed: int, pretraining: int = 0) -> str:
    """'strong-n50-s0', and 'strong-n50-s0-p1' for the second pretraining."""
    return f"{arm}-n{labels}-s{seed}{f'-p{pretraining}' if pretraining else ''}"
