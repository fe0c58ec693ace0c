"""The arms of a learning curve: ways from the same few labels to predictions of the same test crystals."""

from __future__ import annotations

import hashlib
import math
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import DivergedError, InputError
from matgl_infomax.io import cached_array, sha256_of
from matgl_infomax.settings.base import seed_of_32_bits
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings
from matgl_infomax.weights import folder_of

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store
    from matgl_infomax.nn.build import Encoder


Thing = TypeVar("Thing")

CHOOSING_SHARE = 0.2
"""Share of the mask on which learning rates are compared, where there are several."""

ALPHAS = np.logspace(-4, 6, 31)
"""Penalties among which ridge regression chooses by leaving one label out."""


@dataclass(frozen=True)
class ArmTask:
    """All that an arm gets to see. Labels outside the mask and test labels are not in it."""

    rows: NDArray[np.int64]
    """Rows of the unmasked crystals, in the order of their draw, (n,)."""
    labels: NDArray[np.float64]
    """Their labels, (n,)."""
    test: NDArray[np.int64]
    """Rows to predict, (m,)."""
    seed: int
    """Decides initial weights and the order of the data."""
    model: ModelSettings
    finetune: FinetuneSettings
    learning_rates: tuple[float, ...]
    """Learning rates to choose among; none takes the one of the fine-tuning settings."""
    cache: Path
    """Folder for vectors under a hash of their content."""
    store: Store | None = None
    """Prepared crystals, for all arms with a network."""
    weights: Path | None = None
    """Folder of the pretrained encoder, for the arms that start from one."""
    features: Path | None = None
    """File of descriptors, for the arms that need them."""
    split_seed: int | None = None
    """Decides which labels choose the checkpoint; the seed when left out. Models of an ensemble share it."""


@dataclass(frozen=True)
class ArmAnswer:
    """What an arm gives back."""

    prediction: NDArray[np.float64]
    """Predictions in units of the target, (m,)."""
    initial: str | None = None
    """SHA-256 of the weights before the first step; None without weights."""
    tried: tuple[tuple[float, float], ...] = ()
    """Learning rates and their errors on the held-out part of the mask, infinite where the training failed."""
    training: dict[str, Any] | None = None
    """Final learning rate, retries and whether the network is dead; None where no network was trained."""


Arm = Callable[[ArmTask], ArmAnswer]


def scratch(task: ArmTask) -> ArmAnswer:
    """A new network, all weights trained on the labels alone."""
    from matgl_infomax.nn.build import new_model

    return _trained(task, lambda: new_model(task.model, 1, task.seed), pretrained=False)


def finetuned(task: ArmTask) -> ArmAnswer:
    """A pretrained encoder with a new head, trained on the labels with the same budget as from scratch."""
    from matgl_infomax.nn.build import with_new_head

    encoder = open_encoder(_needed(task.weights, "pretrained weights"), task.model)
    return _trained(task, lambda: with_new_head(encoder, 1, task.seed), pretrained=True)


def frozen(task: ArmTask) -> ArmAnswer:
    """Ridge regression on the crystal vectors of the pretrained encoder as it is."""
    return _ridge(task, open_encoder(_needed(task.weights, "pretrained weights"), task.model))


def untrained(task: ArmTask) -> ArmAnswer:
    """The same ridge regression on an encoder with random weights: what the architecture gives by itself."""
    from matgl_infomax.nn.build import new_model

    return _ridge(task, new_model(task.model, 1, task.seed))


def without_network(head: Head, task: ArmTask) -> ArmAnswer:
    """Trees, a forest or a Gaussian process on descriptors."""
    from matgl_infomax.tasks.studies.descriptors import read_descriptors

    features = read_descriptors(_needed(task.features, "descriptors"))
    return ArmAnswer(predict_from(head, features[task.rows], task.labels, features[task.test], task.seed))


# Models without a network on descriptors: extremely randomised trees, a random forest, a Gaussian process.

