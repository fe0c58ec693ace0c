"""How long and how fast to fine-tune: what a number of labels and a start were found to need."""

from __future__ import annotations

from matgl_infomax.config import FinetuneSettings

STEPS = ((250, 600), (2500, 1800), (25000, 3000))
"""Most labels and their steps, in batches of 400 sites. More steps made scratch worse on 100 labels, fewer on 1,000
(leaderboard/results/recipe)."""
BEYOND = 10000
VALIDATIONS = 10
RATES = {"scratch": 1e-3, "pretrained": 2e-3}
"""Peak learning rate, each the best for its start on crystals set aside for such choices: weights from scratch did no
better at half or twice of it (leaderboard/results/recipe)."""


def steps_for(labels: int) -> int:
    """Optimiser steps for a number of labelled crystals.

    Args:
        labels: crystals with labels, those held out included.
    """
    return next((steps for most, steps in STEPS if labels <= most), BEYOND)


def resolved(settings: FinetuneSettings, labels: int, *, pretrained: bool) -> FinetuneSettings:
    """The settings without zeros: steps and validations by the number of labels, the learning rate by the start.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
        pretrained: whether the encoder's weights were learnt before.
    """
    steps = settings.steps or steps_for(labels)
    every = settings.validate_every or max(1, steps // VALIDATIONS)
    rate = settings.learning_rate or RATES["pretrained" if pretrained else "scratch"]
    return settings.model_copy(update={"steps": steps, "validate_every": every, "learning_rate": rate})
