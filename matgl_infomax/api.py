"""The whole job in Python: crystals in, models and tables out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from matgl_infomax.config import DataSettings, FinetuneSettings, ModelSettings, PretrainSettings
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.train.finetune import Fitted, fit
from matgl_infomax.train.predict import embed_rows
from matgl_infomax.train.predict import predict as predict_rows
from matgl_infomax.train.pretrain import Pretrained
from matgl_infomax.train.pretrain import pretrain as pretrain_store
from matgl_infomax.train.ranks import is_first
from matgl_infomax.train.weights import load_encoder, new_model, save_model, with_new_head

if TYPE_CHECKING:
    import pandas as pd

CACHE = DataSettings.model_fields["cache"].default


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model on disk and in memory."""

    path: Path
    """Folder for ``matgl.load_model`` and ``matgl-infomax predict``."""
    targets: tuple[str, ...]
    """What it predicts, in the order of its outputs."""
    fitted: Fitted
    """The model and how it was trained."""


def pretrain(
    crystals: Sequence[Crystal],
    out: Path | str,
    *,
    model: ModelSettings = ModelSettings(),
    settings: PretrainSettings = PretrainSettings(),
    cache: Path = CACHE,
    prepare_processes: int = 0,
    progress: bool = True,
) -> Pretrained:
    """Teach an encoder from structures alone; labels the crystals may carry are not looked at.

    Args:
        crystals: the unlabelled database.
        out: folder for the encoder, to be opened by ``matgl.load_model`` or given to ``finetune`` as ``init``.
        model: encoder.
        settings: objective and training.
        cache: folder for prepared crystals.
        prepare_processes: processes that prepare them; 0 means one per core.
        progress: show bars.

    Raises:
        InputError: If there are too few crystals, or the folder holds another run.
    """
    store = _store(crystals, model, cache, prepare_processes, progress)
    return pretrain_store(store, np.arange(len(store)), Path(out), settings, model, progress=progress)


def finetune(
    crystals: Sequence[Crystal],
    targets: Sequence[str] | str,
    out: Path | str,
    *,
    init: Path | str | None = None,
    model: ModelSettings = ModelSettings(),
    settings: FinetuneSettings = FinetuneSettings(),
    cache: Path = CACHE,
    prepare_processes: int = 0,
    progress: bool = True,
) -> Finetuned:
    """Train a model on the crystals that have a label.

    Args:
        crystals: crystals; those without any of the targets are left out.
        targets: names of the labels to learn.
        out: folder for the model.
        init: folder of a pretrained encoder; none starts from scratch.
        model: encoder, when there is no ``init``.
        settings: training.
        cache: folder for prepared crystals.
        prepare_processes: processes that prepare them; 0 means one per core.
        progress: show bars.

    Raises:
        InputError: If no crystal has a label, or the folder holds another run.
    """
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    if not names:
        raise InputError("Nothing to learn: no target was named. Give at least one with --target.")
    labels = np.array([[crystal.labels.get(name, np.nan) for name in names] for crystal in crystals])  # (n, T)
    rows = np.flatnonzero(~np.isnan(labels).all(axis=1))
    if not len(rows):
        known = sorted({name for crystal in crystals for name in crystal.labels}) or ["none"]
        raise InputError(f"No crystal has a label for {', '.join(names)}. Labels found: {', '.join(known)}.")
    network = _initial(init, model, len(names), settings.seed)
    # A checkpoint decides what its crystals look like.
    used = model.model_copy(update={"supercell_atoms": network.max_atoms, "primitive": network.primitive})
    store = _store([crystals[int(row)] for row in rows], used, cache, prepare_processes, progress)
    fitted = fit(
        network, store, np.arange(len(rows)), labels[rows], settings,
        pretrained=init is not None, out=Path(out), progress=progress,
    )  # fmt: skip
    _save(fitted, names, Path(out))
    return Finetuned(Path(out), names, fitted)


