"""The contracts with physics catch what they are there for: each faulty encoder breaks exactly those it should."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from matgl_infomax.contracts import BatchMates, CellChoice, Precision, SiteOrder
from tests.helpers.bite import assert_exactly_the_right_ones_fail, contracts_of, each_fault, run
from tests.helpers.broken import BREAKS, Sound


@each_fault()
def test_exactly_the_right_contract_fails(kind, tmp_path):
    assert_exactly_the_right_ones_fail(kind, "physics", tmp_path)


def test_every_contract_is_broken_by_somebody():
    wanted = contracts_of("physics")
    assert set(wanted) <= set().union(*BREAKS.values())
    assert all(any(hasattr(part, name) for part in (SiteOrder, CellChoice, BatchMates, Precision)) for name in wanted)
    assert len(wanted) == 11


def test_an_encoder_that_tells_nothing_apart_is_found(tmp_path):
    class Blind(Sound):
        def encode(self, model, crystals, dtype=torch.float64):
            encoding = super().encode(model, crystals, dtype)
            return SimpleNamespace(site=0 * encoding.site, crystal=0 * encoding.crystal)

    assert "same vector" in run(Blind, "test_rotation", tmp_path / "blind")


def test_a_batch_that_loses_sites_is_told_so(tmp_path):
    """Vectors of sites can only be compared where the batch keeps the sites of the crystals as they are."""

    class Shortened(Sound):
        def encode(self, model, crystals, dtype=torch.float64):
            return super().encode(model, crystals[1:], dtype)

    assert "whose sites the batch keeps as they are" in run(Shortened, "test_site_order", tmp_path / "lost")
