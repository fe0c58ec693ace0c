"""What can be learnt before the labels of a task; one file each, chosen by name from one dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matgl_infomax.errors import InputError, did_you_mean
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder
from matgl_infomax.objectives.combine import Combined
from matgl_infomax.objectives.denoise import Denoise
from matgl_infomax.objectives.dual import Dual
from matgl_infomax.objectives.fingerprint import Fingerprint
from matgl_infomax.objectives.infomax import InfoMax
from matgl_infomax.objectives.masked import Masked
from matgl_infomax.objectives.supervised import Supervised, supervised_settings
from matgl_infomax.objectives.twins import Twins
from matgl_infomax.settings.training import LabelColumns

OBJECTIVES: dict[str, type[Objective]] = {
    "infomax": InfoMax,
    "masked": Masked,
    "denoise": Denoise,
    "fingerprint": Fingerprint,
    "twins": Twins,
    "dual": Dual,
    "supervised": Supervised,
}

__all__ = [
    "OBJECTIVES",
    "Combined",
    "Denoise",
    "Dual",
    "Fingerprint",
    "InfoMax",
    "Masked",
    "Objective",
    "Supervised",
    "Twins",
    "label_columns",
    "new_objective",
]


def new_objective(
    encoder: TwoLevelEncoder,
    objective: str,
    preset: str = "default",
    options: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Objective:
    """One objective, or several joined by plus signs, with fresh heads for an encoder.

    Args:
        encoder: the network to be trained.
        objective: a name, or a combination such as ``infomax+masked+denoise``.
        preset: preset of a single objective; the parts of a combination start from their default.
        options: options of a single objective; of a combination one mapping for each part.
        weights: weights of the parts of a combination.

    Raises:
        InputError: For an unknown name, preset or option, or parts that cannot be combined.
    """
    names = names_in(objective, list(OBJECTIVES))
    options = options or {}
    weights = weights or {}
    if len(names) == 1:
        if weights:
            raise InputError(f"Weights are for combinations. Received: {dict(weights)} with {objective} alone.")
        return OBJECTIVES[objective].for_encoder(encoder, preset, options)
    if preset != "default":
        raise InputError(f"A combination has no preset {preset!r}. Give options for each part instead.")
    strange = [name for name, given in options.items() if name not in names or not isinstance(given, Mapping)]
    if strange:
        raise InputError(
            f"Options of a combination go by part, such as {{{names[0]}: {{...}}}}. Received: {', '.join(strange)}."
        )
    parts = {name: OBJECTIVES[name].for_encoder(encoder, "default", options.get(name, {})) for name in names}
    return Combined(parts, weights)


def label_columns(objective: str, preset: str, options: Mapping[str, Any]) -> LabelColumns | None:
    """The labels that an objective names; none for those that see no label.

    Args:
        objective: a name, or a combination.
        preset: preset of a single objective.
        options: options of a single objective; of a combination one mapping for each part.

    Raises:
        InputError: For an unknown name, preset or option.
    """
    names = names_in(objective, list(OBJECTIVES))
    if "supervised" not in names:
        return None
    if len(names) == 1:
        return supervised_settings(preset, options)
    return supervised_settings("default", options.get("supervised", {}))


def names_in(objective: str, known: Sequence[str]) -> list[str]:
    """The parts of a combination such as ``infomax+masked``.

    Args:
        objective: names joined by plus signs.
        known: names there are.

    Raises:
        InputError: For an unknown name, or one that stands there twice.
    """
    names = objective.split("+")
    unknown = [name for name in names if name not in known]
    if unknown:
        near = did_you_mean(unknown[0], known)
        raise InputError(f"Unknown objective {', '.join(map(repr, unknown))}. Choose from: {', '.join(known)}.{near}")
    if len(set(names)) < len(names):
        raise InputError(f"An objective stands twice in {objective!r}. Give it once, with a weight.")
    return names
