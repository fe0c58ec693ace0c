"""The compiled kernels against the plain formulas: same outputs, same gradients, on full and on merged crystals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.errors import InputError
from matgl_infomax.nn import fused
from matgl_infomax.nn.fused import in_threads
from matgl_infomax.nn.kernels import (
    ACTIVATION_CODES,
    ACTIVATIONS,
    Standardise,
    activation_named,
    compiled_for,
    distinct_rows,
    kernels_for,
    plain_formulas,
)
from matgl_infomax.nn.layers import Layer
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.build import generator, store_of

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


def test_what_is_compiled_and_what_is_not():
    single = torch.zeros(2, 2)
    assert compiled_for(single)
    assert not compiled_for(single.double())
    assert not compiled_for(single, torch.zeros(1, requires_grad=True))
    with plain_formulas():
        assert not compiled_for(single)
    assert compiled_for(single)
    with torch.autocast("cpu", torch.bfloat16):
        assert not compiled_for(single)


@pytest.mark.parametrize("name", ACTIVATION_CODES)
def test_activation_and_norm_against_torch(name):
    x = 8 * torch.randn(64, 37, generator=generator(1))
    x[0] = 0.0
    x[1] = torch.linspace(-100, 100, 37)
    exact = x.double().requires_grad_()
    expected = functional.layer_norm(ACTIVATIONS[name](exact), (37,))
    single = x.clone().requires_grad_()
    found = Standardise.apply(single, name)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn(64, 37, generator=generator(2))
    expected.backward(grad.double())
    found.backward(grad)
    # A row of zeros has the largest factor that the epsilon allows.
    torch.testing.assert_close(single.grad.double(), exact.grad, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ACTIVATION_CODES)
def test_no_number_stays_no_number(name):
    """A network that has diverged must show it."""
    x = torch.ones(3, 8)
    x[1, 4] = torch.nan
    out = Standardise.apply(x, name)
    assert out[1].isnan().all() and not out[0].isnan().any() and not out[2].isnan().any()


def test_a_layer_is_the_same_layer(crystals):
    layer = Layer(12, 20, "mish")
    x = torch.randn(9, 12, generator=generator())
    compiled = layer(x)
    with plain_formulas():
        torch.testing.assert_close(compiled, layer(x), rtol=1e-5, atol=1e-5)
    assert layer(x.view(3, 3, 12)).shape == (3, 3, 20)


def test_distinct_rows_are_found():
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 5, (400, 2)).astype(np.float32)
    first, index = distinct_rows(raw)
    assert len(first) == len(np.unique(raw, axis=0))
    np.testing.assert_array_equal(raw[first][index], raw)
    assert (np.diff(first) > 0).all()
    assert len(distinct_rows(np.empty((0, 1), np.float32))[0]) == 0


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match=r"gelu.*relu, mish, silu"):
        kernels_for("gelu", False)


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


def test_an_unknown_activation_has_no_formula():
    with pytest.raises(InputError, match=r"gelu.*mish, relu, silu"):
        activation_named("gelu")
