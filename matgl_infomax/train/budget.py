"""How long, how fast and on how many labels to fine-tune: what a number of labels and a start were found to need."""

from __future__ import annotations

from matgl_infomax.settings.training import FinetuneSettings

STEPS = ((250, 600), (2500, 1800), (25000, 3000))
"""Most labels and their steps, in batches of 400 sites. More steps made scratch worse on 100 labels, fewer on 1,000
(leaderboard/results/recipe)."""
BEYOND = 10000
VALIDATIONS = 10
RATES = {"scratch": 1e-3, "pretrained": 2e-3}
"""Peak learning rate, each the best for its start on crystals set aside for such choices: weights from scratch did no
better at half or twice of it (leaderboard/results/recipe)."""
ALL_TRAIN = 2500
"""Up to so many labels all of them train: the last, averaged weights are better than those that a few held-out labels
choose among less trained ones (leaderboard/results/recipe)."""
HELD_OUT = 0.1
"""Share held out beyond that, and wherever something needs labels that were not trained on."""


def steps_for(labels: int) -> int:
    """Optimiser steps for a number of labelled crystals.

    Args:
        labels: crystals with labels, those held out included.
    """
    return next((steps for most, steps in STEPS if labels <= most), BEYOND)


def validation_share(settings: FinetuneSettings, labels: int) -> float:
    """Share of the labelled crystals that are held out to choose the checkpoint.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
    """
    if settings.validation_fraction is not None:
        return settings.validation_fraction
    return HELD_OUT if labels > ALL_TRAIN or settings.patience else 0.0


def with_held_out(settings: FinetuneSettings) -> FinetuneSettings:
    """The settings, with labels held out unless the user said how many: an uncertainty is fitted on them."""
    if settings.validation_fraction is not None:
        return settings
    return settings.model_copy(update={"validation_fraction": HELD_OUT})


def resolved(settings: FinetuneSettings, labels: int, *, pretrained: bool) -> FinetuneSettings:
    """The settings with nothing left open: steps and held-out labels by their number, the learning rate by the start.

    Args:
        settings: what the user asked for.
        labels: crystals with labels.
        pretrained: whether the encoder's weights were learnt before.
    """
    steps = settings.steps or steps_for(labels)
    every = settings.validate_every or max(1, steps // VALIDATIONS)
    rate = settings.learning_rate or RATES["pretrained" if pretrained else "scratch"]
    budget = {"steps": steps, "validate_every": every, "learning_rate": rate}
    return settings.model_copy(update={**budget, "validation_fraction": validation_share(settings, labels)})
