"""One run of a learning curve: an arm sees the labels of its mask and nothing else, and is tested once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.settings.arms import STARTS
from matgl_infomax.tasks.arms import ARMS, DESCRIBED, ArmAnswer, ArmTask
from matgl_infomax.tasks.engine import Outcome, regression_metrics
from matgl_infomax.tasks.matbench.task import mask_hash

if TYPE_CHECKING:
    import pandas as pd

    from matgl_infomax.tasks.study import CurveRun, CurveStudy


def run_arm(study: CurveStudy, run: CurveRun) -> Outcome:
    """Let an arm learn from its mask and predict the test part, and score that.

    Raises:
        InputError: If a prediction is no finite number.
    """
    _import_first(run.arm)
    started = time.perf_counter()
    answer = _arm(run.arm)(_task(study, run))
    seconds = time.perf_counter() - started
    truth = study.labels[study.parts.test]
    if answer.prediction.shape != truth.shape or not np.isfinite(answer.prediction).all():
        raise InputError(
            f"{run.name} predicts no finite number for some test crystals: the training diverged. "
            "Lower --finetune.learning-rate."
        )
    card = _card(study, run, answer, seconds) | {"metrics": regression_metrics(truth, answer.prediction)}
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
    rows = study.masks[run.labels, run.seed]
    return ArmTask(
        rows=rows,
        labels=study.labels[rows].copy(),
        test=study.parts.test,
        seed=run.seed,
        model=config.model,
        finetune=config.finetune,
        learning_rates=tuple(config.learning_rates),
        cache=config.cache,
        store=study.store,
        weights=start.folder if (start := study.starts.get(run.arm)) else None,
        features=study.features[DESCRIBED[run.arm][0]] if run.arm in DESCRIBED else None,
    )


def _predictions(study: CurveStudy, run: CurveRun, prediction: NDArray[np.float64]) -> pd.DataFrame:
    """One line per test crystal."""
    import pandas as pd

    test = study.parts.test
    return pd.DataFrame(
        {
            "task": study.task,
            "arm": run.arm,
            "labels": run.labels,
            "seed": run.seed,
            "fold": study.config.fold,
            "id": [study.ids[int(row)] for row in test],
            "target": study.labels[test],
            "prediction": prediction,
        }
    )


def _card(study: CurveStudy, run: CurveRun, answer: ArmAnswer, seconds: float) -> dict[str, Any]:
    """What the run card says beside the errors."""
    mask = study.masks[run.labels, run.seed]
    name = "scratch" if run.arm in ("scratch", "untrained") else STARTS.get(run.arm, run.arm)
    start = study.starts.get(run.arm)
    return {
        "task": study.task,
        "target": study.target,
        "unit": study.unit,
        "arm": run.arm,
        "fold": study.config.fold,
        "seed": run.seed,
        "mask": {"asked": run.labels, "used": len(mask), "sha256": mask_hash(study.ids, mask)},
        "n_test": len(study.parts.test),
        "initial": {"name": name, "sha256": answer.initial, "facts": start.facts if start else {}},
        "settings": study.settings,
        "tried": [{"learning_rate": rate, "mae": mae} for rate, mae in answer.tried],
        "hashes": {
            "data": study.data_hash,
            "folds": study.fold_hash,
            "store": study.store.key if study.store is not None and run.arm not in DESCRIBED else None,
        },
        "cost": {"seconds": seconds, "pretraining_seconds": start.seconds if start else None},
    }
