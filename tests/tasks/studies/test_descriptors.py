"""Descriptors of structures are matminer's, kept per crystal, and a failure has a reason instead of a hole."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies import descriptors as module
from matgl_infomax.tasks.studies.descriptors import WIDTHS, structure_descriptors


class Counter:
    """A featurizer that counts, fails on command, and knows nothing of crystals."""

    def __init__(self, fail: str = "", error: type[BaseException] = ValueError) -> None:
        self.seen: list[str] = []
        self.fail, self.error = fail, error

    def featurize(self, structure):
        formula = structure.composition.reduced_formula
        self.seen.append(formula)
        if formula == self.fail:
            raise self.error("no neighbours")
        return [float(len(self.seen))] * WIDTHS["xrd"]


@pytest.fixture
def counter(monkeypatch):
    def use(**options) -> Counter:
        made = Counter(**options)
        monkeypatch.setattr(module, "_structure_featurizer", lambda name: made)
        return made

    return use


def test_values_are_matminers(crystals, tmp_path):
    from matminer.featurizers.structure import OrbitalFieldMatrix, XRDPowderPattern

    few = crystals[2:4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # matminer still uses numpy's matrices
        references = {"orbital_field": OrbitalFieldMatrix(period_tag=True, flatten=True), "xrd": XRDPowderPattern()}
        values = {k: [made.featurize(c.to_structure()) for c in few] for k, made in references.items()}
    for name, expected in values.items():
        found = structure_descriptors(name, few, tmp_path, progress=False)
        assert found.values.shape == (2, WIDTHS[name]) and not found.failures
        np.testing.assert_allclose(found.values, np.array(expected), rtol=1e-6, atol=1e-30)
        assert found.values.std() > 0


def test_computed_once_per_crystal_whatever_its_name(crystals, tmp_path, counter):
    used = counter()
    first = structure_descriptors("xrd", crystals[:5], tmp_path, progress=False)
    renamed = [replace(crystal, id=f"again-{crystal.id}") for crystal in crystals[4::-1]]
    again = structure_descriptors("xrd", [*renamed, crystals[5]], tmp_path, progress=False)
    assert len(used.seen) == 6  # five, and the one that is new
    np.testing.assert_array_equal(again.values[:5], first.values[::-1])
    moved = replace(crystals[0], lattice=crystals[0].lattice * 1.001)
    structure_descriptors("xrd", [moved, moved], tmp_path, progress=False)
    assert len(used.seen) == 7


def test_a_structure_that_fails_has_a_reason_and_keeps_its_row(crystals, tmp_path, counter):
    counter(fail="MgO")
    for _ in range(2):  # computed, then from the files
        found = structure_descriptors("xrd", crystals[2:5], tmp_path, progress=False)
        assert list(found.failures) == [1] and "no neighbours" in found.failures[1]
        assert np.isnan(found.values[1]).all() and np.isfinite(found.values[[0, 2]]).all()


def test_numbers_that_are_none_are_a_failure(crystals, tmp_path, counter, monkeypatch):
    used = counter()
    monkeypatch.setattr(used, "featurize", lambda structure: [np.inf] * WIDTHS["xrd"])
    found = structure_descriptors("xrd", crystals[:1], tmp_path, progress=False)
    assert found.failures == {0: "matminer gives no finite number"}


def test_ctrl_c_is_no_failure_and_finished_blocks_are_kept(crystals, tmp_path, counter, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 2)
    counter(fail="LiF", error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        structure_descriptors("xrd", crystals[:6], tmp_path, progress=False)
    used = counter()
    found = structure_descriptors("xrd", crystals[:6], tmp_path, progress=False)
    assert not found.failures
    assert used.seen == ["LiF", "CsCl"]


def test_a_damaged_block_is_said(crystals, tmp_path, counter):
    counter()
    structure_descriptors("xrd", crystals[:2], tmp_path, progress=False)
    (file,) = tmp_path.glob("xrd-*/*.npz")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"is damaged .* Delete it"):
        structure_descriptors("xrd", crystals[:2], tmp_path, progress=False)


@pytest.mark.slow
def test_two_processes_find_the_same(crystals, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 2)
    alone = structure_descriptors("xrd", crystals[:6], tmp_path / "a", progress=False)
    both = structure_descriptors("xrd", crystals[:6], tmp_path / "b", workers=2, progress=False)
    np.testing.assert_array_equal(alone.values, both.values)
