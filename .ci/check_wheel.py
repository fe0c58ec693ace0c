"""The wheel holds every file of the three packages, the pages of the documentation, and no more: check_wheel.py DIST.

What a package index would show as the package's page must stand on its own: no picture, no link into the repository.
"""

from __future__ import annotations

import re
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "matgl_infomax": "matgl_infomax",
    "tasks": "matgl_infomax/tasks",
    "leaderboard": "matgl_infomax/leaderboard",
}
MOST_MEGABYTES = 12
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


def expected_pages() -> dict[str, Path]:
    """Place in the environment of every page that comes with the package."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    pairs = [(place, path) for place, names in tool["data-files"].items() for name in names for path in ROOT.glob(name)]
    return {f"{place}/{path.name}": path for place, path in pairs}


def unreachable(description: str) -> list[str]:
    """Pictures and links of a package's page that lead nowhere, since the page does not lie in the repository."""
    found = re.findall(r"!?\[[^\]]*\]\(\s*([^)\s]+)[^)]*\)|<img[^>]*src=\"([^\"]+)|\{image\}\s*(\S+)", description)
    targets = [target for groups in found for target in groups if target]
    return [target for target in targets if not re.match(r"https?://|mailto:|#", target)]


def main(folder: str) -> int:
    """Compare the one wheel of a folder with the packages."""
    wheels = list(Path(folder).glob("*.whl"))
    if len(wheels) != 1:
        print(f"Expected one wheel in {folder}. Received: {[w.name for w in wheels]}.")
        return 1
    stem = "-".join(wheels[0].name.split("-")[:2])
    wanted = expected() | {f"{stem}.data/data/{place}": path for place, path in expected_pages().items()}
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(f"{stem}.dist-info/METADATA").decode()
        problems = [f"missing: {name}" for name in sorted(set(wanted) - inside)]
        problems += [f"does not belong there: {name}" for name in sorted(inside - set(wanted))]
        same = sorted(inside & set(wanted))
        problems += [f"stale: {name}" for name in same if wheel.read(name) != wanted[name].read_bytes()]
        size = wheels[0].stat().st_size / 1e6
        problems += [f"{size:.1f} MB, more than {MOST_MEGABYTES}"] if size > MOST_MEGABYTES else []
        problems += [f"the package's page links to {target}" for target in unreachable(metadata.partition("\n\n")[2])]
    print("\n".join([*problems, f"{wheels[0].name}: {len(inside)} files, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
