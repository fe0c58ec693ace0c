"""The crystals of the demonstration: neutral, not overlapping, all different; their label is the real Ewald energy."""

from __future__ import annotations

import re
import sys
from collections import Counter

import numpy as np
import pytest
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Species, Structure

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies import demo

N = 150


@pytest.fixture(scope="module")
def made():
    return demo.demo_crystals(N, 0, progress=False)


def test_the_number_asked_for_with_different_names(made):
    assert len(made) == N
    assert len(Crystals(made)) == N  # refuses equal ids


def test_the_labels_are_a_binding_energy_and_its_pressure(made):
    assert {tuple(crystal.labels) for crystal in made} == {(demo.TARGET, demo.PRESSURE)}
    energies = np.array([crystal.labels[demo.TARGET] for crystal in made])
    assert np.all(np.isfinite(energies))
    assert np.all((energies < 0) & (energies > -200))
    assert energies.std() > 1


def test_labels_are_ewald_energies_of_a_neutral_assignment_of_charges(made):
    """Computed again from the crystal alone: some neutral choice of the ions in the pool gives the label."""
    for crystal in made[:25]:
        found = [_ewald(crystal, charges) for charges in _neutral(crystal)]
        assert any(energy == pytest.approx(crystal.labels[demo.TARGET], rel=1e-6) for energy in found), crystal.id


def _neutral(crystal):
    """All neutral assignments of charges to the elements of a crystal."""
    counts = Counter(int(z) for z in crystal.numbers)
    choices = [{}]
    for z in counts:
        charges = [ion.charge for ion in demo._ions() if z == Species(ion.symbol).Z]
        choices = [{**choice, z: charge} for choice in choices for charge in charges]
    return [c for c in choices if sum(c[z] * n for z, n in counts.items()) == 0]


def _ewald(crystal, charges):
    structure = crystal.to_structure()
    charged = Structure(
        structure.lattice, [Species(s.specie.symbol, charges[s.specie.Z]) for s in structure], crystal.frac
    )
    return EwaldSummation(charged).total_energy / len(charged)


def test_ewald_energy_of_rock_salt_is_the_madelung_energy():
    """Madelung constant of rock salt 1.747565 (textbook), 14.39964 eV angstrom, contact 2.82 angstrom, two atoms."""
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), [Species("Na", 1), Species("Cl", -1)], [[0] * 3, [0.5] * 3]
    )
    assert demo._ewald_energy_per_atom(salt) == pytest.approx(-1.747565 * 14.39964 / 2.82 / 2, rel=1e-5)


def test_no_atoms_overlap_and_no_crystal_is_mostly_empty(made):
    for crystal in made:
        structure = crystal.to_structure()
        distance = structure.get_neighbor_list(4.0)[3]
        assert distance.min() > 1.2, crystal.id
        assert structure.volume / len(structure) <= demo.LARGEST_VOLUME


def test_closest_opposite_ions_touch():
    """Rock salt, scaled by hand: contact = sum of radii, whatever size the prototype had."""
    closest = np.array([[4.0, 2.0], [2.0, 4.0]])
    ions = [demo.Ion("Na", 1, 1.16), demo.Ion("Cl", -1, 1.67)]
    assert demo._touching_scale(closest, ions) * 2.0 == pytest.approx(1.16 + 1.67)


def test_like_ions_that_would_overlap_are_refused():
    """Pyrite's pairs of anions fit sulphur atoms that are bonded, not ions."""
    closest = np.array([[3.8, 2.26], [2.26, 2.18]])
    assert demo._touching_scale(closest, [demo.Ion("Fe", 2, 0.75), demo.Ion("S", -2, 1.70)]) is None


def test_many_structure_types_and_compositions(made):
    prototypes = Counter(re.sub(r"^\d+:", "", crystal.id).split(":")[0] for crystal in made)
    assert len(prototypes) > 60
    assert max(prototypes.values()) < N / 10
    assert len({crystal.reduced_formula for crystal in made}) > N / 2
    assert all(crystal.n_sites <= demo.MAX_SITES for crystal in made)


def test_no_crystal_comes_twice(made):
    assert len({(c.reduced_formula, round(c.labels[demo.TARGET], 4)) for c in made}) == N


def test_a_seed_gives_the_same_crystals_and_another_seed_others(made):
    again = demo.demo_crystals(40, 0, progress=False)
    assert [c.id for c in again] == [c.id for c in made[:40]]
    assert all(np.array_equal(a.lattice, b.lattice) and a.labels == b.labels for a, b in zip(again, made, strict=False))
    assert {c.id[5:] for c in demo.demo_crystals(40, 1, progress=False)} != {c.id[5:] for c in again}


def test_bar_is_shown_only_when_asked(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    demo.demo_crystals(3, 0)
    assert "making crystals: 100%" in capsys.readouterr().err
    demo.demo_crystals(3, 0, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("n", [0, -5])
def test_no_crystals_asked_for(n):
    with pytest.raises(InputError, match=f"Received: n = {n}"):
        demo.demo_crystals(n, 0)


def test_more_than_there_are(monkeypatch):
    """One prototype and two ions give one crystal: the loop ends and says so."""
    rock_salt = next(p for p in demo._prototypes() if p.name.startswith("AB_cF8_225"))
    monkeypatch.setattr(demo, "_prototypes", lambda: (rock_salt,))
    monkeypatch.setattr(demo, "_ions", lambda: (demo.Ion("Na", 1, 1.16), demo.Ion("Cl", -1, 1.67)))
    with pytest.raises(InputError, match="only 1 different crystals"):
        demo.demo_crystals(5, 0, progress=False)


def test_the_pressure_is_the_slope_of_the_energy():
    """Against a difference quotient of pymatgen's Ewald sum: cells a little larger and smaller, ions moved along."""
    crystal = demo.demo_crystals(1, seed=5, progress=False)[0]
    structure = crystal.to_structure()
    structure.add_oxidation_state_by_guess()
    energies, volumes = [], []
    for strain in (-1e-3, 1e-3):
        other = structure.copy()
        other.apply_strain(strain)
        energies.append(EwaldSummation(other).total_energy)
        volumes.append(other.volume)
    slope = (energies[1] - energies[0]) / (volumes[1] - volumes[0])  # eV per cubic angstrom
    assert slope * 1.602176634e-19 / 1e-30 / 1e9 == pytest.approx(10 ** crystal.labels[demo.PRESSURE], rel=1e-3)
