"""Options of Deep InfoMax: what counts as a negative, and how the two levels are trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from matgl_infomax.config import Settings
from matgl_infomax.errors import InputError
from matgl_infomax.objectives.base import TwoLevelEncoder


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
    wrong_share: float | None = Field(default=None, gt=0, le=1, description="MatGL's networks: share of a batch's crystals of which one wrong version is encoded too, weighted so that the mean loss stays the same; 0.33 when left out. Site-Net encodes all of them.")
    noise_angstrom: float = Field(default=0.0, ge=0, description="Strongest noise on the positions that the network reads, while it must recognise the sound neighbourhood; the distances it was shown are then a negative too. 0 shows crystals as they are.")
    strain: float = Field(default=0.0, ge=0, description="Standard deviation of the strain of the cells that the network reads, in the same way.")
    hidden_share: float = Field(default=0.0, ge=0, lt=1, description="Share of each crystal's sites whose element the network does not read, while it must recognise it; 0 hides none.")
    akin: bool = Field(default=False, description="Also neighbours whose elements are exchanged for chemically close ones as a local negative.")
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
    "hard": {
        "extra_negatives": False,
        "noise_angstrom": 0.3,
        "strain": 0.02,
        "hidden_share": 0.15,
        "akin": True,
    },
}

WRONG_SHARE = 0.33
"""With it InfoMax adds less than 40 % to the time of a supervised step of MEGNet or M3GNet."""

_DISTANCES_ONLY = ("local_weights", "composition", "permutation")
"""Options whose published form shows a network distances that no crystal has."""


def fitted_to(encoder: TwoLevelEncoder, settings: InfoMaxSettings) -> InfoMaxSettings:
    """The settings as this network can be trained with them.

    A gradient can be kept out of the local level only where the crystal vector is made from finished site vectors;
    elsewhere ``greedy`` is off. A network that reads positions must be shown crystals that could exist.

    Args:
        encoder: the network to be trained.
        settings: what the user asked for.

    Raises:
        InputError: If the user asked for something that this network cannot do.
    """
    if settings.composition == "rows" and settings.partner != "roll":
        raise InputError("composition='rows' needs partner='roll': rows can only be exchanged by a permutation.")
    defaults = InfoMaxSettings()
    wrong = [name for name in _DISTANCES_ONLY if getattr(settings, name) != getattr(defaults, name)]
    if encoder.reads == "geometry" and wrong:
        raise InputError(
            f"InfoMax cannot show a {type(encoder).__name__} what {', '.join(wrong)} as published would make: "
            "distances without positions. Use the preset 'default', or Site-Net."
        )
    if encoder.reads != "geometry" and settings.wrong_share is not None:
        raise InputError(f"wrong_share is for MatGL's networks, not for a {type(encoder).__name__}. Leave it out.")
    if encoder.separable:
        return settings
    if settings.greedy and "greedy" in settings.model_fields_set:
        raise InputError(
            f"greedy=True needs a crystal vector made from finished site vectors, as in Site-Net; a "
            f"{type(encoder).__name__} makes both together. Leave greedy out, or set greedy=False."
        )
    return settings.model_copy(update={"greedy": False})
