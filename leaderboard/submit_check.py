"""Is a benchmark ready to be handed in? Complete, on the official rows, with the official targets, and untouched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matgl_infomax.errors import InputError
from matgl_infomax.io import sha256_of
from matgl_infomax.leaderboard.matbench_format import check_ids
from matgl_infomax.leaderboard.runs_read import PREDICTIONS, RUNS, BenchmarkResult, read_asked, read_benchmark
from matgl_infomax.tasks.folds import N_FOLDS
from matgl_infomax.tasks.masking import mask_hash
from matgl_infomax.tasks.matbench import Task, load_task
from matgl_infomax.tasks.official import digest, official_classes, read_official, steps


@dataclass(frozen=True)
class Answer:
    """A benchmark that may be handed in, with its task."""

    task: Task
    result: BenchmarkResult
    tests: list[list[str]]
    """Ids of the official test part of each fold, in official order."""

    @property
    def name(self) -> str:
        """Full name of the task."""
        return self.task.card.name


def check_answer(folder: Path) -> Answer:
    """Open the folder of a benchmark and refuse it unless all of it can be handed in.

    Args:
        folder: the benchmark's ``--out``.

    Raises:
        InputError: If folds are missing, test ids are not exactly the official ones, a value is missing or of a wrong
            type, a target is not the official one, or the table of predictions is not the mean of the single models.
    """
    asked = read_asked(folder)
    task = load_task(asked.task)
    _same_question(folder, task, asked.target, asked.kind)
    if asked.folds != list(range(N_FOLDS)):
        raise InputError(_incomplete(folder, [k for k in range(N_FOLDS) if k not in asked.folds]))
    _types(folder / PREDICTIONS)
    if not (folder / RUNS).is_dir():
        raise InputError(f"{folder} lacks the folder {RUNS} with the single models. Submit the complete benchmark.")
    result = read_benchmark(folder)
    if not result.complete:
        raise InputError(_incomplete(folder, [k for k in range(N_FOLDS) if k not in result.folds]))
    names = task.ids
    tests = [[names[row] for row in task.fold(k).test] for k in range(N_FOLDS)]
    for k, ids in enumerate(tests):
        given = result.predictions.loc[result.predictions["fold"] == k, "id"].tolist()
        check_ids(f"{folder}, fold {k} of {task.card.name}", given, ids)
    _training(folder, task, result)
    _std(folder, result)
    _targets(folder, task, result)
    return Answer(task, result, tests)


def _same_question(folder: Path, task: Task, target: str, kind: str) -> None:
    """The benchmark's property and kind are those of the task."""
    card = task.card
    if (target, kind) != (card.target, card.kind):
        raise InputError(
            f"{folder} answers {kind} of {target!r}; {card.name} is {card.kind} of {card.target!r}. Run it again."
        )


def _incomplete(folder: Path, missing: list[int]) -> str:
    """What to do about missing folds."""
    return (
        f"{folder} is not complete: fold {', '.join(map(str, missing))} is missing, and a submission needs all five. "
        "Run the benchmark again without --folds; what is done is kept."
    )


def _types(file: Path) -> None:
    """Ids are text, folds integers, everything else floating point: Matbench takes nothing else."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import types

    if not file.is_file():
        return  # read_benchmark says so with all else that is missing
    try:
        schema = pq.read_schema(file)
    except pa.ArrowException as error:
        raise InputError(f"{file} is no table of predictions ({error}). Run the benchmark again.") from error
    text = lambda kind: types.is_string(kind) or types.is_large_string(kind)  # noqa: E731
    wanted = {"id": text, "fold": types.is_integer, **dict.fromkeys(("target", "prediction", "std"), types.is_floating)}
    for name, fits in wanted.items():
        if name in schema.names and not fits(schema.field(name).type):
            raise InputError(
                f"{file}: the column {name} has values of a wrong type ({schema.field(name).type}). Ids are text, "
                "folds integers and all else floating-point numbers: run the benchmark again."
            )


def _training(folder: Path, task: Task, result: BenchmarkResult) -> None:
    """Every model was trained on the official training part, with as many of its labels as the benchmark says."""
    ids = task.ids
    for card in result.cards:
        part = task.fold(card.fold)
        if card.hashes.folds != sha256_of(f"{mask_hash(ids, part.train)} {mask_hash(ids, part.test)}"):
            raise InputError(f"{folder}: fold {card.fold} is not the official one. Run the benchmark again.")
        labels = len(part.train) if result.asked.labels is None else result.asked.labels
        if card.mask.used != labels:
            raise InputError(
                f"{folder}: the model of fold {card.fold}, seed {card.seed}, was trained with {card.mask.used} labels, "
                f"and {labels} are said. Run the benchmark again."
            )


def _std(folder: Path, result: BenchmarkResult) -> None:
    """Every prediction has an uncertainty, or none has."""
    std = result.predictions["std"].to_numpy(dtype=np.float64)
    none = np.isnan(std)
    wrong = ~none & ~(np.isfinite(std) & (std >= 0))
    if wrong.any() or none.any() != none.all():
        first = result.predictions["id"][wrong if wrong.any() else none].iloc[0]
        raise InputError(f"{folder / PREDICTIONS} has no standard deviation for {first}, but for others. Run it again.")


def _targets(folder: Path, task: Task, result: BenchmarkResult) -> None:
    """The targets that the scores are computed from are the official ones, as far as their fingerprints are known."""
    card, table = task.card, result.predictions.set_index("id")
    ids = task.ids
    values = table.loc[ids, "target"].to_numpy(dtype=np.float64)
    if card.kind == "classification":
        right = values == official_classes(card)
    elif card.content_sha256 is not None:
        known = read_official(card.name, "targets").tolist()
        less, more = (column.tolist() for column in steps(values))
        pairs = zip(known, less, more, strict=True)
        right = np.array([one in (digest(str(a)), digest(str(b))) for one, a, b in pairs])
    else:
        return  # a task without structures has no fingerprints, and no benchmark of ours answers it
    if not right.all():
        row = int(np.argmin(right))
        raise InputError(
            f"{folder / PREDICTIONS}: the target of {ids[row]} is not the official one ({values[row]:.10g}), nor "
            f"those of {int((~right).sum()) - 1} more. The benchmark was run on other data: run it on the official."
        )
