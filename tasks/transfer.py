"""Transfer: a network trained on labels of another property, without the crystals that it will be tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.record import HASHED
from matgl_infomax.settings.training import FinetuneSettings, PretrainSettings
from matgl_infomax.tasks.matbench.task import mask_hash
from matgl_infomax.tasks.source import content_hash, read_source, target_of
from matgl_infomax.tasks.starts import Start, StartRequest, begin, check_starts, claim_start, too_close, write_start

if TYPE_CHECKING:
    from matgl_infomax.data.store import Store

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
    from matgl_infomax.train.predict import predict
    from matgl_infomax.train.ranks import is_first

    settings = training_settings(request.pretrain, request.finetune, labels)
    # The network has to know the elements of the task as well.
    elements = {*store.elements(rows), *request.store.elements()}
    network = new_encoder(request.model, 1, settings.seed, elements)
    out = request.folder / "encoder"
    data = Labelled(store, rows, labels[:, None], (target,))
    fitted = fit(network, data, settings, out=out, progress=request.progress)
    if is_first():
        save_model(fitted.model, out, {"matgl_infomax": "fine-tuned", "targets": [target], "task": settings.task})
    held_out = fitted.held_out
    if not len(held_out):
        return fitted.seconds, 0, float("nan")
    predicted = predict(fitted.model, store, rows[held_out])[:, 0]
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
