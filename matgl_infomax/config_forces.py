"""Settings of everything that learns energies, forces and stresses.

Like ``config.py`` it imports neither torch nor MatGL.
"""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from matgl_infomax.config import ModelSettings, Settings, StoreSettings


class LabelColumns(Settings):
    """Which columns hold energies, forces and stresses, and what is written there."""

    energy: str | None = Field(default=None, description="Column with the energy of each crystal, eV.")
    energy_kind: Literal["total", "per_atom"] = Field(default="total", description="Energy of the whole cell, of which the part that is linear in the composition is fitted and taken off; or energy per atom, such as a formation energy, learnt as it is.")
    forces: str | None = Field(default=None, description="Column with the forces on the sites, N x 3 numbers, eV/angstrom.")
    stress: str | None = Field(default=None, description="Column with the stress, six numbers or 3 x 3.")
    stress_unit: Literal["GPa", "kBar", "eV/A3"] = Field(default="GPa", description="Unit of the stress.")
    compression: Literal["negative", "positive"] = Field(default="negative", description="Sign of the stress of a compressed crystal: negative as in MatGL and ASE, or positive as in the output of VASP.")
    stress_order: Literal["yz_xz_xy", "xy_yz_xz", "xy_xz_yz"] = Field(default="yz_xz_xy", description="Order of the last three of six numbers, after xx, yy and zz: as in ASE, as in VASP, or the third one.")

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Named columns with one number per crystal, and those with arrays."""
        return [self.energy] if self.energy else [], [name for name in (self.forces, self.stress) if name]


class ForceFieldSettings(Settings):
    """How a force field learns."""

    energy_weight: float = Field(default=1.0, ge=0, description="Weight of the mean absolute error of the energy, eV/atom.")
    force_weight: float = Field(default=1.0, ge=0, description="Weight of the mean absolute error of the force components, eV/angstrom.")
    stress_weight: float = Field(default=0.1, ge=0, description="Weight of the mean absolute error of the stress components, GPa.")
    steps: int = Field(default=2000, ge=1, description="Optimiser steps.")
    batch_sites: int = Field(default=400, ge=1, description="Sites per batch: crystals are added until the next one would exceed it.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW.")
    encoder_rate: float = Field(default=1.0, gt=0, le=1, description="Learning rate of pretrained weights as a share of the head's; weights from scratch move at the full rate.")
    weight_decay: float = Field(default=1e-4, ge=0, description="Weight decay of AdamW.")
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate; a cosine to zero follows.")
    gradient_clip: float = Field(default=10.0, gt=0, description="Largest gradient norm.")
    validation_fraction: float = Field(default=0.1, ge=0, lt=0.5, description="Share of the crystals held out to choose the checkpoint; below 10 such crystals none is held out and the last weights count.")
    validate_every: int = Field(default=100, ge=1, description="Steps between validations, and between checkpoints.")
    ema_decay: float = Field(default=0.99, ge=0, lt=1, description="Decay of the running average of the weights that predicts; 0 switches it off.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, data order and validation part.")
    processes: ClassVar[int] = 1
    accumulate: ClassVar[int] = 1
    precision: ClassVar[Literal["32", "bf16"]] = "32"


class ForceFieldConfig(StoreSettings, LabelColumns, ForceFieldSettings):
    """Everything that ``matgl-infomax forcefield`` reads."""

    model: ModelSettings = ModelSettings(name="m3gnet")
    init: Path | None = Field(default=None, json_schema_extra={"decides": False}, description="Folder of a pretrained encoder or of a potential; without it the network starts from scratch.")
    out: Path = Field(json_schema_extra={"decides": False}, description="Folder for the potential; a run that was stopped goes on where it was.")
