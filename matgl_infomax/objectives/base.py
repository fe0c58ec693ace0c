"""The contract between an objective, the encoder it trains, and the trainer that calls it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.share import at_least_single

if TYPE_CHECKING:
    from matgl_infomax.data.share import Share
    from matgl_infomax.settings.training import LabelColumns


class LevelLike(Protocol):
    """A hidden vector and the vector that is a linear map of it."""

    @property
    def hidden(self) -> Tensor: ...  # noqa: D102 - described by the class

    @property
    def vector(self) -> Tensor: ...  # noqa: D102 - described by the class


Reads = Literal["distances", "geometry"]
"""What a network is told about the places of atoms: distances alone, or positions, which must be real ones."""


class TwoLevelEncoder(Protocol):
    """An encoder with a vector per site and a vector per crystal.

    Where it is ``separable`` the second is made from the first alone, by ``encode_crystals``.
    """

    separable: ClassVar[bool]
    reads: ClassVar[Reads]

    site_hidden_width: int
    site_vector_width: int
    crystal_hidden_width: int
    crystal_vector_width: int

    @property
    def reach_angstrom(self) -> float | None: ...  # noqa: D102 - longest pair it may be shown; none means any

    @property
    def site_features(self) -> int: ...  # noqa: D102 - width of raw_sites

    def raw_sites(self, batch: SiteBatch) -> Tensor: ...  # noqa: D102 - (N, F)

    def encode_sites(self, batch: SiteBatch) -> LevelLike: ...  # noqa: D102 - (N, D)

    def encode_levels(self, batch: SiteBatch) -> tuple[LevelLike, LevelLike]: ...  # noqa: D102 - (N, D) and (B, C)


class SeparableEncoder(TwoLevelEncoder, Protocol):
    """An encoder whose crystal vectors are made from the site vectors, whatever these are."""

    def encode_crystals(self, site: Tensor, batch: SiteBatch) -> LevelLike: ...  # noqa: D102 - (B, C)


@dataclass(frozen=True)
class SiteNumber:
    """A number of each site that the trainer has to put into ``SiteBatch.site_property``."""

    kind: str
    """A key of ``site_stiffness.KINDS``."""
    potential: str
    """Folder of the potential that it comes from."""


class Objective(nn.Module, ABC):
    """A loss that needs no labels, or those that it names.

    Its own weights (critics, heads) are thrown away after pretraining.
    """

    view: View = "full"
    """What its batches hold. An objective that moves atoms one by one needs ``full``, since equal sites are then no
    longer equal. One that changes crystals but also encodes them as they are takes ``both``."""
    geometry: bool = False
    """Whether its batches need positions, because it moves atoms."""
    asks: SiteNumber | None = None
    """What its batches hold beside the crystals, computed from structures alone."""
    learns: ClassVar[frozenset[str]] = frozenset()
    """What it teaches, in words; two objectives that teach the same cannot be combined."""
    form: str | None = None
    """What its loss is, in words, where an earlier version made another one of the same settings; none elsewhere. A
    folder keeps it, so that a pretraining begun by the earlier version is refused and not mixed with this one."""
    columns: LabelColumns | None = None
    """Labels that its batches have to hold; none for an objective that sees no label at all."""

    @classmethod
    @abstractmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> Objective:
        """The objective with critics as wide as this encoder's vectors.

        Args:
            encoder: the network to be trained.
            preset: name of a set of options.
            options: options that differ from the preset; unknown ones are refused.
        """

    @abstractmethod
    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and its named parts.

        Args:
            encoder: the network that is trained.
            batch: crystals, without labels unless ``columns`` names some.
            generator: the only source of randomness.
            share: which crystals of the batch are this process's own; all without it. The losses of all processes
                have as their mean the loss of the whole batch.
        """

    def diagnose(self, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:  # noqa: ARG002
        """Numbers about the task itself, for the log; none by default."""
        return {}


@dataclass(frozen=True)
class _Level:
    """The level of no rows."""

    hidden: Tensor  # (0, H)
    vector: Tensor  # (0, D)


def levels(encoder: TwoLevelEncoder, batch: SiteBatch, greedy: bool) -> tuple[LevelLike, LevelLike, Tensor]:
    """Sites and crystals, and the site vectors that the global level compares, (N, D).

    Args:
        encoder: the network to be trained.
        batch: N sites, B crystals; possibly none, where another process has them all.
        greedy: make the crystals from site vectors that pass no gradient on; only of a separable network.
    """
    if not encoder.separable:
        site, crystal = encoder.encode_levels(batch) if batch.n_crystals else _of_nothing(encoder, batch)
        return site, crystal, at_least_single(site.vector)
    site = encoder.encode_sites(batch)
    vector = at_least_single(site.vector)
    vector = vector.detach() if greedy else vector
    return site, cast(SeparableEncoder, encoder).encode_crystals(vector, batch), vector


def site_vectors(encoder: TwoLevelEncoder, batch: SiteBatch) -> Tensor:
    """Vectors of the sites alone, (N, D)."""
    empty = not encoder.separable and not batch.n_crystals
    return (_of_nothing(encoder, batch)[0] if empty else encoder.encode_sites(batch)).vector


def _of_nothing(encoder: TwoLevelEncoder, batch: SiteBatch) -> tuple[_Level, _Level]:
    """What a process without crystals has: MatGL's networks do not run on none.

    Its rows want a gradient, so that it takes part where all processes hand back theirs.
    """
    wants = torch.is_grad_enabled()

    def rows(width: int) -> Tensor:
        return batch.distance.new_zeros(0, width).requires_grad_(wants)

    site = _Level(rows(encoder.site_hidden_width), rows(encoder.site_vector_width))
    return site, _Level(rows(encoder.crystal_hidden_width), rows(encoder.crystal_vector_width))


# Has the representation collapsed? Two numbers that say so without a label.

COLLAPSED_SPREAD = 0.02
"""Below this all crystals have one vector, up to its length; untrained networks have 0.2 and more."""
COLLAPSED_RANK = 1.5
"""Below this all crystals lie on a line."""
FEWEST_FOR_RANK = 4
"""Two or three crystals hardly span more than a line."""


def collapsed(vectors: Tensor) -> bool:
    """Whether vectors of different crystals are as good as one: spread or effective rank below their limits.

    Args:
        vectors: (N, D).
    """
    few = len(vectors) < FEWEST_FOR_RANK
    return spread(vectors) < COLLAPSED_SPREAD or (not few and effective_rank(vectors) < COLLAPSED_RANK)


def spread(vectors: Tensor) -> float:
    """How widely unit vectors spread per dimension: about 1 when they point everywhere, 0 when they are one vector.

    Args:
        vectors: (N, D).
    """
    return float(spread_of(vectors))


def spread_of(vectors: Tensor) -> Tensor:
    """The same as a tensor, (), without a gradient; reading a number in every step would make a GPU wait."""
    vectors = vectors.detach()
    return normalize(vectors, dim=1).std(dim=0, correction=0).mean() * vectors.shape[1] ** 0.5


def effective_rank(vectors: Tensor) -> float:
    """Number of directions the centred vectors really use: exp of the entropy of their singular values.

    Between 1 (collapsed to a line, or to a point) and D. Roy and Vetterli, EUSIPCO 2007.

    Args:
        vectors: (N, D).
    """
    singular = torch.linalg.svdvals((vectors - vectors.mean(0)).double())  # (min(N, D),)
    total = singular.sum()
    if total <= 1e-12:
        return 1.0
    share = (singular / total).clamp(min=1e-300)
    return float((-(share * share.log()).sum()).exp())
