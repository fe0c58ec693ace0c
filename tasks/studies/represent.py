"""What do frozen vectors know? Simple heads on them, beside untrained encoders and descriptors, on equal terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import progress_bar
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, cached_array, csv_text, sha256_of, vouch_for
from matgl_infomax.leaderboard.results import CARDS
from matgl_infomax.leaderboard.statistics import Comparison, compare
from matgl_infomax.leaderboard.verdict import markdown_table
from matgl_infomax.record import RunCard
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import RepresentConfig
from matgl_infomax.tasks.matbench.task import (
    Split,
    data_hash,
    mask_hash,
    name_and_unit,
    nested_masks,
    split,
    split_hash,
)
from matgl_infomax.tasks.studies import plots
from matgl_infomax.tasks.studies.arms import HeadAnswer, HeadFit, HeadJob, fit_head
from matgl_infomax.tasks.studies.engine import (
    IN_MEMORY,
    CardGrid,
    Outcome,
    carry_out_all,
    error_metrics,
    hash_of,
    settings_of,
    take_folder,
)
from matgl_infomax.tasks.studies.plots import plot_heads

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.nn.build import Encoder


NOTES = (
    "Every arm gets the same labels per draw, the same test crystals, the same scaling and the same heads. The "
    "untrained encoders share the architecture and have random weights: what they reach owes nothing to training.",
    "The interval covers other draws of labels and other test crystals, on this fold; the pretrained vectors count as "
    "better (worse) than the untrained ones only if each single untrained encoder has the larger (smaller) error.",
    "Nobody checked which crystals the encoder was pretrained on: `matgl-infomax overlap` compares a corpus with a "
    "task.",
)


def comparisons(errors: Errors, groups: dict[str, str]) -> pd.DataFrame:
    """Compare the pretrained vectors with the floor and with every descriptor, draw by draw.

    The floor is the mean error over all untrained encoders. The interval covers other draws of labels and other test
    crystals (see ``compare``), not other random weights: so the pretrained vectors count as better only if they also
    have a smaller error than each of the untrained encoders, and as worse only if a larger one than each.

    Args:
        errors: absolute errors of all fits.
        groups: ``pretrained``, ``untrained`` or the descriptor, by arm.

    Returns:
        One line per scaling, head, number of labels and baseline: mae, baseline_mae, ratio, ratio_low, ratio_high,
        beaten (of the encoders of the baseline, or 1 of 1), of, answer ('better', 'worse' or 'cannot tell').
    """
    import pandas as pd

    lines = []
    heads = list(dict.fromkeys((scaling, head) for scaling, head, _ in errors))
    for scaling, head, labels in sorted(errors, key=lambda key: (heads.index(key[:2]), key[2])):
        by_arm = errors[scaling, head, labels]
        mine = by_arm["pretrained"]
        for group in dict.fromkeys(groups.values()):
            others = [by_arm[arm] for arm in by_arm if groups[arm] == group]
            if group == "pretrained" or not others:
                continue
            result = compare(mine, np.mean(others, axis=0))
            beaten = sum(float(mine.mean()) < float(other.mean()) for other in others)
            lines.append(
                {"scaling": scaling, "head": head, "labels": labels, "baseline": group, "mae": result.mae,
                 "baseline_mae": result.baseline_mae, "ratio": result.ratio, "ratio_low": result.ratio_low,
                 "ratio_high": result.ratio_high, "beaten": beaten, "of": len(others),
                 "answer": _answer(result, beaten, len(others))}
            )  # fmt: skip
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class RepresentResult:
    """The numbers of a representation study."""

    fits: pd.DataFrame
    """One line per fit: task, arm, group, head, scaling, labels, seed, fold, dimensions, imputed_train, imputed_test,
    mae, rmse, r2, seconds."""
    comparisons: pd.DataFrame
    """Pretrained against each baseline: ratio of the errors with its interval, and the answer."""
    failures: pd.DataFrame
    """Crystals on which a descriptor failed: arm, id, part, reason."""
    points: pd.DataFrame
    """Coordinates of the maps: arm, id, target, crystal_system, element, pca_1, pca_2 and those of the other map."""
    cards: tuple[RunCard, ...]
    """One card per fit."""
    out: Path
    """Folder with the tables and pictures."""

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of fits."""
        return self.fits.copy()

    def to_text(self) -> str:
        """What came out, and where the rest is."""
        card = self.cards[0]
        pages = [tables(self.fits, self.comparisons, card.unit), overview(self.comparisons)]
        pages += failure_lines(self.failures)
        return "\n".join([*pages, f"\nTables and pictures: {self.out}"])

    def summary(self) -> str:
        """Tables and answers as one page of Markdown."""
        card = self.cards[0]
        draws, test = self.fits["seed"].nunique(), card.n_test
        lines = [f"# What do frozen vectors know about {card.target}?", ""]
        lines += [f"{card.task}, fold {card.fold}: {test} test crystals, {draws} draws of labels.", ""]
        lines += [tables(self.fits, self.comparisons, card.unit), "## Pretrained against", ""]
        lines += [f"- {line}" for line in overview(self.comparisons).splitlines()]
        lines += ["", *(f"- {line}" for line in sentences(self.comparisons)), ""]
        lines += [f"{line}\n" for line in failure_lines(self.failures)]
        return "\n".join([*lines, *(f"{note}\n" for note in NOTES)])


