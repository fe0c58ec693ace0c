"""Run the benchmarks, each number of threads in a process of its own, and print one table: make bench."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.report import MISSED, SKIPPED, Line, Table, as_markdown, as_text

ROOT = Path(__file__).resolve().parents[2]
CLOCK = {1: "time.process_time"}
"""One thread: the processor's own time, which other processes disturb less. Several: the clock on the wall."""


def run_once(threads: int, quick: bool, only: str, folder: Path) -> tuple[dict[str, Any], int]:
    """All benchmarks in one process; their JSON and pytest's exit code."""
    out = folder / f"{threads}.json"
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    env |= {"BENCH_QUICK": "1"} if quick else {}
    command = [sys.executable, "-m", "pytest", "tests/benchmarks", "-o", "python_files=bench_*.py", "-p", "benchmark"]
    command += ["-q", "--tb=short", "--timeout=1800", "--benchmark-quiet", "--benchmark-disable-gc"]
    # The storage, where nothing is saved, would be made in the repository.
    command += [f"--benchmark-json={out}", f"--benchmark-storage=file://{folder / 'storage'}"]
    command += [f"--benchmark-timer={CLOCK.get(threads, 'time.perf_counter')}", *(["-k", only] if only else [])]
    # The table alone goes to the standard output.
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=sys.stderr, check=False)
    if not out.is_file():
        raise SystemExit(f"No benchmark gave a number (pytest ended with {done.returncode}).")
    return json.loads(out.read_text()), done.returncode


def machine(data: dict[str, Any]) -> str:
    """What the numbers belong to."""
    info = data["machine_info"]
    cpu = info.get("cpu", {}).get("brand_raw", platform.machine())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "matgl", "numba"))
    facts: dict[str, Any] = {}
    for benchmark in data["benchmarks"]:
        facts |= {key: benchmark["extra_info"][key] for key in ("mp", "backend") if key in benchmark["extra_info"]}
    what = {1: "Materials Project crystals", 0: "GENERATED crystals, shared data not found"}.get(facts.get("mp"), "")
    stack = f"matgl on {facts['backend']}" if "backend" in facts else ""
    where = f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"
    return "; ".join(filter(None, [where, stack, what, str(date.today())]))


def main() -> int:
    """Measure, print, write; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="few rounds, few crystals, generous bars")
    parser.add_argument("--only", default="", help="expression that chooses benchmarks, as pytest -k")
    parser.add_argument("--write", type=Path, help="also write the table as Markdown")
    parser.add_argument("--json", type=Path, help="folder in which the raw numbers are kept")
    given = parser.parse_args()
    missed, skipped, failed, lines, about = 0, 0, False, [], ""
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.json or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for threads in given.threads:
            print(f"Measuring with OMP_NUM_THREADS={threads} ...", file=sys.stderr, flush=True)
            data, code = run_once(threads, given.quick, given.only, folder)
            table = Table(data, threads, given.quick, part=bool(given.only))
            missed, skipped = missed + table.count(MISSED), skipped + table.count(SKIPPED)
            failed = failed or code != 0
            lines += [Line(f"OMP_NUM_THREADS={threads}"), *table.lines]
            about = machine(data)
    print(f"\n{about}\n\n{as_text(lines)}\n")
    if given.write:
        given.write.write_text(f"{about}\n\n{as_markdown(lines)}\n")
    trouble = " Some benchmarks failed." if failed else ""
    print(f"{missed} lines missed their bar, {skipped} could not be judged here.{trouble}")
    return int(missed > 0 or failed)


if __name__ == "__main__":
    raise SystemExit(main())
