"""Where the weights of a pretrained arm come from: structures of a fold, a corpus, or labels of another property."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, read_json
from matgl_infomax.record import claim_folder
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import BenchmarkConfig, CurveConfig, StartSettings
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.tasks.arms import open_encoder, state_hash
from matgl_infomax.tasks.matbench.task import Split
from matgl_infomax.tasks.source import check_source, target_of
from matgl_infomax.workers import workers_here

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store

CODE_VERSION = 1
"""Raise it whenever the same corpus or source would give other weights."""

PER_FOLD = tuple(arm for arm, kind in STARTS.items() if kind != "corpus")
"""Arms whose weights differ from fold to fold; those of a corpus serve all folds of a task."""


Closeness = Literal["nothing", "matches", "twins", "formulas"]
CLOSE = {"matches": "match", "twins": "twin", "formulas": "formula"}
"""The weakest likeness that is too close, in the words of the overlap report."""


@dataclass(frozen=True)
class Start:
    """Weights that an arm starts from."""

    folder: Path
    """Folder of the encoder."""
    weights: str
    """SHA-256 of all its weights."""
    seconds: float | None
    """Time of the training that made it; None for weights of the user's own."""
    facts: dict[str, int | float | str]
    """What a reader of the result has to know: crystals learnt from, crystals removed, hash of the source."""


@dataclass(frozen=True)
class StartRequest:
    """Weights that are asked for: from which crystals, and how they are learnt."""

    crystals: Crystals
    """All crystals of the task."""
    train: NDArray[np.int64]
    """Rows of the training part, (n,)."""
    test: NDArray[np.int64]
    """Rows of the test part, (m,)."""
    store: Store
    """The same crystals, prepared."""
    folder: Path
    """Folder below which the weights get one of their own; each fold needs another one for ``PER_FOLD`` arms."""
    model: ModelSettings
    pretrain: PretrainSettings
    """Training without labels. A transfer trains as many steps, with the same batches and rates."""
    finetune: FinetuneSettings
    """Its loss and its running average are those of a transfer."""
    starts: StartSettings
    """Corpus and source."""
    cache: Path
    """Folder for prepared crystals and downloads."""
    data_dir: Path | None = None
    """Folder of official data, and of paths that are not found otherwise."""
    workers: int = 1
    """Processes that prepare and compare crystals."""
    progress: bool = True
    """Whether bars are shown."""

    @classmethod
    def of(
        cls,
        config: CurveConfig | BenchmarkConfig,
        crystals: Crystals,
        parts: Split,
        store: Store,
        *,
        folder: Path,
        progress: bool,
    ) -> StartRequest:
        """The request of a study.

        Args:
            config: settings of the study.
            crystals: all crystals of the task.
            parts: training and test part.
            store: the same crystals, prepared.
            folder: folder below which the weights get one of their own.
            progress: show bars.
        """
        return cls(
            crystals=crystals,
            train=parts.train,
            test=parts.test,
            store=store,
            folder=folder,
            model=config.model,
            pretrain=config.pretrain,
            finetune=config.finetune,
            starts=config,
            cache=config.cache,
            data_dir=config.data_dir,
            workers=workers_here(config.workers, config.launcher),
            progress=progress,
        )


def start_weights(arm: str, request: StartRequest) -> Start | None:
    """Learn the weights that an arm starts from, or find that it was done.

    ``finetuned`` and ``frozen`` learn from the structures of the training part; ``corpus`` and ``corpus_frozen`` from
    a corpus, without crystals too close to the task; ``transferred`` from another property, without the test part.

    Args:
        arm: name of the arm.
        request: what may be learnt from, and how.

    Returns:
        The weights; None for an arm that starts from none (scratch, untrained, descriptors).

    Raises:
        InputError: If a corpus or source is missing or of no use, or the folder holds weights of something else.
    """
    kind = STARTS.get(arm)
    return None if kind is None else _KINDS[kind](replace(request, folder=request.folder / kind))


def check_starts(arms: Iterable[str], starts: StartSettings, data_dir: Path | None = None) -> None:
    """Refuse arms without what they learn from, before anything is computed.

    Args:
        arms: names of the arms asked for.
        starts: corpus and source.
        data_dir: folder in which paths that are not found otherwise are looked up.

    Raises:
        InputError: If a corpus or a source is missing, is not there, or has no column named.
    """
    kinds = {arm: STARTS[arm] for arm in arms if arm in STARTS}
    for arm, kind in kinds.items():
        if kind == "corpus" and starts.corpus is None:
            raise InputError(f"The arm {arm} learns from structures of your own: give --corpus FILE, folder or glob.")
        if kind == "transferred" and starts.source is None:
            raise InputError(
                f"The arm {arm} learns from labels of another property: give --source FILE and --source-target COLUMN, "
                "or --source with the name of a Matbench task."
            )
        if kind == "corpus":
            check_source(str(starts.corpus), data_dir)
        elif kind == "transferred":
            check_source(str(starts.source), data_dir)
            target_of(str(starts.source), starts.source_target)


