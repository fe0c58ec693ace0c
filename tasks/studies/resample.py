"""Which crystals a small study learns from and is tested on: every crystal once in each repeat, twins never parted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals, read_column
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.resampled import (
    FOLDS,
    POWER,
    REPEATS,
    FoldPairing,
    detectable_difference,
    training_overlap,
)
from matgl_infomax.settings.commands import CurveConfig
from matgl_infomax.tasks.matbench.task import Split, limited_test, mask_hash, nested_masks, split
from matgl_infomax.tasks.studies.arms import named_arms

FIXED_FROM = 500
"""From so many labels on, one fixed test part says enough."""
FEWEST_LABELS = 10
"""Below it there is nothing to fold."""
USUAL_COUNTS, USUAL_SEEDS = (50, 100, 250), 5
"""Numbers of labels and seeds of a study with one test part."""
ENOUGH_UNLABELLED = 500
"""With so many structures without labels, an encoder learns from them alone, once for all folds."""
SHORT_PRETRAINING = {"steps": 300, "validate_every": 100}
"""Pretraining on the few structures of a training part, once for each fold; the usual 5,000 steps take an hour."""


@dataclass(frozen=True)
class Resampling:
    """The parts of a study in which every crystal is tested."""

    parts: dict[tuple[int, int], Split]
    """Training and test part by seed and fold."""
    groups: NDArray[np.int64]
    """Group of each crystal that no fold parts, (n,)."""
    folds: int
    unlabelled: NDArray[np.int64]
    """Crystals without a label, (u,)."""
    facts: dict[str, Any]
    """What decides the parts, for the study's claim."""
    sentences: tuple[str, ...]
    """What a user has to know before anything is computed."""

    @property
    def tested(self) -> NDArray[np.int64]:
        """Rows that are tested, ascending, (m,)."""
        return np.unique(np.concatenate([part.test for part in self.parts.values()]))

    @property
    def pretrains_once(self) -> bool:
        """Whether structures without labels are enough to pretrain on, so that no fold needs an encoder of its own."""
        return len(self.unlabelled) >= ENOUGH_UNLABELLED

    def seed_of(self, seed: int, fold: int) -> int:
        """Seed of one fold's masks and initial weights: models of different folds share no draw."""
        return seed * self.folds + fold

    def pairing(self, ids: Sequence[str], masks: Mapping[tuple[int, ...], NDArray[np.int64]]) -> FoldPairing:
        """How two arms are compared whose models learnt from the same masks.

        Args:
            ids: names of all crystals.
            masks: unmasked rows by number of labels, seed and fold.
        """
        tested = sorted(self.tested.tolist(), key=lambda row: ids[row])
        sizes = np.array([len(part.test) for part in self.parts.values()])
        overlap = {}
        for labels in sorted({key[0] for key in masks}):
            trained = np.zeros((len(self.parts), len(ids)), dtype=bool)
            for line, key in zip(trained, self.parts, strict=True):
                line[masks[labels, *key]] = True
            overlap[labels] = training_overlap(trained, sizes)
        return FoldPairing(overlap, self.groups[tested].tolist())


@dataclass(frozen=True)
class StudyParts:
    """What a study learns from and is tested on, nothing left open."""

    config: CurveConfig
    """The settings, with numbers of labels and seeds."""
    parts: Split
    """Training and test part; where every crystal is tested, all structures without a label and all that are tested."""
    masks: dict[tuple[int, ...], NDArray[np.int64]]
    """Unmasked rows by number of labels, seed and, where every crystal is tested, fold."""
    resampling: Resampling | None
    """Parts of each fold, where every crystal is tested."""
    not_tested: int = 0
    """Crystals of a fixed test part beyond ``test_limit``."""


