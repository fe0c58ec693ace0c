"""Matbench v0.1: its tasks with their official folds, and the rows of a task found by their ids."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matgl_infomax.errors import InputError
from matgl_infomax.io import sha256_of

if TYPE_CHECKING:
    from matgl_infomax.data.read import Crystals


__all__ = ["FOLD_SEED", "N_FOLDS", "OWN_DATA", "Split", "Task", "find_task", "load_task", "name_and_unit",
           "official_fold", "positions", "split"]  # fmt: skip


OWN_DATA = "own data"
"""Name of the task where none of Matbench's was named."""
_HASH = r"^[0-9a-f]{64}$"


def fold_sha256(folds: Iterable[Split]) -> str:
    """Fingerprint of a fold assignment: SHA-256 of one byte per row, the number of the fold that tests it.

    Raises:
        ValueError: If the test parts are not every row exactly once.
    """
    tests = [fold.test for fold in folds]
    rows = np.concatenate(tests)
    if not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise ValueError("test parts must hold every row exactly once")
    number = np.empty(len(rows), dtype=np.uint8)
    for k, test in enumerate(tests):
        number[test] = k
    return hashlib.sha256(number.tobytes()).hexdigest()


def content_sha256(compositions: Sequence[str], targets: Sequence[int]) -> str:
    """SHA-256 of all rows in their order: composition and target, the target in steps."""
    whole = hashlib.sha256()
    for composition, target in zip(compositions, targets, strict=True):
        whole.update(f"{composition}|{target}\n".encode())
    return whole.hexdigest()


class Card(BaseModel):
    """One task of Matbench v0.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^matbench_[a-z0-9_]+$")
    """Full name, such as matbench_jdft2d."""
    description: str = Field(min_length=20)
    """What is predicted from what, and which entries were left out."""
    target: str = Field(min_length=1)
    """Column of the property."""
    unit: str | None
    """Unit of the property; None for a pure number or a class."""
    kind: Literal["regression", "classification"]
    metric: Literal["mae", "rocauc"]
    """Score that ranks answers: mean absolute error, or Matbench's area under the ROC curve."""
    n_rows: int = Field(ge=5)
    mad: float | None = Field(gt=0)
    """Mean absolute deviation of the property from its mean, the error of always predicting the mean; regression."""
    fraction_true: float | None = Field(gt=0, lt=1)
    """Share of rows in class 1; classification."""
    input: Literal["structure", "composition"]
    """What a row holds besides its property."""
    source: str = Field(min_length=3)
    """Where the values come from."""
    licence: str = Field(min_length=3)
    """Terms of the source, as far as they are stated."""
    reference: str = Field(min_length=10)
    """Publication to cite."""
    url: str = Field(pattern=r"^https://")
    """Address of the original file."""
    sha256: str = Field(pattern=_HASH)
    """SHA-256 of the original file."""
    fold_sha256: str = Field(pattern=_HASH)
    """Fingerprint of the official folds, see ``folds.fold_sha256``."""
    content_sha256: str | None = Field(default=None, pattern=_HASH)
    """Fingerprint of the official rows, see ``official_rows``; None where there are no structures to check."""

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        """Regression and classification have their own facts, and so have structures."""
        regression = self.kind == "regression"
        if (self.metric == "mae") != regression:
            raise ValueError(f"{self.kind} is not ranked by {self.metric}")
        if (self.mad is not None) != regression or (self.fraction_true is None) != regression:
            raise ValueError("regression states its mad, classification its fraction_true")
        if (self.content_sha256 is not None) != (self.input == "structure"):
            raise ValueError("tasks with structures, and only they, have a content_sha256")
        return self

    @property
    def short_name(self) -> str:
        """Name without 'matbench_'."""
        return self.name.removeprefix(_PREFIX)

    def mbid(self, row: int) -> str:
        """Matbench's own name of a row: row 0 of matbench_jdft2d is mb-jdft2d-001."""
        return f"mb-{self.short_name.replace('_', '-')}-{row + 1:0{len(str(self.n_rows))}d}"


