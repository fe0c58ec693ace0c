"""``matgl-infomax submit``: finished benchmarks become a folder that Matbench accepts, or a reason why not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_infomax.config_tasks import SubmitConfig
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write
from matgl_infomax.leaderboard.matbench_format import (
    BENCHMARK,
    check_task,
    fold_entry,
    make_document,
    pack,
    read_results,
)
from matgl_infomax.leaderboard.runs_read import BenchmarkResult
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.leaderboard.submit_check import Answer, check_answer
from matgl_infomax.leaderboard.submit_info import facts_of, make_info, read_info
from matgl_infomax.leaderboard.submit_script import make_script

if TYPE_CHECKING:
    import pandas as pd

RESULTS, INFO, SCRIPT = "results.json.gz", "info.json", "run.py"
NAME = re.compile(r"matbench_v0\.1_[A-Za-z0-9][A-Za-z0-9_.+-]*")
SAME = 1e-9
"""Largest difference between a stored score and the one computed again."""


@dataclass(frozen=True)
class Submission:
    """A folder that was written, read again and found right."""

    path: Path
    scores: pd.DataFrame
    """One line per task: task, metric, unit, and mean and standard deviation over folds of the metric that ranks."""
    notes: tuple[str, ...]
    """What to know before handing it in."""

    def to_text(self) -> str:
        """Where it is, what it scores, what was checked and what remains to be done by hand."""
        lines = [f"{self.path}: {RESULTS}, {INFO}, {SCRIPT}"]
        for row in self.scores.to_dict("records"):
            unit = f" {row['unit']}" if row["unit"] else ""
            lines.append(f"{row['task']}: {row['metric']} {row['mean']:.4f} ± {row['std']:.4f}{unit} over five folds")
        lines += list(self.notes)
        lines += [
            "Read again and checked: hash, official test ids of every fold, types, every score from the predictions.",
            f"To hand it in, add the folder to benchmarks/ of a copy of Matbench's repository ({INFO}: is the name of "
            "the algorithm new?) and open a pull request.",
        ]
        return "\n".join(lines)


def submit(settings: SubmitConfig) -> Submission:
    """Write a submission from finished benchmarks and check it.

    Args:
        settings: folders of the benchmarks (one per task), the authors' ``info.yaml``, and the folder to write.

    Returns:
        The submission; its ``to_text()`` says what was done.

    Raises:
        InputError: If the folder's name is not Matbench's, a benchmark is incomplete or does not have exactly the
            official test crystals, a value is missing or of a wrong type, a task comes twice, the benchmarks are of
            different algorithms, ``info.yaml`` lacks something, or nothing can be written. Nothing is written then.
    """
    out = settings.out.expanduser()
    if not NAME.fullmatch(out.name):
        raise InputError(
            f"Matbench wants folders named {BENCHMARK}_NAME (letters, digits, '_', '-', '.', '+'). "
            f"Received: --out {settings.out}."
        )
    info = read_info(settings.info.expanduser())
    answers = sorted((check_answer(folder.expanduser()) for folder in settings.run), key=lambda answer: answer.name)
    _one_algorithm(answers)
    runs = [answer.result for answer in answers]
    files: dict[str, str | bytes] = {
        RESULTS: pack(make_document({a.name: _folds(a) for a in answers}, _metadata(answers), _made(runs))),
        INFO: json.dumps(make_info(info, runs), indent=1) + "\n",
        SCRIPT: make_script(runs, out.name),
    }
    for name, content in files.items():
        atomic_write(out / name, content)
    try:
        scores = check_submission(out, answers)
    except InputError:
        (out / RESULTS).unlink(missing_ok=True)  # nobody shall hand in what is known to be wrong
        raise
    return Submission(out, scores, tuple(facts_of(run) for run in runs))


def check_submission(folder: Path, answers: Sequence[Answer]) -> pd.DataFrame:
    """Read a submission from the disk and score it again.

    Args:
        folder: the submission.
        answers: what it should hold.

    Returns:
        One line per task, as in ``Submission.scores``.

    Raises:
        InputError: If it breaks a rule of Matbench, or a stored score is not that of the stored predictions.
    """
    import pandas as pd

    document = read_results(folder / RESULTS)
    if set(document["tasks"]) != {answer.name for answer in answers}:
        raise InputError(f"{folder / RESULTS} holds other tasks: {', '.join(document['tasks'])}. Write it again.")
    lines = []
    for answer in answers:
        card, truth = answer.task.card, answer.result.predictions.set_index("id")["target"]
        check_task(card.name, document["tasks"][card.name], card.kind, answer.tests)
        ranked = []
        for k in range(len(answer.tests)):
            fold = document["tasks"][card.name]["results"][f"fold_{k}"]
            targets = truth.loc[list(fold["data"])].to_numpy(dtype=np.float64)
            again = fold_scores(card.kind, targets, np.array(list(fold["data"].values()), dtype=np.float64))
            wrong = [name for name, value in again.items() if not np.isclose(fold["scores"][name], value, SAME, SAME)]
            if wrong:
                raise InputError(f"{folder / RESULTS}: {wrong[0]} of {card.name}, fold {k}, is not that of the values.")
            ranked.append(again[card.metric])
        mean, std = float(np.mean(ranked)), float(np.std(ranked))
        lines.append({"task": card.name, "metric": card.metric, "unit": card.unit, "mean": mean, "std": std})
    return pd.DataFrame(lines)


def _one_algorithm(answers: Sequence[Answer]) -> None:
    """A submission answers each task once, and all of them in the same way."""
    names = [answer.name for answer in answers]
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise InputError(f"A submission answers each task once. Received more than one benchmark of {again[0]}.")
    ways = {(a.result.asked.network, a.result.asked.arm): a.name for a in answers}
    if len(ways) > 1:
        said = "; ".join(f"{task}: {model}, arm {arm}" for (model, arm), task in ways.items())
        raise InputError(f"One submission is one algorithm. Received {said}. Submit them under different names.")


def _folds(answer: Answer) -> dict[int, dict[str, Any]]:
    """All folds of a task in Matbench's form, ids in official order."""
    result, kind = answer.result, answer.task.card.kind
    table = result.predictions.set_index("id")
    has_std = kind == "regression" and bool(np.isfinite(table["std"]).all())
    folds = {}
    for k, ids in enumerate(answer.tests):
        part = table.loc[ids]
        prediction, std = (part[name].to_numpy(dtype=np.float64) for name in ("prediction", "std"))
        scores = fold_scores(kind, part["target"].to_numpy(dtype=np.float64), prediction)
        folds[k] = fold_entry(ids, prediction, scores, _parameters(result, k), std if has_std else None)
    return folds