def parts_and_masks(crystals: Crystals, values: NDArray[np.float64], config: CurveConfig) -> StudyParts:
    """Decide how a study is tested, on how many labels, and which.

    Args:
        crystals: all crystals.
        values: label of each, NaN where missing, (n,); only whether there is one decides anything here.
        config: settings as they were given.

    Raises:
        InputError: If settings contradict each other or do not fit the crystals.
    """
    labelled = ~np.isnan(values)
    if not is_resampled(config, int(labelled.sum())):
        whole = split(crystals.ids, labelled, config.task, config.fold)
        parts = Split(whole.train, limited_test(crystals.ids, whole.test, config.test_limit))
        available = parts.train[labelled[parts.train]]
        config = settled(config, len(available), resampled=False)
        drawn = {seed: nested_masks(crystals.ids, available, config.labels, seed) for seed in seeds_of(config)}
        masks: dict[tuple[int, ...], NDArray[np.int64]] = {
            (count, seed): rows for seed, found in drawn.items() for count, rows in found.items()
        }
        return StudyParts(config, parts, masks, None, len(whole.test) - len(parts.test))
    if config.test_limit is not None:
        raise InputError(
            f"Here every crystal is tested, once in each repeat. Received: --test-limit {config.test_limit}. "
            "Leave it out, or give --folds 1."
        )
    several = [name for name, folders in named_arms(config.arms).items() if len(folders) > 1]
    if several:
        raise InputError(
            f"Several pretrainings of an arm are compared on one test part. Received: {several[0]}. "
            "Give one folder, or --folds 1."
        )
    folds = resampling(crystals, values, config)
    config = settled(config, smallest_training_part(folds, values), resampled=True)
    given = config.pretrain.model_fields_set
    if not folds.pretrains_once and "steps" not in given:
        short = {name: value for name, value in SHORT_PRETRAINING.items() if name not in given}
        config = config.model_copy(update={"pretrain": config.pretrain.model_copy(update=short)})
    whole = Split(folds.unlabelled, folds.tested)
    return StudyParts(config, whole, fold_masks(folds, crystals.ids, values, config.labels), folds)


def seeds_of(config: CurveConfig) -> range:
    """The seeds of a study; the one of the fine-tuning settings is the first."""
    return range(config.finetune.seed, config.finetune.seed + (config.seeds or 1))


def is_resampled(config: CurveConfig, n_labelled: int) -> bool:
    """Whether every crystal is tested, rather than those of one fixed part.

    Raises:
        InputError: If settings contradict each other.
    """
    given = [f"--{name.replace('_', '-')}" for name in ("group", "time_column") if getattr(config, name) is not None]
    given += [f"--split {config.split}"] if config.split != "random" else []
    given += ["--fit-final"] if config.fit_final else []
    if config.task is not None and config.folds not in (None, 1):
        raise InputError(
            f"The test part of --task is the official fold. Received: --folds {config.folds}. Leave it out."
        )
    if config.fold and config.folds not in (None, 1):
        raise InputError(
            f"--fold {config.fold} is one test part. Received with it: --folds {config.folds}. Leave one out."
        )
    few = n_labelled < FIXED_FROM or bool(given)
    resampled = config.task is None and not config.fold and (config.folds or (FOLDS if few else 1)) > 1
    if given and not resampled:
        raise InputError(
            f"{given[0]} is for studies in which every crystal is tested. This one has a fixed test part. "
            f"Leave out {given[0]}, or --task, --fold and --folds 1."
        )
    if (config.split == "time") != (config.time_column is not None):
        raise InputError("--split time and --time-column COLUMN belong together. Give both, or none.")
    return resampled


def settled(config: CurveConfig, most: int, resampled: bool) -> CurveConfig:
    """The settings with numbers of labels and seeds, chosen from what there is where none are given.

    Args:
        config: as they were given.
        most: labels that every training part has.
        resampled: whether every crystal is tested.

    Raises:
        InputError: If more labels are asked for than there are; it says what fits.
    """
    fits = [n for n in USUAL_COUNTS if n <= most]
    if resampled or len(fits) < len(USUAL_COUNTS):
        fits = sorted({max(2, round(most / 4)), max(2, round(most / 2)), most})
    if config.labels and max(config.labels) > most:
        raise InputError(
            f"Only {most} crystals of the training part have a label. Received: {max(config.labels)} labels asked for. "
            f"Up to {most} fit: give --labels {' '.join(map(str, fits))}, or leave --labels out."
        )
    seeds = REPEATS if resampled else USUAL_SEEDS
    return config.model_copy(update={"labels": list(config.labels) or fits, "seeds": config.seeds or seeds})


