"""DSSL: every preset from its formula, the physical numbers of sites, and options that contradict each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.elements import element_stiffness, valence_class
from matgl_infomax.data.share import Share
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import dual, new_objective
from matgl_infomax.objectives.base import SiteNumber
from tests.helpers.build import generator
from tests.helpers.objective_formulas import (
    CLOSE,
    contrast,
    cos,
    cross_entropy,
    huber,
    made,
    mean_of_crystals,
    recorded,
    small_batch,
    small_encoder,
)

WEIGHTS = {  # mask, contrast, micro
    "default": (1.0, 1.0, 0.5),
    "published": (0.5, 0.5, 0.0),
    "published_valence": (0.1, 1.0, 0.1),
    "published_stiffness": (0.1, 1.0, 0.1),
}


@pytest.mark.parametrize("preset", sorted(dual.DUAL_PRESETS))
def test_loss_is_the_weighted_sum_of_its_parts(preset, monkeypatch):
    encoder, batch = small_encoder(), small_batch()
    options = {"micro": "stiffness"} if preset == "default" else {}
    objective = made("dual", encoder, preset, **options)
    kept = recorded(monkeypatch, dual, "some_sites", "with_hidden", "within")
    loss, parts = objective.loss(encoder, batch, generator())
    hidden, vectors = kept["some_sites"][0], encoder.encode_sites(kept["with_hidden"][0]).vector
    score = objective.guess(vectors)
    element = mean_of_crystals(lambda i: cross_entropy(score[i], int(batch.number[i])), hidden, batch)
    a, b = (objective.project(encoder.encode(view).crystal).detach().numpy() for view in kept["within"])
    agreement = contrast(a, b, 0.1) if preset == "default" else np.mean([1 - cos(*z) for z in zip(a, b, strict=True)])
    assert [float(parts["element"]), float(parts["contrast"])] == pytest.approx([element, agreement], **CLOSE)
    mask_weight, contrast_weight, micro_weight = WEIGHTS[preset]
    micro = micro_of(objective, vectors, hidden, batch, preset) if micro_weight else 0.0
    expected = mask_weight * element + contrast_weight * agreement + micro_weight * micro
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)


def micro_of(objective, vectors, hidden, batch, preset):
    """Error of the physical number, site by site."""
    told = objective.micro.tell(vectors)
    if preset == "published_valence":
        classes = valence_class()
        return mean_of_crystals(lambda i: cross_entropy(told[i], int(classes[int(batch.number[i])])), hidden, batch)
    table = element_stiffness()
    log = np.log(1 + table[~np.isnan(table)])

    def error(i):
        wanted = float(np.float32(table[int(batch.number[i])]))
        if preset == "published_stiffness":
            return abs(float(told[i].detach()) - wanted)
        return huber(float(told[i].detach()) - (math.log(1 + wanted) - log.mean()) / log.std(ddof=1))

    known = [bool(h) and not np.isnan(table[int(z)]) for h, z in zip(hidden, batch.number, strict=True)]
    assert 0 < sum(known) < int(hidden.sum()), "some hidden sites have a stiffness and some have none"
    return mean_of_crystals(error, known, batch)


def with_micro(values):
    """The small batch with a number of each site, NaN where none is given."""
    batch = small_batch()
    numbers = torch.full((batch.n_sites,), torch.nan, dtype=torch.float64)
    numbers[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return replace(batch, site_property=numbers)


def test_stiffness_of_sites_is_standardised_over_the_known_ones():
    """A site may be unstable: its logarithm keeps the sign."""
    values = [math.e - 1, 1 - math.e, math.e**3 - 1]  # signed logarithms 1, -1, 3
    wanted, known = dual.SiteStiffness(4, 0, raw=False).numbers(with_micro(values))
    assert known.tolist() == [True] * 3 + [False] * (len(known) - 3)
    spread = np.std([1.0, -1.0, 3.0])
    np.testing.assert_allclose(wanted[:3], np.array([0.0, -2.0, 2.0]) / spread, atol=1e-12)
    raw, _ = dual.SiteStiffness(4, 0, raw=True).numbers(with_micro(values))
    np.testing.assert_allclose(raw[:3], values)


@pytest.mark.parametrize("values", [[], [2.0], [2.0, 2.0]], ids=["none known", "one known", "all the same"])
def test_numbers_that_hardly_differ_are_not_blown_up(values):
    batch = with_micro(values)
    wanted, known = dual.SiteStiffness(4, 0, raw=False).numbers(batch)
    assert int(known.sum()) == len(values) and torch.isfinite(wanted[known]).all() and not wanted[known].any()
    vectors = torch.ones(batch.n_sites, 4, dtype=torch.float64)
    chosen = torch.ones(batch.n_sites, dtype=torch.bool)
    loss = dual.SiteStiffness(4, 0, raw=False).double().loss(vectors, chosen, Share.of(batch))
    assert torch.isfinite(loss) and (float(loss.detach()) > 0) == bool(values)


def test_a_batch_without_numbers_of_sites_is_refused():
    with pytest.raises(InputError, match="asks for numbers of sites, and the batch has none"):
        dual.SiteStiffness(4, 0, raw=False).numbers(small_batch())


def test_only_numbers_of_a_potential_are_asked_of_the_trainer():
    asked = made("dual", small_encoder(), micro="hessian", potential="folder").asks
    assert asked == SiteNumber("hessian", "folder")
    assert made("dual", small_encoder(), micro="stiffness").asks is None


@pytest.mark.parametrize(
    "options",
    [
        {"contrast": "cosine", "temperature": 0.5},
        {"redundancy": 0.1},
        {"micro_weight": 0.3},
        {"micro": "valence", "micro_raw": True},
        {"micro": "valence", "potential": "somewhere"},
    ],
)
def test_options_that_would_do_nothing_are_refused(options):
    with pytest.raises(InputError, match="does nothing with"):
        new_objective(small_encoder(), "dual", "default", options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"least_angstrom": 0.4, "most_angstrom": 0.2}, r"least_angstrom 0\.4 is above most_angstrom 0\.2"),
        ({"micro": "hessian"}, "micro hessian comes from a potential"),
        ({"mask_weight": 0, "contrast_weight": 0}, "nothing is left"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        new_objective(small_encoder(), "dual", "default", options)


@pytest.mark.parametrize(("contrast_name", "refused"), [("nt_xent", True), ("barlow", True), ("cosine", False)])
def test_only_a_contrast_with_other_crystals_needs_some(contrast_name, refused):
    batch, encoder = radius_batch(example_crystals()[1:2], 4.0), small_encoder()
    objective = made("dual", encoder, contrast=contrast_name)
    if refused:
        with pytest.raises(InputError, match=f"The contrast {contrast_name} needs at least 2 crystals"):
            objective.loss(encoder, batch, generator())
    else:
        assert torch.isfinite(objective.loss(encoder, batch, generator())[0])
