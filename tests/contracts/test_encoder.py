"""What every encoder owes to physics and to its users: all contracts on Site-Net, and what only Site-Net promises."""

from __future__ import annotations

import numpy as np
import torch

from matgl_infomax.contracts import in_cell
from matgl_infomax.data.crystal import Crystal
from tests.helpers.build import batch_of
from tests.helpers.encoders import Compact, HouseContract, Published, Rich


class SiteNetContract(HouseContract):
    """Site-Net's contracts, and those of its own."""

    def test_doubled_cell_is_reduced_to_the_same_crystal(self):
        salt = self.crystals()[1]
        assert self.batch([salt, in_cell(salt, np.diag([2, 1, 1]))]).size.tolist() == [2, 2]

    def test_large_crystal_does_not_outvote_small_ones(self, crystals, tmp_path):
        """The crystal vector is a mean over sites: it stays in range for 1 site and for 50."""
        big = Crystal("big", np.full(50, 14), 12.0 * np.eye(3), np.random.default_rng(1).random((50, 3)))
        batch = batch_of([crystals[0], big], tmp_path, double=True, primitive=False)
        vectors = self.make(3, torch.float64).encode(batch).crystal
        assert torch.isfinite(vectors).all()
        assert float(vectors.detach().abs().max()) < 50

    def test_a_dozen_crystals_alone_and_together(self, crystals):
        """One-atom cells, twelve crystals of nine kinds: vectors to 1e-6 in their own units."""
        model = self.make(3, torch.float64).eval()
        together, alone = self.encode(model, crystals), [self.encode(model, [crystal]) for crystal in crystals]
        for name in ("site", "crystal"):
            rows = torch.cat([getattr(one, name) for one in alone])
            torch.testing.assert_close(rows, getattr(together, name), rtol=0, atol=1e-6)


class TestCompact(Compact, SiteNetContract):
    """Site-Net of the Deep InfoMax paper."""


class TestPublished(Published, SiteNetContract):
    """Site-Net of 2023."""

    def test_unread_weights_are_not_even_touched(self):
        model = self.make(3, torch.float64)
        model(self.inputs(self.crystals())).square().sum().backward()
        dead = [p.grad for name, p in model.named_parameters() if name.startswith("local_encoder.blocks.1.pair_update")]
        assert dead and all(gradient is None for gradient in dead)


class TestRich(Rich, SiteNetContract):
    """Site-Net with richer inputs and read-out."""