def _parameters(result: BenchmarkResult, fold: int) -> dict[str, Any]:
    """How the models of one fold came about."""
    asked, cards = result.asked, [card for card in result.cards if card.fold == fold]
    tried = {f"{one.learning_rate:g}": one.log_loss if one.mae is None else one.mae for one in cards[0].tried}
    return {
        "arm": asked.arm,
        "model": asked.network,
        "seeds": [card.seed for card in cards],
        "labels_used": [card.mask.used for card in cards],
        "label_masks_sha256": [card.mask.sha256 for card in cards],
        "initial_weights_sha256": [card.initial.sha256 for card in cards],
        "initial_weights": {"name": cards[0].initial.name, **cards[0].initial.facts},
        "validation_error_by_learning_rate": tried,
        "seconds": sum(card.cost.seconds for card in cards),
    }


def _metadata(answers: Sequence[Answer]) -> dict[str, Any]:
    """Facts about the whole submission."""
    return {
        "made_by": "matgl-infomax",
        "versions": answers[0].result.cards[0].versions.model_dump(),
        "tasks": {
            a.name: {
                "settings": a.result.asked.settings,
                "facts": facts_of(a.result),
                "data_sha256": a.result.cards[0].hashes.data,
                "folds_sha256": a.task.card.fold_sha256,
            }
            for a in answers
        },
    }


def _made(runs: Sequence[BenchmarkResult]) -> datetime:
    """When the last model was done: the same runs give the same file."""
    times = [datetime.fromisoformat(card.created) for run in runs for card in run.cards]
    return max(time if time.tzinfo else time.replace(tzinfo=UTC) for time in times).astimezone(UTC)