def in_words(arm: str, facts: Mapping[str, int | float | str]) -> str:
    """What an arm's weights were learnt from, in one sentence for reports; empty where there is nothing to tell.

    Args:
        arm: name of the arm.
        facts: of its start, as in its run cards.
    """
    kind, used = STARTS.get(arm), facts.get("crystals", 0)
    if kind == "corpus":
        if facts["without"] == "nothing":
            return (
                f"{arm}: pretrained on {used} crystals of a corpus that was not compared with the task: "
                "it may hold test crystals."
            )
        close = {"matches": "same structure", "twins": "same formula and space group", "formulas": "same formula"}
        return (
            f"{arm}: pretrained on {used} crystals of a corpus; {facts['removed']} of {facts['compared']} were left "
            f"out for having the {close[str(facts['without'])]} as a crystal of the task."
        )
    if kind == "transferred":
        removed = int(facts["removed_same_id"]) + int(facts["removed_same_structure"])
        return (
            f"{arm}: trained on {used} labels of {facts['source_target']}; {removed} of {facts['labels']} were left "
            f"out because their crystals are in the test part ({facts['removed_same_id']} by id, "
            f"{facts['removed_same_structure']} by structure)."
        )
    return ""


def _in_distribution(request: StartRequest) -> Start:
    """Pretrain on the structures of the training part."""
    from matgl_infomax.train.pretrain import pretrain

    done = pretrain(
        request.store, request.train, request.folder, request.pretrain, request.model, progress=request.progress
    )
    return Start(done.path, _weights(done.path, request.model), done.seconds, {"crystals": len(request.train)})


def too_close(
    request: StartRequest, crystals: Sequence[Crystal], corpus: Sequence[Crystal], without: Closeness
) -> NDArray[np.bool_]:
    """Which crystals of a corpus are too close to one of a task, (m,).

    Args:
        request: number of processes, cache and progress.
        crystals: crystals of the task.
        corpus: m crystals of the corpus.
        without: what is too close: nothing, the same structure, also the same formula and space group, or also the
            same formula.
    """
    if without == "nothing" or not len(crystals) or not len(corpus):
        return np.zeros(len(corpus), dtype=np.bool_)
    from matgl_infomax.tasks.overlap import LEVELS, find_overlap

    # Where one formula is enough, no structures need to be compared.
    match, workers = without != "formulas", request.workers
    found = find_overlap(crystals, corpus, match=match, workers=workers, progress=request.progress, cache=request.cache)
    return np.asarray(found.corpus_level >= LEVELS.index(CLOSE[without]), dtype=np.bool_)


def begin(request: StartRequest, claim: dict[str, Any]) -> Start | None:
    """Weights that were completed earlier; None where they are still to be learnt.

    Args:
        request: what is asked for.
        claim: as for ``claim_start``. Where the folder is in use it has to agree; a new one is not claimed yet, so
            that a mistake found on the way leaves nothing behind.

    Raises:
        InputError: If other weights live there, or the record of finished ones is damaged.
    """
    if not (request.folder / "run.json").is_file():
        return None
    claim_start(request, claim)
    file, encoder = request.folder / "start.json", request.folder / "encoder"
    if not file.is_file():
        return None
    record = read_json(file)
    return Start(encoder, _weights(encoder, request.model), record["seconds"], record["facts"])


def claim_start(request: StartRequest, claim: dict[str, Any]) -> None:
    """Take the folder for these weights, or find that it is theirs already.

    Args:
        request: what is asked for.
        claim: what decides the weights besides the settings of model and pretraining.

    Raises:
        InputError: If other weights live there; the first difference is named.
    """
    settings = {"model": deciding(request.model), "pretrain": deciding(request.pretrain)}
    claim_folder(request.folder, request.folder.name, {"code version": CODE_VERSION, **claim, **settings})


def write_start(request: StartRequest, seconds: float, facts: dict[str, int | float | str]) -> Start:
    """Note that the encoder of a start is complete, and what is to be known about it.

    Args:
        request: what was asked for; its folder holds the encoder.
        seconds: time of training.
        facts: for run cards and reports.
    """
    encoder = request.folder / "encoder"
    atomic_write(request.folder / "start.json", json.dumps({"seconds": seconds, "facts": facts}, indent=1) + "\n")
    return Start(encoder, _weights(encoder, request.model), seconds, facts)


def _on_corpus(request: StartRequest) -> Start:
    """Pretrain on a corpus."""
    from matgl_infomax.tasks.corpus import on_corpus

    return on_corpus(request)


def _from_labels(request: StartRequest) -> Start:
    """Train on labels of another property."""
    from matgl_infomax.tasks.transfer import from_labels

    return from_labels(request)


_KINDS = {"pretrained": _in_distribution, "corpus": _on_corpus, "transferred": _from_labels}


def _weights(folder: Path, model: ModelSettings) -> str:
    """Hash of the weights of an encoder whose crystals are prepared as the settings say."""
    return state_hash(open_encoder(folder, model))
