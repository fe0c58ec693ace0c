"""Every option of every objective changes its loss, and what is unknown or does nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from matgl_infomax.contracts import example_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES, new_objective
from matgl_infomax.objectives.denoise import DENOISE_PRESETS, DenoiseSettings
from matgl_infomax.objectives.dual import DUAL_PRESETS, DualSettings
from matgl_infomax.objectives.fingerprint import FINGERPRINT_PRESETS, FingerprintSettings
from matgl_infomax.objectives.masked import MASKED_PRESETS, MaskedSettings
from matgl_infomax.objectives.twins import TWINS_PRESETS, TwinsSettings
from matgl_infomax.settings.training import OBJECTIVE_NAMES
from tests.contracts.test_objectives import LEVELS
from tests.helpers.build import generator, store_of

Case = tuple[dict[str, Any], dict[str, Any]]
"""Options that go with it, and the option in question with another value."""

SIMSIAM, BARLOW, STIFF = {"method": "simsiam"}, {"contrast": "barlow"}, {"micro": "stiffness"}
WALK: dict[str, dict[str, Case]] = {
    "masked": {
        "share": ({}, {"share": 0.5}),
        "single": ({}, {"single": True}),
        "hidden_width": ({}, {"hidden_width": 0}),
    },
    "denoise": {
        "answer": ({}, {"answer": "coordinates"}),
        "least_angstrom": ({}, {"least_angstrom": 0.1}),
        "most_angstrom": ({}, {"most_angstrom": 0.1}),
        "strain": ({}, {"strain": 0.0}),
        "reach_angstrom": ({}, {"reach_angstrom": 4.0}),
        "hidden_width": ({}, {"hidden_width": 32}),
    },
    "fingerprint": {
        "share": ({}, {"share": 0.3}),
        "reach_angstrom": ({}, {"reach_angstrom": 4.0}),
        "gaussians": ({}, {"gaussians": 4}),
        "hidden_width": ({}, {"hidden_width": 0}),
    },
    "twins": {
        "method": ({}, {"method": "simsiam"}),
        "redundancy": ({}, {"redundancy": 0.1}),
        "move_angstrom": ({}, {"move_angstrom": 0.0}),
        "hidden_share": ({}, {"hidden_share": 0.0}),
        "rounding": ({"hidden_share": 0.5}, {"rounding": "up"}),
        "single": ({}, {"single": True}),
        "dropped_share": ({}, {"dropped_share": 0.0}),
        "projector_layers": ({}, {"projector_layers": 2}),
        "projector_factor": ({}, {"projector_factor": 1}),
        "activation": ({}, {"activation": "softplus"}),
        "batch_norm": ({}, {"batch_norm": False}),
        "unit_length": ({}, {"unit_length": True}),
        "predictor_factor": (SIMSIAM, {"predictor_factor": 1.0}),
    },
    "dual": {
        "share": ({}, {"share": 0.5}),
        "rounding": ({"share": 0.5}, {"rounding": "up"}),
        "single": ({}, {"single": True}),
        "least_angstrom": ({}, {"least_angstrom": 0.05}),
        "most_angstrom": ({}, {"most_angstrom": 0.5}),
        "contrast": ({}, {"contrast": "cosine"}),
        "temperature": ({}, {"temperature": 0.5}),
        "redundancy": (BARLOW, {"redundancy": 0.1}),
        "projector_layers": ({}, {"projector_layers": 0}),
        "micro": ({}, {"micro": "valence"}),
        # Another potential gives other numbers, not another loss of the same ones: see test_stiffness.py.
        "micro_raw": (STIFF, {"micro_raw": True}),
        "hidden_width": ({}, {"hidden_width": 0}),
        "mask_weight": ({}, {"mask_weight": 0.3}),
        "contrast_weight": ({}, {"contrast_weight": 0.3}),
        "micro_weight": (STIFF, {"micro_weight": 0.3}),
    },
}
SETTINGS = {
    "masked": MaskedSettings,
    "denoise": DenoiseSettings,
    "fingerprint": FingerprintSettings,
    "twins": TwinsSettings,
    "dual": DualSettings,
}
PRESETS = {
    "masked": MASKED_PRESETS,
    "denoise": DENOISE_PRESETS,
    "fingerprint": FINGERPRINT_PRESETS,
    "twins": TWINS_PRESETS,
    "dual": DUAL_PRESETS,
}


@pytest.fixture(scope="module")
def encoder():
    return SiteNet.from_preset("compact", seed=0)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    crystals = example_crystals()
    store = store_of(crystals, tmp_path_factory.mktemp("cache"), max_atoms=10)
    return store.batch(range(len(crystals)), geometry=True)


def loss(name, encoder, batch, preset="default", **options):
    torch.manual_seed(1)
    return new_objective(encoder, name, preset, options).loss(encoder, batch, generator())[0].detach()


def test_names_are_those_of_the_objectives():
    assert tuple(OBJECTIVES) == OBJECTIVE_NAMES


def test_every_objective_is_in_the_contract():
    assert set(OBJECTIVES) == set(LEVELS)


def test_every_option_is_tried():
    # Those of infomax: see test_infomax.py; objectives that read labels are tried where they are tested.
    tried = {name: set(options) for name, options in WALK.items()}
    tried["dual"].add("potential")
    assert {name: set(kind.model_fields) for name, kind in SETTINGS.items()} == tried


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in WALK for option in WALK[name]])
def test_option_changes_the_loss(name, option, encoder, batch):
    around, changed = WALK[name][option]
    assert set(changed) == {option}
    plain, other = (loss(name, encoder, batch, **around, **more) for more in ({}, changed))
    assert other.isfinite() and not torch.equal(plain, other)


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in PRESETS for preset in PRESETS[name]])
def test_presets_differ_and_train(name, preset, encoder, batch):
    losses = {p: float(loss(name, encoder, batch, p)) for p in PRESETS[name]}
    assert len(set(losses.values())) == len(losses)
    assert losses[preset] == losses[preset]  # not NaN


@pytest.mark.parametrize("name", sorted(WALK))
def test_unknown_preset_and_option_are_refused(name, encoder):
    with pytest.raises(InputError, match="Choose one of: default"):
        new_objective(encoder, name, "clever")
    with pytest.raises(InputError, match=r"'tempature'.*Known options"):
        new_objective(encoder, name, "default", {"tempature": 0.1})
