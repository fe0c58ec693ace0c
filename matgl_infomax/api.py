"""The whole job in Python: crystals in, models and tables out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import check_elements, knowing
from matgl_infomax.data.forces import ForceLabels, force_labels
from matgl_infomax.data.radius import EdgeRule
from matgl_infomax.data.read import read_crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from matgl_infomax.io import given_path
from matgl_infomax.nn.build import Encoder, edge_rule, load_encoder, new_encoder, new_model, with_new_head
from matgl_infomax.objectives import label_columns
from matgl_infomax.settings.training import (
    DataSettings,
    EnsembleSettings,
    FinetuneSettings,
    ForceFieldSettings,
    LabelColumns,
    ModelSettings,
    PretrainSettings,
)
from matgl_infomax.train.ensemble import Ensemble, InitialNetwork, Predictor, check_ensemble, train_ensemble, train_one
from matgl_infomax.train.finetune import Fitted, Labelled
from matgl_infomax.train.forcefield import DEFAULTS, FittedForces, fit_forces, rule_of, start_network
from matgl_infomax.train.losses import Metrics, check_goal, check_range
from matgl_infomax.train.predict import embed_rows
from matgl_infomax.train.pretrain import Pretrained
from matgl_infomax.train.pretrain import pretrain_encoder as pretrain_store

if TYPE_CHECKING:
    import pandas as pd


class MachineOptions(TypedDict, total=False):
    """Keywords of every function of the API that prepares crystals."""

    cache: Path
    """Folder for prepared crystals."""
    prepare_processes: int
    """Processes that prepare them; 0 means one per core."""
    progress: bool
    """Show bars."""


class FinetuneOptions(MachineOptions, total=False):
    """Keywords of ``finetune`` beside its settings."""

    extend_elements: bool
    """Give ``init`` vectors for elements of the data that it does not know, instead of stopping."""


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model on disk and in memory."""

    path: Path
    """Folder for ``matgl.load_model`` and ``matgl-infomax predict``."""
    targets: tuple[str, ...]
    """What it predicts, in the order of its outputs."""
    fitted: Fitted
    """The model and how it was trained; of an ensemble the first one."""
    validation: dict[str, Metrics]
    """Numbers on the held-out labels, by target; empty where none were held out."""
    ensemble: Ensemble | None = None
    """All members and their calibration."""


def pretrain(
    crystals: Sequence[Crystal],
    out: Path | str,
    *,
    model: ModelSettings = ModelSettings(),
    settings: PretrainSettings = PretrainSettings(),
    **machine: Unpack[MachineOptions],
) -> Pretrained:
    """Teach an encoder from structures alone; of the labels crystals may carry only those are seen that are named.

    Args:
        crystals: the unlabelled database; with labels for an objective whose options name some.
        out: folder for the encoder, to be opened by ``matgl.load_model`` or given to ``finetune`` as ``init``.
        model: encoder.
        settings: objective and training.
        machine: ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes that prepare them; 0 means
            one per core) and ``progress`` (show bars).

    Raises:
        InputError: If there are too few crystals, named labels are missing, or the folder holds another run.
    """
    here, out = Machine.of("pretrain", machine), given_path(out, "out")
    labels = named_labels(crystals, settings, model)
    store = here.store(crystals, edge_rule(model))
    rows = np.arange(len(store))
    return pretrain_store(store, rows, out, settings, model, labels=labels, progress=here.progress)


