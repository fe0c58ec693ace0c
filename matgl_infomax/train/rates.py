"""How fast each layer group moves, and from which step on.

Lightning's ``BaseFinetuning`` thaws at epochs and adds parameter groups on the way, which a schedule of fixed length
does not know of; here all groups are in the optimiser from the start, and the step alone decides which ones move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matgl_infomax.errors import InputError
from matgl_infomax.train.groups import Grouped

ParameterGroup = dict[str, Any]


def rate_groups(
    model: Grouped, learning_rate: float, encoder_rate: float = 1.0, layer_decay: float = 1.0
) -> list[ParameterGroup]:
    """Parameter groups for an optimiser, the head first: the deeper a group, the slower it moves.

    Args:
        model: the model, its groups in the order from the input to the head; frozen parameters are left out.
        learning_rate: of the head.
        encoder_rate: share of it for all other groups.
        layer_decay: further factor, once for each group between this one and the end.
    """
    names = list(model.layer_groups())
    found: list[ParameterGroup] = []
    for place, (name, parameters) in enumerate(model.layer_groups().items()):
        share = 1.0 if name == "head" else encoder_rate * layer_decay ** (len(names) - 1 - place)
        moving = [parameter for parameter in parameters if parameter.requires_grad]
        if moving:
            found.append({"name": name, "params": moving, "lr": learning_rate * share})
    return sorted(found, key=lambda group: group["name"] != "head")  # stable: the others keep their order


class Thawing:
    """Gradual unfreezing: the group nearest to the prediction moves first, one more joins every so many steps.

    A group that has not joined has no gradient, so the optimiser leaves it alone: no step, no decay, no momentum.

    Args:
        groups: parameter groups from ``rate_groups``: the head, then from the input upwards.
        every: optimiser steps until the next group joins; 0 lets all move from the start.
        steps: optimiser steps of the whole run.

    Raises:
        InputError: If a group would still be frozen at the end.
    """

    def __init__(self, groups: Sequence[ParameterGroup], every: int, steps: int) -> None:
        head = [group for group in groups if group["name"] == "head"]
        self.order = [*head, *(group for group in reversed(groups) if group["name"] != "head")]
        self.every = every
        last = every * (len(self.order) - 1)
        if last >= steps:
            most = (steps - 1) // (len(self.order) - 1)
            what = f"unfreeze_every = {every} lets the group {self.order[-1]['name']} move from step {last} on"
            remedy = f"Choose at most {most}, or freeze the group" if most else "Take more steps"
            raise InputError(f"{what}, but the run has {steps} steps. {remedy}.")

    def moving(self, step: int) -> list[str]:
        """Names of the groups that move in a step, in the order in which they joined."""
        count = 1 + step // self.every if self.every else len(self.order)
        return [group["name"] for group in self.order[:count]]

    def settle(self, step: int) -> None:
        """Make the groups of a step trainable and no others; a function of the step alone, so a resumed run agrees."""
        if not self.every:
            return
        names = self.moving(step)
        for group in self.order:
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in names)
