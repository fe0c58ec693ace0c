"""Site-Net against its formulas: outputs and every gradient, and the published parameter counts part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import INFOMAX_SCALE, elemental_properties
from matgl_infomax.data.supercell import supercell_matrix, supercell_pairs
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers import sitenet_reference as formula
from tests.helpers.sitenet_reference import DenseCrystal, Weights, dense_crystal
from tests.helpers.supercell_reference import reference_coulomb

MAX_ATOMS = 20
RELATIVE = 1e-5

# Name of a module in the package -> name of the formula's layer; the longest that fits counts.
NAMES = {
    "site_input.embedding.weight": "embedding",
    "local_encoder.site_in": "site_in",
    "local_encoder.pair_in": "pair_in",
    "local_encoder.blocks.0.attention.logit_hidden": "block0.logits.0",
    "local_encoder.blocks.0.attention.logit": "block0.logits.1",
    "local_encoder.blocks.0.attention.value_hidden": "block0.value.0",
    "local_encoder.blocks.0.attention.value.0": "block0.value.1",
    "local_encoder.blocks.0.site_update": "block0.site",
    "local_encoder.blocks.0.pair_update": "block0.pair",
    "local_encoder.blocks.1.attention.logit_hidden": "block1.logits.0",
    "local_encoder.blocks.1.attention.logit": "block1.logits.1",
    "local_encoder.blocks.1.attention.value_hidden": "block1.value.0",
    "local_encoder.blocks.1.site_update": "block1.site",
    "local_encoder.blocks.1.pair_update": "block1.pair",
    "site_vector": "local_mean",
    "global_encoder.before.0": "prepool.0",
    "global_encoder.before.1": "prepool.1",
    "global_encoder.after.0": "postpool.0",
    "global_encoder.after.1": "postpool.1",
    "global_encoder.after.2": "postpool.2",
    "crystal_vector": "global_mean",
    "head.hidden.0": "head.0",
}


def formula_name(parameter: str, preset: str) -> str:
    """Where the formula keeps a parameter of the package."""
    if parameter.startswith("head.out"):
        return parameter.replace("head.out", "decoder" if preset == "published" else "head.1")
    module = max((m for m in NAMES if parameter == m or parameter.startswith(f"{m}.")), key=len)
    kind = parameter.removeprefix(module).replace(".linear.", ".")
    return NAMES[module] + kind


def random_model(preset: str, **changes: Any) -> SiteNet:
    """A model in float64 all of whose parameters, biases and norms included, are away from their initial values."""
    model = SiteNet.from_preset(preset, seed=1, **changes).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        for name, parameter in model.named_parameters():
            if "embedding" in name:
                # Odd elements are longer than one, even ones shorter: only the former are to be shortened.
                length = torch.tensor([0.5, 2.5], dtype=torch.float64).repeat(len(parameter) // 2)[:, None]
                parameter.mul_(length / parameter.norm(dim=1, keepdim=True))
    return model


def formula_weights(model: SiteNet, preset: str) -> Weights:
    """Copies of the model's parameters under the formula's names, ready for gradients."""
    return {
        formula_name(name, preset): parameter.detach().clone().requires_grad_()
        for name, parameter in model.named_parameters()
    }


def flat_batch(crystals: list[Crystal]) -> SiteBatch:
    """Crystals as the package's flat tensors, in float64."""
    src, dst, distance, first = [], [], [], 0
    for crystal in crystals:
        pairs = supercell_pairs(crystal.lattice, crystal.frac, MAX_ATOMS)
        src.append(torch.from_numpy(pairs.src.astype(np.int64)) + first)
        dst.append(torch.from_numpy(pairs.dst.astype(np.int64)) + first)
        distance.append(torch.from_numpy(pairs.distance))
        first += crystal.n_sites
    sizes = torch.tensor([c.n_sites for c in crystals])
    return SiteBatch(
        number=torch.from_numpy(np.concatenate([c.numbers for c in crystals])),
        owner=torch.arange(len(crystals)).repeat_interleave(sizes),
        src=torch.cat(src),
        dst=torch.cat(dst),
        distance=torch.cat(distance),
        n_crystals=len(crystals),
    )


def dense(crystals: list[Crystal]) -> list[DenseCrystal]:
    """The same crystals as the reference sees them."""
    return [dense_crystal(c.to_structure(), supercell_matrix(c.lattice, c.n_sites, MAX_ATOMS)) for c in crystals]


