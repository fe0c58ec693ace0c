"""The compiled kernels against the plain formulas: same outputs, same gradients, on full and on merged crystals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.nn import fused
from matgl_infomax.nn.fused import in_threads
from matgl_infomax.nn.kernels import plain_formulas
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.build import store_of

CASES = {
    "compact": {},
    "published": {},
    "compact mish": {"local_activation": "mish"},
    "published silu, one block": {"local_activation": "silu", "n_blocks": 1},
    "compact, three heads, deep values": {"n_heads": 3, "value_widths": (24, 40, 16)},
    "compact, two blocks without update": {"n_blocks": 2, "site_width": 64, "value_widths": (64, 64)},
    "published, three blocks": {"n_blocks": 3},
    "rich": {},
}


def model_of(case: str, dtype: torch.dtype = torch.float32) -> SiteNet:
    name = case.split(",")[0].split()[0]
    return SiteNet.from_preset(name, seed=3, **CASES[case]).to(dtype)


def answer(case: str, batch: SiteBatch, plain: bool = False, dtype: torch.dtype = torch.float32):
    """Output and the gradient of every weight, from the loss that a training would use."""
    model = model_of(case, dtype)
    batch = batch.to("cpu", dtype)
    if plain:
        with plain_formulas():
            out = model.scaled(model.encode(batch).crystal)
            out.square().sum().backward()
    else:
        out = model.scaled(model.encode(batch).crystal)
        out.square().sum().backward()
    grads = {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}
    return out.detach().double(), grads


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("view", ["full", "merged", "both"])
def test_compiled_equals_plain(case, view, crystals, tmp_path):
    store = store_of(crystals, tmp_path, max_atoms=30)
    everything = np.arange(len(store))
    exact, exact_grads = answer(case, store.batch(everything), plain=True, dtype=torch.float64)
    out, grads = answer(case, store.batch(everything, view=view))
    scale = exact.abs().max()
    assert (out - exact).abs().max() < 2e-5 * scale
    assert grads.keys() == exact_grads.keys(), "the same weights must get a gradient, else weight decay differs"
    largest = max(grad.norm() for grad in exact_grads.values())
    for name, grad in grads.items():
        # Some gradients are zero but for rounding: a constant that all logits share has no effect.
        assert (grad - exact_grads[name]).norm() < 1e-4 * exact_grads[name].norm() + 1e-6 * largest, name


def test_plain_on_merged_equals_plain_on_full(crystals, tmp_path):
    store = store_of(crystals, tmp_path, max_atoms=30)
    exact, _ = answer("published", store.batch(range(12)), plain=True, dtype=torch.float64)
    merged, _ = answer("published", store.batch(range(12), view="merged"), plain=True, dtype=torch.float64)
    # The store keeps distances in single precision.
    assert (merged - exact).abs().max() < 1e-5 * exact.abs().max()


def test_small_chunks_change_nothing(crystals, tmp_path, monkeypatch):
    batch = store_of(crystals, tmp_path, max_atoms=30).batch(range(12))
    whole, whole_grads = answer("published", batch)
    monkeypatch.setattr(fused, "CHUNK_NUMBERS", 303 * 7)  # seven pairs: fewer than a receiver has
    small, small_grads = answer("published", batch)
    torch.testing.assert_close(small, whole, rtol=1e-5, atol=1e-6)
    for name, grad in small_grads.items():
        torch.testing.assert_close(grad, whole_grads[name], rtol=1e-3, atol=1e-5, msg=name)


def test_results_repeat_bit_for_bit(crystals, tmp_path):
    batch = store_of(crystals, tmp_path).batch(range(12))
    (a, ga), (b, gb) = answer("published", batch), answer("published", batch)
    assert torch.equal(a, b) and all(torch.equal(ga[n], gb[n]) for n in ga)


def test_a_site_without_neighbours_gathers_nothing():
    """As with a radius that ends before the next atom."""
    lonely = SiteBatch(
        number=torch.tensor([11, 17, 8]), owner=torch.tensor([0, 0, 1]), src=torch.tensor([0, 1]),
        dst=torch.tensor([1, 0]), distance=torch.tensor([2.8, 2.8]), n_crystals=2,
    )  # fmt: skip
    for case in ("compact", "published"):
        exact, _ = answer(case, lonely, plain=True)
        out, _ = answer(case, lonely)
        torch.testing.assert_close(out, exact, rtol=1e-4, atol=1e-5)


def test_forces_still_flow_through_distances(crystals, tmp_path):
    """Second derivatives exist: the plain formulas take over where a distance wants a gradient."""
    batch = store_of(crystals, tmp_path).batch(range(4))
    distance = batch.distance.clone().requires_grad_()
    model = model_of("compact")
    energy = model.scaled(model.encode(replace(batch, distance=distance)).crystal).sum()
    (force,) = torch.autograd.grad(energy, distance, create_graph=True)
    force.square().sum().backward()
    assert distance.grad is not None and distance.grad.abs().sum() > 0


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", ["compact", "published"])
def test_two_threads_give_the_same(case, crystals, tmp_path, monkeypatch, two_threads):
    """Chunks are shared between threads; the sums come together in a fixed order."""
    monkeypatch.setattr(fused, "CHUNK_NUMBERS", 303 * 40)
    batch = store_of(crystals, tmp_path, max_atoms=30).batch(range(12))
    shared, shared_grads = answer(case, batch)
    assert torch.get_num_threads() == 2, "the number of threads is left as it was"
    again, again_grads = answer(case, batch)
    assert torch.equal(shared, again) and all(torch.equal(shared_grads[n], again_grads[n]) for n in shared_grads)
    torch.set_num_threads(1)
    alone, alone_grads = answer(case, batch)
    torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-6)
    for name, grad in shared_grads.items():
        torch.testing.assert_close(grad, alone_grads[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_thread_that_fails_is_heard(two_threads):
    def work(run: list[int]) -> int:
        if 3 in run:
            raise ValueError("three")
        return sum(run)

    assert in_threads(work, [0, 1, 2, 4]) == [1, 6]
    with pytest.raises(ValueError, match="three"):
        in_threads(work, [0, 1, 2, 3])
    assert torch.get_num_threads() == 2
