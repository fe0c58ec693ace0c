"""What a representation study refuses before it computes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import new_model, save_model
from matgl_infomax.settings.training import ModelSettings
from tests.helpers.build import many
from tests.helpers.small_represent import config, run, small_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def items(crystals) -> Crystals:
    return Crystals(many(crystals, 60))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target": []}, r"about one property. Received --target \(none\)"),
        ({"target": ["y", "z"]}, "about one property. Received --target y z"),
        ({"target": ["z"]}, "Unknown target. Received: z"),
        ({"labels": [1, 9]}, "at least 2 labels. Received: 1"),
        ({"labels": [500]}, "Only 48 crystals of the training part have a label"),
        ({"task": "mp_is_metal"}, "is a classification task"),
        ({"checkpoint": Path("nowhere")}, "nowhere"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(items, tmp_path, encoder, changes, text):
    with pytest.raises(InputError, match=text):
        run(items, config(tmp_path, encoder, **changes))
    assert not list(tmp_path.iterdir())


def test_too_few_test_crystals(crystals, tmp_path, encoder):
    with pytest.raises(InputError, match=r"3 test crystals are needed at least. Received: 2"):
        run(Crystals(many(crystals, 10)), config(tmp_path, encoder, labels=[2]))


def test_a_single_untrained_encoder_is_no_floor(tmp_path, encoder):
    with pytest.raises(ValueError, match="greater than or equal to 5"):
        config(tmp_path, encoder, untrained=1)


def test_unknown_elements_are_said(items, tmp_path):
    model = new_model(ModelSettings(supercell_atoms=12), 1, 0, element_types=("O", "Mg"))
    save_model(model, tmp_path / "narrow", {})
    with pytest.raises(InputError, match=r"The crystals hold Li, .*narrow knows 2 elements"):
        run(items, config(tmp_path, tmp_path / "narrow"))
