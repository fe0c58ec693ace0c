"""Energies, forces and stresses in Python: labels that a pretraining names, and force fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from matgl_infomax.config import DataSettings, ModelSettings, PretrainSettings
from matgl_infomax.config_forces import ForceFieldSettings, LabelColumns
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import ForceLabels, force_labels
from matgl_infomax.data.store import build_store
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import label_columns
from matgl_infomax.train.forcefield import DEFAULTS, FittedForces, fit_forces, rule_of, start_network

CACHE = DataSettings.model_fields["cache"].default


def named_labels(
    crystals: Sequence[Crystal], settings: PretrainSettings, model: ModelSettings
) -> ForceLabels | None:
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
    cache: Path = CACHE,
    prepare_processes: int = 0,
    progress: bool = True,
) -> FittedForces:
    """Train one of MatGL's potentials on energies, forces and stresses.

    Args:
        crystals: labelled frames, read with the columns named.
        columns: which columns are labels, and in which units.
        out: folder of the potential, for ``matgl.load_model``.
        init: folder of a pretrained encoder or of a potential; none starts from scratch.
        model: network, when there is no ``init``.
        settings: training.
        cache: folder for prepared crystals.
        prepare_processes: processes that prepare them; 0 means one per core.
        progress: show bars.

    Raises:
        InputError: If labels are missing, the network makes no force field, or the folder holds another run.
    """
    labels = force_labels(crystals, columns)
    start = start_network(init, model, settings.seed, sorted({int(z) for c in crystals for z in c.numbers}))
    rule = rule_of(start[0])
    store = build_store(crystals, rule, cache, progress=progress, workers=prepare_processes or None)
    return fit_forces(start, store, np.arange(len(store)), labels, Path(out), settings, progress=progress)