Head = Literal["trees", "forest", "gaussian"]


DESCRIBED: dict[str, tuple[str, Head]] = {
    "descriptors": ("magpie", "trees"),
    "descriptors_forest": ("magpie", "forest"),
    "descriptors_gaussian": ("magpie", "gaussian"),
    "orbital_field": ("orbital_field", "trees"),
}
"""Arms without a network: which descriptors, and what is fitted to them."""


ARMS: dict[str, Arm] = {
    "scratch": scratch,
    "finetuned": finetuned,
    "frozen": frozen,
    "untrained": untrained,
    **{name: partial(without_network, head) for name, (_, head) in DESCRIBED.items()},
    "corpus": finetuned,
    "corpus_frozen": frozen,
    "transferred": finetuned,
}
"""NAME=FOLDER in a study is the arm ``finetuned`` with weights of one's own, of several pretrainings if need be."""


def named_arms(arms: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Names of the arms, with their folders of weights: none for the arms that need none given.

    NAME=FOLDER,FOLDER names several pretrainings of one recipe. A folder whose own name has a comma is one folder.

    Raises:
        InputError: For an unknown arm, a name that cannot be one, or an arm or a folder of an arm given twice.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for arm in arms:
        name, equals, folder = arm.partition("=")
        if not equals and name not in ARMS:
            raise InputError(f"There is no such arm. Received: {arm}. Known: {', '.join(ARMS)}, or NAME=FOLDER.")
        whole = Path(folder).expanduser()
        words = [folder] if whole.exists() else folder.split(",")
        if equals and (name in ARMS or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or not all(words)):
            raise InputError(
                "Weights of your own are given as NAME=FOLDER (or NAME=FOLDER,FOLDER), "
                f"the name made of letters, digits, '_', '-' and '.', "
                f"and other than {', '.join(ARMS)}. Received: {arm}."
            )
        if name in found:
            raise InputError(f"Each arm can be asked for once. Received twice: {name}.")
        found[name] = tuple(folder_of(word) for word in words) if equals else ()
        again = [path for path in found[name] if found[name].count(path) > 1]
        if again:
            raise InputError(f"Each pretraining of an arm needs a folder of its own. Received twice: {again[0]}.")
    return found


def open_encoder(folder: Path, model: ModelSettings) -> Encoder:
    """An encoder whose crystals are prepared as in this study.

    Raises:
        InputError: If the folder holds no encoder, or one that needs other pairs.
    """
    from matgl_infomax.nn.build import edge_rule, load_encoder

    encoder = load_encoder(folder)
    # How equal sites are merged changes no result: the encoder does not remember it.
    needs, has = ({**asdict(rule), "merge_angstrom": None} for rule in (encoder.edges, edge_rule(model)))
    if needs != has or type(encoder.edges) is not type(edge_rule(model)):
        differing = {name: value for name, value in needs.items() if has.get(name, value) != value}
        raise InputError(
            f"The encoder in {folder} was trained on {_in_words(needs)}, this study has {_in_words(has)}. "
            f"{_remedy(differing)}"
        )
    return encoder


def _in_words(rule: dict[str, Any]) -> str:
    """How crystals become pairs."""
    cell = "primitive cells" if rule["primitive"] else "cells as they are"
    if "max_atoms" in rule:
        vectors = "Niggli-reduced vectors" if rule["standard"] else "the vectors given"
        return f"supercells of {rule['max_atoms']} atoms on {vectors} ({cell})"
    return f"neighbours within {rule['cutoff_angstrom']:g} angstrom ({cell})"


def _remedy(needed: dict[str, Any]) -> str:
    """What to say on the command line so that a study prepares crystals as an encoder needs them."""
    words = []
    if "max_atoms" in needed:
        words.append(f"--model.supercell-atoms {needed['max_atoms']}")
    if "primitive" in needed:
        words.append(f"--model.{'primitive' if needed['primitive'] else 'no-primitive'}")
    if "standard" in needed:
        words.append(f"--model.options standard_cell={str(needed['standard']).lower()}")
    return f"Give {' and '.join(words)}." if words else "Give the encoder's own --model and --model.options."


def state_hash(model: Encoder) -> str:
    """SHA-256 of all weights and buffers of a model, names included."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _trained(task: ArmTask, start: Callable[[], Encoder], *, pretrained: bool) -> ArmAnswer:
    """Train all weights on the mask, after choosing the learning rate within the mask where there is a choice."""
    from matgl_infomax.train.finetune import Fitted, Labelled, fit, fit_once
    from matgl_infomax.train.predict import predict_rows

    store = _needed(task.store, "prepared crystals")
    settings = task.finetune.model_copy(update={"seed": task.seed})

    def run(rate: float, rows: NDArray[np.int64], labels: NDArray[np.float64], train: Callable[..., Fitted]) -> Fitted:
        chosen = settings.model_copy(update={"learning_rate": rate})
        data = Labelled(store, rows, labels[:, None])
        return train(start(), data, chosen, pretrained=pretrained, split_seed=task.split_seed)

    rates = task.learning_rates or (settings.learning_rate,)
    tried: list[tuple[float, float]] = []
    diverged = set()
    if len(rates) > 1:
        # The draw of the mask is random already: its end is as good a sample as any.
        n = len(task.rows) - max(1, round(CHOOSING_SHARE * len(task.rows)))
        for rate in rates:
            try:
                # A rate is judged as it is: one at which the network dies just loses, as one that diverges.
                found = run(rate, task.rows[:n], task.labels[:n], fit_once)
                predicted = predict_rows(found.model, store, task.rows[n:])[:, 0]
                error = math.inf if found.dead else float(np.abs(predicted - task.labels[n:]).mean())
            except DivergedError:
                error = math.inf
                diverged.add(rate)
            tried.append((rate, error))
        if len(diverged) == len(rates):
            raise InputError("The training diverged with every learning rate. Give lower --learning-rates.")
    best = min(tried, key=lambda pair: pair[1])[0] if tried else rates[0]
    if tried and not np.isfinite([error for _, error in tried]).any():
        best = min(set(rates) - diverged)  # dead at every rate: the lowest one is nearest to one that works
    initial = state_hash(start())
    fitted = run(best, task.rows, task.labels, fit)
    return ArmAnswer(predict_rows(fitted.model, store, task.test)[:, 0], initial, tuple(tried), fitted.how())


def _ridge(task: ArmTask, encoder: Encoder) -> ArmAnswer:
    """Standardised crystal vectors and ridge (or logistic) regression, its penalty chosen on the mask."""
    store = _needed(task.store, "prepared crystals")
    initial = state_hash(encoder)
    known, wanted = (_vectors(encoder, initial, store, rows, task.cache) for rows in (task.rows, task.test))
    if task.finetune.task == "classification":
        return ArmAnswer(logistic(known, task.labels, wanted), initial)
    return ArmAnswer(ridge_on(known, task.labels, wanted), initial)


def ridge_on(
    known: NDArray[np.float64], labels: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ridge regression on standardised vectors, its penalty chosen by leaving one label out, (m,).

    Args:
        known: vectors of the unmasked crystals, (n, C).
        labels: their labels, (n,).
        wanted: vectors of the crystals to predict, (m, C).
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ridge = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(known, labels)
    return np.asarray(ridge.predict(wanted), dtype=np.float64)


def _vectors(encoder: Encoder, weights: str, store: Store, rows: NDArray[np.int64], cache: Path) -> NDArray[np.float64]:
    """Crystal vectors, (n, C); kept on disk, for the same test crystals come back with every mask."""
    from matgl_infomax.train.predict import embed_rows

    key = sha256_of(f"{weights} {store.key} {rows.tolist()}")[:24]
    file = Path(cache).expanduser() / f"vectors-{key}.npy"
    return cached_array(file, lambda: embed_rows(encoder, store, rows))


def _needed(thing: Thing | None, name: str) -> Thing:
    """Something that the study must have given to this arm."""
    if thing is None:
        raise ValueError(f"this arm needs {name}")
    return thing


N_TREES = 500
"""More trees change the error by less than the seed does."""

MOST_FOR_GAUSSIAN = 5000
"""Time grows with the third power of the labels and memory with the second: beyond this it is hours."""


def predict_from(
    head: Head, known: NDArray[np.float32], labels: NDArray[np.float64], wanted: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """Fit a model to the unmasked crystals and predict others, (m,).

    Descriptors that are not there, because matminer failed, become the mean over the unmasked crystals.

    Args:
        head: ``trees`` (extremely randomised, 500), ``forest`` (random, 500) or ``gaussian`` (a Gaussian process with
            one Matérn length, amplitude and noise, fitted by marginal likelihood, on standardised descriptors).
        known: descriptors of the unmasked crystals, (n, K), NaN where they are missing.
        labels: their labels, (n,).
        wanted: descriptors of the crystals to predict, (m, K).
        seed: seed of the trees; a Gaussian process needs none.

    Raises:
        InputError: For a Gaussian process on more than 5,000 labels.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if head == "gaussian" and len(labels) > MOST_FOR_GAUSSIAN:
        raise InputError(
            f"A Gaussian process takes hours beyond {MOST_FOR_GAUSSIAN} labels. Received: {len(labels)}. "
            "Leave the arm descriptors_gaussian out."
        )
    model = _model(head, seed)
    # One thread: sums of several come out differently in the last digits.
    with threadpool_limits(1), warnings.catch_warnings():
        # A length or a noise at the end of its range is an answer too: labels without noise, a descriptor without use.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(known, labels).predict(wanted), dtype=np.float64)


def _model(head: Head, seed: int) -> Any:
    """A scikit-learn regressor that stands missing numbers."""
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    if head == "gaussian":
        return make_pipeline(*prepared(scaled=True), _gaussian_process())
    trees = ExtraTreesRegressor if head == "trees" else RandomForestRegressor
    return make_pipeline(*prepared(scaled=False), trees(N_TREES, random_state=seed_of_32_bits(seed), n_jobs=1))


def _gaussian_process() -> Any:
    """A Gaussian process on standardised numbers; the length starts near their usual distance."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(10.0, (1e-1, 1e4), nu=1.5) + WhiteKernel(0.1, (1e-6, 1e2))
    return GaussianProcessRegressor(kernel, normalize_y=True)


# Classes from vectors: logistic regression, its penalty chosen on the labels it may see.

STRENGTHS = np.logspace(-4, 2, 13)
"""Inverse penalties to choose among; at the last one vectors that separate the classes still give a finite answer."""

FOLDS = 5
"""Parts of the labels on which penalties are compared; fewer where a class has fewer labels."""

STEPS = 5000
"""Most steps of the solver."""


def logistic(
    known: NDArray[np.float64], labels: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities of class 1 by logistic regression on standardised vectors.

    The penalty is the one with the lowest cross-entropy in a cross-validation within the labels; where a class has
    one label only, nothing can be compared and the penalty is 1.

    Args:
        known: vectors with labels, (n, C).
        labels: 0 and 1, (n,).
        wanted: vectors to classify, (m, C).

    Returns:
        Probabilities, (m,).

    Raises:
        InputError: If all labels are of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = labels > 0.5
    fewest = int(min(classes.sum(), (~classes).sum()))
    if fewest == 0:
        raise InputError(
            f"All {len(labels)} labels are of class {int(classes[0])}: nothing tells the classes apart. "
            "Unmask more labels, or choose another seed."
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    if fewest > 1:
        parts = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
        choices = {"logisticregression__C": STRENGTHS}
        model = GridSearchCV(model, choices, scoring="neg_log_loss", cv=parts)
    found = model.fit(known, classes).predict_proba(wanted)
    return np.asarray(found[:, 1], dtype=np.float64)


# One fit of a representation study: frozen vectors, a simple model on top, a few labels.

LIMIT = 10.0
"""Scaled numbers are cut off here. A feature that hardly moves over the unmasked crystals, such as the far tail of a
diffraction peak, has a spread near zero; on a test crystal it would become any number, and so would the prediction."""

HIDDEN = 64
"""Width of the hidden layer, as in the Deep InfoMax paper."""


@dataclass(frozen=True)
class HeadFit:
    """Which vectors, which model on top, how many labels, which draw of them."""

    arm: str
    head: str
    scaling: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the fit's files."""
        unscaled = "" if self.scaling == "standard" else "-unscaled"
        return f"{self.arm}-{self.head}{unscaled}-n{self.labels}-s{self.seed}"


@dataclass(frozen=True)
class HeadJob:
    """All that a fit gets to see."""

    fit: HeadFit
    features: Path
    """Array of vectors, one line per crystal, NaN where a descriptor failed, (L, D)."""
    lines: NDArray[np.int64]
    """Lines of the unmasked crystals, (n,)."""
    labels: NDArray[np.float64]
    """Their labels, (n,)."""
    test: NDArray[np.int64]
    """Lines to predict, (m,)."""


@dataclass(frozen=True)
class HeadAnswer:
    """What comes back."""

    fit: HeadFit
    prediction: NDArray[np.float64]
    """In units of the target, (m,)."""
    seconds: float
    """Time of the fit."""


def fit_head(job: HeadJob) -> HeadAnswer:
    """HeadFit one head and predict the test crystals.

    Raises:
        InputError: If the file of vectors cannot be read.
    """
    from threadpoolctl import threadpool_limits

    try:
        vectors = np.load(job.features, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{job.features} is damaged ({error}). Delete it; it is computed again.") from error
    known, wanted = (np.asarray(vectors[lines], dtype=np.float64) for lines in (job.lines, job.test))
    model = new_head(job.fit.head, job.fit.scaling, job.fit.seed)
    started = time.perf_counter()
    # One thread: sums of several come out differently in the last digits.
    with threadpool_limits(1):
        prediction = np.asarray(model.fit(known, job.labels).predict(wanted), dtype=np.float64)
    return HeadAnswer(job.fit, prediction, time.perf_counter() - started)


def new_head(head: str, scaling: str, seed: int) -> Any:
    """A model for frozen vectors, the same for every arm.

    Vectors that are not there (a descriptor failed) become the mean over the unmasked crystals, so that the test part
    is the same for all arms. Labels are learnt with zero mean and unit spread: the network's step size is for such.

    Args:
        head: ``linear`` (least squares, the shortest solution where there are several), ``ridge`` (its penalty chosen
            by leaving one label out), ``mlp`` (one hidden layer of 64) or ``forest`` (100 trees).
        scaling: ``standard`` or ``none``.
        seed: seed of ``mlp`` and ``forest``.

    Returns:
        A scikit-learn regressor.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regressor = make_pipeline(*prepared(scaled=scaling == "standard"), _regressor(head, seed))
    return TransformedTargetRegressor(regressor, transformer=StandardScaler())


def prepared(*, scaled: bool) -> list[Any]:
    """First steps of a pipeline: missing numbers become means; if asked, all are scaled and cut off at ``LIMIT``."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    steps: list[Any] = [SimpleImputer(keep_empty_features=True)]
    if scaled:
        steps += [StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -LIMIT, "a_max": LIMIT})]
    return steps


def _regressor(head: str, seed: int) -> Any:
    """The model itself."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.neural_network import MLPRegressor

    if head == "linear":
        return LinearRegression()
    if head == "ridge":
        return RidgeCV(ALPHAS)
    if head == "mlp":
        return MLPRegressor(hidden_layer_sizes=(HIDDEN,), max_iter=5000, random_state=seed_of_32_bits(seed))
    return RandomForestRegressor(random_state=seed_of_32_bits(seed), n_jobs=1)
