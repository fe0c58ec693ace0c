"""The answer to "does pretraining help?": yes, no, or cannot tell, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from matgl_infomax.arm_names import ARM_FACTS, BASELINE
from matgl_infomax.leaderboard.compare import DRAWS, Comparison, compare
from matgl_infomax.leaderboard.saving import label_saving

Errors = Mapping[tuple[str, int], NDArray[np.float64]]
"""Absolute errors by arm and number of labels, one row per seed and one column per test crystal, (S, M)."""

WORTH = 0.05
"""A gain smaller than this share is not worth a pretraining."""

RULE = (
    "yes: the 95 % interval of the error ratio lies below 1 at more than half of the label counts and above 1 at none. "
    f"no: it lies below 1 at none, and it lies above 1 at one or more or rules out a gain of {WORTH:.0%} at more than "
    "half. cannot tell: everything else, and any study with one seed or without both arms."
)

ALTERNATIVES = {
    "descriptors": "Use the descriptors instead: trees on composition statistics beat both networks",
    "descriptors_forest": "Use the descriptors instead: a random forest on composition beats both networks",
    "descriptors_gaussian": "Use the descriptors instead: a Gaussian process on composition beats both networks",
    "orbital_field": "Use the descriptors instead: trees on the orbital-field matrix beat both networks",
    "untrained": "Neither network learns enough: ridge regression on an untrained encoder beats both",
    "frozen": "Use the frozen encoder: ridge regression on its vectors beats both trained networks",
}


class Part(BaseModel):
    """Base of the verdict's parts: immutable, unknown keys refused, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Paired(Part):
    """One arm against another at one number of labels, with 95 % intervals; ratios below 1 favour the arm."""

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
    finding: Literal["better", "worse", "open"]
    sentence: str


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
    points: list[Paired]
    savings: list[Equivalent]
    advice: list[str]
    others: list[Paired]
    rule: str = RULE


def judge(errors: Errors, *, target: str, unit: str | None = None, draws: int = DRAWS, seed: int = 0) -> Verdict:
    """Compare the pretrained arm with the one from scratch at each number of labels and answer by ``RULE``.

    The pretrained arm is ``finetuned`` where there is one, else ``corpus``, else weights of one's own, else
    ``transferred``, else ``frozen`` or ``corpus_frozen``.

    Args:
        errors: absolute errors of all arms; seeds and crystals in the same order everywhere.
        target: what was predicted.
        unit: its unit, where known.
        draws: resamplings per comparison.
        seed: seed of the resampling.

    Raises:
        ValueError: If there are no errors.
    """
    if not errors:
        raise ValueError("a verdict needs errors of at least one arm")
    names = list(dict.fromkeys(arm for arm, _ in errors))
    arm = _pretrained(names)
    counts = sorted({n for _, n in errors})
    shape = next(iter(errors.values())).shape

    def pair(one: str, other: str, n: int) -> Paired:
        found = compare(errors[one, n], errors[other, n], draws=draws, seed=seed)
        return _paired(one, other, n, found, unit)

    def pairs(one: str, other: str) -> list[Paired]:
        return [pair(one, other, n) for n in counts if (one, n) in errors and (other, n) in errors]

    points = pairs(arm, BASELINE) if arm else []
    others = [found for name in names for ref in (BASELINE, arm) if ref and name not in (BASELINE, arm)
              for found in pairs(name, ref)]  # fmt: skip
    savings = _savings(points)
    answer = _answer(points, shape[0])
    advice = _advice(others, counts, bool(points))
    return Verdict(
        answer=answer,
        text=" ".join([_text(answer, points, savings, shape[0], arm), *advice]),
        arm=arm or "none",
        baseline=BASELINE,
        target=target,
        unit=unit,
        seeds=shape[0],
        test_crystals=shape[1],
        points=points,
        savings=savings,
        advice=advice,
        others=others,
    )


def _pretrained(names: list[str]) -> str | None:
    """The arm that the question is about."""
    first, last = ["finetuned", "corpus"], ["transferred", "frozen", "corpus_frozen"]
    own = [name for name in names if name not in ARM_FACTS]
    return next((name for name in [*first, *own, *last] if name in names), None)


def _paired(arm: str, against: str, labels: int, c: Comparison, unit: str | None) -> Paired:
    """A comparison in numbers and as a sentence."""
    finding: Literal["better", "worse", "open"] = "better" if c.better else "worse" if c.worse else "open"
    said = {"better": f"{arm} is better", "worse": f"{arm} is worse", "open": "no clear difference"}[finding]
    sentence = (
        f"{labels} labels: {arm} {c.mae:.4g}, {against} {c.baseline_mae:.4g}{f' {unit}' if unit else ''}; "
        f"ratio {c.ratio:.3f} ({c.ratio_low:.3f} to {c.ratio_high:.3f}): {said}."
    )
    return Paired(
        arm=arm, against=against, labels=labels, mae=c.mae, against_mae=c.baseline_mae,
        ratio=c.ratio, ratio_low=c.ratio_low, ratio_high=c.ratio_high,
        difference=c.difference, difference_low=c.difference_low, difference_high=c.difference_high,
        finding=finding, sentence=sentence,
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


def _answer(points: list[Paired], n_seeds: int) -> Literal["yes", "no", "cannot tell"]:
    """The rule, as written in ``RULE``."""
    if not points or n_seeds < 2:
        return "cannot tell"
    better = sum(point.finding == "better" for point in points)
    worse = sum(point.finding == "worse" for point in points)
    no_gain = sum(point.ratio_low > 1 - WORTH for point in points)
    if better > len(points) / 2 and not worse:
        return "yes"
    if not better and (worse or no_gain > len(points) / 2):
        return "no"
    return "cannot tell"


def _text(answer: str, points: list[Paired], savings: list[Equivalent], n_seeds: int, arm: str | None) -> str:
    """The verdict in one sentence."""
    if not points:
        missing = f"the arm {BASELINE}" if arm else "a pretrained arm"
        return f"Cannot tell: the study lacks {missing}, so there is nothing to compare."
    if n_seeds < 2:
        return "Cannot tell: one seed says nothing about other label masks and initial weights; use at least 3."
    n = len(points)
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
    if not better and not worse:
        return f"Cannot tell: no clear difference at any of {n} label count{'s' if n > 1 else ''}."
    return (
        f"Cannot tell: pretraining is better at {len(better)}, worse at {len(worse)} and not clearly different at "
        f"{n - len(better) - len(worse)} {where}."
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
