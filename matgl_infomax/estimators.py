"""Estimators for scikit-learn: crystals in, numbers, classes or vectors out, from pretrained weights.

They are thin: ``finetune``, ``predict`` and ``embed`` do the work. A fitted estimator holds the files of its model as
bytes, so that it can be pickled; only plain tensors are read back.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

from matgl_infomax import api
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import write_sums
from matgl_infomax.settings.training import FinetuneSettings

if TYPE_CHECKING:
    from matgl_infomax.data.inputs import Source

WEIGHTS = "sitenet-mp"
"""Weights that estimators start from unless told otherwise."""
LABEL = "y"


class _Learner(BaseEstimator):
    """What regressor and classifier share: a fine-tuned model, kept as the bytes of its files."""

    _task: Any = "regression"

    def __init__(
        self,
        init: str | Path | None = WEIGHTS,
        *,
        steps: int = 0,
        extend_elements: bool = False,
        random_state: int = 0,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        self.init = init
        self.steps = steps
        self.extend_elements = extend_elements
        self.random_state = random_state
        self.cache = cache
        self.progress = progress

    def _fit_model(self, crystals: Source, labels: NDArray[np.float64]) -> dict[str, bytes]:
        """Fine-tune on crystals with their labels, (n,), and give the files of the model."""
        settings = FinetuneSettings(steps=self.steps, seed=self.random_state, task=self._task)
        given: dict[str, Any] = {} if self.cache is None else {"cache": self.cache}
        if self.init is not None:
            given["init"] = self.init
        with tempfile.TemporaryDirectory() as folder:
            made = api.finetune(
                crystals, {LABEL: labels}, folder, settings=settings, extend_elements=self.extend_elements,
                progress=self.progress, **given,
            )  # fmt: skip
            needed = ("model.json", "model.pt", "state.pt", "finetune.json")
            return {name: (made.path / name).read_bytes() for name in needed}

    def _values(self, crystals: Source, files: dict[str, bytes]) -> NDArray[np.float64]:
        """Predictions of a model, (n,)."""
        given: dict[str, Any] = {} if self.cache is None else {"cache": self.cache}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            write_sums(folder, [folder / file for file in files])
            table = api.predict(crystals, folder, progress=self.progress, **given)
        return table[LABEL].to_numpy(dtype=np.float64)


class CrystalRegressor(RegressorMixin, _Learner):
    """Predict a property of crystals, from pretrained weights and few measured values.

    Args:
        init: weights to start from: a name such as ``sitenet-mp``, a folder, or None for a network from scratch.
        steps: optimiser steps; 0 takes what the number of labels was found to need.
        folds: parts of the training crystals of which each is predicted by a model that has not seen it; their errors
            give ``std_``. 0 leaves that out, and ``return_std`` with it; each part costs one more training.
        extend_elements: give the weights vectors for elements that they do not know, instead of stopping.
        random_state: seed of the head, of the order of crystals and of the parts.
        cache: folder for prepared crystals; ``~/.cache/matgl_infomax`` when None.
        progress: show bars.
    """

    def __init__(
        self,
        init: str | Path | None = WEIGHTS,
        *,
        steps: int = 0,
        folds: int = 5,
        extend_elements: bool = False,
        random_state: int = 0,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(
            init, steps=steps, extend_elements=extend_elements, random_state=random_state,
            cache=cache, progress=progress,
        )  # fmt: skip
        self.folds = folds

    def fit(self, X: Source, y: Any) -> Self:
        """Fine-tune on crystals and their values.

        Args:
            X: n crystals: a list of pymatgen ``Structure``, ASE ``Atoms`` or ``Crystal``, a column of a table, or a
                file or folder.
            y: measured values in the order of the crystals, (n,).

        Raises:
            InputError: If crystals or values cannot be used.
        """
        crystals, values = _crystals(X), _labels(y)
        _same_length(crystals, values)
        if self.folds == 1 or self.folds < 0 or self.folds > len(values):
            raise InputError(f"folds is 0, or from 2 to the number of crystals, {len(values)}. Received: {self.folds}.")
        self.std_: float | None = None
        if self.folds:
            errors = np.empty(len(values))
            parts = KFold(self.folds, shuffle=True, random_state=self.random_state)
            for train, test in parts.split(values):
                files = self._fit_model([crystals[int(k)] for k in train], values[train])
                errors[test] = self._values([crystals[int(k)] for k in test], files) - values[test]
            self.out_of_fold_errors_ = errors
            self.std_ = float(np.sqrt(np.mean(errors**2)))
        self.files_ = self._fit_model(crystals, values)
        self.n_crystals_ = len(values)
        return self

    def predict(self, X: Source, return_std: bool = False) -> Any:
        """Predict crystals.

        Args:
            X: m crystals, as for ``fit``.
            return_std: give the uncertainty too: the root mean square error on crystals that a model had not seen,
                one number for all crystals.

        Returns:
            Values, (m,); with ``return_std`` also their standard deviations, (m,).

        Raises:
            InputError: If crystals cannot be used, or there is no uncertainty.
        """
        check_is_fitted(self, "files_")
        values = self._values(_crystals(X), self.files_)
        if not return_std:
            return values
        if self.std_ is None:
            raise InputError("There is no uncertainty, for the regressor was fitted with folds=0. Fit with folds=5.")
        return values, np.full(len(values), self.std_)


class CrystalClassifier(ClassifierMixin, _Learner):
    """Tell two classes of crystals apart, from pretrained weights and few labels; its arguments are the regressor's."""

    _task = "classification"

    def fit(self, X: Source, y: Any) -> Self:
        """Fine-tune on crystals and their classes.

        Args:
            X: n crystals, as for ``CrystalRegressor``.
            y: classes in the order of the crystals, two different values, (n,).

        Raises:
            InputError: If crystals cannot be used, or there are not two classes.
        """
        crystals, given = _crystals(X), np.asarray(y)
        _same_length(crystals, given)
        self.classes_ = np.unique(given)
        if len(self.classes_) != 2:
            raise InputError(f"Two classes can be told apart. Received: {len(self.classes_)}.")
        self.files_ = self._fit_model(crystals, (given == self.classes_[1]).astype(np.float64))
        return self

    def predict_proba(self, X: Source) -> NDArray[np.float64]:
        """Probabilities of both classes, (m, 2).

        Args:
            X: m crystals, as for ``fit``.
        """
        check_is_fitted(self, "files_")
        second = self._values(_crystals(X), self.files_)
        return np.stack([1 - second, second], axis=1)

    def predict(self, X: Source) -> NDArray[Any]:
        """The more probable class of each crystal, (m,).

        Args:
            X: m crystals, as for ``fit``.
        """
        probabilities = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return found


