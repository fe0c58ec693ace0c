"""Where the weights of a pretrained arm come from: structures of a fold, a corpus, or labels of another property."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.corpus_index import index_of
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.find import find_files
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, read_json
from matgl_infomax.record import HASHED, claim_folder
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.settings.base import deciding
from matgl_infomax.settings.commands import BenchmarkConfig, CurveConfig, StartSettings
from matgl_infomax.settings.training import FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.tasks.matbench.data import DATA_VARIABLE, task_crystals
from matgl_infomax.tasks.matbench.task import Split, load_task, mask_hash
from matgl_infomax.tasks.studies.arms import open_encoder, state_hash
from matgl_infomax.weights import spoken
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


def weights_of(arms: Iterable[str], request: StartRequest) -> dict[str, Start]:
    """Weights of the arms that start from some, each kind learnt once, or found where that was done.

    Args:
        arms: names of arms.
        request: as for ``start_weights``.
    """
    kinds: dict[str, Start] = {}
    for arm in arms:
        if arm in STARTS and STARTS[arm] not in kinds and (found := start_weights(arm, request)) is not None:
            kinds[STARTS[arm]] = found
    return {arm: kinds[STARTS[arm]] for arm in arms if arm in STARTS}


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


def start_name(arm: str, pretraining: int) -> str:
    """Name of the weights of an arm's pretraining, counted from 0; no arm has a name with '#'."""
    return f"{arm}#{pretraining}" if pretraining else arm


def told_objective(folder: Path) -> dict[str, int | float | str]:
    """By which objective weights of the user's own were pretrained, as far as ``run.json`` beside them tells.

    Args:
        folder: where they lie.
    """
    file = folder / "run.json"
    claim = read_json(file) if file.is_file() else {}
    settings = claim.get("settings")
    told = settings.get("objective") if claim.get("kind") == "pretrain" and isinstance(settings, dict) else None
    return {"objective": str(told)} if told else {}


def seen_facts(folder: Path, tested: Sequence[Crystal]) -> dict[str, int | float | str]:
    """How many test crystals the corpus of shipped weights holds; nothing for weights whose corpus nobody indexed.

    Args:
        folder: where the weights lie.
        tested: crystals of the test part.
    """
    index = index_of(folder)
    if index is None:
        return {}
    seen = index.seen(tested)
    return {
        "weights_name": spoken(folder),
        "tested": len(tested),
        "seen_structures": int(seen.structure.sum()),
        "seen_formulas": int(seen.formula.sum()),
    }


def own_starts(
    arms: Mapping[str, Sequence[Path]], model: ModelSettings, tested: Sequence[Crystal] = ()
) -> dict[str, Start]:
    """Weights of the user's own, by ``start_name``.

    Args:
        arms: folders of weights by arm, one for each pretraining; none for arms that need none given.
        model: the network, which says how crystals are prepared.
        tested: crystals of the test part, which the corpus of the weights may hold.

    Raises:
        InputError: If weights do not fit, or several pretrainings of an arm are of different networks, or are one.
    """
    found: dict[str, Start] = {}
    for name, folders in arms.items():
        networks: list[dict[str, Any]] = []
        for k, folder in enumerate(folders):
            encoder = open_encoder(folder, model)
            # Which elements it knows is no part of the recipe: corpora differ in rare ones.
            arguments = {key: value for key, value in encoder.init_args.items() if key != "element_types"}
            networks.append({"network": type(encoder).__name__, **arguments})
            start = Start(folder, state_hash(encoder), None, told_objective(folder) | seen_facts(folder, tested))
            if start.weights in [found[start_name(name, before)].weights for before in range(k)]:
                raise InputError(
                    f"The pretrainings of {name} have to differ in their chance, and {folder} holds the same weights "
                    "as a folder before it. Pretrain again with another --seed."
                )
            if networks[k] != networks[0]:
                raise InputError(
                    f"The pretrainings of {name} have to be of one recipe, and {folder} holds another network than "
                    f"{folders[0]}. Give it as an arm of its own."
                )
            found[start_name(name, k)] = start
    return found


