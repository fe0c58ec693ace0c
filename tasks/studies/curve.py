"""Does pretraining help? A learning curve over few labels, every arm on equal terms, and an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import say
from matgl_infomax.data.inputs import split_targets, whole_crystals
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.errors import DivergedError, InputError
from matgl_infomax.io import atomic_write, csv_text, vouch_for
from matgl_infomax.leaderboard.glossary import STUDY_INTERVALS, glossary, glossary_markdown
from matgl_infomax.leaderboard.kept import KEPT, kept_table
from matgl_infomax.leaderboard.resampled import FoldPairing, best_to_use
from matgl_infomax.leaderboard.results import CARDS
from matgl_infomax.leaderboard.verdict import (
    PRETRAINING,
    Verdict,
    absolute_errors,
    curve_frame,
    dead_networks,
    findings,
    has_several,
    judge,
    markdown_table,
    pooled_runs,
    retried,
    run_name,
)
from matgl_infomax.record import RunCard, SelfDescribing
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import CurveConfig, StartSettings
from matgl_infomax.tasks.matbench.task import (
    Split,
    data_hash,
    mask_hash,
    name_and_unit,
    split_hash,
)
from matgl_infomax.tasks.studies.arms import ARMS, DESCRIBED, ArmAnswer, ArmTask, named_arms
from matgl_infomax.tasks.studies.descriptors import described
from matgl_infomax.tasks.studies.engine import (
    IN_MEMORY,
    CardGrid,
    Outcome,
    carry_out_all,
    error_metrics,
    hash_of,
    settings_of,
    take_folder,
    write_table,
)
from matgl_infomax.tasks.studies.final import fit_final
from matgl_infomax.tasks.studies.named_studies import with_study
from matgl_infomax.tasks.studies.resample import Resampling, parts_and_masks, seeds_of
from matgl_infomax.tasks.studies.starts import (
    Start,
    StartRequest,
    check_starts,
    in_words,
    own_starts,
    start_name,
    weights_of,
)
from matgl_infomax.workers import workers_here

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.data.inputs import Source, Targets
    from matgl_infomax.data.store import Store


@dataclass(frozen=True, repr=False)
class CurveResult(SelfDescribing):
    """The numbers of a study; it draws and prints them on demand."""

    frame: pd.DataFrame
    """One line per run: task, arm, labels_asked, labels_used, seed, fold, mae, rmse, r2, seconds; with pretraining
    where an arm has several."""
    predictions: pd.DataFrame
    """One line per run and test crystal: task, arm, labels, seed, fold, id, target, prediction; with pretraining
    where an arm has several."""
    verdict: Verdict
    """Yes, no or cannot tell, with intervals and label saving."""
    cards: tuple[RunCard, ...]
    """One card per run."""
    notes: tuple[str, ...] = ()
    """What a reader of the table has to know."""
    pairing: FoldPairing | None = None
    """How arms were compared, where every crystal is tested."""

    def facts(self) -> tuple[str, dict[str, str]]:
        """The verdict, the error of every arm, and what to do next."""
        v, unit = self.verdict, f" {self.verdict.unit}" if self.verdict.unit else ""
        told = {"Verdict": v.text}
        for labels, runs in self.frame.groupby("labels_asked"):
            means = runs.groupby("arm", sort=False)["mae"].mean().sort_values()
            errors = ", ".join(f"{arm} failed" if np.isnan(mae) else f"{arm} {mae:.4g}" for arm, mae in means.items())
            told[f"Error with {labels} labels"] = f"{errors}{unit} (mean absolute error)"
        told["Tested on"] = f"{v.test_crystals} crystals, {v.seeds} seed{'' if v.seeds == 1 else 's'}"
        told["Next"] = "print(result.summary()), result.to_frame(), result.plot(path)"
        return f"Learning curve of {v.target}", told

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table of runs."""
        return self.frame.copy()

    @property
    def pooled(self) -> pd.DataFrame:
        """One line per arm, number of labels and seed: the error over all folds."""
        return pooled_runs(card.model_dump() for card in self.cards)

    def to_markdown(self) -> str:
        """The errors of all arms as a table to read."""
        v = self.verdict
        ratios = {p.labels: f"{p.ratio:.3f} ({p.ratio_low:.3f}–{p.ratio_high:.3f})" for p in v.points}
        return markdown_table(self.pooled, ratios, f"{v.arm} / {v.baseline} (95 %)", v.unit)

    def plot(self, path: Path | str) -> None:
        """Draw the learning curves and write them.

        Args:
            path: file to write, by its ending .png, .svg or .pdf; without an ending as PNG and SVG.

        Raises:
            InputError: If the file cannot be written.
        """
        from matgl_infomax.tasks.studies.plots import plot_curve

        truth = self.predictions.drop_duplicates("id")["target"].to_numpy()
        guess = float(np.abs(truth - np.median(truth)).mean())
        plot_curve(self.pooled, Path(path), verdict=self.verdict, guess=guess, title=self.title)

    def plot_ratios(self, path: Path | str) -> None:
        """Draw every arm's error beside that from scratch, with intervals, and write it.

        Args:
            path: file to write, as for ``plot``.

        Raises:
            ValueError: If no arm was compared with scratch.
            InputError: If the file cannot be written.
        """
        from matgl_infomax.tasks.studies.plots import plot_ratios

        plot_ratios(self.verdict, Path(path), title=self.title)

    @property
    def title(self) -> str:
        """What was tested, for the head of a picture."""
        return f"{self.frame['task'].iloc[0]}: {self.verdict.test_crystals} test crystals, {self.verdict.seeds} seeds"

    def summary(self) -> str:
        """Table and verdict as one page of Markdown."""
        lines = [f"# Does pretraining help? {self.verdict.target}", "", self.to_markdown(), "", *findings(self.verdict)]
        words = glossary(dict.fromkeys(self.frame["arm"]), metrics=("mae",), intervals=STUDY_INTERVALS)
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes), "", glossary_markdown(words)]) + "\n"


