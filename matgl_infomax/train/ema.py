"""A running average of the weights, whose predictions are steadier than those of the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's parameters.

    The average starts as the mean of the first steps (decay rises from 0 to its value), so that the initial weights
    do not linger in short runs.

    Args:
        model: whose parameters are averaged.
        decay: weight of the past in one update; 0 makes the average the present.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._kept: dict[str, Tensor] | None = None

    def settle(self) -> None:
        """Move the average to where the model is, into memory that no other process shares."""
        for name, parameter in self.model.named_parameters():
            self.average[name] = self.average[name].to(parameter.device, copy=True)

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        self._must_not_be_swapped()
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10.0)) if self.decay else 0.0
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model carries the average; afterwards its own weights again."""
        self._must_not_be_swapped()
        self._kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._load(self.average)
        try:
            yield
        finally:
            self._load(self._kept)
            self._kept = None

    def state(self) -> dict[str, object]:
        """Plain tensors and numbers for a checkpoint."""
        self._must_not_be_swapped()
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        self.average = {name: value.clone() for name, value in state["average"].items()}  # type: ignore[attr-defined]

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])

    def _must_not_be_swapped(self) -> None:
        # An update or a checkpoint in between would mix the average with the weights it stands in for.
        if self._kept is not None:
            raise RuntimeError("The averaged weights are in the model; leave `applied()` first.")
