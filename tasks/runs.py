"""Carry out the runs of a study, one after the other or several at once; finished ones are never repeated."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.errors import InputError
from matgl_infomax.files import atomic_write, sha256_of
from matgl_infomax.record import RunCard, new_card, peak_memory_mb, read_card, write_card
from matgl_infomax.tasks.arms import ARMS, DESCRIBED, STARTS, ArmAnswer, ArmTask
from matgl_infomax.tasks.launch import at_once
from matgl_infomax.tasks.masking import mask_hash
from matgl_infomax.tasks.study import Run, Study

if TYPE_CHECKING:
    import pandas as pd


def run_files(study: Study, run: Run) -> tuple[Path, Path]:
    """Card and predictions of a run."""
    folder = study.config.out / "runs"
    return folder / f"{run.name}.json", folder / f"{run.name}.parquet"


def finished(study: Study, run: Run) -> RunCard | None:
    """The card of a run that was completed earlier, None if it is still to be done.

    Raises:
        InputError: If a card is there that is none.
    """
    card_file, table_file = run_files(study, run)
    if not card_file.is_file() or not table_file.is_file():
        return None
    card = read_card(card_file)
    same = card.hashes.run == study.run_hash(run) and card.hashes.predictions == sha256_of(table_file.read_bytes())
    return card if same else None


def execute(study: Study, todo: Sequence[Run], check: Callable[[], None], *, progress: bool) -> None:
    """Carry out runs; each leaves its files when it is done, so that a stopped study goes on where it was.

    Args:
        study: what is asked.
        todo: runs that are not done.
        check: called after each run; what it raises stops the study.
        progress: show a bar.

    Raises:
        InputError: If a run's input is wrong, its files cannot be written, or a worker process died.
        KeyboardInterrupt: After Ctrl-C.
    """
    total = len(study.runs)
    config = study.config
    results = at_once(
        partial(carry_out, study), todo, workers=config.workers, launcher=config.launcher, folder=config.out / "runs"
    )
    bar = tqdm(total=total, initial=total - len(todo), desc="Runs", unit="run", disable=not progress)
    with bar, closing(results):
        for run in results:
            bar.set_postfix_str(run.name, refresh=False)
            bar.update()
            check()


def carry_out(study: Study, run: Run) -> Run:
    """One run: the arm sees its mask and nothing else, then its predictions are scored and written, the card last."""
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
    card_file, table_file = run_files(study, run)
    buffer = io.BytesIO()
    _predictions(study, run, answer.prediction).to_parquet(buffer, index=False)
    atomic_write(table_file, buffer.getvalue())
    write_card(card_file, _card(study, run, answer, metrics(truth, answer.prediction), seconds, buffer.getvalue()))
    return run


def metrics(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean absolute error, root mean square error and R² on the test part; R² is None where the truth is constant."""
    error = prediction - truth
    variance = float(np.mean((truth - truth.mean()) ** 2))
    mse = float(np.mean(error**2))
    r2 = 1 - mse / variance if variance > 0 else None
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt(mse)), "r2": r2}


def _import_first(arm: str) -> None:
    """Load the libraries that an arm needs, so that their seconds are not counted as its own."""
    import sklearn.linear_model  # noqa: F401

    if arm not in DESCRIBED:
        import matgl_infomax.train.finetune
        import matgl_infomax.train.weights  # noqa: F401


def _arm(name: str) -> Callable[[ArmTask], ArmAnswer]:
    """The function of an arm; a name of the user's own is fine-tuning from his weights."""
    return ARMS.get(name, ARMS["finetuned"])


def _task(study: Study, run: Run) -> ArmTask:
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


def _predictions(study: Study, run: Run, prediction: NDArray[np.float64]) -> pd.DataFrame:
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


def _card(
    study: Study, run: Run, answer: ArmAnswer, scores: dict[str, float | None], seconds: float, table: bytes
) -> RunCard:
    """The run card."""
    mask = study.masks[run.labels, run.seed]
    name = "scratch" if run.arm in ("scratch", "untrained") else STARTS.get(run.arm, run.arm)
    start = study.starts.get(run.arm)
    return new_card(
        task=study.task,
        target=study.target,
        unit=study.unit,
        arm=run.arm,
        fold=study.config.fold,
        seed=run.seed,
        mask={"asked": run.labels, "used": len(mask), "sha256": mask_hash(study.ids, mask)},
        n_test=len(study.parts.test),
        initial={"name": name, "sha256": answer.initial, "facts": start.facts if start else {}},
        settings=study.settings,
        tried=[{"learning_rate": rate, "mae": mae} for rate, mae in answer.tried],
        hashes={
            "run": study.run_hash(run),
            "data": study.data_hash,
            "folds": study.fold_hash,
            "store": study.store.key if study.store is not None and run.arm not in DESCRIBED else None,
            "predictions": sha256_of(table),
        },
        cost={
            "seconds": seconds,
            "pretraining_seconds": start.seconds if start else None,
            "peak_memory_mb": peak_memory_mb(),
        },
        metrics=scores,
    )
