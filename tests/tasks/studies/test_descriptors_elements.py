"""Descriptors are matminer's, computed once per data set."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies import descriptors as module
from matgl_infomax.tasks.studies.descriptors import described, descriptors, read_descriptors
from tests.helpers.build import many


def test_values_are_matminers(crystals, tmp_path):
    from matminer.featurizers.composition import ElementProperty

    values = read_descriptors(descriptors(crystals, tmp_path, progress=False))
    assert values.shape == (len(crystals), 132)
    assert np.isfinite(values).all()  # xenon's missing properties are imputed
    reference = ElementProperty.from_preset("magpie", impute_nan=True)
    for crystal, row in zip(crystals, values, strict=True):
        whole = reference.featurize(crystal.to_structure().composition)
        np.testing.assert_allclose(row, np.array(whole, dtype=np.float32), rtol=1e-6, atol=1e-6)


def test_computed_once_per_formula_and_data_set(crystals, tmp_path, monkeypatch):
    seen = []
    real = module._featurise
    monkeypatch.setattr(module, "_featurise", lambda start, some: seen.extend(some) or real(start, some))
    file = descriptors(many(crystals, 30), tmp_path, progress=False)
    assert sorted(seen) == sorted({crystal.reduced_formula for crystal in crystals})
    again = descriptors(many(crystals, 30, seed=5), tmp_path, progress=False)  # other lattices, same compositions
    assert again == file and len(seen) == len(crystals)
    assert descriptors(many(crystals, 29), tmp_path, progress=False) != file


def test_a_damaged_file_is_said(crystals, tmp_path):
    file = descriptors(crystals, tmp_path, progress=False)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match=r"is damaged .* Delete it"):
        read_descriptors(file)


def test_orbital_fields_are_kept_as_one_array_and_failures_as_nan(crystals, tmp_path, monkeypatch):
    file = described("orbital_field", crystals[:4], tmp_path, progress=False)
    values = read_descriptors(file)
    assert values.shape == (4, 1521) and np.isfinite(values).all()
    monkeypatch.setattr("matgl_infomax.tasks.studies.descriptors._numbers", None)  # nothing is computed again
    assert described("orbital_field", crystals[:4], tmp_path, progress=False) == file
    assert described("orbital_field", crystals[:3], tmp_path, progress=False) != file  # and these come from the blocks
    assert described("magpie", crystals[:4], tmp_path, progress=False) == descriptors(crystals[:4], tmp_path)