def represent(
    crystals: Crystals | Sequence[Crystal],
    config: RepresentConfig | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> RepresentResult:
    """Fit simple heads on the frozen vectors of an encoder, of untrained encoders and on descriptors, and compare.

    A study that was stopped goes on where it was when called again with the same folder. Draws, numbers of labels,
    heads, descriptors and untrained encoders may be added later.

    Args:
        crystals: all crystals, labelled or not.
        config: the study; or give its fields as ``options``, such as
            ``target=["e_form"], checkpoint="encoder", out="study"``.
        progress: show bars.
        options: fields of ``RepresentConfig``, instead of ``config``.

    Raises:
        InputError: If anything asked for is not there, or the folder holds another study or cannot be written.
        KeyboardInterrupt: After Ctrl-C; finished fits are kept.
    """
    config = settings_of(RepresentConfig, config, {"data": IN_MEMORY, **options} if config is None else options)
    if len(config.target) != 1:
        given = " ".join(config.target) or "(none)"
        raise InputError(f"A representation study is about one property. Received --target {given}.")
    plots.check_method(config.map)
    table = crystals if isinstance(crystals, Crystals) else Crystals(crystals)
    study = plan_representation(table, config.target[0], config)
    take_folder(study)
    study = prepare_vectors(study, progress=progress)
    carry_out_all(study, progress=progress)
    result = _collect(study, progress)
    _write(study, result)
    return result


def _collect(study: Representation, progress: bool) -> RepresentResult:
    """Put the finished fits of a study together."""
    cards = study.collect_cards()
    groups = {arm: study.vectors[arm].kind for arm in study.arms}
    points = map_points(study, progress)
    compared = comparisons(_errors(study), groups)
    return RepresentResult(fit_frame(cards), compared, _failures(study), points, cards, study.config.out)


def _errors(study: Representation) -> Errors:
    """Absolute errors of all fits on the same test crystals."""
    rows: dict[tuple[str, str, int], dict[str, list[NDArray[np.float64]]]] = {}
    read = study.tables(["target", "prediction"])
    for fit, table in zip(study.runs, read, strict=True):  # of each arm in the order of the draws
        error = (table["prediction"] - table["target"]).abs().to_numpy(dtype=np.float64)
        rows.setdefault((fit.scaling, fit.head, fit.labels), {}).setdefault(fit.arm, []).append(error)
    return {key: {arm: np.stack(errors) for arm, errors in by_arm.items()} for key, by_arm in rows.items()}


def _failures(study: Representation) -> pd.DataFrame:
    """Every crystal without a descriptor, and why."""
    import pandas as pd

    test = set(study.parts.test.tolist())
    lines = [
        {"arm": arm, "id": study.crystals[row].id, "part": "test" if row in test else "train", "reason": reason}
        for arm, found in study.vectors.items()
        for row, reason in sorted(found.failures.items())
    ]
    return pd.DataFrame(lines, columns=["arm", "id", "part", "reason"])


def _write(study: Representation, result: RepresentResult) -> None:
    """All files of a finished study, the summary last."""
    out, config = study.config.out, study.config
    for old in [file for end in ("png", "svg") for name in ("heads*", "map_*") for file in out.glob(f"{name}.{end}")]:
        old.unlink()  # an earlier call may have drawn what this one does not
    frames = {"fits": result.fits, "comparisons": result.comparisons, "failures": result.failures}
    for name, frame in {**frames, "map": result.points}.items():
        atomic_write(out / f"{name}.csv", csv_text(frame))
    truth = study.labels[study.parts.test]
    guess = float(np.abs(truth - np.median(truth)).mean())
    title = f"{study.task}, fold {config.fold}: {len(truth)} test crystals, {config.repeats} draws of labels"
    for scaling, part in result.fits.groupby("scaling", sort=False):
        name, more = ("heads", "") if scaling == "standard" else ("heads_unscaled", ", vectors not scaled")
        plot_heads(part, out / name, target=study.target, unit=study.unit, guess=guess, title=title + more)
    shown = result.points["id"].nunique()
    for method in ["pca", *([config.map] if config.map != "none" else [])]:
        heading = f"Frozen vectors of {shown} test crystals of {study.task}, fold {config.fold}"
        plots.plot_map(
            result.points, method, out / f"map_{method}", target=study.target, unit=study.unit, title=heading
        )
    atomic_write(out / "summary.md", result.summary())
    vouch_for(out, [CARDS, *(f"{name}.csv" for name in (*frames, "map")), "summary.md"])


# One representation study: which vectors, which label masks, and what a finished fit must match to count.

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""

FEWEST = 3
"""Fewer test crystals make neither a map nor an interval."""

PRETRAINED, UNTRAINED = "pretrained", "untrained"


@dataclass(frozen=True)
class Vectors:
    """The frozen vectors of one arm."""

    kind: str
    """``pretrained``, ``untrained``, or the name of the descriptor."""
    file: Path
    """Array of one line per crystal, (L, D)."""
    lines: NDArray[np.int64]
    """Line of each crystal of the data, -1 where no fit needs it, (n,)."""
    width: int
    """Numbers per crystal, D."""
    content: str
    """Hash of everything that decides the numbers, the crystals apart."""
    failures: dict[int, str]
    """Why a crystal has no vector, by row of the data."""
    weights: str | None = None
    """Hash of the encoder's weights."""
    store: str | None = None
    """Hash of the prepared crystals."""


@dataclass(frozen=True)
class Representation(CardGrid[HeadFit]):
    """A representation study that was checked."""

    kind: ClassVar[str] = "represent"
    folder: ClassVar[str] = "fits"
    title: ClassVar[str] = "Fits"

    config: RepresentConfig
    target: str
    task: str
    unit: str | None
    crystals: Crystals
    """Worker processes get neither these nor the encoder."""
    ids: list[str]
    labels: NDArray[np.float64]
    """Label of each crystal, NaN where missing, (n,). A fit gets the entries of its mask and no others."""
    parts: Split
    masks: dict[tuple[int, int], NDArray[np.int64]]
    """Unmasked rows by number of labels and seed."""
    data_hash: str
    encoder: Encoder
    weights: str
    """Hash of the encoder's weights."""
    vectors: dict[str, Vectors] = field(default_factory=dict)
    """Frozen vectors by arm, once they are computed."""

    def __getstate__(self) -> dict[str, Any]:
        """What travels to worker processes: vectors lie on disk, so that nobody needs crystals and encoder there."""
        return {**self.__dict__, "crystals": None, "encoder": None}

    @property
    def seeds(self) -> range:
        """One per draw."""
        return range(self.config.seed, self.config.seed + self.config.repeats)

    @property
    def arms(self) -> list[str]:
        """Names of all arms: the encoder, the untrained ones, the descriptors."""
        untrained = [f"{UNTRAINED}-{seed}" for seed in self.untrained_seeds]
        return [PRETRAINED, *untrained, *dict.fromkeys(self.config.descriptors)]

    @property
    def untrained_seeds(self) -> range:
        """Seeds of the random weights."""
        return range(self.config.seed, self.config.seed + self.config.untrained)

    @property
    def runs(self) -> list[HeadFit]:
        """All fits, those with few labels first."""
        heads = [(head, scaling) for scaling in unique(self.config.scaling) for head in unique(self.config.heads)]
        return [
            HeadFit(arm, head, scaling, count, seed)
            for count in sorted(set(self.config.labels))
            for seed in self.seeds
            for arm in self.arms
            for head, scaling in heads
        ]

    @property
    def needed(self) -> NDArray[np.int64]:
        """Rows that some fit learns from or predicts, ascending."""
        return np.unique(np.concatenate([self.parts.test, *self.masks.values()]))

    def claim(self) -> dict[str, Any]:
        """What this study is, for the folder it lives in; draws, heads and arms may be added to it."""
        return {
            **deciding(self.config),
            "target": self.target,
            "task": self.task,
            "crystals and labels": self.data_hash,
            "encoder": self.weights,
            "code version": CODE_VERSION,
        }

    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        return split_hash(self.ids, self.parts)

    def run_hash(self, run: HeadFit) -> str:
        """Hash of everything that decides the result of a fit."""
        mask = self.masks[run.labels, run.seed].tolist()
        return hash_of(self.claim(), run.name, self.vectors[run.arm].content, mask)

    def job(self, fit: HeadFit) -> HeadJob:
        """What the fit gets to see: the labels of its mask, cut out of all others."""
        vectors = self.vectors[fit.arm]
        rows = self.masks[fit.labels, fit.seed]
        test = self.parts.test
        return HeadJob(fit, vectors.file, vectors.lines[rows], self.labels[rows].copy(), vectors.lines[test])

    def carry_out(self, run: HeadFit) -> Outcome:
        """Fit one head and score it."""
        import pandas as pd

        answer = fit_head(self.job(run))
        if not np.isfinite(answer.prediction).all():
            raise InputError(
                f"{run.name} predicts no finite number for some test crystals. Leave out the head {run.head}."
            )
        truth = self.labels[self.parts.test]
        ids = [self.ids[int(row)] for row in self.parts.test]
        table = pd.DataFrame({"id": ids, "target": truth, "prediction": answer.prediction})
        return Outcome(table, _card(self, answer) | {"metrics": error_metrics(truth, answer.prediction)})


def _card(study: Representation, answer: HeadAnswer) -> dict[str, Any]:
    """What the run card of a fit says beside the errors."""
    fit, vectors = answer.fit, study.vectors[answer.fit.arm]
    mask, failed = study.masks[fit.labels, fit.seed], list(vectors.failures)
    return {
        "task": study.task,
        "target": study.target,
        "unit": study.unit,
        "arm": fit.arm,
        "fold": study.config.fold,
        "seed": fit.seed,
        "mask": {"asked": fit.labels, "used": len(mask), "sha256": mask_hash(study.ids, mask)},
        "n_test": len(study.parts.test),
        "initial": {"name": vectors.kind, "sha256": vectors.weights},
        "settings": {
            "head": fit.head,
            "scaling": fit.scaling,
            "dimensions": vectors.width,
            "imputed_train": int(np.isin(mask, failed).sum()),
            "imputed_test": int(np.isin(study.parts.test, failed).sum()),
        },
        "tried": [],
        "hashes": {"data": study.data_hash, "folds": study.fold_hash(), "store": vectors.store},
        "cost": {"seconds": answer.seconds, "pretraining_seconds": None},
    }


def plan_representation(crystals: Crystals, target: str, config: RepresentConfig) -> Representation:
    """Check a study before anything is computed or written.

    Raises:
        InputError: For an unknown task or target, too few labels, a folder without an encoder, or elements that the
            encoder does not know.
    """
    from matgl_infomax.data.elements import check_elements
    from matgl_infomax.nn.build import load_encoder
    from matgl_infomax.tasks.studies.arms import state_hash

    if min(config.labels) < 2:
        raise InputError(f"Heads are fitted on at least 2 labels. Received: {min(config.labels)}.")
    values = crystals.labels([target])[:, 0]
    parts = split(crystals.ids, ~np.isnan(values), config.task, config.fold)
    if len(parts.test) < FEWEST:
        raise InputError(f"{FEWEST} test crystals are needed at least. Received: {len(parts.test)}. Add labelled ones.")
    available = parts.train[~np.isnan(values[parts.train])]
    masks = {
        (count, seed): rows
        for seed in range(config.seed, config.seed + config.repeats)
        for count, rows in nested_masks(crystals.ids, available, config.labels, seed).items()
    }
    task, unit = name_and_unit(config.task, target)
    encoder = load_encoder(config.checkpoint)
    elements = {int(z) for crystal in crystals for z in np.unique(crystal.numbers)}
    check_elements(elements, encoder.element_types, str(config.checkpoint))
    weights, content = state_hash(encoder), data_hash(crystals, values)
    return Representation(
        config=config,
        target=target,
        task=task,
        unit=unit,
        crystals=crystals,
        ids=crystals.ids,
        labels=values,
        parts=parts,
        masks=masks,
        data_hash=content,
        encoder=encoder,
        weights=weights,
    )


def prepare_vectors(study: Representation, *, progress: bool) -> Representation:
    """Compute the vectors of every arm, or find that it was done.

    Encoders embed every crystal once, so that the vectors do not depend on the draws; descriptors, which take up to a
    second each, are computed for the crystals that some fit needs.

    Raises:
        InputError: If something cannot be written.
    """
    from matgl_infomax.data.store import build_store

    config = study.config
    encoders = {PRETRAINED: (PRETRAINED, study.encoder)}
    encoders |= {f"{UNTRAINED}-{seed}": (UNTRAINED, fresh(study.encoder, seed)) for seed in study.untrained_seeds}
    rule = study.encoder.edges
    store = build_store(study.crystals, rule, config.cache, progress=progress, workers=config.workers)
    found = {name: _embedded(kind, model, store, config.cache, progress) for name, (kind, model) in encoders.items()}
    for name in unique(config.descriptors):
        found[name] = _described(study, name, progress)
    return replace(study, vectors=found)


def fresh(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same architecture whose weights are random: what the architecture gives by itself.

    Args:
        encoder: the trained one; left as it is.
        seed: seed of the weights.
    """
    from matgl_infomax.nn.matgl_net import MatGLNet
    from matgl_infomax.nn.sitenet import SiteNet

    if isinstance(encoder, MatGLNet):
        return MatGLNet.seeded(seed, **encoder.init_args)
    # Every setting of a preset is among the arguments that an encoder remembers.
    return SiteNet.from_preset("compact", seed=seed, **encoder.init_args)


def unique(names: Sequence[str]) -> list[str]:
    """Names without repetition, in the order they were given."""
    return list(dict.fromkeys(names))


def _embedded(kind: str, encoder: Encoder, store: Any, cache: Path, progress: bool) -> Vectors:
    """Crystal vectors of an encoder."""
    from matgl_infomax.tasks.studies.arms import state_hash
    from matgl_infomax.train.predict import embed_rows

    weights = state_hash(encoder)
    content = sha256_of(f"{weights} {store.key}")
    lines = np.arange(len(store))
    file = cache.expanduser() / f"vectors-{content[:24]}.npy"
    values = cached_array(file, partial(embed_rows, encoder, store, lines, progress=progress))
    if not np.isfinite(values).all():
        raise InputError(f"The {kind} encoder gives no finite vector for some crystals: its training diverged.")
    return Vectors(kind, file, lines, values.shape[1], content, {}, weights, store.key)


def _described(study: Representation, name: str, progress: bool) -> Vectors:
    """Descriptors of the crystals that some fit needs."""
    rows, config = study.needed, study.config
    chosen = study.crystals.subset(rows)
    lines = np.full(len(study.crystals), -1)
    lines[rows] = np.arange(len(rows))
    if name == "magpie":
        from matgl_infomax.tasks.studies import descriptors as magpie

        file = magpie.descriptors(chosen, config.cache, workers=config.workers, progress=progress)
        width = magpie.read_descriptors(file).shape[1]
        content = sha256_of(f"magpie {magpie.ELEMENT_CODE_VERSION} {version('matminer')}")
        return Vectors(name, file, lines, width, content, {})
    from matgl_infomax.tasks.studies.descriptors import recipe, structure_descriptors

    found = structure_descriptors(name, chosen, config.cache, workers=config.workers, progress=progress)
    file = config.cache.expanduser() / f"{name}-{sha256_of(found.values.tobytes())[:24]}.npy"
    cached_array(file, lambda: found.values)
    failures = {int(rows[line]): reason for line, reason in found.failures.items()}
    return Vectors(name, file, lines, found.values.shape[1], recipe(name), failures)


# The numbers of a representation study: one line per fit, paired comparisons, and a page to read.

FIT_COLUMNS = [
    "task", "arm", "group", "head", "scaling", "labels", "seed", "fold", "dimensions", "imputed_train", "imputed_test",
    "mae", "rmse", "r2", "seconds",
]  # fmt: skip
SETTING = ["scaling", "head", "labels"]

Errors = dict[tuple[str, str, int], dict[str, NDArray[np.float64]]]
"""Absolute errors by scaling, head and number of labels, then by arm: draws in rows, test crystals in columns."""


def fit_frame(cards: Iterable[RunCard]) -> pd.DataFrame:
    """One line per fit, in the columns of ``fits.csv``.

    Args:
        cards: run cards of the fits.
    """
    import pandas as pd

    lines = [
        {
            "task": card.task,
            "arm": card.arm,
            "group": card.initial.name,
            "head": card.settings["head"],
            "scaling": card.settings["scaling"],
            "labels": card.mask.used,
            "seed": card.seed,
            "fold": card.fold,
            "dimensions": card.settings["dimensions"],
            "imputed_train": card.settings["imputed_train"],
            "imputed_test": card.settings["imputed_test"],
            **card.metrics.model_dump(),
            "seconds": card.cost.seconds,
        }
        for card in cards
    ]
    return pd.DataFrame(lines, columns=FIT_COLUMNS).astype({"r2": "float64"})


def _answer(result: Comparison, beaten: int, of: int) -> str:
    """Better, worse or cannot tell."""
    if result.better and beaten == of:
        return "better"
    return "worse" if result.worse and beaten == 0 else "cannot tell"


def by_group(fits: pd.DataFrame) -> pd.DataFrame:
    """Errors of each draw with the untrained encoders averaged: columns scaling, head, labels, group, seed, mae."""
    return fits.groupby([*SETTING, "group", "seed"], sort=False)["mae"].mean().reset_index()


def tables(fits: pd.DataFrame, compared: pd.DataFrame, unit: str | None) -> str:
    """Errors as Markdown, one table per scaling and head.

    Args:
        fits: the columns of ``fits.csv``.
        compared: what ``comparisons`` gives.
        unit: unit of the target, where known.
    """
    parts = []
    grouped = by_group(fits).rename(columns={"group": "arm", "labels": "labels_asked"})
    for key, part in grouped.groupby(["scaling", "head"], sort=False):
        scaling, head = cast(tuple[str, str], key)
        here = compared[(compared["scaling"] == scaling) & (compared["head"] == head)]
        floor = here[here["baseline"] == "untrained"].to_dict("records")
        ratios = {int(line["labels"]): _interval(line) for line in floor}
        title = f"## {head}" + ("" if scaling == "standard" else ", vectors not scaled")
        parts += [title, "", markdown_table(part, ratios, "pretrained / untrained (95 %)", unit), ""]
    return "\n".join(parts)


def sentences(compared: pd.DataFrame) -> list[str]:
    """What came out for each baseline, head by head."""
    said = []
    for line in compared.to_dict("records"):
        beaten = f", ahead of {line['beaten']} of {line['of']} encoders" if line["of"] > 1 else ""
        unscaled = "" if line["scaling"] == "standard" else ", not scaled"
        answer = f"{line['answer']} {'from' if line['answer'] == 'cannot tell' else 'than'} {line['baseline']}"
        said.append(f"{line['head']}{unscaled}, {line['labels']} labels: {answer} (error x {_interval(line)}{beaten})")
    return said


def overview(compared: pd.DataFrame) -> str:
    """How often the pretrained vectors were better or worse than each baseline, as one line of text per baseline."""
    lines = []
    for baseline, part in compared.groupby("baseline", sort=False):
        counts = part["answer"].value_counts()
        noted = ", ".join(f"{name} {int(counts.get(name, 0))}" for name in ("better", "worse", "cannot tell"))
        lines.append(f"Pretrained against {baseline}: {noted} (of {len(part)} heads x label counts).")
    return "\n".join(lines)


def failure_lines(failures: pd.DataFrame) -> list[str]:
    """How many crystals of each part have no descriptor, and why most of them."""
    lines = []
    for arm, part in failures.groupby("arm", sort=False):
        where = part["part"].value_counts()
        reason, n = part["reason"].value_counts().index[0], int(part["reason"].value_counts().iloc[0])
        lines.append(
            f"{arm}: {int(where.get('train', 0))} training and {int(where.get('test', 0))} test crystals have no "
            f"descriptor ({n} of them: {reason}). They stay in both parts with the mean of the unmasked crystals; "
            "all are listed in failures.csv."
        )
    return lines


def _interval(line: dict[Any, Any]) -> str:
    """'0.913 (0.871–0.958)'."""
    return f"{line['ratio']:.3f} ({line['ratio_low']:.3f}–{line['ratio_high']:.3f})"


# The maps of a representation study: which crystals, which arms, where they lie.


def map_points(study: Representation, progress: bool) -> pd.DataFrame:
    """Coordinates of test crystals, of the pretrained encoder and, for comparison, of the first untrained one.

    Args:
        study: the study, its vectors computed.
        progress: show a bar.

    Returns:
        One line per arm and crystal: arm, id, target, crystal_system, element, ``pca_1``, ``pca_2`` and the same of
        the other map.
    """
    import pandas as pd

    rows = _rows(study)
    facts = plots.crystal_facts([study.crystals[int(row)] for row in rows])
    facts.insert(1, "target", study.labels[rows])
    methods = ["pca", *([study.config.map] if study.config.map != "none" else [])]
    arms = [PRETRAINED, f"{UNTRAINED}-{study.config.seed}"]
    parts = []
    with progress_bar(total=len(arms) * len(methods), desc="Maps", unit="map", shown=progress) as bar:
        for arm in arms:
            part = facts.copy()
            part.insert(0, "arm", arm)
            for method in methods:
                part[[f"{method}_1", f"{method}_2"]] = _place(study, study.vectors[arm], rows, method)
                bar.update()
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _rows(study: Representation) -> NDArray[np.int64]:
    """The test crystals that are shown, in the order of the data: all, or as many as can be told apart."""
    test = study.parts.test
    count = min(len(test), plots.MOST_POINTS)
    return np.sort(nested_masks(study.crystals.ids, test, [count], study.config.seed)[count])


def _place(study: Representation, vectors: Vectors, rows: NDArray[np.int64], method: str) -> NDArray[np.float64]:
    """Points of one arm, kept on disk: t-SNE takes up to a minute."""
    seed = study.config.seed
    known = f"{plots.CODE_VERSION} {vectors.content} {study.data_hash} {method} {seed} {rows.tolist()}"
    file = study.config.cache.expanduser() / f"map-{sha256_of(known)[:24]}.npy"
    values = np.load(vectors.file, mmap_mode="r", allow_pickle=False)[vectors.lines[rows]]
    return np.asarray(cached_array(file, partial(plots.project, values, method, seed)))
