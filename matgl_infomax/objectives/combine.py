"""Several objectives at once: a weighted sum of losses on the same crystals, each with its own heads and views."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from matgl_infomax.errors import InputError
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder


class Combined(Objective):
    """The weighted sum of several objectives.

    Args:
        parts: objectives by name, in the order of the sum.
        weights: weight of each; 1 where none is given.

    Raises:
        InputError: If two of them teach the same, or a weight is no positive number or of no part.
    """

    def __init__(self, parts: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        _check(parts, weights)
        self.parts = nn.ModuleDict(parts)
        self.weights = {name: float(weights.get(name, 1.0)) for name in parts}
        self.geometry = any(part.geometry for part in parts.values())
        # Two that asked for different numbers would teach the same, and were refused.
        self.asks = next((part.asks for part in parts.values() if part.asks), None)
        self.form = next((part.form for part in parts.values() if part.form), None)
        self.columns = next((part.columns for part in parts.values() if part.columns is not None), None)
        views = {part.view for part in parts.values()}
        # All sites and pairs are in "both" too; only where nobody wants equal ones merged are they not made.
        self.view = views.pop() if len(views) == 1 else "both"

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Combined:  # noqa: ARG003
        """A combination is made of its parts by ``objectives.new_objective``.

        Raises:
            InputError: Always.
        """
        raise InputError("A combination is made by naming its parts, such as infomax+masked.")

    def losses(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted loss of each part, and the named numbers of all, ``part/number``.

        Args:
            encoder: the network that is trained.
            batch: crystals without labels.
            generator: source of randomness; each part gets a stream of its own from it.
            share: which crystals are this process's own.
        """
        losses: dict[str, Tensor] = {}
        numbers: dict[str, Tensor] = {}
        for name, part in self._parts():
            seed = int(torch.randint(1 << 62, (), generator=generator))
            loss, found = part.loss(encoder, batch, torch.Generator().manual_seed(seed), share)
            losses[name] = self.weights[name] * loss
            numbers |= {f"{name}/{key}": value for key, value in found.items()}
        return losses, numbers

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and the named numbers of all parts."""
        losses, numbers = self.losses(encoder, batch, generator, share)
        return torch.stack(list(losses.values())).sum(), numbers

    def diagnose(self, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:
        """What the parts say about their tasks, ``part/number``."""
        found = ((name, part.diagnose(batch, generator)) for name, part in self._parts())
        return {f"{name}/{key}": value for name, numbers in found for key, value in numbers.items()}

    def _parts(self) -> list[tuple[str, Objective]]:
        """Name and objective of each part."""
        return [(name, part) for name, part in self.parts.items() if isinstance(part, Objective)]


def _check(parts: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
    """Refuse what cannot be meant."""
    for (one, first), (other, second) in combinations(parts.items(), 2):
        common = sorted(first.learns & second.learns)
        if common:
            raise InputError(f"{one} and {other} both teach {' and '.join(common)}. Leave one of them out.")
    unknown = [name for name in weights if name not in parts]
    if unknown:
        raise InputError(f"Weights for {', '.join(unknown)}, but the objectives are {', '.join(parts)}.")
    for name, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise InputError(f"The weight of {name} must be a positive number. Received: {weight}.")
