"""What every encoder owes to physics and to its users, as test classes to inherit from: see docs/encoders.md."""

from __future__ import annotations

from matgl_infomax.contracts.case import EncoderCase, example_crystals
from matgl_infomax.contracts.physics import BatchMates, CellChoice, Precision, SiteOrder
from matgl_infomax.contracts.training import Gradients, Restart, Saving, Seeds
from matgl_infomax.data.batch import radius_batch
from matgl_infomax.data.crystal import in_cell

__all__ = [
    "BatchMates",
    "CellChoice",
    "EncoderCase",
    "EncoderContract",
    "Gradients",
    "Precision",
    "Restart",
    "Saving",
    "Seeds",
    "SiteOrder",
    "example_crystals",
    "in_cell",
    "radius_batch",
]


class EncoderContract(SiteOrder, CellChoice, BatchMates, Precision, Gradients, Saving, Seeds, Restart):
    """All of it. Inherit from this class, or from the parts that your encoder shall keep to."""