@dataclass(frozen=True)
class Task:
    """One task of the benchmark: its card, its folds and the names of its rows."""

    card: Card

    def fold(self, k: int) -> Split:
        """Training and test part of an official fold, as ascending row positions.

        Args:
            k: number of the fold, 0 to 4.

        Raises:
            InputError: For a fold that does not exist, or if scikit-learn shuffles differently than Matbench's did.
        """
        check_fold(k)
        return self._folds[k]

    @property
    def ids(self) -> list[str]:
        """Matbench's own name of every row, in official order."""
        return [self.card.mbid(row) for row in range(self.card.n_rows)]

    @cached_property
    def _folds(self) -> list[Split]:
        """All folds, compared with the fingerprint of the official ones."""
        card = self.card
        folds = kfolds(card.n_rows) if card.kind == "regression" else stratified_folds(official_classes(card))
        if fold_sha256(folds) != card.fold_sha256:
            import sklearn

            raise InputError(
                f"The folds that scikit-learn {sklearn.__version__} makes for {card.name} are not the official ones. "
                "Install another version of scikit-learn: 1.9 makes them."
            )
        return folds


def load_task(name: str) -> Task:
    """A task by its name, with or without 'matbench_'.

    Raises:
        InputError: For an unknown name; all tasks are listed.
    """
    return Task(load_card(name))


def find_task(name: str) -> tuple[str, Card]:
    """A regression task by its name, with or without 'matbench_': its full name and its card.

    Raises:
        InputError: For an unknown name (the known ones are listed) or a classification task.
    """
    card = load_card(name)
    if card.kind != "regression":
        raise InputError(f"{card.name} is a classification task; learning curves are for regression only at present.")
    return card.name, card


def name_and_unit(task: str | None, target: str, unit: str | None = None) -> tuple[str, str | None]:
    """Name of a regression task, and the unit of a column; without a task the data are one's own.

    Args:
        task: with or without 'matbench_', or none.
        target: column that is learnt; of another column than the task's the unit is not known.
        unit: as the user gives it.

    Raises:
        InputError: For an unknown name, a classification task, or another unit than that of the task.
    """
    if task is None:
        return OWN_DATA, unit
    name, card = find_task(task)
    known = card.unit if card.target == target else None
    if known and unit and unit != known:
        raise InputError(f"The official values of {name} are in {known}. Received: --unit {unit}. Leave it out.")
    return name, known or unit


def official_fold(n_rows: int, fold: int) -> Split:
    """The official fold of a regression task, as row positions.

    Args:
        n_rows: rows of the whole task; they alone decide the folds.
        fold: number of the fold, from 0.

    Raises:
        InputError: For a fold that does not exist, or fewer rows than folds.
    """
    check_fold(fold)
    return kfolds(n_rows)[fold]


def positions(ids: Sequence[str], name: str) -> NDArray[np.int64]:
    """Rows of the official task that these ids stand for ('mb-mp-e-form-000001' is row 0), (n,).

    Raises:
        InputError: If an id belongs to no row of the task.
    """
    full, task = find_task(name)
    pattern = re.compile(rf"mb-{re.escape(task.short_name.replace('_', '-'))}-(\d+)")
    found = [int(match.group(1)) - 1 if (match := pattern.fullmatch(id)) else -1 for id in ids]
    wrong = [id for id, row in zip(ids, found, strict=True) if not 0 <= row < task.n_rows]
    if wrong:
        raise InputError(
            f"Rows of {full} are found by ids from {task.mbid(0)} to {task.n_rows}. Received {len(wrong)} other ids, "
            f"such as {wrong[0]}. Name the right column with --id-column, or leave out --task for data of your own."
        )
    return np.array(found, dtype=np.int64)


def split(ids: Sequence[str], labelled: NDArray[np.bool_], task: str | None, fold: int) -> Split:
    """Training and test rows of a data set.

    With a task, each row goes where the official fold puts it; rows of the task that are absent stay absent.
    Without one, the labelled rows are split in the same way and every unlabelled row belongs to the training part.
    A test row always has a label.

    Args:
        ids: names of the crystals, in order.
        labelled: which of them have a label, (n,).
        task: Matbench task, or None for data of one's own.
        fold: number of the fold, from 0.

    Raises:
        InputError: If ids do not fit the task, or a part is empty.
    """
    rows = np.arange(len(ids))
    if task is None:
        own = official_fold(int(labelled.sum()), fold)
        test = np.flatnonzero(labelled)[own.test]
        return Split(np.setdiff1d(rows, test), test)
    official = official_fold(find_task(task)[1].n_rows, fold)
    in_test = np.isin(positions(ids, task), official.test)
    found = Split(rows[~in_test], rows[in_test & labelled])
    if not len(found.train) or not len(found.test):
        raise InputError(
            f"Fold {fold} of {task} has {len(found.train)} training rows and {len(found.test)} labelled test rows "
            "among these crystals. Both are needed: give more rows of the task."
        )
    return found


