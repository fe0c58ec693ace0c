"""A training that is killed in the middle of a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Killed(Exception):
    """Stands for the power cut."""


@contextmanager
def killed_at(step: int, kind: type) -> Iterator[None]:
    """Whatever is trained in this block dies before its optimiser takes this step.

    Args:
        step: steps that are finished then.
        kind: Lightning module whose training step dies.
    """
    original = kind.training_step

    def dies(self, batch, batch_idx):
        if self.global_step == step:
            raise Killed
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "training_step", dies)
        with pytest.raises(Killed):
            yield
