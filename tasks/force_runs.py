"""One run of a force study: train on some frames, test on others, leave predictions and a card."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import GPA_OF
from matgl_infomax.data.loader import group_by_sites
from matgl_infomax.data.store import Store, build_store
from matgl_infomax.errors import InputError
from matgl_infomax.host import Potential
from matgl_infomax.io import sha256_of
from matgl_infomax.nn.potential import tell
from matgl_infomax.tasks.engine import Outcome, regression_metrics
from matgl_infomax.tasks.matbench.task import mask_hash
from matgl_infomax.train.forcefield import fit_forces, rule_of, start_network

if TYPE_CHECKING:
    from matgl_infomax.tasks.force_study import ForceRun, ForceStudy

Reals = NDArray[np.float64]


def run_force_field(study: ForceStudy, run: ForceRun) -> Outcome:
    """Train one force field on the frames of its mask, and test it.

    Raises:
        InputError: If a prediction is no finite number.
    """
    started = time.perf_counter()
    config, frames, test = study.config, study.train[run.element], study.test[run.element]
    elements = sorted({int(z) for crystal in frames.crystals for z in crystal.numbers})
    start = start_network(study.arms[run.arm], config.model, run.seed, elements)
    rule, mask = rule_of(start[0]), study.mask(run)
    store, tested = (
        build_store(part.crystals, rule, config.cache, progress=False, workers=1) for part in (frames, test)
    )
    settings = config.forcefield.model_copy(update={"seed": run.seed})
    out = config.out / "potentials" / run.name
    fitted = fit_forces(start, store, mask, frames.labels.pick(mask), out, settings, progress=False)
    told = predict_forces(fitted.potential, tested)
    if not all(np.isfinite(values).all() for values in (told[0], *told[1], told[2])):
        raise InputError(f"{run.name} predicts no finite number: it diverged. Lower --forcefield.learning-rate.")
    scores, table = _scored(study, run, told)
    cost = {"seconds": time.perf_counter() - started, "pretraining_seconds": None}
    return Outcome(table, _card(study, run, store) | {"cost": cost, "metrics": scores})


def _card(study: ForceStudy, run: ForceRun, store: Store) -> dict[str, Any]:
    """What the run card says beside errors and cost."""
    frames, test, mask = study.train[run.element], study.test[run.element], study.mask(run)
    return {
        "task": f"mlearn_{run.element}",
        "target": "energy, forces and stress",
        "unit": None,
        "arm": run.arm,
        "fold": 0,
        "seed": run.seed,
        "mask": {"asked": run.frames, "used": len(mask), "sha256": mask_hash(frames.crystals.ids, mask)},
        "n_test": len(test.crystals),
        "initial": {
            "name": "scratch" if study.arms[run.arm] is None else run.arm,
            "sha256": study.starts.get(run.arm),
        },
        "settings": study.settings,
        "tried": [],
        "hashes": {
            "data": study.hashes[run.element],
            "folds": sha256_of("\n".join([*sorted(frames.crystals.ids), "", *sorted(test.crystals.ids)])),
            "store": store.key,
        },
    }


def predict_forces(potential: Potential, store: Store, batch_sites: int = 400) -> tuple[Reals, list[Reals], Reals]:
    """What a potential says of all crystals of a store: eV/atom (n,), eV/angstrom (N, 3) each, GPa (n, 3, 3).

    Args:
        potential: MatGL's.
        store: prepared crystals.
        batch_sites: sites per batch.
    """
    energy, stress = np.zeros(len(store)), np.zeros((len(store), 3, 3))
    forces: list[Reals] = [np.zeros((0, 3))] * len(store)
    for rows in group_by_sites(store.n_sites, np.arange(len(store)), batch_sites):
        batch = store.batch(rows)
        told = tell(potential.eval(), batch)
        sizes = store.n_sites[rows]
        energy[rows] = told.energy.detach().numpy() / sizes
        lattice: Any = batch.lattice
        volume = np.abs(np.linalg.det(lattice.numpy())) / sizes  # (b,)
        stress[rows] = told.stress.detach().numpy() * (GPA_OF["eV/A3"] / volume)[:, None, None]
        pieces = np.split(told.forces.detach().numpy().astype(np.float64), np.cumsum(sizes)[:-1])
        for row, piece in zip(rows, pieces, strict=True):
            forces[row] = piece
    return energy, forces, stress


def _gpa(crystals: list[Crystal], stress: Reals) -> Reals:
    """Labels of stress times volume per atom, eV, as GPa, (n, 3, 3)."""
    volume = np.array([abs(np.linalg.det(c.lattice)) / c.n_sites for c in crystals])
    return stress * (GPA_OF["eV/A3"] / volume)[:, None, None]


def _scored(study: ForceStudy, run: ForceRun, told: tuple[Reals, list[Reals], Reals]) -> tuple[dict[str, Any], Any]:
    """Scores over all test frames, and a line for each."""
    import pandas as pd

    frames = study.test[run.element]
    crystals, labels = list(frames.crystals), frames.labels
    stress = _gpa(crystals, labels.stress)
    truths = {"energy": labels.energy, "forces": np.concatenate(labels.forces).ravel(), "stress": stress.ravel()}
    guesses = {"energy": told[0], "forces": np.concatenate(told[1]).ravel(), "stress": told[2].ravel()}
    scores = {}
    for name, truth in truths.items():
        known = ~np.isnan(truth)
        scores[name] = regression_metrics(truth[known], guesses[name][known])
    lines = {
        "task": f"mlearn_{run.element}",
        "element": run.element,
        "arm": run.arm,
        "frames": run.frames,
        "seed": run.seed,
        "id": frames.crystals.ids,
        "n_sites": [crystal.n_sites for crystal in crystals],
        "target": labels.energy,
        "prediction": told[0],
        "force_error": [float(np.abs(a - b).mean()) for a, b in zip(told[1], labels.forces, strict=True)],
        "stress_error": np.abs(told[2] - stress).mean((1, 2)),
    }
    return scores, pd.DataFrame(lines)
