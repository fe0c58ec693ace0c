"""Crystal Twins: two disturbed views of a crystal should have the same vector, without a single negative.

Magar, Wang and Barati Farimani, npj Comput. Mater. 8, 231, 2022: Barlow Twins, or SimSiam, on views with moved atoms,
hidden elements and missing pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import normalize

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.objectives.base import Objective, TwoLevelEncoder, levels, spread_of
from matgl_infomax.objectives.perturb import (
    Rounding,
    keep_pairs,
    moved,
    nudges,
    some_bonds,
    some_pairs,
    some_sites,
    with_hidden,
    within,
)
from matgl_infomax.objectives.two_views import Projector, at_least_two, barlow_twins, simsiam
from matgl_infomax.settings.base import Settings, chosen


class TwinsSettings(Settings):
    """How the views differ, and how their vectors are compared."""

    method: Literal["barlow", "simsiam"] = Field(default="barlow", description="Barlow Twins, or SimSiam.")
    redundancy: float = Field(default=0.0051, gt=0, description="Barlow Twins: weight of what two dimensions say both.")
    move_angstrom: float = Field(
        default=0.05, ge=0, description="Longest displacement of a site; lengths are even from zero, directions random."
    )
    hidden_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of each crystal's sites whose element is hidden in a view, at least one; 0 hides none.",
    )
    rounding: Rounding = Field(
        default="nearest",
        description="How that share becomes a whole number: nearest, down, or down and one more (up).",
    )
    single: bool = Field(default=False, description="Also hide the only site of a one-atom cell, as published.")
    dropped_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of pairs that a view leaves out: of each site, or of each crystal of a network that reads positions, where a pair goes with its way back.",
    )
    projector_layers: int = Field(
        default=3,
        ge=0,
        description="Layers between the crystal's vector and the compared one; 0 compares the vector itself.",
    )
    projector_factor: int = Field(
        default=4, ge=1, description="Width of the projector in widths of the crystal vector."
    )
    activation: Literal["relu", "softplus"] = Field(
        default="relu", description="Activation of projector and predictor."
    )
    batch_norm: bool = Field(default=True, description="Batch norm in projector and predictor.")
    unit_length: bool = Field(
        default=False,
        description="Barlow Twins: bring each vector to length one before columns are standardised, as published.",
    )
    predictor_factor: float = Field(
        default=0.25, gt=0, description="SimSiam: hidden width of the predictor in widths of the compared vector."
    )

    @model_validator(mode="after")
    def _only_what_the_method_reads(self) -> TwinsSettings:
        """An option of the other method would do nothing: say so."""
        barlow, layers = ("redundancy", "unit_length"), ("projector_factor",)
        strange = {"simsiam": barlow, "barlow": ("predictor_factor",)}[self.method]
        strange += layers if not self.projector_layers else ()
        given = sorted(self.model_fields_set.intersection(strange))
        if given:
            raise ValueError(f"{', '.join(given)} does nothing with method {self.method} and these layers")
        return self


TWINS_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "simsiam": {"method": "simsiam"},
    "published": {
        "rounding": "down", "single": True, "projector_layers": 2, "projector_factor": 1, "activation": "softplus",
        "batch_norm": False, "unit_length": True,
    },
    "published_simsiam": {
        "method": "simsiam", "rounding": "down", "single": True, "projector_layers": 0, "activation": "softplus",
        "batch_norm": False, "predictor_factor": 1.0,
    },
}  # fmt: skip


class Twins(Objective):
    """Two views of each crystal agree; Barlow Twins is 1 where they have nothing in common, SimSiam -1 at its best.

    Args:
        encoder: the network to be trained; only its width is read here.
        settings: views and comparison.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"agreement of two views"})

    def __init__(self, encoder: TwoLevelEncoder, settings: TwinsSettings) -> None:
        super().__init__()
        self.settings = s = settings
        # A network that reads positions may look at triples: there a pair goes together with its way back.
        self.drop = some_bonds if encoder.reads == "geometry" else some_pairs
        self.geometry = bool(s.move_angstrom)
        width = encoder.crystal_vector_width
        layers = [s.projector_factor * width] * s.projector_layers
        shifted = s.method == "simsiam" or s.unit_length
        self.project = Projector([width, *layers], s.activation, batch_norm=s.batch_norm, shifted=shifted)
        self.predict: Projector | None = None
        if s.method == "simsiam":
            compared = [width, *layers][-1]
            neck = max(1, round(s.predictor_factor * compared))
            self.predict = Projector([compared, neck, compared], s.activation, batch_norm=s.batch_norm)

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Twins:
        """Crystal Twins with a projector for this encoder's crystal vectors.

        Raises:
            InputError: For an unknown preset or option, or one that the method does not read.
        """
        return cls(encoder, chosen("twins", TwinsSettings, TWINS_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Disagreement of two fresh views, and how widely the compared vectors spread (0 is collapse, about 1 is well).

        Raises:
            InputError: If the batch holds one crystal.
        """
        share = share or Share.of(batch)
        at_least_two(batch.n_crystals, "Crystal Twins")
        views = (within(self.view_of(batch, generator), encoder.reach_angstrom) for _ in range(2))
        one, other = both_whole(encoder, [share.cut(view) for view in views], share)  # (B, C)
        one, other = (at_least_single(self.project(vectors)) for vectors in (one, other))  # (B, P)
        if self.predict is None:
            shown = [normalize(z, dim=1) for z in (one, other)] if self.settings.unit_length else [one, other]
            loss = barlow_twins(shown[0], shown[1], self.settings.redundancy)
        else:
            predicted = at_least_single(self.predict(one))  # (B, P)
            other_predicted = at_least_single(self.predict(other))  # (B, P)
            loss = simsiam(one, other, predicted, other_predicted)
        return loss, {"twins": loss.detach(), "projected_spread": spread_of(one)}

    def view_of(self, batch: SiteBatch, generator: torch.Generator) -> SiteBatch:
        """One disturbed view of all crystals: atoms moved, some elements hidden, some pairs left out."""
        s, view = self.settings, batch
        if s.move_angstrom:
            view = moved(view, nudges(batch, 0.0, s.move_angstrom, generator))
        if s.hidden_share:
            view = with_hidden(view, some_sites(batch, s.hidden_share, generator, single=s.single, rounding=s.rounding))
        return keep_pairs(view, self.drop(batch, s.dropped_share, generator)) if s.dropped_share else view


def both_whole(encoder: TwoLevelEncoder, views: list[SiteBatch], share: Share) -> list[Tensor]:
    """Crystal vectors of the whole batch in each view, (B, C) each, whichever process encoded them.

    Every process then compares all of them, so that its loss, and the mean of all processes, is that of one.

    Args:
        encoder: the network that is trained.
        views: changed versions of the own crystals.
        share: which crystals are this process's own.
    """
    vectors = [at_least_single(levels(encoder, view, greedy=False)[1].vector) for view in views]  # (b, C) each
    return [share.gather(vector) for vector in vectors]