def limited_test(ids: Sequence[str], test: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Rows of the test part, at most so many, in their order: those of the lowest hash of their id.

    So the choice depends on no order, and a smaller one lies within a larger one.

    Args:
        ids: of all crystals.
        test: rows of the test part, (m,).
        limit: most rows; all when left out.
    """
    ranked = sorted(test, key=lambda row: blake2b(ids[row].encode(), digest_size=16, person=b"test limit").digest())
    return test[np.isin(test, ranked[:limit])]


# Task cards: what is known of each Matbench v0.1 task, one YAML file per task in ``cards/``.

_PREFIX = "matbench_"


def card_names() -> list[str]:
    """Full names of all tasks, in alphabetical order."""
    folder = files(__package__) / "cards"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


@cache
def load_card(name: str) -> Card:
    """The card of a task, by its name with or without 'matbench_'.

    Raises:
        InputError: For an unknown task; all tasks are listed.
    """
    full = name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"
    names = card_names()
    if full not in names:
        raise InputError(f"There is no such Matbench task. Received: {name}. Known: {', '.join(names)}.")
    return read_task_card((files(__package__) / "cards" / f"{full}.yaml").read_text(encoding="utf-8"), f"{full}.yaml")


def read_task_card(text: str, place: str) -> Card:
    """A card from the text of its file, checked field by field.

    Args:
        text: YAML.
        place: name of the file; it is the name of the task, and stands in messages.

    Raises:
        InputError: If a field is missing, unknown or impossible.
    """
    try:
        card = Card.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{place} is no task card: {error}") from error
    if f"{card.name}.yaml" != place:
        raise InputError(f"{place} is no task card: it names the task {card.name}.")
    return card


# The official folds of Matbench v0.1, computed: of a regression task from its number of rows alone.

N_FOLDS = 5
FOLD_SEED = 18012019
"""Seed of the official folds of matbench v0.1."""


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be tested on; none is in both."""

    train: NDArray[np.int64]
    """Structures of these may be pretrained on; labels of a few of them are unmasked."""
    test: NDArray[np.int64]
    """Neither structure nor label of these is ever learnt from."""


def kfolds(n_rows: int) -> list[Split]:
    """The five folds of a regression task, as ascending row positions.

    Args:
        n_rows: rows of the whole task; they alone decide the folds.

    Raises:
        InputError: For fewer rows than folds.
    """
    from sklearn.model_selection import KFold

    if n_rows < N_FOLDS:
        raise InputError(f"{N_FOLDS} folds need at least {N_FOLDS} labelled crystals. Received: {n_rows}.")
    return _ascending(KFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED).split(np.arange(n_rows)))


def stratified_folds(classes: NDArray[np.bool_] | Sequence[bool]) -> list[Split]:
    """The five folds of a classification task, as ascending row positions; each has its share of both classes.

    Args:
        classes: class of every row of the whole task, (n,); the order matters.

    Raises:
        InputError: If a class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    known = np.asarray(classes, dtype=bool)
    fewest = int(min(known.sum(), (~known).sum()))
    if fewest < N_FOLDS:
        raise InputError(f"{N_FOLDS} folds need at least {N_FOLDS} rows of each class. Received: {fewest}.")
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED)
    return _ascending(folds.split(np.arange(len(known)), known))


def check_fold(fold: int) -> None:
    """Refuse the number of a fold that does not exist.

    Raises:
        InputError: For anything but 0 to 4.
    """
    if not 0 <= fold < N_FOLDS:
        raise InputError(f"Folds are numbered 0 to {N_FOLDS - 1}. Received: {fold}.")


def _ascending(parts: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> list[Split]:
    """Folds as scikit-learn gives them, in ascending order of rows."""
    return [Split(np.sort(train).astype(np.int64), np.sort(test).astype(np.int64)) for train, test in parts]


# What the official rows of each task hold, as fingerprints: enough to check data, too little to be data.
#
# ``cards/official.npz`` keeps, for every task with structures, two bytes for the composition and two for the target
# of
# each row, so that a difference has a row; ``content_sha256`` of the card is the SHA-256 over all rows, so that none
# is
# missed. It keeps the classes of the classification tasks themselves (one bit per row), because they decide the
# folds.
# The file is made by ``tests/helpers/make_official.py`` from the official targets.

STEP = 1e-8
"""Targets are compared as whole multiples of this."""
ROUNDING = 1e-10
"""The official list is rounded to ten decimals, the files are not: that far they may be apart."""
_LARGEST = 1e9
"""No target comes near; larger ones would not fit into whole multiples of ``STEP``."""
SAME_CRYSTALS = {"matbench_log_kvrh": "matbench_log_gvrh", "matbench_mp_is_metal": "matbench_mp_gap"}
"""Tasks with the crystals of another task, row by row."""


def read_official(task: str, what: Literal["compositions", "targets"]) -> NDArray[np.uint16]:
    """Fingerprints of the rows of a task with structures, (n,).

    Args:
        task: full name.
        what: fingerprints of the cell contents or of the targets.
    """
    return _stored(f"{SAME_CRYSTALS.get(task, task) if what == 'compositions' else task}/{what}")


def official_classes(card: Card) -> NDArray[np.bool_]:
    """The class of each row of a classification task, (n,)."""
    return np.unpackbits(_stored(f"{card.name}/classes"), count=card.n_rows).astype(bool)


def _stored(key: str) -> NDArray[Any]:
    """One array of ``official.npz``."""
    with as_file(files(__package__) / "cards" / "official.npz") as path, np.load(path, allow_pickle=False) as table:
        return np.asarray(table[key])


def composition_text(counts: Mapping[int, int]) -> str:
    """One spelling for every cell content: atomic numbers with their counts, ascending ('8:2 72:1')."""
    return " ".join(f"{z}:{n}" for z, n in sorted(counts.items()))


def steps(values: Sequence[float] | NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Targets as whole multiples of ``STEP``: the nearest one, and the next one where rounding could have led there.

    Args:
        values: targets, (n,); none is NaN.

    Returns:
        Two arrays (n,), equal except where a value lies half-way between two steps.
    """
    exact = np.clip(np.asarray(values, dtype=np.float64), -_LARGEST, _LARGEST)
    low, nearest, high = (np.rint((exact + shift) / STEP).astype(np.int64) for shift in (-ROUNDING, 0, ROUNDING))
    return nearest, np.where(nearest == low, high, low)


