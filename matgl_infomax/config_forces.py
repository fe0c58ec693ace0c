"""Settings of everything that learns energies, forces and stresses.

Like ``config.py`` it imports neither torch nor MatGL.
"""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from matgl_infomax.config import (
    EmaDecay,
    EncoderRate,
    GradientClip,
    Heading,
    ModelSettings,
    OptimiserSettings,
    Settings,
    StoreSettings,
)


class LabelColumns(Settings):
    """Which columns hold energies, forces and stresses, and what is written there."""

    heading: ClassVar[Heading] = "Labels"
    energy: str | None = Field(default=None, json_schema_extra={"common": True}, description="Column with the energy of each crystal, eV.")
    energy_kind: Literal["total", "per_atom"] = Field(default="total", description="Energy of the whole cell, of which the part that is linear in the composition is fitted and taken off; or energy per atom, such as a formation energy, learnt as it is.")
    forces: str | None = Field(default=None, json_schema_extra={"common": True}, description="Column with the forces on the sites, N x 3 numbers, eV/angstrom.")
    stress: str | None = Field(default=None, json_schema_extra={"common": True}, description="Column with the stress, six numbers or 3 x 3.")
    stress_unit: Literal["GPa", "kBar", "eV/A3"] = Field(default="GPa", description="Unit of the stress.")
    compression: Literal["negative", "positive"] = Field(default="negative", description="Sign of the stress of a compressed crystal: negative as in MatGL and ASE, or positive as in the output of VASP.")
    stress_order: Literal["yz_xz_xy", "xy_yz_xz", "xy_xz_yz"] = Field(default="yz_xz_xy", description="Order of the last three of six numbers, after xx, yy and zz: as in ASE, as in VASP, or the third one.")

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Named columns with one number per crystal, and those with arrays."""
        return [self.energy] if self.energy else [], [name for name in (self.forces, self.stress) if name]


class ForceFieldSettings(OptimiserSettings):
    """How a force field learns."""

    heading: ClassVar[Heading] = "Force field"
    energy_weight: float = Field(default=1.0, ge=0, description="Weight of the mean absolute error of the energy, eV/atom.")
    force_weight: float = Field(default=1.0, ge=0, description="Weight of the mean absolute error of the force components, eV/angstrom.")
    stress_weight: float = Field(default=0.1, ge=0, description="Weight of the mean absolute error of the stress components, GPa.")
    encoder_rate: EncoderRate = 1.0
    gradient_clip: GradientClip = 10.0
    validation_fraction: float = Field(default=0.1, ge=0, lt=0.5, description="Share of the crystals held out to choose the checkpoint; below 10 such crystals none is held out and the last weights count.")
    ema_decay: EmaDecay = 0.99
    processes: ClassVar[int] = 1
    accumulate: ClassVar[int] = 1
    precision: ClassVar[Literal["32", "bf16"]] = "32"


class ForceFieldConfig(StoreSettings, LabelColumns, ForceFieldSettings):
    """Everything that ``matgl-infomax forcefield`` reads."""

    heading: ClassVar[Heading] = "Model"
    model: ModelSettings = ModelSettings(name="m3gnet")
    init: Path | None = Field(default=None, json_schema_extra={"decides": False, "common": True}, description="Folder of a pretrained encoder or of a potential; without it the network starts from scratch.")
    out: Path = Field(json_schema_extra={"decides": False}, description="Folder for the potential; a run that was stopped goes on where it was.")