def finetune(
    crystals: Sequence[Crystal],
    targets: Sequence[str] | str,
    out: Path | str,
    *,
    init: Path | str | None = None,
    model: ModelSettings = ModelSettings(),
    settings: FinetuneSettings = FinetuneSettings(),
    ensemble: EnsembleSettings = EnsembleSettings(),
    **options: Unpack[FinetuneOptions],
) -> Finetuned:
    """Train a model, or an ensemble, on the crystals that have a label.

    Args:
        crystals: crystals; those without any of the targets are left out.
        targets: names of the labels to learn.
        out: folder for the model.
        init: folder of a pretrained encoder; none starts from scratch.
        model: encoder, when there is no ``init``.
        settings: training.
        ensemble: how many models, and how their spread becomes an uncertainty.
        options: ``extend_elements`` (give ``init`` vectors for elements of the data that it does not know, instead of
            stopping; off when left out), ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes
            that prepare them; 0 means one per core) and ``progress`` (show bars).

    Raises:
        InputError: If no crystal has a label, settings contradict each other, or the folder holds another run.
    """
    extend_elements = options.pop("extend_elements", False)
    here, out = Machine.of("finetune", options), given_path(out, "out")
    init = None if init is None else given_path(init, "init")
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    _check_settings(settings, ensemble, names, init)
    labels = _labels(crystals, names, settings.task)
    rows = np.flatnonzero(~np.isnan(labels).all(axis=1))
    labelled = [crystals[int(row)] for row in rows]
    elements = {int(z) for crystal in labelled for z in crystal.numbers}
    network = _initial(init, model, len(names), settings.seed, elements, extend_elements)
    rule: Any = network.edges  # a checkpoint decides what its crystals look like
    if isinstance(rule, SupercellRule):
        rule = replace(rule, merge_angstrom=model.merge_angstrom)
    store = here.store(labelled, rule)
    start = InitialNetwork(lambda seed: _again(network, None if init else model, seed), init is not None)
    data = Labelled(store, rows=np.arange(len(store)), labels=labels[rows], targets=names)
    if ensemble.ensemble == 1:
        fitted, validation = train_one(start, data, settings, out, progress=here.progress)
        return Finetuned(out, names, fitted, validation)
    several = train_ensemble(start, data, settings, ensemble, out, progress=here.progress)
    return Finetuned(out, names, several.members[0], several.validation, several)


def predict(
    crystals: Sequence[Crystal],
    checkpoint: Path | str,
    **machine: Unpack[MachineOptions],
) -> pd.DataFrame:
    """Predict every crystal with a fine-tuned model: a table with ``id`` and one column per target.

    A classifier gives the probability of class 1; an ensemble gives its mean, and its uncertainty in a column
    ``..._std`` beside.

    Args:
        crystals: what to predict; labels are not needed.
        checkpoint: folder written by ``finetune``, or the folder ``final`` of a learning curve whose best arm is a
            trained network.
        machine: ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes that prepare them; 0 means
            one per core) and ``progress`` (show bars).

    Raises:
        InputError: If the folder holds no fine-tuned model.
    """
    import pandas as pd

    here = Machine.of("predict", machine)
    opened = Predictor.open(given_path(checkpoint, "checkpoint"))
    store = here.store(crystals, opened.models[0].edges)
    check_elements(store.elements(), opened.models[0].element_types, str(checkpoint))
    return pd.DataFrame({"id": list(store.ids), **opened.columns(store, progress=here.progress)})


def embed(
    crystals: Sequence[Crystal] | Path | str | pd.DataFrame,
    checkpoint: Path | str | Encoder,
    *,
    level: Literal["crystal", "site"] = "crystal",
    **machine: Unpack[MachineOptions],
) -> pd.DataFrame:
    """The learnt vectors as a table: ``id`` (and ``site``, ``element``) and one column per dimension.

    Args:
        crystals: what to embed: crystals, or what ``read_crystals`` reads (a file, folder, glob or pandas table).
        checkpoint: folder of a pretrained or fine-tuned model, or the model itself.
        level: one vector per crystal, or one per site of its primitive cell.
        machine: ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes that prepare them; 0 means
            one per core) and ``progress`` (show bars).
    """
    import pandas as pd
    from pymatgen.core import Element

    here = Machine.of("embed", machine)
    if isinstance(crystals, Path | str | pd.DataFrame):
        crystals = read_crystals(crystals)
    model, what = checkpoint, "the network"
    if model is None or isinstance(model, Path | str):
        model, what = load_encoder(given_path(model, "checkpoint")), str(checkpoint)
    store = here.store(crystals, model.edges)
    check_elements(store.elements(), model.element_types, what)
    vectors = embed_rows(model, store, np.arange(len(store)), level=level, progress=here.progress)
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


def _labels(crystals: Sequence[Crystal], names: Sequence[str], task: str) -> NDArray[np.float64]:
    """Labels of all crystals, NaN where missing, (n, T); at least one is there, and numbers can be scaled."""
    if not names:
        raise InputError("Nothing to learn: no target was named. Give at least one with --target.")
    labels = np.array([[crystal.labels.get(name, np.nan) for name in names] for crystal in crystals])  # (n, T)
    if np.isnan(labels).all():
        known = sorted({name for crystal in crystals for name in crystal.labels}) or ["none"]
        raise InputError(f"No crystal has a label for {', '.join(names)}. Labels found: {', '.join(known)}.")
    if task == "regression":
        check_range(labels, names)
    return labels