def in_words(arm: str, facts: Mapping[str, int | float | str]) -> str:
    """What an arm's weights were learnt from, in one sentence for reports; empty where there is nothing to tell.

    Args:
        arm: name of the arm.
        facts: of its start, as in its run cards.
    """
    kind, used = STARTS.get(arm), facts.get("crystals", 0)
    if "weights_name" in facts:
        return (
            f"{arm}: starts from {facts['weights_name']}, whose corpus holds {facts['seen_structures']} of "
            f"{facts['tested']} test crystals by structure and {facts['seen_formulas']} by formula, without labels."
        )
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
    from matgl_infomax.train.pretrain import pretrain_encoder

    done = pretrain_encoder(
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
    from matgl_infomax.tasks.studies.overlap import LEVELS, find_overlap

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
    seconds, facts = record.get("seconds"), record.get("facts")
    if not isinstance(seconds, int | float) or not isinstance(facts, dict):
        raise InputError(f"{file} is damaged. Delete {request.folder}, and its weights are learnt again.")
    return Start(encoder, _weights(encoder, request.model), seconds, facts)


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
    return on_corpus(request)


def _from_labels(request: StartRequest) -> Start:
    """Train on labels of another property."""
    return from_labels(request)


_KINDS = {"pretrained": _in_distribution, "corpus": _on_corpus, "transferred": _from_labels}


def _weights(folder: Path, model: ModelSettings) -> str:
    """Hash of the weights of an encoder whose crystals are prepared as the settings say."""
    return state_hash(open_encoder(folder, model))


# Pretraining on a corpus, without the crystals that are too close to those of the task.


def on_corpus(request: StartRequest) -> Start:
    """Pretrain on a corpus, or find that it was done.

    Raises:
        InputError: If the corpus is missing, cannot be read or is too small, or the folder holds other weights.
    """
    from matgl_infomax.data.store import build_store
    from matgl_infomax.nn.build import edge_rule
    from matgl_infomax.train.pretrain import pretrain_encoder

    starts, progress = request.starts, request.progress
    check_starts(["corpus"], starts, request.data_dir)
    name = str(starts.corpus)
    content = content_hash(name, request.data_dir)
    claim = {
        "corpus_without": starts.corpus_without,
        "corpus_size": starts.corpus_size,
        "crystals of the corpus": HASHED + content,
        # Without a comparison the crystals of the task decide nothing.
        "crystals of the task": HASHED + request.store.key if starts.corpus_without != "nothing" else None,
    }
    known = begin(request, claim)
    if known is not None:
        return known
    corpus = read_source(name, None, request.data_dir, request.cache, progress=progress)
    drawn, close = _draw(request, corpus)
    claim_start(request, claim)
    store = build_store(
        corpus.subset(drawn), edge_rule(request.model), request.cache, progress=progress, workers=request.workers
    )
    rows = np.flatnonzero(~close)
    done = pretrain_encoder(store, rows, request.folder / "encoder", request.pretrain, request.model, progress=progress)
    facts: dict[str, int | float | str] = {
        "corpus": len(corpus),
        "unreadable": len(corpus.bad),
        "compared": len(drawn),
        "without": starts.corpus_without,
        "removed": int(close.sum()),
        "crystals": len(rows),
        "content": content[:16],
    }
    return write_start(request, done.seconds, facts)


def _draw(request: StartRequest, corpus: Crystals) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the corpus that are looked at, ascending, (k,), and which of them are too close to the task, (k,).

    Where fewer are asked for than there are, crystals are ranked by a hash of seed and id, and taken from the top
    until enough of them may be learnt from. So the same draw with and without close crystals has most in common.

    Raises:
        InputError: If fewer crystals may be learnt from than are asked for.
    """
    starts, n = request.starts, len(corpus)
    wanted = n if starts.corpus_size is None else starts.corpus_size
    ranked = sorted(range(n), key=lambda row: _rank(request.pretrain.seed, corpus[row].id)) if wanted < n else range(n)
    order = np.fromiter(ranked, dtype=np.int64, count=n)
    close = np.zeros(n, dtype=np.bool_)
    end = kept = 0
    while kept < wanted and end < n:
        more = order[end : end + wanted - kept]
        close[more] = too_close(request, request.crystals, corpus.subset(more), starts.corpus_without)
        end += len(more)
        kept = int((~close[order[:end]]).sum())
    if starts.corpus_size is not None and kept < wanted:
        raise InputError(
            f"Only {kept} of {n} crystals of the corpus may be learnt from. Received: {wanted} asked for. "
            "Lower --corpus-size, or give a larger corpus."
        )
    drawn = np.sort(order[:end])
    return drawn, close[drawn]


def _rank(seed: int, id: str) -> bytes:
    """Place of a crystal in the draw of a seed."""
    return blake2b(f"{seed}\0{id}".encode(), digest_size=16, person=b"corpus draw").digest()


# Transfer: a network trained on labels of another property, without the crystals that it will be tested on.

FEWEST = 10
"""Labels below which nothing can be transferred."""


def from_labels(request: StartRequest) -> Start:
    """Train on all labels of the source whose crystals are not in the test part, or find that it was done.

    The training has the steps, batches and rates of the pretraining, so that both kinds of start cost the same.

    Raises:
        InputError: If the source is missing, cannot be read or has too few labels, or the folder holds other weights.
    """
    from matgl_infomax.data.store import build_store
    from matgl_infomax.nn.build import edge_rule

    check_starts(["transferred"], request.starts, request.data_dir)
    name = str(request.starts.source)
    target = target_of(name, request.starts.source_target)
    content = content_hash(name, request.data_dir)
    claim = _claim(request, target, content)
    known = begin(request, claim)
    if known is not None:
        return known
    source = read_source(name, target, request.data_dir, request.cache, progress=request.progress)
    labels = source.labels([target])[:, 0]
    labelled = np.flatnonzero(~np.isnan(labels))
    same_id, same_structure = _shared(request, source.subset(labelled))
    rows = labelled[~(same_id | same_structure)]
    if len(rows) < FEWEST:
        raise InputError(
            f"A transfer needs at least {FEWEST} labels of crystals that are not in the test part. Received: "
            f"{len(labelled)} labels of {target} in {name}, of which {len(rows)} are left."
        )
    claim_start(request, claim)
    # All crystals of the source are prepared once; which of them are left out differs from fold to fold.
    store = build_store(
        source, edge_rule(request.model), request.cache, progress=request.progress, workers=request.workers
    )
    seconds, held_out, error = _train(request, store, rows, labels[rows], target)
    facts: dict[str, int | float | str] = {
        "source_target": target,
        "labels": len(labelled),
        "unreadable": len(source.bad),
        "removed_same_id": int(same_id.sum()),
        "removed_same_structure": int((same_structure & ~same_id).sum()),
        "crystals": len(rows),
        "content": content[:16],
    }
    if held_out:
        facts |= {"held_out": held_out, "held_out_mae": error}
    return write_start(request, seconds, facts)


def _claim(request: StartRequest, target: str, content: str) -> dict[str, str | float | None]:
    """What decides the weights besides the settings of model and pretraining."""
    return {
        "source_target": target,
        "crystals and labels of the source": HASHED + content,
        "test part": HASHED + mask_hash(request.crystals.ids, request.test),
        "crystals of the task": HASHED + request.store.key,
        "loss": request.finetune.loss,
        "ema_decay": request.finetune.ema_decay,
    }


def _shared(request: StartRequest, source: Crystals) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which crystals of the source are in the test part: those of the same id, and those of the same structure."""
    test = request.crystals.subset(request.test)
    same_id = np.isin(np.array(source.ids, dtype=object), np.array(test.ids, dtype=object))
    return same_id, too_close(request, test, source, "matches")


def _train(
    request: StartRequest, store: Store, rows: NDArray[np.int64], labels: NDArray[np.float64], target: str
) -> tuple[float, int, float]:
    """Train on the source and write the encoder: seconds, held-out labels, and the mean absolute error on them."""
    from matgl_infomax.nn.build import new_encoder, save_model
    from matgl_infomax.train.finetune import Labelled, fit
    from matgl_infomax.train.predict import predict_rows
    from matgl_infomax.train.ranks import is_first

    settings = training_settings(request.pretrain, request.finetune, labels)
    # The network has to know the elements of the task as well.
    elements = {*store.elements(rows), *request.store.elements()}
    network = new_encoder(request.model, 1, settings.seed, elements)
    out = request.folder / "encoder"
    data = Labelled(store, rows, labels[:, None], (target,))
    fitted = fit(network, data, settings, out=out, progress=request.progress)
    if fitted.dead:
        raise InputError(
            f"Nothing can be transferred: the network trained on {target} of the source is dead, also at a learning "
            f"rate of {fitted.learning_rate:g}. Lower --pretrain.learning-rate."
        )
    if is_first():
        save_model(fitted.model, out, {"matgl_infomax": "fine-tuned", "targets": [target], "task": settings.task})
    held_out = fitted.held_out
    if not len(held_out):
        return fitted.seconds, 0, float("nan")
    predicted = predict_rows(fitted.model, store, rows[held_out])[:, 0]
    return fitted.seconds, len(held_out), float(np.abs(predicted - labels[held_out]).mean())


def training_settings(
    pretrain: PretrainSettings, finetune: FinetuneSettings, labels: NDArray[np.float64]
) -> FinetuneSettings:
    """The training on the source: budget and seed of the pretraining, loss and running average of the fine-tuning.

    Args:
        pretrain: steps, batches, rates, held-out share and seed.
        finetune: loss (for numbers) and decay of the running average.
        labels: of the source, (n,); where all of them are 0 or 1, classes are learnt.
    """
    shared = set(PretrainSettings.model_fields) & set(FinetuneSettings.model_fields)
    classes = bool(np.isin(labels, (0.0, 1.0)).all())
    loss = None if classes or finetune.task == "classification" else finetune.loss
    budget = {name: getattr(pretrain, name) for name in shared}
    settings = {**budget, "ema_decay": finetune.ema_decay, "loss": loss}
    return FinetuneSettings(**settings, task="classification" if classes else "regression")


# Crystals that a setting names: files, wherever they lie, or the official data of a Matbench task.


def located(name: str, data_dir: Path | None) -> str:
    """A path or glob as it was given, or below the data folder where nothing is found as given.

    Args:
        name: path or glob.
        data_dir: folder of data; the one of the environment variable when left out.
    """
    folder = data_dir or os.environ.get(DATA_VARIABLE)
    if folder is None or Path(name).expanduser().exists() or glob.glob(name, recursive=True):
        return name
    below = Path(folder).expanduser() / name
    return str(below) if below.exists() or glob.glob(str(below), recursive=True) else name


def is_official(name: str) -> bool:
    """Whether a name means the official data of a Matbench task, such as 'matbench_mp_gap'."""
    return name.startswith("matbench_") and not Path(name).suffix and not Path(name).exists()


def check_source(name: str, data_dir: Path | None) -> None:
    """Refuse a name that stands for nothing, without reading anything.

    Raises:
        InputError: If there is no such file or Matbench task.
    """
    if is_official(name):
        load_task(name)
    else:
        find_files(located(name, data_dir))


def content_hash(name: str, data_dir: Path | None) -> str:
    """Hash of the content that a name stands for, without reading a crystal.

    Of files it is made of their bytes and of the names of their crystals, wherever they lie; official data are the
    same everywhere, so their card stands for them.

    Raises:
        InputError: If nothing is there, or a file cannot be read.
    """
    digest = hashlib.sha256()
    if is_official(name):
        card = load_task(name).card
        digest.update(f"{card.name} {card.content_sha256}".encode())
        return digest.hexdigest()
    files = find_files(located(name, data_dir))
    for path, id in zip(files.paths, files.ids, strict=True):
        try:
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
        # A table's rows have names of their own; what the file is called changes nothing.
        digest.update(f"{id if len(files.paths) > 1 else ''}\0{path.suffix}\0{inner}\n".encode())
    return digest.hexdigest()


def read_source(name: str, target: str | None, data_dir: Path | None, cache: Path, *, progress: bool) -> Crystals:
    """The crystals that a name stands for; what cannot be read is left out and listed in ``bad``.

    Args:
        name: file, folder, glob or Matbench task.
        target: label to read; none needs none.
        data_dir: where paths that are not found otherwise, and official data, are looked up.
        cache: folder for downloads.
        progress: show bars.

    Raises:
        InputError: If nothing is there, or the label is not.
    """
    if is_official(name):
        return task_crystals(load_task(name), data_dir, cache, progress=progress)
    targets = [target] if target is not None else []
    return read_crystals(located(name, data_dir), targets=targets, on_error="skip", progress=progress)


def target_of(name: str, target: str | None) -> str:
    """Column with the labels of a source: the one given, or the one of the Matbench task it is.

    Raises:
        InputError: If neither says which.
    """
    if target is not None:
        return target
    if is_official(name):
        return load_task(name).card.target
    raise InputError(f"Which labels of {name}? Give --source-target COLUMN.")
