"""What a test class says about its encoder: limits, units of comparison, example crystals, other cells, batches."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from matgl_infomax.contracts import EncoderCase, example_crystals, in_cell, radius_batch
from matgl_infomax.contracts.case import CONVENTIONAL
from matgl_infomax.data.crystal import Crystal
from tests.helpers.bite import run
from tests.helpers.broken import Sound, SumsInsteadOfMeans


def test_a_known_limit_is_an_expected_failure_and_nothing_more(tmp_path):
    class Declared(SumsInsteadOfMeans):
        limits = {"test_supercell": "it is a sum"}

    with pytest.raises(pytest.xfail.Exception, match=r"known limit: it is a sum \(A crystal in a cell twice as long"):
        Declared().test_supercell()
    assert run(Declared, "test_conventional_cell", tmp_path / "other") is not None


def test_a_limit_that_is_none_must_not_be_declared(tmp_path):
    class Modest(Sound):
        limits = {"test_rotation": "it knows where north is"}

    assert "declared a limit but holds: it knows where north is" in run(Modest, "test_rotation", tmp_path / "a")


def test_limits_of_tests_that_are_not_there_are_refused():
    with pytest.raises(TypeError, match="names tests that there are not: test_roration"):
        type("Mistyped", (Sound,), {"limits": {"test_roration": "north"}})


def test_importing_the_contracts_needs_no_pytest():
    code = "import sys, matgl_infomax.contracts; assert 'pytest' not in sys.modules and 'matgl' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_vectors_are_compared_in_units_of_their_differences():
    """Rows that differ by up to 4: an error of 0.02 is half a per cent of that, whatever is added to all."""
    expected = torch.tensor([[0.0, 1.0], [4.0, 2.0]], dtype=torch.float64) + 1000
    found = expected + torch.tensor([[0.0, 0.02], [0.0, 0.0]])
    EncoderCase().agree(found, expected, 0.0051, "Off.")
    with pytest.raises(AssertionError, match=r"Off\. Off by 5e-03 of the difference between rows, allowed is 5e-03"):
        EncoderCase().agree(found, expected, 0.0049, "Off.")


def test_what_cannot_be_compared_is_said():
    with pytest.raises(AssertionError, match=r"Sites\. Shape \(2, 1\), not \(3, 1\)"):
        EncoderCase().agree(torch.ones(2, 1), torch.ones(3, 1), 1.0, "Sites.")
    with pytest.raises(AssertionError, match="gives all these crystals the same vector"):
        EncoderCase().agree(torch.ones(2, 1), torch.ones(2, 1), 1.0, "Sites.")


def test_example_crystals_have_no_two_neighbours_at_a_usual_cutoff():
    """A pair at the cut-off itself would be in or out as rounding will have it."""
    crystals = example_crystals()
    assert sorted(c.n_sites for c in crystals) == [1, 2, 2, 3, 4, 5]
    distance = radius_batch(crystals, 7.0).distance
    for cutoff in (4.0, 5.0, 6.0):
        assert float((distance - cutoff).abs().min()) > 1e-4


@pytest.mark.parametrize(
    ("matrix", "cells"),
    [
        (np.diag([2, 1, 1]), 2),
        (CONVENTIONAL, 4),
        ([[1, 0, 0], [0, 1, 0], [1, 0, 1]], 1),
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], 1),
    ],
    ids=["twice", "cube", "shear", "turned"],
)
def test_other_cells_hold_the_same_crystal(matrix, cells):
    """Composition, density and all distances stay."""
    for crystal in example_crystals():
        other = in_cell(crystal, matrix)
        assert sorted(other.numbers) == sorted(np.tile(crystal.numbers, cells))
        volumes = [abs(np.linalg.det(c.lattice)) for c in (crystal, other)]
        assert volumes[1] == pytest.approx(cells * volumes[0])
        place = other.frac @ other.lattice @ np.linalg.inv(crystal.lattice)  # in terms of the old cell
        for number, row in zip(other.numbers, place, strict=True):
            off = row - crystal.frac[crystal.numbers == number]
            assert np.abs(off - np.round(off)).max(axis=1).min() < 1e-9
        pairs = [np.sort(radius_batch([c], 4.5).distance) for c in (crystal, other)]
        np.testing.assert_allclose(pairs[1], np.repeat(pairs[0], cells), atol=1e-9)


def test_the_conventional_cell_of_rock_salt_is_a_cube():
    salt = in_cell(example_crystals()[1], CONVENTIONAL)
    np.testing.assert_allclose(salt.lattice, 5.64 * np.eye(3), atol=1e-12)
    assert salt.n_sites == 8


def test_radius_batch_puts_crystals_side_by_side():
    crystals = example_crystals()[:3]
    batch, sizes = radius_batch(crystals, 4.0), [c.n_sites for c in crystals]
    assert batch.owner.tolist() == [0, 1, 1, 2, 2] and batch.size.tolist() == sizes
    assert batch.number.tolist() == [int(z) for c in crystals for z in c.numbers]
    assert torch.equal(batch.owner[batch.src], batch.owner[batch.dst]), "no pair between crystals"
    assert bool((batch.src.diff() >= 0).all())
    step = batch.frac[batch.dst] + batch.offset - batch.frac[batch.src]
    vector = (step.unsqueeze(1) @ batch.lattice[batch.owner[batch.src]]).squeeze(1)
    torch.testing.assert_close(vector.norm(dim=1), batch.distance)
    # Twelve neighbours at 2.55 and six at 3.61 angstrom: copper is close-packed.
    assert int(batch.degree[0]) == 18 and float(batch.distance.max()) <= 4.0


def test_lone_atoms_have_no_pairs():
    argon = Crystal("Ar", np.array([18]), 20 * np.eye(3), np.zeros((1, 3)))
    batch = radius_batch([argon, argon], 4.0)
    assert (batch.n_sites, batch.n_pairs, batch.n_crystals) == (2, 0, 2) and batch.offset.shape == (0, 3)