def reference_forward(
    weights: Weights, preset: str, crystals: list[Crystal], gap: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Site vectors (N, D), crystal vectors (B, C) and outputs (B,) by the formulas."""
    properties = torch.from_numpy(elemental_properties().values)
    scaled = properties * torch.tensor(INFOMAX_SCALE, dtype=torch.float64)
    sites, vectors, outputs = [], [], []
    for crystal in dense(crystals):
        if preset == "published":
            sites.append(formula.published_sites(weights, crystal, properties))
            vectors.append(formula.published_crystal(weights, sites[-1]))
            outputs.append(formula.published_output(weights, vectors[-1], gap=gap))
        else:
            sites.append(formula.compact_sites(weights, crystal, scaled, formula.relu))
            vectors.append(formula.compact_crystal(weights, sites[-1]))
            outputs.append(formula.compact_output(weights, vectors[-1]))
    return torch.cat(sites), torch.stack(vectors), torch.cat(outputs)


def assert_close(ours: Tensor, theirs: Tensor, what: str, scale: float = 0.0) -> None:
    difference, size = float((ours - theirs).detach().norm()), float(theirs.detach().norm())
    agree = difference <= RELATIVE * max(size, scale)
    assert agree, f"{what}: {difference=} {size=}"


def compare(preset: str, crystals: list[Crystal], **changes: Any) -> tuple[SiteNet, Weights, Tensor]:
    """Run both, compare vectors and outputs, and take the gradients of one and the same number."""
    gap = changes.get("output") == "transparent_relu"
    model = random_model(preset, **changes)
    batch = flat_batch(crystals)
    if gap:
        centre_outputs(model, batch)
    weights = formula_weights(model, preset)
    encoding, output = model.encode(batch), model(batch)
    sites, vectors, expected = reference_forward(weights, preset, crystals, gap)
    assert_close(encoding.site, sites, "site vectors")
    assert_close(encoding.crystal, vectors, "crystal vectors")
    assert_close(output, expected, "output")
    factor = torch.linspace(-1.0, 2.0, len(crystals), dtype=torch.float64)
    (output * factor).sum().backward()
    (expected * factor).sum().backward()
    return model, weights, expected.detach()


def centre_outputs(model: SiteNet, batch: SiteBatch) -> None:
    """Move the last bias so that about half of the outputs are negative before they are cut."""
    with torch.no_grad():
        out = model.head.out
        raw = model.encode(batch).crystal @ out.weight.T + out.bias  # (B, 1)
        out.bias.sub_(raw.median())


def assert_gradients_agree(model: SiteNet, weights: Weights, preset: str) -> None:
    """Every parameter of the package has the gradient of its counterpart; none is left over on either side."""
    gradients = {formula_name(name, preset): (name, p.grad) for name, p in model.named_parameters()}
    assert gradients.keys() == weights.keys()
    scale = max(float(w.grad.norm()) for w in weights.values() if w.grad is not None)
    for key, (name, ours) in gradients.items():
        theirs = weights[key].grad
        if theirs is None:
            # The last pair update of the published network is never read.
            assert key.startswith("block1.pair")
            assert ours is None or not ours.any(), name
            continue
        assert ours is not None, f"{name} got no gradient"
        # A bias common to all logits of a site cancels in the softmax: its gradient is rounding error on both sides.
        assert_close(ours, theirs, name, scale=1e-9 * scale / RELATIVE)


@pytest.mark.parametrize("preset", ["published", "compact"])
def test_outputs_and_gradients_equal_the_formulas(preset: str, crystals: list[Crystal]) -> None:
    model, weights, expected = compare(preset, crystals)
    assert expected.std() > 1e-3, "crystals that all give the same output would prove nothing"
    assert_gradients_agree(model, weights, preset)


def test_gap_output_is_cut_forward_and_transparent_backward(crystals: list[Crystal]) -> None:
    model, weights, expected = compare("published", crystals, output="transparent_relu")
    assert (expected == 0).any()
    assert (expected > 0).any()
    assert_gradients_agree(model, weights, "published")


@pytest.mark.parametrize("preset", ["published", "compact"])
def test_batch_mates_change_nothing(preset: str, crystals: list[Crystal]) -> None:
    model = random_model(preset)
    together = model(flat_batch(crystals))
    alone = torch.cat([model(flat_batch([c])) for c in crystals])
    assert_close(together, alone, "output")


def test_log_coulomb_of_the_formula_is_that_of_matminer(crystals: list[Crystal]) -> None:
    pytest.importorskip("matminer")
    for crystal in crystals:
        structure = crystal.to_structure()
        matrix = supercell_matrix(crystal.lattice, crystal.n_sites, MAX_ATOMS)
        ours = formula.log_coulomb(dense_crystal(structure, matrix))  # (n_p, n_s)
        theirs = reference_coulomb(structure, matrix)  # (n_p, n_p, m)
        np.testing.assert_allclose(np.sort(ours.reshape(theirs.shape).numpy(), axis=2), theirs, atol=3e-5)


def count(model: SiteNet, *prefixes: str) -> int:
    """Parameters of the formula's layers that start with one of the prefixes; all without any."""
    names = {name: p.numel() for name, p in model.named_parameters()}
    preset = "published" if "site_input.embedding.weight" in names else "compact"
    return sum(n for name, n in names.items() if not prefixes or formula_name(name, preset).startswith(prefixes))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (("embedding",), 18_400),
        (("site_in",), 9_360),
        (("pair_in",), 240),
        (("block0.logits",), 52_653),
        (("block0.pair",), 11_088),
        (("block0.value",), 6_930),
        (("block0.site",), 8_370),
        (("block0",), 79_041),
        (("block1",), 79_041),
        (("prepool",), 17_202),
        (("postpool",), 100_600),
        (("decoder",), 201),
        ((), 304_085),
    ],
    ids=lambda value: "-".join(value) or "total" if isinstance(value, tuple) else None,
)
def test_published_parts_have_the_published_sizes(layers: tuple[str, ...], expected: int) -> None:
    assert count(SiteNet.from_preset("published"), *layers) == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (("site_in", "pair_in", "block0", "local_mean"), 32_417),
        (("prepool", "postpool", "global_mean"), 23_360),
        (("site_in", "pair_in", "block0", "local_mean", "prepool", "postpool", "global_mean"), 55_777),
        (("head",), 4_225),
        ((), 60_002),
    ],
    ids=["local encoder", "global encoder", "encoder", "head", "total"],
)
def test_compact_parts_have_the_published_sizes(layers: tuple[str, ...], expected: int) -> None:
    assert count(SiteNet.from_preset("compact"), *layers) == expected


@pytest.mark.parametrize("preset", ["published", "compact"])
def test_every_layer_group_parameter_is_counted_once(preset: str) -> None:
    model = SiteNet.from_preset(preset)
    grouped = [id(p) for group in model.layer_groups().values() for p in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}
