"""Every file of the three packages is in the wheel, under matgl_infomax, and nothing else is: check_wheel.py DIST."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "matgl_infomax": "matgl_infomax",
    "tasks": "matgl_infomax/tasks",
    "leaderboard": "matgl_infomax/leaderboard",
}
NOT_SHIPPED = {"__pycache__", "results"}  # results of studies belong to the repository


def expected() -> dict[str, Path]:
    """Place in the wheel of every file of the packages."""
    found = {}
    for folder, place in PACKAGES.items():
        for path in (ROOT / folder).rglob("*"):
            inner = path.relative_to(ROOT / folder)
            if path.is_file() and not NOT_SHIPPED & set(inner.parts):
                found[f"{place}/{inner.as_posix()}"] = path
    return found


def main(folder: str) -> int:
    """Compare the one wheel of a folder with the packages."""
    wheels = list(Path(folder).glob("*.whl"))
    if len(wheels) != 1:
        print(f"Expected one wheel in {folder}. Received: {[w.name for w in wheels]}.")
        return 1
    wanted = expected()
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        problems = [f"missing: {name}" for name in sorted(set(wanted) - inside)]
        problems += [f"does not belong there: {name}" for name in sorted(inside - set(wanted))]
        same = sorted(inside & set(wanted))
        problems += [f"stale: {name}" for name in same if wheel.read(name) != wanted[name].read_bytes()]
    print("\n".join([*problems, f"{wheels[0].name}: {len(inside)} files, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