def two_byte_hash(text: str) -> int:
    """Two bytes of a hash of a text, as a number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=2).digest(), "big")


# Label masks: which few labels a model may see, the smaller set always within the larger; and hashes of all of it.


def nested_masks(
    ids: Sequence[str], available: Sequence[int] | NDArray[np.int64], counts: Sequence[int], seed: int
) -> dict[int, NDArray[np.int64]]:
    """Draw exactly as many labelled rows as asked for, each smaller mask being the beginning of the larger.

    Rows are ranked by a hash of seed and id. So a mask depends neither on the order of the data, nor on the other
    counts, nor on labels outside it: taking unmasked crystals away never moves the others.

    Args:
        ids: names of all crystals.
        available: rows that may be drawn: training part, label present.
        counts: numbers of labels.
        seed: another seed, another draw.

    Returns:
        Rows by count, in the order of the draw.

    Raises:
        InputError: If more labels are asked for than there are, or fewer than one.
    """
    rows = np.asarray(available, dtype=np.int64)
    if min(counts) < 1:
        raise InputError(f"A mask needs at least one label. Received: {min(counts)}.")
    if max(counts) > len(rows):
        raise InputError(
            f"Only {len(rows)} crystals of the training part have a label. Received: {max(counts)} labels asked for. "
            "Ask for fewer, or add labelled crystals."
        )
    ranked = sorted(rows.tolist(), key=lambda row: (_rank(seed, ids[row]), ids[row]))
    return {count: np.array(ranked[:count], dtype=np.int64) for count in counts}


def mask_hash(ids: Sequence[str], rows: NDArray[np.int64]) -> str:
    """SHA-256 of the sorted ids of a mask, one per line."""
    return sha256_of("\n".join(sorted(ids[int(row)] for row in rows)))


def split_hash(ids: Sequence[str], parts: Split) -> str:
    """Hash of the ids of the training part and of the test part."""
    return sha256_of(f"{mask_hash(ids, parts.train)} {mask_hash(ids, parts.test)}")


def data_hash(crystals: Crystals, values: NDArray[np.float64]) -> str:
    """Hash of ids, structures and labels, in their order."""
    digest = hashlib.sha256()
    for crystal, value in zip(crystals, values, strict=True):
        digest.update(f"{crystal.id}\0{crystal.n_sites}\0{float(value).hex()}\0".encode())
        for array, kind in ((crystal.lattice, "<f8"), (crystal.numbers, "<i8"), (crystal.frac, "<f8")):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def _rank(seed: int, id: str) -> bytes:
    """Place of a crystal in the draw of a seed."""
    return blake2b(f"{seed}\0{id}".encode(), digest_size=16, person=b"label mask").digest()
