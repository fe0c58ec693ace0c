"""How long to fine-tune: what a number of labels was found to need."""

from __future__ import annotations

from matgl_infomax.config import FinetuneSettings

STEPS = ((250, 600), (2500, 1800), (25000, 3000))
"""Most labels and their steps, in batches of 400 sites. More steps made scratch worse on 100 labels, fewer on 1,000
(leaderboard/results/recipe)."""
BEYOND = 10000
VALIDATIONS = 10


def steps_for(labels: int) -> int:
    """Optimiser steps for a number of labelled crystals.

    Args:
        labels: crystals with labels, those held out included.
    """
    return next((steps for most, steps in STEPS if labels <= most), BEYOND)


def with_steps(settings: FinetuneSettings, labels: int) -> FinetuneSettings:
    """The settings with their zeros resolved: steps by the number of labels, a tenth of them between validations.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
    """
    steps = settings.steps or steps_for(labels)
    every = settings.validate_every or max(1, steps // VALIDATIONS)
    return settings.model_copy(update={"steps": steps, "validate_every": every})
