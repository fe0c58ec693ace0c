"""Which batches a network reads: whole crystals with their geometry, or pairs alone, equal sites counted once."""

from __future__ import annotations

from matgl_infomax.data.batch import View
from matgl_infomax.nn.build import Encoder


def view_for(model: Encoder, *, sites: bool = False) -> View:
    """The view of a store that a network's batches take.

    Args:
        model: the network; the stores of its ``edges`` give geometry where it reads one.
        sites: whether a vector of every site is wanted, so that equal ones have to be there.
    """
    if model.reads == "geometry":
        return "full"
    return "both" if sites else "merged"
