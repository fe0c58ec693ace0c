"""Run the code blocks of a Markdown file that stand below a line '<!-- run -->': run_readme.py FILE...

Blocks of one file run in order, in one empty folder, with this interpreter's environment first on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^<!-- run -->\n+```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run_blocks(file: Path) -> int:
    """Run the marked blocks of a file; returns how many there were."""
    bin_folder = Path(sys.prefix) / "bin"
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    commands = {"python": [str(bin_folder / "python"), "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}
    blocks = BLOCK.findall(file.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for number, (language, code) in enumerate(blocks, 1):
            print(f"--- {file.name}, {language} block {number} of {len(blocks)}:\n{code}---", flush=True)
            subprocess.run([*commands[language], code], cwd=folder, env=environment, check=True, timeout=600)
    return len(blocks)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        marks = path.read_text().count("<!-- run -->")
        done = run_blocks(path)
        print(f"{name}: {done} blocks run")
        if done != marks:
            sys.exit(f"{name}: {marks} lines '<!-- run -->', but only {done} stand right above a python or bash block.")
