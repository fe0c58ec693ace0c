"""Encoders with one fault each, and the contracts that each of them breaks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from tests.helpers.toy import Toy, ToyContract

BREAKS: dict[type[ToyContract], set[str]] = {}
"""What must fail for each faulty encoder, and nothing else."""


def breaks(*tests: str):
    """Enter a faulty encoder."""

    def enter(kind: type) -> type:
        BREAKS[kind] = set(tests)
        return kind

    return enter


@breaks()
class Sound(ToyContract):
    """No fault."""


class FirstSite(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        first = batch.size.cumsum(0) - batch.size
        return super().pool(site, batch) + site[first]


@breaks("test_site_order")
class OrderDependent(ToyContract):
    """The site that is listed first counts more."""

    kind = FirstSite


class Sum(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        return super().pool(site, batch) * batch.size[:, None]


@breaks("test_supercell", "test_conventional_cell")
class SumsInsteadOfMeans(ToyContract):
    """The crystal vector is the sum of its sites'."""

    kind = Sum


class LongestAxis(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        return super().pool(site, batch) + batch.lattice[:, 2].norm(dim=1, keepdim=True)


@breaks("test_conventional_cell", "test_lattice_vectors", "test_axis_order")
class ReadsTheCell(ToyContract):
    """The length of the third lattice vector is a feature."""

    kind = LongestAxis


class LowestSite(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        place = (batch.frac[:, None] @ batch.lattice[batch.owner])[:, 0].sum(1)  # (N,)
        low = place.new_full((batch.n_crystals,), torch.inf).scatter_reduce(0, batch.owner, place, "amin")
        return super().pool(site, batch) + low[:, None]


@breaks("test_origin", "test_rotation")
class ReadsPositions(ToyContract):
    """Where the lowest site lies is a feature."""

    kind = LowestSite


class Compass(Toy):
    def distance(self, batch: SiteBatch) -> Tensor:
        return super().distance(batch) + self.vector(batch)[:, 0].abs()


@breaks("test_rotation")
class KnowsNorth(ToyContract):
    """Distances along x count more."""

    kind = Compass


class Centred(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        crystal = super().pool(site, batch)
        return crystal - crystal.mean(0)


@breaks("test_batch_mates", "test_no_gradient_between_crystals", "test_batch_size_in_training")
class CentredOnTheBatch(ToyContract):
    """The mean over the batch is taken off every crystal."""

    kind = Centred


class Normed(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, affine=False)

    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        return self.norm(super().pool(site, batch))


@breaks("test_batch_size_in_training")
class BatchNorm(ToyContract):
    """Batch norm across crystals: a fixed scale in use, but the crystals of a batch mix in training."""

    kind = Normed


class Leaky(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        crystal = super().pool(site, batch)
        return crystal + (crystal.mean(0) - crystal.mean(0).detach())


@breaks("test_no_gradient_between_crystals", "test_batch_size_in_training")
class LeakyGradient(ToyContract):
    """Vectors are right, gradients reach other crystals."""

    kind = Leaky


class ElementsAlone(Toy):
    def distance(self, batch: SiteBatch) -> Tensor:
        return super().distance(batch).detach()


@breaks("test_no_gradient_between_crystals")
class NoGradientOfPositions(ToyContract):
    """Distances come without a gradient."""

    kind = ElementsAlone


class Cancelling(Toy):
    def pool(self, site: Tensor, batch: SiteBatch) -> Tensor:
        return (super().pool(site, batch) + 1e6) - 1e6


@breaks("test_precision")
class CancelsDigits(ToyContract):
    """A large number is added and taken off again; double precision can afford that."""

    kind = Cancelling


class Idle(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))

    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = super().layer_groups()
        return {**groups, "block0": [*groups["block0"], self.idle]}


@breaks("test_every_weight_learns")
class DeadWeight(ToyContract):
    """A weight that nobody reads."""

    kind = Idle


@breaks("test_every_weight_learns")
class DeclaredDead(ToyContract):
    """A weight is declared unread, but is read."""

    unread = ("head.bias",)


class Ungrouped(Toy):
    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {name: weights[1:] for name, weights in super().layer_groups().items()}


@breaks("test_groups_hold_every_weight_once")
class LostFromGroups(ToyContract):
    """The first weight of each layer group is not listed."""

    kind = Ungrouped


@breaks("test_saved_and_loaded")
class ForgetsWhenSaving(ToyContract):
    """The bias of the head is not written, and nobody misses it."""

    def save(self, model: Toy, folder: Path) -> None:
        torch.save({name: value for name, value in model.state_dict().items() if name != "head.bias"}, folder)

    def load(self, folder: Path) -> Toy:
        model = self.make(0, torch.float32)
        model.load_state_dict(torch.load(folder, weights_only=True), strict=False)
        return model


@breaks("test_same_seed_same_weights", "test_same_seed_in_another_process")
class Unseeded(ToyContract):
    """Initial weights come from the global random state."""

    def make(self, seed: int, dtype: torch.dtype) -> Toy:
        return self.kind().to(dtype)


@breaks("test_same_seed_same_weights")
class SeedsTheWorld(ToyContract):
    """The seed is set for everybody."""

    def make(self, seed: int, dtype: torch.dtype) -> Toy:
        torch.manual_seed(seed)
        return self.kind().to(dtype)


@breaks("test_other_seed_other_weights")
class OneSeedForAll(ToyContract):
    """The seed is not read."""

    def make(self, seed: int, dtype: torch.dtype) -> Toy:
        return super().make(0, dtype)


class FromSet(Toy):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            for name in {"element.weight", "message.weight", "message.bias", "out.weight", "out.bias", "head.weight"}:
                self.get_parameter(name).uniform_(-0.3, 0.3)


@breaks("test_same_seed_in_another_process")
class OrderOfASet(ToyContract):
    """Weights are drawn in the order of a set of names, which differs from process to process."""

    kind = FromSet


class Counting(Toy):
    steps = 0

    def forward(self, batch: SiteBatch) -> Tensor:
        self.steps += self.training
        return super().forward(batch) * (1.0 if self.steps < 4 else 1.1)


@breaks("test_restart")
class CountsInSecret(ToyContract):
    """Behaviour depends on the number of steps taken, which no checkpoint holds."""

    kind = Counting


class Noisy(Toy):
    def forward(self, batch: SiteBatch) -> Tensor:
        noise = torch.randn(batch.n_crystals, dtype=batch.distance.dtype) * self.training
        return super().forward(batch) + 0.1 * noise


@breaks("test_restart", "test_same_training_twice", "test_batch_size_in_training")
class NoisyTraining(ToyContract):
    """Noise from the global random state while training."""

    kind = Noisy