def _check_settings(
    settings: FinetuneSettings, ensemble: EnsembleSettings, targets: Sequence[str], init: Path | str | None
) -> None:
    """Refuse settings that would do nothing here."""
    check_goal(settings)
    check_ensemble(settings, ensemble, targets)
    for name in ("encoder_rate", "layer_decay", "unfreeze_every"):
        if init is None and getattr(settings, name) != FinetuneSettings.model_fields[name].default:
            raise InputError(
                f"{name} = {getattr(settings, name)} is for pretrained weights, and from scratch there are none. "
                "Give init, or leave it out."
            )


def _initial(
    init: Path | str | None, model: ModelSettings, n_targets: int, seed: int, elements: Iterable[int], extend: bool
) -> Encoder:
    """The network that fine-tuning starts from, which knows the elements of the data."""
    if init is None:
        return new_encoder(model, n_targets, seed, elements)
    return with_new_head(knowing(load_encoder(init), elements, extend, str(init)), n_targets, seed)


def _again(network: Encoder, model: ModelSettings | None, seed: int) -> Encoder:
    """The same start with another seed: the head's alone, or all of it where there are settings for a new network."""
    if model is None:
        return with_new_head(network, network.n_targets, seed)
    return new_model(model, network.n_targets, seed, network.element_types)


# Energies, forces and stresses in Python: labels that a pretraining names, and force fields.

CACHE = DataSettings.model_fields["cache"].default


@dataclass(frozen=True)
class Machine:
    """Where crystals are prepared, and what is shown meanwhile."""

    cache: Path = CACHE
    prepare_processes: int = 0
    progress: bool = True

    @classmethod
    def of(cls, function: str, given: Mapping[str, Any]) -> Machine:
        """The keywords that were given to a function, and the defaults of the others.

        Raises:
            TypeError: For a keyword that the function does not have, as for any Python function.
        """
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if "cache" in given:
            given = {**given, "cache": given_path(given["cache"], "cache")}
        return cls(**given)

    def store(self, crystals: Sequence[Crystal], rule: EdgeRule) -> Store:
        """The crystals, prepared as a network reads them."""
        return build_store(crystals, rule, self.cache, progress=self.progress, workers=self.prepare_processes or None)


def named_labels(crystals: Sequence[Crystal], settings: PretrainSettings, model: ModelSettings) -> ForceLabels | None:
    """The labels that the objective of a pretraining names; none for those that see no label.

    Raises:
        InputError: If the objective needs labels and names none, they are missing, or belong to other cells.
    """
    columns = label_columns(settings.objective, settings.objective_preset, settings.objective_options)
    if columns is None:
        return None
    labels = force_labels(crystals, columns)
    if model.name == "sitenet" and model.primitive and (columns.forces or columns.stress):
        raise InputError("Forces and stresses belong to the cells they were computed for. Give --no-model.primitive.")
    return labels


def forcefield(
    crystals: Sequence[Crystal],
    columns: LabelColumns,
    out: Path | str,
    *,
    init: Path | str | None = None,
    model: ModelSettings = ModelSettings(name="m3gnet"),
    settings: ForceFieldSettings = DEFAULTS,
    **machine: Unpack[MachineOptions],
) -> FittedForces:
    """Train one of MatGL's potentials on energies, forces and stresses.

    Args:
        crystals: labelled frames, read with the columns named.
        columns: which columns are labels, and in which units.
        out: folder of the potential, for ``matgl.load_model``.
        init: folder of a pretrained encoder or of a potential; none starts from scratch.
        model: network, when there is no ``init``.
        settings: training.
        machine: ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes that prepare them; 0 means
            one per core) and ``progress`` (show bars).

    Raises:
        InputError: If labels are missing, the network makes no force field, or the folder holds another run.
    """
    here, out = Machine.of("forcefield", machine), given_path(out, "out")
    init = None if init is None else given_path(init, "init")
    labels = force_labels(crystals, columns)
    start = start_network(init, model, settings.seed, sorted({int(z) for c in crystals for z in c.numbers}))
    store = here.store(crystals, rule_of(start.network))
    return fit_forces(start, store, np.arange(len(store)), labels, out, settings, progress=here.progress)
