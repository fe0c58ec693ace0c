"""Settings of supervised pretraining; no label is read that is not named here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from matgl_infomax.config_forces import LabelColumns


class SupervisedSettings(LabelColumns):
    """Which labels are learnt, and how much each counts; all in units of the spread of the energies."""

    energy_weight: float = Field(default=1.0, ge=0, description="Weight of the error of the energy per atom.")
    force_weight: float = Field(default=1.0, ge=0, description="Weight of the error of the forces; 0 takes no derivatives.")
    stress_weight: float = Field(default=1.0, ge=0, description="Weight of the error of the stress times volume per atom.")
    relaxed: bool = Field(default=False, description="Take the forces and stresses of crystals without such labels for zero, as they are where a structure was relaxed.")
    level: Literal["crystal", "site"] = Field(default="crystal", description="What the energy is made from: the crystal vector, so that the whole network learns, or what each site contributes, as in force fields.")
    hidden_width: int = Field(default=64, ge=1, description="Hidden width of the energy head.")

    @property
    def learns_forces(self) -> bool:
        """Whether forces are part of the loss: labels, or zeros of relaxed crystals."""
        return self.force_weight > 0 and (self.relaxed or self.forces is not None)

    @property
    def learns_stress(self) -> bool:
        """Whether stresses are part of the loss."""
        return self.stress_weight > 0 and (self.relaxed or self.stress is not None)


SHARE_OF_FORCES = 0.1
"""a in (1 - a) MAE(E) + a mean |dE/dR|; the paper's own value is not known here."""

SUPERVISED_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "relaxed": {
        "relaxed": True,
        "energy_weight": 1.0 - SHARE_OF_FORCES,
        "force_weight": SHARE_OF_FORCES,
        "stress_weight": 0.0,
    },
    "energy": {"force_weight": 0.0, "stress_weight": 0.0},
}
"""Energy, force and stress of labelled frames; energy and vanishing forces of relaxed crystals; energy alone."""
