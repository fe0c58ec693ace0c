"""The script of a submission: it repeats the runs with their settings and writes the result file again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from string import Template
from typing import Any

from pydantic import ValidationError

from matgl_infomax.arm_names import BASELINE, STARTS, WITHOUT_NETWORK
from matgl_infomax.config_tasks import BenchmarkConfig
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.runs_read import BenchmarkResult

OWN_WEIGHTS = (BASELINE, *STARTS.values(), *WITHOUT_NETWORK)
"""Names of weights that the benchmark makes itself; any other name is a folder that was given."""

NEEDED = {
    "init": "folder of the encoder that the runs start from",
    "corpus": "structures without labels to pretrain on: file, folder or glob",
    "source": "crystals with labels of another property: file, folder or glob",
}
"""Paths of one machine that a run may need; the script asks for them."""

SCRIPT = Template('''"""Repeats the runs behind results.json.gz of $name and writes it again.

Written by ``matgl-infomax submit``. It needs the packages named in info.json, which lies beside it, and the official
data, from --data-dir or downloaded:

    python run.py FOLDER --help

Runs that are finished are not repeated; FOLDER ends up with one folder per task and the submission.
"""

import argparse
from pathlib import Path

from matgl_infomax.config_tasks import BenchmarkConfig, SubmitConfig
from matgl_infomax.leaderboard.submit import submit
from matgl_infomax.tasks.benchmark import benchmark

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
    return SCRIPT.substitute(
        name=name,
        runs=pformat({run.asked.task: _settings(run) for run in runs}, width=110),
        needed=pformat({run.asked.task: needed_paths(run) for run in runs}, width=110),
        help=pformat(NEEDED, width=110),
    )


def needed_paths(run: BenchmarkResult) -> list[str]:
    """Settings of a run that are paths, and so have to be given again."""
    asked = run.asked
    names = {
        "init": any(card.initial.name not in OWN_WEIGHTS for card in run.cards),
        "corpus": STARTS.get(asked.arm) == "corpus",
        "source": STARTS.get(asked.arm) == "transferred",
    }
    return [name for name, needed in names.items() if needed]


def _settings(run: BenchmarkResult) -> dict[str, Any]:
    """The settings of a benchmark as its command reads them, places aside."""
    asked = run.asked
    known = {name: value for name, value in asked.settings.items() if name in BenchmarkConfig.model_fields}
    asking = {"task": asked.task, "arm": asked.arm, "labels": asked.labels, "seeds": len(asked.seeds)}
    found = {**known, **asking, "model": asked.model}
    found["finetune"] = {**found.get("finetune", {}), "seed": asked.seeds[0]}
    found = {name: value for name, value in found.items() if name not in (*NEEDED, "folds", "out")}
    try:
        BenchmarkConfig(**found, out=Path("checked"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InputError(
            f"The settings of {asked.task} are not those of this version of matgl-infomax ({place}: {first['msg']}). "
            "Submit with the version that made the benchmark."
        ) from error
    return found
