"""``matgl-infomax submit``: finished benchmarks become a folder that Matbench accepts, or a reason why not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pprint import pformat
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write, sha256_of
from matgl_infomax.leaderboard.matbench_format import (
    BENCHMARK,
    VERSION,
    check_ids,
    check_task,
    fold_entry,
    make_document,
    pack,
    read_results,
)
from matgl_infomax.leaderboard.results import PREDICTIONS, RUNS, BenchmarkResult, read_benchmark, read_benchmark_spec
from matgl_infomax.leaderboard.scores import fold_scores
from matgl_infomax.record import RunCard
from matgl_infomax.settings.arms import BASELINE, STARTS, WITHOUT_NETWORK
from matgl_infomax.settings.commands import BenchmarkConfig, SubmitConfig
from matgl_infomax.tasks.matbench.task import (
    N_FOLDS,
    Task,
    load_task,
    mask_hash,
    official_classes,
    read_official,
    steps,
    two_byte_hash,
)

if TYPE_CHECKING:
    import pandas as pd


RESULTS = "results.json.gz"
INFO = "info.json"
SCRIPT = "run.py"
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
    if doubt := unknown_objectives(info.algorithm, runs):
        sys.stderr.write(f"matgl-infomax: warning: {doubt}\n")
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


def check_submission(folder: Path, answers: Sequence[ReadyBenchmark]) -> pd.DataFrame:
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


def _one_algorithm(answers: Sequence[ReadyBenchmark]) -> None:
    """A submission answers each task once, and all of them in the same way."""
    names = [answer.name for answer in answers]
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise InputError(f"A submission answers each task once. Received more than one benchmark of {again[0]}.")
    ways = {(a.result.spec.network, a.result.spec.arm): a.name for a in answers}
    if len(ways) > 1:
        said = "; ".join(f"{task}: {model}, arm {arm}" for (model, arm), task in ways.items())
        raise InputError(f"One submission is one algorithm. Received {said}. Submit them under different names.")


def _folds(answer: ReadyBenchmark) -> dict[int, dict[str, Any]]:
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
    spec, cards = result.spec, [card for card in result.cards if card.fold == fold]
    tried = {f"{one.learning_rate:g}": one.log_loss if one.mae is None else one.mae for one in cards[0].tried}
    return {
        "arm": spec.arm,
        "model": spec.network,
        "seeds": [card.seed for card in cards],
        "labels_used": [card.mask.used for card in cards],
        "label_masks_sha256": [card.mask.sha256 for card in cards],
        "initial_weights_sha256": [card.initial.sha256 for card in cards],
        "initial_weights": {"name": cards[0].initial.name, **cards[0].initial.facts},
        "validation_error_by_learning_rate": tried,
        "seconds": sum(card.cost.seconds for card in cards),
    }


def _metadata(answers: Sequence[ReadyBenchmark]) -> dict[str, Any]:
    """Facts about the whole submission."""
    return {
        "made_by": "matgl-infomax",
        "versions": answers[0].result.cards[0].versions.model_dump(),
        "tasks": {
            a.name: {
                "settings": a.result.spec.settings,
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


# Is a benchmark ready to be handed in? Complete, on the official rows, with the official targets, and untouched.


@dataclass(frozen=True)
class ReadyBenchmark:
    """A benchmark that may be handed in, with its task."""

    task: Task
    result: BenchmarkResult
    tests: list[list[str]]
    """Ids of the official test part of each fold, in official order."""

    @property
    def name(self) -> str:
        """Full name of the task."""
        return self.task.card.name


def check_answer(folder: Path) -> ReadyBenchmark:
    """Open the folder of a benchmark and refuse it unless all of it can be handed in.

    Args:
        folder: the benchmark's ``--out``.

    Raises:
        InputError: If folds are missing, test ids are not exactly the official ones, a value is missing or of a wrong
            type, a target is not the official one, or the table of predictions is not the mean of the single models.
    """
    spec = read_benchmark_spec(folder)
    task = load_task(spec.task)
    _same_question(folder, task, spec.target, spec.kind)
    if spec.folds != list(range(N_FOLDS)):
        raise InputError(_incomplete(folder, [k for k in range(N_FOLDS) if k not in spec.folds]))
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
    return ReadyBenchmark(task, result, tests)


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
    import pyarrow.parquet as pq
    from pyarrow import types

    if not file.is_file():
        return  # read_benchmark says so with all else that is missing
    try:
        schema = pq.read_schema(file)
    except Exception as error:  # damage raises errors of pyarrow, thrift and Python
        raise InputError(
            f"{file} is no table of predictions ({' '.join(str(error).split())}). Run the benchmark again."
        ) from error
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
        labels = len(part.train) if result.spec.labels is None else result.spec.labels
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
        right = np.array([one in (two_byte_hash(str(a)), two_byte_hash(str(b))) for one, a, b in pairs])
    else:
        return  # a task without structures has no fingerprints, and no benchmark of ours answers it
    if not right.all():
        row = int(np.argmin(right))
        raise InputError(
            f"{folder / PREDICTIONS}: the target of {ids[row]} is not the official one ({values[row]:.10g}), nor "
            f"those of {int((~right).sum()) - 1} more. The benchmark was run on other data: run it on the official."
        )


# What a submission says about itself: ``info.json``, and the facts its authors must not leave unsaid.

EXAMPLE = """authors: A. Chemist, B. Physicist
algorithm: Site-Net, denoising
algorithm_long: What it is and how it was trained.
bibtex_refs: "@article{...}"
notes: Anything else a reader should know."""
"""The shortest ``info.yaml``."""

FACTS = "Facts written by matgl-infomax from the run cards:"
"""What follows in the notes is not the authors' text."""


