"""What the words of a study and of a report mean: one sentence for every arm, metric and interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matgl_infomax.settings.arms import ARM_FACTS

METRICS = {
    "mae": "Mean absolute error: mean of |prediction − true value| over the test crystals, in the unit of the property",
    "rmse": "Root mean square error: it weighs large errors more than mae does, in the unit of the property",
    "r2": "R², coefficient of determination: 1 is perfect, 0 is as good as always predicting the mean of the test part",
    "mape": "Mean absolute percentage error, over crystals whose true value is not close to zero",
    "max_error": "Largest absolute error of a crystal of the test part, in the unit of the property",
    "accuracy": "Share of crystals whose class was found",
    "balanced_accuracy": "Mean over the classes of the share of crystals whose class was found; 0.5 is guessing",
    "f1": "Harmonic mean of precision and recall of the positive class; 1 is perfect",
    "rocauc": "Area under the receiver operating characteristic, from classes as Matbench computes it; 0.5 is guessing",
    "probability_rocauc": "The same area, computed from the probabilities",
    "log_loss": "Mean negative logarithm of the probability given to the true class; 0 is perfect",
    "energy": "Errors of the energy, eV/atom",
    "forces": "Errors of the components of the forces, eV/angstrom",
    "stress": "Errors of the components of the stress, GPa",
}
"""By their names in run cards, without a full stop."""

INTERVALS = {
    "ratio": "Error of one arm over that of another, on the same crystals and label masks; below 1 the first is better",
    "95 % interval": "Range of a ratio or difference that would hold the true one in 95 of 100 such studies; what is "
    "on one side of 1 (ratio) or 0 (difference) is decided, what holds it is open: cannot tell",
    "± sd": "Sample standard deviation over seeds or folds: how much single runs scatter, no interval of their mean",
    "difference": "Error of an answer minus error of another, on the same crystals; below 0 the first is better",
    "p (Holm)": "Probability of a difference at least so large if there were none, after Holm's correction",
    "tie": "Two answers that the data cannot tell apart",
    "95 % intervals hold": "Share of true values inside the 95 % interval of their own prediction; 95 % is honest",
    "a guess": "Error of always predicting the median of the true values",
}
"""Intervals and what they are told with, without a full stop."""

STUDY_INTERVALS = ("ratio", "95 % interval", "± sd")
"""Those that every learning curve tells."""
COMPARISON_INTERVALS = ("difference", "95 % interval", "± sd", "p (Holm)", "tie", "95 % intervals hold", "a guess")
"""Those of a comparison with published entries."""

Lines = list[tuple[str, str]]


def glossary(arms: Iterable[str], *, metrics: Sequence[str] = (), intervals: Iterable[str] = ()) -> Lines:
    """Terms with a sentence each: arms first, then metrics and intervals; each once.

    Args:
        arms: names of arms; one that is not built in starts from weights that the user gave.
        metrics: names of metrics, as in run cards.
        intervals: names out of ``INTERVALS``.

    Raises:
        KeyError: For a metric or an interval without a sentence.
    """
    found = {arm: _arm(arm) for arm in arms}
    found |= {name: METRICS[name] for name in metrics} | {name: INTERVALS[name] for name in intervals}
    return [(term, f"{sentence[0].upper()}{sentence[1:]}.") for term, sentence in found.items()]


def _arm(name: str) -> str:
    """What an arm does."""
    if name in ARM_FACTS:
        return ARM_FACTS[name].sentence
    if name.startswith("untrained-"):
        return f"{ARM_FACTS['untrained'].sentence}, one of several"
    return VECTORS.get(name, "as finetuned, from weights that the user gave under this name")


VECTORS = {
    "pretrained": "vectors of the pretrained encoder as it is",
    "magpie": "Magpie's element statistics",
    "xrd": "the powder diffraction pattern",
}
"""Arms of studies of frozen vectors that learning curves do not have."""


def glossary_markdown(lines: Lines) -> str:
    """The terms as a list in Markdown.

    Args:
        lines: what ``glossary`` gave.
    """
    return "\n".join(["## Glossary", "", *(f"- **{term}**: {sentence}" for term, sentence in lines)])
