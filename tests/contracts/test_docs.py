"""The example of docs/encoders.md is a file that pytest runs, and the page names what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from matgl_infomax import contracts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "encoders.md").read_text()


def test_the_example_passes_as_it_stands(tmp_path):
    (tmp_path / "test_mine.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "test_mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    tests = [name for name in dir(contracts.EncoderContract) if name.startswith("test_")]
    assert f"{len(tests)} passed" in done.stdout, done.stdout + done.stderr


def test_the_page_names_every_part_and_its_tolerances():
    parts = {part.__name__ for part in contracts.EncoderContract.__bases__}
    assert set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)) == parts
    for name, value in re.findall(r"`(same|cell|single) = (\S+)`", PAGE):
        assert getattr(contracts.EncoderCase, name) == float(value)
    assert "test_axis_order" in dir(contracts.EncoderContract)