class Info(BaseModel):
    """The fields of ``info.json``; Matbench wants all of them, and all but the notes filled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authors: str = Field(min_length=1)
    algorithm: str = Field(min_length=1, description="A name that no other submission has.")
    algorithm_long: str = Field(min_length=1)
    bibtex_refs: str | list[str] = Field(min_length=1)
    notes: str = ""
    requirements: dict[str, list[str]] | None = Field(
        default=None, min_length=1, description="Such as {python: [torch==2.9.0]}; from the run cards when left out."
    )

    @field_validator("authors", mode="before")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        """A list of names becomes one line, as in the published submissions."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    @field_validator("authors", "algorithm", "algorithm_long")
    @classmethod
    def _filled(cls, value: str) -> str:
        """Blanks are no text."""
        if not value.strip():
            raise ValueError("it is empty")
        return value.strip()

    @field_validator("notes", mode="before")
    @classmethod
    def _no_notes(cls, value: Any) -> Any:
        """'notes:' without anything after it is an empty text."""
        return "" if value is None else value


def read_info(file: Path) -> Info:
    """Read the authors' ``info.yaml`` (JSON is fine too).

    Raises:
        InputError: If it cannot be read, or fields are missing, unknown or empty, naming all of them.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror or error}. It needs:\n{EXAMPLE}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold 'name: value' lines:\n{EXAMPLE}")
    try:
        return Info.model_validate(content)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors()]
        raise InputError(f"{file} is refused: {'; '.join(parts)}. It needs:\n{EXAMPLE}") from error


def make_info(info: Info, runs: Sequence[BenchmarkResult]) -> dict[str, Any]:
    """The content of ``info.json``: the authors' words, then the facts of the run cards.

    Args:
        info: what the authors say.
        runs: the benchmarks of the submission.

    Raises:
        InputError: If a label-masked run is not declared in the notes.
    """
    own = info.notes.partition(FACTS)[0].strip()  # a submission written again starts from its own info.json
    for run in runs:
        _declared(own, run)
    doubt = unknown_objectives(info.algorithm, runs)
    facts = " ".join([FACTS, *map(facts_of, runs), *([doubt] if doubt else [])])
    return {
        "authors": info.authors,
        "algorithm": info.algorithm,
        "algorithm_long": info.algorithm_long,
        "bibtex_refs": info.bibtex_refs,
        "notes": f"{own}\n\n{facts}".strip(),
        "requirements": info.requirements or {"python": _installed(runs)},
    }


def facts_of(run: BenchmarkResult) -> str:
    """One run in a few plain sentences, the awkward ones included."""
    spec = run.spec
    masked = (
        "all labels of each training part" if spec.labels is None else _words(spec.labels) + " of each training part"
    )
    models = f"mean of {len(spec.seeds)} models per fold" if len(spec.seeds) > 1 else "one model per fold"
    about = f"{spec.task}: {spec.network}, arm {spec.arm}, {masked}, {models}."
    return " ".join([about, *run.notes()])


OBJECTIVE_WORDS = {
    "infomax": r"infomax",
    "masked": r"masked|masking",
    "denoise": r"denois\w*|cdssl|noisy nodes",
    "fingerprint": r"fingerprints?",
    "twins": r"twins?",
    "dual": r"dssl|dual",
    "supervised": r"(?<!self-)(?<!self )(?<!semi-)supervised",
}
"""Words by which a name says how a network was pretrained, by objective; in small letters."""


def unknown_objectives(algorithm: str, runs: Sequence[BenchmarkResult]) -> str:
    """What the name of an algorithm says of the pretraining and no run card does, in a sentence; empty where all fits.

    Args:
        algorithm: the name that the authors give.
        runs: the benchmarks of the submission.
    """
    found = {name: re.search(rf"\b(?:{words})\b", algorithm.lower()) for name, words in OBJECTIVE_WORDS.items()}
    known = set().union(*(_objectives(card) for run in runs for card in run.cards))
    named = [name for name, match in found.items() if match is not None and name not in known]
    if not named:
        return ""
    starts = ", ".join(dict.fromkeys(card.initial.name for run in runs for card in run.cards))
    learnt = f"they say {', '.join(sorted(known))}" if known else "they know of none"
    return (
        f"The name of the algorithm, {algorithm!r}, names the pretraining {', '.join(named)}, and no run card does: "
        f"{learnt} (initial weights: {starts})."
    )


def _objectives(card: RunCard) -> set[str]:
    """Objectives by which the initial weights of a run were learnt; none for weights of which its card says nothing."""
    kind = card.initial.name
    if kind in ("pretrained", "corpus"):
        return set(str(card.settings["pretrain"]["objective"]).split("+"))
    if kind == "transferred":
        return {"supervised"}
    return set(str(card.initial.facts.get("objective", "")).split("+")) - {""}


def _words(labels: int) -> str:
    """'100 labels'."""
    return f"{labels} labels"


def _declared(notes: str, run: BenchmarkResult) -> None:
    """A run with few labels stands beside entries that used all of them: its authors have to say so themselves."""
    labels = run.spec.labels
    if labels is not None and not re.search(rf"(?<![\d.,]){labels} labels\b", notes):
        raise InputError(
            f"{run.spec.task} was trained with {labels} labels of each training part, and everything else on the "
            f"leaderboard with all of them. Say so in the notes of info.yaml, with the words '{_words(labels)}', or "
            "submit a benchmark without --labels."
        )


def _installed(runs: Sequence[BenchmarkResult]) -> list[str]:
    """The packages that made the runs, and the Matbench whose format this is; '+cpu' and the like are on no index."""
    found = {f"{name}=={version.partition('+')[0]}" for run in runs for card in run.cards
             for name, version in card.versions.packages.items() if version}  # fmt: skip
    return [*sorted(found), f"matbench=={VERSION}"]


# The script of a submission: it repeats the runs with their settings and writes the result file again.

OWN_WEIGHTS = (BASELINE, *STARTS.values(), *WITHOUT_NETWORK)
"""Names of weights that the benchmark makes itself; any other name is a folder that was given."""

NEEDED = {
    "init": "folder of the encoder that the runs start from",
    "corpus": "structures without labels to pretrain on: file, folder or glob",
    "source": "crystals with labels of another property: file, folder or glob",
}
"""Paths of one machine that a run may need; the script asks for them."""

SCRIPT_TEMPLATE = Template('''"""Repeats the runs behind results.json.gz of $name and writes it again.

