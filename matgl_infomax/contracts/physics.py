"""Contracts with physics: how a crystal is written down, and what else is in its batch, changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from matgl_infomax.contracts.case import CONVENTIONAL, DOUBLE, SINGLE, EncoderCase, contract
from matgl_infomax.data.crystal import Crystal, in_cell


class SiteOrder(EncoderCase):
    """The order of sites permutes site vectors and leaves crystal vectors alone."""

    @contract
    def test_site_order(self) -> None:
        """Every crystal, with its sites in three other orders."""
        model, crystals = self.make(3, DOUBLE).eval(), self.crystals()
        rng = np.random.default_rng(0)
        plain = self.encode(model, crystals)
        first = np.cumsum([0] + [c.n_sites for c in crystals])
        assert len(plain.site) == first[-1], "These contracts need crystals whose sites the batch keeps as they are."
        for _ in range(3):
            orders = [rng.permutation(c.n_sites) for c in crystals]
            mixed = [replace(c, numbers=c.numbers[o], frac=c.frac[o]) for c, o in zip(crystals, orders, strict=True)]
            rows = torch.from_numpy(np.concatenate([o + f for o, f in zip(orders, first, strict=False)]))
            other = self.encode(model, mixed)
            what = "The order in which sites are listed changes the"
            self.agree(other.site, plain.site[rows], self.same, f"{what} site vectors.")
            self.agree(other.crystal, plain.crystal, self.same, f"{what} crystal vector.")


class CellChoice(EncoderCase):
    """The cell, origin and orientation in which a crystal is written down do not change its vector."""

    @contract
    def test_supercell(self) -> None:
        """Twice the cell along its first vector."""
        self._in_other_cell(np.diag([2, 1, 1]), "A crystal in a cell twice as long has another vector.")

    @contract
    def test_conventional_cell(self) -> None:
        """Four cells in one: of the face-centred crystals that is the conventional cube."""
        self._in_other_cell(CONVENTIONAL, "The conventional cell has another vector than the primitive one.")

    @contract
    def test_lattice_vectors(self) -> None:
        """Other vectors of the same lattice: the third one oblique."""
        shear = [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
        self._in_other_cell(shear, "Another choice of lattice vectors changes the crystal vector.")

    @contract
    def test_axis_order(self) -> None:
        """The same lattice vectors in another order."""
        turned = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
        self._in_other_cell(turned, "The order of the lattice vectors changes the crystal vector.")

    @contract
    def test_origin(self) -> None:
        """Another origin, and sites given by another of their images."""
        moved = [replace(c, frac=c.frac + np.array([0.37, -1.2, 5.01])) for c in self.crystals()]
        self._like_plain(moved, "Another origin changes the crystal vector.")
        images = [replace(c, frac=c.frac + np.arange(c.n_sites)[:, None] % 2) for c in self.crystals()]
        self._like_plain(images, "A site given by another of its images changes the crystal vector.")

    @contract
    def test_rotation(self) -> None:
        """The crystal turned in space."""
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)  # no mirror
        turned = [replace(c, lattice=c.lattice @ turn) for c in self.crystals()]
        self._like_plain(turned, "Turning a crystal changes its vector.")

    def _in_other_cell(self, matrix: ArrayLike, sentence: str) -> None:
        """Compare with the same crystals in another cell."""
        self._like_plain([in_cell(c, matrix) for c in self.crystals()], sentence)

    def _like_plain(self, changed: list[Crystal], sentence: str) -> None:
        """Compare crystal vectors with those of the crystals as they are."""
        model = self.make(3, DOUBLE).eval()
        plain, other = (self.encode(model, crystals).crystal for crystals in (self.crystals(), changed))
        self.agree(other, plain, self.cell, sentence)


class BatchMates(EncoderCase):
    """What else is in its batch does not change a crystal's vectors, gradients or predictions."""

    @contract
    def test_batch_mates(self) -> None:
        """Alone, among others, and among others in the opposite order."""
        model, crystals = self.make(3, DOUBLE).eval(), self.crystals()
        together, turned = self.encode(model, crystals), self.encode(model, crystals[::-1])
        what = "The other crystals of a batch change a crystal's"
        self.agree(turned.crystal.flip(0), together.crystal, self.same, f"{what} vector.")
        alone = [self.encode(model, [crystal]) for crystal in crystals]
        self.agree(torch.cat([a.crystal for a in alone]), together.crystal, self.same, f"{what} vector.")
        self.agree(torch.cat([a.site for a in alone]), together.site, self.same, f"{what} site vectors.")

    @contract
    def test_no_gradient_between_crystals(self) -> None:
        """The vector of a crystal depends on its own distances, positions and lattice, and on no other crystal's."""
        model = self.make(3, DOUBLE).eval()
        batch = self.inputs(self.crystals())
        owner = {"distance": batch.owner[batch.src], "frac": batch.owner, "lattice": torch.arange(batch.n_crystals)}
        read: dict[str, Tensor] = {
            name: value.clone().requires_grad_() for name in owner if (value := getattr(batch, name)) is not None
        }
        vector = model.encode(replace(batch, **read)).crystal  # type: ignore[arg-type]
        for k, row in enumerate(vector):
            # Not a plain sum: after a layer norm that is a constant.
            score = row @ torch.linspace(0.5, 1.5, len(row), dtype=row.dtype)
            slopes = torch.autograd.grad(score, list(read.values()), retain_graph=True, allow_unused=True)
            own = 0.0
            for name, slope in zip(read, slopes, strict=True):
                if slope is not None:
                    mine = owner[name] == k
                    assert not bool(slope[~mine].any()), f"The {name} of one crystal changes another crystal's vector."
                    own += float(slope[mine].abs().sum())
            assert own > 0, "The crystal vector has no gradient with respect to where the atoms are."

    @contract
    def test_batch_size_in_training(self) -> None:
        """In training mode the gradient of a batch is the mean of those of its halves."""
        crystals, found = self.crystals(), []
        half = len(crystals) // 2
        start = self.make(3, DOUBLE).state_dict()
        for parts in ([crystals], [crystals[:half], crystals[half:]]):
            model = self.make(3, DOUBLE).train()
            model.load_state_dict(start)
            for part in parts:
                model(self.inputs(part)).square().sum().backward()
            weights = [p.grad for p in model.parameters() if p.grad is not None]
            found.append(torch.cat([w.flatten() for w in weights]))
        assert found[0].shape == found[1].shape, "Which weights get a gradient depends on the size of the batch."
        off = float((found[0] - found[1]).abs().max() / found[0].abs().max())
        assert off <= self.same, f"The gradient depends on how crystals are grouped into batches: off by {off:.0e}."


class Precision(EncoderCase):
    """Single precision gives what double precision gives, but for rounding."""

    @contract
    def test_precision(self) -> None:
        """The same weights in both precisions, each reading crystals in its own."""
        exact, model = self.make(3, DOUBLE).eval(), self.make(3, SINGLE).eval()
        model.load_state_dict(exact.state_dict())
        double, single = self.encode(exact, self.crystals()), self.encode(model, self.crystals(), SINGLE)
        for level, expected, found in (("site", double.site, single.site), ("crystal", double.crystal, single.crystal)):
            kept = (expected.dtype, found.dtype) == (DOUBLE, SINGLE)
            assert kept, f"The {level} vectors of a model in double or single precision have another precision."
            self.agree(found, expected, self.single, f"Single and double precision give different {level} vectors.")
