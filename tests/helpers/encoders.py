"""Every encoder of the house as the contracts see it: how it is made, what it reads, and its known limits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from matgl_infomax.contracts import EncoderCase, EncoderContract, radius_batch
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.build import batch_of


class HouseContract(EncoderContract):
    """All contracts, and what the trainers of this house need besides."""

    def test_normaliser_gives_physical_units(self):
        model, batch = self.make(3, torch.float64), self.inputs(self.crystals())
        plain = model(batch)
        model.target_mean.fill_(-2.0)
        model.target_std.fill_(3.0)
        torch.testing.assert_close(model(batch), plain * 3.0 - 2.0)


class SiteNetCase(EncoderCase):
    """Site-Net on near-cubic supercells of primitive cells, as the store prepares them."""

    preset = "compact"
    max_atoms, primitive = 20, True

    def make(self, seed: int, dtype: torch.dtype) -> SiteNet:
        return SiteNet.from_preset(self.preset, seed=seed, max_atoms=self.max_atoms, primitive=self.primitive).to(dtype)

    def batch(self, crystals: Sequence[Crystal]) -> SiteBatch:
        with tempfile.TemporaryDirectory() as folder:
            standard = SiteNet.from_preset(self.preset).standard_cell
            return batch_of(
                crystals, Path(folder), max_atoms=self.max_atoms, primitive=self.primitive, standard=standard
            )


def shifts(block: int) -> tuple[str, ...]:
    """Biases of the attention logits: a softmax forgets what is added to all of them."""
    attention = f"local_encoder.blocks.{block}.attention"
    return f"{attention}.logit.bias", f"{attention}.logit_hidden.norm.bias"


class Compact(SiteNetCase):
    """Site-Net of the Deep InfoMax paper."""

    preset = "compact"
    unread = shifts(0)


class Published(SiteNetCase):
    """Site-Net of 2023; its last pair update was published with its weights, and is read by nobody."""

    preset = "published"
    limits = {
        "test_lattice_vectors": "the supercell is made of the vectors given, where their cell is primitive already",
        "test_axis_order": "repeats and shears are found axis by axis, so an oblique cell depends on their order",
    }
    unread = (*shifts(0), *shifts(1), "local_encoder.blocks.1.pair_update")


class Rich(SiteNetCase):
    """Site-Net with richer inputs and read-out; nobody reads its last pair update either."""

    preset = "rich"
    unread = (*shifts(0), *shifts(1), "local_encoder.blocks.1.pair_update")


class MatGLCase(EncoderCase):
    """One of MatGL's networks; its own head stays unread, ours predicts."""

    name: str
    options: dict[str, Any] = {}
    cutoff_angstrom = 5.0

    def make(self, seed: int, dtype: torch.dtype) -> MatGLNet:
        return MatGLNet.new(self.name, seed=seed, options=self.options).to(dtype)

    def batch(self, crystals: Sequence[Crystal]) -> SiteBatch:
        return radius_batch(crystals, self.cutoff_angstrom)


class MEGNet(MatGLCase):
    """MatGL's default shape; its state is zero, so that weights on it do nothing."""

    name = "megnet"
    cutoff_angstrom = 4.0
    unread = ("network.output_proj", "network.state_encoder.layers.0.weight")


class M3GNet(MatGLCase):
    """MatGL's default shape."""

    name = "m3gnet"
    unread = ("network.final_layer",)


class M3GNetShortTriples(M3GNet):
    """With MatGL's own default for triples, which are then made of shorter bonds than pairs are."""

    options = {"threebody_cutoff": 4.0}


class TensorNet(MatGLCase):
    """MatGL's default shape; on DGL one layer of the embedding is computed and not read."""

    name = "tensornet"
    unread = ("network.final_layer", "network.tensor_embedding.emb3")


class CHGNet(MatGLCase):
    """MatGL's default shape; nobody reads what its last layer makes of angles."""

    name = "chgnet"
    cutoff_angstrom = 6.0
    unread = (
        "network.final_layer",
        "network.sitewise_readout",
        "network.bond_bond_weights",
        "network.bond_graph_layers.2.conv_layer.edge_update_func",  # on DGL
        "network.bond_graph_layers.2.conv.edge_update_func",  # on PyG
    )


class SO3Net(MatGLCase):
    """As small as it can be: at its default size a step takes half a minute on a CPU."""

    name = "so3net"
    options = {"nmax": 2, "lmax": 1, "nblocks": 1, "cutoff": 4.0}
    cutoff_angstrom = 4.0
    unread = ("network.final_layer",)

    def crystals(self) -> list[Crystal]:
        return [crystal for crystal in super().crystals() if crystal.n_sites < 4]


ALL: tuple[type[EncoderCase], ...] = (Compact, Published, Rich, MEGNet, M3GNet, TensorNet, CHGNet, SO3Net)
