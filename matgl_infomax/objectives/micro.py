"""Heads that tell a physical number of a site, and what an answer costs; sites without a number cost nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, smooth_l1_loss

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import VALENCE_CLASSES, element_stiffness, valence_class
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.errors import InputError
from matgl_infomax.nn.layers import Head

LEAST_SPREAD = 1e-3
"""Logarithms that hardly differ within a batch are not blown up."""


class Micro(nn.Module, ABC):
    """A number that sites have, or are known not to have.

    Args:
        width: width of site vectors.
        hidden_width: hidden width of the head; 0 for a linear one.
        raw: compare numbers in their unit instead of standardised ones.
    """

    answers = 1

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__()
        self.raw = raw
        self.tell = Head(width, [hidden_width] if hidden_width else [], self.answers, "mish")

    @abstractmethod
    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """What is to be told of each site, (N,), and of which sites it is known, (N,) bool."""

    @abstractmethod
    def error(self, told: Tensor, wanted: Tensor) -> Tensor:
        """What each answer (M, A) costs where (M,) is wanted, (M,)."""

    def loss(self, vectors: Tensor, chosen: Tensor, share: Share) -> Tensor:
        """Error of the chosen sites whose number is known: mean over a crystal's, then over crystals that have any.

        Args:
            vectors: vectors of the own sites, (n, D).
            chosen: sites of the whole batch that are asked for, (N,) bool.
            share: which crystals are this process's own.
        """
        wanted, known = self.numbers(share.whole)  # (N,), (N,)
        known = chosen & known
        own = known[share.sites]  # (n,)
        told = at_least_single(self.tell(vectors[own]))  # (M, A)
        return share.mean_of_chosen(self.error(told, wanted[share.sites][own]), known)


class Valence(Micro):
    """How many valence electrons the element has: cross-entropy over 17 classes."""

    answers = VALENCE_CLASSES

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__(width, hidden_width, raw)
        self.register_buffer("table", torch.from_numpy(valence_class()), persistent=False)

    table: Tensor

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Class of each site's element."""
        wanted = self.table[batch.number]
        return wanted, wanted >= 0

    def error(self, told: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of each site."""
        return cross_entropy(told, wanted, reduction="none")


class _Amount(Micro):
    """A number with a unit; its error is absolute, or smooth after standardisation."""

    def error(self, told: Tensor, wanted: Tensor) -> Tensor:
        """Absolute error in the unit, or smooth absolute error of the standardised logarithm."""
        loss = l1_loss if self.raw else smooth_l1_loss
        return loss(told.squeeze(1), wanted.to(told.dtype), reduction="none")


class ElementStiffness(_Amount):
    """How stiff the element's solid is, in eV; only metals have a number."""

    def __init__(self, width: int, hidden_width: int, raw: bool) -> None:
        super().__init__(width, hidden_width, raw)
        table = torch.from_numpy(element_stiffness())
        log = table.log1p()
        known = log[~log.isnan()]
        self.register_buffer("table", table if raw else (log - known.mean()) / known.std(), persistent=False)

    table: Tensor

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Stiffness of each site's element, in eV or standardised over the metals."""
        wanted = self.table[batch.number]
        return wanted, ~wanted.isnan()


class SiteStiffness(_Amount):
    """How stiff the site is in its crystal, as a potential has it: what the trainer put into the batch."""

    def numbers(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Stiffness of each site, in its unit, or its signed logarithm standardised over the batch.

        Raises:
            InputError: If the batch holds no such numbers.
        """
        if batch.micro is None:
            raise InputError("This objective asks for numbers of sites, and the batch has none: see stiffness.py.")
        known = ~batch.micro.isnan()
        if self.raw:
            return batch.micro, known
        log = batch.micro.sign() * batch.micro.abs().log1p()  # a site may be unstable
        mean = log[known].mean() if bool(known.any()) else log.new_zeros(())
        spread = (log[known] - mean).square().mean().sqrt().clamp(min=LEAST_SPREAD)
        return (log - mean) / spread, known


MICRO: dict[str, type[Micro]] = {
    "valence": Valence,
    "stiffness": ElementStiffness,
    "curvature": SiteStiffness,
    "hessian": SiteStiffness,
}
FROM_POTENTIAL = ("curvature", "hessian")
"""Numbers that need a potential."""
