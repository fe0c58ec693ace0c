"""Probes on vectors whose answer is known: perfect where it is inside, chance where not, no crystal on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.symmetry.groups import SpaceGroup

from matgl_infomax.errors import InputError
from matgl_infomax.train import probe as module
from matgl_infomax.train.probe import (
    FOLDS,
    PROBES,
    Target,
    chosen_sites,
    composition_of_crystals,
    composition_of_sites,
    cross_validate,
    crystal_targets,
    make_folds,
    neighbour_shells,
    site_targets,
)

OWNER = np.repeat(np.arange(40), 5)
"""Forty crystals of five sites each."""


def numbers(values, level="site"):
    return Target("size", level, "number", np.asarray(values, dtype=float), "angstrom")


def classes(values, level="site"):
    return Target("colour", level, "class", np.asarray(values, dtype=float))


def asked(vectors, target, probe, owner=OWNER):
    return cross_validate(vectors, target, make_folds(target, owner, 0), probe)


def test_vectors_that_hold_the_answer_score_perfectly():
    rng = np.random.default_rng(0)
    values, kinds = rng.standard_normal(200), rng.integers(3, size=200)
    linear = np.stack([2 * values + 1, rng.standard_normal(200)], axis=1)
    found = asked(linear, numbers(values), "linear")
    assert found.value == pytest.approx(1, abs=1e-5) and found.mae == pytest.approx(0, abs=1e-2)
    assert found.balanced is None and found.sd == pytest.approx(0, abs=1e-4)
    for probe in PROBES:
        right = asked(np.eye(3)[kinds], classes(kinds), probe)
        assert (right.value, right.balanced, right.sd, right.mae) == (1, 1, 0, None)
        assert not right.errors.any()


@pytest.mark.parametrize("probe", PROBES)
def test_random_vectors_are_at_chance(probe):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((200, 4))
    assert asked(vectors, numbers(rng.standard_normal(200)), probe).value < 0.1
    kinds = rng.integers(4, size=200)
    folds = make_folds(classes(kinds), OWNER, 0)
    assert folds.chance == np.bincount(kinds).max() / 200
    assert abs(asked(vectors, classes(kinds), probe).value - 0.25) < 0.12


def test_numbers_by_hand():
    truth = np.arange(10.0)
    made = module._score("number", truth, truth + 1, make_folds(numbers(truth, "crystal"), np.arange(10), 0))
    assert made.value == pytest.approx(1 - 10 / 82.5) and made.mae == 1 and (made.errors == 1).all()


def test_shares_by_hand():
    truth, found = np.array([0, 0, 0, 1, 1.0]), np.array([0, 0, 1, 1, 0.0])
    folds = module.Folds(np.arange(5), np.arange(5), 0, 0.6)
    score = module._score("class", truth, found, folds)
    assert score.value == pytest.approx(0.6) and score.balanced == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert score.sd == pytest.approx(np.std([1, 1, 0, 1, 0], ddof=1))


@pytest.mark.parametrize("kind", ["number", "class"])
def test_all_sites_of_a_crystal_are_in_one_fold(kind):
    rng = np.random.default_rng(2)
    values = rng.integers(3, size=200).astype(float)
    folds = make_folds(Target("any", "site", kind, values), OWNER, 0)
    assert {len(set(folds.fold[OWNER[folds.rows] == crystal])) for crystal in range(40)} == {1}
    assert sorted(set(folds.fold)) == list(range(FOLDS)) and np.bincount(folds.fold).min() >= 20
    again, other = (make_folds(Target("any", "site", kind, values), OWNER, seed) for seed in (0, 1))
    assert (again.fold == folds.fold).all() and (other.fold != folds.fold).any()


def test_name_of_the_crystal_tells_nothing_about_another():
    """Each crystal has its own answer and its own vector: only folds that split crystals would score."""
    rng = np.random.default_rng(3)
    names, answers = rng.standard_normal((40, 8)), rng.standard_normal(40)
    assert asked(names[OWNER], numbers(answers[OWNER]), "knn").value < 0.2
    whole = make_folds(numbers(answers[OWNER]), np.arange(200), 0)
    assert cross_validate(names[OWNER], numbers(answers[OWNER]), whole, "knn").value > 0.6


@pytest.mark.parametrize("probe", PROBES)
def test_the_tested_fold_is_never_learnt_from(probe):
    rng = np.random.default_rng(4)
    vectors, values = rng.standard_normal((200, 3)), rng.standard_normal(200)
    folds = make_folds(numbers(values), OWNER, 0)
    test = folds.fold == 2
    spoilt = values + 1e3 * test
    plain, moved = (cross_validate(vectors, numbers(v), folds, probe).errors for v in (values, spoilt))
    answer = spoilt[test] - moved[test]  # far below the spoilt values, so the sign of the error is known
    np.testing.assert_allclose(np.abs(answer - values[test]), plain[test], atol=1e-9)


def test_missing_answers_and_rare_classes_are_left_out():
    rng = np.random.default_rng(5)
    values = rng.integers(2, size=200).astype(float)
    values[:5], values[5:10], values[10] = 7, np.nan, 8
    folds = make_folds(classes(values), OWNER, 0)
    assert folds.dropped == 6 and set(values[folds.rows]) == {0, 1} and folds.rows.min() == 11
    few = numbers(np.where(np.arange(200) < 30, rng.standard_normal(200), np.nan))
    assert make_folds(few, OWNER, 0).rows.tolist() == list(range(30))
    assert len(asked(rng.standard_normal((200, 2)), few, "linear").errors) == 30


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (numbers(np.where(np.arange(200) < 20, np.arange(200), np.nan)), "at least 5 crystals with a value of size"),
        (numbers(np.full(200, np.nan)), "Found: 0"),
        (classes(np.arange(200)), "fewer than two classes that occur in at least 5 crystals"),
        (classes(np.r_[np.zeros(199), 1]), "colour has fewer than two classes"),
        (numbers(np.full(200, 2.5)), r"size is the same everywhere \(2.5\)"),
        (numbers(np.zeros(200)), "the same everywhere"),
    ],
    ids=["few", "none", "every-site-its-own", "one-member", "constant", "zero"],
)
def test_what_cannot_be_asked_gets_a_sentence(target, sentence):
    with pytest.raises(InputError, match=sentence):
        make_folds(target, OWNER, 0)


def test_a_probe_that_is_none_and_vectors_that_are_none_are_refused():
    target, vectors = numbers(np.arange(200.0)), np.ones((200, 2))
    with pytest.raises(InputError, match=r"Probes are: linear, knn. Received: deep"):
        asked(vectors, target, "deep")
    vectors[3] = np.nan
    with pytest.raises(InputError, match="diverged"):
        asked(vectors, target, "linear")


def test_collapsed_vectors_know_nothing_and_five_crystals_are_enough():
    rng = np.random.default_rng(6)
    target = numbers(rng.standard_normal(5), "crystal")
    for probe in PROBES:
        found = asked(np.ones((5, 3)), target, probe, np.arange(5))
        assert found.value < 0 and found.sd is None


def test_scores_repeat_bit_for_bit():
    rng = np.random.default_rng(7)
    vectors, kinds = rng.standard_normal((200, 6)), rng.integers(3, size=200)
    one, two = (asked(vectors, classes(kinds), "linear") for _ in range(2))
    assert one.value == two.value and (one.errors == two.errors).all()


def test_shells_of_structures_that_everybody_knows(crystals):
    by_name = {crystal.id: crystal for crystal in crystals}
    known = {
        "Cu": (12, 3.61 / 2**0.5, 3.61), "Po": (6, 3.35, 3.35 * 2**0.5), "NaCl": (6, 2.82, 2.82 * 2**0.5),
        "ZnS": (4, 5.41 * 3**0.5 / 4, 5.41 / 2**0.5), "CsCl": (14, 4.12 * 3**0.5 / 2, 4.12 * 2**0.5),
    }  # fmt: skip
    for name, row in known.items():
        found = neighbour_shells(by_name[name])
        np.testing.assert_allclose(found, np.repeat(np.array(row)[:, None], found.shape[1], axis=1))


def test_an_atom_alone_in_a_huge_cell_has_shells_too(crystals):
    lonely = replace(crystals[1], lattice=30.0 * np.eye(3))
    np.testing.assert_allclose(neighbour_shells(lonely)[:, 0], [6, 30, 30 * 2**0.5])


def test_facts_of_whole_crystals(crystals):
    names = [crystal.id for crystal in crystals]
    found = {target.name: dict(zip(names, target.values, strict=True)) for target in crystal_targets(crystals)}
    groups = {"Cu": 225, "Po": 221, "NaCl": 225, "CsCl": 221, "ZnS": 216, "SrTiO3": 221, "GaN": 186, "KXeO": 1}
    assert {name: found["space_group"][name] for name in groups} == groups
    assert [found["crystal_system"][name] for name in ("NaCl", "GaN", "KXeO")] == [6, 5, 0]
    assert found["density"]["NaCl"] == pytest.approx(2.16, abs=0.01)
    assert found["density"]["Cu"] == pytest.approx(8.97, abs=0.01)
    assert found["volume_per_atom"]["Po"] == pytest.approx(3.35**3)
    assert (found["n_elements"]["Cu"], found["n_elements"]["SrTiO3"]) == (1, 3)


def test_crystal_system_of_every_space_group(crystals, monkeypatch):
    """As pymatgen names them."""
    known = [SpaceGroup.from_int_number(number).crystal_system for number in range(1, 231)]
    names = [name for _, name in module.SYSTEMS]
    groups = iter(range(1, 231))
    monkeypatch.setattr(module, "space_group_label", lambda crystal: float(next(groups)))
    found = next(t for t in crystal_targets([crystals[0]] * 230) if t.name == "crystal_system")
    assert [names[int(system)] for system in found.values] == known


def test_no_target_is_a_label_and_composition_knows_no_structure(crystals):
    asked_of = [*site_targets(crystals), *crystal_targets(crystals)]
    relabelled = [replace(crystal, labels={"y": 1e6}) for crystal in crystals]
    for one, other in zip(asked_of, [*site_targets(relabelled), *crystal_targets(relabelled)], strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    moved = [replace(c, lattice=c.lattice * 1.3, frac=c.frac**2) for c in crystals]
    for features in (composition_of_sites, composition_of_crystals):
        np.testing.assert_array_equal(features(crystals), features(moved))
    assert composition_of_sites(crystals).shape == (sum(c.n_sites for c in crystals), 42)


def test_sites_are_drawn_up_to_a_number():
    rows, owner = chosen_sites(np.array([2, 3, 1]), 10, 0)
    assert rows.tolist() == list(range(6)) and owner.tolist() == [0, 0, 1, 1, 1, 2]
    few, of = chosen_sites(np.array([2, 3, 1]), 4, 0)
    assert len(few) == 4 and (np.diff(few) > 0).all() and (of == owner[few]).all()
    assert (few == chosen_sites(np.array([2, 3, 1]), 4, 0)[0]).all()


@pytest.mark.parametrize("probe", PROBES)
def test_where_a_training_part_holds_one_class_only_that_one_is_the_answer(probe):
    vectors, model = np.arange(12.0).reshape(6, 2), module._new_probe(probe, "class", 6)
    assert module._answers(model, vectors, np.full(6, 2.0), vectors[:3] + 0.5).tolist() == [2.0, 2.0, 2.0]
