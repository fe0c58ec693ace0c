"""The arms: ways from labels to predictions, by the names that settings, studies, tables and verdicts call them.

How an arm is carried out stands in ``tasks/studies/arms.py``. This file imports neither torch nor MatGL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class ArmFacts:
    """What a reader has to know of an arm."""

    kind: Literal["trained", "vectors", "descriptors"]
    """A network whose weights learn from the labels; a regression on the vectors of a network that stays as it is; or
    a model on descriptors, without any network."""
    start: Literal["pretrained", "corpus", "transferred"] | None
    """Where its weights come from, which is also the name of their folder: pretraining on the structures of the
    training part, pretraining on a corpus, or training on labels of another property. None for fresh weights, and
    without weights."""
    sentence: str
    """What it does, in one sentence without a full stop."""


BASELINE = "scratch"
"""The arm that all others are compared with."""

ARM_FACTS: dict[str, ArmFacts] = {
    BASELINE: ArmFacts("trained", None, "a new network, all weights trained on the labels alone"),
    "finetuned": ArmFacts(
        "trained", "pretrained", "a pretrained encoder with a new head, trained with the same budget"
    ),
    "frozen": ArmFacts("vectors", "pretrained", "ridge regression on the vectors of the pretrained encoder as it is"),
    "untrained": ArmFacts("vectors", None, "the same regression on an encoder with random weights"),
    "descriptors": ArmFacts("descriptors", None, "extra trees on element statistics"),
    "descriptors_forest": ArmFacts("descriptors", None, "a random forest on element statistics"),
    "descriptors_gaussian": ArmFacts("descriptors", None, "a Gaussian process on element statistics"),
    "orbital_field": ArmFacts("descriptors", None, "extra trees on the orbital-field matrix (1.5 crystals per second)"),
    "corpus": ArmFacts("trained", "corpus", "as finetuned, pretrained on the structures of --corpus"),
    "corpus_frozen": ArmFacts("vectors", "corpus", "as frozen, pretrained on the structures of --corpus"),
    "transferred": ArmFacts("trained", "transferred", "as finetuned, trained on the labels of --source before"),
}
"""A study also has arms NAME=FOLDER: the arm ``finetuned`` with weights of one's own. NAME=FOLDER,FOLDER holds several
pretrainings of one recipe, which are crossed with the seeds."""

if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = Literal[tuple(ARM_FACTS)]
    """One of the names; settings refuse any other."""

WITHOUT_NETWORK = tuple(name for name, facts in ARM_FACTS.items() if facts.kind == "descriptors")
"""Arms on descriptors."""

STARTS = {name: facts.start for name, facts in ARM_FACTS.items() if facts.start is not None}
"""Where the weights of an arm come from, for the arms that start from weights learnt before."""


def explained() -> str:
    """All arms with what they do, for the help of an option."""
    return "; ".join(f"{name}: {facts.sentence}" for name, facts in ARM_FACTS.items())
