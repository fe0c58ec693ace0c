"""The whole job in Python: crystals in, models and tables out.

Crystals are whatever ``read_crystals`` takes: files, lists of pymatgen ``Structure`` or ASE ``Atoms``, pandas tables.
Settings are given as an object, as a dictionary, or one by one as keywords; keywords win.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.console import say
from matgl_infomax.data.corpus_index import index_of
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import check_elements, knowing
from matgl_infomax.data.forces import ForceLabels, force_labels
from matgl_infomax.data.inputs import split_targets, whole_crystals
from matgl_infomax.data.radius import EdgeRule
from matgl_infomax.data.read import Crystals, read_crystals
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError, KeywordError, did_you_mean
from matgl_infomax.io import given_path
from matgl_infomax.nn.build import Encoder, edge_rule, load_encoder, new_encoder, new_model, with_new_head
from matgl_infomax.objectives import label_columns
from matgl_infomax.record import InFolder, peak_memory_mb, spoken_time
from matgl_infomax.settings.base import Settings, settings_from
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
from matgl_infomax.train.finetune import Fitted, Labelled, fit_once, steps_for
from matgl_infomax.train.forcefield import DEFAULTS, FittedForces, fit_forces, rule_of, start_network
from matgl_infomax.train.losses import Metrics, check_goal, check_range
from matgl_infomax.train.predict import embed_rows
from matgl_infomax.train.pretrain import Pretrained
from matgl_infomax.train.pretrain import pretrain_encoder as pretrain_store
from matgl_infomax.weights import card, folder_of, shipped_name

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.data.inputs import Source, Targets

    Folder = str | os.PathLike[str]


@dataclass(frozen=True, repr=False)
class Finetuned(InFolder):
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
    init: Path | None = None
    """Folder of the weights it started from; None from scratch."""

    def facts(self) -> tuple[str, dict[str, str]]:
        """What was learnt, from what, the error on held-out labels, and what to do next."""
        members = self.ensemble.members if self.ensemble else (self.fitted,)
        several = f" {len(members)} models that predict together." if self.ensemble else ""
        errors = [f"{target}: {_error_in_words(numbers)}" for target, numbers in self.validation.items()]
        unknown = "unknown: no label was held out; validation_fraction=0.2 holds a fifth out"
        return f"Fine-tuned model of {', '.join(self.targets)}", {
            "Start": "from scratch" if self.init is None else f"pretrained weights in {self.init}",
            "Trained on": f"{self.fitted.n_train} labelled crystals, {self.fitted.n_validation} held out.{several}",
            "Error on held-out labels": "; ".join(errors) or unknown,
            "Time": spoken_time(sum(member.seconds for member in members)),
            "Folder": str(self.path),
            "Next": f'predict(crystals, "{self.path}")',
        }


def _error_in_words(numbers: Metrics) -> str:
    """Metrics of one target on one line; regression errors are in its unit."""
    names = {"mae": "mean absolute error", "rmse": "root mean square error", "r2": "R²"}
    told = [
        f"{names.get(name, name.replace('_', ' '))} {value:.4g}" for name, value in numbers.items() if value is not None
    ]
    return ", ".join(told) or "no labels"


def pretrain(
    crystals: Source,
    out: Folder,
    *,
    model: ModelSettings | Mapping[str, Any] | str = ModelSettings(),
    settings: PretrainSettings | Mapping[str, Any] | None = None,
    **options: Any,
) -> Pretrained:
    """Teach an encoder from structures alone; of the labels crystals may carry only those are seen that are named.

    Args:
        crystals: the unlabelled database, as ``read_crystals`` takes it; with labels for an objective whose options
            name some.
        out: folder for the encoder, to be opened by ``matgl.load_model`` or given to ``finetune`` as ``init``.
        model: encoder: its settings, a dictionary of them, or its name alone.
        settings: objective and training.
        options: fields of ``PretrainSettings`` such as ``steps=2000``; they win over ``settings``. And
            ``cache`` (folder for prepared crystals), ``prepare_processes`` (processes that prepare them; 0
            means one per core), ``progress`` (show bars) and ``structure_column`` (of a pandas table).

    Raises:
        InputError: If crystals or settings cannot be used, there are too few crystals, named labels are missing, or
            the folder holds another run.
    """
    here, (own,) = Machine.of("pretrain", options, PretrainSettings)
    network, how = _model(model), settings_from(PretrainSettings, settings, own, "settings")
    folder = _folder(out, "out")
    columns = label_columns(how.objective, how.objective_preset, how.objective_options)
    taken = here.crystals(crystals, columns=columns)
    labels = named_labels(taken, how, network)
    store = here.store(taken, edge_rule(network))
    rows = np.arange(len(store))
    made = pretrain_store(store, rows, folder, how, network, labels=labels, progress=here.progress)
    return replace(made, about=f"{how.objective}, by {network.name}, from {len(store)} crystals")


def finetune(
    crystals: Source,
    targets: Targets,
    out: Folder,
    *,
    init: Folder | None = None,
    model: ModelSettings | Mapping[str, Any] | str = ModelSettings(),
    settings: FinetuneSettings | Mapping[str, Any] | None = None,
    ensemble: EnsembleSettings | Mapping[str, Any] | int = EnsembleSettings(),
    **options: Any,
) -> Finetuned:
    """Train a model, or an ensemble, on the crystals that have a label.

    Args:
        crystals: crystals as ``read_crystals`` takes them; those without any of the targets are left out.
        targets: names of the labels to learn, or the labels themselves, NaN where unknown: an array, list or Series in
            the order of the crystals or under their index, or a dictionary of names and values.
        out: folder for the model.
        init: folder of a pretrained encoder, or what ``pretrain`` returned; none starts from scratch.
        model: encoder, when there is no ``init``: its settings, a dictionary of them, or its name alone.
        settings: training.
        ensemble: how many models, and how their spread becomes an uncertainty; or the number alone.
        options: fields of ``FinetuneSettings`` and ``EnsembleSettings`` such as ``steps=600``; they win over
            ``settings``. ``extend_elements`` (give ``init`` vectors for elements of the data that it does not know,
            instead of stopping). And the keywords ``cache``, ``prepare_processes``, ``progress`` and
            ``structure_column`` of ``pretrain``.

    Raises:
        InputError: If crystals, labels or settings cannot be used or contradict each other, no crystal has a label, or
            the folder holds another run.
    """
    extend = bool(options.pop("extend_elements", False))
    here, (own, more) = Machine.of("finetune", options, FinetuneSettings, EnsembleSettings)
    how = settings_from(FinetuneSettings, settings, own, "settings")
    spread = settings_from(EnsembleSettings, _number(ensemble), more, "ensemble")
    start = FinetuneStart(None if init is None else _folder(init, "init"), _model(model), extend)
    taken, names = here.labelled(crystals, targets)
    _check_settings(how, spread, names, start.init)
    data, initial = _prepared(taken, names, how, start, here)
    folder = _folder(out, "out")
    if spread.ensemble == 1:
        fitted, validation = train_one(initial, data, how, folder, progress=here.progress)
        return Finetuned(folder, names, fitted, validation, init=start.init)
    several = train_ensemble(initial, data, how, spread, folder, progress=here.progress)
    return Finetuned(folder, names, several.members[0], several.validation, several, start.init)


@dataclass(frozen=True)
class FinetuneStart:
    """Where a fine-tuning starts."""

    init: Path | None
    """Folder of pretrained weights."""
    model: ModelSettings
    """Network, when there are none."""
    extend_elements: bool
    """Whether elements that pretrained weights do not know get new vectors."""


def _prepared(
    crystals: Sequence[Crystal], names: tuple[str, ...], settings: FinetuneSettings, start: FinetuneStart, here: Machine
) -> tuple[Labelled, InitialNetwork]:
    """The labelled crystals in a store, and the weights that learn from them."""
    labels = _labels(crystals, names, settings.task)
    rows = np.flatnonzero(~np.isnan(labels).all(axis=1))
    labelled = [crystals[int(row)] for row in rows]
    if start.init is not None and (index := index_of(start.init)) is not None:
        seen = index.seen(labelled)
        say(f"The pretraining of {start.init} has seen {seen} of your {len(labelled)} crystals, without labels.")
    elements = {int(z) for crystal in labelled for z in crystal.numbers}
    network = _initial(start.init, start.model, len(names), settings.seed, elements, start.extend_elements)
    rule: Any = network.edges  # a checkpoint decides what its crystals look like
    if isinstance(rule, SupercellRule):
        rule = replace(rule, merge_angstrom=start.model.merge_angstrom)
    store = here.store(labelled, rule)
    fresh = start.model if start.init is None else None
    initial = InitialNetwork(lambda seed: _again(network, fresh, seed), start.init is not None)
    return Labelled(store, rows=np.arange(len(store)), labels=labels[rows], targets=names), initial


def predict(
    crystals: Source,
    checkpoint: Folder,
    **machine: Any,
) -> pd.DataFrame:
    """Predict every crystal with a fine-tuned model: a table with ``id`` and one column per target.

    A classifier gives the probability of class 1; an ensemble gives its mean, and its uncertainty in a column
    ``..._std`` beside. Of crystals from a pandas table or Series the result has the index.

    Args:
        crystals: what to predict, as ``read_crystals`` takes it; labels are not needed.
        checkpoint: folder written by ``finetune``, what ``finetune`` returned, or the folder ``final`` of a
            learning curve whose best arm is a trained network.
        machine: the keywords ``cache``, ``prepare_processes``, ``progress`` and ``structure_column`` of ``pretrain``.

    Raises:
        InputError: If crystals cannot be used, or the folder holds no fine-tuned model.
    """
    import pandas as pd

    here, _ = Machine.of("predict", machine)
    folder = _folder(checkpoint, "checkpoint")
    opened = Predictor.open(folder)
    store = here.store(here.crystals(crystals), opened.models[0].edges)
    check_elements(store.elements(), opened.models[0].element_types, str(folder))
    columns = opened.columns(store, progress=here.progress)
    return pd.DataFrame({"id": list(store.ids), **columns}, index=_index(crystals))


def embed(
    crystals: Source,
    checkpoint: Folder | Encoder,
    *,
    level: Literal["crystal", "site"] = "crystal",
    **machine: Any,
) -> pd.DataFrame:
    """The learnt vectors as a table: ``id`` (and ``site``, ``element``) and one column per dimension.

    Args:
        crystals: what to embed, as ``read_crystals`` takes it.
        checkpoint: folder of a pretrained or fine-tuned model, what made it returned, or the model itself.
        level: one vector per crystal, or one per site of its primitive cell.
        machine: the keywords ``cache``, ``prepare_processes``, ``progress`` and ``structure_column`` of ``pretrain``.

    Raises:
        InputError: If crystals cannot be used, or there is no such model or level.
    """
    import pandas as pd
    from pymatgen.core import Element

    here, _ = Machine.of("embed", machine)
    if level not in ("crystal", "site"):
        raise InputError(f"level is 'crystal' or 'site'. Received: {level!r}.")
    is_model = hasattr(checkpoint, "encode") and hasattr(checkpoint, "edges")
    what = "the network" if is_model else str(_folder(checkpoint, "checkpoint"))
    model: Any = checkpoint if is_model else load_encoder(what)
    store = here.store(here.crystals(crystals), model.edges)
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
    index = _index(crystals) if level == "crystal" else None
    return pd.concat([pd.DataFrame(head, index=index), pd.DataFrame(vectors, columns=columns, index=index)], axis=1)


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
    settings: FinetuneSettings, ensemble: EnsembleSettings, targets: Sequence[str], init: Path | None
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
    init: Path | None, model: ModelSettings, n_targets: int, seed: int, elements: Iterable[int], extend: bool
) -> Encoder:
    """The network that fine-tuning starts from, which knows the elements of the data."""
    if init is None:
        return new_encoder(model, n_targets, seed, elements)
    name = shipped_name(folder_of(init))
    if name is not None and not extend:
        remedy = "give --extend-elements to go on with vectors that no crystal has trained"
        check_elements(elements, card(name).corpus.elements, f"the corpus of {name}", remedy)
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
    """How crystals are taken, where they are prepared, and what is shown meanwhile."""

    cache: Path = CACHE
    prepare_processes: int = 0
    progress: bool = True
    structure_column: str | None = None

    @classmethod
    def of(
        cls, function: str, given: Mapping[str, Any], *kinds: type[Settings]
    ) -> tuple[Machine, tuple[dict[str, Any], ...]]:
        """The keywords that were given to a function: those of the machine, and those of each class of settings.

        Raises:
            KeywordError: For a keyword that the function does not have.
            InputError: If one has a value that it cannot have.
        """
        own = [field.name for field in fields(cls)]
        parts: tuple[dict[str, Any], ...] = tuple({} for _ in kinds)
        known = [*own, *(name for kind in kinds for name in kind.model_fields), *OTHER_KEYWORDS.get(function, ())]
        for name, value in given.items():
            places = [part for part, kind in zip(parts, kinds, strict=True) if name in kind.model_fields]
            if name not in own and not places:
                hint = did_you_mean(name, known)
                raise KeywordError(f"{function}() got an unexpected keyword argument {name!r}.{hint}")
            for part in places:
                part[name] = value
        machine = {name: value for name, value in given.items() if name in own}
        if "cache" in machine:
            machine["cache"] = _folder(machine["cache"], "cache")
        processes = machine.get("prepare_processes", 0)
        if isinstance(processes, bool) or not isinstance(processes, int) or processes < 0:
            raise InputError(
                f"prepare_processes is a number of processes, 0 for one per core. Received: {processes!r}."
            )
        return cls(**machine), parts

    def crystals(self, source: Source, columns: LabelColumns | None = None) -> Sequence[Crystal]:
        """The crystals of whatever holds them, with the columns of labels that are named."""
        whole = None if self.structure_column is not None else whole_crystals(source)
        if whole is not None:
            # Crystals that were read are checked; a list may hold some that nobody has looked at.
            return read_crystals(whole) if isinstance(whole, list | tuple) else whole
        energy, arrays = ([], []) if columns is None else columns.names
        return read_crystals(source, targets=energy, arrays=arrays, structure_column=self.structure_column)

    def labelled(self, source: Source, targets: Targets) -> tuple[Sequence[Crystal], tuple[str, ...]]:
        """The crystals with labels, and the names of these; values that are given win over columns."""
        names, given = split_targets(targets)
        if not given and whole_crystals(source) is not None:
            return self.crystals(source), tuple(names)
        if not names:
            return [], ()
        taken = read_crystals(source, targets=targets, structure_column=self.structure_column)
        return taken, tuple(names)

    def store(self, crystals: Sequence[Crystal], rule: EdgeRule) -> Store:
        """The crystals, prepared as a network reads them."""
        return build_store(crystals, rule, self.cache, progress=self.progress, workers=self.prepare_processes or None)


OTHER_KEYWORDS = {
    "pretrain": ("model", "settings"),
    "finetune": ("init", "model", "settings", "ensemble", "extend_elements"),
    "embed": ("level",),
    "forcefield": ("init", "model", "settings"),
}
"""Keywords of each function beside those of its settings, for messages."""


def _folder(value: Any, name: str) -> Path:
    """The path of a folder, or of what a function returned that lies in one."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} is the path of a folder. Received: {value!r}.")
    return given_path(None if value is None else os.fspath(value), name)


