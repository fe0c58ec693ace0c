"""What every encoder owes to physics and to its users: all contracts on MatGL's own networks."""

from __future__ import annotations

import pytest

from matgl_infomax import host
from matgl_infomax.contracts import BatchMates, SiteOrder
from matgl_infomax.nn import matgl_net
from tests.helpers import encoders

VERSION = tuple(int(part) for part in host.MATGL_VERSION.split(".")[:3])


class TestMEGNet(encoders.MEGNet, encoders.HouseContract):
    """MEGNet."""


class TestM3GNet(encoders.M3GNet, encoders.HouseContract):
    """M3GNet, its triples made of all its bonds."""


class TestM3GNetShortTriples(encoders.M3GNetShortTriples, SiteOrder, BatchMates):
    """M3GNet as MatGL makes it."""


class TestTensorNet(encoders.TensorNet, encoders.HouseContract):
    """TensorNet."""


class TestCHGNet(encoders.CHGNet, encoders.HouseContract):
    """CHGNet."""


class TestSO3Net(encoders.SO3Net, encoders.HouseContract):
    """SO3Net."""


@pytest.mark.skipif(VERSION >= (4, 0, 4), reason="this MatGL hands every triple to its own bond")
@pytest.mark.parametrize("name", ["test_site_order", "test_batch_mates", "test_no_gradient_between_crystals"])
def test_the_contracts_see_the_bug_of_short_triples(name, monkeypatch):
    """Without the remedy MatGL hands triples of one bond to another, even to one of another crystal."""
    monkeypatch.setattr(matgl_net, "short_first", lambda batch, cutoff: batch)
    with pytest.raises(AssertionError, match=r"The order in which|The other crystals|The frac of one crystal"):
        getattr(TestM3GNetShortTriples(), name)()
