"""A supercell on Niggli-reduced vectors: no choice, order or sign of the lattice vectors enters it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice

from matgl_infomax.data import supercell
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.supercell import (
    Pairs,
    SupercellRule,
    crystal_pairs,
    crystal_score,
    different_turns,
    hermite_form,
    lattice_turns,
    reducing_matrix,
    standard_pairs,
    standard_steps,
    supercell_cells,
    supercell_matrix,
    supercell_pairs,
)
from matgl_infomax.errors import InputError

LATTICES = {
    "cubic": (Lattice.cubic(4.0), 24),
    "face-centred cubic": (Lattice([[0, 2, 2], [2, 0, 2], [2, 2, 0]]), 24),
    "body-centred cubic": (Lattice([[-2, 2, 2], [2, -2, 2], [2, 2, -2]]), 24),
    "hexagonal": (Lattice.hexagonal(3.0, 5.0), 12),
    "rhombohedral": (Lattice.rhombohedral(4.0, 70.0), 6),
    "tetragonal": (Lattice.tetragonal(3.0, 5.0), 8),
    "orthorhombic": (Lattice.orthorhombic(3.0, 4.0, 5.0), 4),
    "monoclinic": (Lattice.monoclinic(3.0, 4.0, 5.0, 100.0), 2),
    "triclinic": (Lattice.from_parameters(3.0, 4.0, 5.0, 80.0, 95.0, 101.0), 1),
}
"""Lattices, and the number of proper rotations of each holohedry (International Tables A, 3.1)."""

ORDERS = [np.eye(3, dtype=int)[list(order)] for order in itertools.permutations(range(3))]


def random_crystal(seed: int) -> Crystal:
    """Two to five sites of up to three elements in an oblique cell of no special shape."""
    rng = np.random.default_rng(seed)
    n_sites = int(rng.integers(2, 6))
    while True:
        lattice = rng.normal(size=(3, 3)) * rng.uniform(2.0, 6.0, (3, 1))
        if abs(np.linalg.det(lattice)) > 8.0:
            return Crystal(f"seed{seed}", rng.choice([8, 22, 56], n_sites), lattice, rng.random((n_sites, 3)))


def environments(crystal: Crystal, pairs: Pairs) -> np.ndarray:
    """Of each site its element and the sorted distances to each element, sites sorted: no numbering enters."""
    rows = []
    for site in range(crystal.n_sites):
        mine = pairs.src == site
        numbers, distance = crystal.numbers[pairs.dst[mine]], pairs.distance[mine]
        per_element = [np.sort(distance[numbers == z]) for z in sorted(set(crystal.numbers.tolist()))]
        rows.append(np.concatenate([[crystal.numbers[site]], *per_element]))
    return np.array(sorted(rows, key=lambda row: np.round(row, 5).tolist()))


def written_otherwise(crystal: Crystal, steps: np.ndarray, shifts: np.ndarray) -> Crystal:
    """The same sites with other vectors of the same lattice, each site in some other cell."""
    return Crystal(crystal.id, crystal.numbers, steps @ crystal.lattice, crystal.frac @ np.linalg.inv(steps) + shifts)


@pytest.mark.parametrize("name", LATTICES)
def test_turns_are_the_rotations_of_the_lattice_system(name):
    lattice, order = LATTICES[name]
    basis = standard_steps(lattice.matrix) @ lattice.matrix
    turns = lattice_turns(basis)
    assert len(turns) == order
    np.testing.assert_array_equal(turns[0], np.eye(3))
    assert len({turn.tobytes() for turn in turns}) == order
    for turn in turns:
        assert round(np.linalg.det(turn)) == 1
        np.testing.assert_allclose((turn @ basis) @ (turn @ basis).T, basis @ basis.T, atol=1e-9)


@pytest.mark.parametrize("name", LATTICES)
def test_reduced_vectors_are_those_of_pymatgen(name):
    lattice = LATTICES[name][0]
    expected = lattice.get_niggli_reduced_lattice()
    for order in ORDERS:
        oblique = order @ np.array([[1, 2, 0], [0, 1, 0], [1, 0, 1]]) @ lattice.matrix
        steps = standard_steps(oblique)
        assert abs(round(np.linalg.det(steps))) == 1
        np.testing.assert_allclose(Lattice(steps @ oblique).parameters, expected.parameters, atol=1e-6)


def is_niggli(lattice: np.ndarray) -> bool:
    """The main conditions for a Niggli-reduced cell (International Tables A, 9.2.2), give or take rounding."""
    metric, tiny = lattice @ lattice.T, 1e-6
    a, b, c = np.diag(metric)
    products = np.array([metric[1, 2], metric[0, 2], metric[0, 1]])
    short = np.abs(products) <= np.array([b, a, a]) / 2 + tiny
    acute, obtuse = (products > -tiny).all(), (products < tiny).all()
    in_sum = acute or 2 * np.abs(products).sum() <= a + b + tiny
    return bool(a <= b + tiny and b <= c + tiny and short.all() and (acute or obtuse) and in_sum)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_reduced_vectors_of_any_lattice_keep_niggli_s_conditions_and_are_unique(seed, other):
    crystal = random_crystal(seed)
    found = standard_steps(crystal.lattice) @ crystal.lattice
    assert is_niggli(found)
    again = unimodular(np.random.default_rng(other)) @ crystal.lattice
    np.testing.assert_allclose(Lattice(standard_steps(again) @ again).parameters, Lattice(found).parameters, atol=1e-5)


def unimodular(rng: np.random.Generator) -> np.ndarray:
    """A random change of basis with small entries."""
    while True:
        steps = rng.integers(-1, 2, (3, 3))
        if abs(round(np.linalg.det(steps))) == 1:
            return steps


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([6, 20, 50]))
def test_how_a_random_crystal_is_written_changes_nothing(seed, other, max_atoms):
    crystal, rng = random_crystal(seed), np.random.default_rng(other)
    rule = SupercellRule(max_atoms, standard=True)
    changed = written_otherwise(crystal, unimodular(rng), rng.integers(-2, 3, (crystal.n_sites, 3)))
    ours, theirs = crystal_pairs(crystal, rule), crystal_pairs(changed, rule)
    np.testing.assert_allclose(environments(crystal, ours), environments(changed, theirs), atol=1e-6)
    assert supercell_cells(crystal, rule) == supercell_cells(changed, rule)


@pytest.mark.parametrize("name", LATTICES)
@pytest.mark.parametrize("max_atoms", [9, 18, 30])
def test_a_crystal_without_the_symmetry_of_its_lattice_does_not_depend_on_the_names_of_the_axes(name, max_atoms):
    """Three sites at general places: the lattice's rotations are no symmetry of the crystal, its vectors stay tied."""
    frac = np.array([[0.0, 0.0, 0.0], [0.11, 0.27, 0.41], [0.62, 0.83, 0.19]])
    crystal = Crystal(name, np.array([8, 22, 56]), LATTICES[name][0].matrix, frac)
    expected = environments(crystal, crystal_pairs(crystal, SupercellRule(max_atoms, standard=True)))
    basis = standard_steps(crystal.lattice)
    for turn in lattice_turns(basis @ crystal.lattice):
        for order in ORDERS:
            changed = written_otherwise(crystal, order @ turn @ basis, np.zeros((3, 3)))
            pairs = crystal_pairs(changed, SupercellRule(max_atoms, standard=True))
            np.testing.assert_allclose(environments(changed, pairs), expected, atol=1e-6)