Written by ``matgl-infomax submit``. It needs the packages named in info.json, which lies beside it, and the official
data, from --data-dir or downloaded:

    python run.py FOLDER --help

Runs that are finished are not repeated; FOLDER ends up with one folder per task and the submission.
"""

import argparse
from pathlib import Path

from matgl_infomax.settings.commands import BenchmarkConfig, SubmitConfig
from matgl_infomax.leaderboard.submit import submit
from matgl_infomax.tasks.studies.benchmark import benchmark

# Settings by task.
RUNS = $runs

# What only you know, by task: paths that no settings can hold.
NEEDED = $needed

HELP = $help


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, help="folder with the official data; downloaded when left out")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time")
    for path in sorted({path for paths in NEEDED.values() for path in paths}):
        parser.add_argument(f"--{path}", required=True, help=HELP[path])
    given = vars(parser.parse_args())
    for task, settings in RUNS.items():
        paths = {path: given[path] for path in NEEDED[task]}
        places = {"data_dir": given["data_dir"], "workers": given["workers"], "out": given["folder"] / task}
        benchmark(BenchmarkConfig(**settings, **paths, **places))
    done = [given["folder"] / task for task in RUNS]
    info = Path(__file__).with_name("info.json")
    print(submit(SubmitConfig(run=done, info=info, out=given["folder"] / "$name")).to_text())


if __name__ == "__main__":
    main()
''')


def make_script(runs: Sequence[BenchmarkResult], name: str) -> str:
    """A Python script that makes the submission again.

    Args:
        runs: the benchmarks of the submission.
        name: name of its folder.

    Raises:
        InputError: If a benchmark's settings are not those of this version.
    """
    return SCRIPT_TEMPLATE.substitute(
        name=name,
        runs=pformat({run.spec.task: _settings(run) for run in runs}, width=110),
        needed=pformat({run.spec.task: needed_paths(run) for run in runs}, width=110),
        help=pformat(NEEDED, width=110),
    )


def needed_paths(run: BenchmarkResult) -> list[str]:
    """Settings of a run that are paths, and so have to be given again."""
    spec = run.spec
    names = {
        "init": any(card.initial.name not in OWN_WEIGHTS for card in run.cards),
        "corpus": STARTS.get(spec.arm) == "corpus",
        "source": STARTS.get(spec.arm) == "transferred",
    }
    return [name for name, needed in names.items() if needed]


def _settings(run: BenchmarkResult) -> dict[str, Any]:
    """The settings of a benchmark as its command reads them, places aside."""
    spec = run.spec
    known = {name: value for name, value in spec.settings.items() if name in BenchmarkConfig.model_fields}
    asking = {"task": spec.task, "arm": spec.arm, "labels": spec.labels, "seeds": len(spec.seeds)}
    found = {**known, **asking, "model": spec.model}
    found["finetune"] = {**found.get("finetune", {}), "seed": spec.seeds[0]}
    found = {name: value for name, value in found.items() if name not in (*NEEDED, "folds", "out")}
    try:
        BenchmarkConfig(**found, out=Path("checked"))
    except InputError as error:
        raise InputError(
            f"The settings of {spec.task} are not those of this version of matgl-infomax ({error}). "
            "Submit with the version that made the benchmark."
        ) from error
    return found