def resampling(crystals: Crystals, values: NDArray[np.float64], config: CurveConfig) -> Resampling:
    """Divide the labelled crystals into folds, once for each repeat.

    Args:
        crystals: all crystals.
        values: label of each, NaN where missing, (n,); only whether there is one decides anything here.
        config: settings of the study.

    Raises:
        InputError: If there are too few labels or groups, or a column is missing.
    """
    labelled, unlabelled = np.flatnonzero(~np.isnan(values)), np.flatnonzero(np.isnan(values))
    if len(labelled) < FEWEST_LABELS:
        raise InputError(f"A study needs at least {FEWEST_LABELS} labelled crystals. Received: {len(labelled)}.")
    n_folds = FOLDS if config.folds is None else config.folds
    name, groups, said = _groups(crystals, labelled, config)
    if len(set(groups[labelled])) < n_folds:
        raise InputError(
            f"{n_folds} folds need as many groups by {name}. Received: {len(set(groups[labelled]))}. "
            "Give fewer --folds."
        )
    first = config.finetune.seed
    seeds = range(first, first + (config.seeds or REPEATS))
    times = _times(crystals, labelled, config) if config.split == "time" else None
    parts: dict[tuple[int, int], Split] = {}
    for seed in seeds:
        if times is not None:
            pairs = _later(labelled, times, n_folds)
        else:
            own = groups if config.split == "random" else _clusters(crystals, labelled, groups, n_folds, seed)
            pairs = _folded(labelled, own, n_folds, seed, whole=config.split == "extrapolate")
        for fold, (train, test) in enumerate(pairs):
            kept = train[~np.isin(groups[train], groups[test])]
            parts[seed, fold] = Split(np.sort(np.concatenate([kept, unlabelled])), np.sort(test))
    facts = {"folds": n_folds, "split": config.split, "group": name, "groups": mask_hash(_signed(groups), labelled)}
    if times is not None:
        facts["times"] = mask_hash([f"{id} {time}" for id, time in zip(crystals.ids, times, strict=True)], labelled)
    found = Resampling(parts, groups, n_folds, unlabelled, facts, ())
    return replace(found, sentences=tuple(_announced(found, labelled, len(seeds), config.split, said)))


def smallest_training_part(found: Resampling, values: NDArray[np.float64]) -> int:
    """Labels that every training part has.

    Args:
        found: the parts.
        values: label of each crystal, NaN where missing, (n,).
    """
    return min(int((~np.isnan(values[part.train])).sum()) for part in found.parts.values())


def fold_masks(
    found: Resampling, ids: Sequence[str], values: NDArray[np.float64], counts: Sequence[int]
) -> dict[tuple[int, ...], NDArray[np.int64]]:
    """Unmasked rows by number of labels, seed and fold, each drawn from the training part of its fold.

    Args:
        found: the parts.
        ids: names of all crystals.
        values: label of each, NaN where missing, (n,).
        counts: numbers of labels.
    """
    masks: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for (seed, fold), part in found.parts.items():
        available = part.train[~np.isnan(values[part.train])]
        drawn = nested_masks(ids, available, counts, found.seed_of(seed, fold))
        masks |= {(count, seed, fold): rows for count, rows in drawn.items()}
    return masks


def _announced(found: Resampling, labelled: NDArray[np.int64], repeats: int, split: str, said: str) -> list[str]:
    """What is about to happen, and what it can tell."""
    n, tested = len(labelled), found.tested
    independent = len(set(found.groups[tested]))
    smallest = detectable_difference(independent)
    how = {
        "random": f"{found.folds} folds, {repeats} times: every crystal is tested {repeats} times, by models that have "
        "not learnt from it",
        "time": f"the newer {len(tested)} crystals are tested in {found.folds} blocks, {repeats} times, by models of "
        "older ones",
        "extrapolate": f"{found.folds} clusters of compositions, {repeats} times: each is tested by models that have "
        "seen none of it; intervals speak of these clusters, not of further ones",
    }[split]
    how = f"{how[0].upper()}{how[1:]}."
    told = (
        f"With {n} labels{'' if independent == n else f' ({independent} independent tests)'} this study can tell "
        f"differences in error above about {smallest:.0%}: {POWER:.0%} of such studies would find one of that size."
    )
    return [told, how, *([said] if said else [])]


# Groups: what belongs together has to stay together.


def _groups(crystals: Crystals, labelled: NDArray[np.int64], config: CurveConfig) -> tuple[str, NDArray[np.int64], str]:
    """What groups are made by, the group of each crystal (n,), and what to say of it."""
    asked = config.group
    if asked in (None, "formula"):
        keys = [crystal.reduced_formula for crystal in crystals]
        groups = _numbered(keys)
        counts = np.bincount(groups[labelled])
        twins = int(counts[counts > 1].sum())
        if asked is None and not twins:
            return "none", np.arange(len(crystals)), ""
        said = f"{twins} labelled crystals share their formula with another one; no fold parts them (--group formula)."
        return "formula", groups, said
    if asked == "none":
        return "none", np.arange(len(crystals)), ""
    if asked == "composition-system":
        keys = ["-".join(map(str, sorted(set(crystal.numbers.tolist())))) for crystal in crystals]
        groups = _numbered(keys)
        return asked, groups, f"Crystals of the same elements stay together: {len(set(groups[labelled]))} systems."
    cells = _column(crystals, labelled, asked, config)
    # Crystals without a label need no cell: they are tested nowhere.
    groups = _numbered([cells.get(id, f"\0{id}") for id in crystals.ids])
    return asked, groups, f"Crystals of one {asked} stay together: {len(set(groups[labelled]))} groups."