def test_the_supercell_on_the_given_vectors_does_depend_on_their_order():
    """What the published network does, and why the other presets do not."""
    lattice = Lattice.from_parameters(3.0, 3.2, 3.4, 65.0, 72.0, 110.0).matrix
    crystal = Crystal("oblique", np.array([11, 17]), lattice, np.array([[0.0, 0, 0], [0.4, 0.45, 0.6]]))
    found = [
        environments(crystal, crystal_pairs(written_otherwise(crystal, order, np.zeros((2, 3))), SupercellRule(20)))
        for order in ORDERS
    ]
    assert any(np.abs(one - found[0]).max() > 0.1 for one in found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 12, 40]))
def test_each_pair_is_a_nearest_image_and_each_supercell_site_is_met_once(seed, max_atoms):
    crystal = random_crystal(seed)
    pairs = standard_pairs(crystal.numbers, crystal.lattice, crystal.frac, max_atoms)
    step = (crystal.frac[pairs.dst] + pairs.offset - crystal.frac[pairs.src]) @ crystal.lattice
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), pairs.distance, atol=1e-9)
    steps = standard_steps(crystal.lattice)
    plain = supercell_pairs(steps @ crystal.lattice, crystal.frac @ np.linalg.inv(steps), max_atoms)
    np.testing.assert_array_equal(pairs.src, plain.src)
    np.testing.assert_array_equal(pairs.dst, plain.dst)
    if len(lattice_turns(steps @ crystal.lattice)) == 1:
        np.testing.assert_allclose(pairs.distance, plain.distance, atol=1e-9)