def learning_curve(
    crystals: Source,
    target: Targets,
    config: CurveConfig | Mapping[str, Any] | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> CurveResult:
    """Train every arm on the same few labels, test on the same crystals, and say whether pretraining helped.

    A study that was stopped goes on where it was when called again with the same folder. Numbers of labels, seeds
    and arms may be added later; other data or other settings in the same folder are refused.

    Args:
        crystals: all crystals, labelled or not, as ``read_crystals`` takes them.
        target: name of the label, or the labels themselves under one name, NaN where unknown.
        config: the study; or give its fields as a dictionary or as ``options``, such as ``out="study", labels=[50]``.
        progress: show bars.
        options: fields of ``CurveConfig``, instead of ``config``.

    Raises:
        InputError: If anything asked for is not there, the folder holds another study or cannot be written, or the
            data change meanwhile.
        KeyboardInterrupt: After Ctrl-C; finished runs are kept.
    """
    names, given = split_targets(target)
    config = _about(names, config, options)
    stamp = file_stamp(config)

    def check() -> None:
        if file_stamp(config) != stamp:
            raise InputError(
                f"The data in {config.data} changed while the study was running; finished runs are of the data as "
                "they were. Restore them to go on, or choose another --out for the new ones."
            )

    table = _crystals_with(crystals, target, bool(given), config)
    study = plan_curve(table, names[0], config)
    for sentence in study.sentences if progress else ():
        say(sentence)
    take_folder(study)
    study = prepare_curve(study, table, progress=progress)
    carry_out_all(study, check=check, progress=progress)
    result = collect_curve(study)
    if config.fit_final and result.verdict.choice is not None:
        said = fit_final(study, table, result.predictions, result.verdict.choice, result.cards, progress=progress)
        result = replace(result, notes=(*result.notes, said))
    _write(result, config)
    return result


def _about(names: Sequence[str], config: CurveConfig | Mapping[str, Any] | None, options: Any) -> CurveConfig:
    """The settings of a study of one property, however they were given."""
    if len(names) != 1:
        raise InputError(f"A learning curve is about one property. Received: {', '.join(names) or 'none'}.")
    if config is None or isinstance(config, Mapping):
        config = {"data": IN_MEMORY, "target": names, **(config or {})}
    return with_study(settings_of(CurveConfig, config, options))


def _crystals_with(source: Source, target: Targets, given: bool, config: CurveConfig) -> Crystals:
    """The crystals of whatever holds them; Crystals keep the labels that they carry unless others are given."""
    if whole_crystals(source) is not None and not given:
        return read_crystals(source, on_error=config.on_error)
    return read_crystals(
        source,
        targets=target,
        labels_file=config.labels_file,
        id_column=config.id_column,
        on_error=config.on_error,
    )


def collect_curve(study: CurveStudy) -> CurveResult:
    """Put the finished runs of a study together, all cards into one file.

    Raises:
        InputError: If a run's files are missing or damaged.
    """
    import pandas as pd

    cards, predictions = study.collect_cards(unit=study.unit), pd.concat(study.tables(), ignore_index=True)
    if PRETRAINING in predictions:
        predictions = predictions.fillna({PRETRAINING: 0}).astype({PRETRAINING: "int64"})
    frame = curve_frame(card.model_dump() for card in cards)
    errors, dead, pairing = absolute_errors(predictions), dead_networks(cards), study.pairing
    verdict = judge(errors, target=study.target, unit=study.unit, dead=dead, pairing=pairing)
    if pairing is not None:
        verdict = best_to_use(verdict, errors, pairing, dead)
    unsure = {name for name, start in study.starts.items() if "weights_name" not in start.facts}
    own = [arm for arm, paths in study.arms.items() if unsure & {start_name(arm, k) for k in range(len(paths))}]
    # Two arms may start from the same weights: they are told of once.
    first = {run.arm: start for run in reversed(study.runs) if (start := study.start_of(run)) is not None}
    facts = dict.fromkeys(in_words(STARTS.get(arm, arm), first[arm].facts) for arm in study.arms if arm in first)
    notes = [f"Weights of {', '.join(own)}: nobody checked whether they have seen test crystals."] if own else []
    notes += [sentence for sentence in [*facts, *study.sentences, retried(cards)] if sentence]
    if study.not_tested:
        n = len(study.parts.test)
        notes.append(
            f"--test-limit {study.config.test_limit}: tested on {n} of {n + study.not_tested} crystals of the test "
            "part, those of the lowest hash of their id."
        )
    return CurveResult(frame, predictions, verdict, cards, tuple(notes), pairing)


def _write(result: CurveResult, config: CurveConfig) -> None:
    """The tables and pictures of a finished study, the verdict last."""
    out = config.out
    if config.keep != "nothing":
        v = result.verdict
        errors_only = config.keep == "errors"
        content = kept_table(
            result.predictions, target=v.target, unit=v.unit, errors_only=errors_only, pairing=result.pairing,
            dead=dead_networks(result.cards),
        )  # fmt: skip
        atomic_write(out / KEPT, content)
    write_table(out / "predictions.parquet", result.predictions)
    atomic_write(out / "curve.csv", csv_text(result.frame))
    result.plot(out / "curve")
    if has_several(result.verdict):
        result.plot_ratios(out / "ratios")
    atomic_write(out / "summary.md", result.summary())
    atomic_write(out / "verdict.json", result.verdict.model_dump_json(indent=1) + "\n")
    kept = [KEPT] if config.keep != "nothing" else []
    vouch_for(out, [CARDS, *kept, "predictions.parquet", "curve.csv", "summary.md", "verdict.json"])


# One learning-curve study: what is asked, of which data, and what a finished run must match to count.

CODE_VERSION = 1
"""Raise it whenever the same study would give other results."""

APART = ("target", "finetune.seed", *(name for name in StartSettings.model_fields if name not in ("corpus", "source")))
"""Settings that are told otherwise: the target by its name, each run's seed in the run, and a corpus or source, which
decides only the arms that learn from it, by the weights of these."""

PROCESSES = ("pretrain.processes", "finetune.processes")
"""They decide nothing, but have stood in claims and hashes since the first studies. They still do, as their default."""


@dataclass(frozen=True)
class CurveRun:
    """One arm with one label mask."""

    arm: str
    labels: int
    seed: int
    pretraining: int = 0
    """Which of the arm's folders of weights, counted from 0; 0 where it has one or none."""
    fold: int | None = None
    """Fold that is tested, in a study that tests them all."""

    @property
    def name(self) -> str:
        """Name of the run's files."""
        name = run_name(self.arm, self.labels, self.seed, self.pretraining)
        return name if self.fold is None else f"{name}-f{self.fold}"

    @property
    def start(self) -> str:
        """Name of the weights it starts from, if any."""
        return start_name(self.arm, self.pretraining)

    @property
    def mask(self) -> tuple[int, ...]:
        """Name of its mask, the same for all arms: labels, seed and, where each repeat has several, the fold."""
        return (self.labels, self.seed) if self.fold is None else (self.labels, self.seed, self.fold)


@dataclass(frozen=True)
class CurveStudy(CardGrid[CurveRun]):
    """Everything that the runs of a learning curve need."""

    kind: ClassVar[str] = "curve"
    undeciding: ClassVar[Sequence[str]] = PROCESSES

    config: CurveConfig
    target: str
    task: str
    unit: str | None
    ids: list[str]
    labels: NDArray[np.float64]
    """Label of each crystal, NaN where missing, (n,). Arms never get this, only the entries of their mask."""
    parts: Split
    """Training part, and the test part up to ``test_limit``."""
    masks: dict[tuple[int, ...], NDArray[np.int64]]
    """Unmasked rows by number of labels, seed and, where all are tested, fold."""
    data_hash: str
    not_tested: int = 0
    """Crystals of the test part beyond ``test_limit``."""
    store: Store | None = None
    """Prepared crystals, one per entry of ``stored``."""
    features: dict[str, Path] = field(default_factory=dict)
    """Files of descriptors by their kind, one line per entry of ``asked``."""
    starts: dict[str, Start] = field(default_factory=dict)
    """Weights by ``CurveRun.start``, for each arm that starts from some, and by its fold where each has its own."""
    resampling: Resampling | None = None
    """Parts of each fold, in a study that tests every crystal."""

    @property
    def arms(self) -> dict[str, tuple[Path, ...]]:
        """Folders of weights by arm, none for the arms that need no folder given."""
        return named_arms(self.config.arms)

    @property
    def runs(self) -> list[CurveRun]:
        """All runs, the cheap ones first, so that something is to be seen soon."""
        folds = [None] if self.resampling is None else range(self.resampling.folds)
        return [
            CurveRun(arm, n, seed, pretraining, fold)
            for n in sorted(set(self.config.labels))
            for seed in seeds_of(self.config)
            for fold in folds
            for arm, folders in self.arms.items()
            for pretraining in range(max(1, len(folders)))
        ]

    @property
    def asked(self) -> NDArray[np.int64]:
        """Rows of the crystals whose labels some run sees or is tested on, ascending."""
        return np.unique(np.concatenate([self.parts.test, *self.masks.values()]))

    @property
    def stored(self) -> NDArray[np.int64]:
        """Rows of the crystals that networks read, ascending: with the training part where weights are learnt first."""
        return np.union1d(self.asked, self.parts.train) if set(self.arms) & set(STARTS) else self.asked

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that decide results, without any path."""
        found = _with_default_processes(deciding(self.config, apart=APART))
        # It came after the first studies: left out, it stands in no claim and no hash.
        return {name: value for name, value in found.items() if name != "test_limit" or value is not None}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a user has to know before anything is computed."""
        if self.resampling is None:
            return ()
        counts = f"Numbers of labels: {', '.join(map(str, sorted(set(self.config.labels))))}."
        return (*self.resampling.sentences, counts)

    @property
    def pairing(self) -> FoldPairing | None:
        """How two arms are compared where every crystal is tested."""
        return None if self.resampling is None else self.resampling.pairing(self.ids, self.masks)

    def parts_of(self, run: CurveRun) -> Split:
        """Training and test part of a run."""
        if self.resampling is None or run.fold is None:
            return self.parts
        return self.resampling.parts[run.seed, run.fold]

    def start_of(self, run: CurveRun) -> Start | None:
        """Weights that a run starts from, if any."""
        return self.starts.get(run.start, self.starts.get(f"{run.arm}-s{run.seed}-f{run.fold}"))

    def draw_of(self, run: CurveRun) -> int:
        """Seed of a run's initial weights: the one of its repeat, or of its fold."""
        if self.resampling is None or run.fold is None:
            return run.seed
        return self.resampling.seed_of(run.seed, run.fold)

    @property
    def fold_hash(self) -> str:
        """Hash of the ids of the training part and of the test part."""
        return split_hash(self.ids, self.parts)

    def claim(self, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """What this study is; numbers of labels, seeds and arms may be added later.

        Args:
            settings: as an earlier version noted them; those of this study when left out.
        """
        return {
            "target": self.target,
            "crystals and labels": self.data_hash,
            "code version": CODE_VERSION,
            **(self.settings if settings is None else settings),
            **({} if self.resampling is None else {"resampling": self.resampling.facts}),
        }

    def run_hash(self, run: CurveRun, settings: dict[str, Any] | None = None) -> str:
        """Hash of everything that decides the result of a run.

        Args:
            run: the run.
            settings: as an earlier version noted them; those of this study when left out.
        """
        start, mask = self.start_of(run), self.masks[run.mask].tolist()
        weights = start.weights if start else None
        own = () if run.fold is None else (run.fold, split_hash(self.ids, self.parts_of(run)))
        return hash_of(self.claim(settings), run.arm, weights, run.labels, run.seed, mask, *own)

    def is_of(self, card: RunCard, run: CurveRun) -> bool:
        """Whether a card belongs to a run of this study, also one whose hash held the processes as they were given."""
        same = _with_default_processes(card.settings) == self.settings
        return same and card.hashes.run == self.run_hash(run, card.settings)

    def carry_out(self, run: CurveRun) -> Outcome:
        """One run: the arm sees its mask and nothing else, then its predictions are scored."""
        return run_arm(self, run)


def _with_default_processes(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which the numbers of processes are their defaults."""
    changed = dict(settings)
    for dotted in PROCESSES:
        section, name = dotted.split(".")
        changed[section] = {**changed.get(section, {}), name: 1}
    return changed


def plan_curve(crystals: Crystals, target: str, config: CurveConfig) -> CurveStudy:
    """Check a study before anything is computed or written.

    Raises:
        InputError: For an unknown arm, task or target, too few labels, or weights that do not fit.
    """
    arms = named_arms(config.arms)
    if config.finetune.task != "regression":
        raise InputError(f"Learning curves are for regression. Received: finetune.task = {config.finetune.task}.")
    if config.labels and min(config.labels) < 2:
        raise InputError(f"A learning curve needs at least 2 labels. Received: {min(config.labels)}.")
    wrong = [rate for rate in config.learning_rates if rate <= 0]
    if wrong:
        raise InputError(f"Learning rates are above 0. Received: {wrong[0]}.")
    values = crystals.labels([target])[:, 0]
    plan = parts_and_masks(crystals, values, config)
    check_starts(arms, config, config.data_dir)
    own = own_starts(arms, config.model, [crystals[int(row)] for row in plan.parts.test])
    task, unit = name_and_unit(config.task, target, config.unit)
    return CurveStudy(
        plan.config, target, task, unit, crystals.ids, values, plan.parts, plan.masks, data_hash(crystals, values),
        not_tested=plan.not_tested, starts=own, resampling=plan.resampling,
    )  # fmt: skip


def prepare_curve(study: CurveStudy, crystals: Crystals, *, progress: bool) -> CurveStudy:
    """Compute what the runs share, of the crystals they use: prepared crystals, pretraining, descriptors.

    Raises:
        InputError: If something cannot be written, or there are too few structures to pretrain on.
    """
    config = study.config
    workers = workers_here(config.workers, config.launcher)
    if set(study.arms) - set(DESCRIBED):
        from matgl_infomax.data.store import build_store
        from matgl_infomax.nn.build import edge_rule

        rule = edge_rule(config.model)
        used = crystals.subset(study.stored)
        store = build_store(used, rule, config.cache, progress=progress, workers=workers)
        starts = _learnt_starts(study, used, store, progress)
        study = replace(study, store=store, starts=study.starts | starts)
    kinds = dict.fromkeys(DESCRIBED[arm][0] for arm in study.arms if arm in DESCRIBED)
    asked = crystals.subset(study.asked)
    features = {k: described(k, asked, config.cache, workers=workers, progress=progress) for k in kinds}
    return replace(study, features=features)


def _learnt_starts(study: CurveStudy, crystals: Crystals, store: Store, progress: bool) -> dict[str, Start]:
    """Weights of the arms that start from some, each kind learnt once, or found where that was done.

    Where every crystal is tested, a corpus or a source serves all folds, without any crystal that is tested. Structures
    of the training part are learnt from once for each fold, unless there are enough without a label.

    Args:
        study: the study.
        crystals: the stored ones.
        store: the same crystals, prepared.
        progress: show bars.
    """
    config, folds = study.config, study.resampling

    def ask(parts: Split, folder: Path) -> StartRequest:
        train, test = (np.searchsorted(study.stored, rows) for rows in (parts.train, parts.test))
        return StartRequest.of(config, crystals, Split(train, test), store, folder=folder, progress=progress)

    arms = [arm for arm in study.arms if arm in STARTS]
    each = [arm for arm in arms if folds and STARTS[arm] == "pretrained" and not folds.pretrains_once]
    found = weights_of([arm for arm in arms if arm not in each], ask(study.parts, folder=config.out))
    for (seed, fold), part in folds.parts.items() if folds and each else ():
        own = weights_of(each, ask(part, folder=config.out / f"repeat-{seed}-fold-{fold}"))
        found |= {f"{arm}-s{seed}-f{fold}": start for arm, start in own.items()}
    return found


def file_stamp(config: CurveConfig) -> tuple[tuple[str, int, int], ...]:
    """Size and time of change of every file of the data; empty where the crystals came from no file."""
    from matgl_infomax.data.find import find_files

    try:
        files = [*find_files(config.data, config.labels_file).paths]
    except InputError:
        return ()
    files += [config.labels_file] if config.labels_file else []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


# One run of a learning curve: an arm sees the labels of its mask and nothing else, and is tested once.


def run_arm(study: CurveStudy, run: CurveRun) -> Outcome:
    """Let an arm learn from its mask and predict the test part, and score that.

    Raises:
        InputError: If a prediction is no finite number.
    """
    _import_first(run.arm)
    started = time.perf_counter()
    try:
        answer = _arm(run.arm)(_task(study, run))
    except DivergedError as error:
        raise InputError(f"{run.name}: {error} Lower --finetune.learning-rate.") from error
    seconds = time.perf_counter() - started
    truth = study.labels[study.parts_of(run).test]
    if answer.prediction.shape != truth.shape or not np.isfinite(answer.prediction).all():
        raise InputError(
            f"{run.name} predicts no finite number for some test crystals: the training diverged. "
            "Lower --finetune.learning-rate."
        )
    card = _card(study, run, answer, seconds) | {"metrics": error_metrics(truth, answer.prediction)}
    return Outcome(_predictions(study, run, answer.prediction), card)


def _import_first(arm: str) -> None:
    """Load the libraries that an arm needs, so that their seconds are not counted as its own."""
    import sklearn.linear_model  # noqa: F401

    if arm not in DESCRIBED:
        import matgl_infomax.nn.build  # noqa: F401


def _arm(name: str) -> Callable[[ArmTask], ArmAnswer]:
    """The function of an arm; a name of the user's own is fine-tuning from his weights."""
    return ARMS.get(name, ARMS["finetuned"])


def _task(study: CurveStudy, run: CurveRun) -> ArmTask:
    """What the arm gets to see: the labels of the mask, cut out of all others."""
    config = study.config
    rows, start = study.masks[run.mask], study.start_of(run)
    prepared = study.asked if run.arm in DESCRIBED else study.stored
    return ArmTask(
        rows=np.searchsorted(prepared, rows),
        labels=study.labels[rows].copy(),
        test=np.searchsorted(prepared, study.parts_of(run).test),
        seed=study.draw_of(run),
        model=config.model,
        finetune=config.finetune,
        learning_rates=tuple(config.learning_rates),
        cache=config.cache,
        store=study.store,
        weights=start.folder if start else None,
        features=study.features[DESCRIBED[run.arm][0]] if run.arm in DESCRIBED else None,
    )


def _predictions(study: CurveStudy, run: CurveRun, prediction: NDArray[np.float64]) -> pd.DataFrame:
    """One line per test crystal."""
    import pandas as pd

    test = study.parts_of(run).test
    table = pd.DataFrame(
        {
            "task": study.task,
            "arm": run.arm,
            "labels": run.labels,
            "seed": run.seed,
            "fold": study.config.fold if run.fold is None else run.fold,
            "id": [study.ids[int(row)] for row in test],
            "target": study.labels[test],
            "prediction": prediction,
        }
    )
    # Runs of the first pretraining are the same whether or not others are added later.
    return table.assign(**{PRETRAINING: run.pretraining}) if run.pretraining else table


def _card(study: CurveStudy, run: CurveRun, answer: ArmAnswer, seconds: float) -> dict[str, Any]:
    """What the run card says beside the errors."""
    mask, parts = study.masks[run.mask], study.parts_of(run)
    name = "scratch" if run.arm in ("scratch", "untrained") else STARTS.get(run.arm, run.arm)
    start = study.start_of(run)
    return {
        "task": study.task,
        "target": study.target,
        "unit": study.unit,
        "arm": run.arm,
        "fold": study.config.fold if run.fold is None else run.fold,
        "seed": run.seed,
        "mask": {"asked": run.labels, "used": len(mask), "sha256": mask_hash(study.ids, mask)},
        "n_test": len(parts.test),
        "initial": {
            "name": name,
            "sha256": answer.initial,
            "pretraining": run.pretraining,
            "facts": start.facts if start else {},
        },
        "settings": study.settings,
        "tried": [{"learning_rate": r, "mae": mae if np.isfinite(mae) else None} for r, mae in answer.tried],
        "training": answer.training,
        "hashes": {
            "data": study.data_hash,
            "folds": split_hash(study.ids, parts),
            "store": study.store.key if study.store is not None and run.arm not in DESCRIBED else None,
        },
        "cost": {"seconds": seconds, "pretraining_seconds": start.seconds if start else None},
    }
