"""The key of a structure: known space groups and orbits, and no choice of cell changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from matgl_infomax.data.corpus_index import CorpusIndex, structure_key
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError

ROCKSALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
ALUMINA = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
)


def key(structure: Structure) -> str:
    return structure_key(Crystal.from_structure(structure, id="a"))


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (ROCKSALT, "NaCl 225 2 11:1x1 17:1x1"),
        (RUTILE, "O2Ti 136 6 8:4x1 22:2x1"),  # Wyckoff 4f and 2a
        (ALUMINA, "O3Al2 167 10 8:6x1 13:4x1"),  # 18e and 12c of a cell three times as large
    ],
)
def test_space_group_and_orbits_are_those_of_the_tables(structure, expected):
    assert key(structure) == expected


CELLS = st.lists(st.integers(-1, 2), min_size=9, max_size=9).filter(
    lambda v: 1 <= abs(round(np.linalg.det(np.reshape(v, (3, 3))))) <= 3
)


@settings(max_examples=30, deadline=None)
@given(cell=CELLS, seed=st.integers(0, 2**32 - 1), which=st.sampled_from([ROCKSALT, RUTILE, ALUMINA]))
def test_cell_origin_order_and_small_relaxations_do_not_change_it(cell, seed, which):
    random = np.random.default_rng(seed)
    other = which.make_supercell(np.reshape(cell, (3, 3)), in_place=False)
    other = Structure.from_sites([other[k] for k in random.permutation(len(other))])
    other.translate_sites(range(len(other)), random.random(3))
    other.apply_strain(random.uniform(-0.02, 0.02))
    moved = other.cart_coords + random.uniform(-0.003, 0.003, (len(other), 3))
    other = Structure(other.lattice, other.species, moved, coords_are_cartesian=True)
    assert key(other) == key(which)


def test_other_structures_have_other_keys():
    wurtzite = Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.81, 6.26), ["Zn", "S"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]
    )
    blende = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    cesium = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert len({key(wurtzite), key(blende), key(cesium), key(ROCKSALT)}) == 4


def test_without_symmetry_the_formula_is_marked(monkeypatch):
    monkeypatch.setattr("spglib.get_symmetry_dataset", lambda *_, **__: None)
    assert key(ROCKSALT) == "NaCl ?"


def crystal(structure: Structure) -> Crystal:
    return Crystal.from_structure(structure, id="a")


BLENDE = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
CESIUM = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_an_index_knows_what_it_holds_in_any_cell_and_nothing_else(tmp_path):
    index = CorpusIndex.of(crystal(s) for s in (ROCKSALT, RUTILE))
    index.save(tmp_path / "index.npz")
    for known in (index, CorpusIndex.load(tmp_path / "index.npz")):
        assert (known.crystals, known.without_symmetry) == (2, 0)
        found = known.seen([crystal(s) for s in (ROCKSALT * [1, 2, 1], CESIUM, BLENDE, RUTILE)])
        assert found.formula.tolist() == [True, True, False, True]
        assert found.structure.tolist() == [True, False, False, True]
        assert str(found) == "the structure of 2 and the formula of 3"


@given(hashes=st.sets(st.integers(0, 2**40 - 1), max_size=50))
def test_no_hash_is_lost_on_the_way_to_the_file(tmp_path_factory, hashes):
    file = tmp_path_factory.mktemp("index") / "index.npz"
    ordered = np.array(sorted(hashes), dtype=np.uint64)
    CorpusIndex(ordered, ordered[::2], 60, 1).save(file)
    again = CorpusIndex.load(file)
    assert again.formulas.tolist() == sorted(hashes) and again.structures.tolist() == sorted(hashes)[::2]
    assert (again.crystals, again.without_symmetry) == (60, 1)


def test_crystals_without_symmetry_are_counted_and_known_by_formula(monkeypatch):
    monkeypatch.setattr("spglib.get_symmetry_dataset", lambda *_, **__: None)
    index = CorpusIndex.of([crystal(ROCKSALT)])
    assert (index.crystals, index.without_symmetry) == (1, 1)


@pytest.mark.parametrize("content", [b"", b"no index", b"PK\x03\x04"])
def test_a_damaged_index_is_told(tmp_path, content):
    (tmp_path / "index.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"Cannot read the index of a corpus in .*index\.npz"):
        CorpusIndex.load(tmp_path / "index.npz")


def test_a_missing_index_is_told(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the index"):
        CorpusIndex.load(tmp_path / "none.npz")
