"""From a crystal vector to a number with a unit: normaliser, outputs, targets, and one structure at a time."""

from __future__ import annotations

import pytest
import torch

from matgl_infomax import host
from matgl_infomax.contracts import example_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet
from tests.helpers.build import batch_of
from tests.helpers.objective_formulas import small_batch


def model_of(**changes):
    model = SiteNet.from_preset("compact", seed=2, max_atoms=10, **changes).double()
    model.target_mean.copy_(torch.linspace(-2, 5, model.n_targets))
    model.target_std.copy_(torch.linspace(0.5, 3, model.n_targets))
    return model


@pytest.mark.parametrize("n_targets", [1, 3])
def test_prediction_is_the_head_in_physical_units(n_targets):
    model, batch = model_of(n_targets=n_targets), small_batch()
    raw = model.head(model.encode(batch).crystal)
    expected = raw * model.target_std + model.target_mean
    found = model(batch, state_attr=torch.zeros(6, 2))
    assert found.shape == ((6,) if n_targets == 1 else (6, 3))
    torch.testing.assert_close(found, expected.squeeze(1) if n_targets == 1 else expected)


def test_classifier_gives_probabilities():
    model, batch = model_of(output="probability"), small_batch()
    logit = model.head(model.encode(batch).crystal) * model.target_std + model.target_mean
    torch.testing.assert_close(model(batch), (1 / (1 + (-logit).exp())).squeeze(1))


def test_transparent_relu_is_zero_in_physical_units_and_keeps_its_gradient(crystals, tmp_path):
    model = SiteNet.from_preset("compact", output="transparent_relu").double()
    model.target_mean.fill_(-5.0)
    model.target_std.fill_(0.1)
    prediction = model(batch_of(crystals, tmp_path, double=True))
    torch.testing.assert_close(prediction, torch.zeros_like(prediction), atol=1e-12, rtol=0)
    prediction.sum().backward()
    assert float(model.head.out.bias.grad) == pytest.approx(0.1 * len(crystals))


def test_transparent_relu_leaves_positive_values_alone():
    plain, cut = model_of(), model_of(output="transparent_relu")
    with torch.no_grad():
        plain.head.out.bias.sub_(plain.scaled(plain.encode(small_batch()).crystal).median() + 4.0)
        cut.load_state_dict(plain.state_dict())
        plain.target_mean.fill_(4.0 * float(plain.target_std))
        cut.target_mean.copy_(plain.target_mean)
    expected = plain(small_batch())
    assert bool((expected > 0).any()) and bool((expected < 0).any())
    torch.testing.assert_close(cut(small_batch()), expected.clamp(min=0))


def test_batch_in_another_precision_is_read_in_that_of_the_model():
    model, batch = model_of(), small_batch()
    found = model.float()(batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model(batch.to("cpu", torch.float32)))


@pytest.mark.parametrize("n_targets", [1, 2])
def test_one_structure_is_predicted_like_a_batch_of_one(n_targets, tmp_path):
    model = model_of(n_targets=n_targets).float().train()
    crystal = example_crystals()[3]
    found = model.predict_structure(crystal.to_structure())
    assert found.shape == (() if n_targets == 1 else (2,)) and not found.requires_grad
    assert model.training, "a model in training stays there"
    batch = batch_of([crystal], tmp_path, max_atoms=10)
    torch.testing.assert_close(found, model.eval()(batch).detach().squeeze(0), rtol=1e-5, atol=1e-5)


def test_a_failed_prediction_leaves_the_model_in_training(monkeypatch):
    model = model_of().train()
    monkeypatch.setattr(SiteNet, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.predict_structure(example_crystals()[0].to_structure())
    assert model.training


def test_a_converter_that_numbers_elements_otherwise_is_refused():
    model = model_of()
    turned = tuple(reversed(model.element_types))
    with pytest.raises(InputError, match="The converter numbers the elements otherwise: 0 is"):
        model.predict_structure(
            example_crystals()[0].to_structure(), graph_converter=host.SupercellConverter(turned, model.max_atoms)
        )


def test_forces_of_a_property_model_are_right_unless_it_says_why_not():
    assert model_of().wrong_forces is None
