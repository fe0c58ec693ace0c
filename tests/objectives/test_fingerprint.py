"""Structural fingerprints: sums over all images, and the loss from its formula."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import PROPERTY_NAMES, elemental_properties
from matgl_infomax.objectives import fingerprint
from tests.helpers.build import generator
from tests.helpers.objective_formulas import CLOSE, huber, made, mean_of_crystals, small_batch, small_encoder


def brute_fingerprint(crystal, reach, gaussians):
    """Weighted radial symmetry functions by a sum over all cells around, (N, G * 3)."""
    table = elemental_properties().values
    charge, pull = (table[:, PROPERTY_NAMES.index(name)] / 10 for name in ("atomic_number", "electronegativity"))
    out = np.zeros((crystal.n_sites, gaussians, 3))
    for i, j in product(range(crystal.n_sites), repeat=2):
        for cell in product(range(-4, 5), repeat=3):
            d = np.linalg.norm((crystal.frac[j] + cell - crystal.frac[i]) @ crystal.lattice)
            if 1e-9 < d < reach:
                z = int(crystal.numbers[j])
                for g in range(gaussians):
                    centre, width = (g + 1) * reach / gaussians, reach / gaussians
                    shell = math.exp(-((d - centre) ** 2) / (2 * width**2)) * 0.5 * (1 + math.cos(math.pi * d / reach))
                    out[i, g] += shell * np.array([1.0, charge[z], pull[z]])
    return out.reshape(crystal.n_sites, -1)


def test_fingerprints_are_sums_over_all_images():
    crystals = example_crystals()[1:4]
    found = fingerprint.fingerprints(radius_batch(crystals, 4.5), fingerprint.element_weights(), 4.5, 3)
    expected = np.concatenate([brute_fingerprint(crystal, 4.5, 3) for crystal in crystals])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_a_site_without_neighbours_has_an_empty_fingerprint():
    argon = Crystal("Ar", [18], 20.0 * np.eye(3), [[0.0, 0.0, 0.0]])
    batch = radius_batch([argon], 4.0)
    assert batch.n_pairs == 0
    assert fingerprint.fingerprints(batch, fingerprint.element_weights(), 4.0, 5).tolist() == [[0.0] * 15]


def test_loss_is_the_smooth_error_of_standardised_logarithms():
    encoder, batch = small_encoder(), small_batch()
    objective = made("fingerprint", encoder, gaussians=3)
    loss, parts = objective.loss(encoder, batch, generator())
    raw = fingerprint.fingerprints(batch, fingerprint.element_weights(), 5.0, 3).numpy()
    log = np.log(1 + raw)
    wanted = (log - log.mean(0)) / np.maximum(log.std(0), 0.01)
    told = objective.tell(encoder.encode_sites(batch).vector).detach().numpy()
    everything = [True] * batch.n_sites
    for value, answer in ((loss.detach(), told), (parts["blind"], 0 * told)):
        expected = mean_of_crystals(
            lambda i, a=answer: float(np.mean([huber(x) for x in a[i] - wanted[i]])), everything, batch
        )
        assert float(value) == pytest.approx(expected, **CLOSE)


def test_numbers_that_do_not_differ_are_not_blown_up():
    """All sites of one element in one surrounding: nothing is left to tell, and nothing is divided by zero."""
    copper = example_crystals()[0]
    objective = made("fingerprint", small_encoder())
    wanted = objective.wanted(radius_batch([copper, copper], 5.0))
    assert torch.isfinite(wanted).all() and float(wanted.abs().max()) < 1e-9


def test_reach_never_exceeds_what_the_network_sees():
    class Short:
        reads, reach_angstrom, site_vector_width = "geometry", 3.5, 4

    settings = fingerprint.FingerprintSettings
    assert fingerprint.Fingerprint(Short(), settings()).reach == 3.5
    assert fingerprint.Fingerprint(Short(), settings(reach_angstrom=2.0)).reach == 2.0
    assert fingerprint.Fingerprint(small_encoder(), settings()).reach == 5.0
    views = [
        fingerprint.Fingerprint(e, settings(share=s)).view for e, s in ((small_encoder(), 0), (small_encoder(), 0.2))
    ]
    assert views == ["both", "full"], "hidden sites are no longer equal to others"
    assert fingerprint.Fingerprint(Short(), settings()).view == "full"
