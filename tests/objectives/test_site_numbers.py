"""What is asked of sites beside elements: fingerprints over all images, electrons and stiffness of elements."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.data.elements import PROPERTY_NAMES, element_stiffness, elemental_properties, valence_class
from matgl_infomax.objectives import fingerprint


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


def test_valence_electrons():
    found = valence_class()
    known = {1: 1, 2: 2, 6: 4, 10: 8, 11: 1, 18: 8, 26: 8, 29: 11, 30: 12, 31: 3, 36: 8, 48: 12, 54: 8, 57: 3, 58: 4}
    known |= {71: 17, 72: 4, 79: 11, 80: 12, 81: 3, 82: 4, 86: 8, 92: 6, 103: 17, 104: 4}
    assert {z: int(found[z]) + 1 for z in known} == known
    assert found[0] == -1 and set(found[1:]) == set(range(17))


def test_stiffness_of_elements_is_bulk_modulus_times_volume_and_missing_is_missing():
    """K and V from a handbook: Fe 170 GPa, 7.09 cm3/mol; the numbers are K V in eV."""
    found = element_stiffness()
    known = {4: 6.53, 13: 7.88, 22: 12.13, 26: 12.49, 28: 12.29, 29: 10.32, 41: 19.08, 74: 30.43, 75: 33.98, 82: 8.71}
    assert {z: round(float(found[z]), 2) for z in known} == known
    nothing = [1, 2, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 34, 35, 53, 54, 80, 85, 86, 100, 118]
    assert np.isnan(found[nothing]).all() and not (found == 0).any()