def _numbered(keys: Sequence[str]) -> NDArray[np.int64]:
    """Number of each key among the sorted ones, (n,)."""
    return np.unique(np.array(keys, dtype=object), return_inverse=True)[1].astype(np.int64)


def _signed(groups: NDArray[np.int64]) -> list[str]:
    """Row and group of each crystal, as names whose hash decides."""
    return [f"{row} {group}" for row, group in enumerate(groups)]


def _column(crystals: Crystals, labelled: NDArray[np.int64], name: str, config: CurveConfig) -> dict[str, str]:
    """Cells of a column by the id of the crystal; every labelled crystal has one."""
    if config.labels_file is not None:
        cells = read_column(config.labels_file, name, crystals.ids, config.id_column)
    else:
        cells = {crystal.id: repr(crystal.labels[name]) for crystal in crystals if name in crystal.labels}
    if not cells:
        raise InputError(
            f"The column {name!r} was not found. Give it in --labels-file (in Python: as a label of each crystal). "
            "For --group, formula, composition-system and none are also possible."
        )
    missing = [crystals.ids[int(row)] for row in labelled if crystals.ids[int(row)] not in cells]
    if missing:
        raise InputError(
            f"Every labelled crystal needs a value of {name!r}. {len(missing)} have none, such as {missing[0]}. "
            "Fill them in, or remove their labels."
        )
    return cells


# The three ways to make folds.


def _folded(
    labelled: NDArray[np.int64], groups: NDArray[np.int64], n_folds: int, seed: int, *, whole: bool
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Labelled rows to learn from and to test; groups are whole folds already, or are dealt out at random."""
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

    folds = LeaveOneGroupOut() if whole else GroupKFold(n_folds, shuffle=True, random_state=seed)
    return [(labelled[train], labelled[test]) for train, test in folds.split(labelled, groups=groups[labelled])]


def _clusters(
    crystals: Crystals, labelled: NDArray[np.int64], groups: NDArray[np.int64], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Cluster of each crystal by the shares of its elements, (n,); a group belongs to the cluster of its mean."""
    from sklearn.cluster import BisectingKMeans
    from threadpoolctl import threadpool_limits

    shares = np.stack([np.bincount(crystals[int(row)].numbers, minlength=119)[:119] for row in labelled]).astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    members = np.unique(groups[labelled], return_inverse=True)[1]
    sums = np.stack([np.bincount(members, weights=column) for column in shares.T], axis=1)
    means = sums / np.bincount(members)[:, None]  # (G, 119)
    # The largest cluster is cut next, so that folds differ less in size.
    model = BisectingKMeans(n_folds, random_state=seed, n_init=10, bisecting_strategy="largest_cluster")
    with threadpool_limits(1):
        found = model.fit(means).labels_
    if len(set(found)) < n_folds:
        raise InputError(
            f"These compositions form only {len(set(found))} clusters. Received: --folds {n_folds}. Give fewer."
        )
    clusters = np.full(len(groups), -1, dtype=np.int64)
    clusters[labelled] = found[members]
    return clusters


def _times(crystals: Crystals, labelled: NDArray[np.int64], config: CurveConfig) -> NDArray[np.float64]:
    """Time of each crystal as a number, NaN where there is none, (n,)."""
    name = str(config.time_column)
    cells = _column(crystals, labelled, name, config)
    wanted = {crystals.ids[int(row)] for row in labelled}
    found = np.full(len(crystals), np.nan)
    for row, id in enumerate(crystals.ids):
        if id in wanted:
            found[row] = _time(cells[id], name, id)
    return found


def _time(cell: str, name: str, id: str) -> float:
    """A number, or the seconds of a date."""
    try:
        number = float(cell)
    except ValueError:
        try:
            date = datetime.fromisoformat(cell)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except ValueError as error:
            raise InputError(
                f"A time is a number or a date such as 2024-05-31. Received in column {name!r} for {id}: {cell}."
            ) from error
    if not np.isfinite(number):
        raise InputError(f"A time is a number or a date. Received in column {name!r} for {id}: {cell}.")
    return number


def _later(
    labelled: NDArray[np.int64], times: NDArray[np.float64], n_folds: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The newer half in blocks, each with all strictly older crystals to learn from."""
    order = labelled[np.argsort(times[labelled], kind="stable")]
    pairs = []
    for block in np.array_split(order[len(order) // 2 :], n_folds):
        older = labelled[times[labelled] < times[block].min()]
        if len(older) < 2:
            raise InputError(
                "Too many crystals have the same time: fewer than 2 are older than the newer half. "
                "Give finer times, or --split random."
            )
        pairs.append((older, block))
    return pairs
