"""The largest task: 132,752 materials, twelve answers, 10,000 draws, in time and memory that a laptop has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

JOB = """
import json, resource, time
import numpy as np, pandas as pd
from matgl_infomax.leaderboard.compare_published import gather_answers
from matgl_infomax.leaderboard.results import OwnAnswer
from matgl_infomax.leaderboard.published import official_folds
from matgl_infomax.tasks.matbench.task import load_task
from pathlib import Path

task = load_task("matbench_mp_e_form")
fold, rng = official_folds(task), np.random.default_rng(0)
truth = rng.normal(-1.5, 1.0, len(fold))
columns = {"id": fold.index, "fold": fold.to_numpy(), "target": truth, "std": np.nan}
table = pd.DataFrame(columns).assign(prediction=truth + rng.normal(0, 0.02, len(fold)))
seeds = np.array([[0.02, 0.02, 0.021, 0.02, 0.02], [0.021, 0.02, 0.02, 0.02, 0.021]])
own = OwnAnswer("ours", Path("."), "benchmark", task, "scratch", "megnet", None, table, (0, 1), seeds, None, ())
entries = {f"entry {k}": truth + rng.normal(0, 0.02 + 0.001 * k, len(fold)) for k in range(11)}
wall, cpu = time.perf_counter(), time.process_time()
answers = gather_answers([own], entries, draws=10000)
pairs = [answers.difference(0, k) for k in range(1, 12)]
answers.p_values()
used = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "findings": [pair.p < 0.05 for pair in pairs]}
print(json.dumps(used))
"""


@pytest.mark.slow
def test_the_largest_task_is_compared_in_time_and_two_gigabytes():
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    assert used["cpu"] < 100  # seconds of one core, 30 at home: a slow machine, or one that is shared, needs more
    assert used["wall"] < 180
    assert used["gigabytes"] < 2
    assert not used["findings"][0] or not used["findings"][1]
    assert all(used["findings"][3:])
