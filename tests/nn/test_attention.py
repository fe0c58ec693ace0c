"""Site-Net's attention: against loops over sites and heads, sites without neighbours, pairs that stand for several."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError
from matgl_infomax.nn.attention import AttentionShape, LocalBlock, LocalEncoder, SiteAttention
from matgl_infomax.nn.kernels import plain_formulas
from tests.helpers.build import generator

SHAPE = AttentionShape(site_width=4, pair_width=3, n_heads=2, logit_width=5, value_widths=(6, 4), activation="mish")


@pytest.fixture
def batch() -> SiteBatch:
    """Two crystals: three sites of which one is lonely, and one site with itself as a neighbour."""
    return SiteBatch(
        number=torch.tensor([11, 17, 8, 29]),
        owner=torch.tensor([0, 0, 0, 1]),
        src=torch.tensor([0, 0, 1, 3, 3]),
        dst=torch.tensor([1, 1, 0, 3, 3]),
        distance=torch.tensor([2.8, 4.0, 2.8, 2.5, 3.6]).double(),
        n_crystals=2,
    )


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def away_from_the_start(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight, those of the norms included, differs from what it was initialised to."""
    with torch.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * drawn(*parameter.shape, seed=k, dtype=parameter.dtype))
    return module


def layer(module, x):
    """Linear, activation, norm of one vector."""
    hidden = module.activation(module.linear.weight @ x + module.linear.bias)
    hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt()
    return hidden * module.norm.weight + module.norm.bias


def test_attention_is_a_weighted_sum_over_neighbours_head_by_head(batch):
    attention = away_from_the_start(SiteAttention(SHAPE).double())
    site, pair = drawn(4, 4), drawn(5, 3, seed=1)
    found = attention(site, pair, batch).detach()
    assert SHAPE.gathered_width == attention.width == 8
    for i in range(4):
        mine = [e for e in range(5) if int(batch.src[e]) == i]
        bonds = [torch.cat([site[i], site[batch.dst[e]], pair[e]]) for e in mine]
        values = [layer(attention.value[0], layer(attention.value_hidden, b)) for b in bonds]
        for head in range(2):
            logits = [attention.logit.weight[head] @ layer(attention.logit_hidden, b) for b in bonds]
            weights = [x.exp() / sum(y.exp() for y in logits) for x in logits]
            expected = sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros(4).double())
            torch.testing.assert_close(found[i, 4 * head : 4 * head + 4], expected.detach())
    assert not found[2].any(), "a site without neighbours gathers nothing"


def test_a_pair_that_stands_for_three_counts_like_three(batch):
    attention = away_from_the_start(SiteAttention(SHAPE).double())
    site, pair = drawn(4, 4), drawn(5, 3, seed=1)
    often = torch.tensor([0, 0, 0, 1, 2, 3, 4])
    spread = replace(batch, src=batch.src[often], dst=batch.dst[often], distance=batch.distance[often])
    counted = replace(batch, copies=torch.tensor([3.0, 1, 1, 1, 1]).double())
    torch.testing.assert_close(attention(site, pair, counted), attention(site, pair[often], spread))
    assert not torch.allclose(attention(site, pair, counted), attention(site, pair, batch))


def test_new_pairs_are_made_of_the_old_sites_and_not_in_the_last_block(batch):
    block = away_from_the_start(LocalBlock(SHAPE, update=True).double())
    site, pair = drawn(4, 4), drawn(5, 3, seed=1)
    new_site, new_pair = block(site, pair, batch, last=False)
    torch.testing.assert_close(new_pair, block.pair_update(site, pair, batch.src, batch.dst))
    torch.testing.assert_close(new_site, block.site_update(block.attention(site, pair, batch)))
    assert block(site, pair, batch, last=True)[1] is pair
    without = LocalBlock(SHAPE, update=False).double()
    assert without(site, pair, batch, last=False)[1] is pair
    assert without(site, pair, batch, last=False)[0].shape == (4, SHAPE.gathered_width)


@pytest.mark.parametrize(("update", "residual", "width"), [(True, False, 8), (True, True, 12), (False, False, 16)])
@pytest.mark.parametrize("repeated", [False, True], ids=["own rows", "shared rows"])
def test_compiled_encoder_is_the_plain_one(update, residual, width, repeated, batch):
    """Outputs and all gradients; with shared rows few raw pairs differ, so the kernels read them from a table."""
    shape = replace(SHAPE, site_width=8, value_widths=(6, 4)) if not update else SHAPE
    encoder = away_from_the_start(LocalEncoder(5, 1, 2, shape, update, residual))
    batch = batch.to("cpu", torch.float32)
    raw_site = drawn(4, 5, dtype=torch.float32)
    raw_pair = torch.tensor([[1.0], [1.0], [2.0], [1.0], [2.0]]) if repeated else batch.distance[:, None]
    found = encoder(raw_site, raw_pair, batch)
    assert found.shape == (4, encoder.width) == (4, width)
    factor = drawn(*found.shape, seed=5, dtype=torch.float32)
    compiled = torch.autograd.grad((found * factor).sum(), list(encoder.parameters()), allow_unused=True)
    with plain_formulas():
        expected = encoder(raw_site, raw_pair, batch)
        plain = torch.autograd.grad((expected * factor).sum(), list(encoder.parameters()), allow_unused=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(compiled, plain, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            # Single precision: the norms of narrow rows multiply rounding errors, and the processor decides how much.
            # So a gradient is compared as a whole, not entry by entry.
            assert float((ours - theirs).norm()) <= 2e-3 * float(theirs.norm()) + 1e-5


def test_residual_blocks_add_to_what_came_before(batch):
    encoder = away_from_the_start(LocalEncoder(5, 1, 2, SHAPE, update=True, residual=True).double())
    raw_site, raw_pair = drawn(4, 5), batch.distance[:, None]
    found = encoder(raw_site, raw_pair, batch).split(4, dim=1)
    site, pair = encoder.site_in(raw_site), encoder.pair_in(raw_pair)
    torch.testing.assert_close(found[0], site)
    first, pair = encoder.blocks[0](site, pair, batch, last=False)
    torch.testing.assert_close(found[1], site + first)
    torch.testing.assert_close(found[2], site + first + encoder.blocks[1](site + first, pair, batch, last=True)[0])


def test_no_sites_and_no_pairs_give_no_vectors():
    none = torch.empty(0, dtype=torch.long)
    empty = SiteBatch(number=none, owner=none, src=none, dst=none, distance=torch.empty(0), n_crystals=0)
    encoder = LocalEncoder(5, 1, 1, SHAPE, update=True)
    for plain in (False, True):
        with plain_formulas() if plain else torch.enable_grad():
            assert encoder(torch.empty(0, 5), torch.empty(0, 1), empty).shape == (0, 4)


def test_residual_needs_vectors_of_one_width():
    with pytest.raises(InputError, match="residual=True needs update=True"):
        LocalEncoder(5, 1, 1, SHAPE, update=False, residual=True)