def test_the_most_compact_of_several_supercells_is_taken():
    """Two cells of a square net, side by side along a or along b; the formula is worked out here with loops."""
    lattice, frac = np.diag([3.0, 3.0, 6.0]), np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])
    numbers = np.array([9, 25])
    scores = {}
    for axis in (0, 1):
        cells = np.eye(3)[axis]
        box = lattice.copy()
        box[axis] *= 2
        total = 0.0
        for i in range(2):
            spread = 0.0
            for j, t in itertools.product(range(2), (0, 1)):
                step = (frac[j] + t * cells - frac[i]) @ lattice
                images = [step + np.array(k) @ box for k in itertools.product((-1, 0, 1), repeat=3)]
                spread += numbers[j] ** 0.5 * min(float(image @ image) for image in images)
            total += numbers[i] * spread**2
        scores[axis] = total
    least = min(scores, key=lambda axis: scores[axis])
    assert scores[0] != pytest.approx(scores[1], rel=1e-3)
    pairs = standard_pairs(numbers, lattice, frac, 4)
    used = {axis for axis in (0, 1) if (pairs.offset[pairs.src == pairs.dst][:, axis] != 0).any()}
    assert used == {least}
    found = crystal_score(np.sqrt(numbers.astype(float)), pairs.src, pairs.dst, pairs.distance)
    assert found == pytest.approx(scores[least], rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_hermite_form_spans_the_same_lattice(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-3, 4, (3, 3))
    while round(np.linalg.det(matrix)) == 0:
        matrix = rng.integers(-3, 4, (3, 3))
    form = hermite_form(matrix)
    change = np.linalg.solve(matrix.T.astype(float), form.T.astype(float)).T
    np.testing.assert_allclose(change, np.rint(change), atol=1e-9)
    assert abs(round(np.linalg.det(change))) == 1
    assert (np.tril(form, -1) == 0).all() and (np.diag(form) > 0).all()
    for i, k in itertools.combinations(range(3), 2):
        assert 0 <= form[i, k] < form[k, k]
    np.testing.assert_array_equal(hermite_form(unimodular(rng) @ matrix), form)


def test_turns_that_give_one_supercell_count_once():
    turns = lattice_turns(np.eye(3))
    assert len(different_turns(2 * np.eye(3, dtype=np.int64), turns)) == 1
    # Twice along one of three equal axes: three supercells.
    assert len(different_turns(np.diag([2, 1, 1]), turns)) == 3
    assert len(different_turns(np.diag([3, 2, 1]), turns)) == 6


def test_real_crystals_do_not_depend_on_how_their_lattice_is_written(crystals):
    for crystal in crystals:
        rule = SupercellRule(30, standard=True)
        expected = environments(crystal, crystal_pairs(crystal, rule))
        for order in ORDERS:
            changed = written_otherwise(crystal, order, np.zeros((crystal.n_sites, 3)))
            np.testing.assert_allclose(environments(changed, crystal_pairs(changed, rule)), expected, atol=1e-6)


def test_the_number_of_cells_is_that_of_the_supercell():
    crystal = random_crystal(3)
    for standard in (False, True):
        rule = SupercellRule(40, standard=standard)
        assert supercell_cells(crystal, rule) * crystal.n_sites**2 == len(crystal_pairs(crystal, rule).src)
    given = supercell_matrix(crystal.lattice, crystal.n_sites, 40)
    assert supercell_cells(crystal, SupercellRule(40)) == np.prod(np.diag(given))


@pytest.mark.parametrize("lattice", [np.zeros((3, 3)), np.full((3, 3), np.nan), [[1, 0, 0], [2, 0, 0], [0, 0, 1]]])
def test_a_lattice_without_volume_is_refused(lattice):
    with pytest.raises(InputError, match="lattice with a volume"):
        standard_steps(np.array(lattice, dtype=float))


@pytest.mark.parametrize("name", LATTICES)
def test_a_lattice_that_misses_its_symmetry_by_little_is_reduced_and_does_not_depend_on_the_axes(name):
    """A bare call of spglib finds no end for some of these: where the miss is about as large as its tolerance."""
    rng = np.random.default_rng(5)
    for miss in np.logspace(-12, -2, 41):
        lattice = LATTICES[name][0].matrix + rng.uniform(-miss, miss, (3, 3))
        crystal = Crystal(name, np.array([8, 22]), lattice, np.array([[0.0, 0.0, 0.0], [0.11, 0.27, 0.41]]))
        expected = environments(crystal, crystal_pairs(crystal, SupercellRule(18, standard=True)))
        for order in ORDERS:
            changed = written_otherwise(crystal, order, np.zeros((2, 3)))
            pairs = crystal_pairs(changed, SupercellRule(18, standard=True))
            np.testing.assert_allclose(environments(changed, pairs), expected, atol=1e-5, err_msg=f"miss {miss:g}")


def test_the_next_tolerance_is_taken_where_spglib_finds_no_end(monkeypatch):
    plain, asked = supercell.spglib.niggli_reduce, []

    def stubborn(lattice, eps):
        asked.append(eps)
        return None if len(asked) == 1 else plain(lattice, eps)

    monkeypatch.setattr(supercell.spglib, "niggli_reduce", stubborn)
    lattice = Lattice.hexagonal(3.0, 5.0)
    steps = standard_steps(lattice.matrix)
    assert len(asked) == len(set(asked)) == 2
    # For cells of one cubic angstrom: above rounding, and below any difference that counts.
    assert all(1e-12 < eps < 1e-4 for eps in supercell._NIGGLI_EPS)
    expected = lattice.get_niggli_reduced_lattice().parameters
    np.testing.assert_allclose(Lattice(steps @ lattice.matrix).parameters, expected, atol=1e-6)


@pytest.mark.parametrize("answer", [None, supercell.spglib.SpglibError("no end"), 2.0 * np.eye(3)])
def test_a_lattice_that_spglib_cannot_reduce_is_an_error_that_shows_it(monkeypatch, answer):
    def refuse(lattice, eps):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(supercell.spglib, "niggli_reduce", refuse)
    with pytest.raises(InputError, match=r"no Niggli-reduced cell\. Received: \[\[3\.0, 0\.0"):
        standard_steps(np.diag([3.0, 4.0, 5.0]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_reduced_basis_keeps_the_conditions_of_lenstra_lenstra_and_lovasz(seed):
    """Sizes |mu| <= 1/2 and (3/4 - mu^2) |b*_(k-1)|^2 <= |b*_k|^2, on orthogonal vectors of another maker (QR)."""
    random = np.random.default_rng(seed)
    skew = np.eye(3) + np.tril(random.integers(-9, 10, (3, 3)), -1)
    lattice = skew @ (random.normal(size=(3, 3)) * 10 ** random.uniform(-0.5, 0.5, (3, 1)))
    matrix = reducing_matrix(lattice)
    assert abs(round(np.linalg.det(matrix))) == 1
    triangle = np.linalg.qr((matrix @ lattice).T)[1]
    length = np.diag(triangle)
    mu = triangle.T / length  # (3, 3), mu[k, j] below the diagonal
    assert np.abs(np.tril(mu, -1)).max() <= 0.5 + 1e-9
    for k in (1, 2):
        assert length[k] ** 2 >= (0.75 - mu[k, k - 1] ** 2) * length[k - 1] ** 2 * (1 - 1e-9)
