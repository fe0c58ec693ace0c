"""Energies, forces and stresses in Python: labels that a pretraining names, and force fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from matgl_infomax.config import DataSettings, ModelSettings, PretrainSettings
from matgl_infomax.config_forces import ForceFieldSettings, LabelColumns
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import ForceLabels, force_labels
from matgl_infomax.data.radius import EdgeRule
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import label_columns
from matgl_infomax.train.forcefield import DEFAULTS, FittedForces, fit_forces, rule_of, start_network

CACHE = DataSettings.model_fields["cache"].default


class MachineOptions(TypedDict, total=False):
    """Keywords of every function of the API that prepares crystals."""

    cache: Path
    """Folder for prepared crystals."""
    prepare_processes: int
    """Processes that prepare them; 0 means one per core."""
    progress: bool
    """Show bars."""


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
    here = Machine.of("forcefield", machine)
    labels = force_labels(crystals, columns)
    start = start_network(init, model, settings.seed, sorted({int(z) for c in crystals for z in c.numbers}))
    store = here.store(crystals, rule_of(start.network))
    return fit_forces(start, store, np.arange(len(store)), labels, Path(out), settings, progress=here.progress)
