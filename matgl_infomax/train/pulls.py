"""Do the parts of a combination pull together? The gradient of each on the encoder, and the angles between them."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn.build import Encoder
from matgl_infomax.objectives import Combined, Objective


@torch.enable_grad()
def pulls(encoder: Encoder, objective: Objective, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:
    """Length of each part's gradient, and the cosine of each two: below zero one undoes what the other does.

    Args:
        encoder: the network that is trained; its gradients are left as they are.
        objective: what it learns; of a single objective nothing is told.
        batch: crystals.
        generator: source of randomness.
    """
    if not isinstance(objective, Combined):
        return {}
    weights = [p for name, group in encoder.layer_groups().items() if name != "head" for p in group if p.requires_grad]
    losses, _ = objective.losses(encoder, batch, generator)
    gradient = {name: _flat(loss, weights) for name, loss in losses.items()}
    found = {f"pull/{name}": float(value.norm()) for name, value in gradient.items()}
    for one, other in combinations(gradient, 2):
        cosine = torch.nn.functional.cosine_similarity(gradient[one], gradient[other], dim=0)
        found[f"pull/{one}-{other}"] = float(cosine)
    return found


def _flat(loss: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    """Gradient with respect to all weights, one after the other, (P,)."""
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    pieces = [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]
    return torch.cat([piece.flatten() for piece in pieces])