def _model(given: Any) -> ModelSettings:
    """Settings of a network, which may be given by its name alone."""
    return settings_from(ModelSettings, {"name": given} if isinstance(given, str) else given, {}, "model")


def _number(given: Any) -> Any:
    """Settings of an ensemble, of which the number of models may be given alone."""
    return {"ensemble": given} if isinstance(given, int) else given


def _index(crystals: Any) -> Any:
    """The index of a pandas table or Series, for results that stand beside it; None for anything else."""
    import pandas as pd

    return crystals.index if isinstance(crystals, pd.DataFrame | pd.Series) else None


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
    crystals: Source,
    columns: LabelColumns | Mapping[str, Any],
    out: Folder,
    *,
    init: Folder | None = None,
    model: ModelSettings | Mapping[str, Any] | str = ModelSettings(name="m3gnet"),
    settings: ForceFieldSettings | Mapping[str, Any] = DEFAULTS,
    **options: Any,
) -> FittedForces:
    """Train one of MatGL's potentials on energies, forces and stresses.

    Args:
        crystals: labelled frames as ``read_crystals`` takes them; Crystals were read with the columns named.
        columns: which columns are labels, and in which units.
        out: folder of the potential, for ``matgl.load_model``.
        init: folder of a pretrained encoder or of a potential; none starts from scratch.
        model: network, when there is no ``init``.
        settings: training.
        options: fields of ``ForceFieldSettings``; they win over ``settings``. And the keywords ``cache``,
            ``prepare_processes``, ``progress`` and ``structure_column`` of ``pretrain``.

    Raises:
        InputError: If labels are missing, the network makes no force field, or the folder holds another run.
    """
    here, (own,) = Machine.of("forcefield", options, ForceFieldSettings)
    how = settings_from(ForceFieldSettings, settings, own, "settings")
    named = settings_from(LabelColumns, columns, {}, "columns")
    folder, begin = _folder(out, "out"), None if init is None else _folder(init, "init")
    taken = here.crystals(crystals, columns=named)
    labels = force_labels(taken, named)
    start = start_network(begin, _model(model), how.seed, sorted({int(z) for c in taken for z in c.numbers}))
    store = here.store(taken, rule_of(start.network))
    return fit_forces(start, store, np.arange(len(store)), labels, folder, how, progress=here.progress)


