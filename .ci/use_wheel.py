"""Import every module of the installed package from a folder that is not the repository, and read its data files."""

from __future__ import annotations

import sys
from importlib import import_module, resources
from pathlib import Path
from pkgutil import walk_packages

import matgl_infomax
import matgl_infomax.leaderboard
import matgl_infomax.tasks
from matgl_infomax import weights
from matgl_infomax.publish import verify

home = Path(matgl_infomax.__file__).resolve().parent
if "site-packages" not in home.parts:
    sys.exit(f"Not the installed package: {home}")
modules = [info.name for info in walk_packages(matgl_infomax.__path__, "matgl_infomax.")]
for name in modules:
    import_module(name)
for name in matgl_infomax.__all__:
    getattr(matgl_infomax, name)
for name in weights.names():
    verify(name)
if "sitenet-mp" not in weights.names():
    sys.exit(f"The weights sitenet-mp are missing: {weights.names()}")
table = resources.files("matgl_infomax.data").joinpath("elements.csv").read_text()
if "," not in table:
    sys.exit("elements.csv is no table")
print(f"{len(modules)} modules imported from the wheel, {len(table.splitlines())} lines of elements.csv read")
