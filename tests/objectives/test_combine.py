"""Several objectives at once: their weighted sum, what is refused, and whether their gradients pull together."""

from __future__ import annotations

import pytest
import torch

from matgl_infomax.contracts import example_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import new_objective
from matgl_infomax.train.pretrain import pulls
from tests.helpers.build import generator, store_of

WEIGHTS = {"masked": 0.5, "denoise": 2.0}


@pytest.fixture(scope="module")
def encoder():
    return SiteNet.from_preset("compact", seed=0).double()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    crystals = example_crystals()
    store = store_of(crystals, tmp_path_factory.mktemp("cache"), max_atoms=10)
    return store.batch(range(len(crystals)), geometry=True, view="both").to("cpu", torch.float64)


def made(encoder, name, options=None, weights=None):
    torch.manual_seed(1)
    return new_objective(encoder, name, "default", options, weights).double()


def test_loss_is_the_weighted_sum_of_its_parts(encoder, batch):
    combined = made(encoder, "infomax+masked+denoise", weights=WEIGHTS)
    total, numbers = combined.loss(encoder, batch, generator())
    seeds = generator()
    expected = 0.0
    for name, part in combined.parts.items():
        own = torch.Generator().manual_seed(int(torch.randint(1 << 62, (), generator=seeds)))
        loss, found = part.loss(encoder, batch, own)
        expected += WEIGHTS.get(name, 1.0) * float(loss.detach())
        assert {key: float(value) for key, value in numbers.items() if key.startswith(f"{name}/")} == {
            f"{name}/{key}": float(value) for key, value in found.items()
        }
    assert float(total.detach()) == pytest.approx(expected, rel=1e-12)


def test_options_go_to_their_part(encoder, batch):
    plain = made(encoder, "masked+denoise").losses(encoder, batch, generator())[0]
    other = made(encoder, "masked+denoise", {"denoise": {"most_angstrom": 0.1}}).losses(encoder, batch, generator())[0]
    assert torch.equal(plain["masked"], other["masked"]) and not torch.equal(plain["denoise"], other["denoise"])


def test_same_generator_same_loss_and_batches_for_all(encoder, batch):
    combined = made(encoder, "infomax+fingerprint+twins")
    losses = [combined.loss(encoder, batch, generator(seed))[0].detach() for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])
    assert combined.geometry and combined.view == "both"
    assert made(encoder, "masked+denoise").view == "full"
    assert combined.diagnose(batch, generator()).keys() >= {"infomax/twins/local_foreign"}


def test_pulls_are_the_gradients_of_the_weighted_parts(encoder, batch):
    combined = made(encoder, "masked+denoise", weights=WEIGHTS)
    found = pulls(encoder, combined, batch, generator())
    losses, _ = combined.losses(encoder, batch, generator())
    weights = [p for name, group in encoder.layer_groups().items() if name != "head" for p in group]
    flat = {}
    for name, loss in losses.items():
        for p in weights:
            p.grad = None
        loss.backward(retain_graph=True)
        flat[name] = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights])
        assert found[f"pull/{name}"] == pytest.approx(float(flat[name].norm()), rel=1e-9)
        assert found[f"pull/{name}"] > 0
    angle = torch.nn.functional.cosine_similarity(flat["masked"], flat["denoise"], dim=0)
    assert found["pull/masked-denoise"] == pytest.approx(float(angle), rel=1e-9)
    assert pulls(encoder, combined.parts["masked"], batch, generator()) == {}


REFUSED = {
    "masked+dual": "masked and dual both teach hidden elements",
    "twins+dual": "twins and dual both teach agreement of two views",
    "masked+masked": "stands twice",
    "masked+clever": "Unknown objective 'clever'",
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_combined_is_refused(name, encoder):
    with pytest.raises(InputError, match=REFUSED[name]):
        made(encoder, name)


def test_weights_and_options_of_nobody_are_refused(encoder):
    with pytest.raises(InputError, match="Weights for twins"):
        made(encoder, "masked+denoise", weights={"twins": 1.0})
    with pytest.raises(InputError, match=r"must be a positive number\. Received: 0"):
        made(encoder, "masked+denoise", weights={"masked": 0.0})
    with pytest.raises(InputError, match="Weights are for combinations"):
        made(encoder, "masked", weights={"masked": 1.0})
    with pytest.raises(InputError, match="Options of a combination go by part"):
        made(encoder, "masked+denoise", {"share": 0.3})
    with pytest.raises(InputError, match="has no preset 'published'"):
        new_objective(encoder, "masked+denoise", "published")
