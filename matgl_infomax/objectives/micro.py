"""Heads that tell a physical number of a site, and what an answer costs; sites without a number cost nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, smooth_l1_loss

from matgl_infomax.data.micro import VALENCE_CLASSES, element_stiffness, valence_class
from matgl_infomax.nn.heads import Head
from matgl_infomax.objectives.share import Share, at_least_single


class Micro(nn.Module, ABC):
    """A number that every element has, or is known not to have.

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
        self.register_buffer("table", self.of_elements(), persistent=False)

    table: Tensor

    @abstractmethod
    def of_elements(self) -> Tensor:
        """The number of each element, (119,); what is below zero or NaN is not known."""

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
        wanted = self.table[share.whole.number]  # (N,)
        known = chosen & (wanted >= 0)  # (N,) NaN is not at least zero
        own = known[share.sites]  # (n,)
        told = at_least_single(self.tell(vectors[own]))  # (M, A)
        return share.mean_of_chosen(self.error(told, wanted[share.sites][own]), known)


class Valence(Micro):
    """How many valence electrons the element has: cross-entropy over 17 classes."""

    answers = VALENCE_CLASSES

    def of_elements(self) -> Tensor:
        """Class of each element."""
        return torch.from_numpy(valence_class())

    def error(self, told: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of each site."""
        return cross_entropy(told, wanted, reduction="none")


class Stiffness(Micro):
    """How stiff the element's solid is, in eV; only metals have a number."""

    def of_elements(self) -> Tensor:
        """K V of each element."""
        found = torch.from_numpy(element_stiffness())
        log = found[~found.isnan()].log1p()
        self.centre, self.scale = float(log.mean()), float(log.std())
        return found.float()

    def error(self, told: Tensor, wanted: Tensor) -> Tensor:
        """Absolute error in eV, or smooth absolute error of the standardised logarithm."""
        wanted = wanted.to(told.dtype)
        if self.raw:
            return l1_loss(told.squeeze(1), wanted, reduction="none")
        return smooth_l1_loss(told.squeeze(1), (wanted.log1p() - self.centre) / self.scale, reduction="none")


MICRO: dict[str, type[Micro]] = {"valence": Valence, "stiffness": Stiffness}
