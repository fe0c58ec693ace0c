"""scikit-learn's own tools work on crystals: cloning, cross-validation, pipelines, grids, pickles; and its checks."""

from __future__ import annotations

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from matgl_infomax import CrystalClassifier, CrystalRegressor, CrystalVectors
from matgl_infomax.api import embed
from matgl_infomax.errors import InputError
from tests.helpers.build import many
from tests.helpers.shipped import ship_small, stand_in

NAME = "sitenet-small"
ELEMENTS = ["Na", "Cl", "Mg", "O", "Li", "F", "Cs"]
DIRECT = (
    "check_no_attributes_set_in_init",
    "check_estimator_repr",
    "check_estimator_cloneable",
    "check_estimators_unfitted",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_parameters_default_constructible",
)
"""scikit-learn's checks that need no data. Every other one is left out, for it fits arrays of numbers."""


@pytest.fixture
def few(tmp_path, crystals, monkeypatch):
    """Twelve rock salts and cesium chlorides in strained cells, with weights that know their elements."""
    folder = tmp_path / "shipped"
    corpus = {"name": "small", "crystals": 2, "source": "textbooks", "licence": "CC-BY-4.0", "left_out": "the rest",
              "elements": ELEMENTS}  # fmt: skip
    ship_small(folder, crystals[2:4], corpus=corpus)
    stand_in(monkeypatch, folder)
    return many(crystals[2:6], 12)


def values(crystals):
    return np.array([crystal.labels["y"] for crystal in crystals])


@pytest.fixture
def regressor(tmp_path):
    return CrystalRegressor(NAME, steps=30, folds=0, cache=tmp_path / "cache")


def test_it_learns_and_predicts_in_order(few, regressor):
    y = values(few)
    regressor.set_params(steps=300).fit(few, y)
    predicted = regressor.predict(few)
    assert predicted.shape == (12,)
    assert np.abs(predicted - y).mean() < np.abs(y - np.median(y)).mean()
    assert regressor.predict(few[::-1]) == pytest.approx(predicted[::-1], abs=1e-4)


def test_the_uncertainty_is_the_error_on_crystals_that_a_model_had_not_seen(few, regressor):
    y = values(few)
    regressor.set_params(folds=3).fit(few, y)
    mean, std = regressor.predict(few[:5], return_std=True)
    assert std.tolist() == [regressor.std_] * 5 and mean.shape == (5,)
    assert regressor.std_ == pytest.approx(np.sqrt((regressor.out_of_fold_errors_**2).mean()))
    again = clone(regressor).fit(few[:8], y[:8])
    assert again.out_of_fold_errors_.shape == (8,)


def test_structures_atoms_and_columns_are_the_same_crystals(few, regressor):
    regressor.fit(few, values(few))
    expected = regressor.predict(few[:3])
    structures = [crystal.to_structure() for crystal in few[:3]]
    assert regressor.predict(structures) == pytest.approx(expected, abs=1e-5)
    assert regressor.predict([s.to_ase_atoms() for s in structures]) == pytest.approx(expected, abs=1e-5)
    assert regressor.predict(pd.Series(structures, index=["c", "a", "b"])) == pytest.approx(expected, abs=1e-5)


def test_a_pickle_predicts_bit_for_bit(few, regressor):
    regressor.fit(few, values(few))
    again = pickle.loads(pickle.dumps(regressor))
    assert again.predict(few).tolist() == regressor.predict(few).tolist()


def test_cross_validation_grids_and_pipelines(few, regressor, tmp_path):
    y = values(few)
    assert len(cross_val_score(regressor, few, y, cv=2)) == 2
    grid = GridSearchCV(regressor, {"steps": [2, 30]}, cv=2, scoring="neg_mean_absolute_error").fit(few, y)
    assert grid.best_params_["steps"] in (2, 30) and grid.predict(few).shape == (12,)
    trees = ExtraTreesRegressor(n_estimators=10, random_state=0)
    pipeline = make_pipeline(CrystalVectors(NAME, cache=tmp_path / "cache"), trees).fit(few, y)
    assert np.abs(pipeline.predict(few) - y).mean() < 0.1


def test_vectors_are_those_of_embed(few, tmp_path):
    vectors = CrystalVectors(NAME, cache=tmp_path / "cache")
    found = vectors.fit_transform(few)
    table = embed(few, NAME, cache=tmp_path / "cache", progress=False)
    assert found.tolist() == table.drop(columns="id").to_numpy().tolist()
    assert vectors.get_feature_names_out().tolist() == list(table.columns[1:])


def test_classes_of_any_name(few, tmp_path):
    y = np.where(values(few) < np.median(values(few)), "strong", "weak")
    found = CrystalClassifier(NAME, steps=300, cache=tmp_path / "cache").fit(few, y)
    assert found.classes_.tolist() == ["strong", "weak"]
    probability = found.predict_proba(few)
    assert probability.sum(axis=1) == pytest.approx(np.ones(12))
    assert found.score(few, y) == np.mean(found.predict(few) == y) > 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": [1.0]}, "There are 12 crystals and 1 labels"),
        ({"y": ["a"] * 12}, "y holds something that is no number"),
        ({"y": np.ones((12, 2))}, r"Received the shape \(12, 2\)"),
        ({"y": [np.nan] * 12}, "missing or infinite"),
        ({"folds": 13}, "folds is 0, or from 2 to the number of crystals, 12. Received: 13"),
        ({"folds": 1}, "Received: 1"),
        ({"X": 5}, "Crystals are given as a list"),
        ({"init": "quartz"}, "No weights have this name"),
    ],
)
def test_mistakes_get_a_sentence(few, regressor, change, said):
    given = {"X": few, "y": values(few)} | {key: value for key, value in change.items() if key in "Xy"}
    regressor.set_params(**{key: value for key, value in change.items() if key not in "Xy"})
    with pytest.raises(InputError, match=said):
        regressor.fit(**given)


def test_without_folds_there_is_no_uncertainty(few, regressor):
    with pytest.raises(InputError, match="fitted with folds=0"):
        regressor.fit(few, values(few)).predict(few, return_std=True)


def test_one_class_is_refused(few):
    with pytest.raises(InputError, match=r"Two classes can be told apart\. Received: 1"):
        CrystalClassifier(NAME).fit(few, ["a"] * 12)


@pytest.mark.parametrize("kind", [CrystalRegressor, CrystalClassifier])
def test_unfitted_is_scikit_learns_error(kind, few):
    with pytest.raises(NotFittedError):
        kind(NAME).predict(few)


def name_of(check):
    return getattr(check, "func", check).__name__


ALL_CHECKS = [
    (estimator, check)
    for kind in (CrystalRegressor, CrystalClassifier, CrystalVectors)
    for estimator, check in estimator_checks_generator(kind())
]


@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for pair in ALL_CHECKS if name_of(pair[1]) in DIRECT],
    ids=lambda value: type(value).__name__ if hasattr(value, "get_params") else name_of(value),
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_only_checks_that_fit_arrays_are_left_out():
    """A check that needs no data would run without X: those of scikit-learn that take a name and an estimator do."""
    assert set(DIRECT) <= {name_of(check) for _, check in ALL_CHECKS}
    left_out = {name_of(check): check for _, check in ALL_CHECKS if name_of(check) not in DIRECT}
    sources = {name: inspect.getsource(getattr(check, "func", check)) for name, check in left_out.items()}
    assert [
        name for name, source in sources.items() if not re.search(r"fit|X\b|transform|predict|sparse", source)
    ] == []
