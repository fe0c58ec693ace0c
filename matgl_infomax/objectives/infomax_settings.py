"""Options of Deep InfoMax: what counts as a negative, and how the two levels are trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from matgl_infomax.config import Settings


class InfoMaxSettings(Settings):
    """What counts as a negative, and how the two levels are trained."""

    extra_negatives: bool = Field(default=True, description="Also wrong structures, wrong compositions and permuted neighbours, not foreign ones alone.")
    partner: Literal["derangement", "roll"] = Field(default="derangement", description="Foreign sites: from a random other crystal, or half a batch further on (published; may meet the same crystal).")
    local_weights: Literal["common", "published"] = Field(default="common", description="Weights of mixed local negatives: over the pairs shown, summing to one, or with the published mask leak.")
    composition: Literal["sites", "rows"] = Field(default="sites", description="Wrong composition at the global level: one element per site, or row by row as published.")
    permutation: Literal["crystal", "batch"] = Field(default="crystal", description="Neighbour order drawn per crystal, or once for the whole batch as published.")
    kl_weight: float = Field(default=0.1, ge=0, description="Weight of the KL term that keeps the vectors near a unit Gaussian; 0 also switches sampling off.")
    kl_form: Literal["textbook", "published"] = Field(default="textbook", description="KL term: 0.5(mu^2 + e^lv - lv - 1), or the published one with twice the weight on the variance.")
    greedy: bool = Field(default=True, description="Keep the gradient of the global level out of the local encoder.")
    local_weight: float = Field(default=1.0, ge=0, description="Weight of the local loss.")
    global_weight: float = Field(default=1.0, ge=0, description="Weight of the global loss.")
    critic_hidden: int = Field(default=64, ge=1, description="Hidden width of the critics.")
    critic_width: int = Field(default=128, ge=1, description="Width in which critics compare.")


INFOMAX_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {
        "partner": "roll",
        "local_weights": "published",
        "composition": "rows",
        "permutation": "batch",
        "kl_form": "published",
    },
}
