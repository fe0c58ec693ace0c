"""The result file of Matbench 0.6, written and read without the Matbench package."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.scores import SCORES, Kind

BENCHMARK = "matbench_v0.1"
VERSION = "0.6"
"""Version of the package whose format this is; its successor on GitHub still carries the same number."""

HEAD = {"@module": "matbench.bench", "@class": "MatbenchBenchmark", "version": VERSION, "benchmark_name": BENCHMARK}
TASK_HEAD = {"@module": "matbench.task", "@class": "MatbenchTask", "benchmark_name": BENCHMARK}
KEYS = {*HEAD, "tasks", "user_metadata", "datestamp", "hash"}
FOLD_KEYS = {"data", "parameters", "scores"}
COVERAGE = (0.025, 0.975)
"""Ends of Matbench's interval, as shares of a normal distribution."""


def fold_entry(
    ids: Sequence[str],
    prediction: NDArray[np.float64],
    scores: Mapping[str, float],
    parameters: Mapping[str, Any],
    std: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """One fold as Matbench stores it.

    Uncertainties have the form that Matbench's own ``MatbenchTask.record(std=...)`` writes: by id, the standard
    deviation and the ends of the normal 95 % interval. Its validation looks for other names, does not find them and
    accepts that.

    Args:
        ids: Matbench ids of the test part, (n,).
        prediction: values in units of the target, or probabilities, (n,).
        scores: the fold's scores.
        parameters: free facts about the training; keys are text, values plain.
        std: standard deviation of each prediction, same unit, (n,); regression only.
    """
    values = prediction.astype(np.float64).tolist()
    entry: dict[str, Any] = {
        "data": dict(zip(ids, values, strict=True)),
        "parameters": dict(parameters),
        "scores": {name: float(value) for name, value in scores.items()},
    }
    if std is not None:
        from scipy.special import ndtri

        low, high = (prediction + std * float(ndtri(share)) for share in COVERAGE)
        ends = zip(ids, low.tolist(), high.tolist(), std.astype(np.float64).tolist(), strict=True)
        entry["uncertainty"] = {id: {"ci_lower": a, "ci_upper": b, "std": s} for id, a, b, s in ends}
    return entry


def make_document(
    tasks: Mapping[str, Mapping[int, Mapping[str, Any]]], user_metadata: Mapping[str, Any], made: datetime
) -> dict[str, Any]:
    """The whole content of ``results.json.gz``, with the hash that Matbench compares.

    Args:
        tasks: entries of ``fold_entry`` by full name of the task and number of the fold.
        user_metadata: free facts about the submission.
        made: time of the results, UTC.
    """
    document: dict[str, Any] = {
        **HEAD,
        "tasks": {
            name: {**TASK_HEAD, "dataset_name": name, "results": {f"fold_{k}": dict(folds[k]) for k in sorted(folds)}}
            for name, folds in tasks.items()
        },
        "user_metadata": dict(user_metadata),
        "datestamp": made.strftime("%Y.%m.%d %H:%M.%S"),
    }
    return _ordered({**document, "hash": document_hash(document)})


def document_hash(document: Mapping[str, Any]) -> str:
    """Matbench's hash of a result file: SHA-256 of its JSON with the keys of all dictionaries in order.

    Args:
        document: content of the file; its entry ``hash`` does not count.
    """
    rest = {key: value for key, value in document.items() if key != "hash"}
    return hashlib.sha256(json.dumps(_ordered(rest)).encode()).hexdigest()


def _ordered(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keys in order, at every depth that Matbench's hash orders: dictionaries inside lists stay as they are."""
    return {key: _ordered(v) if isinstance(v, Mapping) else v for key, v in sorted(content.items())}


def pack(document: Mapping[str, Any]) -> bytes:
    """The bytes of ``results.json.gz``: the same content gives the same bytes.

    Raises:
        ValueError: If a number is not finite.
    """
    return gzip.compress(json.dumps(document, allow_nan=False).encode(), mtime=0)


def read_results(file: Path) -> dict[str, Any]:
    """Read a ``results.json.gz`` and check what Matbench checks before it looks at the tasks.

    Args:
        file: a file that is really compressed; Matbench 0.6 itself writes plain text under this name.

    Returns:
        Its content, the hash included.

    Raises:
        InputError: If it cannot be read, is not compressed, lacks a part, or was changed after it was written.
    """
    try:
        document = json.loads(gzip.decompress(file.read_bytes()))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{file} is not compressed by gzip, or cut off ({error}). Write it again.") from error
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{file} holds no JSON ({error}). Write it again.") from error
    keys = set(document) if isinstance(document, dict) else set()
    if keys != KEYS:
        raise InputError(f"{file} is no result file of Matbench: wrong or missing parts {sorted(keys ^ KEYS)}.")
    wrong = [key for key, value in HEAD.items() if document[key] != value and key != "version"]
    if wrong:
        raise InputError(f"{file} is no result file of {BENCHMARK}: its {wrong[0]} is {document[wrong[0]]!r}.")
    if document["hash"] != document_hash(document):
        raise InputError(f"{file} was changed after it was written: its hash does not fit. Write it again.")
    return document


def check_task(name: str, entry: Mapping[str, Any], kind: Kind, tests: Sequence[Sequence[str]]) -> None:
    """Check one task of a result file by the rules of Matbench's ``validate``, and that no number is missing.

    Args:
        name: full name of the task.
        entry: its entry under ``tasks``.
        kind: kind of the task.
        tests: ids of the official test part of each fold.

    Raises:
        InputError: For the first rule that is broken.
    """
    if {**TASK_HEAD, "dataset_name": name} != {key: value for key, value in entry.items() if key != "results"}:
        raise InputError(f"The entry of {name} has another head than Matbench's.")
    results = entry["results"]
    if set(results) != {f"fold_{k}" for k in range(len(tests))}:
        raise InputError(f"{name} needs the folds 0 to {len(tests) - 1}. Received: {', '.join(sorted(results))}.")
    for k, ids in enumerate(tests):
        fold, where = results[f"fold_{k}"], f"{name}, fold {k}"
        if not FOLD_KEYS <= set(fold) <= {*FOLD_KEYS, "uncertainty"}:
            raise InputError(f"{where}, has wrong or missing parts. Received: {', '.join(sorted(fold))}.")
        check_ids(where, list(fold["data"]), ids)
        _check_scores(where, fold["scores"], kind)
        for id, value in fold["data"].items():
            _check_value(where, id, value, kind)


def check_ids(where: str, given: Sequence[str], official: Sequence[str]) -> None:
    """Whether ids are exactly the official ones, each once, in whatever order.

    Raises:
        InputError: Naming the first missing, foreign or repeated id and their number.
    """
    counts, wanted = Counter(given), set(official)
    again = [id for id, times in counts.items() if times > 1]
    missing, foreign = (sorted(ids) for ids in (wanted - set(counts), set(counts) - wanted))
    for found, what in ((again, "more than once"), (foreign, "outside the official test part"), (missing, "missing")):
        if found:
            raise InputError(f"{where}: {len(found)} of the ids are {what}, such as {found[0]}.")


def _check_scores(where: str, scores: Mapping[str, Any], kind: Kind) -> None:
    """Matbench's scores, all of them and no others, as numbers."""
    if set(scores) != set(SCORES[kind]) or not all(_is_number(value) for value in scores.values()):
        raise InputError(f"{where}: the scores must be {', '.join(SCORES[kind])}. Received: {dict(scores)}.")


def _check_value(where: str, id: str, value: Any, kind: Kind) -> None:
    """A number; for classes a truth value or a probability."""
    if kind == "classification" and (isinstance(value, bool) or (_is_number(value) and 0 <= value <= 1)):
        return
    if kind == "classification" or not _is_number(value):
        wanted = "a number" if kind == "regression" else "a probability from 0 to 1"
        raise InputError(f"{where}: the prediction of {id} must be {wanted}. Received: {value!r}.")


def _is_number(value: Any) -> bool:
    """Whether this is a finite float; Matbench takes no integer."""
    return isinstance(value, float) and bool(np.isfinite(value))