# What a training will take here: a few steps on some of the crystals, and the rest in proportion.

MEASURED = 150
"""Crystals that are tried."""
SHORT, LONG = 1, 4
"""Steps of two trainings; their difference is free of all that happens once."""
FORWARD = 0.5
"""Time of a validation over that of a step on the same crystals: it has no backward pass."""


@dataclass(frozen=True)
class ExpectedCost:
    """What the usual trainings are expected to take on this machine."""

    seconds: dict[str, tuple[int, float]]
    """Steps and time of each, by what is done."""
    memory_mb: float | None
    """Largest memory of this process while it tried; None where the system does not tell."""
    n_measured: int
    """Crystals that were tried."""


def expected_cost(crystals: Crystals, targets: Sequence[str], *, supercell_atoms: int = 50) -> ExpectedCost:
    """Train a few steps on some of the crystals, and tell from it what a whole training with default settings takes.

    Args:
        crystals: the data.
        targets: labels that may be learnt; the one with the most labels counts.
        supercell_atoms: largest supercell that a site attends to.

    Raises:
        InputError: If there are too few crystals to train on.
    """
    sample = crystals.subset(range(0, len(crystals), -(-len(crystals) // MEASURED)))
    model = ModelSettings(supercell_atoms=supercell_atoms)
    with TemporaryDirectory() as folder, redirect_stderr(StringIO()):  # four steps teach nothing: no warning holds
        here, begun = Machine(cache=Path(folder), prepare_processes=1, progress=False), perf_counter()
        store = here.store(sample, edge_rule(model))
        prepared = (perf_counter() - begun) * len(crystals) / len(sample)
        sites = len(crystals) / len(sample) * float(store.n_sites.sum())

        def pretraining(steps: int) -> float:
            settings = PretrainSettings(steps=steps, validate_every=steps)
            rows = np.arange(len(store))
            return pretrain_store(store, rows, Path(folder) / f"p{steps}", settings, model, progress=False).seconds

        usual = PretrainSettings()
        looks = usual.steps / usual.validate_every * FORWARD * usual.validation_fraction * sites / usual.batch_sites
        per_step = _per_step(pretraining)
        found = {"pretrain": (usual.steps, prepared + per_step * (usual.steps + looks))}
        if targets and (known := ~np.isnan(crystals.labels(targets))).any():
            target = targets[int(known.sum(0).argmax())]
            steps, per_step = steps_for(int(known.sum(0).max())), _per_step(_finetuning(store, sample, target, model))
            found[f"finetune on {target}"] = (steps, prepared + per_step * steps)
    return ExpectedCost(found, peak_memory_mb(), len(sample))


def _per_step(training: Callable[[int], float]) -> float:
    """Seconds of one step, from the times of two short trainings after one that warms up."""
    training(SHORT + 1)
    return max(training(LONG) - training(SHORT), 0.0) / (LONG - SHORT)


def _finetuning(store: Store, sample: Crystals, target: str, model: ModelSettings) -> Callable[[int], float]:
    """What fine-tunes for some steps, and tells the time; crystals without a label get zero, which costs the same."""
    labels = np.nan_to_num(sample.labels([target]))
    if np.ptp(labels) == 0:
        labels[0] += 1.0

    def train(steps: int) -> float:
        network = new_encoder(model, 1, 0, store.elements())
        settings = FinetuneSettings(steps=steps, validate_every=steps, validation_fraction=0)
        return fit_once(network, Labelled(store, np.arange(len(store)), labels, (target,)), settings).seconds

    return train