def predict(
    crystals: Sequence[Crystal],
    checkpoint: Path | str,
    *,
    cache: Path = CACHE,
    prepare_processes: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict every crystal with a fine-tuned model: a table with ``id`` and one column per target.

    Args:
        crystals: what to predict; labels are not needed.
        checkpoint: folder written by ``finetune``.
        cache: folder for prepared crystals.
        prepare_processes: processes that prepare them; 0 means one per core.
        progress: show bars.

    Raises:
        InputError: If the folder holds no fine-tuned model.
    """
    import pandas as pd

    file = Path(checkpoint) / "finetune.json"
    if not file.is_file():
        raise InputError(f"{checkpoint} holds no fine-tuned model (no finetune.json). Make one with `finetune`.")
    targets = json.loads(file.read_text())["targets"]
    model = load_encoder(checkpoint)
    store = _store(crystals, _settings_of(model), cache, prepare_processes, progress)
    values = predict_rows(model, store, np.arange(len(store)), progress=progress)
    return pd.DataFrame({"id": list(store.ids), **{name: values[:, k] for k, name in enumerate(targets)}})


def embed(
    crystals: Sequence[Crystal],
    checkpoint: Path | str | SiteNet,
    *,
    level: Literal["crystal", "site"] = "crystal",
    cache: Path = CACHE,
    prepare_processes: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """The learnt vectors as a table: ``id`` (and ``site``, ``element``) and one column per dimension.

    Args:
        crystals: what to embed.
        checkpoint: folder of a pretrained or fine-tuned model, or the model itself.
        level: one vector per crystal, or one per site of its primitive cell.
        cache: folder for prepared crystals.
        prepare_processes: processes that prepare them; 0 means one per core.
        progress: show bars.
    """
    import pandas as pd
    from pymatgen.core import Element

    model = checkpoint if isinstance(checkpoint, SiteNet) else load_encoder(checkpoint)
    store = _store(crystals, _settings_of(model), cache, prepare_processes, progress)
    vectors = embed_rows(model, store, np.arange(len(store)), level=level, progress=progress)
    head: dict[str, Any] = {"id": list(store.ids)}
    if level == "site":
        head = {
            "id": np.repeat(list(store.ids), store.n_sites),
            "site": np.concatenate([np.arange(n) for n in store.n_sites]),
            "element": [Element.from_Z(int(z)).symbol for row in range(len(store)) for z in store.numbers(row)],
        }
        vectors = np.concatenate(vectors)
    columns = [f"v{k}" for k in range(vectors.shape[1])]
    return pd.concat([pd.DataFrame(head), pd.DataFrame(vectors, columns=columns)], axis=1)


def _initial(init: Path | str | None, model: ModelSettings, n_targets: int, seed: int) -> SiteNet:
    """The network that fine-tuning starts from."""
    if init is None:
        return new_model(model, n_targets, seed)
    return with_new_head(load_encoder(init), n_targets, seed)


def _settings_of(model: SiteNet) -> ModelSettings:
    """How this model's crystals have to be prepared."""
    return ModelSettings(supercell_atoms=model.max_atoms, primitive=model.primitive)


def _store(crystals: Sequence[Crystal], model: ModelSettings, cache: Path, processes: int, progress: bool) -> Store:
    """Prepared crystals for a model."""
    rule = SupercellRule(model.supercell_atoms, model.primitive, model.merge_angstrom)
    return build_store(crystals, rule, cache, progress=progress, workers=processes or None)


def _save(fitted: Fitted, targets: Sequence[str], out: Path) -> None:
    """Write the model in MatGL's format and, last, the record that makes the folder complete."""
    if not is_first():
        return
    save_model(fitted.model, out, {"matgl_infomax": "fine-tuned", "targets": list(targets)})
    record = {
        "targets": list(targets),
        "best_step": fitted.best_step,
        "n_train": fitted.n_train,
        "n_validation": fitted.n_validation,
        "seconds": fitted.seconds,
        "history": fitted.history,
    }
    atomic_write(out / "finetune.json", json.dumps(record))