class CrystalVectors(TransformerMixin, BaseEstimator):
    """Turn crystals into the vectors of a pretrained network, for any estimator of scikit-learn.

    Args:
        init: weights: a name such as ``sitenet-mp``, or a folder.
        cache: folder for prepared crystals; ``~/.cache/matgl_infomax`` when None.
        progress: show bars.
    """

    def __init__(self, init: str | Path = WEIGHTS, *, cache: str | Path | None = None, progress: bool = False) -> None:
        self.init = init
        self.cache = cache
        self.progress = progress

    def fit(self, X: Source, y: Any = None) -> Self:  # noqa: ARG002
        """Learn nothing; the vectors are those of the pretrained network.

        Args:
            X: crystals, as for ``transform``; the first one is embedded, so that mistakes show here.
            y: not read.
        """
        self.n_vector_ = self.transform([_crystals(X)[0]]).shape[1]
        return self

    def transform(self, X: Source) -> NDArray[np.float64]:
        """The vector of each crystal, (m, D).

        Args:
            X: m crystals: a list of pymatgen ``Structure``, ASE ``Atoms`` or ``Crystal``, a column of a table, or a
                file or folder.
        """
        given: dict[str, Any] = {} if self.cache is None else {"cache": self.cache}
        table = api.embed(_crystals(X), self.init, progress=self.progress, **given)
        return table.drop(columns="id").to_numpy(dtype=np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:  # noqa: ARG002
        """Names of the numbers of a vector, (D,).

        Args:
            input_features: not read.
        """
        check_is_fitted(self, "n_vector_")
        return np.array([f"v{k}" for k in range(self.n_vector_)], dtype=object)


def _crystals(source: Source) -> Any:
    """The crystals of whatever holds them, in order."""
    return read_crystals(source, progress=False)


def _labels(y: Any) -> NDArray[np.float64]:
    """Values as numbers, (n,).

    Raises:
        InputError: If they are no numbers, of another shape, or missing.
    """
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y holds something that is no number: {error}.") from error
    if values.ndim != 1:
        raise InputError(f"y holds one value for each crystal, in one dimension. Received the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise InputError("y holds a missing or infinite value. Leave such crystals out.")
    return values


def _same_length(crystals: Any, values: NDArray[Any]) -> None:
    """Refuse labels that are not one for each crystal."""
    if len(crystals) != len(values):
        raise InputError(
            f"There are {len(crystals)} crystals and {len(values)} labels. Give one label for each crystal."
        )
