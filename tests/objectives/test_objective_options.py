"""Every option of every objective changes its loss, and what is unknown or does nothing is refused."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
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
from matgl_infomax.objectives.infomax import InfoMaxSettings
from matgl_infomax.objectives.masked import MASKED_PRESETS, MaskedSettings
from matgl_infomax.objectives.supervised import SupervisedSettings
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


# Option -> its default and the values that it may have, as docs/methods and the cited papers say where they say it.
STATED: dict[str, dict[str, tuple[float | bool, str]]] = {
    "masked": {"share": (0.15, "0 < x <= 1"), "single": (False, ""), "hidden_width": (64, "0 <= x")},
    "denoise": {
        "least_angstrom": (0.02, "0 < x"),
        "most_angstrom": (0.5, "0 < x"),
        "strain": (0.08, "0 <= x"),
        "reach_angstrom": (5.0, "0 < x"),
        "hidden_width": (64, "1 <= x"),
    },
    "fingerprint": {
        "share": (0.0, "0 <= x <= 1"),
        "reach_angstrom": (5.0, "0 < x"),
        "gaussians": (8, "2 <= x"),  # the step between shells is the reach over one less
        "hidden_width": (64, "0 <= x"),
    },
    "twins": {
        "redundancy": (0.0051, "0 < x"),
        "move_angstrom": (0.05, "0 <= x"),
        "hidden_share": (0.1, "0 <= x < 1"),
        "single": (False, ""),
        "dropped_share": (0.1, "0 <= x < 1"),
        "projector_layers": (3, "0 <= x"),
        "projector_factor": (4, "1 <= x"),
        "batch_norm": (True, ""),
        "unit_length": (False, ""),
        "predictor_factor": (0.25, "0 < x"),
    },
    "dual": {
        "share": (0.15, "0 < x <= 1"),
        "single": (False, ""),
        "least_angstrom": (0.0, "0 <= x"),
        "most_angstrom": (0.1, "0 < x"),
        "temperature": (0.1, "0 < x"),
        "redundancy": (0.0051, "0 < x"),
        "projector_layers": (2, "0 <= x"),
        "micro_raw": (False, ""),
        "hidden_width": (64, "0 <= x"),
        "mask_weight": (1.0, "0 <= x"),
        "contrast_weight": (1.0, "0 <= x"),
        "micro_weight": (0.5, "0 < x"),
    },
    "infomax": {
        "extra_negatives": (True, ""),
        "kl_weight": (0.1, "0 <= x"),
        "greedy": (True, ""),
        "local_weight": (1.0, "0 <= x"),
        "global_weight": (1.0, "0 <= x"),
        "noise_angstrom": (0.0, "0 <= x"),
        "strain": (0.0, "0 <= x"),
        "hidden_share": (0.0, "0 <= x < 1"),
        "akin": (False, ""),
        "critic_hidden": (64, "1 <= x"),
        "critic_width": (128, "1 <= x"),
    },
    "supervised": {
        "energy_weight": (1.0, "0 <= x"),
        "force_weight": (1.0, "0 <= x"),
        "stress_weight": (1.0, "0 <= x"),
        "relaxed": (False, ""),
        "hidden_width": (64, "1 <= x"),
    },
}
KINDS = {**SETTINGS, "infomax": InfoMaxSettings, "supervised": SupervisedSettings}
FIELDS = [(name, option) for name in STATED for option in STATED[name]]


def refused(kind, option, value):
    """Whether the value itself is refused; rules between options are tried where the objectives are."""
    try:
        kind(**{option: value})
    except InputError as error:
        return any(problem["loc"] == (option,) for problem in error.__cause__.errors())
    return False


def test_every_number_of_an_option_is_stated():
    numbers = {
        (n, o) for n, k in KINDS.items() for o, f in k.model_fields.items() if isinstance(f.default, int | float)
    }
    assert set(FIELDS) == numbers


@pytest.mark.parametrize(("name", "option"), FIELDS)
def test_option_has_its_stated_default_and_limits(name, option):
    default, limits = STATED[name][option]
    field = KINDS[name].model_fields[option]
    assert field.default == default and type(field.default) is type(default)
    step = 1 if field.annotation is int else 1e-9
    for sign, limit in ((-1, re.match(r"(\d+) (<=?) x", limits)), (1, re.search(r"x (<=?) (\d+)", limits))):
        if limit is None:
            assert sign > 0 or field.annotation is bool, "every number has a least value"
            continue
        edge = next(int(word) for word in limit.groups() if word.isdigit())
        assert refused(KINDS[name], option, edge) == ("<=" not in limit.groups())
        assert refused(KINDS[name], option, edge + sign * step)
        assert not refused(KINDS[name], option, edge - sign * step)


def test_share_of_wrong_versions_is_above_none_and_at_most_all():
    assert InfoMaxSettings().wrong_share is None
    assert [refused(InfoMaxSettings, "wrong_share", x) for x in (0, 1e-9, 1, 1 + 1e-9)] == [True, False, False, True]


PUBLISHED_DUAL = {"least_angstrom": 0.1, "most_angstrom": 0.5, "contrast": "cosine", "projector_layers": 0}


@pytest.mark.parametrize(
    ("name", "preset", "options"),
    [
        # The tables in docs/methods; of the papers, what they say themselves.
        ("denoise", "gentle", {"least_angstrom": 0.02, "most_angstrom": 0.3, "strain": 0.02, "answer": "distances"}),
        ("denoise", "published", {"least_angstrom": 0.02, "most_angstrom": 0.3, "strain": 0.0, "answer": "distances"}),
        ("denoise", "coordinates", {"least_angstrom": 0.04, "most_angstrom": 0.04, "strain": 0.0}),
        ("masked", "published", {"share": 0.15, "single": True, "hidden_width": 0}),
        ("fingerprint", "hidden", {"share": 0.15}),
        ("twins", "published", {"redundancy": 0.0051, "single": True, "batch_norm": False, "unit_length": True}),
        ("twins", "published_simsiam", {"single": True, "projector_layers": 0, "predictor_factor": 1.0}),
        ("dual", "published", {**PUBLISHED_DUAL, "mask_weight": 0.5, "contrast_weight": 0.5}),
        ("dual", "published_valence", {**PUBLISHED_DUAL, "micro": "valence"}),
        ("dual", "published_stiffness", {**PUBLISHED_DUAL, "micro": "stiffness", "micro_raw": True}),
    ],
)
def test_preset_is_what_its_page_says(name, preset, options, encoder):
    settings = new_objective(encoder, name, preset).settings
    assert {option: getattr(settings, option) for option in options} == options


@pytest.mark.parametrize("name", sorted(WALK))
def test_objective_asks_for_the_positions_that_it_reads(name, encoder):
    crystals = example_crystals()
    asked = new_objective(encoder, name, "default").geometry
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(crystals, Path(folder), max_atoms=10)
        bare, full = (store.batch(range(len(crystals)), geometry=g) for g in (asked, True))
        assert torch.equal(loss(name, encoder, bare), loss(name, encoder, full))


BATCH_NORM = {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize("name", sorted(WALK))
def test_saved_state_holds_weights_alone(name, encoder):
    """Whatever follows from the settings is made anew: it is in no file, so files of earlier versions still open."""
    objective = new_objective(encoder, name, "default")
    learnt = {key for key, _ in objective.named_parameters()}
    counted = {key for key in objective.state_dict() if key.rpartition(".")[2] in BATCH_NORM}
    assert set(objective.state_dict()) == learnt | counted
